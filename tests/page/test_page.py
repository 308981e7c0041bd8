"""The page in a browser: what a visitor sees and does."""

import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import pytest
from page_support import Server, make_picture, running_app, running_shipped
from PIL import Image

from srgan.pictures import images
from srgan.upscaler import Upscaler

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Locator, Page, Request, ViewportSize, expect  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
QUIET = ("background-networking", "component-update", "gpu", "sync")
ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]

DESKTOP: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_app(model_folder, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        own = Path(driver.chromium.executable_path)
        if not CHROMIUM and not own.exists():
            pytest.skip("no chromium: neither on the PATH nor installed by playwright")
        chromium = driver.chromium.launch(executable_path=CHROMIUM or own, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    with opened_page(browser, server, getattr(request, "param", DESKTOP)) as opened:
        yield opened


calls_of: WeakKeyDictionary[Page, set[Request]] = WeakKeyDictionary()
"""what each page waits for from the queue"""


@contextmanager
def opened_page(browser: Browser, server: Server, viewport: ViewportSize, touch: bool = False) -> Iterator[Page]:
    """Yields the page with its first result. Requests to other servers and errors in the console fail the test."""
    opened = browser.new_page(viewport=viewport, has_touch=touch, is_mobile=touch)
    opened.set_default_timeout(60_000)
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda asked: complaints.append(asked.url) if is_elsewhere(asked.url, server.url) else None)
    calls = calls_of.setdefault(opened, set())
    opened.on("request", lambda asked: calls.add(asked) if "/queue/" in asked.url else None)
    opened.on("requestfinished", lambda answered: calls.discard(answered))
    opened.on("requestfailed", lambda failed: calls.discard(failed))
    opened.goto(server.url)
    expect(opened.locator("#wipe .wipe img")).to_have_count(2)
    expect(opened.locator(".panes img").filter(visible=True)).to_have_count(3)
    expect(opened.get_by_text("Both enlargements are made from this small copy alone")).to_be_visible()
    await_viewer(opened)
    yield opened
    opened.close()
    assert complaints == []


def await_viewer(page: Page) -> None:
    """Waits until the viewer's script runs: before, a tap does nothing."""
    expect(page.locator("#wipe .line")).to_have_attribute("aria-valuenow", re.compile(r"\d"))


def is_elsewhere(url: str, home: str) -> bool:
    return not url.startswith((home, home.replace("http", "ws"), "data:", "blob:"))


def upload(page: Page, file: Path, label: str = "Your photo") -> None:
    """Uploads a file as a visitor would: clears the current picture, if any, and chooses a file."""
    box = page.locator(".block").filter(has_text=label).filter(visible=True).first
    if (clear := box.get_by_label("Clear").or_(box.get_by_label("Remove Image"))).count():
        clear.first.click()
    box.locator("input[type=file]").set_input_files(file)


def reload(page: Page) -> None:
    """Reloads once no answer is pending, because Gradio logs an error if a reload breaks off a stream."""
    while calls_of[page]:
        page.wait_for_timeout(50)
    page.reload()


def sources(pictures: Locator) -> list[str | None]:
    return [picture.get_attribute("src") for picture in pictures.all()]


def natural_sizes(pictures: Locator) -> list[list[int]]:
    for picture in pictures.all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    return pictures.evaluate_all("all => all.map(image => [image.naturalWidth, image.naturalHeight])")


def position(page: Page) -> str | None:
    return page.locator("#wipe .line").get_attribute("aria-valuenow")


def test_the_first_paint_shows_a_result(page: Page) -> None:
    assert natural_sizes(page.locator("#wipe .wipe img")) == [[408, 512]] * 2
    assert natural_sizes(page.locator(".panes img")) == [[408, 512]] * 3
    assert page.locator(".panes figcaption").all_inner_texts() == ["Before\n(bicubic)", "After\n(SRGAN)", "Original"]
    expect(page.get_by_text("This example is the official portrait of Barack Obama")).to_be_visible()
    expect(page.get_by_text("Made for")).to_have_count(0)
    expect(page.locator(".figures table")).to_be_hidden()
    page.get_by_role("button", name="Details").click()
    expect(page.locator(".figures table")).to_contain_text("tiny-faces")
    expect(page.locator(".figures thead")).to_have_text("PSNR SSIM")
    expect(page.get_by_role("row", name="before")).to_contain_text("29.26 dB")


def test_the_first_paint_asks_nothing_of_the_network(page: Page) -> None:
    """The first result comes with the page, and the first move of the slider still restores the example."""
    calls: list[str] = []
    page.on("request", lambda asked: calls.append(asked.url) if "queue/join" in asked.url else None)
    page.reload()
    expect(page.locator("#wipe .wipe img")).to_have_count(2)
    page.wait_for_load_state("networkidle")
    assert calls == []
    before = sources(page.locator(".panes img"))[1]
    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(page.locator(".panes img").nth(1)).not_to_have_attribute("src", before or "")
    assert "obama-restored" in (sources(page.locator(".panes img"))[1] or "")


def shown_parts(page: Page) -> list[list[float]]:
    """Returns for each pane the visible part of its picture: left, top and width in units of the picture's width."""
    return page.locator(".panes .frame").evaluate_all("""frames => frames.map(frame => {
        const box = frame.getBoundingClientRect(), image = frame.querySelector("img").getBoundingClientRect();
        return [(box.x - image.x) / image.width, (box.y - image.y) / image.width, box.width / image.width]
            .map(part => Math.round(part * 1000) / 1000);
    })""")


def test_the_panes_are_zoomed_and_moved_together(page: Page) -> None:
    natural_sizes(page.locator(".panes img"))
    page.locator(".panes").scroll_into_view_if_needed()
    assert shown_parts(page) == [[0, 0, 1]] * 3
    middle = page.locator(".panes .frame").nth(1)
    box = middle.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 4, box["y"])
    page.mouse.wheel(0, -300)
    expect(page.locator("#wipe .zoom output")).not_to_have_text("1.0x")
    (left, top, width), second, third = shown_parts(page)
    assert [left, top, width] == second == third
    assert top == 0 and left == pytest.approx((1 - width) / 4, abs=0.003)  # the point under the mouse stays there
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] - box["height"] / 4, steps=3)
    page.mouse.up()
    moved, *others = shown_parts(page)
    assert others == [moved] * 2 and moved[0] > left and moved[1] > top


