"""Picture files: which formats are read, what is kept of a file, and what each format can hold."""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.pictures.colour import fits, from_gamma, gamma_of, inks_to_srgb, lab_to_srgb, through, to_eight_bits, to_srgb
from srgan.pictures.colour_tags import unheeded
from srgan.pictures.large import in_windows, save
from srgan.pictures.metadata import NO_METADATA, ORIENTATION, Metadata, add_to_tiff, metadata_of, options_for

COMMON_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""The formats that people usually send, by Pillow's names. Files from strangers are opened only as one of these,
because every decoder is a risk."""

PHOTOMETRIC, BITS_PER_SAMPLE = 262, 258
"""Numbers of TIFF tags."""

STANDARD_MODES = ("L", "LA", "RGB", "RGBA", "I;16")
"""The modes of pictures that `standard` returns."""

MAX_PIXELS = 100_000_000
"""Pictures with more pixels are refused after reading the header, before they are decoded."""

HEIF_PACKAGE, JXL_PACKAGE = "pillow-heif", "pillow-jxl-plugin"


@dataclass(frozen=True)
class Format:
    """A format in which results are written, and what it can hold."""

    name: str
    """Pillow's name of the format"""
    modes: tuple[str, ...]
    largest_side: int
    options: dict[str, object]
    """arguments for Image.save, with "quality" if it can be chosen"""
    package: str = ""
    """the package on PyPI that reads and writes the format; "" for Pillow itself"""
    profiles: bool = True
    """whether colour profiles can be written"""
    most_pixels: int = MAX_PIXELS
    """less for formats whose libraries copy the whole picture, and for TIFF, whose files hold at most 4 GB"""


FORMATS = {
    "png": Format("PNG", STANDARD_MODES, 2**31 - 1, {"compress_level": 3}, most_pixels=2**62),
    "jpg": Format("JPEG", ("L", "RGB"), 65_500, {"quality": 95, "subsampling": 0}, most_pixels=2**62),
    "webp": Format("WEBP", ("RGB", "RGBA"), 16_383, {"quality": 95}),
    "tiff": Format("TIFF", STANDARD_MODES, 2**31 - 1, {"compression": "tiff_lzw"}, most_pixels=700_000_000),
    "gif": Format("GIF", ("L", "RGB", "RGBA"), 65_535, {}),
    "avif": Format("AVIF", ("RGB", "RGBA"), 65_535, {"quality": 90, "subsampling": "4:4:4"}),
    "heic": Format("HEIF", ("RGB", "RGBA"), 16_384, {"quality": 90, "chroma": 444}, HEIF_PACKAGE),
    "jxl": Format("JXL", ("L", "LA", "RGB", "RGBA"), 2**30 - 1, {"quality": 95}, JXL_PACKAGE, profiles=False),
}  # fmt: skip
"""The output formats by the ending of their files. PNG and TIFF keep every pixel unchanged."""

ENDINGS = {
    ".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff", ".gif": "gif",
    ".avif": "avif", ".heic": "heic", ".heif": "heic", ".jxl": "jxl",
}  # fmt: skip

RAW_ENDINGS = frozenset(
    {
        ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef", ".mos",
        ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    }
)  # fmt: skip
"""Endings of cameras' raw files. Many of them are TIFF files in which Pillow finds only a preview."""


class BrokenPicture(UserError):
    """A picture file that is partly damaged or missing."""


def open_picture(
    path: str | Path, data: bytes | None = None, formats: Sequence[str] = ()
) -> tuple[Image.Image, list[str]]:
    """Opens a picture file. Returns the picture in `standard`'s form, and a sentence for everything of the file that it
    lacks.

    Of an animation or several pages, the first one is taken. Raises UserError if the file cannot be read, BrokenPicture
    if it is damaged or cut short. data: the file's bytes, if they are already read; `path` then only names it. formats:
    Pillow's names of the formats to try, `COMMON_FORMATS` for files from strangers; by default all `readable` ones.
    """
    if Path(path).suffix.lower() in RAW_ENDINGS:
        raise UserError(
            f"{path} is a camera's raw file, which is not a picture yet: develop it to TIFF or JPEG first, with "
            "darktable, RawTherapee or the program of the camera's maker."
        )
    try:
        with open_bytes(path, data) as source:
            tried = [name for name in readable() if not formats or name in formats]
            try:
                file = Image.open(source, formats=tried)
            except UnidentifiedImageError:
                raise UserError(f"{path}: {why_unreadable(source, formats)}") from None
            if file.width * file.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {file.width}x{file.height} is more than {MAX_PIXELS // 1_000_000} megapixels."
                )
            notes = left_out(file) + unheeded(file, source)  # first: decoding forgets how the file was laid out
            return standard(file), notes + out_of_range(file)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file.") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which it applies before ours
        raise UserError(f"{path}: more than {MAX_PIXELS // 1_000_000} megapixels.") from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise BrokenPicture(f"{path}: the picture is broken ({error}).") from None


