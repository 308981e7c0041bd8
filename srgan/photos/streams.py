"""Streams photos from tar shards or a data set of the Hub, any number of them in limited memory."""

import hashlib
import itertools
import signal
import tarfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec
import numpy as np
import torch
from braceexpand import (
    UnbalancedBracesError,  # pyright: ignore[reportAttributeAccessIssue] - missing in the package's stub
    braceexpand,
)
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from srgan import ranks
from srgan.errors import UserError
from srgan.photos.collections import READING, cut_all, read_crop
from srgan.photos.crops import Crops, cached_crops, first_reasons, held_out_count
from srgan.photos.cutting import Cutting, open_photo
from srgan.photos.finding import is_picture
from srgan.photos.pieces import LeftOut, Pieces
from srgan.training.config import Config

SHUFFLE = 1000
"""Number of crops from which a worker draws the next one; 49 MB at 128x128."""

CHUNK = 8
"""Number of photos that a worker hands over at once."""

PREFETCH = 16
"""Number of chunks that each worker keeps ready; 6 MB at 128x128."""

File = tuple[str, bytes]
"""The name and the content of a picture file."""


# Where photos come from


class PhotoSource(Protocol):
    @property
    def identity(self) -> list[str]:
        """Texts that differ between sources with different photos."""
        ...

    def files(self, seed: tuple[int, ...] | None, part: int, parts: int) -> Iterator[File]:
        """Yields a part's share of the pictures. The seed decides the order of the shards; None keeps the listed
        order."""
        ...


class TarShards:
    """Tar files in WebDataset form: pictures one after the other, possibly with other files about them."""

    def __init__(self, pattern: str) -> None:
        self.identity = expand_braces(pattern)
        for shard in self.identity:
            if "://" not in shard and not Path(shard).is_file():
                raise UserError(f"--data {pattern}: {shard} does not exist.")

    def files(self, seed: tuple[int, ...] | None, part: int, parts: int) -> Iterator[File]:
        shards = self.identity
        if seed is not None:
            shards = [shards[index] for index in np.random.default_rng(seed).permutation(len(shards))]
        if len(shards) < parts:  # each part has to read them all
            return itertools.islice(read_tars(shards), part, None, parts)
        return read_tars(shards[part::parts])


def expand_braces(pattern: str) -> list[str]:
    """ "a/{08..10}.tar" -> ["a/08.tar", "a/09.tar", "a/10.tar"], as a shell does. Raises UserError for a lone brace."""
    try:
        return list(braceexpand(pattern))
    except UnbalancedBracesError:
        raise UserError(f"--data {pattern}: a brace is not closed or not opened.") from None


def read_tars(shards: Iterable[str]) -> Iterator[File]:
    for shard in shards:
        try:
            # As a stream of blocks, since what lies behind a URL cannot be sought in.
            with open_address(shard) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isfile() and is_picture(member.name) else None
                    if content:
                        yield f"{Path(shard).stem}/{member.name}", content.read()
                    # Or it would remember every file that it has passed. The attribute is missing in Python's stubs.
                    archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
        except Exception as error:  # of the disk, the network, the tar, or the package that its protocol needs
            raise UserError(f"{shard} cannot be read ({type(error).__name__}: {one_line(error)}).") from None


class HubDataset:
    """A data set of the Hub, or a folder in its form, streamed by the `datasets` library from its first column of
    images.

    address: hf://USER/NAME, or hf://USER/NAME@REVISION.
    """

    def __init__(self, address: str) -> None:
        try:
            from datasets import Image, load_dataset
        except ImportError:
            raise UserError(f"--data {address} needs the package datasets: pip install datasets.") from None
        name, _, revision = address.removeprefix("hf://").partition("@")
        try:
            photos = load_dataset(name, split="train", streaming=True, revision=revision or None)
        except Exception as error:  # of the network, the Hub, or the data set
            raise UserError(
                f"--data {address} cannot be streamed ({type(error).__name__}: {one_line(error)})."
            ) from None
        columns = [column for column, kind in (photos.features or {}).items() if isinstance(kind, Image)]
        if not columns:
            raise UserError(f"--data {address} has no column of images.")
        # Not decoded by the library: a broken photo would end the stream.
        self.photos = photos.select_columns(columns[:1]).cast_column(columns[0], Image(decode=False))
        self.column = columns[0]
        self.identity = [address, str(photos.num_shards)]

    def files(self, seed: tuple[int, ...] | None, part: int, parts: int) -> Iterator[File]:
        photos, alone = self.photos, self.photos.num_shards >= parts
        if alone:
            photos = photos.shard(parts, part, contiguous=False)
        if seed is not None:  # the order of the shards; Stream mixes the photos
            number = int(np.random.default_rng(seed).integers(2**31))
            photos = photos.shuffle(number, buffer_size=16, max_buffer_input_shards=1)
        files = self.read(photos)
        return files if alone else itertools.islice(files, part, None, parts)

    def read(self, photos: Any) -> Iterator[File]:
        number = 0
        try:
            for rows in photos.iter(batch_size=8):  # iterated plainly, it would share itself out to workers once more
                for row in rows[self.column]:
                    number += 1
                    name = f"{number:06}-{Path(row['path'] or 'photo').name}"
                    yield name, row["bytes"] if row["bytes"] is not None else read_address(row["path"])
        except Exception as error:
            raise UserError(
                f"{self.identity[0]} could not be read to the end ({type(error).__name__}: {one_line(error)})."
            ) from None


