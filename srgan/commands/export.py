"""python -m srgan export: writes the network as an ONNX file, for programs without PyTorch."""

import argparse
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.models import SCALE, Generator
from srgan.pictures.images import keep_flat
from srgan.pictures.resampling import cubic
from srgan.upscaler import Upscaler

OPSET = 18
"""ONNX operator set of December 2022, which newer programs read too."""


class FromZeroToOne(nn.Module):
    """The generator with RGB in [0, 1], the usual range of ONNX programs: [N, 3, H, W] -> [N, 3, 4H, 4W]."""

    def __init__(self, generator: Generator, back_projection: bool) -> None:
        super().__init__()
        self.generator = generator
        self.correct = BackProjection() if back_projection else None

    def forward(self, low: Tensor) -> Tensor:
        low = low * 2.0 - 1.0
        high = self.generator(low)
        if self.correct is not None:
            high = self.correct(low, high)
        return keep_flat(low, high) * 0.5 + 0.5


class BackProjection(nn.Module):
    """`images.back_project` as strided convolutions, which every ONNX program supports; few support antialiased
    bicubic.

    A row or column of 16 weights reduces a line to a quarter; the transposed convolution enlarges a line. Dividing by
    the result for an image of ones redistributes the weights that lie beyond an edge.
    """

    row: Tensor
    column: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = cubic((torch.arange(4 * SCALE) + 0.5) / SCALE - 2)
        self.register_buffer("row", taps.view(1, 1, 1, -1))
        self.register_buffer("column", taps.view(1, 1, -1, 1))

    def reduce(self, images: Tensor) -> Tensor:
        images = F.conv2d(images, self.row, stride=(1, SCALE), padding=(0, 6))
        return F.conv2d(images, self.column, stride=(SCALE, 1), padding=(6, 0))

    def enlarge(self, images: Tensor) -> Tensor:
        images = F.conv_transpose2d(images, self.row, stride=(1, SCALE), padding=(0, 6))
        return F.conv_transpose2d(images, self.column, stride=(SCALE, 1), padding=(6, 0))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        corrected = []
        for small, large in zip(low.split(1, dim=1), high.split(1, dim=1), strict=True):
            lost = small - self.reduce(large) / self.reduce(torch.ones_like(large))
            corrected.append(large + self.enlarge(lost) / self.enlarge(torch.ones_like(lost)))
        return torch.cat(corrected, dim=1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--detail", type=float, default=1.0, help="from 0, closest to the original, to 1, most texture (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.output.suffix.lower() != ".onnx":
        raise UserError(f"{arguments.output}: the file is written as ONNX, so its name must end in .onnx.")
    upscaler = Upscaler.load(arguments.model, "cpu", "fp32")
    export_onnx(upscaler, arguments.output, arguments.detail)
    print(
        f"{upscaler.name} at detail {arguments.detail:g} was written to {arguments.output}: "
        f"low, RGB in [0, 1], [batch, 3, height, width] -> high, {SCALE} times as high and wide."
    )
    return 0


def export_onnx(upscaler: Upscaler, path: Path, detail: float = 1.0) -> None:
    """Writes the network for any batch size, height and width. Raises UserError if the packages for it are missing."""
    try:
        import onnx  # noqa: F401 - PyTorch needs both
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("export needs two more packages: pip install onnx onnxscript.") from None
    generator = upscaler.generator(upscaler.check_detail(detail))
    network = FromZeroToOne(generator, upscaler.model.config.back_projection).eval()
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    with quiet():
        program = torch.onnx.export(
            network, (torch.rand(2, 3, 24, 16),), input_names=["low"], output_names=["high"],
            dynamic_shapes={"low": sizes}, dynamo=True, opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where this program lies on the machine
    program.model.metadata_props.update(
        {"model": upscaler.name, "detail": f"{detail:g}", "scale": str(SCALE), "value_range": "RGB in [0, 1]"}
    )
    write_whole(path, lambda partial: program.save(partial, external_data=False))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides the messages of PyTorch's exporter about its inner steps."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
