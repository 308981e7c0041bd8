"""Runs app.py with a network that waits while the file HOLD exists, and keeps files for KEPT seconds."""

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.commands import demo as app
from srgan.page import served_files
from srgan.upscaler import Upscaler

enlarge_timed = Upscaler.enlarge_timed


def held(*arguments: Any, **options: Any) -> Any:
    while Path(os.environ["HOLD"]).exists():
        time.sleep(0.02)
    return enlarge_timed(*arguments, **options)


Upscaler.enlarge_timed = held
served_files.KEPT_SECONDS = float(os.environ.get("KEPT", served_files.KEPT_SECONDS))

if __name__ == "__main__":
    sys.exit(app.main(program="app.py"))
