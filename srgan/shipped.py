"""The folders of the weights and example pictures that ship: beside the package in a checkout, inside it once
installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent

ROOT = PACKAGE.parent if (PACKAGE.parent / "weights" / "face-detector").is_dir() else PACKAGE

WEIGHTS = ROOT / "weights"

EXAMPLES = ROOT / "examples"
