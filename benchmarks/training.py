"""Measures how fast training is and how much each option changes that. Prints a table, can write JSON.

    python benchmarks/training.py                   synthetic photos and a random VGG19, enough for speed
    python benchmarks/training.py --photos FOLDER --vgg19 FILE --json training.json

Every row is this trainer with one change, in a separate process. It takes turns with the unchanged trainer: some steps
of the one, then some of the other, --rounds times. So a row's ratio holds even if other work slows the machine down.
"plain loop" is the training loop of the well-known repositories: fp32, NCHW, a DataLoader that decodes JPEG and
augments with PIL, and losses that are read at every step. It has the same networks and losses.
"""

import argparse
import contextlib
import datetime
import itertools
import json
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import ColorJitter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.device import choose_device, choose_dtype, peak_memory
from srgan.files import write_whole
from srgan.models import Generator
from srgan.photos.collections import read_crop
from srgan.photos.crops import load_crops
from srgan.photos.finding import find_photos
from srgan.publish.facts import hardware
from srgan.training import optimizers
from srgan.training.config import Config
from srgan.training.discriminators import make_discriminator
from srgan.training.losses import VGG19, Features, content_loss, grid_loss, load_vgg19, ssim_loss
from srgan.training.run import expected_memory
from srgan.training.trainer import PENALTY_EVERY, Trainer

Step = Callable[[], float]
"""Takes a training step and returns the seconds that it waited for data."""


# The rows


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    with mock.patch.object(optimizers, "Adam", lambda *given, fused, **more: torch.optim.Adam(*given, **more)):
        yield


def unfolded() -> contextlib.AbstractContextManager:
    """Within this context, the generator's tail runs in its plain form, after the last pixel shuffle."""
    return mock.patch.object(Generator, "to_image", lambda self, x: torch.tanh(self.tail(self.upsample(x))))


def in_halves(trainer: Trainer) -> None:
    """Makes the discriminator take originals and restored photos in two passes."""
    whole, batch = trainer.discriminator.forward, trainer.config.batch_size

    def forward(features: Features) -> Features:
        count = len(next(iter(features.values()))) // batch  # 1 in the generator's update
        parts = [whole({name: value.chunk(count)[part] for name, value in features.items()}) for part in range(count)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    trainer.discriminator.forward = forward


def compiled(trainer: Trainer, **options: Any) -> None:
    for network in (trainer.generator, trainer.discriminator, trainer.content):
        network.compile(**options)


class Decoded(Dataset):
    """Photos that are decoded at every access."""

    def __init__(self, photos: list[Path], side: int) -> None:
        self.photos, self.side = photos, side

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_crop(self.photos[index], self.side)


ROWS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "plain loop": {},
    "fp32": {"settings": {"precision": "fp32"}},
    "NCHW": {"around": lambda: mock.patch.object(torch, "channels_last", torch.contiguous_format)},
    "Adam not fused": {"around": unfused},
    "tail not folded": {"around": unfolded},
    "photos decoded every time": {"decode": True},
    "Adam instead of Muon": {"settings": {"optimizer": "adam"}},
    "discriminator in two passes": {"change": in_halves, "stages": ["detail"]},
    "torch.compile": {"change": compiled},
    "torch.compile, CUDA graphs": {"change": lambda t: compiled(t, mode="reduce-overhead"), "cuda": True},
}
"""The change in each row: settings, a patch around the whole row, or a change to the finished trainer."""


def settings_of(options: argparse.Namespace, row: str) -> Config:
    return Config(
        data=options.photos, vgg19=options.vgg19, batch_size=options.batch_size, crop=options.crop, jitter=0.05,
        blocks=options.blocks, channels=options.channels, schedule="constant", epochs=1, fidelity_epochs=1,
        **ROWS[row].get("settings", {}),
    )  # fmt: skip


def build_trainer(options: argparse.Namespace, row: str, stage: str) -> Trainer:
    config = settings_of(options, row)
    trainer = Trainer(config, *load_crops(config.data, config.crop).split(1), Path(options.photos))
    if stage == "detail":
        trainer.start_stage(stage)
    ROWS[row].get("change", lambda trainer: None)(trainer)
    return trainer


