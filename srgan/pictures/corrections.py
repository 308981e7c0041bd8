"""Corrections of a network's enlargement by what the small picture shows."""

from typing import Literal, Protocol

from torch import Tensor

from srgan.pictures.boxes import Box
from srgan.pictures.images import BACK_RADIUS, back_project


class Correction(Protocol):
    """Changes an enlargement so that it agrees better with the small picture. Boxes are in pixels of the small picture.

    The enlargement is made and corrected in parts: `needed` says how much more than a part must be made for it.
    """

    @property
    def radius(self) -> int:
        """The most pixels by which `needed` is larger than the part on a side."""
        ...

    def needed(self, part: Box, whole: Box) -> Box:
        """Returns the part of the picture whose enlargement `correct` needs, so that `part` comes out right."""
        ...

    def correct(self, low: Tensor, high: Tensor, place: Box) -> Tensor:
        """Returns the corrected enlargement, [N, 3, 4H, 4W], in float32 and not clipped to [-1, 1].

        low: what the network saw of the box `place`, floats in [-1, 1], [N, 3, H, W]. high: its enlargement, [N, 3, 4H,
        4W].
        """
        ...


CorrectionChoice = Correction | Literal["auto"] | None
"""A correction that takes the place of the model's own; None for the model's own alone; or "auto", with which the model
and the picture decide: see `Upscaler.blocks_to_hold`."""


class BackProjection:
    """`images.back_project`."""

    @property
    def radius(self) -> int:
        return BACK_RADIUS

    def needed(self, part: Box, whole: Box) -> Box:
        return part.grown(BACK_RADIUS, whole)

    def correct(self, low: Tensor, high: Tensor, place: Box) -> Tensor:
        return back_project(low, high)
