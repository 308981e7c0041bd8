"""Publish the page as a Hugging Face Space: upload what it needs, and wait until it runs."""

import re
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError

from srgan.errors import UserError
from srgan.hub import HUB_NAME, HubError, hub, told
from srgan.publish import check_token

ROOT = Path(__file__).resolve().parent.parent

FILES = (
    "app.py", "page/*", "requirements.txt", "README.md", "LICENSE", "srgan/*.py", "examples/*", "weights/*/*",
    "weights/*/samples/*",
)  # fmt: skip
"""What the page needs, as patterns in the repository; what matches nothing is left out."""

ON_ZERO_GPU = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""ZeroGPU refuses a torch that it has not been made for. Its documentation names this one; torchvision goes with it."""

RUNNING = "RUNNING"
ON_THE_WAY = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")

MINUTES = 30
"""The Hub itself gives up on a Space that has not started by then."""

LOG_LINES = 30


def make_space(
    space: str, model: str = "", hardware: str = "", private: bool = False, say: Callable[[str], object] = print
) -> None:
    """Creates the Space, or makes an existing one like this repository, and waits until it runs.

    Raises HubError with the end of the log where it does not come up, UserError for what is wrong from the start.
    """
    check_token()
    check_names(space, model)
    with told(space):
        api = hub()
        hardware = create(api, space, model, hardware, private)
        commit = upload(api, space, model, hardware)
        say(f"Uploaded: {api.endpoint}/spaces/{space} (commit {commit[:7]})")
        wait_until_running(api, space, commit, say)


def check_names(space: str, model: str) -> None:
    match = HUB_NAME.fullmatch(space)
    if not match or match["revision"]:
        raise UserError(f"{space} is no name for a Space: give USER/NAME.")
    if not (ROOT / "app.py").is_file():
        raise UserError(f"{ROOT} holds no app.py: a Space is made from a whole copy of this repository.")
    if model:
        if not (match := HUB_NAME.fullmatch(model)):
            raise UserError(f"--model {model}: a Space takes its model from the Hub: USER/NAME or USER/NAME@REVISION.")
        with told(f"--model {model}"):
            hub().model_info(match["repo"], revision=match["revision"], expand=["sha"])


def create(api: HfApi, space: str, model: str, hardware: str, private: bool) -> str:
    """Gives the hardware that it has, or will have; "" for what the Hub gives a new one."""
    variables = [{"key": "SRGAN_MODEL", "value": model}] if model else []
    try:
        api.create_repo(
            space, repo_type="space", space_sdk="gradio", private=private or None, space_hardware=hardware or None,
            space_variables=variables or None,
        )  # fmt: skip
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        for variable in variables:
            api.add_space_variable(space, variable["key"], variable["value"])
        present = api.get_space_runtime(space).requested_hardware or ""
        if hardware and present != hardware:
            api.request_space_hardware(space, hardware)
        if private and not api.space_info(space).private:
            raise UserError(
                f"{space} is public on the Hub: make it private in its settings, or leave out --private."
            ) from None
        return hardware or present
    return hardware


def space_files(address: str, model: str = "", hardware: str = "") -> dict[str, bytes]:
    """What is uploaded, by the paths in the Space."""
    paths = sorted(path for pattern in FILES for path in ROOT.glob(pattern) if path.is_file())
    files = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths if not path.name.startswith(".")}
    files["README.md"] = readme(files["README.md"].decode(), address, model).encode()
    if hardware.startswith("zero-"):
        files["requirements.txt"] = for_zero_gpu(files["requirements.txt"].decode()).encode()
    return files


def upload(api: HfApi, space: str, model: str, hardware: str) -> str:
    """One commit that leaves exactly these files; none where they are there already. Gives the Space's commit."""
    files = space_files(f"{api.endpoint}/spaces/{space}", model, hardware)
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationAdd(name, content) for name, content in files.items()
    ]
    there = api.list_repo_files(space, repo_type="space")
    operations += [CommitOperationDelete(name) for name in there if name not in files and name != ".gitattributes"]
    return api.create_commit(space, operations, commit_message="Face super-resolution", repo_type="space").oid


def readme(text: str, address: str, model: str) -> str:
    """The repository's own README.md, whose metadata names the model as well, and as thumbnail its first picture."""
    card = RepoCard(text)
    if picture := re.search(r"!\[[^]]*]\(([^)]+)\)", card.text):
        card.data["thumbnail"] = f"{address}/resolve/main/{picture[1]}"
    if model:
        card.data["models"] = [model.split("@")[0]]
    return str(card)


def for_zero_gpu(requirements: str) -> str:
    """The same requirements, with the versions that ZeroGPU takes."""
    for package, version in ON_ZERO_GPU.items():
        requirements = re.sub(rf"^{package}[>=].*$", f"{package}=={version}", requirements, flags=re.MULTILINE)
    return requirements


def wait_until_running(api: HfApi, space: str, commit: str, say: Callable[[str], object]) -> None:
    end, shown = time.monotonic() + MINUTES * 60, ""
    while True:
        runtime = api.get_space_runtime(space)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        if stage != shown:
            say(f"{space}: {stage.lower().replace('_', ' ')}")
            shown = stage
        outdated = runtime.raw.get("sha", commit) != commit  # what is said is of the commit before this one
        if stage == RUNNING and not outdated:
            return
        if stage not in (*ON_THE_WAY, RUNNING) and not outdated:
            for line in last_lines(api, space, build=stage == "BUILD_ERROR"):
                say(line)
            reason = re.sub(r"\s+", " ", runtime.raw.get("errorMessage") or "").strip()[:300]
            raise HubError(f"{space} does not run, its stage is {stage}{f' ({reason})' if reason else ''}.")
        if time.monotonic() > end:
            raise HubError(f"{space} is still at {stage} after {MINUTES} minutes: look at its page for the log.")
        time.sleep(3)


def last_lines(api: HfApi, space: str, build: bool) -> Iterator[str]:
    """The end of the Space's log; nothing where it cannot be had."""
    try:
        lines = [line.rstrip() for line in islice(api.fetch_space_logs(space, build=build), 10_000)]
    except (AttributeError, OSError, ValueError):  # AttributeError: huggingface_hub before this method
        return
    yield from lines[-LOG_LINES:]
