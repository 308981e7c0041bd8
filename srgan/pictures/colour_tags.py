"""Finds the statements about colours in picture files that this program does not honour."""

import contextlib
import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from srgan.pictures.colour import is_honoured

HEADER_BYTES = 1 << 20
"""Number of bytes that are read of the box that describes an AVIF or HEIF picture; it takes a few kilobytes."""

SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue, in the order of PNG's cHRM."""

PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
CURVES = {8: "linear", 16: "PQ (HDR)", 18: "HLG (HDR)"}
"""Names of the transfer curves by their numbers in ITU-T H.273, which cICP and nclx use."""

PLAIN_PRIMARIES, PLAIN_CURVES = frozenset({1, 2}), frozenset({1, 2, 6, 13, 14, 15})
"""Those of sRGB, of video that is shown as sRGB, and "unspecified"."""

GAIN_MAPS = (b"hdrgm:Version", b"urn:iso:std:iso:ts:21496", b"HDRGainMap", b"hdrgainmap", b"tmap")
"""The names of gain maps in files by Adobe, ISO, Apple and in AVIF."""


def unheeded(file: Image.Image, source: BinaryIO) -> list[str]:
    """Returns a sentence for each statement about colours in an opened file that is not honoured.

    source: the file's bytes. Its position is restored.
    """
    place = source.tell()
    notes = list(said_beside_pixels(file, source))
    source.seek(place)
    return notes


def said_beside_pixels(file: Image.Image, source: BinaryIO) -> Iterator[str]:
    profile = file.info.get("icc_profile")
    if profile and not is_honoured(profile, file.mode):
        yield "Its colour profile is made for colours of another kind, so it is left out."
    described = b"".join(content for _, content in getattr(file, "applist", []))
    if file.format in ("AVIF", "HEIF"):
        described = description(source)
    if not profile:
        tagged = tag_of(file, source, described)
        if tagged:
            yield f"Its colours are tagged as {tagged}, which is not honoured: they are taken for sRGB."
    if any(name in described for name in GAIN_MAPS):
        yield "Its HDR gain map is left out: it is taken as screens without HDR show it."
    elif file.format == "MPO" and has_more_than_previews(file):
        yield "It holds further pictures (an HDR gain map or a second view, say), and the first is taken."


def tag_of(file: Image.Image, source: BinaryIO, described: bytes) -> str:
    """Returns the colours that a file without a profile names; "" if that is sRGB or nothing."""
    if file.format == "PNG":
        tagged = next((content for name, content in png_chunks(source) if name == b"cICP"), b"")
        if len(tagged) == 4:
            return h273_name(*tagged[:2]) or ("limited range" if not tagged[3] else "")
        found = file.info.get("chromaticity", SRGB_CHROMATICITY)
        if "srgb" not in file.info and len(found) == 8 and np.abs(np.subtract(found, SRGB_CHROMATICITY)).max() > 0.01:
            return "other primaries than sRGB's (cHRM)"
    if b"colrnclx" in described:
        numbers = described.partition(b"colrnclx")[2]
        return h273_name(int.from_bytes(numbers[:2], "big"), int.from_bytes(numbers[2:4], "big"))
    with contextlib.suppress(Exception):  # damaged EXIF says nothing
        if file.format in ("JPEG", "MPO") and file.getexif().get_ifd(0xA005).get(1) == "R03":
            return "Adobe RGB (EXIF)"
    return ""


def h273_name(primaries: int, curve: int) -> str:
    """ "Display P3, PQ (HDR)", say; "" for what is shown as sRGB."""
    names = []
    if primaries not in PLAIN_PRIMARIES:
        names.append(PRIMARIES.get(primaries, f"primaries {primaries} of H.273"))
    if curve not in PLAIN_CURVES:
        names.append(CURVES.get(curve, f"transfer curve {curve} of H.273"))
    return ", ".join(names)


def png_chunks(source: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Name and first bytes of each chunk of a PNG ahead of its pixels."""
    source.seek(8)
    while len(head := source.read(8)) == 8 and head[4:] != b"IDAT":
        start, length = source.tell(), int.from_bytes(head[:4], "big")
        yield head[4:], source.read(min(length, 64))
        source.seek(start + length + 4)


def description(source: BinaryIO) -> bytes:
    """Returns the box "meta" of an AVIF or HEIF file, which describes its pictures; empty where there is none."""
    source.seek(0)
    while len(head := source.read(8)) == 8 and (length := int.from_bytes(head[:4], "big")) >= 8:
        if head[4:] == b"meta":
            return source.read(min(length - 8, HEADER_BYTES))
        source.seek(length - 8, io.SEEK_CUR)
    return b""


def has_more_than_previews(file: Image.Image) -> bool:
    """Returns whether an MPO holds more than a photo and smaller copies of it, which cameras add."""
    entries = getattr(file, "mpinfo", {}).get(0xB002, [])
    return any("Thumbnail" not in entry["Attribute"]["MPType"] for entry in entries[1:])
