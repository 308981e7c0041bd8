"""Reads and writes the metadata of picture files, such as date, camera, place and author, and decides which of them are
kept. docs/enlarge.md lists the fields."""

import contextlib
import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, IptcImagePlugin, PngImagePlugin, TiffImagePlugin, TiffTags

ORIENTATION = 0x0112

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
"""Tags that point to EXIF's own fields and to those of the place."""

KEPT = frozenset(
    {
        0x010E,  # ImageDescription
        0x010F, 0x0110,  # Make, Model
        0x0131, 0x0132,  # Software, DateTime
        0x013B, 0x8298,  # Artist, Copyright
    }
)  # fmt: skip
"""Tags of the picture that are always kept. The orientation is applied to the pixels, so its tag becomes 1."""

KEPT_OF_EXIF = frozenset(
    {
        0x829A, 0x829D, 0x8822, 0x8827, 0x8830,  # ExposureTime, FNumber, ExposureProgram, ISO, SensitivityType
        0x9003, 0x9004,  # DateTimeOriginal, DateTimeDigitized
        0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292,  # the time zones and split seconds of the three dates
        0x9201, 0x9202, 0x9203, 0x9204, 0x9205, 0x9206,  # shutter, aperture, brightness, bias, widest, distance
        0x9207, 0x9208, 0x9209, 0x920A,  # MeteringMode, LightSource, Flash, FocalLength
        0xA217, 0xA402, 0xA403, 0xA404, 0xA405, 0xA406,  # sensing, exposure, white balance, zoom, 35 mm, scene
        0xA407, 0xA408, 0xA409, 0xA40A, 0xA40C,  # gain, contrast, saturation, sharpness, distance range
        0xA432, 0xA433, 0xA434,  # lens
    }
)  # fmt: skip
"""EXIF's own fields that are always kept: when and how the photo was taken."""

MORE = frozenset({0x010D, 0x013C, 0x4746, 0x4749, *range(0x9C9B, 0x9CA0)})
"""Tags of the picture that are kept on request: names, host, rating, Windows' title and keywords."""

NEVER_OF_EXIF = frozenset(
    {
        0x927C,  # MakerNote: its offsets count from its place in the old file
        0x9101, 0x9102, 0xA000, 0xA001, 0xA002, 0xA003, 0xA005,  # about the old file's pixels and colours
    }
)  # fmt: skip
"""EXIF's own fields that are never kept, because they are not true of the result."""

PLACES_OF_IPTC = frozenset({26, 27, 90, 92, 95, 100, 101})
"""Datasets of IPTC's record 2 that name a place: city, province, country and the like."""

PLACES_OF_XMP = (
    r"exif:GPS\w+|photoshop:(?:City|State|Country)|Iptc4xmpCore:(?:Location|CountryCode)|"
    r"Iptc4xmpExt:Location(?:Created|Shown)|GPano:Pose\w+|exifEX:GPS\w+"
)

XMP_TAG, IPTC_TAG, PREDICTOR, DIFFERENCES = 700, 33723, 317, 2
"""Tags of a TIFF, and PREDICTOR's value for storing the differences between neighbours."""

XMP_TEXT = "XML:com.adobe.xmp"
"""The name of XMP in a PNG's text."""

IPTC_RESOURCE = 0x0404
"""Number of the Photoshop resource in which JPEG files hold IPTC."""


@dataclass(frozen=True)
class Metadata:
    exif: bytes = b""
    """with the "Exif\\0\\0" in front"""
    xmp: bytes = b""
    iptc: bytes = b""
    """the datasets one after the other, in the form of IPTC's IIM"""


NO_METADATA = Metadata()


def metadata_of(file: Image.Image, location: bool = False, everything: bool = False) -> Metadata:
    """Returns those metadata of an opened file that are kept. Damaged fields are left out.

    location: also keep the place; everything: also keep the rest of EXIF, XMP and IPTC.
    """
    exif = xmp = iptc = b""
    with contextlib.suppress(Exception):  # a damaged file can make Pillow raise anything
        exif = kept_exif(file.getexif(), location, everything)
    if everything:
        with contextlib.suppress(Exception):
            xmp = kept_xmp(xmp_of(file), location)
        with contextlib.suppress(Exception):
            iptc = kept_iptc(file, location)
    return Metadata(exif, xmp, iptc)


def kept_exif(found: Image.Exif, location: bool, everything: bool) -> bytes:
    kept = Image.Exif()
    wanted = KEPT | MORE if everything else KEPT
    copy(dict(found), kept, lambda tag: tag in wanted)
    if ORIENTATION in found:
        kept[ORIENTATION] = 1
    fields = dict(found.get_ifd(EXIF_IFD))
    of_exif = kept.get_ifd(EXIF_IFD)
    copy(fields, of_exif, lambda tag: tag not in NEVER_OF_EXIF if everything else tag in KEPT_OF_EXIF)
    if location:
        copy(dict(found.get_ifd(GPS_IFD)), kept.get_ifd(GPS_IFD), lambda tag: True)
    return kept.tobytes() if len(kept) or of_exif or kept.get_ifd(GPS_IFD) else b""


def copy(found: dict[int, Any], kept: Any, is_wanted: Callable[[int], bool]) -> None:
    for tag, value in found.items():
        if is_wanted(tag) and is_writable(tag, value):
            kept[tag] = value