def open_bytes(path: str | Path, data: bytes | None) -> contextlib.AbstractContextManager[BinaryIO]:
    return Path(path).open("rb") if data is None else io.BytesIO(data)


def why_unreadable(source: BinaryIO, formats: Sequence[str]) -> str:
    source.seek(0)
    header = source.read(32)
    for name, package, has_header in (("HEIF", HEIF_PACKAGE, is_heif), ("JXL", JXL_PACKAGE, is_jxl)):
        if has_header(header) and name not in readable() and (not formats or name in formats):
            kind = "HEIC photo" if name == "HEIF" else "JPEG XL picture"
            return f"a {kind}, which needs one more package: pip install {package}, or save the photo as JPEG."
    if formats:
        return f"not a picture of a format that is read here: {', '.join(formats)}."
    return "not a picture that Pillow can read."


HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1")


def is_heif(header: bytes) -> bool:
    """Returns whether a file that begins with these bytes is a HEIF picture, such as iPhones' HEIC."""
    return header[4:8] == b"ftyp" and any(brand in header for brand in HEIF_BRANDS)


def is_jxl(header: bytes) -> bool:
    """Returns whether a file that begins with these bytes is a JPEG XL picture, bare or in a container."""
    return header[:2] == b"\xff\x0a" or header[4:12] == b"JXL \r\n\x87\n"


@cache
def readable() -> list[str]:
    """Pillow's names of the formats that are read, including HEIF and JPEG XL if their packages are installed.

    EPS is excluded, because Pillow would start Ghostscript for it, and so are formats that Pillow recognises but cannot
    decode.
    """
    Image.preinit()  # first: they are tried in the order of their arrival
    Image.init()
    with contextlib.suppress(ImportError):
        import pillow_heif  # pyright: ignore[reportMissingImports] - an extra

        pillow_heif.register_heif_opener()
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401 - registers itself  # pyright: ignore[reportMissingImports] - an extra
    return [name for name in Image.ID if name not in ("EPS", "MPEG") and not is_stub(Image.OPEN[name][0])]


def is_stub(opener: object) -> bool:
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)


@cache
def endings() -> frozenset[str]:
    """Returns the file name endings, in lower case, of the formats that are read."""
    read = {*readable(), *ALIKE}  # first: pillow-heif registers endings too
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in read)


ALIKE = frozenset({"MPO"})
"""Formats that Pillow's JPEG reader recognises."""


def read_metadata(path: Path, location: bool = False, everything: bool = False) -> Metadata:
    """Returns the metadata of a file that are kept (see `metadata_of`), or none if the file cannot be read."""
    with contextlib.suppress(Exception), Image.open(path, formats=readable()) as file:
        return metadata_of(file, location, everything)
    return NO_METADATA


def left_out(file: Image.Image) -> list[str]:
    """Returns a sentence for everything of an opened file that Pillow or `standard` leaves out."""
    notes = []
    if getattr(file, "is_animated", False) and file.format != "MPO":  # `unheeded` tells what an MPO holds
        notes.append("It holds several frames or pages, and the first is taken.")
    if not is_deep(file.mode) and has_sixteen_bits(file):
        notes.append("It holds 16 bits a channel, of which Pillow reads 8.")
    if is_deep(file.mode) and "transparency" in file.info:
        notes.append("It holds 16 bits, of which 8 are kept beside its transparency.")
    if file.mode in ("CMYK", "LAB"):
        notes.append(f"Its {file.mode} colours become RGB.")
    return notes


def out_of_range(file: Image.Image) -> list[str]:
    """Returns a sentence for each change of levels that do not fit into 16 bits. The file must be decoded."""
    if file.mode not in ("I", "F"):
        return []
    notes = []
    least, largest = extremes(file)
    if file.mode == "F":
        notes.append("It holds floating-point levels, which are scaled so that the largest becomes white.")
    elif largest > 65535:
        notes.append("It holds levels above 65535, which are scaled so that the largest becomes white.")
    if least < 0:
        notes.append("Its levels below 0 become black.")
    return notes


