"""`srgan COMMAND` and `python -m srgan COMMAND`."""

import sys

from srgan.commands.console import prepare, program_as_typed


def start() -> int:
    prepare("srgan")  # before the imports that fail where a package is missing
    from srgan.commands.cli import main

    return main(program=" ".join(program_as_typed()))


if __name__ == "__main__":
    sys.exit(start())
