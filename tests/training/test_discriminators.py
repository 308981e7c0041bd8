"""The two discriminators: shapes and sizes, and the game that each plays against the generator."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srgan.training.discriminators import FeatureDiscriminator, PatchDiscriminator, relativistic_loss
from srgan.training.losses import VGG19, Features, PerceptualLoss

Views = tuple[Features, Features]

# Patches


def test_discriminator_has_the_papers_parameters() -> None:
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    convolutions = sum(9 * a * b + b for a, b in widths)
    # The dense layers see the channels of one position, 512 -> 1024 -> 1, not the whole 8x8x512 map.
    assert (
        sum(value.numel() for value in PatchDiscriminator().parameters())
        == convolutions + 512 * 1024 + 1024 + 1024 + 1
        == 5_211_713
    )


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(128, 128, 8, 8), (16, 16, 1, 1), (17, 33, 2, 3), (1, 1, 1, 1), (31, 50, 2, 4)],
)
def test_discriminator_judges_patches_of_any_image(height: int, width: int, rows: int, columns: int) -> None:
    logits = PatchDiscriminator()(torch.zeros(1, 3, height, width))
    assert logits.shape == (1, 1, rows, columns)


def test_the_discriminator_hears_its_input_from_the_start() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator()
    features = network.layers[:-1](torch.randn(8, 3, 64, 64))
    spread = features.std(dim=(0, 2, 3)).mean() / features.abs().mean()
    assert spread > 0.5  # across positions and images; torch's random biases would hide it
    assert network(torch.randn(8, 3, 64, 64)).abs().mean() < 0.3  # an untrained network is undecided


def test_discriminator_gives_logits_and_not_probabilities() -> None:
    network = PatchDiscriminator()
    last = network.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, -7.0)
    assert network(torch.randn(2, 3, 16, 32)).unique().tolist() == [-7.0]


def test_patches_are_judged_by_cross_entropy() -> None:
    network = PatchDiscriminator()
    restored, original = (torch.rand(2, 3, 32, 32, requires_grad=True) for _ in range(2))
    real, fake = network(original), network(restored)
    cross_entropy = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(network.generator_loss(restored, original), cross_entropy(fake, torch.ones_like(fake)))
    loss, d_real, d_fake = network.discriminator_loss(restored, original)
    both = cross_entropy(real, torch.ones_like(real)) + cross_entropy(fake, torch.zeros_like(fake))
    torch.testing.assert_close(loss, both)
    torch.testing.assert_close(torch.stack([d_real, d_fake]), torch.stack([real, fake]).sigmoid().mean((1, 2, 3, 4)))
    loss.backward()
    assert restored.grad is None  # the discriminator's loss gives the generator no gradient


# Features


@pytest.fixture(scope="module")
def views() -> Views:
    """Returns the views of two pairs of random images through a VGG19 with random weights."""
    torch.manual_seed(0)
    network = VGG19()
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return PerceptualLoss(network).views(torch.randn(2, 3, 48, 48), torch.randn(2, 3, 48, 48))


def test_every_depth_is_judged_everywhere_and_the_two_largest_at_every_second_place(views: Views) -> None:
    logits = FeatureDiscriminator()(views[0])
    shapes = {name: tuple(value.shape) for name, value in logits.items()}
    assert shapes == {
        "conv1_2": (2, 1, 24, 24),
        "conv2_2": (2, 1, 12, 12), "conv3_4": (2, 1, 12, 12), "conv4_4": (2, 1, 6, 6), "conv5_4": (2, 1, 3, 3),
    }  # fmt: skip


def test_relativistic_loss_is_the_cross_entropy_of_the_difference() -> None:
    better = {"a": torch.randn(2, 1, 6, 6), "b": torch.randn(2, 1, 3, 3) * 5}
    worse = {name: torch.randn_like(value) for name, value in better.items()}
    terms = [
        F.binary_cross_entropy_with_logits(better[name] - worse[name], torch.ones_like(better[name])) for name in better
    ]
    torch.testing.assert_close(relativistic_loss(better, worse), (terms[0] + terms[1]) / 2)  # layers weigh the same
    shifted = {name: value + 3 for name, value in better.items()}
    assert relativistic_loss(shifted, shifted).item() == pytest.approx(math.log(2))  # only the difference counts


def test_features_are_judged_against_those_of_the_same_photo(
    views: Views,
) -> None:
    network = FeatureDiscriminator()
    restored, original = ({name: value.clone().requires_grad_() for name, value in view.items()} for view in views)
    fake, real = network(restored), network(original)
    torch.testing.assert_close(network.generator_loss(restored, original), relativistic_loss(fake, real))
    loss, d_real, d_fake = network.discriminator_loss(restored, original)
    torch.testing.assert_close(loss, 2 * relativistic_loss(real, fake))
    leads = [(real[name] - fake[name]).sigmoid().mean().item() for name in real]
    assert d_real.item() == pytest.approx(sum(leads) / 5) and d_fake.item() == pytest.approx(1 - sum(leads) / 5)
    network.generator_loss(restored, original).backward()
    assert restored["conv5_4"].grad.abs().max() > 0 and original["conv5_4"].grad is None
    restored["conv5_4"].grad = None
    loss.backward()
    assert restored["conv5_4"].grad is None and original["conv5_4"].grad is not None


def test_the_same_photo_is_a_draw(views: Views) -> None:
    loss, d_real, d_fake = FeatureDiscriminator().discriminator_loss(views[0], views[0])
    assert loss.item() == pytest.approx(2 * math.log(2)) and d_real.item() == d_fake.item() == 0.5


@pytest.mark.parametrize("name", FeatureDiscriminator.LAYERS)
def test_steepness_of_a_plane_is_its_gradient(views: Views, name: str) -> None:
    """The output of a head with channel weights w changes by w . noise, with mean square |w|^2 times the noise's."""
    network = FeatureDiscriminator()
    for other, head in network.heads.items():
        network.heads[other] = plane = nn.Conv2d(head[0].in_channels, 1, 1)
        if other != name:
            nn.init.zeros_(plane.weight)
    restored, original = ({name: value.clone().requires_grad_() for name, value in view.items()} for view in views)
    found = [network.approximate_r1(restored, original, seeded(seed)) for seed in range(60)]
    slope = network.heads[name].weight.square().sum().item()
    wanted = network.NUDGE**2 * slope / len(network.LAYERS)
    assert torch.stack(found).mean().item() == pytest.approx(wanted, rel=0.2)  # 3x3 places and 60 noises at the least
    assert torch.equal(network.approximate_r1(restored, original, seeded(0)), found[0])
    found[0].backward()
    assert restored[name].grad is None and network.heads[name].weight.grad.abs().max() > 0


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_judging_features_is_learned(views: Views) -> None:
    network = FeatureDiscriminator()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(20):
        loss, d_real, _ = network.discriminator_loss(*views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert d_real.item() > 0.9
    assert (
        network.generator_loss(*views).item() > 2 * network.generator_loss(*views[::-1]).item()
    )  # the generator gets a gradient
