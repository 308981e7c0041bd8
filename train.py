"""Train a face super-resolution GAN on a folder of photos.

    python train.py --data PHOTOS                      fidelity first, then the GAN from those weights
    python train.py --data PHOTOS --recipe classic     the GAN alone, as documented in 2017
    python train.py --data PHOTOS --dry-run            print the plan and stop
    python train.py --data PHOTOS --resume             go on with a run that was stopped

The run folder (--out) gets stats.jsonl, curves.png, sheet.png, the held-out photos as restored after every epoch,
and in model/ what Upscaler.load() takes. Ctrl-C saves and stops. Exit codes: 0 done or stopped,
1 failed on the way, 2 wrong usage.
"""

import shlex
import signal
import sys

from srgan.config import Config, build_parser, make_config, parse, resume_config
from srgan.data import Crops, first_reasons, load_crops
from srgan.errors import UserError
from srgan.run import Run, plan


def main() -> int:
    parser = build_parser("train.py", __doc__)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out from its last saved state")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    given = parse(None, parser)
    resume, dry_run = given.pop("resume", False), given.pop("dry_run", False)
    code = 2
    try:
        config = make_config(given)
        if resume:
            config = resume_config(given, config.run_folder())
        train, held_out = photos(config)
        print(plan(config, train, held_out))
        if dry_run:
            return 0
        run = Run(config, train, held_out, resume)
        stop_on_signals(run)
        code = 1
        print(run.finish() if run.train() else f"Saved. Go on with: {resume_command()}")
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return code
    return 0


def photos(config: Config) -> tuple[Crops, Crops]:
    """The crops to train on and those held out; says which photos are left out."""
    crops = load_crops(config.data, config.crop)
    if crops.skipped:
        print(f"{len(crops.skipped)} photos are left out: {first_reasons(crops.skipped)}.", file=sys.stderr)
    return crops.split(config.held_out)


def stop_on_signals(run: Run) -> None:
    """Ctrl-C and SIGTERM finish the step, save and stop; a second one stops at once, with the last saved state."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        run.trainer.stop_requested = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def resume_command() -> str:
    return shlex.join(["python", *sys.argv, *([] if "--resume" in sys.argv else ["--resume"])])


if __name__ == "__main__":
    sys.exit(main())
