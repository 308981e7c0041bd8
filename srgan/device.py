"""Which chip to use, and whether it is fast at bf16."""

import math
import sys
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from srgan import ranks
from srgan.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None


def choose_device(name: str = "auto") -> torch.device:
    """ "auto": CUDA where it is there, else the CPU; each rank has a GPU of its own. Raises UserError for a "cuda" that
    is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no CUDA device that PyTorch can use.")
    if name == "cuda" and ranks.count() > 1:
        if ranks.local() >= torch.cuda.device_count():
            raise UserError(f"this machine has {torch.cuda.device_count()} GPUs: start as many processes, or fewer.")
        return torch.device(name, ranks.local())
    return torch.device(name)


def choose_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """bfloat16 where it was asked for, or for "auto" where the chip has instructions for it; float32 elsewhere."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bf16()
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
    """Whether a device, or the CPU's allocator, had no room."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def free_memory(device: torch.device) -> None:
    """Gives back what PyTorch keeps for later use."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, without the host waiting for what the device has still to do."""
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
