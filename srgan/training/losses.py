"""The losses of the training: on pixels, on VGG19's features, and adversarial. Images are RGB in [-1, 1], [N, 3, H,
W]."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from srgan.errors import UserError
from srgan.measure.metrics import luma, structural_similarity
from srgan.models import SCALE

VGG19_CHANNELS = {"conv1_2": 64, "conv2_2": 128, "conv3_4": 256, "conv4_4": 512, "conv5_4": 512}
"""Number of channels of the last layer before each pooling."""

PERCEPTUAL_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Weights of the layers in the perceptual loss, as in Real-ESRGAN (Wang et al. 2021, section 4.1). The two shallow
layers keep the restored image close to the original's pixels; the deep layers alone would let it drift away."""

PERCEPTUAL_LAYERS = tuple(PERCEPTUAL_WEIGHTS)

Features = dict[str, Tensor]
"""Features [N, C, h, w] by the name of their layer."""


class VGG19(nn.Module):
    """Features before their activation, by the layer's name in the VGG paper.

    `bgr255`: the weights expect BGR in [0, 255] less the mean (the original Caffe ones, which Keras has too), not
    torchvision's RGB in [0, 1], less the mean and divided by the deviation. Each file says which.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, bgr255: bool = False) -> None:
        super().__init__()
        self.features = vgg19_layers()
        self.names = vgg19_names(self.features)
        self.bgr255 = bgr255
        # Both as (images - mean) / deviation on images in [-1, 1].
        mean = torch.tensor([123.68, 116.779, 103.939]) / 255 if bgr255 else torch.tensor([0.485, 0.456, 0.406])
        deviation = torch.full((3,), 1 / 255) if bgr255 else torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("mean", (mean * 2 - 1).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", (deviation * 2).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor, layers: frozenset[str]) -> Features:
        x = (images - self.mean) / self.deviation
        if self.bgr255:
            x = x.flip(1)
        found = {}
        for name, layer in zip(self.names, self.features, strict=True):
            x = layer(x)
            if name in layers:
                found[name] = x
                if len(found) == len(layers):
                    break
        return found


def vgg19_layers() -> nn.Sequential:
    """torchvision's VGG19 up to conv5_4 (Simonyan & Zisserman 2015, configuration E), with random weights."""
    from torchvision.models.vgg import cfgs, make_layers  # takes a second to load

    layers = make_layers(cfgs["E"])[:-2]  # the last activation and pooling are not needed
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # the features before it are kept
    return layers


def vgg19_names(layers: nn.Sequential) -> list[str]:
    """Names from the VGG paper for torchvision's `features`: conv1_1, relu1_1, ..., pool1, ..., conv5_4."""
    names, block, convolution = [], 1, 0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            convolution += 1
        kind = {nn.Conv2d: "conv", nn.ReLU: "relu", nn.MaxPool2d: "pool"}[type(layer)]
        names.append(f"pool{block}" if kind == "pool" else f"{kind}{block}_{convolution}")
        if kind == "pool":
            block, convolution = block + 1, 0
    return names


def load_vgg19(path: str = "") -> VGG19:
    """VGG19 with ImageNet weights: from a file (.safetensors, or torchvision's .pth), else downloaded by torchvision.

    A .safetensors file may state in its metadata, under "input", that it takes BGR; else it counts as torchvision's.
    Raises UserError when the weights cannot be had or do not fit.
    """
    if not path:
        return fill_vgg19(VGG19(), download_vgg19(), "torchvision's VGG19 weights")
    if not Path(path).is_file():
        raise UserError(f"--vgg19 {path}: there is no such file.")
    try:
        if Path(path).suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                statement = (file.metadata() or {}).get("input", "")
                return fill_vgg19(VGG19("BGR" in statement), {key: file.get_tensor(key) for key in file.keys()}, path)
        return fill_vgg19(VGG19(), torch.load(path, map_location="cpu", weights_only=True), path)
    except UserError:
        raise
    except Exception as error:  # torch.load and safetensors raise a dozen kinds for a broken file
        raise UserError(f"--vgg19 {path} cannot be read as VGG19 weights ({type(error).__name__}).") from None


