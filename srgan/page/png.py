"""Writes PNG files quickly, because whoever waits for an answer waits for them."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

UP = 2
"""The filter that stores each value's difference to the value above it (PNG specification, section 9.2). Pillow tries
all five filters for each row, which takes twice as long as everything else."""

COLOUR_TYPES = {"RGB": 2, "RGBA": 6}

BAND = 256
"""Number of rows that are compressed at once, which bounds the memory."""


def write_png(picture: Image.Image, path: Path) -> None:
    """Writes RGB or RGBA as PNG, without metadata. It takes half the time of Pillow's quickest way, and files of
    enlarged photos become about a tenth larger."""
    pack = zlib.compressobj(1, strategy=zlib.Z_RLE)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(">2I5B", *picture.size, 8, COLOUR_TYPES[picture.mode], 0, 0, 0)
        write_chunk(file, b"IHDR", header)
        for top in range(0, picture.height, BAND):
            write_chunk(file, b"IDAT", pack.compress(filtered(picture, top, min(top + BAND, picture.height)).data))
        write_chunk(file, b"IDAT", pack.flush())
        write_chunk(file, b"IEND", b"")


def filtered(picture: Image.Image, top: int, bottom: int) -> np.ndarray:
    """Returns rows of a picture as PNG stores them: uint8 [bottom - top, 1 + bytes of a row]."""
    above = max(0, top - 1)
    rows = np.asarray(picture.crop((0, above, picture.width, bottom))).reshape(bottom - above, -1)
    stored = np.empty((bottom - top, 1 + rows.shape[1]), np.uint8)
    stored[:, 0] = UP
    if not top:
        stored[0, 1:] = rows[0]  # above the first row, all values are 0
    np.subtract(rows[1:], rows[:-1], out=stored[0 if top else 1 :, 1:])
    return stored


def write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
