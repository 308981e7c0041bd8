"""python -m srgan export: the ONNX file gives the network's result at any size."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import ROOT, as_tensor, is_one_sentence, textured

from srgan.commands.cli import main
from srgan.pictures.images import normalize, to_pixels
from srgan.upscaler import Upscaler


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "new" / "tiny.onnx"
    assert main(["export", str(path), "--model", str(model_folder), "--detail", "0.7"]) == 0
    return path


def test_the_file_gives_what_the_network_gives_at_any_size(exported: Path, model_folder: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    upscaler = Upscaler.load(model_folder, "cpu", "fp32")
    for count, width, height in ((1, 32, 32), (1, 21, 37), (3, 16, 12), (1, 2, 1)):
        pixels = torch.cat([as_tensor(textured(seed, width, height)) for seed in range(count)])
        pixels[..., : width // 2] = 77  # a flat part, which the program keeps
        (high,) = session.run(["high"], {"low": pixels.numpy().astype(np.float32) / 255})
        wanted = to_pixels(upscaler.restore(normalize(pixels), 0.7)).numpy().astype(int)
        assert high.shape == (count, 3, 4 * height, 4 * width)
        assert np.abs(np.rint(high * 255) - wanted).max() <= 1


def test_back_projection_is_in_the_file(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "back_projection": True}))
    assert main(["export", str(tmp_path / "tiny.onnx"), "--model", str(folder)]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "tiny.onnx", providers=["CPUExecutionProvider"])
    for count, width, height in ((2, 21, 37), (1, 2, 1)):
        pixels = torch.cat([as_tensor(textured(seed, width, height)) for seed in range(count)])
        (high,) = session.run(["high"], {"low": pixels.numpy().astype(np.float32) / 255})
        wanted = Upscaler.load(folder, "cpu", "fp32").restore(normalize(pixels)) * 0.5 + 0.5
        assert np.abs(high - wanted.numpy()).max() <= 1e-4


def test_the_file_says_what_it_is_and_nothing_of_this_machine(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model)
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about == {"model": "tiny-faces", "detail": "0.7", "scale": "4", "value_range": "RGB in [0, 1]"}
    assert [path.name for path in exported.parent.iterdir()] == ["tiny.onnx"]  # the file contains all weights
    written = exported.read_bytes()
    assert str(ROOT).encode() not in written and b"site-packages" not in written


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_packages_one_sentence_says_how_to_get_them(
    tmp_path: Path,
    model_folder: Path,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["export", str(tmp_path / "out.onnx"), "--model", str(model_folder)]) == 2
    said = capsys.readouterr().err
    assert is_one_sentence(said) and "pip install onnx onnxscript" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["out.onnx", "--detail", "2"], ["out.pt"], ["out"]])
def test_wrong_use_is_one_sentence(
    tmp_path: Path, model_folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path / arguments[0]), *arguments[1:], "--model", str(model_folder)]) == 2
    assert is_one_sentence(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())
