"""Runs the page as in a Space: only the uploaded files, read-only, as a user without rights, without a network.

python tests/space_page.py                    # in a fresh virtual environment, with no network at all: minutes
python tests/space_page.py --python PYTHON    # with the packages that are there
"""

import argparse
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from gradio_client import Client, handle_file
from page_support import ROOT, Server, serving
from PIL import Image

sys.path.insert(0, str(ROOT))
from srgan.publish.space import for_a_space, local_files

A_SPACE_ADDS = ("gradio[oauth,mcp]=={version}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces")
"""Packages that the Hub installs in addition to requirements.txt."""

WITHOUT_NETWORK = """
import os
import socket
resolve, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex
HERE = ("127.", "0.0.0.0", "::1", "localhost")
def here(function):
    def guarded(first, *rest, **named):
        address = rest[0] if isinstance(first, socket.socket) else first
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, (str, bytes)) and not os.fsdecode(host).startswith((*HERE, "/")):
            raise OSError(101, "Network is unreachable")
        return function(first, *rest, **named)
    return guarded
socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex = map(here, (resolve, connect, connect_ex))
"""
"""A sitecustomize.py that blocks the network if the system cannot take it from a process."""


def check_out(folder: Path, hardware: str = "") -> Path:
    """Writes the files that `python -m srgan space` uploads, read-only, and returns their folder."""
    files = for_a_space(local_files(), "https://huggingface.co/spaces/alice/page", hardware=hardware)
    for name, content in files.items():
        path = folder / "page" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in (folder / "page", *(folder / "page").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder / "page"


def without_rights(python: str, page: Path) -> list[str]:
    """Returns the prefix that runs a command as a user without rights; [] if this user has none."""
    if os.getuid() != 0:
        return []
    prefixes = (
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        ["unshare", "--user", "--map-user=1000", "--map-group=1000"],  # if Python lies in root's home
    )
    check = [python, "-c", f"import os, PIL; assert os.getuid() and not os.access('{page}', os.W_OK)"]
    for prefix in prefixes:
        try:
            if subprocess.run([*prefix, *check], capture_output=True, check=False).returncode == 0:
                return prefix
        except FileNotFoundError:
            continue
    raise RuntimeError("this machine lets root run nothing as another user (setpriv, unshare)")


@contextmanager
def running_space(page: Path, folder: Path, python: str = sys.executable) -> Iterator[Server]:
    """Runs `python app.py` in a checkout with a Space's environment, without this process's environment."""
    for name in ("hf", "gradio", "block", "home"):
        (folder / name).mkdir()
    for name in ("hf", "gradio"):
        (folder / name).chmod(0o777)
    (folder / "home").chmod(0o555)
    (folder / "block" / "sitecustomize.py").write_text(WITHOUT_NETWORK)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"),
        "GRADIO_TEMP_DIR": str(folder / "gradio"), "PYTHONPATH": str(folder / "block"), "OMP_NUM_THREADS": "1",
        "SYSTEM": "spaces", "SPACE_ID": "alice/page", "SPACE_HOST": "alice-page.hf.space",
        "SPACE_AUTHOR_NAME": "alice", "SPACE_REPO_NAME": "page", "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_NUM_PORTS": "1", "GRADIO_ALLOW_FLAGGING": "never", "GRADIO_THEME": "huggingface",
    }  # fmt: skip
    command = [*without_rights(python, page), python, "app.py"]
    with serving(command, environment, folder, cwd=page) as server:
        yield server


def check_answers(server: Server, folder: Path) -> str:
    """Checks GET / and both functions. Returns its model and device. Raises AssertionError for a wrong answer."""
    answer = httpx.get(server.url, timeout=60)
    assert answer.status_code == 200 and "Faces from a few pixels" in answer.text
    client = Client(server.url, verbose=False, download_files=folder)
    photo, small = folder / "photo.png", folder / "small.png"
    with Image.open(ROOT / "examples" / "cat.png") as cat:
        cat.convert("RGB").resize((160, 120)).save(photo)
        cat.convert("RGB").resize((20, 16)).save(small)
    restored, _, original, low, figures, _ = client.predict(handle_file(photo), api_name="/compare")
    assert [Image.open(file).size for file in (restored, original, low)] == [(160, 120), (160, 120), (40, 30)]
    assert figures["restored"]["psnr_y"] > figures["bicubic"]["psnr_y"] - 3
    enlarged, *_ = client.predict(handle_file(small), api_name="/enlarge")
    assert Image.open(enlarged).size == (80, 64)
    with Image.open(ROOT / "examples" / "collins.png") as portrait:
        portrait.reduce(4).save(small)
    *_, found, faces = client.predict(handle_file(small), api_name="/enlarge")
    assert found.startswith("1 face was found") and len(faces) == 1
    return f"{figures['model']} on {figures['device']}"


def leave_the_network() -> None:
    """Restricts this process and its children to 127.0.0.1. Only for Linux; raises OSError if it is forbidden."""
    new_user, new_network = 0x10000000, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(new_network | (new_user if os.getuid() else 0)):
        raise OSError(ctypes.get_errno(), "the network cannot be left")
    with socket.socket() as any_socket:
        up, set_flags = 0x1 | 0x40, 0x8914
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))


def fresh_environment(folder: Path, page: Path) -> str:
    version = next(line.split()[1] for line in (page / "README.md").read_text().splitlines() if "sdk_version" in line)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = str(folder / "venv" / "bin" / "python")
    added = [package.format(version=version) for package in A_SPACE_ADDS]
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", page / "requirements.txt", *added], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="an interpreter that has the packages (default: of a fresh environment)")
    parser.add_argument("--hardware", default="", help="of the Space: zero-a10g has its own requirements.txt")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        page = check_out(folder, arguments.hardware)
        python = arguments.python or fresh_environment(folder, page)
        leave_the_network()
        versions = "import sys, torch, gradio; print(sys.version.split()[0], torch.__version__, gradio.__version__)"
        print("Python, PyTorch, Gradio:", subprocess.check_output([python, "-c", versions], text=True).strip())
        with running_space(page, folder, python) as server:
            print("The page answers:", check_answers(server, folder))


if __name__ == "__main__":
    main()
