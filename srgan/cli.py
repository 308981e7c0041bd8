"""python -m srgan upscale | evaluate | push | space"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from srgan import evaluate_command
from srgan.config import OneLineParser
from srgan.data import find_photos
from srgan.errors import UserError
from srgan.files import write_whole
from srgan.hub import HubError
from srgan.images import open_rgb
from srgan.publish import check_push, push
from srgan.space import make_space
from srgan.upscaler import SHIPPED_MODEL, Upscaler


def main(argv: Sequence[str] | None = None) -> int:
    """0: done; 1: some pictures failed and were named, or the Hub did not do it; 2: wrong usage."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except UserError as error:
        print(f"srgan {arguments.command}: {error}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m srgan", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    upscale = commands.add_parser(
        "upscale", help="enlarge a picture, or a folder of them, four times", allow_abbrev=False
    )
    upscale.add_argument("input", type=Path, metavar="IN", help="a picture, or a folder searched with its subfolders")
    upscale.add_argument("output", type=Path, metavar="OUT", help="the picture to write, or the folder for PNG files")
    upscale.add_argument("--detail", type=float, default=1.0, help="0: most faithful, 1: most detailed (default: 1)")
    upscale.set_defaults(run=run_upscale)

    measure = commands.add_parser(
        "evaluate", help="measure a model on pictures: PSNR-Y, SSIM-Y, PSNR-RGB, LPIPS", allow_abbrev=False
    )
    evaluate_command.add_arguments(measure)
    measure.set_defaults(run=evaluate_command.run)

    for command in (upscale, measure):
        command.add_argument(
            "--model", default=SHIPPED_MODEL,
            help="model folder, or USER/NAME[@REVISION] of the Hugging Face Hub (default: the one that ships)",
        )  # fmt: skip
        command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        command.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")

    publish = commands.add_parser("push", help="publish a run on the Hugging Face Hub", allow_abbrev=False)
    publish.add_argument("folder", type=Path, metavar="RUN", help="run folder of train.py, or a model folder")
    publish.add_argument("repository", metavar="USER/NAME", help="made where it is not there")
    publish.set_defaults(run=run_push)

    space = commands.add_parser("space", help="make or update a Hugging Face Space with the page", allow_abbrev=False)
    space.add_argument("space", metavar="USER/NAME", help="made where it is not there")
    space.add_argument(
        "--model", default="", metavar="USER/MODEL", help="model of the Hub to show (default: the one that ships)"
    )
    space.add_argument("--hardware", default="", help="as the Hub spells it: cpu-basic, zero-a10g, t4-small, ...")
    space.set_defaults(run=run_space)

    for command in (publish, space):
        command.add_argument("--private", action="store_true", help="for you alone to see")
    return parser


def run_upscale(arguments: argparse.Namespace) -> int:
    source, target = arguments.input, arguments.output
    pairs = destinations(source, target) if source.is_dir() else {source: destination(source, target)}
    upscaler = Upscaler.load(arguments.model, arguments.device, arguments.precision)
    upscaler.check_detail(arguments.detail)
    failures = []
    for photo, place in tqdm(pairs.items(), unit=" pictures", disable=len(pairs) == 1):
        try:
            enlarged = upscaler.enlarge(open_rgb(photo), arguments.detail)
            write_whole(place, enlarged.save)
        except UserError as error:
            failures.append(str(error))
    if failures and len(pairs) == 1:
        raise UserError(failures[0])
    for failure in failures:
        print(f"srgan upscale: {failure}", file=sys.stderr)
    print(f"{len(pairs) - len(failures)} of {len(pairs)} enlarged to {target}")
    return 1 if failures else 0


def destination(photo: Path, target: Path) -> Path:
    """Where a single picture goes: `target`, or a PNG in it where it is a folder."""
    place = target / f"{photo.stem}.png" if target.is_dir() else target
    if place.resolve() == photo.resolve():
        raise UserError(f"{place} is the picture itself: name another file to write.")
    if Image.registered_extensions().get(place.suffix.lower()) not in Image.SAVE:
        raise UserError(f"{place}: Pillow cannot write pictures with that ending; name it .png, say.")
    return place


def destinations(source: Path, target: Path) -> dict[Path, Path]:
    """Every picture of a folder, and its place: a.png for a.jpg, but a.jpg.png and a.bmp.png where there are both."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the pictures.")
    results = target.resolve()
    if results == source.resolve():
        raise UserError(f"{target} holds the pictures themselves: name another folder, so that none is overwritten.")
    # Results may lie in a folder below: what is there already is not enlarged again.
    photos = [p.relative_to(source) for p in find_photos(source) if not p.resolve().is_relative_to(results)]
    stems = Counter(photo.with_suffix("") for photo in photos)
    return {
        source / photo: target
        / photo.with_suffix(".png" if stems[photo.with_suffix("")] == 1 else f"{photo.suffix}.png")
        for photo in photos
    }


def run_push(arguments: argparse.Namespace) -> int:
    if not arguments.folder.is_dir():
        raise UserError(f"{arguments.folder}: no such run folder.")
    repo_id = check_push(arguments.repository, "", arguments.private)
    try:
        push(arguments.folder, repo_id)
    except HubError as error:
        print(f"srgan push: {error}", file=sys.stderr)
        return 1
    return 0


def run_space(arguments: argparse.Namespace) -> int:
    try:
        make_space(arguments.space, arguments.model, arguments.hardware, arguments.private)
    except HubError as error:
        print(f"srgan space: {error}", file=sys.stderr)
        return 1
    return 0
