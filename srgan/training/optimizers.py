"""Muon for the hidden convolutions of a network, Adam for the rest."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer


class Muon(Optimizer):
    """Momentum whose update is made orthogonal: every direction of a layer's input and output moves alike.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; each kernel [O, I, k, k] counts as a
    matrix [O, I*k*k]. Updates are scaled by 0.2 * sqrt(larger side), which gives them about the size of Adam's (Liu et
    al. 2025, "Muon is scalable for LLM training", section 2.2).
    """

    def __init__(
        self, kernels: Iterable[Tensor], lr: float, momentum: float = 0.95, dtype: torch.dtype = torch.float32
    ) -> None:
        """dtype: the type of the matrix products, which need not be exact; see `orthogonalise`."""
        super().__init__(kernels, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for kernel in group["params"]:
                if kernel.grad is not None:
                    alike.setdefault(kernel.shape, []).append(kernel)
            for kernels in alike.values():  # equal shapes go through together: one product instead of many small ones
                self.step_alike(kernels, group["lr"], group["momentum"])

    def step_alike(self, kernels: list[Tensor], lr: float, momentum: float) -> None:
        gradients = [kernel.grad for kernel in kernels if kernel.grad is not None]  # `step` has chosen those with one
        averages = [self.state[kernel].setdefault("momentum", torch.zeros_like(kernel)) for kernel in kernels]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        updates = torch.stack(torch._foreach_lerp(gradients, averages, momentum)).flatten(2)
        scale = 0.2 * max(updates.shape[-2:]) ** 0.5
        for kernel, update in zip(kernels, orthogonalise(updates, dtype=self.dtype), strict=True):
            kernel.add_(update.view_as(kernel), alpha=-lr * scale)


def orthogonalise(matrices: Tensor, steps: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    """Approximates the nearest orthogonal matrix of each matrix [N, R, C], with singular values between 0.7 and 1.2.

    Uses a quintic Newton-Schulz iteration with Jordan's coefficients, in `dtype`, because it need not be exact.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


PIXEL_CHANNELS = 3

ADAM_SHARE = 0.25
"""Adam's learning rate as a share of Muon's."""


def make_optimizers(network: nn.Module, kind: str, lr: float, dtype: torch.dtype = torch.float32) -> list[Optimizer]:
    """Makes the optimisers of a network.

    "adam": Adam for all weights. "muon": Muon for the kernels between features; Adam, at a quarter of the learning
    rate, for kernels that read or write pixels or logits, and for slopes and biases.
    """
    if kind == "adam":
        return [adam(network, lr)]
    kernels = [layer.weight for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    hidden = [kernel for kernel in kernels if min(kernel.shape[:2]) > PIXEL_CHANNELS]
    known = {id(kernel) for kernel in hidden}
    rest = [value for value in network.parameters() if id(value) not in known]
    muon: list[Optimizer] = [Muon(hidden, lr, dtype=dtype)] if hidden else []
    return [*muon, Adam(rest, lr * ADAM_SHARE, fused=True)]


def adam(network: nn.Module, lr: float) -> Adam:
    """Adam with the documented beta 0.9 / 0.999 and epsilon 1e-8."""
    return Adam(network.parameters(), lr, betas=(0.9, 0.999), eps=1e-8, fused=True)
