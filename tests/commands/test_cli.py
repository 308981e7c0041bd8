"""python -m srgan upscale | evaluate: the files, the messages and the exit codes."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from helpers import ROOT, as_tensor, is_one_sentence, make_pairs, make_photos, run_python, textured
from PIL import Image

import srgan
from srgan.commands.cli import main
from srgan.measure.evaluation import BICUBIC, blends, evaluate, means
from srgan.measure.metrics import LPIPS, psnr_y
from srgan.measure.pairs import CropPictures
from srgan.photos.crops import load_crops
from srgan.upscaler import Upscaler


def run(*arguments: str | Path) -> int:
    """Runs main() and returns its exit code, also if it raises SystemExit."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def settings(model_folder: Path) -> tuple[str, ...]:
    return ("--model", str(model_folder), "--device", "cpu", "--precision", "fp32")


def enlarged(model_folder: Path, source: Path, detail: float = 1.0) -> np.ndarray:
    return np.asarray(Upscaler.load(model_folder, "cpu", "fp32").enlarge(Image.open(source), detail))


def test_a_picture_is_enlarged_into_a_file(tmp_path: Path, model_folder: Path, settings: tuple[str, ...]) -> None:
    textured(0, 20, 15).save(tmp_path / "small.png")
    for detail in (0.0, 0.5, 1.0):
        assert (
            run("upscale", tmp_path / "small.png", tmp_path / "new" / "large.png", "--detail", detail, *settings) == 0
        )
        found = np.asarray(Image.open(tmp_path / "new" / "large.png"))
        assert np.array_equal(found, enlarged(model_folder, tmp_path / "small.png", detail))


def test_the_name_of_the_output_says_its_format(tmp_path: Path, settings: tuple[str, ...]) -> None:
    textured(0, 20, 15).save(tmp_path / "small.png")
    for suffix, format in ((".jpg", "JPEG"), (".webp", "WEBP"), (".tiff", "TIFF")):
        assert run("upscale", tmp_path / "small.png", tmp_path / f"large{suffix}", *settings) == 0
        picture = Image.open(tmp_path / f"large{suffix}")
        assert (picture.format, picture.size) == (format, (80, 60))


def test_a_picture_is_enlarged_into_a_folder_under_its_name(tmp_path: Path, settings: tuple[str, ...]) -> None:
    textured(0, 8, 8).convert("L").save(tmp_path / "small.jpg")
    (tmp_path / "out").mkdir()
    assert run("upscale", tmp_path / "small.jpg", tmp_path / "out", *settings) == 0
    assert Image.open(tmp_path / "out" / "small.png").size == (32, 32)


def test_a_folder_keeps_its_subfolders_and_names_what_failed(
    tmp_path: Path, model_folder: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "deep" / "er").mkdir(parents=True)
    textured(0, 12, 9).save(source / "a.png")
    textured(1, 9, 12).save(source / "deep" / "er" / "b.bmp")
    (source / "broken.jpg").write_text("not a picture")
    assert run("upscale", source, target, *settings) == 1
    assert {path.relative_to(target).as_posix() for path in target.rglob("*.*")} == {"a.png", "deep/er/b.png"}
    for place, photo in (("a.png", "a.png"), ("deep/er/b.png", "deep/er/b.bmp")):
        assert np.array_equal(np.asarray(Image.open(target / place)), enlarged(model_folder, source / photo))
    said = capsys.readouterr()
    failures = [line for line in said.err.splitlines() if line.startswith("srgan upscale: ")]
    assert len(failures) == 1 and "broken.jpg" in failures[0]
    assert "2 of 3" in said.out


