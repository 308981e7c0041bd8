"""python app.py: what a Hugging Face Space runs; the same as `srgan demo`."""

import sys

from srgan.commands.console import prepare, program_as_typed

if __name__ == "__main__":  # before the imports that fail where a package is missing
    prepare("app.py")

from srgan.commands.demo import main

if __name__ == "__main__":
    sys.exit(main(program=" ".join(program_as_typed())))
