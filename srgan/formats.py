"""Picture files: what may be read, what is kept of it, and what each format can hold."""

import io
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from srgan.errors import UserError
from srgan.files import write_whole

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"})
"""File name endings, in lower case, that count as pictures in a folder."""

MAX_PIXELS = 100_000_000
"""Pictures with more pixels are refused from their header, before they are decoded."""


@dataclass(frozen=True)
class Format:
    """A format that results are written in, and what of a result it can hold."""

    name: str
    """as Pillow has it"""
    modes: tuple[str, ...]
    largest_side: int
    options: dict[str, object]
    """for Image.save"""


FORMATS = {
    "png": Format("PNG", ("L", "LA", "RGB", "RGBA", "I;16"), 2**31 - 1, {"compress_level": 3}),
    "jpg": Format("JPEG", ("L", "RGB"), 65_500, {"quality": 95, "subsampling": 0}),
    "webp": Format("WEBP", ("RGB", "RGBA"), 16_383, {"quality": 95}),
    "tiff": Format(
        "TIFF", ("L", "LA", "RGB", "RGBA", "I;16"), 2**31 - 1,
        {"compression": "tiff_lzw", "tiffinfo": {317: 2}},  # 317: differences of neighbours are compressed
    ),
}  # fmt: skip
"""By the ending that files get. PNG and TIFF keep every pixel as it is."""

ENDINGS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff"}


class BrokenPicture(UserError):
    """A picture file of which a part is damaged or missing."""


def open_picture(path: str | Path, data: bytes | None = None) -> tuple[Image.Image, list[str]]:
    """The picture in a file as `standard` makes it, and a sentence for everything of the file that is not in it.

    Of an animation or several pages, the first. Raises UserError when it cannot be read, BrokenPicture
    when it is damaged or cut short.

    data: the file's bytes, where they are at hand; `path` then only names it.
    """
    try:
        with Image.open(path if data is None else io.BytesIO(data), formats=readable()) as file:
            if file.width * file.height > MAX_PIXELS:
                raise UserError(
                    f"{path}: {file.width}x{file.height} is more than {MAX_PIXELS // 1_000_000} megapixels."
                )
            notes = left_out(file)  # first: decoding forgets how the file was laid out
            return standard(file), notes
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a picture that Pillow can read.") from None
    except Image.DecompressionBombError:  # Pillow's own limit, which it applies before ours
        raise UserError(f"{path}: more than {MAX_PIXELS // 1_000_000} megapixels.") from None
    except UserError:
        raise
    except Exception as error:  # a damaged file can make Pillow raise anything
        raise BrokenPicture(f"{path}: the picture is broken ({error}).") from None


@cache
def readable() -> list[str]:
    """What Pillow reads by itself: not EPS, which is a program, for which it would start Ghostscript."""
    Image.preinit()  # first: they are tried in the order of their arrival
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def left_out(file: Image.Image) -> list[str]:
    """What Pillow or `standard` do not take from an opened file, a sentence each."""
    notes = []
    if getattr(file, "is_animated", False) and file.format != "MPO":  # a camera's MPO adds previews of the photo
        notes.append("It holds several frames or pages, and the first is taken.")
    if not is_deep(file.mode) and ";16" in repr(getattr(file, "tile", "")):
        notes.append("It holds 16 bits a channel, of which Pillow reads 8.")
    if file.mode in ("CMYK", "LAB"):
        notes.append(f"Its {file.mode} colours become RGB.")
    return notes


def is_deep(mode: str) -> bool:
    """Greys of more than 8 bits."""
    return mode.startswith(("I", "F"))