def test_pictures_of_one_stem_do_not_overwrite_each_other(tmp_path: Path, settings: tuple[str, ...]) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    textured(0, 12, 9).save(source / "a.png")
    textured(1, 16, 20).save(source / "a.bmp")
    run("upscale", source, target, *settings)
    assert {Image.open(path).size for path in target.iterdir()} == {(48, 36), (64, 80)}


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Returns the message for a wrong command, after checking that it is one sentence with exit code 2."""
    assert run(*arguments) == 2
    said = capsys.readouterr()
    assert is_one_sentence(said.err), said.err
    assert "usage:" not in said.err
    return said.err


def test_wrong_input_is_refused_by_name(
    tmp_path: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    for name in ("missing.png", "text.png", "empty"):
        assert name in complaint(capsys, "upscale", tmp_path / name, tmp_path / "out.png", *settings)
    assert not (tmp_path / "out.png").exists()


def test_a_bad_model_folder_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    textured(0, 8, 8).save(tmp_path / "small.png")
    (tmp_path / "model").mkdir()
    for model in ("missing", "model"):
        said = complaint(capsys, "upscale", tmp_path / "small.png", tmp_path / "out.png", "--model", tmp_path / model)
        assert str(tmp_path / model) in said


@pytest.mark.parametrize(
    "name", ["large.xyz", "large", "large.psd", "large.png/below.png", "small.png/below/large.png"]
)
def test_an_output_that_cannot_be_written_is_refused_by_name(
    tmp_path: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    textured(0, 8, 8).save(tmp_path / "small.png")
    textured(0, 8, 8).save(tmp_path / "large.png")
    assert name in complaint(capsys, "upscale", tmp_path / "small.png", tmp_path / name, *settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.png", "small.png"]


def test_a_folder_is_not_written_into_a_file(
    tmp_path: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    make_photos(tmp_path / "in", 1)
    (tmp_path / "file").touch()
    assert "file" in complaint(capsys, "upscale", tmp_path / "in", tmp_path / "file", *settings)


@pytest.mark.parametrize("detail", ["1.5", "-1", "nan"])
def test_a_wrong_detail_is_one_complaint_however_many_pictures(
    tmp_path: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str], detail: str
) -> None:
    make_photos(tmp_path / "in", 2)
    said = complaint(capsys, "upscale", tmp_path / "in", tmp_path / "out", f"--detail={detail}", *settings)
    assert "detail" in said and detail in said


@pytest.mark.parametrize(
    "arguments",
    [[], ["enlarge"], ["upscale"], ["upscale", "one.png"], ["upscale", "a", "b", "--detail", "much"],
     ["upscale", "a", "b", "--det", "1"],
     ["evaluate"], ["evaluate", "--data", "d", "--detail", "0,x"], ["upscale", "a", "b", "--device", "tpu"]],
)  # fmt: skip
def test_a_wrong_command_line_is_refused_in_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    complaint(capsys, *arguments)


# evaluate


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    for number in range(4):
        textured(number, 140, 130).save(folder / f"{number}.png")
    return folder


def test_evaluate_prints_and_writes_its_figures(
    tmp_path: Path, large_photos: Path, lpips_file: Path, model_folder: Path, settings: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "new" / "figures.json"
    code = run("evaluate", "--data", large_photos, "--detail", "0,1", "--lpips", lpips_file, "--json", path, *settings)
    assert code == 0
    report = json.loads(path.read_text())
    assert (report["photos"], report["model"]) == (4, "tiny-faces")
    crops, lpips, cpu = load_crops(large_photos, 128), LPIPS.load(lpips_file), torch.device("cpu")
    systems = BICUBIC | blends(Upscaler.load(model_folder, "cpu", "fp32"), [0, 1])
    rows = evaluate(systems, CropPictures(crops), lpips, cpu)
    assert report["figures"].keys() == {"bicubic", "detail 0", "detail 1"}
    for system, wanted in means(rows).items():
        assert report["figures"][system] == pytest.approx(wanted, rel=1e-4)
        assert list(report["rows"][system]) == ["0.png", "1.png", "2.png", "3.png"]
    assert report["rows"]["detail 1"]["2.png"] == pytest.approx(rows["detail 1"]["2.png"], rel=1e-4)
    said = capsys.readouterr().out
    assert f"PSNR-Y {report['figures']['bicubic']['psnr_y']:.2f} dB" in said and "LPIPS" in said
    assert report["pictures"] == "centre 128x128 crops" and "made by the bicubic" in report["low_resolution"]


def test_evaluate_measures_the_last_photos_alone(tmp_path: Path, large_photos: Path, settings: tuple[str, ...]) -> None:
    path = tmp_path / "figures.json"
    for last in (1, 4):  # the number of all photos is allowed, too
        assert run("evaluate", "--data", large_photos, "--detail", "1", "--last", last, "--json", path, *settings) == 0
        assert json.loads(path.read_text())["photos"] == last


@pytest.mark.parametrize("last", ["-1", "5", "many"])
def test_evaluate_refuses_a_wrong_number_of_photos(
    last: str, large_photos: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "evaluate", "--data", large_photos, f"--last={last}", *settings)
    assert "--last" in said and "--held-out" not in said


def test_evaluate_measures_a_model_of_one_weight_set(tmp_path: Path, large_photos: Path, one_set_folder: Path) -> None:
    path = tmp_path / "figures.json"
    code = run("evaluate", "--data", large_photos, "--json", path, "--model", one_set_folder, "--device", "cpu")
    assert code == 0
    assert json.loads(path.read_text())["figures"].keys() == {"bicubic", "detail 1"}


def test_evaluate_names_photos_that_it_leaves_out(
    tmp_path: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    textured(0, 140, 130).save(tmp_path / "large.png")
    textured(1, 40, 30).save(tmp_path / "small.png")
    assert run("evaluate", "--data", tmp_path, "--detail", "1", *settings) == 1
    said = capsys.readouterr()
    assert "small.png" in said.err and "40x30" in said.err


def test_evaluate_measures_pairs_in_full(
    tmp_path: Path, settings: tuple[str, ...], lpips_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(tmp_path / "set")
    (tmp_path / "set" / "LR_bicubic_X4" / "img_002x4.png").unlink()
    path, kept = tmp_path / "figures.json", tmp_path / "kept"
    code = run(
        "evaluate", "--data", tmp_path / "set", "--detail", "0,0.25", "--json", path, "--save-images", kept,
        "--lpips", lpips_file, *settings,
    )  # fmt: skip
    assert code == 0
    report = json.loads(path.read_text())
    assert report["pictures"] == "whole"
    said = "1 from LR_bicubic_X4, 1 made by the bicubic, rounded to 8 bits"
    assert report["low_resolution"] == said and said in capsys.readouterr().out
    for system in ("bicubic", "detail-0", "detail-0.25"):
        assert Image.open(kept / system / "img_001.png").size == (60, 44)
        restored, original = (as_tensor(Image.open(p)) for p in (kept / system / "img_001.png", original_of(tmp_path)))
        row = report["rows"][system.replace("-", " ")]["img_001.png"]
        assert row["psnr_y"] == pytest.approx(psnr_y(restored, original[..., :44, :60]).item())
        assert row.keys() == {"psnr_y", "ssim_y", "psnr_rgb", "lpips"}


def original_of(folder: Path) -> Path:
    return folder / "set" / "HR" / "img_001.png"


def test_evaluate_takes_any_folder_in_full(tmp_path: Path, photos: Path, settings: tuple[str, ...]) -> None:
    path = tmp_path / "figures.json"
    assert run("evaluate", "--data", photos, "--whole", "--last", "2", "--detail", "1", "--json", path, *settings) == 0
    assert list(json.loads(path.read_text())["rows"]["bicubic"]) == ["010.png", "011.png"]


def test_evaluate_saves_no_images_among_the_photos(
    photos: Path, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "evaluate", "--data", photos, "--whole", "--save-images", photos / "restored", *settings)
    assert "--save-images" in said and not (photos / "restored").exists()


def test_evaluate_saves_every_image_under_a_name_of_its_own(tmp_path: Path, settings: tuple[str, ...]) -> None:
    source, kept = tmp_path / "in", tmp_path / "kept"
    source.mkdir()
    for number, name in enumerate(("a.bmp", "a.jpg", "a.jpg.png")):
        textured(number, 32, 36 + 4 * number).save(source / name)
    assert run("evaluate", "--data", source, "--whole", "--detail", "1", "--save-images", kept, *settings) == 0
    assert len({path.name.casefold() for path in (kept / "detail-1").iterdir()}) == 3
    assert {Image.open(path).height for path in (kept / "detail-1").iterdir()} == {36, 40, 44}


def test_python_m_srgan_is_the_command(tmp_path: Path, model_folder: Path, settings: tuple[str, ...]) -> None:
    """This also works on a terminal that cannot show the letters of the folders."""
    source, out = tmp_path / "写真", tmp_path / "結果"
    source.mkdir()
    textured(0, 8, 8).save(source / "small.png")
    (source / "broken.png").write_text("not a picture")
    done = run_python("-m", "srgan", "upscale", str(source), str(out), *settings, PYTHONIOENCODING="cp1252")
    assert done.returncode == 1, done.stderr
    assert "broken.png" in done.stderr and "Traceback" not in done.stderr
    assert r"1 of 2 pictures enlarged to" in done.stdout and r"\u7d50\u679c" in done.stdout
    assert Image.open(out / "small.png").size == (32, 32)
    assert not (ROOT / "out").exists()


def test_doctor_tells_what_a_report_of_a_problem_needs(tmp_path: Path) -> None:
    done = run_python(
        "-m", "srgan", "doctor", "--device", "cpu", "--precision", "fp32", SRGAN_CACHE=str(tmp_path / "c")
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert found["srgan"].startswith(srgan.__version__) and found["PyTorch"] == torch.__version__
    assert f"pillow {PIL.__version__}" in done.stdout
    assert "CPU, float32" in done.stdout and re.search(
        r"128x128 pixels in \d+ ms with 1 thread$", done.stdout, re.MULTILINE
    )
    assert "celeba-faces" in found["models"] and str(tmp_path / "c") in done.stdout
    assert str(Path.home()) not in done.stdout.replace(str(tmp_path), "")
    assert Path(found["program"]).expanduser() == Path(sys.executable)  # not the target, if it is a link


def test_nothing_is_written_over_or_among_the_originals(photos: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photos, tmp_path / "in")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    picture = folder / "000.png"
    for source, target in ((folder, folder), (picture, picture), (picture, folder)):
        assert run("upscale", source, target, "--model", model_folder) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_results_among_the_pictures_are_not_enlarged_again(photos: Path, model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photos / "000.png", folder)
    for _ in range(2):
        assert run("upscale", folder, folder / "out", "--model", model_folder) == 0
    assert [path.name for path in (folder / "out").rglob("*.png")] == ["000.png"]
