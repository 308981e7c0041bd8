"""Converts colours to sRGB, from those of a profile or a gamma."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms


def to_srgb(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """Converts a picture of `formats.standard`'s modes to sRGB, without a profile. Also returns a sentence for each
    loss.

    Mode and alpha stay, except that 16-bit greys with a profile become L. A picture without a profile is returned
    itself.
    """
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture, []
    notes = []
    info = {name: value for name, value in picture.info.items() if name != "icc_profile"}
    if picture.mode == "I;16":
        picture = to_eight_bits(picture)
        notes.append("It holds 16 bits, of which 8 are kept, because its colour profile is applied.")
    try:
        picture = through(picture, profile)
    except (OSError, ImageCms.PyCMSError):
        picture = picture.copy()
        notes.append("Its colour profile cannot be used, so its colours are taken for sRGB.")
    picture.info = info
    return picture, notes


def through(picture: Image.Image, profile: bytes) -> Image.Image:
    """Converts L, LA, RGB or RGBA from a profile's colours to sRGB. Raises OSError or PyCMSError for a broken
    profile."""
    grey = picture.mode.startswith("L")
    colour = picture.convert("L" if grey and space_of(profile) == b"GRAY" else "RGB")
    converted = inks_to_srgb(colour, profile).convert("L" if grey else "RGB")
    if picture.mode.endswith("A"):
        converted.putalpha(picture.getchannel("A"))
    return converted


def inks_to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Returns a copy in RGB of a picture in the profile's own mode. Raises OSError or PyCMSError for a broken
    profile."""
    copy = ImageCms.applyTransform(picture, transform(profile, picture.mode))
    assert copy is not None  # Pillow gives None only when it converts in place
    return copy


def lab_to_srgb(picture: Image.Image) -> Image.Image:
    """LAB -> RGB."""
    return inks_to_srgb(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


@lru_cache(maxsize=8)
def transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    """Builds the conversion of pictures of this mode to sRGB. It takes longer than the conversion of a small picture,
    so the last ones are kept. Raises as `inks_to_srgb` does."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def space_of(profile: bytes) -> bytes:
    """b"RGB ", b"GRAY", b"CMYK" or another: bytes 16 to 20 of a colour profile (ICC.1:2022, table 17)."""
    return profile[16:20]


def fits(profile: bytes, mode: str) -> bool:
    """Returns whether a colour profile belongs to pictures of this mode, one of `formats.standard`'s."""
    return space_of(profile) == (b"RGB " if mode.startswith("RGB") else b"GRAY")


def is_honoured(profile: bytes, mode: str) -> bool:
    """Returns whether `formats.standard` keeps or applies the profile of a file whose mode is any of Pillow's."""
    spaces = {"CMYK": (b"CMYK",), "LAB": (b"Lab ",)}
    if mode in ("1", "L", "LA", "La"):
        return space_of(profile) in (b"GRAY", b"RGB ")
    return space_of(profile) in spaces.get(mode, (b"GRAY",) if mode.startswith(("I", "F")) else (b"RGB ",))


def to_eight_bits(picture: Image.Image) -> Image.Image:
    """I;16 -> L, rounded to nearest."""
    return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))


# Gamma


def gamma_of(picture: Image.Image) -> float:
    """Returns the exponent of a PNG's gAMA chunk if only this chunk says what the levels mean, and if it differs from
    sRGB's 1 / 2.2 by 5 % or more, as in libpng; otherwise 0."""
    gamma = picture.info.get("gamma", 0)
    if picture.info.get("icc_profile") or "srgb" in picture.info or gamma <= 0 or abs(2.2 * gamma - 1) < 0.05:
        return 0.0
    return float(gamma)


def from_gamma(picture: Image.Image, gamma: float) -> Image.Image:
    """L, LA, RGB, RGBA or I;16 whose levels are light to the power of `gamma` -> the same in sRGB's levels."""
    deep = picture.mode == "I;16"
    most = 65535 if deep else 255
    light = np.linspace(0, 1, most + 1) ** (1 / gamma)
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table = np.rint(most * levels)
    if deep:
        return Image.fromarray(table.astype(np.uint16)[np.asarray(picture)])
    colours = len(picture.getbands()) - picture.mode.endswith("A")
    alpha = list(range(256)) if picture.mode.endswith("A") else []
    return picture.point(table.astype(int).tolist() * colours + alpha)