def trainer_step(options: argparse.Namespace, row: str, stage: str) -> Step:
    """Returns a step as `Trainer.train_epoch` takes it, without waiting for the losses."""
    trainer = build_trainer(options, row, stage)
    config = trainer.config
    if ROWS[row].get("decode"):
        batches = endless_loader(Decoded(find_photos(config.data), config.crop), options)
    else:
        batches = endless(
            lambda epoch: trainer.train.batches(0, epoch, 0, whole(len(trainer.train), config), config.batch_size)
        )

    def step() -> float:
        start = time.perf_counter()
        pixels = next(batches)
        waited = time.perf_counter() - start
        trainer.step(pixels)
        trainer.state.photos += len(pixels)
        trainer.state.total += len(pixels)
        return waited

    return step


def whole(count: int, config: Config) -> int:
    """Returns the largest number of photos up to `count` that fills whole batches."""
    return count // config.batch_size * config.batch_size


def endless(make: Callable[[int], Iterator[Tensor]]) -> Iterator[Tensor]:
    epoch = 0
    while True:
        yield from make(epoch)
        epoch += 1


def endless_loader(photos: Dataset, options: argparse.Namespace) -> Iterator[Any]:
    loader = DataLoader(
        photos, options.batch_size, shuffle=True, drop_last=True, num_workers=options.workers,
        pin_memory=torch.cuda.is_available(), persistent_workers=options.workers > 0,
    )  # fmt: skip
    return endless(lambda epoch: iter(loader))


# The plain loop


class Augmented(Dataset):
    """Low- and high-resolution pairs made with PIL, floats in [-1, 1]."""

    def __init__(self, photos: list[Path], side: int, jitter: float) -> None:
        self.photos, self.side = photos, side
        self.jitter = ColorJitter(jitter, jitter, jitter, jitter)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        photo = Image.open(self.photos[index]).convert("RGB")
        left, top = (photo.width - self.side) // 2, (photo.height - self.side) // 2
        photo = photo.crop((left, top, left + self.side, top + self.side))
        if torch.rand(()) < 0.5:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        high = self.jitter(photo)
        low = high.resize((self.side // 4, self.side // 4), Image.Resampling.BICUBIC)
        return tuple(torch.from_numpy(np.array(x)).permute(2, 0, 1).float() / 127.5 - 1 for x in (low, high))


def plain_step(options: argparse.Namespace, row: str, stage: str) -> Step:
    config = settings_of(options, row)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = Generator(config.channels, config.blocks).to(device)
    discriminator = make_discriminator(config.judges_features()).to(device)
    content = content_loss(config.content, load_vgg19(config.vgg19)).to(device)
    of_generator = torch.optim.Adam(generator.parameters(), 1e-4)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), 1e-4)
    batches = endless_loader(Augmented(find_photos(config.data), config.crop, config.jitter), options)
    numbers, random = itertools.count(), torch.Generator(device)

    def step() -> float:
        start = time.perf_counter()
        low, high = next(batches)
        waited = time.perf_counter() - start
        low, high = low.to(device), high.to(device)
        restored = generator(low)
        loss = F.l1_loss(restored, high)
        if stage == "fidelity":
            loss = loss + config.ssim_weight * ssim_loss(restored, high)
        else:
            views = content.views(restored, high)
            adversarial = discriminator.generator_loss(*views)
            loss = (
                content.distance(*views)
                + config.adversarial_weight * adversarial
                + config.pixel_weight * loss
                + config.grid_weight * grid_loss(restored, high)
            )
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        losses = [loss.item()]
        if stage == "detail":
            judged, *_ = discriminator.discriminator_loss(*views)
            if config.judges_features() and next(numbers) % PENALTY_EVERY == 0:
                judged = judged + PENALTY_EVERY * config.penalty_weight * discriminator.approximate_r1(*views, random)
            of_discriminator.zero_grad()
            judged.backward()
            of_discriminator.step()
            losses.append(judged.item())
        return waited

    return step


# Processes that take turns


