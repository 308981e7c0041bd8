"""Enlarge pictures; measure, export, train and publish models; serve the page."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from srgan.commands import doctor, evaluate, export, upscale
from srgan.commands.arguments import OneLineParser
from srgan.device import CHIPS
from srgan.errors import UserError
from srgan.hub import HubError
from srgan.model_folder import read_config
from srgan.publish.card import restate, restated
from srgan.publish.push import check_push, model_folder, push
from srgan.publish.space import make_space
from srgan.upscaler import SHIPPED_MODEL

PROGRAMS = {
    "train": "train a model on your own photos; also python train.py",
    "demo": "serve the page on this computer; also python app.py",
}
"""Commands that have command lines of their own and import what they need."""


def main(argv: Sequence[str] | None = None, program: str = "srgan") -> int:
    """Runs a command. Returns 0 if it is done; 1 if it was stopped, if some pictures failed, or if the Hub refused; 2
    for wrong usage.

    program: the words that started it, for messages about usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in PROGRAMS:
        return importlib.import_module(f"srgan.commands.{words[0]}").main(words[1:], f"{program} {words[0]}")
    arguments = build_parser(program).parse_args(upscale.with_suffix_joined(words))
    try:
        return arguments.run(arguments)
    except UserError as error:
        print(f"srgan {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"srgan {arguments.command}: stopped; run the same command again to complete the work.", file=sys.stderr)
        return 1


def build_parser(program: str) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=program, description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    upscaling = commands.add_parser(
        "upscale", help="enlarge pictures, four times or to another size", allow_abbrev=False
    )
    upscale.add_arguments(upscaling)
    upscaling.set_defaults(run=upscale.run)

    measuring = commands.add_parser(
        "evaluate", help="measure a model on pictures: PSNR-Y, SSIM-Y, PSNR-RGB, LPIPS", allow_abbrev=False
    )
    evaluate.add_arguments(measuring)
    measuring.set_defaults(run=evaluate.run)

    exporting = commands.add_parser("export", help="write the network as an ONNX file", allow_abbrev=False)
    export.add_arguments(exporting)
    exporting.set_defaults(run=export.run)

    upscaling.add_argument(
        "--model", help="model folder, or USER/NAME[@REVISION] of the Hugging Face Hub (default: see --wear)"
    )
    for command in (measuring, exporting):
        command.add_argument(
            "--model", default=SHIPPED_MODEL,
            help="model folder, or USER/NAME[@REVISION] of the Hugging Face Hub (default: weights/photos, which ships)",
        )  # fmt: skip
    for command in (upscaling, measuring):
        add_chip(command)

    publish = commands.add_parser("push", help="publish a run on the Hugging Face Hub", allow_abbrev=False)
    add_push_arguments(publish)
    publish.set_defaults(run=run_push)

    space = commands.add_parser("space", help="create or update a Hugging Face Space with the page", allow_abbrev=False)
    add_space_arguments(space)
    space.set_defaults(run=run_space)

    checking = commands.add_parser(
        "doctor", help="print what a problem report needs: versions, chips, speed and folders", allow_abbrev=False
    )
    checking.set_defaults(run=doctor.run)
    add_chip(checking)

    for name, text in PROGRAMS.items():  # for --help: `main` does not come here with them
        commands.add_parser(name, help=text, add_help=False)
    return parser


def add_push_arguments(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("folder", type=Path, metavar="RUN", help="a run folder of train.py, or a model folder")
    publish.add_argument("repository", metavar="USER/NAME", help="repository; created if it does not exist")
    publish.add_argument("--license", default="", help="change the model's licence; spelled as on the Hub: mit, ...")
    publish.add_argument("--terms", default="", help="change the terms of the training photos, one sentence")
    add_private(publish)


def add_space_arguments(space: argparse.ArgumentParser) -> None:
    space.add_argument("space", metavar="USER/NAME", help="the Space; created if it does not exist")
    space.add_argument(
        "--model", default="", metavar="USER/MODEL",
        help="model on the Hub, or a model folder, which is uploaded too (default: the models that ship)",
    )  # fmt: skip
    space.add_argument(
        "--hardware", default="", help="hardware, spelled as on the Hub: cpu-basic, zero-a10g, t4-small, ..."
    )
    space.add_argument(
        "--replace", action="store_true", help="take over a Space of another program and delete its files"
    )
    add_private(space)


def add_private(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--private", action="store_true", help="create it visible only to you")


def add_chip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", *CHIPS), default="auto",
        help="where the network runs; auto: the first chip that works, else the CPU (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("auto", "bf16", "fp32"), default="auto",
        help="number format of the network; auto: bf16 where the chip is fast at it, else fp32 (default: auto)",
    )  # fmt: skip


def run_push(arguments: argparse.Namespace) -> int:
    if not arguments.folder.is_dir():
        raise UserError(f"{arguments.folder}: no such run folder.")
    folder = model_folder(arguments.folder)
    place, license, terms = folder / "README.md", arguments.license, arguments.terms
    read_config(folder / "config.json")  # before anything is asked of the Hub
    card = restated(place.read_text(encoding="utf-8"), license, terms) if place.is_file() else ""
    repo_id = check_push(arguments.repository, "", arguments.private, card)
    if license or terms:
        restate(folder, card, license, terms)
    try:
        push(arguments.folder, repo_id)
    except HubError as error:
        print(f"srgan push: {error}", file=sys.stderr)
        return 1
    return 0


def run_space(arguments: argparse.Namespace) -> int:
    try:
        make_space(arguments.space, arguments.model, arguments.hardware, arguments.private, arguments.replace)
    except HubError as error:
        print(f"srgan space: {error}", file=sys.stderr)
        return 1
    return 0