def standard(picture: Image.Image) -> Image.Image:
    """A copy: upright (EXIF orientation applied), in the mode L, LA, RGB, RGBA or I;16 that holds what it holds.

    One bit becomes L, palettes RGB or RGBA, deep greys I;16, inks RGB by their profile where they have one. Of `info`,
    "icc_profile" stays where it fits the mode, and "dpi".
    """
    picture = ImageOps.exif_transpose(picture)
    profile, dpi = picture.info.get("icc_profile"), picture.info.get("dpi")
    if is_deep(picture.mode):
        picture = to_sixteen_bits(picture)
    elif picture.has_transparency_data:
        picture = picture.convert("LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA")
    elif picture.mode in ("1", "L"):
        picture = picture.convert("L")
    elif picture.mode in ("CMYK", "LAB"):
        picture = to_srgb(picture, profile)
    else:
        picture = picture.convert("RGB")
    picture.info = {}
    if profile and fits(profile, picture.mode):
        picture.info["icc_profile"] = profile
    if dpi and all(math.isfinite(value) and value > 0 for value in map(float, dpi)):
        picture.info["dpi"] = tuple(map(float, dpi))
    return picture


def fits(profile: bytes, mode: str) -> bool:
    """Whether a colour profile is one for such pictures; its bytes 16 to 20 tell (ICC.1:2022, table 17)."""
    return profile[16:20] == (b"RGB " if mode.startswith("RGB") else b"GRAY")


def to_sixteen_bits(picture: Image.Image) -> Image.Image:
    """Deep greys -> I;16. Integers are taken as they are where they fit; else the largest value becomes white."""
    levels = np.asarray(picture)
    if levels.dtype.itemsize > 2:
        levels = np.nan_to_num(levels.astype(np.float32), posinf=0.0).clip(min=0)
        largest = float(levels.max(initial=0.0))
        if picture.mode.startswith("F") or largest > 65535:
            levels = levels * (65535 / largest if largest else 0.0)
        levels = np.rint(levels)
    return Image.fromarray(levels.astype(np.uint16))


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """CMYK or LAB -> RGB, by the embedded profile; CMYK without a usable one as plain inks."""
    srgb = ImageCms.createProfile("sRGB")
    if picture.mode == "LAB":
        return ImageCms.profileToProfile(picture, ImageCms.createProfile("LAB"), srgb, outputMode="RGB")
    try:
        inks = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
        return ImageCms.profileToProfile(picture, inks, srgb, outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        return picture.convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    """LA or RGBA -> L or RGB."""
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert(picture.mode[:-1])


def to_eight_bits(picture: Image.Image) -> Image.Image:
    """I;16 -> L, rounded to nearest."""
    return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))


def fitted(picture: Image.Image, format: Format) -> tuple[Image.Image, list[str]]:
    """The picture in a mode that the format can hold, and a sentence for what that costs."""
    notes = []
    if picture.mode == "I;16" and "I;16" not in format.modes:
        picture = to_eight_bits(picture)
        notes.append(f"{format.name} cannot hold its 16 bits, so it is written with 8.")
    if picture.mode.endswith("A") and not any(mode.endswith("A") for mode in format.modes):
        picture = on_white(picture)
        notes.append(f"{format.name} cannot hold its transparency, so it is laid on white.")
    if picture.mode not in format.modes:
        picture = picture.convert(picture.mode.replace("L", "RGB"))
    return picture, notes


def format_of(path: Path) -> Format:
    """By the ending of its name. Raises UserError for one that results are not written in."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{path}: results are written as {', '.join(ENDINGS)}; name it .png, say.")
    return FORMATS[ENDINGS[path.suffix.lower()]]


def check_size(path: Path, width: int, height: int) -> None:
    """Raises UserError for a picture too large for the format of its file."""
    format = format_of(path)
    if max(width, height) > format.largest_side:
        raise UserError(
            f"{path} would be {width}x{height}, and {format.name} holds {format.largest_side} pixels a side: take PNG."
        )


def save_picture(picture: Image.Image, path: Path) -> list[str]:
    """Writes a picture of `standard`'s modes, whole or not at all, with its profile and DPI (WebP has no DPI).

    Gives a sentence for everything that the format, told by the name's ending, cannot hold.
    """
    format = format_of(path)
    kept = {name: picture.info[name] for name in ("icc_profile", "dpi") if name in picture.info}
    picture, notes = fitted(picture, format)
    if not fits(kept.get("icc_profile", b""), picture.mode):
        kept.pop("icc_profile", None)
    write_whole(path, lambda partial: picture.save(partial, format.name, **format.options, **kept))
    return notes
