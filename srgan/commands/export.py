"""python -m srgan export: writes the network as an ONNX file, for programs without PyTorch."""

import argparse
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.models import SCALE, Generator
from srgan.pictures.images import keep_flat
from srgan.upscaler import Upscaler

OPSET = 18
"""ONNX operator set of December 2022, which newer programs read too."""


class FromZeroToOne(nn.Module):
    """The generator with RGB in [0, 1], the usual range of ONNX programs: [N, 3, H, W] -> [N, 3, 4H, 4W]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, low: Tensor) -> Tensor:
        low = low * 2.0 - 1.0
        return keep_flat(low, self.generator(low)) * 0.5 + 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", type=Path, metavar="OUT.onnx", help="the file to write")
    parser.add_argument("--detail", type=float, default=1.0, help="0: most faithful, 1: most detailed (default: 1)")


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
    network = FromZeroToOne(upscaler.generator(upscaler.check_detail(detail))).eval()
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
