"""python -m srgan"""

import sys

from srgan.commands.console import prepare

if __name__ == "__main__":  # before the imports that fail where a package is missing
    prepare("srgan")

from srgan.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
