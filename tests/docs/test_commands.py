"""Runs every command and every piece of Python that the pages tell a reader to type, offline and on small stand-ins.

Commands run in order, block by block, in a folder that holds what the pages name (small.png, PHOTOS, runs/mine, ...),
with a Hub of its own. train.py gets a small network and few photos; torchrun's script runs in one process; the page is
built but not served; benchmarks only read their arguments. A command that is unknown here fails.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import pytest
from conftest import tiny_model
from desk import Desk, at_a_desk
from doc_pages import PAGES, SERVER, Block, blocks, without_blocks
from fake_hub import Repo
from helpers import ROOT, make_pairs, textured
from PIL import Image
from torch.distributed.run import parse_args as parse_torchrun

from srgan.model_folder import save_model

SMALL = {
    "--epochs": "2", "--fidelity-epochs": "1", "--batch-size": "8", "--crop": "64", "--channels": "8", "--blocks": "1",
    "--held-out": "2", "--content": "mse", "--device": "cpu", "--precision": "fp32", "--optimizer": "adam",
    "--workers": "0", "--photos-per-epoch": "8", "--push-every": "1", "--checkpoint-every": "1",
}  # fmt: skip
"""Settings that replace those of a training command. If it has no --epochs, it trains one epoch of the detail stage."""

SMALL_SIZES = {"--width": "30", "--height": "30", "--megapixels": "0.001", "--fit": "40x40"}
"""Sizes of enlarged pictures that replace those in a command."""

ONLY_WHERE_GIVEN = {"--photos-per-epoch", "--push-every", "--checkpoint-every"}

BUILT = """
import os, runpy, sys
import gradio

def launch(*arguments, **settings):
    print("built", flush=True)
    os._exit(0)  # at once: sleep is cut short here, so the page's sweeper would look into folders while they go

gradio.Blocks.launch = launch
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

