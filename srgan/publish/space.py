"""Publishes the page as a Hugging Face Space: uploads the files and waits until it runs."""

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard, SpaceInfo, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from srgan.errors import UserError
from srgan.hub import HUB_NAME, HubError, hub, told
from srgan.model_folder import brief, load_model
from srgan.publish.push import check_token, files_of, model_folder
from srgan.shipped import ROOT

FILES_OF = {
    "": "CONTRIBUTING.md LICENSE README.md app.py requirements.txt",
    "benchmarks": (
        "degradations.md faces.md quality-Set14-jpeg75.png quality-Set5.png quality-img_align_celeba-jpeg75.png "
        "quality-img_align_celeba-old.png quality-img_align_celeba-web.png quality-img_align_celeba.png "
        "quality-sheet.png quality.md recipes.md scaling.md training.md wear.md"
    ),
    "docs": "api.md architecture.md enlarge.md measure.md publish.md train.md",
    "examples": "README.md biden.jpg cat.png coffee.png collins.png obama.jpg",
    "examples/portraits": (
        "A000357.jpg B000220.jpg B000490.jpg B000911.jpg B001227.jpg B001236.jpg B001258.jpg B001268.jpg B001274.jpg "
        "B001279.jpg B001285.jpg C000116.jpg C000556.jpg C000868.jpg C001041.jpg C001049.jpg C001058.jpg C001064.jpg "
        "C001071.jpg C001080.jpg C001086.jpg C001091.jpg C001097.jpg D000407.jpg D000600.jpg D000606.jpg D000615.jpg "
        "D000621.jpg E000268.jpg E000293.jpg F000372.jpg F000447.jpg F000454.jpg F000460.jpg G000280.jpg G000546.jpg "
        "G000553.jpg G000560.jpg G000567.jpg G000573.jpg H000627.jpg H000948.jpg H001036.jpg H001046.jpg H001053.jpg "
        "H001059.jpg H001065.jpg I000056.jpg J000292.jpg K000172.jpg K000360.jpg K000368.jpg K000385.jpg L000293.jpg "
        "L000550.jpg L000559.jpg L000566.jpg L000574.jpg L000579.jpg M000590.jpg README.md credits.csv"
    ),
    "srgan": (
        "__init__.py __main__.py device.py errors.py faces.py files.py hub.py jpeg_blocks.py model_folder.py models.py "
        "py.typed ranks.py shipped.py signs.py upscaler.py video.py wear.py words.py"
    ),
    "srgan/commands": (
        "__init__.py arguments.py batch_progress.py cli.py console.py demo.py doctor.py estimate.py evaluate.py "
        "export.py places.py train.py upscale.py"
    ),
    "srgan/degradation": "__init__.py chain.py filters.py jpeg.py",
    "srgan/measure": "__init__.py comparison.py evaluation.py metrics.py pairs.py",
    "srgan/page": (
        "__init__.py address.py batch_tab.py close_ups.py compare_tab.py components.py enlarge_tab.py events.py "
        "figures.html gradio_changes.py handlers.py head.html kept.py offered_models.py proxies.py served_files.py "
        "style.css tabs.py turns.py uploads.py viewer.html viewer_script.html views.py zero.py"
    ),
    "srgan/photos": (
        "__init__.py cache.py choice.py collections.py crops.py cutting.py face_crops.py finding.py held_out.py "
        "names.py pieces.py sharpness.py streams.py windows.py"
    ),
    "srgan/pictures": (
        "__init__.py animations.py boxes.py colour.py colour_tags.py corrections.py formats.py images.py large.py "
        "metadata.py resampling.py sizes.py"
    ),
    "srgan/publish": "__init__.py background.py card.py facts.py push.py space.py",
    "srgan/reports": "__init__.py page.py pictures.py tensorboard.py",
    "srgan/training": (
        "__init__.py augment.py config.py discriminators.py forecast.py gan_monitor.py losses.py optimizers.py pace.py "
        "presets.py progress.py records.py run.py trainer.py"
    ),
    "weights/celeba-faces": (
        "README.md SHA256SUMS config.json curves.png failures.md fidelity.safetensors metrics.json "
        "model.safetensors peers.json peers.png"
    ),
    "weights/celeba-faces/samples": "biden.png cat.png coffee.png collins.png obama.png",
    "weights/face-detector": "LICENSE README.md face_detection_yunet_2023mar.onnx",
    "weights/photos": (
        "README.md SHA256SUMS config.json credits.csv curves.png failures.md fidelity.safetensors metrics.json "
        "model.safetensors"
    ),
    "weights/photos/samples": "biden.png cat.png coffee.png collins.png obama.png",
}  # fmt: skip
"""The files of a Space by folder. They are listed by name, because other files in these folders may be private."""

FILES = tuple(f"{folder}/{name}".lstrip("/") for folder, names in FILES_OF.items() for name in names.split())