def test_the_zoom_has_buttons_and_keys_shows_square_pixels_and_outlives_another_result(page: Page) -> None:
    natural_sizes(page.locator(".panes img"))
    restored = page.locator(".panes img").nth(1)
    expect(restored).to_have_css("image-rendering", "auto")
    for _ in range(6):
        page.locator("#wipe").get_by_role("button", name="Zoom in").click()
    expect(page.locator("#wipe .zoom output")).to_have_text("8.0x")
    for picture in page.locator("#wipe img").all():  # both sides of the line, and all pictures below
        expect(picture).to_have_css("image-rendering", "pixelated")
    before, source = shown_parts(page), restored.get_attribute("src")
    page.locator("#wipe").get_by_role("button", name="Zoom in").press("ArrowRight")
    moved = shown_parts(page)
    assert moved == [moved[0]] * 3 and moved[0][0] > before[0][0]

    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(restored).not_to_have_attribute("src", source or "")
    natural_sizes(page.locator(".panes img"))
    assert shown_parts(page) == moved
    page.locator("#wipe").get_by_role("button", name="Show the whole").click()
    assert shown_parts(page) == [[0, 0, 1]] * 3
    page.locator("#wipe").get_by_role("button", name="Zoom in").press("+")
    page.get_by_role("button", name="coffee").first.click()
    expect(page.get_by_text("The photo is 600x400")).to_be_visible()
    expect(page.locator("#wipe .zoom output")).to_have_text("1.0x")


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_two_fingers_zoom_the_panes(page: Page) -> None:
    natural_sizes(page.locator(".panes img"))
    page.evaluate("""() => {
        const frame = document.querySelector(".panes .frame"), box = frame.getBoundingClientRect();
        frame.setPointerCapture = () => {};  // made-up pointers cannot be captured
        const touch = (kind, pointerId, part) => frame.dispatchEvent(new PointerEvent(kind, {
            pointerId, pointerType: "touch", bubbles: true, clientX: box.x + box.width * part, clientY: box.y,
        }));
        touch("pointerdown", 1, 0.4);
        touch("pointerdown", 2, 0.6);
        touch("pointermove", 1, 0.2);
        touch("pointermove", 2, 0.8);
        touch("pointerup", 1, 0.2);
        touch("pointerup", 2, 0.8);
    }""")
    expect(page.locator("#wipe .zoom output")).to_have_text("3.0x")
    assert shown_parts(page) == [[pytest.approx(1 / 3, abs=0.01), 0, pytest.approx(1 / 3, abs=0.002)]] * 3


def test_an_uploaded_photo_gives_three_pictures_of_its_size_shown_equally_large(page: Page, tmp_path: Path) -> None:
    upload(page, make_picture(tmp_path / "mine.png", 178, 218))
    expect(page.get_by_text("The photo is 178x218")).to_be_visible()
    panes = page.locator(".panes img")
    names = {"Before": "bicubic", "After": "restored", "Original": "original"}
    for pane, (title, name) in zip(panes.all(), names.items(), strict=True):
        expect(pane).to_have_attribute("alt", title)
        expect(pane).to_have_attribute("src", re.compile(rf"mine-{name}\.png$"))
    assert natural_sizes(panes) == [[176, 216]] * 3
    shown = panes.evaluate_all("all => all.map(image => [image.clientWidth, image.clientHeight, image.y])")
    assert shown[0] == shown[1] == shown[2]


def test_an_example_needs_no_upload(page: Page) -> None:
    page.get_by_role("button", name="coffee").first.click()
    expect(page.get_by_text("The photo is 600x400")).to_be_visible()
    expect(page.locator("#wipe .wipe img").nth(1)).to_have_attribute("src", re.compile("coffee-bicubic"))


