"""A user with a home folder, a token and a Hub, and the rules that every command must keep."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_hub import READ_ONLY, STRANGER, TOKEN, FakeHub
from fresh_process import Result, run

REPO = "alice/faces"
SHOW = """
import sys, numpy, PIL.Image
from srgan import Upscaler, UserError
picture = PIL.Image.fromarray(numpy.arange(432, dtype=numpy.uint8).reshape(12, 12, 3))
for model in sys.argv[2:]:
    try:
        upscaler = Upscaler.load(model, precision="fp32")
        print(upscaler.name, upscaler.commit)
        print(upscaler.enlarge(picture).tobytes().hex())
    except UserError as error:
        print(f"refused: {error}")
"""


class Desk:
    """A user with a separate home folder, a token and a Hub."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub, self.folder = hub, folder
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder), "HF_HOME": str(folder / "hf"), "SRGAN_CACHE": str(folder / "cache"),
            "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def run(self, *arguments: str | Path, **environment: str | None) -> Result:
        """Runs a command. Checks that its output has no token and no traceback."""
        settings = {**self.environment, **environment}
        result = run([str(a) for a in arguments], {k: v for k, v in settings.items() if v is not None}, self.folder)
        for token in (TOKEN, READ_ONLY, STRANGER):
            assert token not in result.out + result.err
        assert "Traceback" not in result.err, result.err
        return result

    def check_token_unseen(self) -> None:
        """Checks that the token is in no file and in no request's address or body."""
        for request, body in self.hub.requests:
            assert TOKEN not in request and TOKEN.encode() not in body
        for path in self.folder.rglob("*"):
            assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path

    def push(self, folder: Path, *options: str, **environment: str | None) -> Result:
        return self.run("-m", "srgan", "push", folder, REPO, *options, **environment)

    def load(self, *models: str | Path, **environment: str | None) -> list[str]:
        """Loads models. Returns two lines for each, its name with the commit and its pixels, or one: "refused: ..."."""
        result = self.run("-c", SHOW, *models, **environment)
        assert result.code == 0, result.err
        return result.out.splitlines()


@contextmanager
def at_a_desk(folder: Path) -> Iterator[Desk]:
    with FakeHub().serving() as hub:
        desk = Desk(hub, folder)
        yield desk
        desk.check_token_unseen()
