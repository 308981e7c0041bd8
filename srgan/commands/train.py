"""Train a face super-resolution GAN on a folder of photos.

    python train.py --data PHOTOS                      the fidelity stage, then the detail stage (the GAN)
    python train.py --data PHOTOS --recipe classic     the GAN alone, as documented in 2017
    python train.py --data PHOTOS --preset quick       15 minutes, from a model that ships
    python train.py --data PHOTOS --dry-run            show the first crops and the expected time, then stop
    python train.py --data PHOTOS --resume             continue a run that was stopped
    python train.py --data PHOTOS --push               and publish the model on the Hugging Face Hub
    torchrun --nproc_per_node=4 train.py --data PHOTOS train on four GPUs; --batch-size counts all of them

The run folder (--out) holds stats.jsonl, curves.png, sheet.png, the held-out photos as restored after every epoch,
and in model/ the trained model, which Upscaler.load() takes. Ctrl-C saves and stops. Exit codes: 0 done or stopped,
1 failed during the training or not published, 2 wrong usage.
"""

import dataclasses
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

from srgan import ranks
from srgan.commands.arguments import OneLineParser, parse, settings_parser
from srgan.commands.console import as_typed, short_name
from srgan.device import is_out_of_memory
from srgan.errors import UserError
from srgan.photos.choice import CropChoice, choose
from srgan.photos.collections import open_collection
from srgan.photos.crops import Crops, Photos, first_reasons, held_out_count, load_crops
from srgan.photos.held_out import near_duplicates
from srgan.photos.names import is_stream
from srgan.photos.streams import Beginning, faces_of_stream, open_source, open_stream
from srgan.photos.windows import Windows, load_windows
from srgan.publish.background import Publisher
from srgan.publish.card import draft_card
from srgan.publish.push import check_push, push
from srgan.training.config import Config, checked, flag, make_config, resume_config
from srgan.training.forecast import length, run_forecast
from srgan.training.losses import load_vgg19
from srgan.training.pace import Pace, measure_pace, within_hours
from srgan.training.presets import PRESETS, settle_init, sized
from srgan.training.run import Run, check_needs, how_to_go_on, is_finished, plan, with_network_of_init
from srgan.words import number

OWN = ("resume", "dry_run", "preset", "tensorboard", "push", "private", "push_every")
"""The arguments that are no settings of the training."""


def main(argv: Sequence[str] | None = None, program: str = "srgan train") -> int:
    """Trains a model. Returns 0 when done or stopped; 1 if it failed during training or publishing; 2 for wrong usage.

    program: the words that started it.
    """
    given = parse(argv, build_parser(program))
    own = {name: given.pop(name, None) for name in OWN}
    program = short_name(program)
    code = 2
    try:
        ranks.join()
        chosen = own["preset"] or ""
        config, given = asked(given, own)
        repository = ranks.from_first(lambda: check_publishing(own, config))
        if own["resume"] and ranks.from_first(lambda: is_finished(config)):
            refuse_new_terms(given, config)
            ranks.leave()
            print(how_to_go_on(config))
            return (
                publish(program, config, repository, bool(own["private"])) if repository and not own["dry_run"] else 0
            )
        config = decided(config)
        train, held_out = photos(config)
        pace = None
        if not own["resume"]:
            config = started(config, train.photo_count + len(held_out), chosen, given)
            config = sized(config, PRESETS[chosen], given, len(train)) if chosen else config
        if own["dry_run"]:
            ranks.from_first(lambda: check_needs(config, bool(own["resume"]), bool(own["tensorboard"])))
        if not own["resume"]:
            pace = measured(config, train, held_out, bool(own["dry_run"]))
            config = within_hours(config, pace, len(train), len(held_out)) if pace else config
        print(plan(config, train, held_out))
        if pace:
            print(length(config, pace, len(train), len(held_out)))
        if own["dry_run"]:
            ranks.from_first(lambda: print(run_forecast(config, train, held_out)))
            return 0
        run = Run(config, train, held_out, bool(own["resume"]), bool(own["tensorboard"]))
        stop_on_signals(run)
        code = 1
        publisher = Publisher(repository, own["push_every"] or 0, run.save_interim)
        try:
            trained = run.train(publisher.after_epoch)
            if trained:
                interrupt_on_signals()
        finally:
            publisher.wait()
        ranks.leave()
        print(run.finish() if trained else f"Saved. Continue with: {resume_command()}")
    except UserError as error:
        say_last(program, str(error))
        return code
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        say_last(program, "memory ran out outside a training step: free some, then continue with --resume.")
        return code
    except KeyboardInterrupt:  # before the first step or after the last; between them stop_on_signals() has it
        if code == 2:
            say_last(program, "stopped before training began.")
        else:
            say_last(
                program,
                f"stopped after the last step, before the model folder was complete: {resume_command()} completes it.",
            )
        return 1
    return publish(program, config, repository, bool(own["private"])) if trained and repository else 0