def download_vgg19() -> dict[str, Tensor]:
    from torchvision.models import VGG19_Weights

    try:
        return VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the VGG19 weights cannot be downloaded ({error}): "
            "name a file with --vgg19, or train without them with --content mse."
        ) from None


def fill_vgg19(network: VGG19, weights: dict[str, Tensor], source: str) -> VGG19:
    wanted = network.state_dict()
    missing = [key for key, value in wanted.items() if key not in weights or weights[key].shape != value.shape]
    if missing:
        raise UserError(f"{source} does not fit VGG19: {missing[0]} is missing or has another shape.")
    network.load_state_dict({key: weights[key].float() for key in wanted})
    return network


class ContentLoss(nn.Module):
    """A distance between views of restored and original photos, in which a discriminator may judge them too."""

    def views(self, restored: Tensor, original: Tensor) -> tuple[Any, Any]:
        """Returns the views of both images. The view of the original has no gradient."""
        return restored.float(), original

    def distance(self, restored: Any, original: Any) -> Tensor:
        """Returns the distance of two views: the MSE of pixels, unless a subclass overrides it."""
        return F.mse_loss(restored, original)

    def forward(self, restored: Tensor, original: Tensor) -> Tensor:
        return self.distance(*self.views(restored, original))


class PerceptualLoss(ContentLoss):
    """L1 between VGG19 features of several depths before activation (Wang et al. 2018, ESRGAN section 3.3).

    Each depth is divided by the mean magnitude of the original's features there, so that the depths, and the two scales
    in which VGG19 weights are handed round, weigh the same; then averaged over photos, and by PERCEPTUAL_WEIGHTS
    over layers.
    """

    def __init__(self, vgg19: VGG19) -> None:
        super().__init__()
        self.vgg19 = vgg19

    def views(self, restored: Tensor, original: Tensor) -> tuple[Features, Features]:
        layers = frozenset(PERCEPTUAL_LAYERS)
        with torch.no_grad():
            wanted = self.vgg19(original, layers)
        found = self.vgg19(restored, layers)
        scales = {name: magnitude(value) for name, value in wanted.items()}
        return divided(found, scales), divided(wanted, scales)

    def distance(self, restored: Features, original: Features) -> Tensor:
        terms = [
            weight * F.l1_loss(restored[name].float(), original[name].float())
            for name, weight in PERCEPTUAL_WEIGHTS.items()
        ]
        return torch.stack(terms).sum() / sum(PERCEPTUAL_WEIGHTS.values())


def divided(features: Features, scales: Features) -> Features:
    return {name: value / scales[name] for name, value in features.items()}


def magnitude(features: Tensor) -> Tensor:
    """Mean absolute value of each photo, whatever it shares its batch with. [N, C, h, w] -> [N, 1, 1, 1]."""
    return features.float().abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6).to(features.dtype)


class VGG54Loss(ContentLoss):
    """MSE between VGG19 conv5_4 features after activation, divided by 12.75 (SRGAN paper, equation 5, section 3.2)."""

    def __init__(self, vgg19: VGG19) -> None:
        super().__init__()
        self.vgg19 = vgg19

    def views(self, restored: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = self.features(original)
        return self.features(restored), wanted

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.vgg19(images, frozenset({"conv5_4"}))["conv5_4"].float()) / 12.75


def ssim_loss(restored: Tensor, original: Tensor) -> Tensor:
    """1 - SSIM of the luma. Beside L1 it preserves faint structure (Zhao et al. 2017, "Loss functions for image
    restoration with neural networks", which uses several scales of it)."""
    # A GPU convolves float32 in TF32, whose 10 bits are not enough for the small differences that variances are.
    exact = torch.float64 if restored.is_cuda else restored.dtype
    pixels = (luma((images.to(exact) + 1) * 127.5) for images in (restored, original))
    return 1 - structural_similarity(*pixels).mean().to(restored.dtype)


