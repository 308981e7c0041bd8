"""Train a face super-resolution GAN on a folder of photos.

    python train.py --data PHOTOS                      train: fidelity first, then the GAN
    python train.py --data PHOTOS --recipe classic     the GAN alone, as documented in 2017
    python train.py --data PHOTOS --dry-run            print the plan and stop
    python train.py --data PHOTOS --resume             go on with a run that was stopped
"""

import signal
import sys

from srgan.config import build_parser, make_config, parse, resume_config
from srgan.data import load_crops
from srgan.errors import UserError
from srgan.training import Stopped, Trainer


def main() -> int:
    parser = build_parser("train.py", __doc__)
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out from its last saved state")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    given = parse(None, parser)
    resume, dry_run = given.pop("resume", False), given.pop("dry_run", False)
    try:
        config = make_config(given)
        folder = config.run_folder()
        if resume:
            config = resume_config(given, folder)
        crops = load_crops(config.data, config.crop)
        train, held_out = crops.split(config.held_out)
        folder.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config, train, held_out, folder)
        config.save(folder / "settings.json")
        if resume:
            trainer.load()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(trainer, "stop_requested", True))
        for epoch in trainer.advance():
            pass
    except Stopped:
        print("stopped; go on with --resume")
        return 0
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
