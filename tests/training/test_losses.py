"""Each loss against numbers worked out by hand, VGG19 against torchvision's, and its weights files."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers import OFFLINE, is_one_sentence, random_vgg19
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms import functional as transforms

from srgan.errors import UserError
from srgan.measure.metrics import ssim_y
from srgan.pictures.images import normalize
from srgan.training.losses import (
    PERCEPTUAL_LAYERS,
    VGG19,
    PerceptualLoss,
    VGG54Loss,
    adversarial_loss,
    content_loss,
    discriminator_loss,
    edge_excess,
    grid_loss,
    load_vgg19,
    shade_loss,
    ssim_loss,
    vgg19_names,
)  # fmt: skip


@pytest.fixture(scope="module")
def vgg19() -> VGG19:
    return random_vgg19()


# VGG19


def test_names_and_layers_are_those_of_torchvisions_vgg19() -> None:
    theirs = make_layers(cfgs["E"])
    ours = VGG19().features
    names = vgg19_names(ours)
    assert len(names) == len(ours) == 35
    for layer, other in zip(ours, theirs, strict=False):
        assert type(layer) is type(other)
    assert {name: names.index(name) for name in ("conv1_1", "pool1", "conv3_4", "conv4_4", "conv5_4")} == {
        "conv1_1": 0, "pool1": 4, "conv3_4": 16, "conv4_4": 25, "conv5_4": 34,
    }  # fmt: skip


def test_features_are_torchvisions_on_imagenet_normalised_input(vgg19: VGG19) -> None:
    theirs = make_layers(cfgs["E"])
    theirs.load_state_dict(
        {name.removeprefix("features."): value for name, value in vgg19.state_dict().items()}, strict=True
    )
    images = torch.rand(2, 3, 40, 32) * 2 - 1
    x = transforms.normalize((images + 1) / 2, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    found = vgg19(images, frozenset({"conv1_1", "conv3_4", "conv5_4"}))
    for name, index in (("conv1_1", 0), ("conv3_4", 16), ("conv5_4", 34)):
        wanted = theirs[: index + 1](x)
        assert wanted.std() > 0.1
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-3)


def test_features_are_from_before_the_activation(vgg19: VGG19) -> None:
    found = vgg19(torch.rand(1, 3, 32, 32), frozenset(PERCEPTUAL_LAYERS))
    assert set(found) == set(PERCEPTUAL_LAYERS)
    assert all(value.min() < 0 for value in found.values())


def test_caffe_weights_get_bgr_in_255_levels_less_the_mean() -> None:
    network = VGG19(bgr255=True)
    network.features = nn.Sequential(*(nn.Identity() for _ in network.names))
    colour = torch.tensor([10.0, 200.0, 120.0]) / 127.5 - 1
    seen = network(colour.view(1, 3, 1, 1), frozenset({"conv1_1"}))["conv1_1"].flatten()
    torch.testing.assert_close(seen, torch.tensor([120 - 103.939, 200 - 116.779, 10 - 123.68]), rtol=0, atol=1e-3)


# Content losses


def stub(features: Callable[[Tensor], dict[str, Tensor]]) -> Callable[[Tensor, frozenset[str]], dict[str, Tensor]]:
    """Returns a stand-in for VGG19 that gives known features for known images."""
    return lambda images, layers: {name: value for name, value in features(images).items() if name in layers}


def test_vgg54_is_the_squared_difference_of_activated_conv5_4_over_12_75() -> None:
    loss = VGG54Loss(VGG19())
    del loss.vgg19
    loss.vgg19 = stub(lambda images: {"conv5_4": images * 12.75})
    # 0.5 and -1 against -0.25 and -0.5: after the activation 0.5 and 0 against 0 and 0.
    assert loss(torch.tensor([0.5, -1.0]), torch.tensor([-0.25, -0.5])).item() == pytest.approx(0.25 / 2)


def test_perceptual_is_the_weighted_mean_over_depths_of_the_relative_l1() -> None:
    loss = PerceptualLoss(VGG19())
    del loss.vgg19
    features = {
        "conv1_2": lambda x: x, "conv2_2": lambda x: 1000 * x.abs(), "conv3_4": lambda x: x + 2,
        "conv4_4": lambda x: -x, "conv5_4": lambda x: x + 2,
    }  # fmt: skip
    loss.vgg19 = stub(lambda images: {name: feature(images) for name, feature in features.items()})
    # restored (1, 3), original (2, -2). x: mean(1, 5) / mean(2, 2) = 3/2, as -x. |x|, whatever its scale:
    # mean(1, 1) / 2 = 1/2. x + 2: (3, 5) against (4, 0): mean(1, 5) / mean(4, 0) = 3/2.
    restored, original = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1), torch.tensor([2.0, -2.0]).view(1, 2, 1, 1)
    found = loss(restored, original)
    assert found.item() == pytest.approx((0.1 * 1.5 + 0.1 * 0.5 + 1.5 + 1.5 + 1.5) / 3.2)
    # A second photo without error halves the mean and does not change the first one's scale.
    pair = torch.cat([restored, 9 * original]), torch.cat([original, 9 * original])
    assert loss(*pair).item() == pytest.approx(found.item() / 2)


def test_content_choices(vgg19: VGG19) -> None:
    restored, original = torch.tensor([0.5, 0.0]), torch.tensor([0.1, 0.2])
    assert content_loss("mse", None)(restored, original).item() == pytest.approx((0.16 + 0.04) / 2)
    assert isinstance(content_loss("vgg54", vgg19), VGG54Loss)
    assert isinstance(content_loss("perceptual", vgg19), PerceptualLoss)


@pytest.mark.parametrize("kind", ["perceptual", "vgg54"])
def test_gradients_reach_the_restored_image_and_nothing_else(vgg19: VGG19, kind: str) -> None:
    loss = content_loss(kind, vgg19)
    restored = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    original = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    loss(restored, original).backward()
    assert restored.grad is not None and restored.grad.abs().max() > 0
    assert original.grad is None
    assert all(value.grad is None and not value.requires_grad for value in loss.parameters())
    assert loss(original, original).item() == 0


# The grid of sub-pixels


def test_grid_loss_is_the_height_of_a_grid_on_any_texture() -> None:
    stripes = torch.tensor([0.25, -0.25]).repeat(20)  # 40 pixels: a whole span, and 8 that are ignored
    original = torch.zeros(2, 3, 40, 40)
    assert grid_loss(original + stripes, original).item() == pytest.approx(0.25)
    assert grid_loss(original + stripes.view(40, 1), original).item() == pytest.approx(0.25)
    assert grid_loss(original + stripes + stripes.view(40, 1), original).item() == pytest.approx(0.5)
    assert grid_loss(original + stripes.abs(), original).item() == 0  # a shift of brightness is no grid
    assert grid_loss(original, original + stripes).item() == 0  # nor is a grid that the original has
    dot = torch.zeros(4, 4)
    dot[1, 2] = 1.6  # in one row and one column of four: there it stands out by 3/4, the others of the line by 1/4
    found = grid_loss(original + dot.repeat(10, 10), original).item()
    height = 1.6 * (3 / 4 + 3 * 1 / 4) / 16
    edges = 1.6 / 4 / 2  # steps up and down in a quarter of the lines, so the four positions have 0, 0.4, 0.4, 0
    assert found == pytest.approx(2 * (height + edges))


def test_grid_loss_sees_dots_along_folds() -> None:
    """The dots have period 4 along a fold, and their sign changes with every column by a period of 3."""
    along = torch.tensor([0.3, 0.1, -0.3, -0.1]).repeat(8).view(32, 1)
    across = torch.tensor([1.0, -1.0, 0.0]).repeat(11)[:32]
    original = torch.zeros(1, 3, 32, 32)
    assert grid_loss(original + along * across, original).item() > 0.1


def test_grid_loss_sees_cells_drawn_as_patches_that_do_not_repeat() -> None:
    """Flat cells of random brightness: no pattern repeats, but all steps lie between the cells."""
    draws = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    patches = draws.repeat_interleave(4, -1).repeat_interleave(4, -2)
    step = patches.diff(dim=-1)[..., 3::4].abs().mean().item()  # and 0 at the three other positions
    found = edge_excess(patches, -1)
    torch.testing.assert_close(found.mean(0), step * torch.tensor([-0.25, -0.25, -0.25, 0.75]))
    assert grid_loss(patches, torch.zeros_like(patches)).item() > 0.2
    assert grid_loss(patches, patches).item() == 0  # what the original has costs nothing
    smooth = F.interpolate(draws, size=(64, 64), mode="bicubic")
    shifted = smooth.roll((1, 2), (-1, -2))  # the same picture with its cells elsewhere
    assert grid_loss(smooth, shifted) < 0.3 * grid_loss(patches, shifted)


def test_texture_without_a_grid_costs_little() -> None:
    textures = torch.randn(2, 8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    grid = torch.tensor([1.0, -1.0]).repeat(32).expand_as(textures[0])
    assert grid_loss(*textures) < 0.25 * grid_loss(grid, 0 * grid)
    gradient = torch.linspace(-1, 1, 64).expand_as(textures[0])
    assert grid_loss(gradient, 0 * gradient) < 0.05 * grid_loss(grid, 0 * grid)


def test_grid_loss_takes_crops_smaller_than_its_span() -> None:
    stripes = torch.tensor([0.25, -0.25]).repeat(8)
    assert grid_loss(torch.zeros(1, 3, 16, 16) + stripes, torch.zeros(1, 3, 16, 16)).item() == pytest.approx(0.25)


# Coarse shades


def test_shade_loss_sees_shades_and_not_detail() -> None:
    original = torch.zeros(2, 3, 32, 32)
    assert shade_loss(original + 0.25, original).item() == pytest.approx(0.25)
    stripes = torch.tensor([0.25, -0.25]).repeat(16)
    assert shade_loss(original + stripes, original).item() < 1e-3
    wave = torch.cos(2 * math.pi * torch.arange(129) / 16)  # a Gaussian of 3 px leaves exp(-2 (pi 3 / 16)^2) of it
    found = shade_loss(wave.expand(1, 3, 32, 129), torch.zeros(1)).item()
    assert found == pytest.approx(math.exp(-2 * (math.pi * 3 / 16) ** 2) * wave.abs().mean().item(), rel=0.02)


# Structure


def test_ssim_loss_is_one_less_the_metric() -> None:
    random = torch.Generator().manual_seed(0)
    original = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=random)
    restored = (original.float() * 0.8 + 20).to(torch.uint8)
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # the metric cuts 4 pixels off, the loss does not
    loss = ssim_loss(*(normalize(images)[inner] for images in (restored, original))).item()
    assert loss == pytest.approx(1 - ssim_y(restored, original).mean().item(), abs=1e-5)
    assert 0.01 < loss < 0.5


# Adversarial losses


def test_adversarial_losses_are_cross_entropies() -> None:
    real, fake = torch.randn(4, 1, 2, 2) * 5, torch.randn(4, 1, 2, 2) * 5
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    cross_entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(adversarial_loss(fake), cross_entropy(fake, ones))
    torch.testing.assert_close(discriminator_loss(real, fake), cross_entropy(real, ones) + cross_entropy(fake, zeros))


def test_adversarial_losses_at_known_logits() -> None:
    zero = torch.zeros(2, 1, 1, 1)
    assert adversarial_loss(zero).item() == pytest.approx(0.6931472)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * 0.6931472)
    sure = torch.full((1, 1, 1, 1), 1000.0)
    assert discriminator_loss(sure, -sure).item() == 0  # right and sure
    assert adversarial_loss(-sure).item() == pytest.approx(1000)  # finite, however wrong


# Weights files


def test_a_safetensors_file_is_loaded(vgg19_file: Path, vgg19: VGG19) -> None:
    loaded = load_vgg19(str(vgg19_file))
    assert not loaded.bgr255
    assert loaded.features[34].weight.dtype == torch.float32
    torch.testing.assert_close(loaded.features[34].weight, vgg19.features[34].weight, rtol=1e-3, atol=1e-4)


def test_a_file_that_states_bgr_input_gets_it(tmp_path: Path, vgg19_file: Path) -> None:
    path = tmp_path / "caffe.safetensors"
    save_file(
        load_file(vgg19_file), path, {"input": "RGB in [0,1] -> BGR, x255, minus (103.939,116.779,123.68), no std"}
    )
    assert load_vgg19(str(path)).bgr255


def test_torchvisions_pth_file_is_loaded(tmp_path: Path, vgg19: VGG19) -> None:
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save({**vgg19.state_dict(), "classifier.0.weight": torch.zeros(3)}, path)
    loaded = load_vgg19(str(path))
    assert not loaded.bgr255
    assert torch.equal(loaded.features[0].weight, vgg19.features[0].weight)


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_vgg19(str(path))
    text = str(caught.value)
    assert is_one_sentence(text) and str(path) in text
    return text


def test_files_that_are_not_vgg19_are_refused_by_name(tmp_path: Path, vgg19_file: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.pth")
    for name in ("text.safetensors", "text.pth"):
        (tmp_path / name).write_text("no weights")
        refusal(tmp_path / name)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(vgg19_file.read_bytes()[:100_000])
    refusal(cut)
    torch.save([1, 2], tmp_path / "list.pth")
    refusal(tmp_path / "list.pth")
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.safetensors")
    assert "features.0.bias" in refusal(tmp_path / "part.safetensors")
    weights = load_file(vgg19_file)
    weights["features.34.weight"] = torch.zeros(512, 512, 1, 1)
    save_file(weights, tmp_path / "shape.safetensors")
    assert "features.34.weight" in refusal(tmp_path / "shape.safetensors")


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    refusal(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


def test_without_weights_and_network_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OFFLINE, "TORCH_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        load_vgg19()
    text = str(caught.value)
    assert is_one_sentence(text)
    assert "--vgg19" in text and "--content mse" in text


class Convolutions(TorchDispatchMode):
    """Records the precision that each convolution requests."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(function):
            self.dtypes.add(args[0].dtype)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "wanted"), [("cuda", torch.float64), ("cpu", torch.float32)])
def test_the_ssim_loss_is_not_convolved_in_tf32(device: str, wanted: torch.dtype) -> None:
    """A GPU uses TF32 for float32 unless told otherwise. Tensors without content stand in for the GPU's."""
    with FakeTensorMode(), Convolutions() as seen:
        restored, original = (torch.empty(2, 3, 32, 32, device=device) for _ in range(2))
        loss = ssim_loss(restored, original)
    assert loss.dtype == torch.float32
    assert seen.dtypes == {wanted}
