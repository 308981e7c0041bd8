"""Large results, whose pixels lie in a file: the same pictures and files as from memory."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import is_one_sentence, textured
from PIL import Image

from srgan.errors import UserError
from srgan.model_folder import Model
from srgan.pictures import large
from srgan.pictures.formats import MAX_PIXELS, check_size, save_picture
from srgan.pictures.metadata import Metadata
from srgan.pictures.sizes import TargetSize
from srgan.upscaler import Upscaler


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "MOST_IN_MEMORY", 1000)


def small(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(textured(4, 40, 30).convert("L")).astype(np.uint16) * 251)
    picture = textured(4, 40, 30).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize((40, 30)))
    picture.info["dpi"] = (150.0, 150.0)
    return picture


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("scale", [4, 6])
@pytest.mark.parametrize("tileable", [False, True])
def test_a_result_in_a_file_is_the_same_and_leaves_nothing_behind(
    tmp_path: Path, model: Model, mode: str, scale: int, tileable: bool
) -> None:
    upscaler, size = Upscaler(model, device="cpu", precision="fp32"), TargetSize(scale=scale)
    there = upscaler.enlarge(small(mode), size=size, tileable=tileable, scratch=tmp_path)
    assert hasattr(there, "pixels_in_file")
    wanted = upscaler.enlarge(small(mode), size=size, tileable=tileable)
    assert not hasattr(wanted, "pixels_in_file")
    assert (there.mode, there.size, there.info) == (wanted.mode, wanted.size, wanted.info)
    assert np.array_equal(np.asarray(there), np.asarray(wanted))
    assert not any(tmp_path.iterdir())


def in_a_file(picture: Image.Image, folder: Path) -> Image.Image:
    there = large.blank(picture.mode, picture.size, folder)
    there.paste(picture, (0, 0))
    there.info = dict(picture.info)
    return there


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
def test_a_picture_in_a_file_is_written_with_everything_as_one_in_memory(
    tmp_path: Path, mode: str, ending: str
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    kept, picture = Metadata(exif.tobytes(), b"<x:xmpmeta/>"), small(mode)
    said = save_picture(in_a_file(picture, tmp_path), tmp_path / "results" / f"file.{ending}", kept)
    assert said == save_picture(picture, tmp_path / "results" / f"memory.{ending}", kept)
    written, wanted = ((tmp_path / "results" / f"{name}.{ending}").read_bytes() for name in ("file", "memory"))
    assert written == wanted
    assert sorted(path.name for path in tmp_path.rglob("*")) == [f"file.{ending}", f"memory.{ending}", "results"]


@pytest.mark.usefixtures("all_are_large")
def test_too_little_space_is_said_before_the_work(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 2 * 160 * 120 * 4 - 1))
    shares = []
    with pytest.raises(UserError, match="space") as caught:
        Upscaler(model, device="cpu").enlarge(small("RGB"), watch=shares.append, scratch=tmp_path / "new")
    assert is_one_sentence(str(caught.value)) and str(tmp_path / "new") in str(caught.value)
    assert not shares


def test_formats_that_need_the_whole_picture_in_memory_are_refused_before_the_work() -> None:
    side = 1 + int(MAX_PIXELS**0.5)
    for name in ("large.png", "large.jpg", "large.tiff"):
        check_size(Path(name), side, side)
    for name in ("large.webp", "large.gif", "large.avif"):
        with pytest.raises(UserError, match="100 megapixels: choose PNG or JPEG") as caught:
            check_size(Path(name), side, side)
        assert is_one_sentence(str(caught.value))
    with pytest.raises(UserError, match="TIFF have at most 700 megapixels"):  # 4 GB is the most of its files
        check_size(Path("large.tif"), 30_000, 30_000)


def resident(folder: Path) -> int:
    """Returns the bytes of the mapped files of a folder that are in this process's memory."""
    fields = Path("/proc/self/smaps").read_text().split(str(folder))[1:]
    return sum(1024 * int(field.split("Rss:")[1].split()[0]) for field in fields)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system decides when pages leave the memory")
@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_the_pixels_of_a_large_result_are_not_kept_in_memory(tmp_path: Path, model: Model, ending: str) -> None:
    """All pixels together take 1 MB."""
    upscaler, seen = Upscaler(model, device="cpu", precision="fp32"), []
    upscaler.tile = 64
    result = upscaler.enlarge(
        Image.effect_noise((128, 128), 50).convert("RGBA"),
        watch=lambda _: seen.append(resident(tmp_path)),
        scratch=tmp_path,
    )
    assert len(seen) > 16 and max(seen) < 0.6e6 and resident(tmp_path) < 0.6e6
    assert np.asarray(result).any() and resident(tmp_path) > 1e6
    save_picture(result, tmp_path / f"large.{ending}")
    assert resident(tmp_path) < 0.6e6
