"""Fixtures that several tests share. They need no network and nothing outside the checkout."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import make_photos, random_lpips_file, random_vgg19, randomise
from safetensors.torch import save_file

from srgan.model_folder import Model, ModelConfig, save_model
from srgan.models import Upsampling


@pytest.fixture(scope="session", autouse=True)
def photo_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Puts decoded photos into a temporary folder, never into the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SRGAN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a folder of twelve textured photos, 000.png to 011.png. Do not change it; change a copy."""
    return make_photos(tmp_path_factory.mktemp("photos"))


def tiny_model(
    kinds: tuple[str, ...] = ("detail", "fidelity"), seed: int = 1, upsampling: Upsampling = "stepwise"
) -> Model:
    """Returns the smallest network with all parts, and with random weights, so that every mistake shows."""
    config = ModelConfig(channels=8, blocks=1, upsampling=upsampling, recipe="default")
    networks = {kind: randomise(config.network(), drawn) for drawn, kind in enumerate(kinds, start=seed)}
    return Model(config, {kind: network.state_dict() for kind, network in networks.items()}, {"photos": 3})


@pytest.fixture
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a complete model folder with both weight sets. Do not change it; change a copy."""
    folder = tmp_path_factory.mktemp("model") / "tiny-faces"
    save_model(folder, tiny_model(), "# tiny-faces\n")
    return folder


@pytest.fixture(scope="session")
def one_set_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a model folder without fidelity.safetensors, as the classic recipe does."""
    folder = tmp_path_factory.mktemp("model") / "one-set"
    save_model(folder, tiny_model(("detail",)), "# one-set\n")
    return folder


@pytest.fixture(scope="session")
def photos_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a model folder with one different weight set: the second model that a page offers."""
    folder = tmp_path_factory.mktemp("model") / "tiny-photos"
    save_model(folder, tiny_model(("detail",), seed=9), "# tiny-photos\n")
    return folder


@pytest.fixture(scope="session")
def vgg19_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes random VGG19 weights into a file that `--vgg19` accepts."""
    path = tmp_path_factory.mktemp("vgg19") / "vgg19.safetensors"
    save_file({name: value.to(torch.float16) for name, value in random_vgg19().state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def lpips_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_lpips_file(tmp_path_factory.mktemp("lpips") / "lpips.safetensors")