def build_parser(program: str) -> OneLineParser:
    parser = settings_parser(program, __doc__ or "")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out from its last saved state")
    parser.add_argument(
        "--preset", choices=PRESETS,
        help="how long to train: " + "; ".join(f"{name}: {preset.help}" for name, preset in PRESETS.items()),
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="time a few steps, print the plan and the expected time, write the first crops to contact.png, then stop",
    )  # fmt: skip
    parser.add_argument(
        "--push", nargs="?", const="", metavar="USER/NAME",
        help="publish the model after training (without a name: as <user>/srgan-<data folder>)",
    )  # fmt: skip
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write losses, figures and photos for TensorBoard"
    )
    parser.add_argument("--private", action="store_true", help="with --push: create the repository visible only to you")
    parser.add_argument("--push-every", type=int, metavar="N", help="with --push: also publish every N epochs")
    return parser


def asked(given: dict[str, Any], own: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Returns the settings of a new run, or those of the run to resume; and the given ones, to which a new run adds
    those of its preset and of the model that it starts from."""
    if own["resume"]:
        config = make_config(given)
        return ranks.from_first(lambda: resume_config(given, config.run_folder())), given
    of_preset = PRESETS[own["preset"]].settings | given if own["preset"] else given
    given = ranks.from_first(lambda: with_network_of_init(of_preset)) | of_preset  # places are each machine's own
    return make_config(given), given


def refuse_new_terms(given: dict[str, Any], config: Config) -> None:
    """Raises UserError if licence or terms are given for a finished run, whose card is already written."""
    if names := [flag(name) for name in ("license", "data_terms") if name in given]:
        raise UserError(
            f"{config.run_folder()} is finished, so {' and '.join(names)} would change nothing: "
            "change the card with python -m srgan push, --license and --terms."
        )


def say_last(program: str, text: str) -> None:
    if ranks.may_speak():
        print(f"{program}: {text}", file=sys.stderr)


def check_publishing(own: dict[str, Any], config: Config) -> str:
    """Returns USER/NAME to publish to, after checking everything that the Hub may refuse; "" without --push."""
    if own["push"] is None:
        if own["private"] or own["push_every"]:
            raise UserError("--private and --push-every need --push.")
        return ""
    if own["push_every"] is not None and own["push_every"] < 1:
        raise UserError(f"--push-every is {own['push_every']}; it must be at least 1.")
    card = draft_card(config)
    repository = check_push(own["push"], config.data, bool(own["private"]), card, make=not own["dry_run"])
    print(f"will be published as {repository}")
    return repository


def publish(program: str, config: Config, repository: str, private: bool) -> int:
    """Publishes the run. If that fails or is stopped, the run folder is complete, and the message tells how to publish
    it later."""
    folder = config.run_folder()
    try:
        push(folder, repository)
    except (UserError, KeyboardInterrupt) as error:
        options = ["--private"] if private else []
        later = shlex.join(["python", "-m", "srgan", "push", str(folder), repository, *options])
        reason = str(error) or "stopped."
        print(
            f"{program}: the model is trained but not published: {reason} Publish it later with: {later}",
            file=sys.stderr,
        )
        return 1
    return 0


def decided(config: Config) -> Config:
    """Returns the settings with a decision for `--crop-at auto`, and prints it."""
    if config.crop_at != "auto":
        return config
    streamed = is_stream(config.data)

    def look() -> CropChoice:
        if not streamed:
            return choose(open_collection(config.data), config.crop)
        return choose(Beginning(open_source(config.data), 0), config.crop, streamed)

    choice = ranks.from_first(look)
    print(f"--crop-at {choice.crop_at}: {choice.why}.")
    return checked(dataclasses.replace(config, crop_at=choice.crop_at))


def started(config: Config, count: int, preset: str, given: dict[str, Any]) -> Config:
    """Returns the settings with the model that the run starts from, and without VGG19 if a preset can do without it.
    Prints what was chosen."""
    config, said = settle_init(config, count, given, bool(preset) and PRESETS[preset].from_shipped)
    if said:
        print(said)
    if preset and config.needs_vgg19() and not {"vgg19", "content"} & given.keys():
        reason = ranks.from_first(vgg19_missing)
        if reason:
            print(f"Training compares pixels alone (--content mse), which gives softer pictures: {reason}", flush=True)
            return dataclasses.replace(config, content="mse")
    return config


def measured(config: Config, train: Photos, held_out: Crops, dry_run: bool) -> Pace | None:
    """Measures the speed of this machine for a dry run or a run of limited hours; returns None for other runs."""
    if not (dry_run or config.max_hours):
        return None
    try:
        return measure_pace(config, train, held_out)
    except UserError as error:
        if config.max_hours:
            raise
        print(f"The time that training takes was not measured: {error}")
        return None


def vgg19_missing() -> str:
    """Returns a sentence on why VGG19 cannot be loaded without `--vgg19`; "" if it can."""
    try:
        load_vgg19()
    except UserError as error:
        return str(error)
    return ""


def photos(config: Config) -> tuple[Photos, Crops]:
    """Returns the photos to train on and the held-out crops. Reports which photos are left out."""
    faces = config.crop_at == "faces"
    if is_stream(config.data) and not faces:
        train, held_out = open_stream(config)
        tell_skipped(held_out.skipped)
        return train, held_out
    with ranks.one_a_machine():
        if config.crop_at == "random":
            crops = load_windows(config.data, config.crop, config.reduce)
        elif is_stream(config.data):
            count = (config.photos_per_epoch or 0) + held_out_count(config.held_out, config.photos_per_epoch or 0)
            crops = faces_of_stream(config.data, config.crop, count)
        else:
            crops = load_crops(config.data, config.crop, faces)
    if ranks.is_first() and (text := what_was_found(crops, faces)):
        print(text)
    tell_skipped(crops.skipped, crops.tally.smaller_crop(config.crop), faces)
    return crops.split(config.held_out, config.held_out_by == "look")


def what_was_found(crops: Crops | Windows, faces: bool) -> str:
    """ "4,212 faces in 1,930 photos; 311 too small, 52 blurred", or "1,930 photos; 311 too small"; "" if all photos are
    used and none looks like another."""
    burst = near_duplicates(crops.looks) if crops.looks is not None else 0
    rest = [crops.tally.text(), f"near-duplicates, as in a burst: {burst:,}" if burst else ""]
    count = len(crops.names)
    photos = f"{number(count, 'face')} in {number(crops.tally.photos, 'photo')}" if faces else number(count, "photo")
    return "; ".join([photos, *filter(None, rest)]) if faces or any(rest) else ""


def tell_skipped(skipped: dict[str, str], advice: str = "", faces: bool = False) -> None:
    """Names the first photos that are left out, or of which faces are. advice: the sentence's end."""
    if skipped and ranks.is_first():
        one = len(skipped) == 1
        what = f", or faces in {'it' if one else 'them'}," if faces else ""
        verb = "is" if one else "are"
        print(
            f"{number(len(skipped), 'photo')}{what} {verb} left out: {first_reasons(skipped)}{advice}.", file=sys.stderr
        )


def stop_on_signals(run: Run) -> None:
    """Makes Ctrl-C and SIGTERM finish the step, save and stop. A second signal ends the program at once; the last saved
    state remains."""

    def stop(kind: int, _: object) -> None:
        if ranks.world_size() == 1:  # torchrun passes a Ctrl-C on that has come already; it kills after 30 seconds
            signal.signal(kind, signal.SIG_DFL)
        run.trainer.stop_requested = True

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, stop)


def interrupt_on_signals() -> None:
    """Makes signals raise KeyboardInterrupt again, because nothing checks for a request to stop from here on."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)


def resume_command() -> str:
    if ranks.world_size() > 1:
        return "the same command and --resume"
    return shlex.join([*as_typed(), *([] if "--resume" in sys.argv else ["--resume"])])
