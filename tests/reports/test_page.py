"""report.html and TensorBoard: what they show of a run. The page needs no other file."""

import base64
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import Killed, is_one_sentence, killed_after, rows, start

from srgan.errors import UserError
from srgan.reports.page import MOST_IN_STRIP, Report, page, short
from srgan.reports.pictures import epoch_folder
from srgan.training.records import EpochRow, StatsRow
from srgan.training.run import Run

SETTINGS = {"epochs": 2, "checkpoint_every": 99}


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = start(photos, tmp_path_factory.mktemp("run") / "<mine>", **SETTINGS)
    assert run.train() is True
    return run


class Page(HTMLParser):
    """Collects a page's pictures, its words and everything else that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: dict[str, list[bytes]] = {}
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        assert tag not in ("script", "iframe", "object")
        self.addresses += [found[name] or "" for name in ("src", "href", "srcset") if name in found]
        if tag == "img":
            data = base64.b64decode((found["src"] or "").split("base64,")[1], validate=True)
            self.pictures.setdefault(found["alt"] or "", []).append(data)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_numbers_of_the_tiles_are_short_and_never_in_powers_of_ten() -> None:
    assert [short(value) for value in (0.3826, 26.14, 99.96, 2611.4, 12345.6)] == [
        "0.383",
        "26.1",
        "100",
        "2,611",
        "12,346",
    ]


def test_the_page_shows_the_run_and_needs_nothing_else(finished: Run) -> None:
    text = (finished.folder / "report.html").read_text()
    found = Page(text)
    assert found.addresses and all(address.startswith("data:") for address in found.addresses)
    assert "url(" not in text and "@import" not in text
    for folder, title in (("low", "low resolution"), ("detail-002", "detail epoch 2"), ("original", "original")):
        for name in ("010", "011"):
            shown = found.pictures[f"{name}.png, {title}"]
            assert shown[0] == (finished.folder / "samples" / folder / f"{name}.png").read_bytes()
    curves = [data[0] for title, data in found.pictures.items() if ", " not in title or "dB" in title or "D(" in title]
    assert len(curves) == 5 and all(b"<svg" in curve for curve in curves)
    last = finished.trainer.history[-1]
    for words in (
        "Detail stage, epoch 2 of 2", "10 in the fidelity stage and 20 in the detail stage",
        f"{last.values['psnr_y']:.2f}",
        f"{finished.bicubic['ssim_y']:.4f}", "for 1,000 photos", "--fidelity-epochs", "<mine>", "python train.py",
    ):  # fmt: skip
        assert words in found.words, words
    assert str(finished.folder.parent) not in text and str(finished.config.data) not in text


def test_the_finished_page_has_the_figures_of_the_blend(finished: Run) -> None:
    finished.finish()
    words = Page((finished.folder / "report.html").read_text()).words
    assert "Finished" in words and "detail 0.5" in words


def report(run: Run) -> Report:
    return Report(
        name="run", training=run.facts(), epochs={"fidelity": 1, "detail": 2}, history=run.trainer.history,
        rows=run.trainer.log.rows(), figures={"bicubic": run.bicubic, "now": run.bicubic},
        samples=run.folder / "samples", columns={"low": "low", "original": "original"},
        photos=["010.png"], finished=False,
    )  # fmt: skip


def test_a_warning_stands_on_the_page_and_text_is_never_markup(finished: Run) -> None:
    warning = StatsRow("warning", "detail", 5, 1, texts={"text": "Look: <b>out</b> & about"})
    plain = report(finished)
    text = page(replace(plain, rows=[*plain.rows, warning], name="<script>alert(1)</script>"))
    found = Page(text)  # refuses a script
    assert "Look: <b>out</b> & about" in found.words and "<script>alert(1)</script>" in found.words
    assert "Out of balance" not in Page(page(plain)).words


def test_of_a_long_run_a_few_epochs_are_shown(finished: Run, tmp_path: Path) -> None:
    plain = report(finished)
    for number in range(1, 41):
        (tmp_path / epoch_folder("detail", number)).mkdir()
        for name in ("low", "original", epoch_folder("detail", number)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "010.png").write_bytes(name.encode())
    history = [EpochRow("detail", number, {"psnr_y": 20.0 + number}) for number in range(1, 41)]
    found = Page(page(replace(plain, history=history, samples=tmp_path, epochs={"detail": 40})))
    shown = [data[0].decode() for title, data in found.pictures.items() if title.startswith("010.png, detail")]
    assert len(shown) == MOST_IN_STRIP
    assert (shown[0], shown[-1]) == ("detail-001", "detail-040") and shown == sorted(shown)


# TensorBoard


def test_tensorboard_has_every_row_once_though_the_run_was_stopped(photos: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = start(photos, tmp_path / "run", tensorboard=True, **SETTINGS)
    after_epoch = killed_after(2)  # its first detail epoch is shown but not yet saved
    with pytest.raises(Killed):
        first.train(after_epoch)
    first.board.writer.close()
    again = start(photos, first.folder, resume=True, tensorboard=True, **SETTINGS)
    assert again.train() is True
    again.board.writer.close()
    events = EventAccumulator(str(first.folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    found = rows(first.folder)
    before = {"fidelity": 0, "detail": 10}
    for tag, kind in (("train/generator", "train"), ("validation/psnr_y", "validation"), ("train/pixel", "train")):
        name = tag.split("/")[1]
        wanted = [
            (before[row["stage"]] + row["photos"], row[name]) for row in found if row["kind"] == kind and name in row
        ]
        assert wanted
        assert [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)] == wanted
    assert [event.step for event in events.Images("restored")] == [10, 20, 30]


def test_without_its_package_tensorboard_is_refused_before_anything_is_begun(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard") as caught:
        start(photos, tmp_path / "run", tensorboard=True)
    assert is_one_sentence(str(caught.value)) and not (tmp_path / "run").exists()
