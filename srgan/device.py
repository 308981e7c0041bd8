"""Chooses the device and the number format, and reports memory."""

import ctypes
import math
import sys
from collections.abc import Container
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from srgan import ranks
from srgan.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""glibc's numbers for them, mallopt(3)."""

CHIPS = {"cuda": "CUDA", "xpu": "Intel GPU", "mps": "Apple GPU"}
"""PyTorch's names of all devices except the CPU, the preferred one first, and their names for people. AMD's chips are
"cuda" to PyTorch."""


def is_there(name: str) -> bool:
    """Returns whether PyTorch can use a device of that name."""
    if name == "mps":
        return torch.backends.mps.is_available()
    if name == "xpu":
        return hasattr(torch, "xpu") and torch.xpu.is_available()
    return name == "cpu" or torch.cuda.is_available()


def choose_device(name: str = "auto", kinds: Container[str] = ("cpu", "cuda")) -> torch.device:
    """Returns the device of a name; for "auto" the first of CHIPS that is among the kinds and that the machine has, or
    else the CPU. Each rank gets its own GPU. Raises UserError if the machine has no such device."""
    if name == "auto":
        name = next((chip for chip in CHIPS if chip in kinds and is_there(chip)), "cpu")
    if not is_there(name):
        raise UserError(f"--device {name}: this machine has no {CHIPS[name]} device that PyTorch can use.")
    if name == "cuda" and ranks.world_size() > 1:
        if ranks.local() >= torch.cuda.device_count():
            raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: start as many processes, or fewer.")
        return torch.device(name, ranks.local())
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Returns a device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.xpu.get_device_name(device) if device.type == "xpu" else CHIPS.get(device.type, "CPU")


def choose_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """Returns bfloat16 if the precision is "bf16", or "auto" and the chip has instructions for it; otherwise
    float32."""
    if precision == "auto":
        fast = device.type == "cpu" and cpu_has_bf16()
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def cpu_has_bf16() -> bool:
    """AVX-512 bf16 or AMX. PyTorch tells through functions without promise of stability, so their absence means no."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """Convolutions in `dtype`; weights, losses and optimisers stay float32."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Returns whether the error says that a device, or the CPU's allocator, had no memory left."""
    told = any(words in str(error) for words in ("DefaultCPUAllocator", "MPS backend out of memory"))
    return told or isinstance(error, (torch.OutOfMemoryError, MemoryError))


def keep_memory(device: torch.device) -> None:
    """Makes the C library keep up to 128 MB of freed memory, for this whole process.

    On a CPU, PyTorch allocates a layer's memory from it and frees it after the next layer. By default, glibc returns
    the memory to the system, which must then provide every page again. That takes a seventh of the time for a 128x128
    picture, and a quarter of the time for a 512x512 picture.
    """
    if device.type == "cpu" and (libc := glibc()):
        libc.mallopt(M_TRIM_THRESHOLD, 128 << 20)
        libc.mallopt(M_MMAP_THRESHOLD, 64 << 20)


def share_memory() -> None:
    """Makes this process's threads take memory from two heaps. glibc would give each of them its own, up to eight a
    core, and `keep_memory` would keep some in every one.
    """
    if libc := glibc():
        libc.mallopt(M_ARENA_MAX, 2)


def free_memory(device: torch.device) -> None:
    """Returns memory that is kept for later use to the system."""
    if device.type != "cpu":
        getattr(torch, device.type).empty_cache()
    elif libc := glibc():
        libc.malloc_trim(0)


def glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") else None  # musl has none


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns the tensor on the device, without waiting for the work that the device has still to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # from other memory a copy waits
    return tensor.to(device, non_blocking=True)


def peak_memory(device: torch.device) -> float:
    """GB that this process has held at most: on a GPU the memory taken by PyTorch, else main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e9
    if resource is None:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
