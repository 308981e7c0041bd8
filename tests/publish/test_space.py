"""`python -m srgan space` against tests/fake_hub.py, from a made-up repository."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import tiny_model
from desk import Desk, at_a_desk
from doc_pages import links
from fake_hub import LICENSES, NEW_SPACE, Repo
from helpers import says
from huggingface_hub import RepoCard, SpaceHardware
from packaging.requirements import Requirement

from srgan.faces import DETECTOR
from srgan.model_folder import save_model
from srgan.publish.space import FILES, FILES_OF, MARK, ROOT, for_a_space, local_files

SPACE = "alice/page"
NEEDED = {
    "app.py": "import gradio", "CONTRIBUTING.md": "# Contributing",
    "srgan/page/style.css": "body {}", "srgan/page/tabs.py": "", "LICENSE": "MIT",
    "requirements.txt": "gradio>=6\ntorch>=2.8\ntorchvision>=0.23\n",
    "README.md": "---\ntitle: Faces\nsdk: gradio\nsdk_version: 6.31.0\napp_file: app.py\n---\n# Faces\n",
    "srgan/__init__.py": "", "srgan/models.py": "x = 1", "examples/cat.png": "png",
    "weights/photos/config.json": "{}", "weights/photos/model.safetensors": "weights",
    "weights/photos/samples/cat.png": "png",
}  # fmt: skip
NOT_NEEDED = {
    "train.py": "", "tests/test_app.py": "", "runs/mine/state.pt": "", "data/celeba/1.jpg": "",
    "srgan/__pycache__/models.pyc": "", "page/__pycache__/tabs.pyc": "", "weights/photos/.config.json.partial": "",
    ".env": "secret", "examples/my-child.jpg": "private", "weights/mine/model.safetensors": "private",
    "weights/photos/samples/my-child.png": "private", "srgan/page/notes.html": "private", "srgan/notes.py": "private",
}  # fmt: skip
PROGRAM = """
import sys, pathlib, srgan.commands.cli, srgan.publish.space
srgan.publish.space.ROOT = pathlib.Path(sys.argv[2])
sys.exit(srgan.commands.cli.main(["space", *sys.argv[3:]]))
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with at_a_desk(tmp_path) as desk:
        yield desk


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in (NEEDED | NOT_NEEDED).items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "repository"


def test_a_space_is_made_with_exactly_what_it_needs(desk: Desk, repository: Path) -> None:
    desk.hub.models["alice/faces"] = Repo()
    desk.hub.models["alice/faces"].tags["epoch-2"] = desk.hub.models["alice/faces"].branches["main"]
    options = ["--model", "alice/faces@epoch-2", "--hardware", "zero-a10g", "--private"]
    result = desk.run("-c", PROGRAM, repository, SPACE, *options)
    assert result.code == 0, result.err
    space = desk.hub.spaces[SPACE]
    assert f"Uploaded: {desk.hub.url}/spaces/{SPACE} (commit {space.branches['main'][:7]})" in result.out
    assert result.out.endswith(f"{SPACE}: building\n{SPACE}: running\n")
    assert set(space.files()) == set(NEEDED) | {".gitattributes"}
    assert (space.private, space.hardware) == (True, "zero-a10g")
    assert space.files()["requirements.txt"] == b"gradio>=6\ntorch==2.11.0\ntorchvision==0.26.0\n"
    assert space.variables == {"SRGAN_MODEL": "alice/faces@epoch-2"}
    card = RepoCard(space.files()["README.md"].decode())
    assert card.data["models"] == ["alice/faces"] and card.data["sdk"] == "gradio" and "# Faces" in card.text
    size = sum(len(data) for data in space.files().values())
    assert f"To be uploaded: {len(NEEDED)} files, {size / 1e6:.1f} MB together" in result.out
    assert "  srgan/page: style.css tabs.py\n" in result.out and "  weights/photos/samples: cat.png\n" in result.out
    assert "Left out" in result.out and "examples/biden.jpg" in result.out

    commit = space.branches["main"]
    assert desk.run("-c", PROGRAM, repository, SPACE, "--model", "alice/faces@epoch-2").code == 0
    assert space.branches["main"] == commit  # its hardware is known without the option

    # Again: changed files are updated, removed files are deleted, the owner's files stay, and nothing is made twice.
    mine = {"NOTES.md": b"mine", "weights/mine/config.json": b"mine"}
    space.put({**mine, "examples/my-child.jpg": b"of an earlier version"})
    (repository / "srgan" / "models.py").write_text("x = 2")
    (repository / "examples" / "cat.png").unlink()
    again = desk.run("-c", PROGRAM, repository, SPACE, "--hardware", "t4-small", "--model", "alice/faces")
    assert again.code == 0, again.err
    assert set(space.files()) == set(NEEDED) - {"examples/cat.png"} | {".gitattributes", *mine}
    assert "To be deleted in the Space: examples/cat.png, examples/my-child.jpg\n" in again.out
    assert space.files()["srgan/models.py"] == b"x = 2"
    assert space.files()["requirements.txt"] == (repository / "requirements.txt").read_bytes()
    assert (space.hardware, space.variables) == ("t4-small", {"SRGAN_MODEL": "alice/faces"})
    assert len(space.trees) == 4


