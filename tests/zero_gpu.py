"""Runs app.py as on a ZeroGPU Space, on a machine without a GPU: python tests/zero_gpu.py --model MODEL

It uses the real `spaces` package and replaces only what needs a GPU. In the process of a lent call, the package's own
emulation, which computes on the CPU, stays on instead of CUDA. Weights are put aside in memory instead of on disk.
"""

import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import spaces  # noqa: F401, for what it patches
from spaces.zero import torch as zero_torch
from spaces.zero import wrappers
from spaces.zero.torch import patching

ROOT = Path(__file__).resolve().parent.parent
weights = []


def put_aside() -> int:
    """Puts the weights aside at launch. From then on, using a weight without a GPU is an error."""
    weights.extend(patching.cuda_aliases.items())
    for emulated, _ in weights:
        patching.cuda_aliases[emulated] = None
    return 0


def bring_back(**_: object) -> None:
    patching.cuda_aliases.update(weights)


zero_torch.pack, zero_torch.move, zero_torch.size = put_aside, bring_back, lambda: 0
zero_torch.init = zero_torch.unpatch = lambda *_: None
wrappers.ThreadPoolExecutor = partial(ThreadPoolExecutor, initializer=patching.enter_mode)

sys.path.insert(0, str(ROOT))
sys.argv[0] = str(ROOT / "app.py")
runpy.run_path(sys.argv[0], run_name="__main__")