def is_writable(tag: int, value: Any) -> bool:
    """Returns whether Pillow can write a field. If it cannot write one, it writes none of the others."""
    alone = Image.Exif()
    alone[tag] = value
    try:
        return bool(alone.tobytes())
    except Exception:
        return False


def xmp_of(file: Image.Image) -> bytes:
    """Returns a file's XMP packet; b"" if it has none."""
    found = file.info.get("xmp") or file.info.get(XMP_TEXT) or b""
    if not found and isinstance(file, TiffImagePlugin.TiffImageFile):
        found = file.tag_v2.get(XMP_TAG, b"")
    return found.encode() if isinstance(found, str) else bytes(found)


def kept_xmp(packet: bytes, location: bool) -> bytes:
    if location or not packet:
        return packet
    text = packet.decode("utf-8", "surrogateescape")
    text = re.sub(rf"<({PLACES_OF_XMP})\b[^>]*/>", "", text)
    text = re.sub(rf"<({PLACES_OF_XMP})\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(rf"\s(?:{PLACES_OF_XMP})\s*=\s*(?:\"[^\"]*\"|'[^']*')", "", text)
    return text.encode("utf-8", "surrogateescape")


def kept_iptc(file: Image.Image, location: bool) -> bytes:
    found: dict[tuple[int, int], bytes | list[bytes]] = IptcImagePlugin.getiptcinfo(file) or {}  # pyright: ignore[reportArgumentType] - its stub wants another class
    datasets = b""
    for (record, number), values in sorted(found.items()):
        if record == 2 and number in PLACES_OF_IPTC and not location:
            continue
        for value in values if isinstance(values, list) else [values]:
            if len(value) < 1 << 15:
                datasets += bytes((0x1C, record, number)) + len(value).to_bytes(2, "big") + value
    return datasets


# Into a file


def options_for(metadata: Metadata, format: str) -> tuple[dict[str, Any], list[str]]:
    """Returns the arguments of Image.save for a format of Pillow's name, and a sentence for everything that it
    cannot hold."""
    exif, xmp, iptc = metadata.exif, metadata.xmp, metadata.iptc
    if format == "GIF":
        return {}, ["GIF cannot hold its metadata, so they are left out."] if xmp or iptc else []
    options: dict[str, Any] = {"exif": exif} if exif else {}
    notes = []
    if format == "PNG" and xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(XMP_TEXT, xmp.decode("utf-8", "replace"))
    elif format == "TIFF":
        options["exif"] = tiff_fields(metadata)
    elif xmp:
        options["xmp"] = xmp
    if format == "JPEG" and iptc:
        options["extra"] = in_jpeg(iptc)
    if iptc and (format not in ("JPEG", "TIFF") or options.get("extra") == b""):
        notes.append(f"{format} cannot hold its IPTC fields, so they are left out.")
    return options, notes


def tiff_fields(metadata: Metadata) -> Image.Exif:
    """Returns the metadata that belong to a TIFF's own fields, for Image.save; and the predictor, which Pillow would
    not write otherwise."""
    fields = Image.Exif()
    fields.update({tag: value for tag, value in loaded(metadata.exif).items() if tag not in (EXIF_IFD, GPS_IFD)})
    fields[PREDICTOR] = DIFFERENCES
    fields.update({tag: value for tag, value in ((XMP_TAG, metadata.xmp), (IPTC_TAG, metadata.iptc)) if value})
    return fields


def loaded(exif: bytes) -> Image.Exif:
    fields = Image.Exif()
    if exif:
        fields.load(exif)
    return fields


def add_to_tiff(path: Path, metadata: Metadata) -> None:
    """Adds EXIF's own fields and the fields of the place to a file, because Pillow cannot write them with compression.

    They are appended to the file, followed by a new copy of the first directory with entries for them.
    """
    exif = loaded(metadata.exif)
    with path.open("r+b") as file:
        header = file.read(8)
        order = "<" if header[:2] == b"II" else ">"
        (start,) = struct.unpack(f"{order}L", header[4:])
        file.seek(start)
        (count,) = struct.unpack(f"{order}H", file.read(2))
        entries = [file.read(12) for _ in range(count)]
        following = file.read(4)
        for tag in (EXIF_IFD, GPS_IFD):
            if fields := exif.get_ifd(tag):
                place = to_even_end(file)
                directory = TiffImagePlugin.ImageFileDirectory_v2(ifh=header)
                for name, value in fields.items():
                    directory[name] = value
                file.write(directory.tobytes(place))
                entries.append(struct.pack(f"{order}HHLL", tag, TiffTags.LONG, 1, place))
        place = to_even_end(file)
        entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
        file.write(struct.pack(f"{order}H", len(entries)) + b"".join(entries) + following)
        file.seek(4)
        file.write(struct.pack(f"{order}L", place))


def to_even_end(file: BinaryIO) -> int:
    """Moves to the end of a file and makes it even, because a TIFF's directories begin at even offsets. Returns it."""
    end = file.seek(0, io.SEEK_END)
    return end + file.write(b"\0" * (end % 2))


def in_jpeg(iptc: bytes) -> bytes:
    """Returns the segment of a JPEG that holds IPTC; b"" if it is too long for a segment."""
    resource = b"8BIM" + IPTC_RESOURCE.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big") + iptc
    content = b"Photoshop 3.0\0" + resource + b"\0" * (len(iptc) % 2)
    return b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content if len(content) < 65_000 else b""