OTHERS = {"app.py": b"print('mine')", "README.md": b"---\nsdk: gradio\ntags: [chess]\n---\n# Chess\n"}
HOLDS = {
    "another program": OTHERS,
    "another program without a README": {"app.py": b"print('mine')"},
    "another program under the Hub's README": {"app.py": b"print('mine')", "README.md": NEW_SPACE},
    "text of its owner's": {"README.md": NEW_SPACE + b"To be filled in May.\n"},
}


@pytest.mark.parametrize("case", HOLDS)
def test_a_space_of_another_program_is_left_alone(desk: Desk, repository: Path, case: str) -> None:
    space = desk.hub.spaces[SPACE] = Repo()
    space.put(HOLDS[case])
    before = space.files()
    desk.hub.models["alice/faces"] = Repo()
    result = desk.run("-c", PROGRAM, repository, SPACE, "--model", "alice/faces", "--hardware", "t4-small")
    assert result.code == 2 and SPACE in result.err and "--replace" in result.err and result.err.count("\n") == 1
    assert space.files() == before and not space.variables and space.hardware == "cpu-basic"


def test_a_space_is_replaced_on_demand(desk: Desk, repository: Path) -> None:
    space = desk.hub.spaces[SPACE] = Repo(stages=[{"stage": "RUNNING"}])
    space.put(OTHERS | {"chess/board.py": b""})
    result = desk.run("-c", PROGRAM, repository, SPACE, "--replace")
    assert result.code == 0 and "To be deleted in the Space: chess/board.py\n" in result.out, result.err
    assert set(space.files()) == set(NEEDED) | {".gitattributes"}
    assert desk.run("-c", PROGRAM, repository, SPACE).code == 0  # it has this program's tag now


def test_a_space_that_nobody_has_filled_is_taken(desk: Desk, repository: Path) -> None:
    space = desk.hub.spaces[SPACE] = Repo(stages=[{"stage": "RUNNING"}])
    space.put({"README.md": NEW_SPACE})
    assert desk.run("-c", PROGRAM, repository, SPACE).code == 0
    assert set(space.files()) == set(NEEDED) | {".gitattributes"}


def test_of_a_clone_only_tracked_files_go_up(desk: Desk, repository: Path) -> None:
    for command in (["init", "-q"], ["add", "--", *(name for name in NEEDED if name != "examples/cat.png")]):
        subprocess.run(["git", "-C", repository, *command], check=True)
    result = desk.run("-c", PROGRAM, repository, SPACE)
    assert result.code == 0, result.err
    assert set(desk.hub.spaces[SPACE].files()) == set(NEEDED) - {"examples/cat.png"} | {".gitattributes"}


