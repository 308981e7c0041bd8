"""Picture files of every kind: what is kept of them, what is said of the rest, and what is written."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, is_one_sentence, run_python, textured
from PIL import Image, ImageCms

from srgan.errors import UserError
from srgan.formats import ENDINGS, FORMATS, check_size, format_of, open_picture, save_picture, standard


def profile(space: str = "sRGB") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def grey_profile() -> bytes:
    """An RGB profile that says it is one for greys: Pillow makes none of these."""
    return profile()[:16] + b"GRAY" + profile()[20:]


def deep(width: int = 16, height: int = 12) -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, width * height).astype(np.uint16).reshape(height, width))


def saved(picture: Image.Image, path: Path, **options: object) -> tuple[Image.Image, list[str]]:
    picture.save(path, **options)
    return open_picture(path)


# Reading


@pytest.mark.parametrize(
    ("mode", "ending", "result"),
    [("1", "png", "L"), ("L", "png", "L"), ("L", "jpg", "L"), ("LA", "png", "LA"), ("RGB", "png", "RGB"),
     ("RGB", "webp", "RGB"), ("RGB", "avif", "RGB"), ("RGBA", "png", "RGBA"), ("RGBA", "webp", "RGBA"),
     ("RGBA", "avif", "RGBA"), ("RGBA", "tif", "RGBA"), ("LA", "tif", "LA"), ("P", "png", "RGB"), ("P", "gif", "RGB"),
     ("CMYK", "tif", "RGB"), ("CMYK", "jpg", "RGB"), ("LAB", "tif", "RGB")],
)  # fmt: skip
def test_every_kind_of_file_is_read_in_the_mode_that_holds_it(
    tmp_path: Path, mode: str, ending: str, result: str
) -> None:
    if mode == "LAB":
        srgb, lab = (ImageCms.createProfile(space) for space in ("sRGB", "LAB"))
        picture = ImageCms.profileToProfile(textured(0, 16, 12), srgb, lab, outputMode="LAB")
    elif mode == "LA":
        picture = textured(0, 16, 12).convert("L").convert("LA")
    else:
        picture = textured(0, 16, 12).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(textured(1, 16, 12).convert("L"))
    found, notes = saved(picture, tmp_path / f"picture.{ending}")
    assert (found.mode, found.size) == (result, (16, 12))
    assert notes == ([f"Its {mode} colours become RGB."] if mode in ("CMYK", "LAB") else [])
    wanted = textured(0, 16, 12) if mode == "LAB" else picture
    off = np.abs(np.asarray(found, float) - np.asarray(wanted.convert(result), float))
    assert off.mean() < (12 if ending in ("jpg", "avif", "webp") else 2)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bit_greys_keep_every_level(tmp_path: Path, ending: str) -> None:
    found, notes = saved(deep(), tmp_path / f"deep.{ending}")
    assert found.mode == "I;16" and not notes
    assert np.array_equal(np.asarray(found), np.asarray(deep()))


def test_the_byte_order_of_sixteen_bits_does_not_matter() -> None:
    levels = np.asarray(deep())
    swapped = Image.frombytes("I;16B", (16, 12), levels.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(standard(swapped)), levels)


def test_deeper_greys_become_sixteen_bits() -> None:
    levels = np.asarray(deep())
    assert np.array_equal(np.asarray(standard(Image.fromarray(levels.astype(np.int32)))), levels)
    large = Image.fromarray(np.array([[0, 1_000_000, 2_000_000, -5]], np.int32))
    assert np.asarray(standard(large)).tolist() == [[0, 32768, 65535, 0]]
    floats = Image.fromarray(np.array([[0, 0.25, 0.5, np.nan, np.inf, -1]], np.float32))
    assert np.asarray(standard(floats)).tolist() == [[0, 32768, 65535, 0, 0, 0]]
    assert np.asarray(standard(Image.fromarray(np.zeros((2, 2), np.float32)))).max() == 0


def test_what_pillow_cannot_read_of_sixteen_bit_colours_is_said(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")  # comes with scikit-image
    colours = np.asarray(textured(0, 16, 12)).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "deep.tif", colours, photometric="rgb")
    found, notes = open_picture(tmp_path / "deep.tif")
    assert np.array_equal(np.asarray(found), np.asarray(textured(0, 16, 12)))
    assert notes == ["It holds 16 bits a channel, of which Pillow reads 8."]


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_of_frames_and_pages_the_first_is_taken_and_that_is_said(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (16, 12), colour) for colour in ("red", "lime", "blue")]
    found, notes = saved(frames[0], tmp_path / f"frames.{ending}", save_all=True, append_images=frames[1:])
    assert np.abs(np.asarray(found.convert("RGB"), int) - (255, 0, 0)).max() <= 4
    assert notes == ["It holds several frames or pages, and the first is taken."]
    assert saved(frames[0], tmp_path / f"one.{ending}")[1] == []


def test_inks_follow_their_profile(tmp_path: Path) -> None:
    picture = textured(0, 16, 12).convert("CMYK")
    plain, _ = saved(picture, tmp_path / "plain.tif")
    broken, _ = saved(picture, tmp_path / "broken.tif", icc_profile=b"no profile")
    assert np.array_equal(np.asarray(plain), np.asarray(broken))
    assert "icc_profile" not in plain.info and "icc_profile" not in broken.info


def test_profile_and_dpi_are_kept_where_they_fit(tmp_path: Path) -> None:
    colour, grey = textured(0, 16, 12), textured(0, 16, 12).convert("L")
    found, _ = saved(colour, tmp_path / "colour.png", icc_profile=profile(), dpi=(300, 300), exif=Image.Exif())
    assert found.info["icc_profile"] == profile()
    assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert saved(grey, tmp_path / "grey.png", icc_profile=grey_profile())[0].info == {"icc_profile": grey_profile()}
    assert saved(grey, tmp_path / "odd.png", icc_profile=profile())[0].info == {}
    assert saved(colour, tmp_path / "odd.jpg", icc_profile=grey_profile())[0].info.keys() <= {"dpi"}


def test_senseless_dpi_are_dropped() -> None:
    for dpi in ((0, 0), (float("nan"), 72), (float("inf"), 72)):
        picture = textured(0, 4, 4)
        picture.info["dpi"] = dpi
        assert standard(picture).info == {}


def test_the_picture_given_is_left_as_it_was() -> None:
    picture = textured(0, 4, 4)
    picture.info["dpi"] = (0, 0)
    standard(picture)
    assert picture.info == {"dpi": (0, 0)}


def test_damaged_files_are_read_or_refused_in_one_sentence_and_nothing_crashes() -> None:
    done = run_python(str(ROOT / "tests" / "fuzzing.py"), "1500")
    assert done.returncode == 0, done.stderr[-2000:]
    read, refused = map(int, re.findall(r"(\d+) re", done.stdout))
    assert min(read, refused) > 200 and read + refused == 1500


def test_a_program_is_no_picture(tmp_path: Path) -> None:
    """Pillow would give EPS to Ghostscript to run, under whatever name it came."""
    textured(0, 8, 8).save(tmp_path / "program.eps")
    (tmp_path / "program.eps").rename(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"photo\.png: not a picture that Pillow can read\.$"):
        open_picture(tmp_path / "photo.png")


# Writing


def pictures() -> dict[str, Image.Image]:
    colour = textured(2, 24, 20)
    found = {"L": colour.convert("L"), "RGB": colour, "I;16": deep(24, 20)}
    for mode in ("L", "RGB"):
        found[f"{mode}A"] = found[mode].copy()
        found[f"{mode}A"].putalpha(textured(3, 24, 20).convert("L").point(lambda level: max(level, 1)))
    for mode, picture in found.items():
        picture.info = {"dpi": (150.0, 150.0), "icc_profile": profile() if mode.startswith("RGB") else grey_profile()}
    return found


@pytest.mark.parametrize("ending", ["png", "tiff", "tif"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_png_and_tiff_bring_everything_back(tmp_path: Path, ending: str, mode: str) -> None:
    picture = pictures()[mode]
    assert save_picture(picture, tmp_path / "new" / f"picture.{ending}") == []
    found, notes = open_picture(tmp_path / "new" / f"picture.{ending}")
    assert found.mode == mode and not notes
    assert np.array_equal(np.asarray(found), np.asarray(picture))
    assert found.info["icc_profile"] == picture.info["icc_profile"]
    assert found.info["dpi"] == pytest.approx((150, 150), abs=0.1)


@pytest.mark.parametrize(
    ("ending", "mode", "result", "said"),
    [("jpg", "L", "L", ""), ("jpg", "RGB", "RGB", ""), ("jpg", "LA", "L", "on white"),
     ("jpg", "RGBA", "RGB", "on white"), ("jpg", "I;16", "L", "16 bits"), ("webp", "L", "RGB", ""),
     ("webp", "LA", "RGBA", ""), ("webp", "RGB", "RGB", ""), ("webp", "RGBA", "RGBA", ""),
     ("webp", "I;16", "RGB", "16 bits")],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_said(tmp_path: Path, ending: str, mode: str, result: str, said: str) -> None:
    picture = pictures()[mode]
    notes = save_picture(picture, tmp_path / f"picture.{ending}")
    assert len(notes) == bool(said)
    assert all(said in note and is_one_sentence(note) for note in notes)
    found, _ = open_picture(tmp_path / f"picture.{ending}")
    assert found.mode == result
    wanted = picture
    if mode == "I;16":
        wanted = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    elif said:
        wanted = Image.new("RGBA", picture.size, "white")
        wanted.alpha_composite(picture.convert("RGBA"))
    assert np.abs(np.asarray(found, float) - np.asarray(wanted.convert(result), float)).mean() < 12
    if ending == "jpg":
        assert found.info["dpi"] == (150, 150)
    if result == mode:
        assert found.info["icc_profile"] == picture.info["icc_profile"]


def test_a_profile_is_not_written_where_the_format_changes_the_mode(tmp_path: Path) -> None:
    save_picture(pictures()["L"], tmp_path / "grey.webp")
    assert "icc_profile" not in Image.open(tmp_path / "grey.webp").info


def test_endings_name_formats_and_others_are_refused(tmp_path: Path) -> None:
    assert set(ENDINGS.values()) == set(FORMATS)
    assert format_of(Path("A.JPEG")).name == "JPEG"
    for name in ("large.psd", "large", "large.gif"):
        with pytest.raises(UserError) as caught:
            save_picture(textured(0, 4, 4), tmp_path / name)
        assert is_one_sentence(str(caught.value)) and name in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("ending", "side"), [("webp", 16_383), ("jpg", 65_500)])
def test_the_largest_side_is_what_the_format_really_takes(tmp_path: Path, ending: str, side: int) -> None:
    check_size(tmp_path / f"long.{ending}", side, 1)
    save_picture(Image.new("RGB", (side, 1)), tmp_path / f"long.{ending}")
    assert Image.open(tmp_path / f"long.{ending}").size == (side, 1)
    with pytest.raises(UserError, match=f"{side} pixels") as caught:
        check_size(tmp_path / f"long.{ending}", 1, side + 1)
    assert is_one_sentence(str(caught.value))
    check_size(tmp_path / "long.png", 1, side + 1)