GRID_SPAN = 32
"""Pixels over which `grid_height` averages along a line. A grid repeats exactly over this length; a texture does not.
"""


def grid_loss(restored: Tensor, original: Tensor) -> Tensor:
    """Returns how far the 4x4 cells of the restored images, the pixels that PixelShuffle fills from one position, stand
    out more than in the original: by a pattern that repeats in each cell (`grid_height`), and by edges between cells
    (`edge_excess`).

    Deep features of VGG19 reward both, which look like detail to them. Pixels beyond the last whole cells are left out.
    """
    excess = []
    for dim in (-2, -1):
        excess.append((grid_height(restored, dim) - grid_height(original, dim)).clamp_min(0).mean())
        excess.append((edge_excess(restored, dim) - edge_excess(original, dim)).abs().mean())
    return torch.stack(excess).sum()


def grid_height(images: Tensor, dim: int) -> Tensor:
    """Returns the height of the grid on every line along `dim`: [..., spans, 4], not negative.

    Along a row, or a column, it is the mean of each of the 4 positions in a cell over GRID_SPAN pixels, less their
    common mean. Lines of one pixel, not squares: along a fold of cloth a grid changes its sign from one column to the
    next.
    """
    span = min(GRID_SPAN, images.shape[dim] // SCALE * SCALE)
    whole = images.narrow(dim, 0, images.shape[dim] // span * span).movedim(dim, -1)
    positions = whole.unflatten(-1, (-1, span // SCALE, SCALE)).mean(dim=-2)
    return (positions - positions.mean(dim=-1, keepdim=True)).abs()


def edge_excess(images: Tensor, dim: int) -> Tensor:
    """Returns the mean step from a pixel to the next along `dim` at each of the 4 positions in a cell, less the mean of
    the four: [N, 4]. The last one is the step into the next cell.

    Where each cell is drawn as a patch of its own, the last one is large and the others are small. The steps may have
    any sign, so such patches need not repeat, and `grid_height` does not see them.
    """
    cells = (images.shape[dim] - 1) // SCALE
    steps = images.narrow(dim, 0, cells * SCALE + 1).diff(dim=dim).abs().movedim(dim, -1)
    heights = steps.unflatten(-1, (cells, SCALE)).mean(dim=(1, 2, 3))
    return heights - heights.mean(dim=-1, keepdim=True)


SHADE_SIGMA = 3
"""Standard deviation, in pixels, of the Gaussian that leaves the coarse shades of a picture."""


def shade_loss(restored: Tensor, original: Tensor) -> Tensor:
    """Returns the L1 distance of the coarse shades. A discriminator that judges detail lets them drift, which shows as
    blotches of other colours; they can be restored without inventing anything, so this loss takes no detail away."""
    from torchvision.transforms.functional import gaussian_blur  # takes a second to load

    return gaussian_blur(restored - original, 2 * [6 * SHADE_SIGMA + 1], 2 * [float(SHADE_SIGMA)]).abs().mean()


def content_loss(kind: str, vgg19: VGG19 | None) -> ContentLoss:
    """Returns the loss for a choice of `--content`. All but "mse" need the network."""
    if kind == "mse":
        return ContentLoss()
    assert vgg19 is not None
    return {"perceptual": PerceptualLoss, "vgg54": VGG54Loss}[kind](vgg19)


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """Generator: cross-entropy of the restored images against "real" (SRGAN paper, equation 6)."""
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Discriminator: cross-entropy(real, 1) + cross-entropy(fake, 0), each averaged over patches."""
    return F.softplus(-real_logits.float()).mean() + F.softplus(fake_logits.float()).mean()
