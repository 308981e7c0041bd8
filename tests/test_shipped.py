"""The shipped models on the free pictures: each beats bicubic, and its weights are the ones that were measured."""

import hashlib
import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
from helpers import ROOT
from torch import Tensor

from srgan.degradation.chain import copies_alike
from srgan.measure.metrics import luma, psnr_y
from srgan.pictures.images import enlarge_bicubic, normalize, open_rgb, to_pixels, to_tensor
from srgan.publish.push import Branch, files_of, left_over
from srgan.reports.pictures import upper_square
from srgan.upscaler import Upscaler

MODELS = sorted(path.parent for path in ROOT.glob("weights/*/config.json"))
PICTURES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix in (".png", ".jpg"))
KINDS = {"photos": "web"}
"""The kind of wear for which a model was trained; clean for a model that is not listed."""

PSNR_MARGIN = 0.5
"""dB by which each model at detail 0 must beat bicubic on average. The smallest measured value is 0.97."""

ENERGY_MARGIN = 1.5
"""Factor by which detail 1 must be closer than bicubic to the originals' gradient energy, in logarithms."""


def pairs(kind: str) -> list[tuple[Tensor, Tensor]]:
    """Returns (small copy, original) of each picture, as floats in [-1, 1]."""
    squares = [normalize(to_tensor(upper_square(open_rgb(path), 256)))[None] for path in PICTURES]
    return [copies_alike(kind, square) for square in squares]


def energy(image: Tensor) -> float:
    grey = luma(to_pixels(image))
    return float(grey.diff(dim=-1).square().mean() + grey.diff(dim=-2).square().mean())


def distance(images: list[Tensor], originals: list[Tensor]) -> float:
    """Returns the mean absolute logarithm of the ratio between the images' and the originals' gradient energy."""
    ratios = zip(images, originals, strict=True)
    return fmean(abs(math.log(energy(image) / energy(original))) for image, original in ratios)


@torch.inference_mode()
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_shipped_model_beats_bicubic_at_both_ends(folder: Path) -> None:
    upscaler = Upscaler.load(folder, "cpu", "fp32")
    low, original = (list(column) for column in zip(*pairs(KINDS.get(folder.name, "clean")), strict=True))
    bicubic = [enlarge_bicubic(image) for image in low]
    least, most = ([upscaler.restore(image, detail) for image in low] for detail in (0.0, 1.0))

    def psnr(images: list[Tensor]) -> float:
        return fmean(float(psnr_y(*map(to_pixels, both))) for both in zip(images, original, strict=True))

    gain, nearer = psnr(least) - psnr(bicubic), distance(bicubic, original) / distance(most, original)
    assert gain > PSNR_MARGIN and nearer > ENERGY_MARGIN, f"{gain:.2f} dB, {nearer:.2f} times nearer"


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_shipped_weights_are_those_of_their_checksums(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def test_a_push_takes_the_credits_along_and_never_deletes_them() -> None:
    files = files_of(ROOT / "weights" / "photos")
    assert b"CC BY" in files["credits.csv"]
    there = Branch("main", "0" * 40, frozenset(files), "")
    assert "credits.csv" not in left_over(there, {"README.md": b"", "config.json": b""})
