"""The one bicubic for parts of pictures: each part of the result equals that part of the whole result."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srgan.pictures.boxes import Box


@dataclass(frozen=True)
class Axis:
    """One side of a picture, `inputs` pixels long, that becomes `outputs` pixels long."""

    inputs: int
    outputs: int

    @property
    def step(self) -> float:
        """Number of inputs for each output."""
        return self.inputs / self.outputs

    @property
    def support(self) -> float:
        """Number of inputs on each side of an output's middle that have a weight. It grows if the axis becomes
        shorter."""
        return 2 * max(self.step, 1.0)

    def place(self, start: int, end: int, per: int) -> tuple[int, int]:
        """Outputs whose middles lie between two edges, which are counted in `per` inputs. Neighbours share no
        output."""
        first, last = (-((self.inputs - 2 * edge * per * self.outputs) // (2 * self.inputs)) for edge in (start, end))
        return first, last

    def weights(self, outputs: tuple[int, int], inputs: tuple[int, int], device: torch.device) -> Tensor:
        """Returns the weight of each input in each output: float32 [outputs, inputs]."""
        # float64 for the places in large pictures; not every device has it
        middles = (torch.arange(*outputs, dtype=torch.float64) + 0.5) * self.step
        places = torch.arange(*inputs, dtype=torch.float64) + 0.5
        weights = cubic((places - middles[:, None]) / max(self.step, 1.0))
        return (weights / weights.sum(1, keepdim=True)).to(device, torch.float32)


def cubic(x: Tensor) -> Tensor:
    """Returns the kernel of cubic convolution with a = -0.5 (Keys 1981), which `images.bicubic` uses. x: distances, of
    any float type."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


@dataclass(frozen=True)
class Grid:
    """The result of a picture at another size. `per`: number of inputs in one pixel of the boxes."""

    columns: Axis
    rows: Axis
    per: int = 1

    @classmethod
    def between(cls, low: tuple[int, int], size: tuple[int, int], per: int = 1) -> "Grid":
        """Makes the Grid from a width and height, enlarged `per` times, to another width and height."""
        return cls(Axis(per * low[0], size[0]), Axis(per * low[1], size[1]), per)

    @property
    def is_plain(self) -> bool:
        """Whether the result has the size of the input, so that nothing is resampled."""
        return all(axis.inputs == axis.outputs for axis in (self.columns, self.rows))

    @property
    def reach(self) -> int:
        """Number of pixels around a part that its result needs."""
        if self.is_plain:
            return 0
        return math.ceil(max(self.columns.support, self.rows.support) / self.per)

    def place(self, part: Box) -> Box:
        """Returns the place of a part's result in the whole result; it may be empty."""
        left, right = self.columns.place(part.left, part.right, self.per)
        top, bottom = self.rows.place(part.top, part.bottom, self.per)
        return Box(left, top, right, bottom)

    def resample(self, images: Tensor, seen: Box, place: Box) -> Tensor:
        """Resamples a box that is `reach` larger than a part: [N, C, per * h, per * w] -> [N, C, h, w] of its `place`.

        Floats. Where the box ends earlier, as at the edges of the picture, the other weights grow.
        """
        if self.is_plain:
            return images
        around = seen.times(self.per)
        down = self.rows.weights((place.top, place.bottom), (around.top, around.bottom), images.device)
        along = self.columns.weights((place.left, place.right), (around.left, around.right), images.device)
        return torch.matmul(down, torch.matmul(images.float(), along.T))
