"""Trains in two stages, fidelity (pixels alone), then detail (the GAN, from those weights); saves and resumes
exactly."""

import copy
import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from srgan import ranks
from srgan.degradation import chain
from srgan.device import autocast, choose_device, choose_dtype, free_memory, is_out_of_memory, send
from srgan.errors import UserError
from srgan.files import write_whole
from srgan.measure.evaluation import evaluate, means, show
from srgan.measure.metrics import LPIPS
from srgan.measure.pairs import CropPictures
from srgan.models import SCALE, Generator
from srgan.photos.crops import Crops, Photos
from srgan.pictures.images import reduce
from srgan.ranks import Share
from srgan.training.augment import DRAWS, augmented, random_window
from srgan.training.config import Config
from srgan.training.discriminators import FeatureDiscriminator, make_discriminator
from srgan.training.gan_monitor import GanMonitor
from srgan.training.losses import content_loss, grid_loss, load_vgg19, shade_loss, ssim_loss
from srgan.training.optimizers import adam, make_optimizers
from srgan.training.progress import Log, Meter, TrainState, in_words
from srgan.training.records import EpochRow, Origin, StatsRow

EMA_GROWTH = {"fidelity": 0.1, "detail": 0.3}
"""Half-life of the moving average as a share of the photos seen. It is longer for the GAN, whose two networks circle
around their balance: only an average over the circle comes close to it (Yazici et al. 2019, "The unusual
effectiveness of averaging in GAN training")."""


COST = {"fidelity": 1.0, "detail": 5.4}
"""Time that a photo takes in a stage, of the default network: 13.6 and 73.3 GFLOP."""

SETTLING = 20.0
"""Seconds of a stage after which its pace can be judged."""

HEAD_START_RATE = 2.0
"""Rate of the discriminator during its head start, as a multiple of its later one."""

MOST_HEAD_START = 1 / 3
"""Largest part of the detail stage that the discriminator's head start may take."""

PENALTY_EVERY = 8
"""Number of steps from one gradient penalty to the next."""


class Stopped(Exception):
    """Raised when the run was asked to stop, after its state is saved."""


NOT_SAVED = "{} does not exist: this run has not saved a state from which it could continue."


class SavedState(TypedDict):
    """The content of state.pt."""

    networks: dict[str, dict[str, Tensor]]
    optimizers: dict[str, list[dict[str, Any]]]
    position: dict[str, Any]
    """the fields of TrainState"""
    fidelity: dict[str, Tensor] | None
    """the weights at the end of the fidelity stage"""
    start: list[Tensor] | None
    """`Trainer.start_weights`"""
    history: list[dict[str, Any]]
    """each validated epoch, as `EpochRow.to_json` writes it"""
    origin: Origin | None
    photos: str
    """`Trainer.photos_digest`"""
    stages: dict[str, int]
    """photos of each stage"""
    batch_size: int
    ranks: int


def check_batch_size(config: Config) -> None:
    if config.batch_size < ranks.world_size():
        raise UserError(
            f"--batch-size {config.batch_size} is less than the {ranks.world_size()} processes; "
            "each needs at least one photo."
        )