def extremes(band: Image.Image) -> tuple[float, float]:
    """Returns the smallest and the largest level of a picture of one band."""
    levels = np.asarray(band.getextrema(), dtype=float)
    return float(levels[0]), float(levels[1])


def is_deep(mode: str) -> bool:
    """Returns whether a mode holds greys of more than 8 bits."""
    return mode.startswith(("I", "F"))


def has_sixteen_bits(file: Image.Image) -> bool:
    """Returns whether a file that is not yet decoded holds 16 bits a channel."""
    return ";16" in repr(getattr(file, "tile", ""))


def standard(picture: Image.Image) -> Image.Image:
    """Returns a copy: upright (EXIF orientation applied), in the mode L, LA, RGB, RGBA or I;16 that can hold its
    content.

    One bit becomes L, palettes RGB or RGBA, deep greys I;16 (LA if one level is transparent), CMYK RGB by its profile
    if it has one. Levels that follow a PNG's gAMA become sRGB's. `info` keeps "dpi", and "icc_profile" if it fits the
    mode. A JPEG keeps Pillow's attribute `quantization`, which further copies lose.
    """
    tables = getattr(picture, "quantization", None)
    tags, halved = getattr(picture, "tag_v2", {}), has_sixteen_bits(picture)
    picture = upright(picture)
    profile, dpi, gamma = picture.info.get("icc_profile"), picture.info.get("dpi"), gamma_of(picture)
    key = picture.info.get("transparency")
    if is_deep(picture.mode):
        picture = with_clear_level(to_sixteen_bits(picture, tags), key)
    elif picture.has_transparency_data:
        if halved and isinstance(key, tuple):  # given in 16 bits, where Pillow has read the upper 8
            picture = picture.copy()
            picture.info["transparency"] = tuple(level >> 8 for level in key)
        picture = picture.convert("LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA")
    elif picture.mode in ("1", "L"):
        picture = picture.convert("L")
    elif picture.mode in ("CMYK", "LAB"):
        picture = to_rgb_colours(picture, profile)
    else:
        picture = picture.convert("RGB")
    if gamma:
        picture = from_gamma(picture, gamma)
    if profile and picture.mode in ("L", "LA") and not fits(profile, picture.mode):
        with contextlib.suppress(OSError, ImageCms.PyCMSError):  # greys by the profile of an RGB space
            picture = through(picture, profile)
    picture.info = {}
    if profile and fits(profile, picture.mode):
        picture.info["icc_profile"] = profile
    if dpi and all(math.isfinite(value) and value > 0 for value in map(float, dpi)):
        picture.info["dpi"] = tuple(map(float, dpi))
    if tables:
        picture.quantization = tables  # pyright: ignore[reportAttributeAccessIssue] - only JpegImageFile has it
    return picture


def as_standard(picture: Image.Image) -> Image.Image:
    """Returns the picture itself if it is already in `standard`'s form, which saves memory; otherwise that form."""
    profile = picture.info.get("icc_profile")
    plain = type(picture) is Image.Image and picture.mode in STANDARD_MODES
    told = picture.info.keys() <= {"dpi", "icc_profile"} and (not profile or fits(profile, picture.mode))
    return picture if plain and told and not picture.getexif() else standard(picture)


def upright(picture: Image.Image) -> Image.Image:
    """Turns a picture as its EXIF data say. Returns the decoded picture itself if they say nothing."""
    picture.load()
    return ImageOps.exif_transpose(picture) if picture.getexif().get(ORIENTATION, 1) != 1 else picture