def test_the_line_is_moved_by_mouse_and_by_keys_and_jumps_to_a_click(page: Page) -> None:
    natural_sizes(page.locator("#wipe .wipe img"))
    line, frame = page.locator("#wipe .line"), page.locator("#wipe .wipe")
    box = frame.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40, steps=3)
    page.mouse.up()
    expect(line).to_have_attribute("aria-valuenow", "30")
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 60)
    expect(line).to_have_attribute("aria-valuenow", "80")
    line.press("ArrowRight")
    expect(line).to_have_attribute("aria-valuenow", "84")
    handle = line.bounding_box()
    assert handle and handle["x"] + handle["width"] / 2 == pytest.approx(box["x"] + box["width"] * 0.84, abs=2)
    page.locator("#wipe").get_by_role("button", name="Zoom in").click()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 60)  # zoomed, and away from the line: the pictures move
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 60, steps=3)
    page.mouse.up()
    expect(line).to_have_attribute("aria-valuenow", "84")
    assert len({tuple(part) for part in shown_parts(page)}) == 1 and shown_parts(page)[0][0] > 0.2


def test_the_pair_is_changed_without_another_run_and_keeps_the_line(page: Page) -> None:
    bicubic, restored, original = sources(page.locator(".panes img"))
    natural_sizes(page.locator("#wipe .wipe img"))
    page.locator("#wipe .line").press("ArrowRight")
    moved, calls = position(page), []
    page.on("request", lambda asked: calls.append(asked.url) if "queue/join" in asked.url else None)
    for name, pair in (("After | Original", (restored, original)), ("Before | Original", (bicubic, original))):
        page.get_by_label(name).check()
        right, left = page.locator("#wipe .wipe img").all()
        for picture, source in zip((left, right), pair, strict=True):
            expect(picture).to_have_attribute("src", source or "")
        assert page.locator("#wipe .name").all_inner_texts() == name.split(" | ")
    assert position(page) == moved == "54" and calls == []


def test_detail_changes_the_restored_picture_alone(page: Page) -> None:
    bicubic, restored, original = sources(page.locator(".panes img"))
    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(page.locator(".panes img").nth(1)).not_to_have_attribute("src", restored or "")
    expect(page.locator("#wipe .wipe img").first).to_have_attribute("src", sources(page.locator(".panes img"))[1] or "")
    assert sources(page.locator(".panes img"))[::2] == [bicubic, original]


