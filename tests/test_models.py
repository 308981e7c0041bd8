"""The generator: shapes, sizes and ranges, and the fast computation equals the plain one."""

from typing import get_args

import pytest
import torch
from helpers import randomise
from torch import nn

from srgan.models import Generator, Upsampling, fold_shuffle, sub_pixel


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_generator_has_the_papers_parameters() -> None:
    # head: 9*9*3*64 + 64 and 64 slopes = 15,680; each block: 2 * 3*3*64*64 and 64 slopes = 73,792, 16 of them;
    # after them 3*3*64*64 + 64 = 36,928; each doubling: 3*3*64*256 + 256 and 64 slopes = 147,776, two of them;
    # tail: 9*9*64*3 + 3 = 15,555. Batch normalisation would add 2*64 a layer, a shared slope take 63 away.
    assert parameters(Generator()) == 15_680 + 16 * 73_792 + 36_928 + 2 * 147_776 + 15_555 == 1_544_387


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 3), (32, 32), (7, 24)])
@pytest.mark.parametrize("network", [Generator(4, 1), Generator(8, 3), Generator(4, 2, "direct")])
def test_generator_enlarges_four_times(height: int, width: int, network: Generator) -> None:
    restored = network(torch.zeros(2, 3, height, width))
    assert restored.shape == (2, 3, 4 * height, 4 * width)


def test_direct_upsampling_pays_for_twice_the_blocks() -> None:
    # after the blocks: one 3x3 convolution of 64 channels to 3 * 4**2, in place of two doublings and a 9x9 convolution
    assert parameters(Generator(64, 32, "direct")) == 15_680 + 32 * 73_792 + 36_928 + 9 * 64 * 48 + 48 == 2_441_648


@pytest.mark.parametrize("upsampling", get_args(Upsampling))
def test_generator_stays_inside_the_value_range(upsampling: Upsampling) -> None:
    network = randomise(Generator(8, 1, upsampling))
    restored = network(torch.randn(1, 3, 16, 16))
    assert restored.abs().max() < 1
    assert restored.std() > 0.05  # and is not close to zero everywhere
    assert network(100 * torch.randn(1, 3, 16, 16)).abs().max() <= 1


def test_generator_equals_its_layers_applied_one_after_the_other() -> None:
    network = randomise(Generator(6, 2)).double()
    low = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    features = network.head(low)
    features = features + network.body(features)
    plain = torch.tanh(network.tail(network.upsample(features)))
    torch.testing.assert_close(network(low), plain, rtol=0, atol=1e-12)


def test_the_watch_is_called_before_every_convolution_so_that_work_ends_soon() -> None:
    network, shares = randomise(Generator(6, 2)), []
    layers = [layer for layer in network.body.modules() if isinstance(layer, nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(lambda *_: shares.append("computed"))
    network.to_features(torch.randn(1, 3, 9, 7), shares.append)
    assert shares[1::2] == ["computed"] * len(layers) == ["computed"] * 5
    assert shares[::2] == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3])


def test_folded_convolution_equals_the_one_behind_the_shuffle() -> None:
    weight = torch.randn(3, 2, 9, 9, dtype=torch.float64)
    x = torch.randn(1, 8, 6, 5, dtype=torch.float64)
    shuffle = nn.PixelShuffle(2)
    behind = nn.functional.conv2d(shuffle(x), weight, padding=4)
    in_front = shuffle(nn.functional.conv2d(x, fold_shuffle(weight), padding=2))
    torch.testing.assert_close(in_front, behind, rtol=0, atol=1e-12)


def test_sub_pixels_lie_row_by_row() -> None:
    convolution, shuffle = sub_pixel(2, 2, 2)
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]))
    expected = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]])
    assert torch.equal(shuffle(convolution(torch.zeros(1, 2, 1, 1)))[0], expected)


@pytest.mark.parametrize("factor", [2, 4])
def test_training_starts_without_a_checkerboard(factor: int) -> None:
    torch.manual_seed(1)
    enlarged = nn.Sequential(*sub_pixel(5, 3, factor))(torch.randn(1, 5, 6, 6))
    corners = [enlarged[..., row::factor, column::factor] for row in range(factor) for column in range(factor)]
    assert corners[0].std() > 0.01
    for corner in corners[1:]:
        torch.testing.assert_close(corner, corners[0], rtol=0, atol=1e-6)


def reach(output: torch.Tensor, source: torch.Tensor, centre: int) -> int:
    """Returns the distance, in rows or columns, from the centre to the farthest input that changes the output."""
    (gradient,) = torch.autograd.grad(output.sum(), source)
    rows, columns = gradient[0].abs().sum(0).nonzero(as_tuple=True)
    return int(torch.maximum((rows - centre).abs(), (columns - centre).abs()).max())


@pytest.mark.parametrize("blocks", [1, 3])
def test_features_radius_is_how_far_the_low_resolution_part_looks(blocks: int) -> None:
    network = randomise(Generator(4, blocks)).double()
    centre = network.features_radius + 3
    low = torch.randn(1, 3, 2 * centre + 1, 2 * centre + 1, dtype=torch.float64, requires_grad=True)
    output = network.to_features(low)[..., centre, centre]
    assert reach(output, low, centre) == network.features_radius


@pytest.mark.parametrize("upsampling", get_args(Upsampling))
def test_image_radius_is_how_far_the_enlarging_part_looks(upsampling: Upsampling) -> None:
    network = randomise(Generator(4, 1, upsampling)).double()
    centre = network.image_radius + 3
    features = torch.randn(1, 4, 2 * centre + 1, 2 * centre + 1, dtype=torch.float64, requires_grad=True)
    inside = slice(4 * centre, 4 * centre + 4)
    assert reach(network.to_image(features)[..., inside, inside], features, centre) == network.image_radius
