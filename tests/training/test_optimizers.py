"""Muon against a slow formulation, and which optimiser updates which parameter."""

import pytest
import torch
from torch.optim import Adam

from srgan.models import Generator
from srgan.training.discriminators import FeatureDiscriminator
from srgan.training.optimizers import Muon, adam, make_optimizers, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (64, 576), (256, 64), (12, 100), (100, 12)])
def test_orthogonalise_makes_all_directions_alike(shape: tuple[int, int]) -> None:
    # At most a tenth of the directions of a random square matrix are so weak that five steps do not lift them.
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * torch.tensor([1e-4, 1.0, 1e4]).view(
        3, 1, 1
    )
    for before, after in zip(matrices, orthogonalise(matrices), strict=True):
        values = torch.linalg.svdvals(after)
        assert values.max() < 1.3
        assert values.sort().values[len(values) // 8] > 0.5
        # and keeps their sign: the nearest orthogonal matrix is U V of the decomposition
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        nearest = u @ v
        assert (after * nearest).sum() / after.norm() / nearest.norm() > 0.95


def test_orthogonalise_treats_each_matrix_of_a_batch_alone() -> None:
    matrices = torch.randn(4, 16, 48, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([orthogonalise(matrix.unsqueeze(0)) for matrix in matrices])
    torch.testing.assert_close(orthogonalise(matrices), alone, rtol=0, atol=0.02)


def test_orthogonalise_of_nothing_is_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 9)), torch.zeros(1, 4, 9))


def slow_muon(kernel: torch.Tensor, gradients: list[torch.Tensor], lr: float, momentum: float) -> torch.Tensor:
    """Applies Muon with Nesterov momentum to one kernel, in float32 and by the published formula."""
    kernel, average = kernel.clone(), torch.zeros_like(kernel)
    for gradient in gradients:
        average = momentum * average + (1 - momentum) * gradient
        matrix = ((1 - momentum) * gradient + momentum * average).flatten(1)
        rows, columns = matrix.shape
        x = matrix / matrix.norm()
        x = x.T if rows > columns else x
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
        x = x.T if rows > columns else x
        kernel -= lr * 0.2 * max(rows, columns) ** 0.5 * x.view_as(kernel)
    return kernel


@pytest.mark.parametrize("channels_last", [False, True])
def test_muon_is_the_slow_formula_on_each_kernel(channels_last: bool) -> None:
    random = torch.Generator().manual_seed(2)
    form = torch.channels_last if channels_last else torch.contiguous_format
    shapes = [(8, 4, 3, 3), (8, 4, 3, 3), (80, 4, 3, 3), (8, 24, 1, 1)]
    kernels = [torch.randn(shape, generator=random).contiguous(memory_format=form).requires_grad_() for shape in shapes]
    gradients = [[torch.randn(shape, generator=random) for shape in shapes] for _ in range(3)]
    started = [kernel.detach().clone() for kernel in kernels]
    optimizer = Muon(kernels, lr=0.01, momentum=0.9)
    for step in gradients:
        for kernel, gradient in zip(kernels, step, strict=True):
            kernel.grad = gradient.contiguous(memory_format=form)
        optimizer.step()
    for index, kernel in enumerate(kernels):
        wanted = slow_muon(started[index], [step[index] for step in gradients], 0.01, 0.9)
        moved = (wanted - started[index]).norm()
        assert (kernel.detach() - wanted).norm() < 0.04 * moved, shapes[index]  # bfloat16 has 8 bits


def test_muon_leaves_kernels_without_gradient_alone() -> None:
    still, moving = (torch.ones(4, 4, 3, 3, requires_grad=True) for _ in range(2))
    moving.grad = torch.randn(4, 4, 3, 3)
    Muon([still, moving], lr=0.1).step()
    assert torch.equal(still, torch.ones_like(still))
    assert not torch.equal(moving, torch.ones_like(moving))


def test_muon_goes_on_from_its_saved_state() -> None:
    random = torch.Generator().manual_seed(3)
    gradients = [torch.randn(6, 5, 3, 3, generator=random) for _ in range(4)]

    def run(kernel: torch.Tensor, optimizer: Muon, steps: list[torch.Tensor]) -> None:
        for gradient in steps:
            kernel.grad = gradient.clone()
            optimizer.step()

    whole = torch.ones(6, 5, 3, 3, requires_grad=True)
    run(whole, Muon([whole], lr=0.01), gradients)
    first = torch.ones(6, 5, 3, 3, requires_grad=True)
    optimizer = Muon([first], lr=0.01)
    run(first, optimizer, gradients[:2])
    second = first.detach().clone().requires_grad_()
    resumed = Muon([second], lr=0.5)
    resumed.load_state_dict(optimizer.state_dict())
    run(second, resumed, gradients[2:])
    assert torch.equal(second, whole)


@pytest.mark.parametrize("channels", [1, 8])  # with one, no kernel is left for Muon
@pytest.mark.parametrize("kind", ["muon", "adam"])
def test_each_parameter_has_exactly_one_optimiser(kind: str, channels: int) -> None:
    network = Generator(channels, 2)
    optimizers = make_optimizers(network, kind, 1e-3)
    covered = [id(value) for one in optimizers for group in one.param_groups for value in group["params"]]
    assert len(covered) == len(set(covered))
    assert set(covered) == {id(value) for value in network.parameters()}


def test_muon_has_the_hidden_kernels_and_adam_the_rest() -> None:
    network = Generator(8, 2)
    muon, rest = make_optimizers(network, "muon", 1e-3)
    assert isinstance(muon, Muon) and isinstance(rest, Adam)
    names = {id(value): name for name, value in network.named_parameters()}
    hidden = {names[id(value)] for value in muon.param_groups[0]["params"]}
    assert hidden == {
        "body.0.body.0.weight", "body.0.body.2.weight", "body.1.body.0.weight", "body.1.body.2.weight",
        "body.2.weight", "upsample.0.0.weight", "upsample.1.0.weight",
    }  # fmt: skip


def test_of_a_discriminators_heads_adam_has_those_that_give_logits() -> None:
    network = FeatureDiscriminator()
    muon, rest = make_optimizers(network, "muon", 1e-3)
    kernels = [len([value for value in one.param_groups[0]["params"] if value.dim() == 4]) for one in (muon, rest)]
    assert kernels == [5 * 3, 5]
    assert all(value.shape[0] == 1 for value in rest.param_groups[0]["params"] if value.dim() == 4)


def test_adam_is_the_documented_one() -> None:
    group = adam(Generator(4, 1), 1e-4).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (1e-4, (0.9, 0.999), 1e-8, 0)