def test_detail_dragged_to_and_fro_ends_at_its_last_value(page: Page, model_folder: Path) -> None:
    slider = page.get_by_role("slider", name="Detail").filter(visible=True)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    for part in (0.9, 0.2, 0.7, 0.4, 0.5):
        page.mouse.move(box["x"] + box["width"] * part, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    detail = float(slider.input_value())
    assert 0.3 < detail < 0.7
    low = download(page, "Download the small copy")
    expected = np.asarray(Upscaler.load(model_folder).enlarge(low, detail))
    for _ in range(100):
        restored = np.asarray(download(page, "Download the result"))
        if same := np.array_equal(restored, expected):
            break
        page.wait_for_timeout(100)
    assert same


def test_the_size_of_the_comparison_can_be_chosen(page: Page) -> None:
    page.get_by_label("128").check()
    expect(page.get_by_text("It was reduced to 100x128")).to_be_visible()


def download(page: Page, button: str) -> Image.Image:
    with page.expect_download() as started:
        page.get_by_role("button", name=button).filter(visible=True).click()
    assert started.value.suggested_filename.endswith(".png")
    return images.open_rgb(started.value.path())


def test_the_downloaded_png_holds_the_upscalers_pixels(page: Page, model_folder: Path) -> None:
    small, restored = download(page, "Download the small copy"), download(page, "Download the result")
    assert small.size == (102, 128)
    np.testing.assert_array_equal(np.asarray(restored), np.asarray(Upscaler.load(model_folder).enlarge(small)))


def test_enlarge_shows_and_gives_the_picture_four_times_as_large(
    page: Page, tmp_path: Path, model_folder: Path
) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    file = make_picture(tmp_path / "tiny.png", 10, 7)
    upload(page, file, "Your small picture")
    expect(page.get_by_text("10x7 became 40x28")).to_be_visible()
    assert natural_sizes(page.locator("#enlarged .wipe img")) == [[40, 28]] * 2
    expected = Upscaler.load(model_folder).enlarge(images.open_rgb(file))
    np.testing.assert_array_equal(np.asarray(download(page, "Download the result")), np.asarray(expected))


def test_who_cancels_sees_nothing_old_and_may_choose_anew(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    upload(page, make_picture(tmp_path / "photo.png", 3000, 4000, "obama.jpg"), "Your small picture")
    offers = page.locator("#way")
    offers.get_by_label("Clean it up at this size").click()
    page.get_by_role("button", name="Cancel").filter(visible=True).click()
    expect(page.locator(".block.problem").filter(visible=True)).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Cancel").filter(visible=True)).to_have_count(0)
    expect(page.locator("#enlarged").get_by_text("Error")).to_have_count(0)
    expect(page.locator("#enlarged img")).to_have_count(0)
    expect(offers.get_by_label("Clean it up at this size")).not_to_be_checked()
    upload(page, make_picture(tmp_path / "tiny.png", 10, 7), "Your small picture")
    expect(page.get_by_text("10x7 became 40x28")).to_be_visible()


def test_what_is_chosen_right_after_cancel_is_done_and_stays_chosen(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    upload(page, make_picture(tmp_path / "photo.png", 3000, 4000, "obama.jpg"), "Your small picture")
    offers, reason = page.locator("#way"), page.locator(".block.problem").filter(visible=True)
    cancel = page.get_by_role("button", name="Cancel").filter(visible=True)
    offers.get_by_label("Clean it up at this size").click()
    cancel.click()
    expect(reason).to_have_text("Stopped.")
    offers.get_by_label("Reduce it").click()  # the work that was cancelled may not have ended yet
    expect(reason.or_(cancel)).to_have_text("Cancel")
    expect(page.get_by_text("866x1154 became 3464x4616")).to_be_visible()
    expect(offers.get_by_label("Reduce it")).to_be_checked()
    expect(reason).to_have_count(0)
    assert natural_sizes(page.locator("#enlarged .wipe img")) == [[3464, 4616]] * 2


@pytest.mark.parametrize(("tab", "label"), [("Compare", "Your photo"), ("Enlarge", "Your small picture")])
def test_while_the_next_picture_is_worked_on_no_old_reason_is_shown(
    page: Page, tmp_path: Path, tab: str, label: str
) -> None:
    page.get_by_role("tab", name=tab).click()
    (tmp_path / "fake.png").write_text("no picture")
    upload(page, tmp_path / "fake.png", label)
    reason = page.locator(".block.problem").filter(visible=True)
    expect(reason).to_contain_text("fake.png: not a picture")
    page.route("**/queue/join*", lambda route: None)  # no answer comes
    upload(page, make_picture(tmp_path / "good.png", 164, 130), label)
    expect(reason).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel").filter(visible=True)).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")


def test_while_the_next_picture_is_worked_on_nobody_downloads_the_old_result_for_the_new(
    page: Page, tmp_path: Path
) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    offered = page.get_by_role("button", name="Download the").filter(visible=True)
    expect(offered.first).to_be_enabled()
    page.route("**/queue/join*", lambda route: None)  # no answer comes
    upload(page, make_picture(tmp_path / "mine.png", 164, 130), "Your small picture")
    expect(page.get_by_role("button", name="Cancel").filter(visible=True)).to_be_visible()
    expect(offered).to_have_count(0)
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize(("tab", "label"), [("Compare", "Your photo"), ("Enlarge", "Your small picture")])
def test_what_is_said_of_the_old_result_is_as_pale_as_the_result(
    page: Page, tmp_path: Path, tab: str, label: str
) -> None:
    page.get_by_role("tab", name=tab).click()
    said = page.locator(".of-result").filter(visible=True).first
    expect(said).to_contain_text("This example is the official portrait")
    expect(said).to_have_css("opacity", "1")
    page.route("**/queue/join*", lambda route: None)  # no answer comes
    upload(page, make_picture(tmp_path / "mine.png", 164, 130), label)
    expect(said).to_have_css("opacity", "0.3")
    page.unroute_all(behavior="ignoreErrors")


@pytest.mark.parametrize("tab", ["Compare", "Enlarge"])
def test_it_is_always_said_whose_photo_the_example_is(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    restored = page.locator(".views .wipe img").filter(visible=True).first
    before = restored.get_attribute("src") or ""
    said = page.get_by_text("This example is the official portrait of Barack Obama").filter(visible=True)
    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(restored).not_to_have_attribute("src", before)
    expect(said).to_be_visible()
    page.get_by_role("button", name="coffee").filter(visible=True).click()
    expect(said).to_have_count(0)
    page.get_by_label("Clear").or_(page.get_by_label("Remove Image")).filter(visible=True).first.click()
    expect(said).to_be_visible()


def test_a_large_photo_is_not_read_in_silence(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    page.evaluate("""() => {
        window.told = [];
        new MutationObserver(() => {
            for (const { innerText, clientHeight, scrollHeight } of document.querySelectorAll(".progress-level-inner"))
                told.push(innerText.trim().split("\\n").slice(0, clientHeight < scrollHeight ? 1 : 2).join(" "));
        }).observe(document.body, { childList: true, subtree: true, characterData: true });
    }""")
    upload(page, make_picture(tmp_path / "photo.png", 3000, 4000, "obama.jpg"), "Your small picture")
    expect(page.locator("#way")).to_be_visible()
    assert {"reading the picture", "looking for faces"} <= set(page.evaluate("told"))  # with no number behind them


def test_the_choices_for_a_large_photo_go_when_another_picture_comes(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    upload(page, make_picture(tmp_path / "photo.png", 1300, 1000, "obama.jpg"), "Your small picture")
    expect(page.locator("#way")).to_be_visible()
    page.route("**/queue/join*", lambda route: None)  # no answer comes
    upload(page, make_picture(tmp_path / "tiny.png", 10, 7), "Your small picture")
    expect(page.locator("#way")).to_be_hidden()
    page.unroute_all(behavior="ignoreErrors")


def test_a_batch_that_is_stopped_keeps_what_is_done(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many at once").click()
    (tmp_path / "fake.png").write_text("no picture")
    files = [make_picture(tmp_path / "one.png", 12, 10), tmp_path / "fake.png"]
    files += [make_picture(tmp_path / f"large-{number}.png", 1000, 1000) for number in range(6)]
    page.locator("input[type=file][multiple]").set_input_files(files)
    expect(page.get_by_role("link", name="10.0 B")).to_be_visible()
    page.get_by_role("button", name="Enlarge them all").click()
    expect(page.get_by_text("2 of 8")).to_be_visible()
    page.get_by_role("button", name="Stop, and keep what is done").click()
    expect(page.get_by_text(re.compile("Stopped after [1-7] of 8 pictures"))).to_be_visible()
    expect(page.get_by_text("fake.png: not a picture")).to_be_visible()
    expect(page.locator(".results .wrap:not(.hide)")).to_have_count(0)
    with page.expect_download() as started:
        page.get_by_role("button", name="Download all as ZIP").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert archive.namelist()[0] == "one-x4.png"
        assert 2 * len(archive.namelist()) == page.locator(".results .thumbnail-item img").count()


@pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True)
def test_many_files_give_a_gallery_and_a_zip(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many at once").click()
    (tmp_path / "fake.png").write_text("no picture")
    files = [make_picture(tmp_path / f"{name}.png", 12, 10) for name in ("one", "two")] + [tmp_path / "fake.png"]
    page.locator("input[type=file][multiple]").set_input_files(files)
    expect(page.get_by_role("link", name="10.0 B")).to_be_visible()  # all have arrived
    page.get_by_role("button", name="Enlarge them all").click()
    expect(page.get_by_text("2 of 3 pictures")).to_be_visible()
    expect(page.get_by_text("fake.png: not a picture")).to_be_visible()
    assert natural_sizes(page.locator(".results .thumbnail-item img")) == [[12, 10], [48, 40]] * 2  # before and after
    expect(page.locator(".results .thumbnail-item img").first).to_have_css("object-fit", "contain")
    for shown in page.locator(".results .thumbnail-item").all():  # no name lies across its picture
        picture, name = shown.locator("img").bounding_box(), shown.locator(".caption-label").bounding_box()
        assert picture and name and name["y"] >= picture["y"] + picture["height"] - 1
    with page.expect_download() as started:
        page.get_by_role("button", name="Download all as ZIP").click()
    with zipfile.ZipFile(started.value.path()) as archive:
        assert archive.namelist() == ["one-x4.png", "two-x4.png"]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_a_picture_that_is_opened_among_many_is_seen_whole_and_can_be_closed(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Many at once").click()
    files = [make_picture(tmp_path / f"{number}.png", 12, 10) for number in range(8)]
    page.locator("input[type=file][multiple]").set_input_files(files)
    expect(page.get_by_role("link", name=re.compile(r"^\d.* K?B"))).to_have_count(8)  # all have arrived
    page.get_by_role("button", name="Enlarge them all").click()
    expect(page.get_by_text("8 of 8 pictures")).to_be_visible()
    page.locator(".results .thumbnail-item").first.click()
    opened = page.locator(".results .preview .media-button img")
    expect(opened).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Close").filter(visible=True).click()
    expect(opened).to_have_count(0)


def test_a_refused_upload_leaves_nothing_old_and_the_next_photo_works(
    page: Page, server: Server, tmp_path: Path
) -> None:
    page.get_by_role("button", name="coffee").first.click()
    expect(page.get_by_text("The photo is 600x400")).to_be_visible()
    (tmp_path / "fake.png").write_text("no picture")
    upload(page, tmp_path / "fake.png")
    reason = page.locator(".block.problem").filter(visible=True)
    expect(reason).to_contain_text("fake.png: not a picture")
    expect(page.locator("#picture-compare img")).to_be_hidden()
    preview = page.locator("#picture-compare .image-container")
    words = "preview => getComputedStyle(preview, '::after').content"
    assert preview.evaluate(words) == '"No preview"'
    expect(page.locator("#wipe img")).to_have_count(0)
    expect(page.get_by_text("The photo is")).to_have_count(0)
    expect(page.get_by_role("button", name="Download the result").filter(visible=True)).to_be_disabled()
    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(reason).to_contain_text("fake.png: not a picture")  # until another picture comes
    upload(page, make_picture(tmp_path / "good.png", 164, 130))
    expect(page.get_by_text("The photo is 164x130")).to_be_visible()
    expect(page.locator("#picture-compare img")).to_be_visible()
    assert preview.evaluate(words) == "none"
    expect(reason).to_have_count(0)
    assert "Traceback" not in server.errors.read_text()


def test_a_picture_that_is_small_already_goes_to_enlarge_by_one_click(page: Page, tmp_path: Path) -> None:
    upload(page, make_picture(tmp_path / "face.png", 60, 50))
    button = page.get_by_role("button", name="This picture is small already (60x50 pixels): enlarge it.")
    expect(button).to_be_visible()
    calls: list[str] = []
    page.on("request", lambda asked: calls.append(asked.url) if "queue/join" in asked.url else None)
    button.click()
    expect(page.get_by_text("60x50 became 240x200")).to_be_visible()
    assert natural_sizes(page.locator("#enlarged .wipe img")) == [[240, 200]] * 2
    page.wait_for_timeout(500)
    assert len(calls) == 1  # it is restored once


@pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True)
def test_a_large_photo_is_offered_what_can_be_done_with_it(page: Page, tmp_path: Path) -> None:
    photo = make_picture(tmp_path / "photo.png", 1300, 1000, "obama.jpg")
    upload(page, photo)
    expect(page.get_by_text("The photo is 1300x1000")).to_be_visible()
    page.get_by_role("tab", name="Enlarge").click()  # the picture is carried over to this tab
    offers = page.locator("#way")
    expect(offers).to_contain_text("This photo is large already (1300x1000, 1.3 megapixels)")
    expect(page.locator("#enlarged img")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    page.get_by_role("slider", name="Detail").filter(visible=True).press("ArrowLeft")
    offers.get_by_label("Restore the face in it").click()  # before the answer for the other Detail arrives
    said = page.get_by_text(
        re.compile(r"^1 face was found and restored in 1300x1000: \d+ ms on .+\. Everything else is as it")
    )
    expect(said).to_be_visible()
    assert natural_sizes(page.locator("#enlarged .wipe img")) == [[1300, 1000]] * 2
    changed = np.asarray(download(page, "Download the result")) != np.asarray(images.open_rgb(photo))
    assert changed.any() and not changed[-300:].any()
    offers.get_by_label("Clean it up at this size").click()
    expect(page.get_by_text("1300x1000 was cleaned up at its own size")).to_be_visible()
    upload(page, make_picture(tmp_path / "tiny.png", 10, 7), "Your small picture")
    expect(page.get_by_text("10x7 became 40x28")).to_be_visible()
    expect(offers).to_have_count(0)


def test_the_size_and_the_format_of_the_result_can_be_chosen(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    upload(page, make_picture(tmp_path / "tiny.png", 20, 14), "Your small picture")
    expect(page.get_by_text("20x14 became 80x56")).to_be_visible()
    size = page.locator("#enlarge-size input").filter(visible=True)
    size.fill("width 50")
    size.press("Enter")
    expect(page.get_by_text("20x14 became 50x35")).to_be_visible()
    for format, ending in (("JPEG", ".jpg"), ("WebP", ".webp")):
        page.locator("#save-as").get_by_label(format).check()
        with page.expect_download() as started:
            page.wait_for_timeout(1500)  # until the button offers the other file
            page.get_by_role("button", name="Download the result").filter(visible=True).click()
        assert started.value.suggested_filename == f"tiny-50w{ending}"
        with Image.open(started.value.path()) as picture:
            assert (picture.format, picture.size) == (format.upper(), (50, 35))
    size.fill("as large as a house")
    size.press("Enter")
    expect(page.locator(".block.problem").filter(visible=True)).to_contain_text("'as large as a house'")
    expect(page.locator("#enlarged img")).to_have_count(0)


@contextmanager
def touched_page(
    browser: Browser, server: Server
) -> Iterator[tuple[Page, Callable[[float, float, float, float], None]]]:
    """Yields the page on a phone, and a function that swipes from a point by so many pixels to the right and down."""
    with browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        page.goto(server.url)
        natural_sizes(page.locator("#wipe .wipe img"))
        await_viewer(page)
        touch = partial(context.new_cdp_session(page).send, "Input.dispatchTouchEvent")

        def swipe(x: float, y: float, right: float, down: float) -> None:
            for kind, part in (("touchStart", 0), *(("touchMove", step / 8) for step in range(1, 9))):
                touch({"type": kind, "touchPoints": [{"x": x + right * part, "y": y + down * part}]})
                page.wait_for_timeout(20)
            touch({"type": "touchEnd", "touchPoints": []})

        yield page, swipe


def test_a_finger_taps_and_drags_the_line_and_scrolls_the_page(browser: Browser, server: Server) -> None:
    with touched_page(browser, server) as (page, swipe):
        line, box = page.locator("#wipe .line"), page.locator("#wipe .wipe").bounding_box()
        assert box
        page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + 60)
        expect(line).to_have_attribute("aria-valuenow", "80")
        swipe(box["x"] + box["width"] * 0.7, box["y"] + 80, box["width"] * -0.4, 10)
        expect(line).to_have_attribute("aria-valuenow", "30")
        for part in (0.7, 0.3):  # beside the line, and on it
            swipe(box["x"] + box["width"] * part, box["y"] + 250, 5, -200)
            page.wait_for_function("scrollY > 100")
            expect(line).to_have_attribute("aria-valuenow", "30")
            page.evaluate("scrollTo(0, 0)")


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_choice_that_is_pressed_counts_although_it_is_moved_away_meanwhile(page: Page) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    choice = page.locator("#save-as label").filter(has_text="WebP")
    choice.scroll_into_view_if_needed()
    box = choice.bounding_box()
    assert box
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.evaluate("document.querySelector('#save-as').style.marginTop = '200px'")
    page.mouse.up()
    expect(choice.get_by_role("radio")).to_be_checked()


FOCUSED = """() => {
    const { x, y, width, height } = document.activeElement.getBoundingClientRect();
    const marked = [document.activeElement, document.activeElement.closest("label")].some((node) =>
        node && getComputedStyle(node).outlineStyle !== "none" && parseFloat(getComputedStyle(node).outlineWidth) >= 1);
    const name = document.activeElement.tagName, line = document.activeElement.matches(".line");
    return { name, y: y + scrollY, seen: width > 0 && height > 0, marked: marked || line };
}"""


@pytest.mark.parametrize("tab", ["Compare", "Enlarge", "Many at once"])
def test_every_control_has_a_name_and_is_reached_by_keyboard_where_it_can_be_seen(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
    controls = {"button", "slider", "radio", "tab", "link", "combobox", "spinbutton", "textbox", "group", "image"}
    session = page.context.new_cdp_session(page)

    def roles_and_names() -> list[tuple[str, str]]:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        named = [node for node in nodes if "name" in node and not node["ignored"]]
        return [(node["role"]["value"], node["name"]["value"]) for node in named]

    def without_name() -> list[str]:
        return [role for role, name in roles_and_names() if role in controls and not name]

    deadline = time.monotonic() + 10
    while without_name() and time.monotonic() < deadline:  # icons are drawn before they are named
        page.wait_for_timeout(100)
    assert without_name() == []
    roles = roles_and_names()
    wanted = sum(role in controls - {"tab", "group", "image"} for role, _ in roles)
    page.get_by_role("tab", name="Compare").focus()
    places = []
    for _ in range(60):
        page.keyboard.press("Tab")
        place = page.evaluate(FOCUSED)
        if place["name"] == "BODY":
            break
        places.append(place)
    assert all(place["seen"] and place["marked"] for place in places), places
    disabled = page.locator("button:disabled").filter(visible=True).count()
    assert len(places) >= wanted - disabled  # no control is skipped
    assert places[0]["y"] < places[-1]["y"] == max(place["y"] for place in places)


def test_reduced_motion_is_obeyed(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    reload(page)
    expect(page.locator("#wipe .wipe img")).to_have_count(2)
    slow = """() => [...document.querySelectorAll("*")].flatMap((node) => {
        const { animationName, animationDuration, transitionDuration } = getComputedStyle(node);
        const longest = (text) => Math.max(...text.split(",").map(parseFloat));
        const moves = animationName !== "none" && longest(animationDuration) > 0.01;
        return moves || longest(transitionDuration) > 0.01 ? [node.outerHTML.slice(0, 80)] : [];
    })"""
    assert page.evaluate(slow) == []
    assert page.evaluate("calm")  # applies to scrolling


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_shows_the_result_first_and_never_scrolls_sideways(page: Page) -> None:
    expect(page.locator("#wipe .line")).to_be_in_viewport()
    for tab in ("Compare", "Enlarge"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize(("touch", "hint"), [(False, "Scroll or pinch to zoom"), (True, "Pinch to zoom")])
def test_it_is_said_how_to_zoom_with_what_the_visitor_has(
    browser: Browser, server: Server, touch: bool, hint: str
) -> None:
    with opened_page(browser, server, PHONE, touch) as page:
        expect(page.locator("#wipe .zoom span").filter(visible=True)).to_have_text(f"{hint}, drag to move.")


LOW_CONTRASTS = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    const over = ([r, g, b, a = 1], below) => [r, g, b].map((part, at) => part * a + below[at] * (1 - a));
    const ground = (node) => {
        const behind = node.parentElement ? ground(node.parentElement) : [255, 255, 255];
        return over(parse(getComputedStyle(node).backgroundColor), behind);
    };
    const light = (colour) => colour.map((part) => part / 255)
        .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
        if (!text || !node.checkVisibility() || node.closest("script, style, :disabled")) continue;
        if (!node.getClientRects().length) continue;
        const below = ground(node), shown = over(parse(getComputedStyle(node).color), below);
        const [less, more] = [light(below), light(shown)].sort((one, other) => one - other);
        const contrast = (more + 0.05) / (less + 0.05);
        if (contrast < 4.5) found.push(`${text}: ${contrast.toFixed(2)}`);
    }
    return found;
}"""
"""Finds texts whose contrast with their background is below WCAG level AA."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    reload(page)
    expect(page.locator("#wipe .wipe img")).to_have_count(2)
    page.get_by_role("button", name="Details").click()
    page.get_by_role("button", name="How it works").click()
    for tab in ("Compare", "Enlarge", "Many at once"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        page.wait_for_timeout(500)  # colours change slowly
        assert page.evaluate(LOW_CONTRASTS) == []


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone_both_downloads_are_equally_high(page: Page) -> None:
    names = ("Download the result", "Download the small copy")
    boxes = [page.get_by_role("button", name=name).filter(visible=True).bounding_box() for name in names]
    assert len({box["height"] for box in boxes if box}) == 1


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone_the_result_comes_into_view_when_an_example_is_chosen(page: Page) -> None:
    page.get_by_role("button", name="collins").first.click()
    expect(page.get_by_text("The photo is 512x512")).to_be_attached()
    expect(page.locator("#wipe")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone_the_reason_and_the_choices_come_into_view(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    (tmp_path / "fake.png").write_text("no picture")
    page.locator("#picture-enlarge").scroll_into_view_if_needed()
    upload(page, tmp_path / "fake.png", "Your small picture")
    expect(page.locator(".block.problem").filter(visible=True)).to_be_in_viewport(ratio=0.9)
    page.locator("#save-as").scroll_into_view_if_needed()
    upload(page, make_picture(tmp_path / "photo.png", 1300, 1000, "obama.jpg"), "Your small picture")
    expect(page.locator("#way")).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("page", [DESKTOP, PHONE], indirect=True)
def test_faces_are_shown_before_and_after_and_where_none_is_it_is_said(page: Page) -> None:
    page.get_by_role("tab", name="Enlarge").click()
    shown = page.locator(".faces img")
    expect(page.get_by_text("1 face was found; before (bicubic) and after:")).to_be_visible()
    expect(shown).to_have_count(1)  # the example that the page starts with
    [[width, height]] = natural_sizes(shown)
    place = shown.bounding_box()
    assert place and place["width"] / place["height"] == pytest.approx(2, abs=0.05)
    assert width / height == pytest.approx(2, abs=0.05) and width >= place["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]

    page.get_by_role("button", name="coffee").filter(visible=True).click()
    expect(page.get_by_text("No face was found: the whole picture was restored.")).to_be_visible()
    expect(shown).to_have_count(0)
    expect(page.locator(".faces .block").filter(visible=True)).to_have_count(1)  # no empty frame
    page.get_by_role("button", name="collins").filter(visible=True).click()
    expect(shown).to_be_visible()


def test_the_settings_survive_a_reload(page: Page, server: Server) -> None:
    assert page.url == f"{server.url}/"
    page.get_by_label("Before | Original").check()
    first = sources(page.locator(".panes img"))[1] or ""
    page.get_by_role("slider", name="Detail").filter(visible=True).press("Home")
    expect(page).to_have_url(re.compile(r"\?.*detail=0(&|$)"))
    expect(page).to_have_url(re.compile("pair=Before"))
    expect(page.locator(".panes img").nth(1)).not_to_have_attribute("src", first)
    source = sources(page.locator(".panes img"))[1] or ""
    reload(page)
    expect(page.get_by_role("slider", name="Detail").filter(visible=True)).to_have_value("0")
    expect(page.locator("#wipe .name")).to_have_text(["Before", "Original"])
    expect(page.locator(".panes img").nth(1)).to_have_attribute("src", source)
    page.get_by_role("tab", name="Enlarge").click()
    expect(page).to_have_url(f"{server.url}/?tab=enlarge")
    expect(page.locator("#enlarged .wipe")).to_be_visible()
    reload(page)
    expect(page.locator("#enlarged .wipe")).to_be_visible()


@pytest.fixture(scope="module")
def two_models(
    model_folder: Path, photos_folder: Path, lpips_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("two")
    with running_shipped(model_folder, photos_folder, folder, SRGAN_LPIPS=str(lpips_file)) as running:
        yield running


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_other_model_is_chosen_by_keyboard_in_every_tab(
    browser: Browser, two_models: Server, viewport: ViewportSize, tmp_path: Path, photos_folder: Path
) -> None:
    with opened_page(browser, two_models, viewport) as page:
        restored = sources(page.locator(".panes img"))[1] or ""
        chosen = page.get_by_role("group", name="Made for").filter(visible=True)
        chosen.get_by_role("radio", name="Clean faces").press("Space")
        page.get_by_role("button", name="Details").click()
        expect(page.locator(".figures table")).to_contain_text("tiny-photos")
        expect(page.locator(".panes img").nth(1)).not_to_have_attribute("src", restored)
        page.get_by_role("tab", name="Enlarge").click()
        file = make_picture(tmp_path / "tiny.png", 10, 7)
        upload(page, file, "Your small picture")
        expect(page.get_by_text("10x7 became 40x28")).to_be_visible()
        before = sources(page.locator("#enlarged .wipe img"))[0] or ""
        chosen.get_by_role("radio", name="Clean faces").press("Space")
        expect(page.locator("#enlarged .wipe img").first).not_to_have_attribute("src", before)
        expected = Upscaler.load(photos_folder).enlarge(images.open_rgb(file))
        np.testing.assert_array_equal(np.asarray(download(page, "Download the result")), np.asarray(expected))
        for tab in ("Compare", "Enlarge", "Many at once"):
            page.get_by_role("tab", name=tab).click()
            expect(chosen).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_lpips_stands_beside_the_picture_and_is_explained(browser: Browser, two_models: Server) -> None:
    with opened_page(browser, two_models, DESKTOP) as page:
        page.get_by_role("button", name="Details").click()
        heading = page.get_by_role("columnheader", name="LPIPS")
        expect(heading.locator("abbr")).to_have_attribute("title", re.compile("Lower looks closer"))
        expect(page.get_by_text("LPIPS measures how different")).to_be_visible()
        for name in ("before", "after"):
            cells = page.get_by_role("row", name=name).get_by_role("cell")
            expect(cells.nth(2)).to_have_text(re.compile(r"^\d+\.\d{3}$"))