def test_a_models_folder_goes_up_where_it_is_named(desk: Desk, repository: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "my faces", tiny_model(), "# Mine\n")
    (tmp_path / "my faces" / "notes.md").write_text("private")
    result = desk.run("-c", PROGRAM, repository, SPACE, "--model", tmp_path / "my faces")
    assert result.code == 0, result.err
    space = desk.hub.spaces[SPACE]
    names = {path.name for path in (tmp_path / "my faces").iterdir()} - {"notes.md"}
    sent = {f"weights/my-faces/{name}" for name in names}
    assert set(space.files()) == {*NEEDED, *sent, ".gitattributes"}
    assert space.variables == {"SRGAN_MODEL": "weights/my-faces"}
    assert "models" not in RepoCard(space.files()["README.md"].decode()).data


def test_the_list_of_files_is_whole() -> None:
    """A new file of the program must also be listed in srgan/publish/space.py, or the Space lacks it."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("this is no clone")
    folders = tuple({name.partition("/")[0] for name in FILES_OF} - {""})
    programs = {name for name in tracked if name.startswith("benchmarks/") and not name.endswith((".md", ".png"))}
    assert {name for name in tracked if name.startswith(folders)} - programs == {name for name in FILES if "/" in name}


def test_links_in_a_space_lead_to_files_that_are_uploaded() -> None:
    dangling = [
        (name, link)
        for name in FILES if name.endswith(".md")
        for link in links(ROOT / name)
        if (path := unquote(link).partition("#")[0])
        and (ROOT / name).parent.joinpath(path).resolve().relative_to(ROOT).as_posix() not in FILES
    ]  # fmt: skip
    assert dangling == []


def test_a_build_that_fails_is_shown_with_its_log(desk: Desk, repository: Path) -> None:
    space = desk.hub.spaces[SPACE] = Repo()
    old = {"stage": "RUNNING", "sha": "of the commit before"}
    failed = {"stage": "BUILD_ERROR", "errorMessage": "no matching\n distribution"}
    space.stages = [old, old, {"stage": "BUILDING"}, failed]
    space.logs = [f"step {number}" for number in range(100)]
    result = desk.run("-c", PROGRAM, repository, SPACE)
    assert result.code == 1
    assert result.err.endswith(
        f"srgan space: {SPACE} does not run; its stage is BUILD_ERROR (no matching distribution).\n"
    )
    assert "build: step 99" in result.out and "build: step 50" not in result.out


REFUSED = {
    "no token": ([], {"HF_TOKEN": None}, 2, "publishing needs a Hugging Face token that may write, and there is none"),
    "no name": (["page"], {}, 2, "page is not the name of a Space: give USER/NAME."),
    "no model": ([SPACE, "--model", "alice/none"], {}, 1, "--model alice/none: no such repository on the Hub"),
    "no folder": ([SPACE, "--model", "./model"], {}, 2, "--model ./model: there is no such folder"),
    "no model's folder": ([SPACE, "--model", "."], {}, 2, ". holds no model yet"),
    "not allowed": (["bob/page"], {}, 1, "bob/page: the Hugging Face token does not allow this (HTTP 403)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_said_in_a_sentence(desk: Desk, repository: Path, case: str) -> None:
    options, environment, code, sentence = REFUSED[case]
    result = desk.run("-c", PROGRAM, repository, *(options or [SPACE]), **environment)
    assert result.code == code and result.err.startswith(f"srgan space: {sentence}") and result.err.count("\n") == 1
    assert not desk.hub.spaces


def test_a_paid_plan_is_asked_for_in_the_hubs_words(desk: Desk, repository: Path) -> None:
    desk.hub.fail("POST /api/repos/create", 402)
    result = desk.run("-c", PROGRAM, repository, SPACE)
    assert result.code == 1 and says(result.err, f"srgan space: {SPACE}: ", "paid plan", "HTTP 402", "made to fail")


INTERRUPTED = {
    "409": ({"match": "POST .*/commit/", "status": 409}, "somebody else changed it at the same time (HTTP 409)"),
    "429": ({"match": "POST .*/commit/", "status": 429, "headers": {"Retry-After": "7"}}, "the Hub received too many"),
    "500 in mid-upload": ({"match": "PUT /lfs-upload/", "status": 500}, "the Hub has a problem (HTTP 500)"),
    "cut": ({"match": "POST .*/commit/", "does": "cut"}, "the Hub cannot be reached"),
    "cut while it builds": ({"match": "GET .*/runtime", "does": "cut"}, "the Hub cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("case", INTERRUPTED)
def test_what_the_hub_interrupts_is_completed_by_the_same_command(desk: Desk, repository: Path, case: str) -> None:
    fault, sentence = INTERRUPTED[case]
    desk.hub.fail(**fault)
    result = desk.run("-c", PROGRAM, repository, SPACE)
    assert result.code == 1 and f"srgan space: {SPACE}: {sentence}" in result.err.splitlines()[-1]
    desk.hub.faults.clear()
    assert desk.run("-c", PROGRAM, repository, SPACE).code == 0
    space = desk.hub.spaces[SPACE]
    assert set(space.files()) == set(NEEDED) | {".gitattributes"} and len(space.trees) == 2


def test_ctrl_c_while_it_builds_is_one_sentence(desk: Desk, repository: Path) -> None:
    stop = "import time\ndef stop(_): raise KeyboardInterrupt\ntime.sleep = stop\n"
    result = desk.run("-c", stop + PROGRAM, repository, SPACE)
    assert result.code == 1
    assert result.err.splitlines()[-1] == "srgan space: stopped; run the same command again to complete the work."


COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
VALID = {
    "title": lambda value: 0 < len(value) <= 60,
    "emoji": lambda value: len(value) <= 2 and not value.isascii(),
    "colorFrom": COLOURS.__contains__,
    "colorTo": COLOURS.__contains__,
    "sdk": "gradio".__eq__,
    "sdk_version": lambda value: version_is_allowed("gradio", value),
    "python_version": lambda value: re.fullmatch(r"3\.1\d(\.\d+)?", value),
    "app_file": lambda value: (ROOT / value).is_file(),
    "license": lambda value: value in LICENSES,
    "short_description": lambda value: 0 < len(value) <= 60,
    "suggested_hardware": lambda value: value in {hardware.value for hardware in SpaceHardware},
    "pinned": lambda value: isinstance(value, bool),
    "tags": lambda value: value and all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in value),
    "thumbnail": lambda value: value.removeprefix("https://hub/spaces/a/b/resolve/main/") in pictures(),
    "models": ["u/m"].__eq__,
}
"""The fields of a Space's metadata in the Hub's reference, each with a function that checks its value."""


def version_is_allowed(package: str, version: str) -> bool:
    lines = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return next(line for line in lines if line.name == package).specifier.contains(version)


def pictures() -> list[str]:
    return [name for name in FILES if name.endswith((".png", ".jpg"))]


def test_this_repository_is_a_space() -> None:
    """Its README.md has all metadata that the Hub requires, and none that the Hub does not know."""
    text = for_a_space(local_files(), "https://hub/spaces/a/b", "u/m@epoch-2")["README.md"].decode()
    data = RepoCard(text).data.to_dict()
    assert {name for name, valid in VALID.items() if name not in data or not valid(data[name])} == set()
    assert data.keys() == VALID.keys() and MARK in data["tags"]
    assert RepoCard(text).text.strip() == RepoCard((ROOT / "README.md").read_text()).text.strip()


def test_a_space_gets_the_face_detector_with_its_licence() -> None:
    folder = DETECTOR.parent.relative_to(ROOT).as_posix()
    assert {f"{folder}/{DETECTOR.name}", f"{folder}/LICENSE"} <= local_files().keys()


def test_zero_gpu_gets_the_versions_that_it_takes() -> None:
    """requirements.txt allows all of them, too."""
    lines = for_a_space(local_files(), "", hardware="zero-a10g")["requirements.txt"].decode().splitlines()
    assert [line for line in lines if "==" in line] == ["torch==2.11.0", "torchvision==0.26.0"]
    assert len(lines) == len((ROOT / "requirements.txt").read_text().splitlines())
    assert all(version_is_allowed("torch", version) for version in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"))
