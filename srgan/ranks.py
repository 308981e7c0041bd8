"""The processes ("ranks") that train one model together, as torchrun starts them. A single process is rank 0 of 1.

Every rank holds the same weights and takes every step with its share of the step's photos. Only rank 0 writes the run
folder and prints.
"""

import datetime
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from srgan.errors import UserError

T = TypeVar("T")

PATIENCE = datetime.timedelta(hours=24)
"""How long a rank waits for another one. Only one rank reads the photos and validates, which may take hours. If a
process ends, the others notice at once that its connection has closed."""

STEP_PATIENCE = datetime.timedelta(minutes=10)
"""How long a GPU waits for another one's gradients. `together` makes all ranks reach a step within seconds."""

LOST = "another process of this run has ended; the last saved state is kept: continue with --resume."

STARTED_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Place(NamedTuple):
    """The place of this process among those that train together."""

    rank: int = 0
    count: int = 1
    local: int = 0
    """the rank among the processes of this machine"""
    store: "dist.Store | None" = None
    """a store that all ranks can reach, even after one of them has ended"""
    gpus: "dist.ProcessGroup | None" = None
    """the NCCL group, which transfers tensors on GPUs"""


_place = Place()


def join() -> None:
    """Connects to the other ranks, if torchrun or accelerate has started any. Afterwards only rank 0 prints."""
    global _place
    if not all(name in os.environ for name in STARTED_BY_TORCHRUN) or int(os.environ["WORLD_SIZE"]) < 2:
        return
    take_gpu(int(os.environ["LOCAL_RANK"]))
    try:
        store, rank, count = next(dist.rendezvous("env://"))
        # NCCL transfers gradients between GPUs (except on Windows, which has no NCCL); gloo transfers all else.
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE)
        by_nccl = torch.cuda.is_available() and dist.is_nccl_available()
        group = dist.new_group(backend="nccl", timeout=STEP_PATIENCE) if by_nccl else None
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this run cannot connect to each other ({error}).") from None
    gpus = group if isinstance(group, dist.ProcessGroup) else None
    _place = Place(rank, count, int(os.environ["LOCAL_RANK"]), store, gpus)
    if rank:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - to the end of the process


def take_gpu(number: int) -> None:
    """Makes this GPU the default of the process, because NCCL uses the default. Does nothing if the GPU does not exist;
    `choose_device` then refuses a run on GPUs."""
    if number < torch.cuda.device_count():
        torch.cuda.set_device(number)


def leave(code: int = 0) -> None:
    """Disconnects from the other ranks once all have reached this call. Every process but the first ends here."""
    store = _place.store
    if store is None:
        return
    barrier()
    if is_first():
        store.set("left", "")
        dist.destroy_process_group()
        return
    with suppress(RuntimeError):
        store.wait(["left"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no destructors, because gloo's may abort if two processes shut it down at once


def world_size() -> int:
    return _place.count


def rank() -> int:
    return _place.rank


def is_first() -> bool:
    """Returns whether this rank writes files and prints."""
    return rank() == 0


def local() -> int:
    """Returns the number of this rank on its machine, which is also the number of its GPU."""
    return _place.local


class Share(NamedTuple):
    """A rank's share of the photos of a step."""

    photos: int
    """number of photos in the whole step"""
    part: slice
    """the slice of the photos that this rank takes"""
    weight: float
    """this rank's fraction of the photos, by which its means are weighted"""


def share(photos: int) -> Share:
    """Divides photos into shares that differ by at most one. A rank without a photo takes the first one, with weight
    0."""
    start, stop = (photos * rank // _place.count for rank in (_place.rank, _place.rank + 1))
    part = slice(start, stop) if start < stop else slice(0, 1)
    return Share(photos, part, (stop - start) / photos)


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sums over the ranks, in place. All ranks must call this in the same order."""
    if world_size() > 1:
        with watched():
            dist.all_reduce(values, group=_place.gpus if values.is_cuda else None)
    return values


def all_reduce_mean(tensors: list[Tensor], weight: float) -> None:
    """Replaces each tensor by its weighted mean over the ranks. weight: this rank's weight in the mean."""
    if world_size() == 1:
        return
    flat = all_reduce_sum(torch.cat([tensor.reshape(-1) for tensor in tensors]).mul_(weight))
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def all_reduce_any(*wishes: bool) -> list[bool]:
    """Returns for each wish whether any rank has it. All ranks get the same answers, so that they stop at the same
    step."""
    return all_reduce_sum(torch.tensor(wishes, dtype=torch.int32)).bool().tolist()


def barrier() -> None:
    """Waits until every rank has reached this call."""
    all_reduce_any(False)


def from_first(make: Callable[[], T]) -> T:
    """Runs `make` on rank 0 only, and returns its result on every rank, or raises its UserError there."""
    if world_size() == 1:
        return make()
    found: list[Any] = [None]
    if is_first():
        try:
            found[0] = make()
        except UserError as error:
            found[0] = error
    with watched():
        dist.broadcast_object_list(found, device=torch.device("cpu"))
    (answer,) = found
    if isinstance(answer, UserError):
        raise answer
    return answer


def together(batches: Iterator[T]) -> Iterator[T]:
    """Yields the batches once every rank has its first one, because a resumed stream may read for a long time before
    its first batch."""
    head = list(itertools.islice(batches, 1))
    barrier()
    return itertools.chain(head, batches)


def all_alike(text: str) -> bool:
    """Returns whether all ranks have passed the same text."""
    if world_size() == 1:
        return True
    found = [""] * world_size()
    with watched():
        dist.all_gather_object(found, text)
    return len(set(found)) == 1


@contextmanager
def one_a_machine() -> Iterator[None]:
    """Lets one rank of each machine work first, so that the others find its results in a cache."""
    if local():
        barrier()
    yield
    if not local():
        barrier()


@contextmanager
def single_rank() -> Iterator[None]:
    """Within this context the rank acts as if it were alone, while the others wait."""
    global _place
    together, _place = _place, Place()
    try:
        yield
    finally:
        _place = together


@contextmanager
def watched() -> Iterator[None]:
    try:
        yield
    except RuntimeError:  # gloo and NCCL raise it for a closed connection
        raise UserError(LOST) from None


def may_speak() -> bool:
    """Returns whether this rank should print why it ends. Only the first rank that asks should; the others end because
    of it."""
    try:
        return _place.store is None or _place.store.add("spoken", 1) == 1
    except RuntimeError:  # the store has ended with its machine
        return True
