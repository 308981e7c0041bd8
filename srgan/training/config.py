"""Every training setting, defined once: the dataclass and the recipes that preset it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from srgan.errors import UserError
from srgan.models import LARGEST, SCALE, Upsampling
from srgan.photos.names import data_name, is_stream

LARGEST_REDUCTION = 16


def setting(default: Any, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a training run. Raises UserError for impossible values."""

    data: str = setting(
        "",
        "training photos: a folder (subfolders included), a .zip, tar shards to stream such as "
        "'shards/{0000..0999}.tar', or a Hub data set to stream, hf://USER/NAME (required)",
    )
    out: str = setting("", "run folder (default: runs/<name of the data folder>-<recipe>)")
    recipe: Literal["default", "classic"] = setting(
        "default",
        "default: a fidelity stage, then a detail stage (the GAN) from its weights; classic: the GAN alone, as "
        "documented in 2017",
    )
    epochs: float = setting(60, "passes over the photos in the detail stage, which trains the GAN; 0.5 is half a pass")
    fidelity_epochs: float | None = setting(
        None,
        "passes over the photos in the fidelity stage, which comes first; 0 skips it (default: the same as "
        "--epochs; classic: 0)",
    )
    init: str = setting(
        "auto",
        "model to start from: a folder or USER/NAME. Training starts from its fidelity weights; with --fidelity-"
        "epochs 0 it starts from its detail weights and keeps the fidelity weights. none: random weights; auto: a "
        "model that ships if there are fewer than 200 photos, else random weights (classic: random weights)",
    )
    max_hours: float | None = setting(
        None,
        "hours that the run may take. A few steps are timed, and both stages are shortened so that the run ends in "
        "time. The learning rates fall to 0 by then (--schedule one-cycle)",
    )
    batch_size: int = setting(16, "photos per step")
    seed: int = setting(0, "seed of all random numbers; the same seed repeats the run")
    held_out: int | None = setting(
        None,
        "number of photos kept for testing and never trained on: the last by name, or the first of a stream "
        "(default: 5 %%, at most 500; with fewer than 400 photos a fifth, at most 20; classic: 5)",
    )
    held_out_by: Literal["look", "name"] = setting(
        "look",
        "look: photos that look alike, such as those of a burst, are held out together or not at all, because the "
        "figures would be too good otherwise; name: the last photos by name (classic)",
    )
    photos_per_epoch: int | None = setting(
        None,
        "photos per epoch, required for tar shards and hf://, because the program cannot count those",
    )
    workers: int = setting(4, "processes per GPU that read and decode photos, for tar shards and hf:// only")
    crop: int = setting(128, "side in pixels of the square that is cut from each photo")
    crop_at: Literal["auto", "centre", "faces", "random"] = setting(
        "auto",
        "where the square is cut. centre: in the middle, for aligned faces; faces: each face that is found, upright, "
        "reduced and framed alike, for photos of people; random: at random places with random quarter turns, as many "
        "per epoch as fit into the photo side by side, for any photos; auto: what fits the photos (classic: centre)",
    )
    blocks: int = setting(16, "residual blocks of the generator")
    channels: int = setting(64, "feature channels of the generator")
    upsampling: Upsampling = setting(
        "stepwise",
        "how the generator's features become pixels. stepwise: two sub-pixel convolutions and a 9x9 convolution, as in "
        "the SRGAN paper; direct: one sub-pixel convolution, so that twice the --blocks take the same time",
    )
    jitter: float = setting(0.0, "largest random change of saturation, contrast, brightness and hue (classic: 0.05)")
    reduce: float | Literal["auto"] = setting(
        "auto",
        "with --crop-at random: cut squares up to this many times larger than --crop, by a random factor, and "
        "reduce them to --crop, so that the model learns things of every size; 1: reduce none; auto: reduce each "
        "photo first until it is sharp, then cut squares up to 4 times larger",
    )
    degrade: Literal["clean", "copy", "web", "old", "any"] = setting(
        "clean",
        "wear of the small copies that the model learns to restore. clean: bicubic copies only; copy: reduced by box, "
        "bilinear, bicubic or Lanczos filters, otherwise clean; web: as web sites and messengers leave them (blur, "
        "noise, JPEG); old: as scans of old photos, many of them grey; any: a mix of all",
    )
    content: Literal["perceptual", "vgg54", "mse"] = setting(
        "perceptual",
        "what the content loss of the detail stage compares. perceptual: VGG19 features of several depths (L1, "
        "before activation); vgg54: conv5_4 alone (MSE, after activation; classic); mse: pixels",
    )
    discriminator: Literal["auto", "features", "patches"] = setting(
        "auto",
        "what the discriminator sees. features: VGG19 features of the restored photo and of the original; "
        "patches: patches of the photo itself (classic); auto: features with --content perceptual, else patches",
    )
    ssim_weight: float = setting(0.1, "weight of 1 - SSIM beside the L1 loss of the fidelity stage")
    adversarial_weight: float = setting(0.1, "weight of the adversarial loss (classic: 1e-3)")
    pixel_weight: float = setting(0.1, "weight of an L1 loss on pixels in the detail stage (classic: 0)")
    grid_weight: float = setting(
        2.5,
        "weight of a loss against visible cells of 4x4 pixels and patterns that repeat in them, in the detail stage "
        "(classic: 0)",
    )
    shade_weight: float = setting(
        0.0,
        "weight of an L1 loss on coarse shades in the detail stage, against blotches of other colours "
        "(weights/photos: 4)",
    )
    penalty_weight: float = setting(
        10.0,
        "weight of the gradient penalty that keeps --discriminator features stable; 0: none",
    )
    shift: int = setting(
        8,
        "VGG19 and the discriminator see a window this many pixels smaller than the crop, at a random place, so "
        "that their strides do not always meet the same pixels (classic: 0)",
    )
    optimizer: Literal["muon", "adam"] = setting(
        "muon",
        "optimizer of the generator in the fidelity stage and of the discriminator; the generator always uses "
        "Adam in the detail stage (classic: adam)",
    )
    fidelity_lr: float = setting(1.5e-3, "learning rate of the fidelity stage; 5e-4 works well with --optimizer adam")
    lr: float = setting(1e-4, "learning rate of the generator in the detail stage")
    discriminator_lr: float = setting(
        5e-4,
        "learning rate of the discriminator; 1e-4 works well with --optimizer adam (classic: 1e-4)",
    )
    fidelity_schedule: Literal["one-cycle", "warm-up", "constant"] = setting(
        "one-cycle",
        "learning rate over the fidelity stage. one-cycle: rises for 5 %%, then falls to 0 along a cosine; warm-"
        "up and constant: see --schedule",
    )
    schedule: Literal["warm-up", "one-cycle", "constant"] = setting(
        "warm-up",
        "learning rate over the detail stage. warm-up: rises for 5 %%, then stays constant, which suits averaged "
        "weights; one-cycle: see --fidelity-schedule; constant: constant from the start (classic)",
    )
    ema_half_life: int = setting(
        10_000,
        "half-life, in photos, of the moving average of the generator's weights, which is the model that is "
        "saved; 0: no average (classic)",
    )
    head_start: int = setting(
        0,
        "photos at the beginning of the detail stage on which only the discriminator is trained, at twice its "
        "rate: a new discriminator would lead a good generator astray",
    )
    keep_start: float = setting(
        0.0,
        "share of the detail weights of --init in the averaged weights that are saved, for short runs with "
        "--fidelity-epochs 0; 0: none",
    )
    checkpoint_every: int = setting(20, "epochs between checkpoints that are kept")
    save_minutes: float = setting(10.0, "minutes between saves of the state that --resume continues from")
    vgg19: str = setting(
        "",
        "VGG19 weights file, .safetensors or torchvision's .pth (default: torchvision downloads it)",
    )
    lpips: str = setting("", "LPIPS v0.1 AlexNet weights file, .safetensors: adds LPIPS to the validation")
    showcase: str = setting("", "folder of pictures that may be published: the model card shows them before and after")
    data_terms: str = setting("", "terms of the training photos, one sentence for the model card")
    license: str = setting("", "licence of the model for its card, as the Hub spells it: mit, cc-by-nc-4.0, other, ...")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "where to train")
    precision: Literal["auto", "bf16", "fp32"] = setting(
        "auto",
        "number format of the networks; auto: bf16 where the chip is fast at it, else fp32",
    )

    def __post_init__(self) -> None:
        for name in ("batch_size", "blocks", "channels", "checkpoint_every", "held_out", "photos_per_epoch"):
            self._require(name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1")
        for name in (
            "fidelity_epochs",
            "jitter",
            "ssim_weight",
            "adversarial_weight",
            "pixel_weight",
            "grid_weight",
            "shade_weight",
            "penalty_weight",
            "head_start",
            "ema_half_life",
            "save_minutes",
            "workers",
        ):
            self._require(name, 0 <= (getattr(self, name) or 0) < math.inf, "0 or more, and finite")
        for name in ("epochs", "lr", "discriminator_lr", "fidelity_lr"):
            self._require(name, 0 < getattr(self, name) < math.inf, "more than 0, and finite")
        self._require("max_hours", self.max_hours is None or 0 < self.max_hours < math.inf, "more than 0, and finite")
        features = self.discriminator != "features" or self.content == "perceptual"
        self._require("content", features, "perceptual for --discriminator features")
        self._require("jitter", self.jitter <= 0.5, "at most 0.5")
        self._require("keep_start", 0 <= self.keep_start < 1, "0 or more, and less than 1")
        reduce = self.reduce == "auto" or 1 <= float(self.reduce) <= LARGEST_REDUCTION
        self._require("reduce", reduce, f"auto, or between 1 and {LARGEST_REDUCTION}")
        self._require("seed", 0 <= self.seed < 2**63, "between 0 and 2**63 - 1")
        self._require("crop", self.crop >= 32 and self.crop % SCALE == 0, f"a multiple of {SCALE}, at least 32")
        self._require("shift", 0 <= self.shift <= self.crop // 4, "0 or more, and at most a quarter of --crop")
        for name, most in LARGEST.items():
            self._require(name, getattr(self, name) <= most, f"at most {most}")
        for name, kind in get_type_hints(Config).items():
            if choices := get_args(kind) if getattr(kind, "__origin__", None) is Literal else ():
                self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            raise UserError(f"{flag(name)} is {getattr(self, name)!r}; it must be {wanted}.")

    def run_folder(self) -> Path:
        return Path(self.out or Path("runs") / f"{data_name(self.data)}-{self.recipe}")

    def judges_features(self) -> bool:
        return self.content == "perceptual" and self.discriminator != "patches"

    def stage_epochs(self) -> dict[str, float]:
        """Epochs of the stages, in order, without stages of 0 epochs."""
        fidelity = self.epochs if self.fidelity_epochs is None else self.fidelity_epochs
        return {name: count for name, count in (("fidelity", fidelity), ("detail", self.epochs)) if count}

    def needs_vgg19(self) -> bool:
        return "detail" in self.stage_epochs() and self.content != "mse"

    def save(self, path: Path) -> None:
        settings = {"version": VERSION, **dataclasses.asdict(self)}
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "classic": {
        "fidelity_epochs": 0,
        "batch_size": 30,
        "held_out": 5,
        "held_out_by": "name",
        "init": "",
        "crop_at": "centre",
        "jitter": 0.05,
        "content": "vgg54",
        "adversarial_weight": 1e-3,
        "pixel_weight": 0.0,
        "grid_weight": 0.0,
        "shift": 0,
        "optimizer": "adam",
        "lr": 1e-4,
        "discriminator_lr": 1e-4,
        "schedule": "constant",
        "ema_half_life": 0,
    },
}
"""The presets of each recipe. Settings on the command line take precedence."""

FREE_ON_RESUME = frozenset(
    {
        "data", "out", "vgg19", "lpips", "showcase", "data_terms", "license", "device", "precision", "save_minutes",
        "batch_size", "epochs",
    }
)  # fmt: skip
"""Settings that may differ when a run is resumed: places and hardware, but not what is trained. The batch size is
among them, because schedules and positions count photos. `Trainer.load` refuses a number of epochs that would change
past learning rates."""


UNDECIDED = (("crop_at", "auto"), ("init", "auto"))
"""Settings that may be "auto". The run's folder holds what was decided when it was started."""

NETWORK = ("channels", "blocks", "upsampling")
"""The settings that a generator is built from."""

VERSION = 5
"""Version of a run's settings and state. Raise it if this program would train an existing run differently: if a
setting or its default changes its meaning, or if the content of state.pt changes."""


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def make_config(given: dict[str, Any]) -> Config:
    """Combines the defaults, the recipe and the given settings, in increasing precedence."""
    limited = {"schedule": "one-cycle"} if given.get("max_hours") else {}
    config = Config(**{**RECIPES.get(given.get("recipe", "default"), {}), **limited, **given})
    if not config.data:
        raise UserError("--data is missing: name the folder of photos to train on.")
    if is_stream(config.data) and config.photos_per_epoch is None:
        raise UserError(
            f"--data {config.data} is streamed and does not tell how many photos it holds: add --photos-per-epoch."
        )
    if config.photos_per_epoch is not None and not is_stream(config.data):
        raise UserError(
            "--photos-per-epoch is only for tar shards and hf://: an epoch of a folder is the whole folder."
        )
    return checked(config)


def checked(config: Config) -> Config:
    """Returns the settings unchanged. Raises UserError if --crop-at does not go with the photos or with --reduce."""
    if config.crop_at == "random" and is_stream(config.data):
        raise UserError("--crop-at random is only for a folder or a zip: streamed photos are cropped in the middle.")
    if config.reduce not in ("auto", 1.0) and config.crop_at not in ("auto", "random"):
        raise UserError("--reduce needs --crop-at random: other crops are not reduced.")
    return config


def resume_config(given: dict[str, Any], folder: Path) -> Config:
    """Returns the settings saved in a run's folder, with the given ones where a change is allowed.

    Raises UserError if there are no saved settings, if another version of this program has written them, and for a
    given setting that may not change.
    """
    saved = saved_config(folder)
    given = {name: value for name, value in given.items() if (name, value) not in UNDECIDED}
    for name, value in given.items():
        if name not in FREE_ON_RESUME and value != getattr(saved, name):
            raise UserError(
                f"{flag(name)} {value} differs from the run in {folder} ({getattr(saved, name)}): leave it out."
            )
    changed = {name: value for name, value in given.items() if name in FREE_ON_RESUME}
    if saved.fidelity_epochs is None and changed.get("epochs", saved.epochs) != saved.epochs:
        changed["fidelity_epochs"] = saved.epochs  # the additional epochs belong to the detail stage
    return dataclasses.replace(saved, **changed)


def saved_config(folder: Path) -> Config:
    path = folder / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("it holds no settings")
        version = settings.pop("version", 0)
        if version == VERSION:
            return Config(**settings)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no run to resume: leave out --resume to start one.") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}).") from None
    raise UserError(
        f"{path} was written by another version of this program (version {version} of the settings; this program has "
        f"version {VERSION}): continue with that program, or start another run, with --init {folder} if this run has a "
        "model."
    )