class Runner:
    """A row in a separate process, which takes steps on request."""

    def __init__(self, options: argparse.Namespace, row: str, stage: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, options, row, stage))
        self.process.start()
        other.close()
        self.seconds: list[float] = []
        self.waited: list[float] = []
        self.peak = math.nan

    def run(self, steps: int) -> None:
        """Takes steps and records their times. Raises RuntimeError with the reason if the row cannot run here."""
        try:
            self.pipe.send(steps)
            answer = self.pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError("its process has ended") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        seconds, waited, self.peak = answer
        self.seconds.append(seconds / steps)
        self.waited.append(waited / steps)

    def forget(self) -> None:
        """Discards what was measured during the warm-up."""
        self.seconds, self.waited = [], []

    def close(self) -> None:
        self.pipe.close()
        self.process.join(30)
        if self.process.is_alive():
            self.process.terminate()


def serve(pipe: Connection, options: argparse.Namespace, row: str, stage: str) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    around = unfolded if row == "plain loop" else ROWS[row].get("around", contextlib.nullcontext)
    try:
        with around():
            step = (plain_step if row == "plain loop" else trainer_step)(options, row, stage)
            while steps := pipe.recv():
                pipe.send(timed(step, steps))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        traceback.print_exc()
        pipe.send(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")


def timed(step: Step, steps: int) -> tuple[float, float, float]:
    """Returns the seconds of the steps, the seconds that they waited for data, and the peak memory in GB."""
    wait_for_device()
    start = time.perf_counter()
    waited = sum(step() for _ in range(steps))
    wait_for_device()
    return time.perf_counter() - start, waited, peak_memory(choose_device())


def wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare(options: argparse.Namespace, row: str, stage: str) -> dict[str, Any]:
    """Returns the row's figures and the unchanged trainer's figures from the same minutes."""
    runners = [Runner(options, name, stage) for name in dict.fromkeys(("as it is", row))]
    try:
        for runner in runners:
            runner.run(options.warm_up)
            runner.forget()
        for _ in range(options.rounds):
            for runner in runners:
                runner.run(options.steps)
    except RuntimeError as error:
        return {"stage": stage, "what": row, "failed": str(error)}
    finally:
        for runner in runners:
            runner.close()
    reference, changed = runners[0], runners[-1]
    ratios = [a / b for a, b in zip(changed.seconds, reference.seconds, strict=True)]
    return {
        "stage": stage,
        "what": row,
        "photos_per_second": round(options.batch_size / statistics.median(changed.seconds), 2),
        "as_it_is_photos_per_second": round(options.batch_size / statistics.median(reference.seconds), 2),
        "time_ratio": round(statistics.median(ratios), 3),
        "waiting_percent": round(100 * sum(changed.waited) / sum(changed.seconds), 2),
        "peak_memory_gb": round(changed.peak, 2),
    } | ({"expected_memory_gb": round(expected_gb(options, row), 2)} if (row, stage) == ("as it is", "detail") else {})


def expected_gb(options: argparse.Namespace, row: str) -> float:
    """Returns the peak memory that `train.py --dry-run` predicts. The peak is in the detail stage."""
    config = settings_of(options, row)
    dtype = choose_dtype(choose_device(config.device), config.precision)
    return expected_memory(config, str(dtype).removeprefix("torch."))


# What the chip can do


def matmul_rate(side: int = 8192, times: int = 50) -> float:
    """Measures the FLOP/s of a large bf16 matrix product on the GPU."""
    left, right = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    rates = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(times):
            left @ right
        torch.cuda.synchronize()
        rates.append(2 * side**3 * times / (time.perf_counter() - start))
    return max(rates)


def flops_per_photo(options: argparse.Namespace, stage: str) -> float:
    """Returns the FLOPs of the networks in a step, without the zeros of the folded tail and without Muon's products."""
    with unfolded():
        trainer = build_trainer(options, "Adam instead of Muon", stage)
        count = 2
        with FlopCounterMode(display=False) as counter:
            trainer.step(trainer.train.batch(range(count)))
    return counter.get_total_flops() / count


# Synthetic photos and random weights


def synthetic_photos(folder: Path, count: int) -> None:
    """Writes JPEGs with CelebA's width and height and about as many bytes."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (28, 23, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:06}.jpg", quality=90)


def random_vgg19(path: Path) -> None:
    network = VGG19()
    for value in network.parameters():
        if value.dim() > 1:
            nn.init.kaiming_normal_(value)
    save_file(network.state_dict(), path)


# The command


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--photos", default="", help="folder of photos (default: synthetic ones)")
    parser.add_argument("--vgg19", default="", help="VGG19 weights (default: random ones)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="rows to measure (default: all)")
    parser.add_argument(
        "--stages", nargs="+", choices=["fidelity", "detail"], default=["fidelity", "detail"], help="(default: both)"
    )
    parser.add_argument("--batch-size", type=int, default=30 if cuda else 16, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each of the two that are compared (default: 5)")
    parser.add_argument(
        "--steps", type=int, default=PENALTY_EVERY * (6 if cuda else 1), help="steps of a turn (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up", type=int, default=20 if cuda else 2, help="steps before the first turn (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(8, multiprocessing.cpu_count()),
        help="processes of each DataLoader (default: %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--crop", type=int, default=128, help="side of the training crops in pixels (default: 128)")
    parser.add_argument("--blocks", type=int, default=16, help="residual blocks (default: 16)")
    parser.add_argument("--channels", type=int, default=64, help="feature channels (default: 64)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.photos:
            options.photos = str(folder / "photos")
            (folder / "photos").mkdir()
            synthetic_photos(folder / "photos", max(256, 4 * options.batch_size))
        if not options.vgg19:
            options.vgg19 = str(folder / "vgg19.safetensors")
            random_vgg19(folder / "vgg19.safetensors")
        report = measure(options)
    if options.json:
        write_whole(options.json, lambda path: path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8"))


TOLD = ("batch_size", "crop", "blocks", "channels", "workers", "threads", "rounds", "steps")
"""The options that affect the figures."""


def measure(options: argparse.Namespace) -> dict[str, Any]:
    cuda = torch.cuda.is_available()
    load_crops(options.photos, options.crop)  # decodes the photos once, before any timing
    report: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "hardware": hardware(), "torch": torch.__version__,
        "settings": {name: getattr(options, name) for name in TOLD},
        "rows": [],
    }  # fmt: skip
    print(f"{report['hardware']}, PyTorch {torch.__version__}, {options.batch_size} photos a step, {report['date']}")
    if cuda:
        report["matmul_tflops"] = round(matmul_rate() / 1e12, 1)
        print(f"bf16 matrix product: {report['matmul_tflops']} TFLOP/s")
    for stage in options.stages:
        report[f"{stage}_gflop_per_photo"] = round(flops_per_photo(options, stage) / 1e9, 2)
        print(f"\n{stage} stage, {report[f'{stage}_gflop_per_photo']} GFLOP a photo\n")
        print("| what | photos/s | time, of as it is | waiting for data | peak memory |\n|---|---|---|---|---|")
        for row in options.rows:
            if stage not in ROWS[row].get("stages", [stage]) or (ROWS[row].get("cuda") and not cuda):
                continue
            found = compare(options, row, stage)
            if cuda and "failed" not in found:
                rate = found["photos_per_second"] * report[f"{stage}_gflop_per_photo"] * 1e9
                found["percent_of_matmul"] = round(rate / report["matmul_tflops"] / 1e12 * 100, 1)
            report["rows"].append(found)
            print(line(found), flush=True)
    return report


def line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"| {row['what']} | does not run here: {row['failed']} | | | |"
    share = f" ({row['percent_of_matmul']} % of the matrix product's rate)" if "percent_of_matmul" in row else ""
    expected = f" ({row['expected_memory_gb']:.2f} GB expected)" if "expected_memory_gb" in row else ""
    cells = (
        row["what"],
        f"{row['photos_per_second']:g}{share}",
        f"{row['time_ratio']:.2f}",
        f"{row['waiting_percent']:.1f} %",
        f"{row['peak_memory_gb']:.2f} GB{expected}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
