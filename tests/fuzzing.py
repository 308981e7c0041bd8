"""Reads thousands of damaged picture files. Each must be read or refused in one sentence, without a crash or a hang.

python tests/fuzzing.py FILES [SEED]
"""

import io
import random
import struct
import sys
import time
import warnings
import zlib
from collections import Counter

from helpers import ROOT, is_one_sentence, textured
from PIL import Image

sys.path.insert(0, str(ROOT))
from srgan.errors import UserError
from srgan.pictures.images import open_rgb

PNG = b"\x89PNG\r\n\x1a\n"
NUMBERS = tuple(
    bytes.fromhex(number) for number in ("0000", "ffff", "7fff", "ff7f", "00000000", "ffffffff", "7fffffff", "00000001")
)
"""Values to which lengths and sizes are set."""


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def whole_files() -> list[bytes]:
    """Returns small pictures in all formats that people upload, and in the variants of each decoder."""
    colour = textured(0, 48, 40)
    more = {"save_all": True, "append_images": [textured(1, 48, 40), textured(2, 48, 40)]}
    clear = colour.copy()
    clear.putalpha(colour.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(encoded(colour.convert(mode), "PNG") for mode in ("RGB", "P", "1", "I;16")),
        encoded(clear, "PNG", exif=exif), encoded(colour, "PNG", **more),
        encoded(colour, "JPEG", exif=exif, dpi=(72, 72)), encoded(colour, "JPEG", progressive=True),
        encoded(colour.convert("CMYK"), "JPEG"), encoded(colour, "MPO", **more), encoded(colour, "JPEG2000"),
        encoded(colour, "WEBP"), encoded(clear, "WEBP", lossless=True, exif=exif), encoded(colour, "WEBP", **more),
        encoded(colour, "GIF"), encoded(clear, "GIF", **more), encoded(colour, "AVIF"), encoded(colour, "AVIF", **more),
        *(encoded(colour, "TIFF", compression=name) for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        encoded(colour.convert("1"), "TIFF", compression="group4"), encoded(colour.convert("F"), "TIFF"),
        encoded(colour, "TIFF", exif=exif, save_all=True, append_images=[clear]),
        encoded(colour, "BMP"), encoded(colour.convert("P"), "BMP"),
        encoded(clear, "ICO"), encoded(colour, "TGA", compression="tga_rle"), encoded(colour, "PPM"),
    ]  # fmt: skip


def damaged(file: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Applies one to four mutations, half of them near the beginning, where the headers are."""
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(min(len(file), draw.choice((64, 400, len(file)))))
        until = min(at + draw.choice((1, 2, 4, 40, 400)), len(file))
        other = draw.choice(others)
        number = draw.choice(NUMBERS)
        file = draw.choice((
            file[:at] + bytes([file[at] ^ 1 << draw.randrange(8)]) + file[at + 1 :],
            file[:at] + draw.randbytes(until - at) + file[until:],
            file[:at] + number + file[at + len(number) :],
            file[: at + 1],
            file[:at] + file[until:] or file,
            file[:at] + file[at:until] * draw.choice((2, 50)) + file[until:],
            file[:at] + other[draw.choice((0, len(other) // 2)) :] + file[at:],
        ))  # fmt: skip
    return with_checksums(file) if draw.random() < 0.8 else file


def with_checksums(file: bytes) -> bytes:
    """Returns a PNG with correct checksums, because a wrong one stops the reader before the rest."""
    if not file.startswith(PNG):
        return file
    parts, at = [PNG], len(PNG)
    while at + 12 <= len(file):
        length = struct.unpack_from(">I", file, at)[0]
        body = file[at + 4 : at + 8 + length]
        parts.append(file[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += length + 12
    return b"".join(parts)


def main(count: int, seed: int = 0) -> None:
    """Reads `count` damaged files. Raises an exception at the first one that is neither read nor properly refused."""
    files, draw = whole_files(), random.Random(seed)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(count):
        file = damaged(files[number % len(files)], files, draw)
        began = time.perf_counter()
        try:
            assert open_rgb("damaged.png", file).mode == "RGB", number
            outcomes["read"] += 1
        except UserError as error:
            assert is_one_sentence(str(error)) and str(error).startswith("damaged.png: "), (number, str(error))
            outcomes["refused"] += 1
        slowest = max(slowest, time.perf_counter() - began)
    print(f"{outcomes['read']} read, {outcomes['refused']} refused, the slowest in {slowest:.2f} s")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*map(int, sys.argv[1:]))