def to_sixteen_bits(picture: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Converts deep greys to I;16. Integers that fit keep their values; otherwise the largest value becomes white.

    tags: the tags of a TIFF by number. Pillow ignores there that 0 may mean white, and that 12 bits are not 16.
    """
    levels = np.asarray(picture)
    if levels.dtype.itemsize > 2:
        levels = np.nan_to_num(levels.astype(np.float32), posinf=0.0).clip(min=0)
        largest = float(levels.max(initial=0.0))
        if picture.mode.startswith("F") or largest > 65535:
            levels = levels * (65535 / largest if largest else 0.0)
        levels = np.rint(levels)
    levels = levels.astype(np.uint16)
    if tags.get(BITS_PER_SAMPLE) == (12,):
        levels = levels << 4 | levels >> 8
    return Image.fromarray(65535 - levels if tags.get(PHOTOMETRIC) == 0 else levels)


def with_clear_level(picture: Image.Image, level: int | None) -> Image.Image:
    """Converts I;16 to LA if one level means transparent; returns the picture unchanged for None."""
    if level is None:
        return picture
    alpha = Image.fromarray(np.where(np.asarray(picture) == level, 0, 255).astype(np.uint8))
    return Image.merge("LA", (to_eight_bits(picture), alpha))


def to_rgb_colours(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts CMYK or LAB to RGB, with the embedded profile. CMYK without a usable profile is converted as plain
    inks."""
    if picture.mode == "LAB":
        return lab_to_srgb(picture)
    try:
        return inks_to_srgb(picture, profile or b"")
    except (OSError, ImageCms.PyCMSError):
        return picture.convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    """LA or RGBA -> L or RGB."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert(picture.mode[:-1])


def fitted(picture: Image.Image, format: Format, scratch: Path | None = None) -> tuple[Image.Image, list[str]]:
    """Converts the picture to a mode that the format can hold, with its `info`. Also returns a sentence for each
    loss. scratch: a folder for the pixels of a large one."""
    notes, info = [], picture.info
    if picture.mode == "I;16" and "I;16" not in format.modes:
        picture = in_windows(picture, to_eight_bits, "L", scratch)
        notes.append(f"{format.name} cannot hold its 16 bits, so it is written with 8.")
    if picture.mode.endswith("A") and not any(mode.endswith("A") for mode in format.modes):
        picture = in_windows(picture, on_white, picture.mode[:-1], scratch)
        notes.append(f"{format.name} cannot hold its transparency, so it is laid on white.")
    picture.info = dict(info)
    if picture.mode not in format.modes or not format.profiles:
        picture, problems = to_srgb(picture)  # a profile for greys is none for RGB
        notes += problems
    if picture.mode not in format.modes:
        picture = picture.convert(picture.mode.replace("L", "RGB"))
    if format.name == "GIF" and picture.mode != "L":
        notes.append("Its colours are reduced to the 256 that a GIF can hold.")
    return picture, notes


def format_of(path: Path) -> Format:
    """Returns the format for the ending of a file name. Raises UserError if results are not written in it."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: results can be written as {', '.join(ENDINGS)}; choose one of these endings.")
    format = FORMATS[ENDINGS[path.suffix.lower()]]
    if not is_written(format):
        missing = f"one more package: pip install {format.package}" if format.package else "a Pillow that supports it"
        raise UserError(f"{path}: writing {format.name} needs {missing}.")
    return format


def is_written(format: Format) -> bool:
    """Returns whether the Pillow and the packages of this machine can write a format."""
    readable()
    return format.name in Image.SAVE


def check_size(path: Path, width: int, height: int) -> None:
    """Raises UserError if a picture is too large for the format of its file."""
    format = format_of(path)
    if max(width, height) > format.largest_side:
        raise UserError(
            f"{path} would be {width}x{height}, and {format.name} holds at most "
            f"{format.largest_side} pixels a side: choose PNG."
        )
    if width * height > format.most_pixels:
        raise UserError(
            f"{path} would be {width}x{height}, and results in {format.name} have at most "
            f"{format.most_pixels / 1e6:g} megapixels: choose PNG or JPEG."
        )


def save_picture(
    picture: Image.Image, path: Path, metadata: Metadata = NO_METADATA, quality: int | None = None
) -> list[str]:
    """Writes a picture of `standard`'s modes, completely or not at all, with its profile and DPI (WebP has no DPI).

    Returns a sentence for everything that the format, which follows from the name's ending, cannot hold. quality: 1 to
    100, for formats that have one; None for the value in `FORMATS`.
    """
    format = format_of(path)
    picture, notes = fitted(picture, format, path.parent)
    kept = {name: picture.info[name] for name in ("icc_profile", "dpi") if name in picture.info}
    told, more = options_for(metadata, format.name)
    options = {**options_of(format, quality), **kept, **told}

    def write(partial: Path) -> None:
        save(picture, partial, format.name, options)
        if format.name == "TIFF" and metadata.exif:
            add_to_tiff(partial, metadata)

    write_whole(path, write)
    return notes + more


def options_of(format: Format, quality: int | None) -> dict[str, Any]:
    """Returns the arguments of Image.save for a format and a quality; None for the quality in `FORMATS`."""
    if quality is None or "quality" not in format.options:
        return dict(format.options)
    lossless = format.name == "JXL" and quality == 100  # which its package refuses otherwise
    return {**format.options, "quality": quality, "lossless": lossless}
