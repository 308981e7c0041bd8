"""Rectangles of pixels: what a picture is cut into."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor


class Box(NamedTuple):
    """A part of a picture, in the order of Pillow's crop; right and bottom are the first pixels outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def side(self) -> int:
        """The longer side."""
        return max(self.width, self.height)

    def parts(self, side: int) -> list["Box"]:
        """Returns the box cut into parts of at most `side` pixels a side, as equal as can be; row by row."""
        return [
            Box(left, top, right, bottom)
            for top, bottom in spans(self.top, self.bottom, side)
            for left, right in spans(self.left, self.right, side)
        ]

    def grown(self, radius: int, limit: "Box") -> "Box":
        """Returns the box with `radius` more pixels on each side, as far as `limit` goes."""
        return Box(
            max(self.left - radius, limit.left), max(self.top - radius, limit.top),
            min(self.right + radius, limit.right), min(self.bottom + radius, limit.bottom),
        )  # fmt: skip

    def inside(self, other: "Box") -> "Box":
        """Returns the same box, counted from the corner of another."""
        return Box(self.left - other.left, self.top - other.top, self.right - other.left, self.bottom - other.top)

    def times(self, scale: int) -> "Box":
        """Returns the same box in a picture that is enlarged so many times."""
        return Box(*(scale * edge for edge in self))

    def of(self, images: Tensor, scale: int = 1) -> Tensor:
        """That part of images at `scale` times the box's resolution. [..., H, W] -> [..., height, width], a view."""
        left, top, right, bottom = self.times(scale)
        return images[..., top:bottom, left:right]


def spans(start: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    count = -(-(end - start) // longest)
    edges = [start + (end - start) * number // count for number in range(count + 1)]
    return pairwise(edges)
