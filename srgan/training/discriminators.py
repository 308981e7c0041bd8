"""The two discriminators, and the adversarial losses that belong to each.

They judge views of restored and original photos: either the pixels or VGG19's features of them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srgan.training.losses import PERCEPTUAL_LAYERS, VGG19_CHANNELS, Features, adversarial_loss, discriminator_loss

Verdict = tuple[Tensor, Tensor, Tensor]
"""The discriminator's loss, D(real) and D(fake)."""


class Discriminator(nn.Module):
    """Tells restored photos from originals by views of both, whose form each subclass chooses."""

    def generator_loss(self, restored: Any, original: Any) -> Tensor:
        """Returns the generator's adversarial loss. restored, original: the same kind of view of each."""
        raise NotImplementedError

    def discriminator_loss(self, restored: Any, original: Any) -> Verdict:
        """Returns the loss of the discriminator itself, on the same views."""
        raise NotImplementedError


class PatchDiscriminator(Discriminator):
    """Judges patches. RGB in [-1, 1], [N, 3, H, W] -> logits [N, 1, ceil(H/16), ceil(W/16)]; positive means "real".

    Eight 3x3 convolutions (paper, figure 4), then the two dense layers on the channel axis of every position,
    which is what a 1x1 convolution is: the network is fully convolutional and takes images of any size.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, stride in ((64, 1), (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2)):
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.LeakyReLU(0.2)]
            channels = width
        layers += [nn.Conv2d(channels, 1024, 1), nn.LeakyReLU(0.2), nn.Conv2d(1024, 1, 1)]
        self.layers = start_undecided(nn.Sequential(*layers))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)

    def generator_loss(self, restored: Tensor, original: Tensor) -> Tensor:
        return adversarial_loss(self(restored))

    def discriminator_loss(self, restored: Tensor, original: Tensor) -> Verdict:
        logits = self(torch.cat([original.to(restored.dtype), restored.detach()]))  # one pass: nothing mixes photos
        real, fake = logits.float().chunk(2)
        return discriminator_loss(real, fake), real.detach().sigmoid().mean(), fake.detach().sigmoid().mean()


class FeatureDiscriminator(Discriminator):
    """Judges VGG19's features: a small head for each depth, {layer: [N, C, h, w]} -> {layer: logits [N, 1, h, w]}, of
    the two largest features [N, 1, h/2, w/2].

    What ImageNet has taught VGG19 need not be learned anew from a few thousand photos (Sauer et al. 2021, "Projected
    GANs converge faster"), and as the perceptual loss looks through VGG19 anyway, its features cost nothing more. Only
    the first depth shows edges of one pixel, such as those between the cells of 4x4 pixels that a "direct" generator
    draws from one position each.

    The game is relativistic and paired: each place of a restored photo is judged against the same place of its
    original, so that nothing but the restoring tells them apart (Jolicoeur-Martineau 2019, "The relativistic
    discriminator"; Huang et al. 2024, "The GAN is dead; long live the GAN!"). D(real) is how often, in its
    opinion, the original is the better one of the two.
    """

    LAYERS = PERCEPTUAL_LAYERS
    WIDTH = 128
    SHALLOW_WIDTH = 32
    """Channels of the head for conv1_2, whose features have the size of the photo."""
    NUDGE = 0.1
    """Standard deviation of the noise in `approximate_r1`; the features' mean magnitude is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: self.make_head(name) for name in self.LAYERS})

    def make_head(self, layer: str) -> nn.Sequential:
        width = self.SHALLOW_WIDTH if layer == "conv1_2" else self.WIDTH
        layers: list[nn.Module] = [nn.Conv2d(VGG19_CHANNELS[layer], width, 1), nn.LeakyReLU(0.2)]
        # Half the places of the largest features, each way: all of them would take a quarter of a step's time. Edges
        # of one pixel are looked at before that.
        for stride in {"conv1_2": (1, 2), "conv2_2": (2, 1)}.get(layer, (1, 1)):
            layers += [nn.Conv2d(width, width, 3, stride, padding=1), nn.LeakyReLU(0.2)]
        return start_undecided(nn.Sequential(*layers, nn.Conv2d(width, 1, 1)))

    def forward(self, features: Features) -> Features:
        return {name: head(features[name]) for name, head in self.heads.items()}

    def generator_loss(self, restored: Features, original: Features) -> Tensor:
        with torch.no_grad():
            real = self(original)
        return relativistic_loss(self(restored), real)

    def discriminator_loss(self, restored: Features, original: Features) -> Verdict:
        logits = self({name: torch.cat([original[name], restored[name].detach()]) for name in self.LAYERS})
        real, fake = ({name: value.chunk(2)[part] for name, value in logits.items()} for part in (0, 1))
        leads = [(real[name] - fake[name]).detach().float().sigmoid().mean() for name in self.LAYERS]
        d_real = torch.stack(leads).mean()
        return 2 * relativistic_loss(real, fake), d_real, 1 - d_real  # twice, as the other game has two terms

    def approximate_r1(self, restored: Features, original: Features, random: torch.Generator) -> Tensor:
        """Mean squared change of the logits when a little noise, the same for every photo, is added to the features.

        Used as a penalty it approximates R1 and R2, which a relativistic game needs to settle (Huang et al. 2024), by a
        difference instead of a second derivative (Lin et al. 2025, "Diffusion adversarial post-training for one-step
        video generation", the approximated R1). random: a generator on the features' device.
        """
        there = {name: torch.cat([original[name], restored[name].detach()]) for name in self.LAYERS}
        beside = {name: value + self.NUDGE * noise_like(value[:1], random) for name, value in there.items()}
        moved = zip(self(there).values(), self(beside).values(), strict=True)
        return torch.stack([(one.float() - other.float()).square().mean() for one, other in moved]).mean()


def make_discriminator(of_features: bool) -> Discriminator:
    return FeatureDiscriminator() if of_features else PatchDiscriminator()


def relativistic_loss(better: Features, worse: Features) -> Tensor:
    """Cross-entropy of "the first is the better one" at every place, averaged over places, photos and layers."""
    terms = [F.softplus(worse[name].float() - better[name].float()).mean() for name in better]
    return torch.stack(terms).mean()


def noise_like(values: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(values.shape, generator=random, device=values.device).to(values.dtype)


def start_undecided(layers: nn.Sequential) -> nn.Sequential:
    """Initialises the layers so that a signal keeps its size through many of them without normalisation (He et al.
    2015, equation 15). torch's default loses nine tenths of it every four layers. The last layer starts near 0."""
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, 0.2)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        convolutions[-1].weight.mul_(0.1)
    return layers
