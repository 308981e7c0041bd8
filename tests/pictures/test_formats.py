"""Picture files of every kind: how they are read, refused and written."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, is_one_sentence, run_python, textured
from PIL import Image, ImageCms

from srgan.errors import UserError
from srgan.pictures.colour import to_srgb
from srgan.pictures.formats import (
    COMMON_FORMATS,
    ENDINGS,
    FORMATS,
    check_size,
    format_of,
    is_written,
    open_picture,
    readable,
    save_picture,
    standard,
)


def profile(space: str = "sRGB") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def grey_profile(gamma: float = 2.2) -> bytes:
    """Builds a grey profile, which Pillow cannot: a white point and a curve (ICC.1:2022, 7.2, 8.3.4 and 10.6)."""
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(256 * gamma))
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    header = struct.pack(">4xI4s4s4s12x4s28x3i", 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp", 63190, 65536, 54061)
    content = header.ljust(124, b"\0") + tags + white + curve
    return struct.pack(">I", len(content) + 4) + content


def wide_profile() -> bytes:
    """Returns the sRGB profile with red and green swapped, which changes most colours but not grey."""
    return profile().replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")


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
    """Pillow would let Ghostscript run an EPS file, whatever its name."""
    textured(0, 8, 8).save(tmp_path / "program.eps")
    (tmp_path / "program.eps").rename(tmp_path / "photo.png")
    with pytest.raises(UserError, match=r"photo\.png: not a picture that Pillow can read\.$"):
        open_picture(tmp_path / "photo.png")


def png_with(picture: Image.Image, path: Path, name: bytes, content: bytes) -> Path:
    """Writes a PNG with an additional chunk after its header."""
    picture.save(path)
    whole = path.read_bytes()
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    path.write_bytes(whole[:33] + chunk + whole[33:])
    return path


def test_strangers_files_are_opened_as_common_formats_only(tmp_path: Path) -> None:
    textured(0, 8, 8).save(tmp_path / "a.png")
    textured(0, 8, 8).save(tmp_path / "b.png", "TGA")
    assert open_picture(tmp_path / "a.png", formats=COMMON_FORMATS)[0].size == (8, 8)
    assert open_picture(tmp_path / "b.png")[0].size == (8, 8)
    with pytest.raises(UserError, match=r"b\.png: not a picture .*JPEG") as caught:
        open_picture(tmp_path / "b.png", formats=COMMON_FORMATS)
    assert is_one_sentence(str(caught.value))
    assert set(COMMON_FORMATS) - {"HEIF"} < set(readable())


def test_a_heic_photo_is_refused_by_the_package_that_reads_it(tmp_path: Path) -> None:
    """This also holds for a file with another ending, which some phones' programs give it."""
    if "HEIF" in readable():
        pytest.skip("pillow-heif is installed")
    (tmp_path / "photo.jpg").write_bytes(struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1"))
    for formats in ((), COMMON_FORMATS):
        with pytest.raises(UserError, match=r"HEIC.*pip install pillow-heif") as caught:
            open_picture(tmp_path / "photo.jpg", formats=formats)
        assert is_one_sentence(str(caught.value))


def test_heic_is_read_where_its_package_is_installed(tmp_path: Path) -> None:
    """A stand-in for pillow-heif registers as the package does, and reads a PPM under this name."""
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image\nfrom PIL.PpmImagePlugin import PpmImageFile\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', PpmImageFile, lambda start: start.startswith(b'P6'))\n"
        "    Image.register_extensions('HEIF', ['.heic', '.heif'])\n"
    )
    textured(0, 8, 6).save(tmp_path / "photo.heic", "PPM")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from srgan.pictures.formats import COMMON_FORMATS, endings, open_picture