class Trainer:
    """The networks, optimisers, moving average and state of a run, and the steps that change them."""

    def __init__(self, config: Config, train: Photos, held_out: Crops, folder: Path) -> None:
        self.config, self.train, self.held_out, self.folder = config, train, held_out, folder
        check_batch_size(config)
        self.device = choose_device(config.device)
        self.dtype = choose_dtype(self.device, config.precision)
        if self.device.type == "cuda" and isinstance(train, Crops):
            self.train = train.on(self.device, torch.cuda.mem_get_info(self.device)[0])
        self.stages = {name: max(1, round(e * len(train))) for name, e in config.stage_epochs().items()}
        """photos that each stage sees: whole epochs, mostly"""
        with ranks.one_a_machine():  # VGG19 may have to be downloaded
            self.content = content_loss(config.content, load_vgg19(config.vgg19) if config.needs_vgg19() else None)
        self.lpips = LPIPS.load(config.lpips).to(self.device) if config.lpips else None
        torch.manual_seed(config.seed)
        self.generator = Generator(config.channels, config.blocks, config.upsampling)
        self.discriminator = make_discriminator(config.judges_features())
        for network in (self.generator, self.discriminator, self.content):
            network.to(self.device).to(memory_format=torch.channels_last)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.fidelity: dict[str, Tensor] | None = None
        self.start_weights: list[Tensor] | None = None
        """the detail weights of the starting model, of which the average keeps a share (`keep_start`)"""
        self.origin: Origin | None = None
        self.history: list[EpochRow] = []
        self.log = Log(folder / "stats.jsonl")
        self.gan_monitor = GanMonitor()
        self.stop_requested = False
        """set by a signal handler: the running step is finished, the state saved, Stopped raised"""
        self.planned = dict(self.stages)
        self.begun = time.monotonic()
        self.validation_seconds = 0.0
        self.start_stage(next(iter(self.stages)))
        if not ranks.all_alike(self.photos_digest()):
            raise UserError(f"--data {config.data} holds other photos on one machine of this run than on another.")

    # Stages

    def start_stage(self, name: str) -> None:
        """Makes new optimisers. The generator starts from the moving average of the previous stage."""
        config = self.config
        seconds = self.state.seconds if hasattr(self, "state") else {}
        self.state = TrainState(name, seconds=seconds)
        self.stage_begun = time.monotonic(), 0
        self.generator.load_state_dict(self.generator_ema.state_dict())
        if name == "fidelity":
            self.optimizers = {
                "generator": make_optimizers(self.generator, config.optimizer, config.fidelity_lr, self.dtype)
            }
        else:
            self.optimizers = {
                "generator": [adam(self.generator, config.lr)],
                "discriminator": make_optimizers(
                    self.discriminator, config.optimizer, config.discriminator_lr, self.dtype
                ),
            }
        for group in self.rate_groups():
            group["base_lr"] = group["lr"]

    def start_from(self, weights: dict[str, dict[str, Tensor]], origin: Origin) -> None:
        """Starts the first stage from a trained model: the fidelity stage from its fidelity weights, the detail stage
        from its detail weights, keeping the fidelity weights. `origin` names the model, for the card."""
        fidelity = weights.get("fidelity", weights["detail"])
        if "fidelity" in self.stages:
            self.generator_ema.load_state_dict(fidelity)
        else:
            self.generator_ema.load_state_dict(weights["detail"])
            self.fidelity = copy.deepcopy(fidelity)
            if self.config.keep_start:
                self.start_weights = [value.clone() for value in self.generator_ema.parameters()]
        self.origin = origin
        self.start_stage(self.state.stage)

    def rate_groups(self) -> list[dict[str, Any]]:
        return [
            group
            for optimizers in self.optimizers.values()
            for optimizer in optimizers
            for group in optimizer.param_groups
        ]

    def stage_photos(self) -> int:
        return self.stages[self.state.stage]

    def epochs(self, stage: str) -> int:
        """Returns the number of epochs of a stage; the last one may be short."""
        return -(-self.stages.get(stage, 0) // len(self.train))

    def fit(self, on_epoch_end: Callable[[int], object] = lambda epoch: None) -> None:
        """Trains to the end of the run. After each epoch it validates, calls `on_epoch_end(number)`, and then saves the
        state.

        If the process is killed during `on_epoch_end`, the resumed run trains the last part of that epoch again and
        calls it again. Raises Stopped, with the state saved, if `stop_requested` was set, and whatever `on_epoch_end`
        raises.
        """
        self.begun = time.monotonic() - self.state.used
        self.stage_begun = time.monotonic(), self.state.total
        while True:
            while self.state.total < self.stage_photos() or self.state.photos:  # saved before an epoch's end
                self.train_epoch(on_epoch_end)
            if self.state.stage == "fidelity":
                self.fidelity = copy.deepcopy(self.generator_ema.state_dict())
            following = list(self.stages)[list(self.stages).index(self.state.stage) + 1 :]
            if not following:
                return
            self.start_stage(following[0])

    # One epoch

    def train_epoch(self, on_epoch_end: Callable[[int], object]) -> None:
        state = self.state
        count = min(len(self.train), state.photos + self.stage_photos() - state.total)
        meter = Meter(self.log, state, self.photos_to_the_end(), self.device)
        saved = time.monotonic()
        title = f"{state.stage} {state.epoch + 1}/{self.epochs(state.stage)}"
        with progress_bar(count, state.photos, title) as bar:
            order = (self.config.seed, self.epoch_number())
            batches = self.train.batches(*order, state.photos, count, self.config.batch_size)
            for pixels in ranks.together(batches):
                share = ranks.share(min(self.config.batch_size, count - state.photos))
                meter.add(self.step_or_say_what_fits(pixels, share), share.weight)
                state.photos += share.photos
                state.total += share.photos
                bar.update(share.photos)
                due = time.monotonic() - saved > self.config.save_minutes * 60
                stop = self.stop_requested  # read once: a signal may come between any two lines
                stop, save, report = ranks.all_reduce_any(stop, stop or due, meter.due())
                if save or report or state.photos == count:
                    bar.set_postfix_str(meter.report())
                    bar.set_description_str(f"{in_words(meter.seconds_left)} left, {title}")
                    self.warn(self.gan_monitor.judge(meter.latest, state.total))
                    self.keep_time()
                    meter.all_photos = self.photos_to_the_end()
                if save:  # after the report, which has checked that the losses are finite
                    self.save()
                    saved = time.monotonic()
                if stop:
                    raise Stopped
                if state.total >= self.stage_photos():  # `keep_time` may have ended the stage within an epoch
                    break
        state.epoch, state.photos = state.epoch + 1, 0
        self.validate(meter.means())
        on_epoch_end(state.epoch)
        self.save()
        ranks.barrier()

    def photos_to_the_end(self) -> float:
        """Returns the length of the run from the beginning of this stage, in photos of this stage. A photo of a later
        stage counts as the number of this stage's photos that take the same time."""
        names = list(self.stages)
        later = names[names.index(self.state.stage) + 1 :]
        return self.stage_photos() + sum(self.stages[name] * COST[name] for name in later) / COST[self.state.stage]

    def keep_time(self) -> None:
        """With `max_hours`, shortens the stage if it would take too long at its pace so far. The learning rate follows
        from the share of the stage that is done, so it still falls to 0."""
        if self.config.max_hours is not None:
            hours = self.config.max_hours
            self.stages[self.state.stage] = ranks.from_first(lambda: self.photos_within(hours))

    def photos_within(self, hours: float) -> int:
        """Photos of the running stage: no more than were planned, and no fewer than have been seen."""
        names, stage, now = list(self.planned), self.state.stage, time.monotonic()
        costs = [self.planned[name] * COST[name] for name in names]
        end = hours * 3600 * sum(costs[: names.index(stage) + 1]) / sum(costs)
        if stage == names[-1]:
            end -= 5 * self.validation_seconds  # what follows the last step
        begun, before = self.stage_begun
        if now - begun < SETTLING and now - self.begun < end:
            return self.stages[stage]
        pace = (self.state.total - before) / (now - begun)
        fits = self.state.total + max(0, int(pace * (end - (now - self.begun))))
        return max(self.state.total, min(self.stages[stage], fits))

    def epoch_number(self) -> int:
        """Returns the number of the epoch over both stages, so that no two epochs of a run have the same order."""
        return self.state.epoch + (self.epochs("fidelity") if self.state.stage == "detail" else 0)

    def warn(self, trouble: tuple[str, str] | None) -> None:
        if trouble is None:
            return
        name, text = trouble
        state = self.state
        texts = {"trouble": name, "text": text}
        self.log.add(StatsRow("warning", state.stage, state.total, state.epoch + 1, texts=texts))
        tqdm.write(text)

    def validate(self, losses: dict[str, float]) -> None:
        if not ranks.is_first():
            return
        start = time.monotonic()
        rows = evaluate({"model": self.restore}, CropPictures(self.held_out), self.lpips, self.device)
        self.validation_seconds = time.monotonic() - start
        figures = means(rows)["model"]
        state = self.state
        self.history.append(EpochRow(state.stage, state.epoch, {**losses, **figures}))
        self.log.add(StatsRow("validation", state.stage, state.total, state.epoch, {**losses, **figures}))
        photos = f"{len(self.held_out.names)} held-out photos"
        tqdm.write(f"{state.stage} epoch {state.epoch}: {show(figures)} on {photos}")

    # One step

    def step_or_say_what_fits(self, pixels: Tensor, share: Share) -> dict[str, Tensor]:
        try:
            return self.step(pixels, share)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Out here the error is gone, and with it what its frames have held.
        fits = self.largest_that_fits(pixels) * ranks.world_size()
        words = f"{self.device.type} has not enough memory for --batch-size {self.config.batch_size}"
        if not fits:
            raise UserError(f"{words}, nor for one photo: free some memory, or train a smaller network or --crop.")
        saved = (self.folder / "state.pt").exists()
        how = "the last saved state is kept, continue with --resume" if saved else "start again with"
        raise UserError(f"{words}: {fits} would fit; {how} --batch-size {fits}.")

    def largest_that_fits(self, pixels: Tensor) -> int:
        """Returns the largest of 1/2, 1/4, ... of these photos for which a step fits into memory. It spoils the
        weights."""
        photos = len(pixels)
        while photos := photos // 2:
            free_memory(self.device)
            try:
                with ranks.single_rank():
                    self.step(pixels[:photos])
                return photos
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        return 0

    def step(self, pixels: Tensor, share: Share | None = None) -> dict[str, Tensor]:
        """Updates the networks once on uint8 crops [N, 3, S, S]. Returns the losses as tensors on the device, without
        waiting for their values.

        share: this rank's share of the step's photos, which are the crops; by default they are all photos of the step.
        """
        share = share or ranks.share(len(pixels))
        # Numbers drawn are a function of seed and position alone: a resumed run, and one on more ranks, draws the same.
        random = step_generator(self.config.seed, self.epoch_number(), self.state.photos)
        draws = torch.rand(DRAWS, share.photos, generator=random)[:, share.part]
        turn = self.config.crop_at == "random"
        high = augmented(send(pixels, self.device), self.config.jitter, draws, turn)
        low, high = self.small_copy(high, share, random)
        low, high = (images.contiguous(memory_format=torch.channels_last) for images in (low, high))
        self.set_rates()
        if self.state.stage == "fidelity":
            losses = self.fidelity_step(low, high, share.weight)
        else:
            losses = self.detail_step(low, high, random, share.weight)
        self.update_ema(share.photos)
        return losses

    def small_copy(self, high: Tensor, share: Share, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Returns the small copies [N, 3, H, W] for `--degrade`, and the photos to restore from them [N, 3, 4H, 4W]."""
        if self.config.degrade == "clean":
            return reduce(high), high
        draws = torch.rand(chain.DRAWS, share.photos, generator=random)[:, share.part]
        small = (side // SCALE for side in high.shape[-2:])
        noise = torch.randn(share.photos, high.shape[1], *small, generator=random)[share.part]
        return chain.small_copy(high, chain.draw(self.config.degrade, draws).on(self.device), send(noise, self.device))

    def fidelity_step(self, low: Tensor, high: Tensor, weight: float = 1.0) -> dict[str, Tensor]:
        """One step of the fidelity stage. weight: this rank's weight in the mean of the gradients."""
        with autocast(self.device, self.dtype):
            restored = self.generator(low)
        pixel = F.l1_loss(restored.float(), high)
        loss = pixel
        if self.config.ssim_weight:
            loss = loss + self.config.ssim_weight * ssim_loss(restored.float(), high)
        update(self.optimizers["generator"], loss, weight)
        return {"pixel": pixel.detach()}

    def detail_step(self, low: Tensor, high: Tensor, random: torch.Generator, weight: float = 1.0) -> dict[str, Tensor]:
        """Updates the generator, then the discriminator, both with the losses of the networks before the step. During
        the head start, only the discriminator is updated."""
        config = self.config
        learns = not self.in_head_start()
        self.discriminator.requires_grad_(False)  # the generator's update needs no gradients there
        with torch.set_grad_enabled(learns), autocast(self.device, self.dtype):
            restored = self.generator(low)
            seen, truth = random_window((restored, high), config.shift, random)
            views = self.content.views(seen, truth)
            content = self.content.distance(*views)
            judged = views if config.judges_features() else (seen, truth)
            adversarial = self.discriminator.generator_loss(*judged)
        loss = content + config.adversarial_weight * adversarial
        if config.pixel_weight:
            loss = loss + config.pixel_weight * F.l1_loss(restored.float(), high)
        if config.grid_weight:
            loss = loss + config.grid_weight * grid_loss(restored.float(), high)
        if config.shade_weight:
            loss = loss + config.shade_weight * shade_loss(restored.float(), high)
        if learns:
            update(self.optimizers["generator"], loss, weight)

        self.discriminator.requires_grad_(True)
        with autocast(self.device, self.dtype):
            discriminator, d_real, d_fake = self.discriminator.discriminator_loss(*judged)
            penalty = self.penalty(*judged, random)
        update(self.optimizers["discriminator"], discriminator + penalty, weight)
        return {
            "generator": loss.detach(), "content": content.detach(), "adversarial": adversarial.detach(),
            "discriminator": discriminator.detach(), "d_real": d_real, "d_fake": d_fake,
        }  # fmt: skip

    def penalty(self, restored: Any, original: Any, random: torch.Generator) -> Tensor | float:
        """Returns the gradient penalty of the discriminator, every PENALTY_EVERY steps with the weight of all of them
        (Karras et al. 2020, StyleGAN2, section 3.1: lazy regularisation)."""
        weight, step = self.config.penalty_weight, self.state.total // self.config.batch_size
        if not (isinstance(self.discriminator, FeatureDiscriminator) and weight) or step % PENALTY_EVERY:
            return 0.0
        seed = int(torch.randint(2**62, (), generator=random))
        nudges = torch.Generator(self.device).manual_seed(seed)  # too many numbers to bring them from the CPU
        return PENALTY_EVERY * weight * self.discriminator.approximate_r1(restored, original, nudges)

    def in_head_start(self) -> bool:
        """Returns whether the discriminator learns alone."""
        if self.state.stage != "detail":
            return False
        return self.state.total < min(self.config.head_start, MOST_HEAD_START * self.stage_photos())

    def set_rates(self) -> None:
        factor = rate_factor(self.state.total / self.stage_photos(), self.schedule())
        factor *= HEAD_START_RATE if self.in_head_start() else 1.0
        for group in self.rate_groups():
            group["lr"] = group["base_lr"] * factor

    def schedule(self) -> str:
        return self.config.fidelity_schedule if self.state.stage == "fidelity" else self.config.schedule

    @torch.no_grad()
    def update_ema(self, photos: int) -> None:
        """Updates the moving average, whose half-life in photos grows with the stage (Karras et al. 2022, EDM). With
        `keep_start` it is the average of the generator's weights mixed with those of the starting model."""
        half_life = min(self.config.ema_half_life, self.state.total * EMA_GROWTH[self.state.stage])
        keep = 0.5 ** (photos / half_life) if half_life else 0.0
        weights: list[Tensor] = list(self.generator.parameters())
        if self.start_weights is not None:
            weights = list(torch._foreach_lerp(weights, self.start_weights, self.config.keep_start))
        torch._foreach_lerp_(list(self.generator_ema.parameters()), weights, 1 - keep)

    def restore(self, low: Tensor) -> Tensor:
        with autocast(self.device, self.dtype):
            return self.generator_ema(low.contiguous(memory_format=torch.channels_last)).float()

    # State

    def save(self) -> None:
        """Writes everything that the rest of the run depends on into one file. Any number of ranks can resume from
        it."""
        if not ranks.is_first():
            return
        self.state.used = time.monotonic() - self.begun
        state: SavedState = {
            "networks": {name: network.state_dict() for name, network in self.networks().items()},
            "optimizers": {name: [one.state_dict() for one in group] for name, group in self.optimizers.items()},
            "position": vars(self.state), "fidelity": self.fidelity, "start": self.start_weights,
            "history": [row.to_json() for row in self.history], "origin": self.origin,
            "photos": self.photos_digest(), "stages": self.stages,
            "batch_size": self.config.batch_size, "ranks": ranks.world_size(),
        }  # fmt: skip
        buffer = io.BytesIO()  # torch.save hides why a disk refuses; writing bytes does not
        torch.save(state, buffer)
        write_whole(self.folder / "state.pt", lambda path: path.write_bytes(buffer.getbuffer()))

    def load(self) -> None:
        """Restores the saved state. Raises UserError if it is missing or does not fit the settings and the photos."""
        path = self.folder / "state.pt"
        try:
            state: SavedState = ranks.from_first(lambda: torch.load(path, map_location="cpu", weights_only=True))
            self.start_stage(state["position"]["stage"])
            self.state = TrainState(**state["position"])
            for name, network in self.networks().items():
                network.load_state_dict(state["networks"][name])
            for name, optimizers in self.optimizers.items():
                for optimizer, saved in zip(optimizers, state["optimizers"][name], strict=True):
                    optimizer.load_state_dict(saved)
            self.history = [EpochRow.from_json(row) for row in state["history"]]
            self.origin = state["origin"]
            if state["fidelity"] is not None:
                self.fidelity = {name: value.to(self.device) for name, value in state["fidelity"].items()}
            if (start := state.get("start")) is not None:  # states saved before `keep_start` existed have none
                self.start_weights = [value.to(self.device) for value in start]
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(NOT_SAVED.format(path)) from None
        except Exception as error:
            raise UserError(
                f"{path} is damaged or belongs to another run ({type(error).__name__}): start another run "
                "from a model in checkpoints/, with --init and another --out."
            ) from None
        if state["photos"] != self.photos_digest():
            raise UserError(
                f"--data {self.config.data} does not hold the photos that this run was started with: restore them, "
                "or choose another --out."
            )
        self.check_length(state["stages"])
        self.say_what_comes_twice(state["batch_size"], state["ranks"])
        self.forget_later_rows()

    def check_length(self, before: dict[str, int]) -> None:
        """Raises UserError if --epochs is less than the epochs already trained, or if changing it would make the
        learning rate jump.

        before: photos of each stage according to the saved state.
        """
        stage, seen = self.state.stage, self.state.total
        if self.config.max_hours is not None:  # `keep_time` may have taken photos from them
            self.stages = dict(before)
        now, then = self.stages[stage], before[stage]
        if now < seen:
            raise UserError(
                f"--epochs {self.config.epochs:g} is less than the {seen / len(self.train):.3g} epochs that "
                f"{self.folder} has trained."
            )
        if now != then and rate_factor(seen / now, self.schedule()) != rate_factor(seen / then, self.schedule()):
            raise UserError(
                f"--epochs {self.config.epochs:g}: its learning rates (--schedule {self.schedule()}) were planned "
                f"for {then / len(self.train):.3g} epochs: leave --epochs out, or start another run from its model, "
                f"with --init {self.folder}."
            )

    def say_what_comes_twice(self, batch_size: int, count: int) -> None:
        """Warns if the photos of the running epoch are distributed differently after resuming a stream.

        batch_size, count: photos in a step, and number of ranks, when the state was saved.
        """
        streamed, begun = self.config.photos_per_epoch is not None, self.state.photos > 0
        alike = (batch_size, count) == (self.config.batch_size, ranks.world_size()) or count == ranks.world_size() == 1
        if streamed and begun and not alike:
            tqdm.write(
                "With another --batch-size or number of processes the photos of the running epoch "
                "are distributed again: "
                "some are used twice in it and others not at all. From the next epoch on each is used once."
            )

    def photos_digest(self) -> str:
        """Returns a checksum that differs between data whose photos, or held-out photos, differ in name or number."""
        names = [*self.train.identity, "", *self.held_out.names]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def forget_later_rows(self) -> None:
        """Deletes the rows of stats.jsonl after the saved state, because those steps are trained again."""
        names = list(self.stages)
        if not ranks.is_first():
            return
        reached = (names.index(self.state.stage), self.state.total)
        validated = (names.index(self.state.stage), self.state.epoch)
        kept = [
            row for row in self.log.rows()
            if (names.index(row.stage), row.photos) <= reached
            and (row.kind != "validation" or (names.index(row.stage), row.epoch or 0) <= validated)
        ]  # fmt: skip
        self.gan_monitor.told = {row.texts["trouble"] for row in kept if row.kind == "warning"}
        self.log.keep(kept)

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator, "average": self.generator_ema}


def progress_bar(photos: int, done: int, title: str) -> tqdm:
    hidden = not ranks.is_first()
    form = "{desc} {percentage:3.0f}%{postfix}"  # of 80 columns, nothing is left for a drawn bar
    return tqdm(total=photos, initial=done, desc=title, bar_format=form, dynamic_ncols=True, disable=hidden)


def update(optimizers: list[Optimizer], loss: Tensor, weight: float) -> None:
    """One step of the optimisers on the mean loss of all ranks. weight: this rank's weight in it."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    values = [value for optimizer in optimizers for group in optimizer.param_groups for value in group["params"]]
    ranks.all_reduce_mean([value.grad for value in values if value.grad is not None], weight)
    for optimizer in optimizers:
        optimizer.step()


def rate_factor(progress: float, schedule: str) -> float:
    """Returns the learning rate as a share of its base, at `progress` (0 to 1) of a stage."""
    if schedule == "constant":
        return 1.0
    warm_up = 0.05
    if progress < warm_up:
        return 0.04 + 0.96 * progress / warm_up
    if schedule == "warm-up":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))


def step_generator(seed: int, epoch: int, photos: int) -> torch.Generator:
    """Returns the random generator of a step, which is independent of all other steps."""
    state = np.random.SeedSequence((seed, epoch, photos)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)