def read_address(path: str) -> bytes:
    with open_address(path) as file:
        return file.read()


@contextmanager
def open_address(address: str) -> Iterator[IO[bytes]]:
    """A file on this machine, or behind an address that fsspec understands."""
    with fsspec.open(address, "rb") as file:
        assert not isinstance(file, list)  # one address gives one file
        yield file


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


@dataclass(frozen=True)
class Beginning:
    """The first photos of a stream, as many as give `count` crops: the cache holds them like a folder's."""

    source: PhotoSource
    count: int

    @property
    def place(self) -> str:
        return f"the first {self.count} of {self.source.identity}"

    @property
    def stamp(self) -> bytes:
        """Size and time of shards on this machine. Other shards are distinguished by their names alone."""
        shards = [Path(name) for name in self.source.identity if Path(name).is_file()]
        return READING + repr([(path.stat().st_size, path.stat().st_mtime_ns) for path in shards]).encode()

    def pieces(self, cutting: Cutting) -> Iterator[tuple[str, Pieces]]:
        count = 0
        files = ((name, partial(open_photo, name, data)) for name, data in self.source.files(None, 0, 1))
        for name, pieces in cut_all(files, cutting, None):
            yield name, pieces
            count += len(pieces.crops)
            if count >= self.count:
                return

    def sample(self, most: int) -> Iterator[Image.Image]:
        for name, data in itertools.islice(self.source.files(None, 0, 1), most):
            photo = open_photo(name, data)
            if not isinstance(photo, LeftOut):
                yield photo


# What a run trains on


