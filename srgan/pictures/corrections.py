"""Corrections of a network's enlargement by what the small picture shows."""

from typing import Protocol

from torch import Tensor

from srgan.pictures.boxes import Box
from srgan.pictures.images import BACK_RADIUS, back_project


class Correction(Protocol):
    @property
    def radius(self) -> int:
        """The largest number of low-resolution pixels around a part that its correction needs."""
        ...

    def needed(self, part: Box, whole: Box) -> Box:
        """Returns the part of the picture whose enlargement `correct` needs, so that `part` comes out right."""
        ...

    def correct(self, low: Tensor, high: Tensor, place: Box) -> Tensor:
        """Corrects an enlargement. low: what the network saw of the box `place`, floats in [-1, 1], [N, 3, H, W].
        high: [N, 3, 4H, 4W]."""
        ...


class BackProjection:
    """`images.back_project`."""

    @property
    def radius(self) -> int:
        return BACK_RADIUS

    def needed(self, part: Box, whole: Box) -> Box:
        return part.grown(BACK_RADIUS, whole)

    def correct(self, low: Tensor, high: Tensor, place: Box) -> Tensor:
        return back_project(low, high)