print(".heic" in endings(), open_picture(sys.argv[1] + "/photo.heic", formats=COMMON_FORMATS)[0].size)
"""
    done = run_python("-c", code, str(tmp_path))
    assert done.stdout == "True (8, 6)\n", done.stderr


# Colours


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_levels_that_follow_a_gamma_become_those_of_srgb(tmp_path: Path, mode: str) -> None:
    """Linear 0.2140 is 0.5 in sRGB. A gamma near sRGB's changes nothing, nor does one beside PNG's sRGB chunk."""
    level = round(0.2140 * (65535 if mode == "I;16" else 255))
    picture = Image.new("I;16", (4, 4), level) if mode == "I;16" else Image.new("L", (4, 4), level).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(77)
    linear, usual = struct.pack(">I", 100_000), struct.pack(">I", 45_455)
    found, notes = open_picture(png_with(picture, tmp_path / "linear.png", b"gAMA", linear))
    light = found if mode == "I;16" else found.convert("L")
    assert np.asarray(light).mean() / (65535 if mode == "I;16" else 255) == pytest.approx(0.5, abs=0.003)
    assert not notes and (not mode.endswith("A") or found.getchannel("A").getextrema() == (77, 77))
    plain = standard(picture)
    for name, options in (("usual.png", usual), ("none.png", struct.pack(">I", 0))):
        same, _ = open_picture(png_with(picture, tmp_path / name, b"gAMA", options))
        assert np.array_equal(np.asarray(same), np.asarray(plain))
    tagged = png_with(picture, tmp_path / "srgb.png", b"sRGB", b"\0").read_bytes()
    (tmp_path / "srgb.png").write_bytes(tagged[:33] + (tmp_path / "linear.png").read_bytes()[33:49] + tagged[33:])
    assert np.array_equal(np.asarray(open_picture(tmp_path / "srgb.png")[0]), np.asarray(plain))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [(b"cICP", bytes((9, 16, 0, 1)), "PQ"), (b"cICP", bytes((12, 13, 0, 1)), "Display P3"),
     (b"cICP", bytes((1, 13, 0, 0)), "limited"), (b"cICP", bytes((1, 13, 0, 1)), ""),
     (b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000), "cHRM"),
     (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000), "")],
)  # fmt: skip
def test_colours_that_are_not_honoured_are_said(tmp_path: Path, name: bytes, content: bytes, said: str) -> None:
    found, notes = open_picture(png_with(textured(0, 8, 8), tmp_path / "tagged.png", name, content))
    assert np.array_equal(np.asarray(found), np.asarray(textured(0, 8, 8)))
    assert len(notes) == bool(said) and all(said in note and is_one_sentence(note) for note in notes)


def test_tags_of_avif_and_jpeg_that_are_not_honoured_are_said(tmp_path: Path) -> None:
    textured(0, 16, 16).save(tmp_path / "plain.avif")
    whole = (tmp_path / "plain.avif").read_bytes()
    place = whole.index(b"colrnclx") + 8
    (tmp_path / "p3.avif").write_bytes(whole[:place] + struct.pack(">HH", 12, 16) + whole[place + 4 :])
    assert open_picture(tmp_path / "plain.avif")[1] == []
    (note,) = open_picture(tmp_path / "p3.avif")[1]
    assert "Display P3" in note and "PQ" in note
    textured(0, 16, 16).save(tmp_path / "a.jpg")
    jpeg, note = (tmp_path / "a.jpg").read_bytes(), b"http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version='1.0'/>"
    (tmp_path / "a.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note + jpeg[2:])
    assert "gain map" in "".join(open_picture(tmp_path / "a.jpg")[1])
    exif = Image.Exif()
    exif[0x8769] = {0xA005: {1: "R03"}}  # the camera's settings with the interoperability index
    assert "Adobe RGB" in "".join(saved(textured(0, 16, 16), tmp_path / "b.jpg", exif=exif)[1])
    assert saved(textured(0, 16, 16), tmp_path / "c.jpg", exif=exif, icc_profile=profile())[1] == []
    more = [textured(1, 16, 16)]
    (note,) = saved(textured(0, 16, 16), tmp_path / "two.mpo", save_all=True, append_images=more)[1]
    assert "second view" in note


def tiff(levels: np.ndarray, bits: int, photometric: int) -> bytes:
    """Builds a TIFF with grey levels of 16 bits, or packed to 12, which no library here writes."""
    if bits == 12:
        pairs = levels.reshape(-1, 2).astype(int)
        packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
        content = packed.astype(np.uint8).tobytes()
    else:
        content = levels.astype("<u2").tobytes()
    height, width = levels.shape
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 134,
        277: 1,
        278: height,
        279: len(content),
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags.items()
    )
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return header.ljust(134, b"\0") + content


@pytest.mark.parametrize(("bits", "photometric"), [(16, 0), (16, 1), (12, 1)])
def test_deep_greys_of_tiff_are_as_bright_as_meant(tmp_path: Path, bits: int, photometric: int) -> None:
    levels = np.linspace(0, 2**bits - 1, 96).astype(np.uint16).reshape(8, 12)
    (tmp_path / "deep.tif").write_bytes(tiff(levels, bits, photometric))
    found, notes = open_picture(tmp_path / "deep.tif")
    share = levels / (2**bits - 1)
    assert found.mode == "I;16" and not notes
    np.testing.assert_allclose(np.asarray(found) / 65535, share if photometric else 1 - share, atol=2 / 65535)


def test_one_clear_level_is_honoured_at_any_depth(tmp_path: Path) -> None:
    levels = np.array([[0, 300, 40_000, 65_535]], np.uint16)
    key = struct.pack(">H", 300)
    found, notes = open_picture(png_with(Image.fromarray(levels), tmp_path / "grey.png", b"tRNS", key))
    assert found.mode == "LA" and np.asarray(found).tolist() == [[[0, 255], [1, 0], [156, 255], [255, 255]]]
    assert len(notes) == 1 and "16 bits" in notes[0]
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" + struct.pack(">6H", 65535, 30 * 257, 0, 9 * 257, 9 * 257, 9 * 257))
    chunks = ((b"IHDR", header), (b"tRNS", struct.pack(">3H", 65535, 30 * 257, 0)), (b"IDAT", rows), (b"IEND", b""))
    written = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    (tmp_path / "colour.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(written))
    assert np.asarray(open_picture(tmp_path / "colour.png")[0]).tolist() == [[[255, 30, 0, 0], [9, 9, 9, 255]]]


def test_levels_that_are_scaled_are_said(tmp_path: Path) -> None:
    for levels, words in (
        (np.array([[0, 0.5]], np.float32), ["floating"]), (np.array([[-1, 70_000]], np.int32), ["65535", "below 0"]),
        (np.array([[0, 65_535]], np.int32), []),
    ):  # fmt: skip
        notes = saved(Image.fromarray(levels), tmp_path / "levels.tif")[1]
        assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_become_srgb_by_their_profile(mode: str) -> None:
    picture = Image.new("RGB", (4, 4), (200, 30, 60)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(77)
    picture.info = {"icc_profile": wide_profile(), "dpi": (300.0, 300.0)}
    found, notes = to_srgb(picture)
    assert found.mode == mode and found.info == {"dpi": (300.0, 300.0)} and not notes
    assert np.abs(np.array(found.getpixel((0, 0))[:3]) - (30, 200, 60)).max() <= 2
    assert mode == "RGB" or found.getchannel("A").getextrema() == (77, 77)
    assert picture.getpixel((0, 0))[:3] == (200, 30, 60) and "icc_profile" in picture.info


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_greys_become_srgb_by_their_profile(mode: str) -> None:
    picture = Image.new("I;16", (4, 4), 55 * 257) if mode == "I;16" else Image.new("L", (4, 4), 55).convert(mode)
    picture.info = {"icc_profile": grey_profile(1.0)}
    found, notes = to_srgb(picture)
    assert found.mode == ("LA" if mode == "LA" else "L") and not found.info
    assert np.asarray(found.getchannel("L")).mean() == pytest.approx(128, abs=2)  # 55 / 255 of linear light
    assert [("16 bits" in note) for note in notes] == ([True] if mode == "I;16" else [])


def test_a_broken_profile_is_said_and_none_changes_nothing() -> None:
    plain = textured(0, 4, 4)
    assert to_srgb(plain) == (plain, [])
    plain.info["icc_profile"] = b"no profile"
    found, notes = to_srgb(plain)
    assert np.array_equal(np.asarray(found), np.asarray(plain)) and not found.info and len(notes) == 1


def test_greys_by_the_profile_of_colours_are_read_by_it(tmp_path: Path) -> None:
    grey = textured(0, 16, 12).convert("L")
    found, notes = saved(grey, tmp_path / "grey.jpg", icc_profile=profile(), quality=100)
    assert found.mode == "L" and not notes and np.abs(np.asarray(found, int) - np.asarray(grey)).max() <= 3
    assert "left out" in "".join(saved(textured(0, 8, 8), tmp_path / "odd.png", icc_profile=grey_profile())[1])


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


def test_a_profile_is_applied_where_the_format_changes_the_mode(tmp_path: Path) -> None:
    grey = Image.new("L", (16, 16), 55)
    grey.info["icc_profile"] = grey_profile(1.0)
    assert save_picture(grey, tmp_path / "grey.webp") == []
    with Image.open(tmp_path / "grey.webp") as found:
        assert "icc_profile" not in found.info
        assert np.asarray(found.convert("L")).mean() == pytest.approx(128, abs=3)


def test_endings_name_formats_and_others_are_refused(tmp_path: Path) -> None:
    assert set(ENDINGS.values()) == set(FORMATS)
    assert format_of(Path("A.JPEG")).name == "JPEG"
    for name in ("large.psd", "large", "large.bmp"):
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


# Newer formats


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("ending", ["avif", "heic", "jxl"])
def test_newer_formats_are_written_and_read_where_their_package_is_installed(
    tmp_path: Path, ending: str, mode: str
) -> None:
    if not is_written(FORMATS[ending]):
        pytest.skip(f"{FORMATS[ending].package} is not installed")
    picture = Image.linear_gradient("L").resize((64, 48)).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.linear_gradient("L").resize((64, 48)))
    picture.info["icc_profile"] = wide_profile() if mode.startswith("RGB") else grey_profile(1.8)
    notes = save_picture(picture, tmp_path / f"out.{ending}", quality=100)
    found, _ = open_picture(tmp_path / f"out.{ending}")
    assert found.size == (64, 48) and found.mode.endswith("A") == mode.endswith("A") and notes == []
    wanted = to_srgb(picture)[0].convert(found.mode)
    assert np.abs(np.asarray(to_srgb(found)[0]).astype(int) - np.asarray(wanted).astype(int)).mean() < 2


@pytest.mark.parametrize(("ending", "module"), [("heic", "pillow_heif"), ("jxl", "pillow_jxl")])
def test_without_their_package_newer_formats_are_refused_by_its_name(tmp_path: Path, ending: str, module: str) -> None:
    header = {"heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "jxl": b"\0\0\0\x0cJXL \r\n\x87\n"}[ending]
    (tmp_path / f"in.{ending}").write_bytes(header + bytes(64))
    code = f"""
import sys
sys.modules[{module!r}] = None
from pathlib import Path
from PIL import Image
from srgan.errors import UserError
from srgan.pictures.formats import open_picture, save_picture
folder = Path(sys.argv[1])
def write():
    save_picture(Image.new("L", (2, 2)), folder / "out.{ending}")
for use in (lambda: open_picture(folder / "in.{ending}"), write):
    try:
        use()
    except UserError as error:
        print(error)
"""
    said = run_python("-c", code, str(tmp_path)).stdout.splitlines()
    assert len(said) == 2 and all(f"pip install {FORMATS[ending].package}" in line for line in said)
    assert all(map(is_one_sentence, said)) and not (tmp_path / f"out.{ending}").exists()


@pytest.mark.parametrize("name", ["photo.CR2", "photo.nef", "photo.dng"])
def test_a_raw_file_is_no_picture_yet(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, "TIFF")  # many such files contain a preview like this
    with pytest.raises(UserError, match="raw file") as caught:
        open_picture(tmp_path / name)
    assert is_one_sentence(str(caught.value))
