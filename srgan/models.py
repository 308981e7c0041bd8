"""SRGAN's generator (Ledig et al. 2017, arXiv 1609.04802, section 2.1), without batch normalisation."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 4
"""Enlargement factor of the generator."""

Upsampling = Literal["stepwise", "direct"]
"""The way from features to pixels.

"stepwise", as in the paper: two sub-pixel convolutions that double the size, then a 9x9 convolution. "direct": one 3x3
sub-pixel convolution that enlarges 4 times, which leaves the compute to the residual blocks.
"""

LARGEST = {"channels": 256, "blocks": 64}
"""Settings and config.json files beyond these limits (300 MB of weights) are refused as a mistake or an attack."""


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor, halfway: Callable[[], object] | None = None) -> Tensor:
        """halfway: called between the two convolutions, which take up to a second each on a slow processor."""
        first, activation, second = self.body
        deep = activation(first(features))
        if halfway:
            halfway()
        deep = second(deep)
        return features + deep


def sub_pixel(channels: int, outputs: int, factor: int) -> tuple[nn.Conv2d, nn.PixelShuffle]:
    """Layers that enlarge by `factor` (Shi et al. 2016): [N, channels, H, W] -> [N, outputs, factor*H, factor*W]."""
    convolution = nn.Conv2d(channels, factor**2 * outputs, 3, padding=1)
    # ICNR (Aitken et al. 2017): the sub-pixels of a channel start equal, so there is no checkerboard to unlearn.
    with torch.no_grad():
        for values in convolution.parameters():
            values.copy_(values[:: factor**2].repeat_interleave(factor**2, dim=0))
    return convolution, nn.PixelShuffle(factor)


class Generator(nn.Module):
    """SRResNet. RGB in [-1, 1], [N, 3, H, W] -> [N, 3, 4H, 4W] in (-1, 1), for any H and W.

    No batch normalisation: its statistics differ between training and use, which shows as artefacts
    (Lim et al. 2017, EDSR; Wang et al. 2018, ESRGAN section 3.1).
    """

    def __init__(self, channels: int = 64, blocks: int = 16, upsampling: Upsampling = "stepwise") -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU(channels))
        self.body = nn.Sequential(
            *(ResidualBlock(channels) for _ in range(blocks)), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.upsampling = upsampling
        if upsampling == "direct":
            self.tail = nn.Sequential(*sub_pixel(channels, 3, SCALE))
        else:
            doublings = (nn.Sequential(*sub_pixel(channels, channels, 2), nn.PReLU(channels)) for _ in range(2))
            self.upsample = nn.Sequential(*doublings)
            self.tail = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, low: Tensor) -> Tensor:
        return self.to_image(self.to_features(low))

    def to_features(self, low: Tensor, watch: Callable[[float], object] | None = None) -> Tensor:
        """Returns the part of the network at low resolution: [N, 3, H, W] -> [N, channels, H, W].

        watch: called before each 3x3 convolution with the share of the work that is done. An exception that it raises
        ends the work.
        """
        features = deep = self.head(low)
        watch = watch or (lambda share: None)
        *blocks, last = self.body
        for number, block in enumerate(blocks):
            watch(number / len(self.body))
            deep = block(deep, partial(watch, (number + 0.5) / len(self.body)))
        watch(len(blocks) / len(self.body))
        return features + last(deep)

    def to_image(self, features: Tensor) -> Tensor:
        """Returns the part of the network that enlarges: [N, channels, H, W] -> [N, 3, 4H, 4W]."""
        if isinstance(self.tail, nn.Sequential):  # direct
            return torch.tanh(self.tail(features))
        first, last = self.upsample
        assert isinstance(last, nn.Sequential)
        convolution, shuffle, activation = last
        assert isinstance(activation, nn.PReLU) and self.tail.bias is not None
        features = convolution(first(features))
        # From here: activation and tail in front of the last shuffle (see `fold_shuffle`). Same function, less work.
        features = F.prelu(features, activation.weight.repeat_interleave(4))
        weight, bias = fold_shuffle(self.tail.weight), self.tail.bias.repeat_interleave(4)
        return torch.tanh(shuffle(F.conv2d(features, weight, bias, padding=2)))

    @property
    def features_radius(self) -> int:
        """Low-resolution pixels around a point that `to_features` looks at: 9x9 head, two 3x3 a block, a last 3x3."""
        return 4 + 2 * (len(self.body) - 1) + 1

    @property
    def image_radius(self) -> int:
        """Positions around a point that `to_image` looks at. direct: 3x3; stepwise: 3x3 at 1x and at 2x, 9x9 at 4x,
        which is 2.5, rounded up."""
        return 1 if self.upsampling == "direct" else 3


def fold_shuffle(weight: Tensor) -> Tensor:
    """A 9x9 convolution behind PixelShuffle(2) as a 5x5 one in front of it. [O, C, 9, 9] -> [4O, 4C, 5, 5].

    `conv2d(shuffle(x), weight, padding=4) == shuffle(conv2d(x, fold_shuffle(weight), padding=2))`: the output at
    sub-pixel p and the input at sub-pixel a, s - 2 pixels on, meet at tap 2s + a - p. Three output channels leave most
    of a processor's vector idle, and twelve do not.
    """
    outputs, channels = weight.shape[:2]
    shifted = [F.pad(weight, (q, 1 - q, p, 1 - p)) for p in (0, 1) for q in (0, 1)]
    taps = torch.stack(shifted, dim=1).view(outputs, 4, channels, 5, 2, 5, 2)
    return taps.permute(0, 1, 2, 4, 6, 3, 5).reshape(4 * outputs, 4 * channels, 5, 5)
