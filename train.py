"""python train.py --data PHOTOS: the same as `srgan train`, from a checkout and under torchrun."""

import sys

from srgan.commands.console import prepare, program_as_typed

if __name__ == "__main__":  # before the imports that fail where a package is missing
    prepare("train.py")

from srgan.commands.train import main

if __name__ == "__main__":
    sys.exit(main(program=" ".join(program_as_typed())))
