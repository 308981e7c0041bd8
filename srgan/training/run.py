"""A training run and its folder: the files that are written before training, after each epoch, and at the end."""

import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from srgan import ranks
from srgan.device import choose_device, choose_dtype
from srgan.errors import UserError
from srgan.files import remove_partial, with_ending, write_whole
from srgan.hub import find_model
from srgan.measure.evaluation import BICUBIC, Restore, blends, evaluate, means, show
from srgan.measure.metrics import LPIPS
from srgan.measure.pairs import CropPictures
from srgan.model_folder import CHECKPOINTS, Model, ModelConfig, load_model, read_config, save_model
from srgan.models import Generator
from srgan.photos.crops import Crops, Photos
from srgan.photos.finding import find_photos
from srgan.pictures.images import normalize, open_rgb, reduce, to_pixels
from srgan.publish.card import write_card
from srgan.publish.facts import counted, facts, versions
from srgan.reports.page import Report, save_page
from srgan.reports.pictures import (
    epoch_folder,
    middle,
    save_comparison,
    save_curves,
    save_samples,
    save_sheet,
    sheet_columns,
)
from srgan.reports.tensorboard import Board
from srgan.training.config import NETWORK, Config, flag
from srgan.training.discriminators import make_discriminator
from srgan.training.losses import load_vgg19
from srgan.training.progress import Log
from srgan.training.records import Figures, Metrics, Origin, PhotoCounts, StatsRow, TrainingFacts
from srgan.training.trainer import NOT_SAVED, Stopped, Trainer, check_batch_size
from srgan.upscaler import Upscaler

TEST_PHOTOS = 5
"""Number of held-out photos that are restored and saved after every epoch, and shown in the sheet."""

INTERIM = "interim"
"""Subfolder with the model of an unfinished run that is being published."""

FINISHED = "finished"
"""Kind of the last row of stats.jsonl, which is written when the model folder is complete."""


