"""python -m srgan upscale on folders and odd pictures: which are enlarged, skipped, reported and written."""

import errno
import io
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, environment, is_one_sentence, run_python, textured
from PIL import Image, ImageFile

from srgan import ranks
from srgan.commands import batch_progress, upscale
from srgan.commands import estimate as estimates
from srgan.commands.cli import main
from srgan.faces import detector, draw_faces, find_faces
from srgan.pictures import animations, large
from srgan.pictures.sizes import FOUR_TIMES, TargetSize
from srgan.signs import jpeg_quality
from srgan.upscaler import Upscaler, Watch
from srgan.wear import CLEAN_MODEL, RESTORED, WORN_MODEL, Automatic


@pytest.fixture
def settings(model_folder: Path) -> list[str]:
    return ["--model", str(model_folder), "--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Makes a folder with three good pictures and a broken one."""
    source = tmp_path / "in"
    (source / "below").mkdir(parents=True)
    for number, name in enumerate(("a.png", "below/b.jpg", "c.png")):
        textured(number, 12, 9 + number).save(source / name)
    (source / "below" / "broken.jpg").write_text("not a picture")
    return source


def run(*arguments: object) -> int:
    return main(["upscale", *map(str, arguments)])


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_jobs_as_you_like_write_the_same(
    folder: Path, tmp_path: Path, settings: list[str], model_folder: Path, jobs: int
) -> None:
    assert run(folder, tmp_path / "out", "--jobs", jobs, "--detail", 0.5, *settings) == 1
    assert files(tmp_path / "out").keys() == {"a.png", "below/b.png", "c.png"}
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    for name in ("a.png", "below/b.jpg", "c.png"):
        wanted = upscaler.enlarge(Image.open(folder / name), 0.5)
        found = Image.open((tmp_path / "out" / name).with_suffix(".png"))
        assert np.array_equal(np.asarray(found), np.asarray(wanted))


def test_a_second_run_does_what_is_missing(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(folder, out, *settings)
    whole = files(out)
    assert "3 of 4" in capsys.readouterr().out
    (out / "c.png").unlink()
    (out / "a.png").write_bytes(b"kept")
    (folder / "below" / "broken.jpg").unlink()
    assert run(folder, out, *settings) == 0
    said = capsys.readouterr().out
    assert "1 picture enlarged" in said and "2 results existed already" in said and "--overwrite" in said
    assert files(out) == {**whole, "a.png": b"kept"}
    assert run(folder, out, "--overwrite", *settings) == 0
    assert files(out) == whole
    assert "3 of 3" in capsys.readouterr().out
    assert run(folder, out, *settings) == 0
    assert capsys.readouterr().out == "3 results existed already (--overwrite makes them again).\n"


def test_what_is_said_fits_the_number_of_pictures(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [folder / name for name in ("broken.png", "broken-too.png")]
    for path in broken:
        path.write_text("not a picture")
    assert run(broken[0], *settings) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("broken.png") == 1  # the error says everything
    assert run(*broken, tmp_path / "new" / "", *settings) == 1
    said = capsys.readouterr()
    assert said.out == "None of the 2 pictures was enlarged.\n" and all(path.name in said.err for path in broken)
    for wanted in ("1 picture enlarged to", "1 result existed already (--overwrite makes it again)."):
        assert run(folder / "a.png", *settings) == 0
        assert capsys.readouterr().out.startswith(wanted)


def test_every_picture_has_a_result_of_its_own_on_any_disk(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number, (name, format) in enumerate((("a.bmp", "BMP"), ("a.jpg", "JPEG"), ("a.jpg.png", "PNG"))):
        textured(number, 8, 5 + number).save(tmp_path / "in" / name, format)
    (tmp_path / "in" / "A.PNG").write_bytes((tmp_path / "in" / "a.jpg.png").read_bytes())
    count = len(list((tmp_path / "in").iterdir()))  # A.PNG may be the same file here
    assert run(tmp_path / "in", tmp_path / "out", *settings) == 0
    assert f"{count} of {count} pictures" in capsys.readouterr().out
    assert len({name.casefold() for name in files(tmp_path / "out")}) == count


def test_originals_are_not_written_over_where_two_names_are_one_file(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    textured(0, 8, 8).save(tmp_path / "in" / "a.png")
    (tmp_path / "IN").symlink_to(tmp_path / "in")  # as on a disk on which both are one name
    (tmp_path / "A.png").hardlink_to(tmp_path / "in" / "a.png")
    before = files(tmp_path)
    assert run(tmp_path / "in", tmp_path / "IN", "--overwrite", *settings) == 2
    assert run(tmp_path / "in" / "a.png", tmp_path / "A.png", *settings) == 2
    assert files(tmp_path) == before


@pytest.fixture
def cut_short(tmp_path: Path) -> Path:
    """Makes a complete picture, one without its lower part, and a file that is no picture."""
    source = tmp_path / "in"
    source.mkdir()
    textured(0, 64, 64).save(source / "whole.jpg", quality=95)
    data = (source / "whole.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(data[: len(data) * 2 // 3])
    (source / "text.jpg").write_text("not a picture")
    return source


def test_what_is_left_of_a_damaged_picture_is_enlarged_on_request(
    cut_short: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cut_short, tmp_path / "strict", *settings) == 1
    said = capsys.readouterr().err.splitlines()
    (refused,) = [line for line in said if "cut.jpg" in line]
    assert "--damaged" in refused and is_one_sentence(refused)
    assert not any("--damaged" in line for line in said if "text.jpg" in line)
    assert files(tmp_path / "strict").keys() == {"whole.png"}

    assert run(cut_short, tmp_path / "out", "--damaged", "--jobs", 3, *settings) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srgan upscale: ")]
    assert len(said) == 2 and "text.jpg" in said[1]
    assert "cut.jpg" in said[0] and "damaged" in said[0] and "whole.jpg" not in said[0]
    assert files(tmp_path / "out").keys() == {"whole.png", "cut.png"}
    whole, cut = (np.asarray(Image.open(tmp_path / "out" / f"{name}.png")).astype(int) for name in ("whole", "cut"))
    assert np.array_equal(cut[:64], whole[:64])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES

    assert run(cut_short / "cut.jpg", tmp_path / "one.png", *settings) == 2
    assert "--damaged" in capsys.readouterr().err
    assert run(cut_short / "cut.jpg", tmp_path / "one.png", "--damaged", *settings) == 0
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tiff", "TIFF")])
def test_a_folder_of_any_format(folder: Path, tmp_path: Path, settings: list[str], ending: str, name: str) -> None:
    assert run(folder, tmp_path / "out", "--format", ending, *settings) == 1
    for stem in ("a", "below/b", "c"):
        with Image.open(tmp_path / "out" / f"{stem}.{ending}") as picture:
            assert picture.format == name


def test_what_is_not_kept_is_said_once_for_all(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    (tmp_path / "in").mkdir()
    for number in range(5):
        frames[0].save(tmp_path / "in" / f"{number}.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (8, 8)).save(tmp_path / "in" / "clear.png")
    assert run(tmp_path / "in", tmp_path / "out", "--format", "jpg", *settings) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srgan upscale: ")]
    assert len(said) == 2 and all(map(is_one_sentence, said))
    assert "0.gif" in said[0] and "and 2 more" in said[0] and "the first is taken" in said[0]
    assert "clear.png" in said[1] and "laid on white" in said[1]
    assert Image.open(tmp_path / "out" / "clear.jpg").getpixel((16, 16)) == (255, 255, 255)
    assert run(tmp_path / "in" / "0.gif", tmp_path / "one.jpg", *settings) == 0
    assert "the first is taken" in capsys.readouterr().err


def test_a_format_and_a_name_that_contradict_each_other_are_refused(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder / "a.png", tmp_path / "a.png", "--format", "jpg", *settings) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "a.png").exists()
    assert run(folder / "a.png", tmp_path / "a.jpeg", "--format", "jpg", *settings) == 0
    assert run(folder / "a.png", tmp_path, "--format", "webp", *settings) == 0
    assert Image.open(tmp_path / "a.webp").size == (48, 36)


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_wrong_number_of_jobs_is_refused(
    folder: Path, tmp_path: Path, settings: list[str], jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run(folder, tmp_path / "out", f"--jobs={jobs}", *settings)
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and "--jobs" in capsys.readouterr().err


def test_a_result_too_large_for_its_format_is_refused_before_the_work(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (5000, 1)).save(tmp_path / "long.png")
    assert run(tmp_path / "long.png", tmp_path / "large.png", *settings) == 0
    assert Image.open(tmp_path / "large.png").size == (20_000, 4)
    monkeypatch.setattr(Upscaler, "enlarge", lambda *_: pytest.fail("enlarged all the same"))
    assert run(tmp_path / "long.png", tmp_path / "large.webp", *settings) == 2
    assert "16383" in (said := capsys.readouterr().err) and is_one_sentence(said)


def test_a_very_large_result_needs_space_on_the_disk_and_no_memory(
    tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    textured(1, 24, 20).save(tmp_path / "small.png")
    assert run(tmp_path / "small.png", tmp_path / "in-memory.png", *settings) == 0
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 1000)
    folders, mapped_file = [], large.mapped_file
    monkeypatch.setattr(
        large, "mapped_file", lambda folder, length: folders.append(folder) or mapped_file(folder, length)
    )
    assert run(tmp_path / "small.png", tmp_path / "new" / "in-file.png", *settings) == 0
    assert (tmp_path / "new" / "in-file.png").read_bytes() == (tmp_path / "in-memory.png").read_bytes()
    assert folders == [tmp_path / "new"]

    def refuses(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(large, "mapped_file", refuses)
    assert run(tmp_path / "small.png", tmp_path / "new" / "another.png", *settings) == 2
    assert "free space" in (said := capsys.readouterr().err) and is_one_sentence(said.splitlines()[-1])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["in-file.png"]


def test_pictures_are_read_and_written_beside_the_network_that_runs_alone(
    tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        textured(number, 8, 8).save(tmp_path / "in" / f"{number}.png")
    networks: list[int] = []
    alone, second, save, enlarge = threading.Lock(), threading.Event(), upscale.save_picture, Upscaler.enlarge
    beside: list[bool] = []

    def count(*arguments: Any, **named: Any) -> Image.Image:
        assert alone.acquire(blocking=False), "two pictures in the network at once"
        networks.append(threading.get_ident())
        if len(networks) == 2:
            second.set()
        try:
            return enlarge(*arguments, **named)
        finally:
            alone.release()

    def wait(*arguments: Any) -> list[str]:
        """Delays the first result until the network has begun the next picture."""
        beside.append(second.wait(60))
        return save(*arguments)

    monkeypatch.setattr(Upscaler, "enlarge", count)
    monkeypatch.setattr(upscale, "save_picture", wait)
    assert run(tmp_path / "in", tmp_path / "out", "--jobs", 3, *settings) == 0
    assert len(networks) == 6 and len(set(networks)) == 1 and beside == [True] * 6


def test_ctrl_c_leaves_whole_files_and_the_next_run_goes_on(tmp_path: Path, settings: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(40):
        textured(number, 100, 100).save(tmp_path / "in" / f"{number:02}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "srgan", "upscale", tmp_path / "in", out, "--jobs", "2", *settings]
    process = subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background process ignores it
    )  # fmt: skip
    while process.poll() is None and not list(out.glob("*.png")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "to continue" in said and "Traceback" not in said
    there = list(out.iterdir())
    assert 1 <= len(there) < 40
    for path in there:
        assert path.suffix == ".png" and not path.name.startswith(".")
        Image.open(path).load()
    assert run(tmp_path / "in", out, *settings) == 0
    assert len(list(out.iterdir())) == 40


def test_ctrl_c_ends_the_work_on_a_picture_that_is_half_done(
    tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The threads that read, write and run the network must not finish a large picture first."""
    textured(0, 40, 40).save(tmp_path / "large.png")
    enlarge, shares = Upscaler.enlarge, list[float]()

    def slowly(*arguments: Any, watch: Watch, **options: Any) -> Image.Image:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        for step in range(100):
            watch(step / 100)
            shares.append(step / 100)
            time.sleep(0.1)
        return enlarge(*arguments, watch=watch, **options)

    monkeypatch.setattr(Upscaler, "enlarge", slowly)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background process ignores it
    try:
        assert run(tmp_path / "large.png", *settings) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert "to continue" in capsys.readouterr().err
    assert shares[-1] < 0.9 and files(tmp_path).keys() == {"large.png"}


def test_torchrun_splits_a_folder_and_all_of_it_is_done(
    folder: Path, tmp_path: Path, settings: list[str], model_folder: Path
) -> None:
    """The first process, which has a broken picture, ends before the second and does not stop it."""
    for number in range(6):
        textured(number, 60, 60).save(folder / f"d{number}.png")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "srgan", "upscale"]
    done = run_python(*launcher, str(folder), str(tmp_path / "out"), *settings)
    assert done.returncode == 1
    assert done.stdout.count("9 of 10 pictures") == 1 and "broken.jpg" in done.stderr
    names = {"a.png", "below/b.png", "c.png", *(f"d{number}.png" for number in range(6))}
    assert files(tmp_path / "out").keys() == names
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    for number in range(6):
        found = Image.open(tmp_path / "out" / f"d{number}.png")
        assert np.array_equal(np.asarray(found), np.asarray(upscaler.enlarge(Image.open(folder / f"d{number}.png"))))


def test_every_process_does_its_share_and_no_other(
    folder: Path, tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "below" / "broken.jpg").unlink()
    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    monkeypatch.setattr(ranks, "all_reduce_sum", lambda counts: counts)
    monkeypatch.setattr(ranks, "leave", lambda code: None)
    for number, names in ((0, {"a.png", "c.png"}), (1, {"below/b.png"})):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        assert run(folder, tmp_path / f"out{number}", *settings) == 0
        assert files(tmp_path / f"out{number}").keys() == names


def test_the_model_that_ships_draws_the_faces_and_where_none_is_it_is_said(
    tmp_path: Path, model_folder: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, on_faces = Upscaler.load(model_folder, "cpu", "fp32"), Upscaler.load(CLEAN_MODEL, "cpu", "fp32")
    (tmp_path / "in").mkdir()
    for name in ("collins.png", "coffee.png"):
        photo = Image.open(ROOT / "examples" / name).convert("RGB").reduce(5)
        photo.save(tmp_path / "in" / name)
    assert run(tmp_path / "in", tmp_path / "out", "--faces", "--detail", 0.5, *settings) == 0
    assert "srgan upscale: coffee.png: No face was found.\n" in capsys.readouterr().err.replace(f"{tmp_path}/in/", "")
    for name, count in (("collins.png", 1), ("coffee.png", 0)):
        photo = Image.open(tmp_path / "in" / name)
        faces = find_faces(photo)
        assert len(faces) == count
        wanted = draw_faces(whole.enlarge(photo, 0.5), on_faces, photo, faces, 0.5)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), np.asarray(wanted))


def test_faces_without_a_model_or_a_detector_are_refused(
    folder: Path,
    tmp_path: Path,
    settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(folder, tmp_path / "out", "--faces") == 2
    assert capsys.readouterr().err.startswith("srgan upscale: --faces needs --model")
    detector.cache_clear()
    monkeypatch.setattr("srgan.faces.DETECTOR", tmp_path / "gone.onnx")
    assert run(folder, tmp_path / "out", "--faces", *settings) == 2
    said = capsys.readouterr().err
    assert said.startswith("srgan upscale: gone.onnx, which finds faces, cannot be read") and is_one_sentence(said)
    assert not (tmp_path / "out").exists()


def test_the_model_that_ships_is_chosen_by_the_picture_or_by_wear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["--device", "cpu", "--precision", "fp32"]
    (tmp_path / "in").mkdir()
    photo = Image.open(ROOT / "examples" / "collins.png").convert("RGB").reduce(10)
    photo.save(tmp_path / "in" / "clean.png")
    photo.save(tmp_path / "in" / "worn.jpg", quality=60)
    models = Automatic.load("cpu", "fp32")
    jpeg = Image.open(tmp_path / "in" / "worn.jpg")
    held, unheld = models.worn.enlarge(jpeg), models.worn.enlarge(jpeg, correction=None)
    assert run(tmp_path / "in", tmp_path / "out", *plain) == 0
    assert "Looked clean: 1; looked worn: 1." in capsys.readouterr().out
    for name, upscaler in (("clean.png", models.clean), ("worn.jpg", models.worn)):
        picture = Image.open(tmp_path / "in" / name)
        assert models.choose(picture)[0] is upscaler
        wanted = models.enlarge(picture)
        found = Image.open(tmp_path / "out" / Path(name).with_suffix(".png"))
        assert np.array_equal(np.asarray(found), np.asarray(wanted))
    assert run(tmp_path / "in" / "worn.jpg", tmp_path / "one.png", *plain) == 0
    assert f"Looks worn (JPEG quality 60): {RESTORED}" in capsys.readouterr().err
    assert run(tmp_path / "in" / "worn.jpg", tmp_path / "two.png", "--wear", "clean", *plain) == 0
    assert run(tmp_path / "in" / "worn.jpg", tmp_path / "three.png", "--wear", "worn", *plain) == 0
    assert run(tmp_path / "in" / "worn.jpg", tmp_path / "four.png", "--model", str(WORN_MODEL), *plain) == 0
    one, three, four = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "three", "four"))
    assert one == three == four  # all are held to the blocks of the JPEG
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), np.asarray(held)) and held != unheld
    wanted = models.clean.enlarge(jpeg)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "two.png")), np.asarray(wanted))


def test_wear_is_refused_with_a_model(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path / "out", "--wear", "auto", *settings) == 2
    said = capsys.readouterr().err
    assert said.startswith("srgan upscale: --wear chooses between the models that ship") and is_one_sentence(said)


# Sizes


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["--scale", "2"], (24, 18)),
        (["--scale", "1"], (12, 9)),
        (["--scale", "8"], (96, 72)),
        (["--width", "30"], (30, 22)),
        (["--height", "30"], (40, 30)),
        (["--megapixels", "0.001"], (37, 27)),
        (["--fit", "40x40"], (40, 30)),
    ],
)
def test_the_size_is_the_one_that_is_wanted(
    tmp_path: Path, settings: list[str], model_folder: Path, words: list[str], size: tuple[int, int]
) -> None:
    textured(0, 12, 9).save(tmp_path / "small.png")
    assert run(tmp_path / "small.png", tmp_path / "large.png", *words, *settings) == 0
    found = Image.open(tmp_path / "large.png")
    text = " ".join(words).replace("--scale ", "x").replace("--fit ", "").replace("--megapixels 0.001", "0.001 MP")
    target = TargetSize.parse(text.replace("--", ""))
    wanted = Upscaler.load(model_folder, "cpu", "fp32").enlarge(textured(0, 12, 9), size=target)
    assert found.size == size and np.array_equal(np.asarray(found), np.asarray(wanted))


@pytest.mark.parametrize("words", [["--scale", "0"], ["--scale", "17"], ["--fit", "x2"], ["--width", "9999"]])
def test_a_wrong_size_is_refused_in_one_sentence(
    tmp_path: Path, settings: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    textured(0, 12, 9).save(tmp_path / "small.png")
    assert run(tmp_path / "small.png", tmp_path / "large.png", *words, *settings) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert not (tmp_path / "large.png").exists()


def test_faces_are_drawn_at_any_size(tmp_path: Path, settings: list[str], model_folder: Path) -> None:
    small = Image.open(ROOT / "examples" / "collins.png").convert("RGB").resize((96, 120))
    small.save(tmp_path / "small.png")
    whole, on_faces = Upscaler.load(model_folder, "cpu", "fp32"), Upscaler.load(CLEAN_MODEL, "cpu", "fp32")
    assert run(tmp_path / "small.png", tmp_path / "half.png", "--faces", "--scale", "2", *settings) == 0
    plain = whole.enlarge(small, size=TargetSize(scale=2))
    wanted = draw_faces(plain, on_faces, small, find_faces(small))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "half.png")), np.asarray(wanted))
    assert not np.array_equal(np.asarray(plain), np.asarray(wanted))


# Messages before the work


def test_before_long_work_its_size_and_time_are_said(
    tmp_path: Path, settings: list[str], model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    monkeypatch.setattr(estimates, "seconds_a_pixel", lambda *_: 90e-6)
    sentence = estimates.estimate([(4080, 3060)], FOUR_TIMES, upscaler, 1.0)
    assert sentence == "12 MP become 200 MP, about 19 minutes here; --scale 2 gives 50 MP."
    many = estimates.estimate([(1000, 1000)] * 200, TargetSize(scale=2), upscaler, 1.0)
    assert many == "200 pictures of 200 MP become 800 MP, about 5.0 hours here."
    assert estimates.estimate([(500, 500)], FOUR_TIMES, upscaler, 1.0) == ""
    twice = estimates.estimate([(500, 500)], TargetSize(scale=8), upscaler, 1.0)
    assert twice == "0.25 MP become 16 MP, about 6 minutes here."


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Returns a function that simulates a terminal and a user who types this text."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def answer(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal(text))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    return answer


def test_whoever_sits_at_a_terminal_is_asked_before_a_very_large_result(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    at_a_terminal: Callable[[str], None],
) -> None:  # fmt: skip
    monkeypatch.setattr(estimates, "LARGE_PIXELS", 1000)
    textured(0, 12, 9).save(tmp_path / "small.png")
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    for answer in ("n\n", "\n", ""):
        at_a_terminal(answer)
        assert run(small, large, *settings) == 2
        said = capsys.readouterr().err
        assert "Go on? [y/N]" in said and "--scale 2 gives" in said and not large.exists()
    at_a_terminal("y\n")
    assert run(small, large, *settings) == 0 and large.exists()
    at_a_terminal("")
    assert run(small, large, "--yes", *settings) == 0
    monkeypatch.undo()
    large.unlink()
    assert run(small, large, *settings) == 0 and large.exists()  # without a terminal, nobody can be asked


def test_a_second_picture_that_looks_like_the_result_is_not_lost_without_a_question(
    tmp_path: Path, settings: list[str], at_a_terminal: Callable[[str], None]
) -> None:
    """The user types `srgan upscale *.jpg`, and two pictures match."""
    for name in ("a.png", "b.png"):
        textured(0, 12, 9).save(tmp_path / name)
    before = files(tmp_path)
    at_a_terminal("\n")
    assert run(tmp_path / "a.png", tmp_path / "b.png", *settings) == 2
    assert files(tmp_path) == before
    at_a_terminal("yes\n")
    assert run(tmp_path / "a.png", tmp_path / "b.png", *settings) == 0
    assert Image.open(tmp_path / "b.png").size == (48, 36)


def test_one_picture_shows_how_far_it_is_and_short_work_shows_nothing(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    textured(0, 12, 9).save(tmp_path / "small.png")
    assert run(tmp_path / "small.png", tmp_path / "large.png", *settings) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(batch_progress, "FIRST_SHOWN_AFTER", 0)
    monkeypatch.setattr(batch_progress, "SECONDS_IN_LOGS", 0)
    assert run(tmp_path / "small.png", tmp_path / "large.png", *settings) == 0
    said = capsys.readouterr().err
    assert "%" in said and "left]" in said and "small.png" in said


def test_of_many_the_bar_counts_pictures_and_names_the_one_at_work(
    folder: Path,
    tmp_path: Path,
    settings: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_progress, "SECONDS_IN_LOGS", 0)
    assert run(folder, tmp_path / "out", *settings) == 1
    said = capsys.readouterr().err
    assert "0/4 pictures" in said and "█| 4/4 pictures" in said and "left]" in said
    assert all(name in said for name in ("a.png", "b.jpg", "c.png"))


# Names


def test_without_a_name_the_result_lies_beside_its_picture(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    textured(0, 12, 9).save(tmp_path / "small.jpg")
    assert run(tmp_path / "small.jpg", *settings) == 0
    assert "small-x4.png" in capsys.readouterr().out
    assert Image.open(tmp_path / "small-x4.png").size == (48, 36)
    assert run(tmp_path / "small.jpg", "--scale", 2, "--format", "same", *settings) == 0
    assert Image.open(tmp_path / "small-x2.jpg").format == "JPEG"
    assert run(tmp_path / "small.jpg", "--fit", "20x20", "--suffix", "_s", "--format", "webp", *settings) == 0
    assert Image.open(tmp_path / "small_s.webp").size == (20, 15)
    before = files(tmp_path)
    assert run(tmp_path / "small.jpg", *settings) == 0
    assert "--overwrite" in capsys.readouterr().out
    assert run(tmp_path / "small.jpg", "--format", "same", "--suffix", "", *settings) == 2
    assert run(tmp_path / "small-x4.png", "--suffix", "", *settings) == 2
    assert run(tmp_path / "small.jpg", "--suffix", "a/b", *settings) == 2
    assert files(tmp_path) == before


def test_several_pictures_and_patterns_go_into_a_folder(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(folder / "a.png", folder / "c.png", out, *settings) == 0
    assert "2 of 2 pictures" in capsys.readouterr().out
    assert files(out).keys() == {"a.png", "c.png"}
    assert run(folder / "*.png", folder / "below", out, "--format", "jpg", "--suffix", "-big", *settings) == 1
    assert files(out).keys() == {"a.png", "c.png", "a-big.jpg", "c-big.jpg", "below/b-big.jpg"}
    assert run(folder / "a*.png", f"{tmp_path / 'new'}/", *settings) == 0
    assert files(tmp_path / "new").keys() == {"a.png"}


def test_several_pictures_without_a_folder_get_their_results_beside_them(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(folder)
    names = [folder / "a.png", folder / "below" / "b.jpg", folder / "c.png"]
    for _ in range(2):
        assert run(*names, *settings) == 0
        assert files(folder).keys() == {*before, "a-x4.png", "below/b-x4.png", "c-x4.png"}
    capsys.readouterr()
    assert run(folder / "*.png", *settings) == 0  # its own results match the pattern, too
    said = capsys.readouterr()
    assert said.out.startswith("2 results existed already") and "a-x4.png is the result" in said.err
    assert run(folder, *settings) == 1
    assert (tmp_path / "in-x4" / "below" / "b.png").exists()
    assert {name: data for name, data in files(folder).items() if name in before} == before


def test_what_would_be_written_over_a_picture_or_has_no_place_is_refused(
    folder: Path, tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    textured(9, 12, 9).save(folder / "a.jpg")
    before = files(tmp_path)
    for words in (
        [folder / "*.png", folder],
        [folder / "a.jpg", folder / "c.png", folder, "--overwrite"],
        [folder / "a.png", folder / "c.png", tmp_path / "one.png"],
        [folder / "*.xyz", tmp_path / "out"],
        [folder / "a.png", folder / "nothing.png", tmp_path / "out"],
        [folder / "a.png", tmp_path / "one.png", "--suffix", "-x"],
        [folder / "a.png", "--quality", "0"],
    ):
        assert run(*words, *settings) == 2
        assert is_one_sentence(capsys.readouterr().err)
    assert files(tmp_path) == before


def test_every_result_has_its_pictures_format_on_request(folder: Path, tmp_path: Path, settings: list[str]) -> None:
    textured(0, 12, 9).save(folder / "d.bmp")
    textured(0, 12, 9).save(folder / "a.JPEG")
    assert run(folder, tmp_path / "out", "--format", "same", *settings) == 1
    assert files(tmp_path / "out").keys() == {"a.png", "a.JPEG", "below/b.jpg", "c.png", "d.png"}
    assert Image.open(tmp_path / "out" / "a.JPEG").format == "JPEG"


@pytest.mark.parametrize("ending", ["jpg", "webp", "avif"])
def test_quality_is_what_is_asked_for(tmp_path: Path, settings: list[str], ending: str) -> None:
    textured(0, 40, 30).save(tmp_path / "small.png")
    for quality in (30, 95):
        assert run(tmp_path / "small.png", tmp_path / f"{quality}.{ending}", "--quality", quality, *settings) == 0
    low, high = ((tmp_path / f"{quality}.{ending}").stat().st_size for quality in (30, 95))
    assert low < 0.6 * high
    if ending == "jpg":
        assert run(tmp_path / "small.png", tmp_path / "plain.jpg", *settings) == 0
        assert (tmp_path / "plain.jpg").read_bytes() == (tmp_path / "95.jpg").read_bytes()
        assert jpeg_quality(Image.open(tmp_path / "30.jpg")) == 30


def test_a_quality_that_the_format_does_not_have_is_said_to_change_nothing(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        textured(0, 12, 9).save(tmp_path / "in" / name)
    frames = [textured(number, 12, 9) for number in range(2)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert run(tmp_path / "in", tmp_path / "out", "--format", "same", "--quality", 50, *settings) == 0
    said = capsys.readouterr().err
    sentence = "PNG has no quality to choose, so --quality changed nothing."
    assert said.count(sentence) == 1 and "JPEG has" not in said
    for photo, place in (("in/a.png", "one.png"), ("moving.gif", "large.gif"), ("in/c.jpg", "one.jpg")):
        assert run(tmp_path / photo, tmp_path / place, "--quality", 50, *settings) == 0
        said = capsys.readouterr().err
        assert ("has no quality to choose" in said) == (place != "one.jpg")
    assert run(tmp_path / "in" / "a.png", tmp_path / "plain.png", *settings) == 0
    assert "quality" not in capsys.readouterr().err
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize("option", [["--quality", "50"], ["--format", "webp"], ["--suffix", "-big"]])
def test_what_is_only_for_pictures_is_refused_for_a_video_before_the_work(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"never read")
    assert run(tmp_path / "clip.mp4", *option, *settings) == 2
    said = capsys.readouterr().err
    assert f"{option[0]} is for pictures" in said and is_one_sentence(said)


# Animations


def moving(path: Path, transparent: bool = False, **options: Any) -> list[Image.Image]:
    """Writes an animation of three frames, in which a disc moves over a texture or over transparency."""
    frames = []
    for number in range(3):
        frame = Image.new("RGBA", (24, 18)) if transparent else textured(1, 24, 18).convert("RGBA")
        frame.paste("red", (4 * number, 3, 4 * number + 8, 11))
        frames.append(frame if transparent else frame.convert("RGB"))
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return frames


def shown(path: Path) -> list[Image.Image]:
    with Image.open(path) as file:
        frames = []
        for number in range(file.n_frames):
            file.seek(number)
            frames.append(file.convert("RGBA"))
        return frames


def times(path: Path) -> list[float]:
    with Image.open(path) as file:
        found = []
        for number in range(file.n_frames):
            file.seek(number)
            file.load()
            found.append(file.info["duration"])
        return found


@pytest.mark.parametrize("target", ["gif", "png", "webp"])
@pytest.mark.parametrize("source", ["gif", "png", "webp"])
def test_all_frames_of_an_animation_are_enlarged_with_their_timing_and_repetitions(
    tmp_path: Path, settings: list[str], model_folder: Path, source: str, target: str
) -> None:
    lossless = {"lossless": True} if source == "webp" else {}
    moving(tmp_path / f"in.{source}", duration=[50, 200, 1000], loop=0, **lossless)
    result = tmp_path / f"out.{target}"
    assert run(tmp_path / f"in.{source}", result, "--scale", 2, *settings) == 0
    assert times(result) == [50, 200, 1000]
    with Image.open(result) as file:
        assert (file.format, file.size, file.n_frames) == (target.upper(), (48, 36), 3)
        assert file.info.get("loop") == 0
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    for small, enlarged in zip(shown(tmp_path / f"in.{source}"), shown(result), strict=True):
        wanted = np.asarray(upscaler.enlarge(small.convert("RGB"), size=TargetSize(scale=2)), float)
        difference = np.abs(np.asarray(enlarged.convert("RGB"), float) - wanted).mean()
        assert difference == 0 if target == "png" else difference < 12


@pytest.mark.parametrize("target", ["gif", "png", "webp"])
def test_what_a_frame_leaves_clear_stays_clear_and_what_plays_once_plays_once(
    tmp_path: Path, settings: list[str], target: str
) -> None:
    """It would not stay clear if a frame were drawn over the one before it."""
    moving(tmp_path / "in.gif", transparent=True, duration=100, disposal=2)
    result = tmp_path / f"out.{target}"
    assert run(tmp_path / "in.gif", result, *settings) == 0
    for number, frame in enumerate(shown(result)):
        alpha = np.asarray(frame.getchannel("A"))
        assert alpha[28, 16 * number + 16] > 250, "the disc itself"
        alpha = alpha.copy()
        alpha[8:48, max(0, 16 * number - 4) : 16 * number + 36] = 0
        assert alpha.max() < 10, "nothing of the frames before"
    with Image.open(result) as file:
        assert file.info.get("loop") == (None if target == "gif" else 1)


def test_the_model_is_chosen_once_for_all_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moving(tmp_path / "in.gif", duration=100)
    chosen: list[Image.Image] = []
    choose = Automatic.choose
    monkeypatch.setattr(Automatic, "choose", lambda self, picture: (chosen.append(picture), choose(self, picture))[1])
    assert run(tmp_path / "in.gif", tmp_path / "out.webp", "--scale", 1, "--device", "cpu") == 0
    assert len(chosen) == 1
    assert capsys.readouterr().err.count("Looks ") == 1


def test_an_animation_that_ends_early_or_takes_too_much_memory_is_refused(
    tmp_path: Path, settings: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moving(tmp_path / "in.png", duration=100)
    monkeypatch.setattr(animations, "MOST_KEPT_PIXELS", 10_000)
    assert run(tmp_path / "in.png", tmp_path / "out.gif", *settings) == 2
    assert ".webp" in (said := capsys.readouterr().err) and is_one_sentence(said)
    assert run(tmp_path / "in.png", tmp_path / "out.webp", *settings) == 0
    data = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(data[: len(data) * 3 // 4])
    assert run(tmp_path / "in.png", tmp_path / "cut.webp", *settings) == 2
    assert "broken" in (said := capsys.readouterr().err) and is_one_sentence(said)
    assert not (tmp_path / "cut.webp").exists() and not (tmp_path / "out.gif").exists()