MARK = "srgan-page"
"""The tag in a Space's README.md that marks it as created by this program."""

FRONT_MATTER = re.compile(r"---\n(.*?)\n---(?:\n(.*))?", re.DOTALL)

VARIABLE = "SRGAN_MODEL"
"""The Space's variable that tells app.py its model."""

MADE_BY_THE_HUB = re.compile(r"\s*(Check out the configuration reference at https://huggingface.co/docs/hub/\S+\s*)?")
"""The complete README.md that the Hub puts into a new Space."""

ON_ZERO_GPU = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""The versions for ZeroGPU, which accepts only certain versions of torch. Its documentation names this one."""

RUNNING = "RUNNING"
ON_THE_WAY = ("BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING")

MINUTES = 30
"""Time limit for a Space to start; the Hub's own limit is the same."""

LOG_LINES = 30


def make_space(
    space: str,
    model: str = "",
    hardware: str = "",
    private: bool = False,
    replace: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Creates a Space, or updates one that this program has created, and waits until it runs.

    model: USER/NAME[@REVISION] on the Hub, or a model folder, which is uploaded too. replace: take over a Space of
    another program and delete its files. Raises HubError with the end of the log if it does not start, UserError for
    wrong arguments.
    """
    check_token()
    check_names(space, model)
    local = local_files(model)
    shown = uploaded_folder(model) if is_folder(model) else model
    with told(space):
        api = hub()
        is_new = create(api, space, shown, hardware, private)
        there = api.space_info(space)
        if not is_new:
            check_made_here(there, replace)
            hardware = change(api, there, shown, hardware, private)
        files = for_a_space(local, f"{api.endpoint}/spaces/{space}", model, hardware)
        commit = upload(api, there, files, replace, say)
        say(f"Uploaded: {api.endpoint}/spaces/{space} (commit {commit[:7]})")
        wait_until_running(api, space, commit, say)


def check_names(space: str, model: str) -> None:
    match = HUB_NAME.fullmatch(space)
    if not match or match["revision"]:
        raise UserError(f"{space} is not the name of a Space: give USER/NAME.")
    if is_folder(model):
        load_model(model_folder(Path(model)))
    elif model:
        if not (match := HUB_NAME.fullmatch(model)):
            raise UserError(
                f"--model {model}: there is no such folder, and it is no name of a "
                "model on the Hub (USER/NAME or USER/NAME@REVISION)."
            )
        with told(f"--model {model}"):
            hub().model_info(match["repo"], revision=match["revision"], expand=["sha"])


# The files


def is_folder(model: str) -> bool:
    return bool(model) and Path(model).is_dir()


def uploaded_folder(model: str) -> str:
    """Returns the folder in the Space for a local model folder. Raises UserError if another model has that folder."""
    folder = f"weights/{re.sub(r'[^A-Za-z0-9_.-]+', '-', Path(model).resolve().name).strip('.-') or 'model'}"
    if folder in FILES_OF and (ROOT / folder).resolve() != Path(model).resolve():
        raise UserError(f"--model {model}: a model that ships has the same folder name: rename the folder.")
    return folder


def local_files(model: str = "") -> dict[str, bytes]:
    """Reads the local files to upload, by their paths in the Space. Raises UserError if the program's own files are
    missing."""
    tracked = tracked_files()
    names = [name for name in FILES if (ROOT / name).is_file() and (tracked is None or name in tracked)]
    files = {name: (ROOT / name).read_bytes() for name in names}
    for name in FILES_OF[""].split():
        if name not in files:
            raise UserError(f"{ROOT} holds no {name} of its own: a Space is made from a whole copy of this repository.")
    if is_folder(model):
        folder = uploaded_folder(model)
        files |= {f"{folder}/{name}": content for name, content in files_of(model_folder(Path(model))).items()}
    return files


def tracked_files() -> set[str] | None:
    """Returns the files that git tracks in a clone; None outside one."""
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]  # the clone may belong to another user
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True)
    except OSError as error:
        raise UserError(f"git cannot be run to list the files of {ROOT} ({error.strerror}).") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"git cannot list the files of {ROOT} ({brief(error.stderr.strip())}).") from None
    return set(found.stdout.split("\0"))


def for_a_space(files: dict[str, bytes], address: str, model: str = "", hardware: str = "") -> dict[str, bytes]:
    """Adapts README.md and requirements.txt to the Space's model and hardware."""
    changed = {"README.md": readme(files["README.md"].decode(), address, "" if is_folder(model) else model).encode()}
    if hardware.startswith("zero-"):
        changed["requirements.txt"] = for_zero_gpu(files["requirements.txt"].decode()).encode()
    return files | changed


def readme(text: str, address: str, model: str) -> str:
    """Returns the repository's README.md with metadata for the model, and with its first picture as the thumbnail."""
    card = RepoCard(text)
    card.data["tags"] = [*card.data.get("tags", []), MARK]
    if picture := re.search(r"!\[[^]]*]\(([^)]+)\)", card.text):
        card.data["thumbnail"] = f"{address}/resolve/main/{picture[1]}"
    if model:
        card.data["models"] = [model.split("@")[0]]
    return str(card)


# The Space


def create(api: HfApi, space: str, model: str, hardware: str, private: bool) -> bool:
    """Creates the Space. Returns False if it exists already."""
    variables = [{"key": VARIABLE, "value": model}] if model else []
    try:
        api.create_repo(
            space, repo_type="space", space_sdk="gradio", private=private or None,
            space_hardware=hardware or None,  # pyright: ignore[reportArgumentType] - its documentation takes str too
            space_variables=variables or None,
        )  # fmt: skip
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
        return False
    return True


def check_made_here(there: SpaceInfo, replace: bool) -> None:
    """Raises UserError if the Space holds another program. Ignores the files that the Hub itself puts into a new
    Space."""
    names, metadata, text = names_in(there), "", ""
    if "README.md" in names:
        path = Path(hf_hub_download(there.id, "README.md", repo_type="space", revision=there.sha))
        parts = FRONT_MATTER.fullmatch(path.read_text(encoding="utf-8", errors="replace"))
        metadata, text = parts.groups("") if parts else ("", "not laid there by the Hub")
    empty = names <= {"README.md", ".gitattributes"} and MADE_BY_THE_HUB.fullmatch(text)
    if not (replace or empty or re.search(rf"\b{MARK}\b", metadata)):
        raise UserError(
            f"{there.id} was not created by this program: choose another name, or give --replace to delete "
            "what it holds."
        )


def names_in(there: SpaceInfo) -> set[str]:
    return {file.rfilename for file in there.siblings or ()}


def change(api: HfApi, there: SpaceInfo, model: str, hardware: str, private: bool) -> str:
    """Sets the model and hardware of an existing Space. Returns its hardware."""
    if private and not there.private:
        raise UserError(f"{there.id} is public on the Hub: make it private in its settings, or leave out --private.")
    if model:
        api.add_space_variable(there.id, VARIABLE, model)
    present = api.get_space_runtime(there.id).requested_hardware or ""
    if hardware and present != hardware:
        api.request_space_hardware(there.id, hardware)  # pyright: ignore[reportArgumentType] - the same
    return hardware or present


def upload(api: HfApi, there: SpaceInfo, files: dict[str, bytes], replace: bool, say: Callable[[str], object]) -> str:
    """Commits these files, unless the Space has them already. Returns the Space's commit.

    Deletes files that the program no longer has; with `replace`, deletes all other files.
    """
    gone = sorted(
        name for name in names_in(there) - files.keys() - {".gitattributes"}
        if replace or name.rpartition("/")[0] in FILES_OF.keys() - {""}
    )  # fmt: skip
    say(f"To be uploaded: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB together")
    for line in listing(files):
        say(line)
    if missing := [name for name in FILES if name not in files]:
        say(f"Left out, because this copy of the program does not have them: {', '.join(missing)}")
    if gone:
        say(f"To be deleted in the Space: {', '.join(gone)}")
    operations = [*(CommitOperationAdd(*file) for file in files.items()), *map(CommitOperationDelete, gone)]
    return api.create_commit(
        there.id, operations, commit_message="Face super-resolution", repo_type="space", parent_commit=there.sha
    ).oid


def listing(files: Iterable[str]) -> Iterator[str]:
    """Yields a line for each folder with its files."""
    for folder, names in groupby(sorted(files, key=lambda name: name.rpartition("/")), lambda n: n.rpartition("/")[0]):
        yield f"  {folder or '.'}: {' '.join(name.rpartition('/')[2] for name in names)}"


def for_zero_gpu(requirements: str) -> str:
    """Returns the requirements with the versions that ZeroGPU accepts."""
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
        outdated = runtime.raw.get("sha", commit) != commit  # the reported stage belongs to an earlier commit
        if stage == RUNNING and not outdated:
            return
        if stage not in (*ON_THE_WAY, RUNNING) and not outdated:
            for line in last_lines(api, space, build=stage == "BUILD_ERROR"):
                say(line)
            reason = re.sub(r"\s+", " ", runtime.raw.get("errorMessage") or "").strip()[:300]
            raise HubError(f"{space} does not run; its stage is {stage}{f' ({reason})' if reason else ''}.")
        if time.monotonic() > end:
            raise HubError(f"{space} is still in stage {stage} after {MINUTES} minutes: look at its page for the log.")
        time.sleep(3)


def last_lines(api: HfApi, space: str, build: bool) -> Iterator[str]:
    """Yields the last lines of the Space's log, or nothing if it is not available."""
    try:
        lines = [line.rstrip() for line in islice(api.fetch_space_logs(space, build=build), 10_000)]
    except (AttributeError, OSError, ValueError):  # AttributeError: an older huggingface_hub
        return
    yield from lines[-LOG_LINES:]