def plan(config: Config, train: Photos, held_out: Crops) -> str:
    """Describes what the run will do."""
    device = choose_device(config.device)
    dtype = str(choose_dtype(device, config.precision)).removeprefix("torch.")
    first, last = held_out.names[0], held_out.names[-1]
    processes = f"{ranks.world_size()} processes, each on " if ranks.world_size() > 1 else ""
    steps = -(-len(train) // config.batch_size)
    stages = [
        f"{stage} stage: {epochs:g} epochs of {steps:,} steps of {config.batch_size} photos"
        for stage, epochs in config.stage_epochs().items()
    ]
    lines = [
        f"{len(train):,} {counted(vars(config))}, {len(held_out.names):,} held out ({first} to {last})",
        *stages,
        f"generator {parameters(Generator(config.channels, config.blocks, config.upsampling)):,} parameters, "
        f"discriminator {parameters(make_discriminator(config.judges_features())):,}",
        f"on {processes}{device.type} in {dtype}, about {expected_memory(config, dtype):.1f} GB of memory at the peak",
        f"run folder {config.run_folder()}",
    ]
    return "\n".join(lines)


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def expected_memory(config: Config, dtype: str) -> float:
    """Estimates the peak memory of each process in GB: the values that a step keeps for the backward pass, the weights,
    and the memory of the libraries.

    For each pixel of the crop and each photo, the generator keeps about 13 + 0.4 * blocks values per channel; VGG19 and
    the discriminator keep about 1,380 together in a step with the gradient penalty. benchmarks/training.md compares the
    estimate with measurements.
    """
    values = config.channels * (13 + 0.4 * config.blocks) + 1380
    photos = -(-config.batch_size // ranks.world_size())
    return 1.0 + photos * config.crop**2 * values * (2 if dtype == "bfloat16" else 4) / 1e9


def check_needs(config: Config, resume: bool, tensorboard: bool) -> None:
    """Raises UserError if a file that the run will need is missing or broken. Nothing is started."""
    folder = config.run_folder()
    if resume and not (folder / "state.pt").exists():
        raise UserError(NOT_SAVED.format(folder / "state.pt"))
    if not resume:
        refuse_begun(folder)
    check_batch_size(config)
    check_showcase(config)
    if names_model(config.init) and not resume:
        initial_model(config)
    if config.vgg19 and config.needs_vgg19():
        load_vgg19(config.vgg19)
    if config.lpips:
        LPIPS.load(config.lpips)
    if tensorboard:
        Board(folder / "tensorboard")


def refuse_begun(folder: Path) -> None:
    if (folder / "state.pt").exists():
        raise UserError(f"{folder} holds a run already: continue it with --resume, or choose another --out.")


def title_of_start(model: str) -> str:
    """Returns the name, among the figures, of the model that a run started from."""
    return f"{model}, from which it started"


def against_the_start(start: str, figures: Figures, seen: int, held_out: int) -> list[str]:
    """Returns a sentence that says whether the model is better than the one that it started from. LPIPS decides; there
    is no sentence if LPIPS was not measured, or if the model started from random weights.

    start: name of the model, or ""; seen: photos of the last stage; held_out: photos measured.
    """
    before = figures.get(title_of_start(start), {}).get("lpips")
    if before is None:
        return []
    after = figures["detail 1"]["lpips"]
    lpips = f"LPIPS {after:.4f}, {start} has {before:.4f}, on {held_out:,} held-out photos"
    if after < before:
        return [f"This model is better than its start: {lpips}."]
    return [
        f"This model is no better than its start: {lpips}. Either it has seen too few photos "
        f"({seen:,}), or its start had learned from such photos already: train it longer, or use {start}."
    ]


def check_showcase(config: Config) -> None:
    for picture in showcase_pictures(config):
        open_rgb(picture)


def showcase_pictures(config: Config) -> list[Path]:
    """Returns the pictures in the folder itself, or those below it if it has none: examples/ has a subfolder to train
    on."""
    if not config.showcase:
        return []
    pictures = find_photos(config.showcase)
    return [path for path in pictures if path.parent == Path(config.showcase)] or pictures


def is_finished(config: Config) -> bool:
    """Returns whether the run in the folder is trained to the end of these settings and has its model."""
    folder = config.run_folder()
    rows = Log(folder / "stats.jsonl").rows()
    written = (folder / "model" / "config.json").exists()
    ended = bool(rows) and rows[-1].kind == FINISHED and rows[-1].texts["epochs"] == f"{config.epochs:g}"
    return written and ended


def how_to_go_on(config: Config) -> str:
    folder = config.run_folder()
    more = "" if config.schedule == "one-cycle" else "train it for more epochs with --resume --epochs NUMBER, or "
    return (
        f"the run in {folder} is finished ({config.epochs:g} epochs) and was left as it is: {more}start another run "
        f"from its model, with --init {folder} and another --out."
    )


def names_model(init: str) -> bool:
    """Returns whether a value of `--init` names a model; "auto" counts as none until `settle_init` has settled it."""
    return init not in ("", "auto", "none")


def with_network_of_init(given: dict[str, Any]) -> dict[str, Any]:
    """Adds the network settings of the model that `init` names, unless other ones are given."""
    if not names_model(given.get("init", "")):
        return given
    source = find_model(given["init"])
    with source.named():
        found = read_config(source.folder / "config.json")
    return {name: getattr(found, name) for name in NETWORK} | given


def initial_model(config: Config) -> tuple[dict[str, dict[str, Tensor]], Origin]:
    """Returns the weight sets of `--init` and the facts for the model card. Raises UserError if they do not fit."""
    source = find_model(config.init)
    with source.named():
        model = load_model(source.folder)
    for name in NETWORK:
        if (found := getattr(model.config, name)) != getattr(config, name):
            raise UserError(f"--init {config.init} has {flag(name)} {found}: leave {flag(name)} out.")
    if model.config.back_projection and config.degrade != "clean":
        raise UserError(
            f"--init {config.init} has back-projection, which would bring the wear back: leave --degrade out, "
            'or set "back_projection" to false in a copy of its config.json.'
        )
    photos, hours = model.config.seen()
    origin: Origin = {"model": source.name, "photos": photos, "hours": round(hours, 2)}
    if model.config.back_projection:
        origin["back_projection"] = True
    data = model.config.training.get("data")
    if isinstance(data, Mapping) and data.get("terms"):
        origin["terms"] = str(data["terms"])
    return model.weights, origin


class Run:
    """A trainer and its run folder, which no other process can use while this one lives."""

    def __init__(self, config: Config, train: Photos, held_out: Crops, resume: bool, tensorboard: bool = False) -> None:
        self.config, self.train_photos, self.held_out = config, train, held_out
        self.folder = config.run_folder()
        self.versions = versions()
        self.lock = FileLock(self.folder / ".lock", timeout=0)
        check_showcase(config)  # better refused now than after the last epoch
        self.board = Board(self.folder / "tensorboard") if tensorboard and ranks.is_first() else None
        self.trainer = Trainer(config, train, held_out, self.folder)
        model = ranks.from_first(lambda: initial_model(config)) if names_model(config.init) and not resume else None
        ranks.from_first(lambda: self.take_folder(resume))
        if resume:
            self.trainer.load()
        elif model:
            self.trainer.start_from(*model)
        self.test_photos = held_out.last(TEST_PHOTOS)
        if ranks.is_first():
            self.prepare_folder(resume)

    def take_folder(self, resume: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()  # the system lets go of it when the process ends, however it ends
        except Timeout:
            raise UserError(
                f"another process is training in {self.folder}: stop it, wait until it ends, or choose another --out."
            ) from None
        except OSError as error:
            raise UserError(f"--out {self.folder} cannot be created or written to ({error.strerror}).") from None
        if not resume:
            refuse_begun(self.folder)

    def prepare_folder(self, resume: bool) -> None:
        remove_partial(self.folder)
        write_whole(self.folder / "settings.json", self.config.save)
        if not resume:  # of a run that was stopped before it had saved anything
            (self.folder / "stats.jsonl").unlink(missing_ok=True)
        self.save_references()
        if self.board is not None:
            self.board.open(self.trainer.stages, self.trainer.state.stage, self.trainer.state.total)
            self.trainer.log.listeners.append(self.board.add_row)

    def train(self, on_epoch_end: Callable[[int], object] = lambda epoch: None) -> bool:
        """Trains to the end. After each epoch it writes the run folder and calls `on_epoch_end(number)`.

        Returns False if it was asked to stop; the state is then saved.
        """

        def write(epoch: int) -> None:
            if ranks.is_first():
                self.after_epoch(epoch)
                on_epoch_end(epoch)

        try:
            self.trainer.fit(write)
        except Stopped:
            return False
        return not any(ranks.all_reduce_any(self.trainer.stop_requested))  # during the last validation

    def save_references(self) -> None:
        pixels = self.test_photos.batch(range(len(self.test_photos.names)))
        save_samples(self.folder / "samples" / "original", self.test_photos.names, pixels)
        save_samples(self.folder / "samples" / "low", self.test_photos.names, to_pixels(reduce(normalize(pixels))))

    def after_epoch(self, epoch: int) -> None:
        trainer, names = self.trainer, self.test_photos.names
        stage = trainer.state.stage
        pixels = self.test_photos.batch(range(len(names)))
        original = normalize(pixels).to(trainer.device)
        with torch.inference_mode():
            restored = to_pixels(trainer.restore(reduce(original)))
        samples = self.folder / "samples"
        save_samples(samples / epoch_folder(stage, epoch), names, restored)
        save_curves(trainer.history, self.folder / "curves.png")
        epochs = {name: trainer.epochs(name) for name in trainer.stages}
        save_sheet(samples, sheet_columns(epochs, stage, epoch), names, self.folder / "sheet.png")
        self.save_report({"bicubic": self.bicubic, f"after epoch {epoch}": trainer.history[-1].values}, finished=False)
        if self.board is not None:
            self.board.add_pictures(stage, trainer.state.total, {"restored": restored, "original": pixels})
        compared = stage == "detail" and (stage, epoch) == middle(epochs)  # with the last, in the sheet
        if epoch % self.config.checkpoint_every == 0 or compared:
            self.save_checkpoint(epoch)

    def finish(self) -> str:
        """Measures the model at detail 0, 0.5 and 1, writes the model folder, and returns a message that names it."""
        folder, model = self.folder / "model", self.model()
        upscaler = Upscaler(model, folder.name, self.config.device, self.config.precision)
        figures = self.measure(BICUBIC | self.start() | blends(upscaler))
        pictures = self.save_showcase(upscaler, folder)
        self.save_model(folder, self.folder.name, model, figures, pictures)
        self.save_report(figures, finished=True)
        shutil.rmtree(self.folder / INTERIM, ignore_errors=True)
        state = self.trainer.state
        self.trainer.log.add(StatsRow(FINISHED, state.stage, state.total, texts={"epochs": f"{self.config.epochs:g}"}))
        best = "\n".join(f"{name}: {show(row)}" for name, row in figures.items())
        start = self.trainer.origin["model"] if self.trainer.origin else ""
        verdict = against_the_start(start, figures, state.total, len(self.held_out))
        return "\n".join([best, *verdict, f"Model folder: {folder}"])

    def start(self) -> dict[str, Restore]:
        """Returns the model that the run started from, at detail 1; empty if there is none, or if it no longer
        exists."""
        if not names_model(self.config.init):
            return {}
        try:
            weights, origin = initial_model(self.config)
        except UserError:
            return {}
        network = {name: getattr(self.config, name) for name in NETWORK}
        config = ModelConfig(**network, back_projection=origin.get("back_projection", False))
        upscaler = Upscaler(Model(config, weights, {}), origin["model"], self.config.device)
        return {title_of_start(origin["model"]): blends(upscaler)["detail 1"]}

    def save_report(self, figures: Figures, finished: bool) -> None:
        """Writes report.html. figures: the figures of each system on the held-out photos."""
        trainer = self.trainer
        epochs = {name: trainer.epochs(name) for name in trainer.stages}
        last = trainer.history[-1]
        report = Report(
            name=self.folder.name, training=self.facts(), epochs=epochs, history=trainer.history,
            rows=trainer.log.rows(), figures=figures, samples=self.folder / "samples",
            columns=sheet_columns(epochs, last.stage, last.epoch), photos=self.test_photos.names,
            finished=finished,
        )  # fmt: skip
        save_page(report, self.folder / "report.html")

    def save_interim(self) -> Path:
        """Writes the current model to be published during training."""
        return self.save_snapshot(self.folder / INTERIM, self.folder.name)

    def save_checkpoint(self, epoch: int) -> Path:
        """Writes the model of an epoch, which is kept: `--init` can start from it, and `push` tags it."""
        folder = self.folder / CHECKPOINTS / epoch_folder(self.trainer.state.stage, epoch)
        return self.save_snapshot(folder, f"{self.folder.name}, epoch {epoch}")

    def save_snapshot(self, folder: Path, name: str) -> Path:
        """Writes a model folder with the current weights and the figures of the last validation."""
        last = self.trainer.history[-1].values
        figures = {name: last[name] for name in self.bicubic if name in last}
        self.save_model(folder, name, self.model(), {"bicubic": self.bicubic, "detail 1": figures}, [])
        return folder

    def model(self) -> Model:
        """Returns the current weights with the facts about their training."""
        trainer = self.trainer
        weights = {"detail": trainer.generator_ema.state_dict()}
        if trainer.fidelity is not None:
            weights["fidelity"] = trainer.fidelity
        network = {name: getattr(self.config, name) for name in NETWORK}
        back_projection = bool(trainer.origin and trainer.origin.get("back_projection"))
        config = ModelConfig(
            **network, back_projection=back_projection, recipe=self.config.recipe, training=self.facts()
        )
        return Model(config, weights, {})

    def facts(self) -> TrainingFacts:
        """Returns the facts about the training so far."""
        trainer = self.trainer
        before = list(trainer.stages)[: list(trainer.stages).index(trainer.state.stage)]
        seen = {**{name: trainer.stages[name] for name in before}, trainer.state.stage: trainer.state.total}
        photos: PhotoCounts = {
            "train": len(self.train_photos), "held_out": len(self.held_out.names), "seen": seen
        }  # fmt: skip
        training = facts(self.config, photos, trainer.state.seconds, self.versions)
        if trainer.origin:
            training["started_from"] = trainer.origin
        return training

    def save_model(self, folder: Path, name: str, model: Model, figures: Figures, pictures: list[str]) -> None:
        history = self.trainer.history
        metrics: Metrics = {
            "photos": len(self.held_out.names), "figures": figures,
            "history": [row.to_json() for row in history],
        }  # fmt: skip
        save_curves(history, folder / "curves.png")
        card = write_card(name, self.facts(), metrics, pictures, "fidelity" in model.weights)
        save_model(folder, Model(model.config, model.weights, metrics), card)

    @cached_property
    def bicubic(self) -> dict[str, float]:
        return self.measure(BICUBIC)["bicubic"]

    def measure(self, systems: Mapping[str, Restore]) -> Figures:
        trainer = self.trainer
        return means(evaluate(systems, CropPictures(self.held_out), trainer.lpips, trainer.device))

    def save_showcase(self, upscaler: Upscaler, folder: Path) -> list[str]:
        """Saves the publishable pictures before and after, for the card. Returns their paths inside the model
        folder."""
        pictures = showcase_pictures(self.config)
        names = [f"samples/{name}" for name in with_ending([Path(path.name) for path in pictures], "png")]
        for path, name in zip(pictures, names, strict=True):
            save_comparison(open_rgb(path), upscaler, folder / name)
        return names