class Stream:
    """An endless stream of crops, in which an epoch is a fixed number of photos and starts with its own order.

    Every worker of every rank reads its own shards and draws from SHUFFLE crops of them. The order follows from seed,
    epoch and the numbers of workers and ranks alone. A resumed run reads again what its epoch has passed, and then
    continues exactly; a single process may even change the batch size.
    """

    cached_bytes = 0

    def __init__(self, source: PhotoSource, side: int, epoch: int, workers: int, held_out: frozenset[bytes]) -> None:
        """epoch: photos per epoch. workers: number of processes that read; 0: this process reads. held_out: digests of
        the files that are held out."""
        self.source, self.side, self.epoch, self.workers, self.held_out = source, side, epoch, workers, held_out
        self.identity = [*source.identity, *sorted(digest.hex() for digest in held_out)]
        self.told = False

    @property
    def photo_count(self) -> int:
        return self.epoch

    def __len__(self) -> int:
        return self.epoch

    def batches(self, seed: int, epoch: int, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yields the photos from `start` to `stop` of an epoch, `size` at a time: uint8 [size, 3, side, side].

        Each rank gets its share of every batch, and counts its share of the photos before `start` as seen.
        """
        if start >= stop:
            return
        passed = sum(own_photos(min(size, start - first)) for first in range(0, start, size))
        counts = [own_photos(min(size, stop - first)) for first in range(start, stop, size)]
        crops = self.dealt(Deal(self, (seed, epoch), passed, passed + sum(counts)))
        for count in counts:
            yield torch.stack(list(itertools.islice(crops, count)))

    def dealt(self, deal: "Deal") -> Iterator[Tensor]:
        for item in load(deal, self.workers):
            if isinstance(item, str):
                raise UserError(item)
            pixels, skipped = item
            if skipped and not self.told:
                tqdm.write(
                    f"Photos are left out: {first_reasons(skipped)}. Others that are left out later are not named."
                )
                self.told = True
            yield from pixels

    def crops(self, seed: tuple[int, ...], part: int, parts: int, skipped: dict[str, str]) -> Iterator[np.ndarray]:
        """Yields a part's crops in random order, again and again. Names of photos that are left out are added to
        `skipped`."""
        for turn in itertools.count():
            random = np.random.default_rng((*seed, turn, part))
            waiting: list[np.ndarray] = []
            for crop in self.usable((*seed, turn), part, parts, skipped):
                if len(waiting) < SHUFFLE:
                    waiting.append(crop)
                    continue
                drawn = random.integers(SHUFFLE)
                yield waiting[drawn]
                waiting[drawn] = crop
            if not waiting:
                raise UserError(
                    f"a worker's part of {self.source.identity[0]} holds no usable photo: "
                    f"{first_reasons(skipped) or 'it is empty'}; lower --workers, or choose another source."
                )
            yield from (waiting[index] for index in random.permutation(len(waiting)))

    def usable(self, seed: tuple[int, ...], part: int, parts: int, skipped: dict[str, str]) -> Iterator[np.ndarray]:
        for name, data in self.source.files(seed, part, parts):
            if digest(data) in self.held_out:
                continue
            crop = read_crop(name, self.side, data)
            if isinstance(crop, str):
                skipped[name] = crop
            else:
                yield crop


def own_photos(step: int) -> int:
    """Returns the number of a step's photos that this rank takes."""
    part = ranks.share(step).part
    return part.stop - part.start


class Deal(IterableDataset):
    """The photos of a rank in an epoch, distributed to the workers in turn, CHUNK at a time. So their order depends
    neither on the workers' speed nor on the batch size."""

    def __init__(self, stream: Stream, seed: tuple[int, int], start: int, stop: int) -> None:
        """start, stop: the range of the rank's photos that is wanted, counted from the epoch's beginning."""
        self.stream, self.seed, self.start, self.stop = stream, seed, start, stop
        self.rank, self.ranks = ranks.rank(), ranks.world_size()  # the workers do not know it

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, str]] | str]:
        workers, info = max(1, self.stream.workers), get_worker_info()
        # The loader asks worker 0 first, which is to have the chunk in which `start` lies.
        worker = ((info.id if info else 0) + self.start // CHUNK) % workers
        try:
            yield from self.chunks(worker, workers)
        except UserError as error:  # the loader would bury it in a traceback
            yield str(error)

    def chunks(self, worker: int, workers: int) -> Iterator[tuple[Tensor, dict[str, str]]]:
        """Yields a worker's chunks, each with the photos left out before it. Photos before `start` are read but not
        yielded."""
        skipped: dict[str, str] = {}
        crops = self.stream.crops(self.seed, self.rank * workers + worker, self.ranks * workers, skipped)
        for first in range(worker * CHUNK, self.stop, workers * CHUNK):
            chunk = list(itertools.islice(crops, min(CHUNK, self.stop - first)))
            if wanted := chunk[max(0, self.start - first) :]:
                yield torch.from_numpy(np.stack(wanted)), dict(skipped)
                skipped.clear()


def load(deal: Deal, workers: int) -> Iterator[Any]:
    with warnings.catch_warnings():  # the number of workers decides on the order, so it is not left to the machine
        warnings.filterwarnings("ignore", "This DataLoader will create")
        ahead = {"prefetch_factor": PREFETCH, "worker_init_fn": ignore_signals} if workers else {}
        return iter(DataLoader(deal, batch_size=None, num_workers=workers, **ahead))


def ignore_signals(_: int) -> None:
    """Makes workers ignore Ctrl-C and SIGTERM, which can reach every process of a run. The training process stops
    after saving."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def open_source(data: str) -> PhotoSource:
    return HubDataset(data) if data.startswith("hf://") else TarShards(data)


def faces_of_stream(data: str, side: int, count: int) -> Crops:
    """Loads the first `count` faces, or all if there are fewer, through the cache: finding them again in every epoch
    would take too long. Raises UserError if there is none."""
    return cached_crops(Beginning(open_source(data), count), data, side, faces=True).first(count)


def open_stream(config: Config) -> tuple[Stream, Crops]:
    """Returns the stream to train on, and the held-out crops: the first usable photos. They are recognised by their
    content, so that no copy of them is used for training."""
    data, side, epoch = config.data, config.crop, config.photos_per_epoch
    assert epoch is not None  # `make_config` refuses a stream without it
    source = open_source(data)
    count = held_out_count(config.held_out, epoch)
    crops: dict[bytes, tuple[str, np.ndarray]] = {}
    skipped: dict[str, str] = {}
    for name, file in source.files(None, 0, 1):
        crop = read_crop(name, side, file)
        if isinstance(crop, str):
            skipped[name] = crop
        elif len(crops) < count:
            crops.setdefault(digest(file), (name, crop))
        elif digest(file) not in crops:
            break
    else:
        raise UserError(
            f"the {len(crops)} usable photos in {data} are too few to hold {count} out and train on the rest: "
            f"set --held-out lower, or take another source{': ' if skipped else ''}{first_reasons(skipped)}."
        )
    names, pixels = zip(*crops.values(), strict=True)
    return Stream(source, side, epoch, config.workers, frozenset(crops)), Crops(np.stack(pixels), list(names), skipped)
