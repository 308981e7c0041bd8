"""The wheel: what `pip install .` installs, outside the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT
from PIL import Image

from srgan.publish.space import FILES


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel from the tracked files, as from a git address, with the installed setuptools and no network."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout: the files of the package are not known")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, "-w", target, source], check=True)
    return next(target.glob("srgan-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Makes a new environment with the wheel, which takes the dependencies from the tests' environment."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=False, symlinks=os.name != "nt")
    scripts = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel], check=True
    )
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return scripts


def run(program: Path, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *map(str, arguments)], cwd=folder, env=own, capture_output=True, text=True, check=False
    )


def test_the_wheel_holds_all_that_the_program_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in FILES:
        if file.startswith(("weights/", "examples/")):
            assert f"srgan/{file}" in names
        elif file.startswith("srgan/"):
            assert file in names
    assert not {name.split("/")[0] for name in names} - {
        "srgan",
        *(n.split("/")[0] for n in names if ".dist-info" in n),
    }


def test_the_installed_command_enlarges_a_picture_with_the_shipped_weights(installed: Path, tmp_path: Path) -> None:
    with Image.open(ROOT / "examples" / "cat.png") as cat:
        cat.convert("RGB").resize((20, 16)).save(tmp_path / "small.png")
    done = run(installed / "srgan", "upscale", "small.png", "large.png", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "large.png") as large:
        assert large.size == (80, 64)
    where = run(installed / "python", "-c", "import srgan; print(srgan.__file__)", folder=tmp_path).stdout
    assert str(installed.parent) in where  # not the checkout


@pytest.mark.parametrize("command", ["train", "demo"])
def test_the_installed_command_has_the_programs_too(installed: Path, tmp_path: Path, command: str) -> None:
    done = run(installed / "srgan", command, "--help", folder=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: srgan {command} "), done.stderr
    assert command in run(installed / "srgan", "--help", folder=tmp_path).stdout


def test_a_refusal_names_the_command_as_it_was_typed(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "srgan", "train", folder=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("srgan train: --data is missing")
    for command in ("train", "demo", "doctor"):
        done = run(installed / "srgan", command, "--no-such", folder=tmp_path)
        assert done.returncode == 2 and f"(see srgan {command} --help)" in done.stderr
        done = run(installed / "python", "-m", "srgan", command, "--no-such", folder=tmp_path)
        assert done.returncode == 2 and f"(see python -m srgan {command} --help)" in done.stderr
        assert done.stderr.startswith(f"srgan {command}: ")