PARSED = """
import argparse, pathlib, runpy, sys
parse = argparse.ArgumentParser.parse_args

def parse_and_end(parser, *arguments):
    parse(parser, *arguments)
    sys.exit()

argparse.ArgumentParser.parse_args = parse_and_end
sys.argv = sys.argv[2:]
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def typed(language: str) -> list[tuple[Path, int, Block]]:
    """Returns the blocks in this language except those for a running page."""
    return [
        (page, number, block)
        for page in PAGES
        for number, block in enumerate(blocks(page), start=1)
        if block.language == language and SERVER not in block.text
    ]


def name_of(value: object) -> str | None:
    """Returns the test id of a page, which is its path, or "" for a block, which is numbered already."""
    if isinstance(value, Path):
        return value.relative_to(ROOT).as_posix()
    return "" if isinstance(value, Block) else None


def lines_of(block: str) -> list[list[str]]:
    """Returns the words of each command, without comments, and with the names and numbers of the stand-ins."""
    found = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    names = (("USER/", "alice/"), ("0999}", "0001}"), ("=HOST", "=127.0.0.1"), ("=K", "=0"), ("500", "2"))
    for before, after in names:
        found = [[word.replace(before, after) for word in words] for words in found]
    return [words for words in found if words]


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory, vgg19_file: Path, lpips_file: Path) -> Path:
    """Makes the files that the pages' commands name. Do not change them; each block gets a copy."""
    folder = tmp_path_factory.mktemp("things")
    for name, size in (("small.png", (9, 7)), ("small.jpg", (9, 7)), ("texture.png", (9, 7)), ("photo.png", (64, 48))):
        textured(1, *size).save(folder / name)
    for place in ("PHOTOS", "FOLDER"):
        (folder / place).mkdir()
    for number in range(8):
        textured(number, 136, 136).save(folder / "PHOTOS" / f"{number}.jpg")
    textured(3, 12, 12).save(folder / "FOLDER" / "a.png")
    shutil.copytree(folder / "PHOTOS", folder / "img_align_celeba")
    shutil.make_archive(str(folder / "photos"), "zip", folder / "PHOTOS")
    make_pairs(folder / "Set5")
    (folder / "shards").mkdir()
    for number in range(2):
        with tarfile.open(folder / "shards" / f"{number:04}.tar", "w") as shard:
            for photo in sorted((folder / "PHOTOS").iterdir())[4 * number : 4 * number + 4]:
                shard.add(photo, f"{number}-{photo.name}")
    frames = [textured(number, 9, 7) for number in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    if find_spec("av"):
        write_clip(folder / "clip.mp4")
    shutil.copy(vgg19_file, folder / "vgg19.safetensors")
    shutil.copy(lpips_file, folder / "lpips.safetensors")
    save_model(folder / "runs" / "mine" / "model", tiny_model(), "# mine\n")
    for name in ("weights", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def write_clip(path: Path) -> None:
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(3):
            file.mux(stream.encode(av.VideoFrame.from_image(textured(number, 32, 24))))
        file.mux(stream.encode(None))


@pytest.fixture
def desk(things: Path, tmp_path: Path) -> Iterator[Desk]:
    shutil.copytree(things, tmp_path / "desk", symlinks=True)
    with at_a_desk(tmp_path / "desk") as desk:
        desk.environment |= {"SRGAN_MODEL": "runs/mine", "GRADIO_TEMP_DIR": str(tmp_path / "page")}
        model = {path.name: path.read_bytes() for path in (things / "runs" / "mine" / "model").iterdir()}
        for name in ("alice/NAME", "alice/MODEL"):
            repo = desk.hub.models[name] = Repo(private=name == "alice/NAME")
            repo.tags["epoch-42"] = repo.put(model)
        yield desk


# How each program is run


def run_python(desk: Desk, arguments: list[str]) -> None:
    program, *rest = arguments
    if program == "train.py":
        train(desk, rest)
    elif program == "app.py":
        assert "built" in succeed(desk, "-c", BUILT, str(ROOT / program), *rest)
    elif program.startswith("benchmarks/"):
        succeed(desk, "-c", PARSED, str(ROOT / program), *rest)
    elif arguments[:2] == ["-m", "srgan"]:
        run_srgan(desk, arguments)
    elif arguments[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in rest[1:] if "/" in word)
    else:
        assert arguments == ["-m", "venv", ".venv"], f"nobody here knows how to run python {shlex.join(arguments)}"


def run_srgan(desk: Desk, arguments: list[str]) -> None:
    """Runs a command of srgan with sizes that suit the small stand-ins."""
    sized = [number for number, word in enumerate(arguments) if word in SMALL_SIZES]
    for number in sized:
        arguments[number + 1] = SMALL_SIZES[arguments[number]]
    if "clip.mp4" in arguments and find_spec("av") is None:
        return
    succeed(desk, *arguments)
    words = list(takewhile(lambda word: not word.startswith("--"), arguments[2:]))
    if (
        words[0] == "upscale"
        and len(words) == 3
        and words[1] != "clip.mp4"
        and (target := desk.folder / words[2]).suffix
    ):
        assert sized or "--scale" in arguments or Image.open(target).size == (36, 28)


def train(desk: Desk, arguments: list[str]) -> None:
    """Trains a small network, after the run of an earlier line has been removed."""
    if any(word.startswith("hf://") for word in arguments):  # from the Hub: tests/photos/test_streams.py streams some
        succeed(desk, "-c", PARSED, str(ROOT / "train.py"), *arguments)
        return
    arguments = [word.replace("weights/celeba-faces", "runs/mine") for word in arguments]  # which is as small
    small, left_out = dict(SMALL), set(ONLY_WHERE_GIVEN)
    if "--resume" in arguments:  # the saved settings apply
        left_out |= small.keys()
    else:
        usual = {"--epochs": "1", "--fidelity-epochs": "0"}
        small |= {flag: value for flag, value in usual.items() if flag not in arguments}
        shutil.rmtree(desk.folder / "runs" / f"PHOTOS-{'classic' if 'classic' in arguments else 'default'}", True)
    smaller = list(arguments)
    for flag, value in small.items():
        if flag in arguments and arguments[arguments.index(flag) + 1] != "0":
            smaller[arguments.index(flag) + 1] = value
        elif flag not in arguments and flag not in left_out:
            smaller += [flag, value]
    succeed(desk, "train.py", *smaller)


def run_torchrun(desk: Desk, arguments: list[str]) -> None:
    parsed = parse_torchrun(arguments)
    script = [parsed.training_script, *parsed.training_script_args]
    run_python(desk, ["-m", *script] if parsed.module else script)


def run_pip(desk: Desk, arguments: list[str]) -> None:
    """Checks that the program asks for each package, in its requirements or in a message."""
    sources = [*ROOT.glob("requirements*.txt"), *ROOT.glob("srgan/**/*.py"), *ROOT.glob("benchmarks/*.py")]
    asked = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for word in arguments[1:]:
        known = word in ("-r", "--no-deps", ".") or (ROOT / word).is_file() or word in asked
        assert known, f"{word} is asked for nowhere"


def run_make(desk: Desk, arguments: list[str]) -> None:
    subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)


def run_hf(desk: Desk, arguments: list[str]) -> None:
    program = Path(sys.executable).with_name("hf")
    if program.exists():
        subprocess.run([program, *arguments, "--help"], check=True, capture_output=True)


def not_run(desk: Desk, arguments: list[str]) -> None:
    """Skips a command that sets up a machine or needs a network."""


PROGRAMS: dict[str, Callable[[Desk, list[str]], object]] = {
    "python": run_python, "torchrun": run_torchrun, "pip": run_pip, "make": run_make, "hf": run_hf, "git": not_run,
    "source": not_run, "ruff": not_run, "basedpyright": not_run, "npm": not_run, "tensorboard": not_run,
}  # fmt: skip


def succeed(desk: Desk, *arguments: str) -> str:
    """Runs a command, which must succeed, and returns its output."""
    result = desk.run(*arguments)
    assert result.code == 0, f"{shlex.join(arguments)}\n{result.out}\n{result.err}"
    return result.out


# The tests


@pytest.mark.parametrize(("page", "number", "block"), typed("sh"), ids=name_of)
def test_commands(page: Path, number: int, block: Block, desk: Desk) -> None:
    for words in lines_of(block.text):
        assert words[0] in PROGRAMS, f"nobody here knows how to run {words[0]}"
        PROGRAMS[words[0]](desk, words[1:])


@pytest.mark.parametrize("page", sorted({page for page, _, _ in typed("python")}), ids=name_of)
def test_python(page: Path, desk: Desk) -> None:
    """All Python blocks of a page run in one process, because later blocks may use names from earlier ones."""
    code = "\n".join(block.text for at, _, block in typed("python") if at == page)
    succeed(desk, "-c", code.replace("USER/", "alice/"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_stands_in_blocks_that_say_their_language(page: Path) -> None:
    """No test would run code in any other form."""
    languages = {block.language for block in blocks(page)}
    assert languages <= {"sh", "python", "js", "text"}
    indented = re.findall(r"(?:\A|\n)\n( {4}\S.*)", without_blocks(page.read_text(encoding="utf-8")))
    assert indented == []
    if page.name != "api.md":
        assert not any(SERVER in block.text for block in blocks(page)), "tests/page/test_api.py runs docs/api.md alone"


def test_every_benchmark_finds_what_it_imports() -> None:
    """The benchmarks run rarely, so a moved name would go unnoticed."""
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    names = [path.stem for path in sorted((ROOT / "benchmarks").glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
