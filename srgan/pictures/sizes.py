"""Parses, checks and computes the size of a result."""

import math
import re
from dataclasses import dataclass, fields
from typing import NamedTuple

from srgan.errors import UserError
from srgan.models import SCALE

MOST_SCALE = SCALE**2
"""Largest enlargement: the network is applied twice at most."""

FORMS = "x2, 12 MP, width 1600, height 1200 or 1920x1080 (to fit into)"


def area(size: tuple[int, int]) -> int:
    """Returns the number of pixels."""
    return size[0] * size[1]


class Steps(NamedTuple):
    """The steps from a picture to its result."""

    reduced: tuple[int, int]
    """the size that the network sees: the picture's own, or the result's if that is smaller"""
    passes: tuple[tuple[int, int], ...]
    """the size after each application of the network; the last one is followed by a reduction"""

    @property
    def size(self) -> tuple[int, int]:
        """The size of the result."""
        return self.passes[-1]

    @property
    def work(self) -> list[int]:
        """Pixels that each application of the network reads. Time is proportional to their sum."""
        return [area(size) for size in (self.reduced, *self.passes[:-1])]


@dataclass(frozen=True)
class TargetSize:
    """The size of a result: one of the fields, or none for SCALE times the width and height.

    The proportions are those of the picture. Raises UserError if more than one field is given, or an impossible value.
    """

    scale: float | None = None
    """times the width and height; 1 cleans up at the picture's own size"""
    width: int | None = None
    """pixels"""
    height: int | None = None
    """pixels"""
    megapixels: float | None = None
    fit: tuple[int, int] | None = None
    """the largest width and height, in pixels: the result is as large as fits into them"""

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) > 1:
            raise UserError(f"The size is given by {' and by '.join(given)}: give only one of them.")
        for name, value in given.items():
            if not all(math.isfinite(number) and number > 0 for number in (value if name == "fit" else (value,))):
                raise UserError(f"{name} is {value}; it must be more than 0.")

    @classmethod
    def parse(cls, text: str) -> "TargetSize":
        """Parses "x2", "2", "12 MP", "width 1600", "height 1200" or "1920x1080"; "" means SCALE times.

        Raises UserError for anything else.
        """
        text = text.strip().lower()
        if not text:
            return cls()
        number = r"(\d+(?:\.\d+)?)"
        if match := re.fullmatch(rf"x?\s*{number}\s*x?", text):
            return cls(scale=float(match[1]))
        if match := re.fullmatch(rf"{number}\s*mp", text):
            return cls(megapixels=float(match[1]))
        if match := re.fullmatch(r"width\s*(\d+)", text):
            return cls(width=int(match[1]))
        if match := re.fullmatch(r"height\s*(\d+)", text):
            return cls(height=int(match[1]))
        if match := re.fullmatch(r"(\d+)\s*x\s*(\d+)", text):
            return cls(fit=(int(match[1]), int(match[2])))
        raise UserError(f"The size {text!r} is none of these: {FORMS}.")

    @property
    def label(self) -> str:
        """The size for a file name: "x4", "x1.5", "1600w", "1200h", "12mp" or "1920x1080"."""
        if self.width:
            return f"{self.width}w"
        if self.height:
            return f"{self.height}h"
        if self.megapixels:
            return f"{self.megapixels:g}mp"
        return f"{self.fit[0]}x{self.fit[1]}" if self.fit else f"x{self.scale or SCALE:g}"

    def of(self, width: int, height: int) -> tuple[int, int]:
        """Returns width and height of a picture's result. Raises UserError for more than MOST_SCALE times the picture's
        own."""
        scale = self.scale or SCALE
        if self.width:
            scale = self.width / width
        elif self.height:
            scale = self.height / height
        elif self.megapixels:
            scale = math.sqrt(self.megapixels * 1e6 / (width * height))
        elif self.fit:
            scale = min(self.fit[0] / width, self.fit[1] / height)
        if scale > MOST_SCALE * (1 + 1e-9):
            raise UserError(
                f"{width}x{height} would become {scale:.3g} times as wide and high; at most "
                f"{MOST_SCALE} times is possible."
            )
        return max(1, round(width * scale)), max(1, round(height * scale))

    def steps(self, width: int, height: int) -> Steps:
        """Returns the steps of a picture to the size `of` its result. Raises UserError like `of`."""
        size = self.of(width, height)
        if size[0] * size[1] < width * height:
            return Steps(size, (size,))
        if size[0] > SCALE * width or size[1] > SCALE * height:
            return Steps((width, height), ((SCALE * width, SCALE * height), size))
        return Steps((width, height), (size,))


FOUR_TIMES = TargetSize()
"""The size that one application of the network gives."""
