"""Builds command lines: a parser that reports errors in one sentence, and a flag for each training setting."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args, get_type_hints

from srgan.commands.console import short_name
from srgan.training.config import Config, flag

EVERYDAY = frozenset(
    {
        "data", "out", "recipe", "epochs", "fidelity_epochs", "init", "batch_size", "held_out", "photos_per_epoch",
        "crop", "crop_at", "reduce", "degrade", "vgg19", "lpips", "showcase", "data_terms", "license", "device",
    }
)  # fmt: skip
"""Settings that a first run may need; --help lists them before all others."""


class OneLineParser(argparse.ArgumentParser):
    """Reports wrong usage in one sentence and ends with exit code 2, without printing the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{short_name(self.prog)}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuses unknown arguments here. argparse would leave a subcommand's unknown arguments to the parser of the
        whole program, whose message would point at the wrong --help."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def settings_parser(prog: str, description: str) -> OneLineParser:
    """Makes a parser with a flag for each setting. Settings that are not given are absent from its result."""
    parser = OneLineParser(
        prog=prog, usage=f"{prog} --data PHOTOS [settings]",
        description=description, allow_abbrev=False, argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    kinds = get_type_hints(Config)
    everyday = parser.add_argument_group("everyday settings")
    expert = parser.add_argument_group("expert settings", "The defaults work well; change one at a time.")
    for field in dataclasses.fields(Config):
        kind, text = kinds[field.name], field.metadata["help"]
        group = everyday if field.name in EVERYDAY else expert
        if getattr(kind, "__origin__", None) is Literal:
            group.add_argument(flag(field.name), choices=get_args(kind), help=f"{text} (default: {field.default})")
            continue
        kinds_of = [part for part in get_args(kind) or (kind,) if part is not type(None)]
        words = {word for part in kinds_of for word in get_args(part)}
        plain = next(part for part in kinds_of if not get_args(part))
        shown = f" (default: {field.default})" if field.default not in ("", None) else ""
        group.add_argument(
            flag(field.name), type=or_word(plain, words), help=text + shown, metavar=plain.__name__.upper()
        )
    return parser


def or_word(kind: type, words: set[str]) -> Callable[[str], Any]:
    """Returns a function that reads a value of the kind, and takes some words, such as "auto", as they are."""

    def read(text: str) -> Any:
        return text if text in words else kind(text)

    read.__name__ = kind.__name__  # argparse names it where a value cannot be read
    return read


def parse(argv: Sequence[str] | None, parser: OneLineParser) -> dict[str, Any]:
    return vars(parser.parse_args(argv))
