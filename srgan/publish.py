"""Push a run to the Hugging Face Hub: its model folder as one commit, and a tag for each kept epoch."""

import hashlib
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from huggingface_hub.utils import disable_progress_bars
from tqdm import tqdm

from srgan.card import CURVE_PICTURE, PEERS_FILE, hours, named, write_card
from srgan.config import data_name
from srgan.errors import UserError
from srgan.hub import LOG_IN, HubError, hub, is_same, told
from srgan.metrics import FIGURES
from srgan.model_folder import WEIGHTS, Model, load_model, save_model

BRANCH = "checkpoints"
"""Earlier epochs are committed there, so that `main` never holds anything but the latest model."""

TRIES = 3

LONGEST_WAIT = 300.0
"""Seconds; a Hub that asks for more is left alone."""

SIGNATURE = re.compile(r"\n<!-- srgan ([0-9a-f]{16}): an edited card is left as it is -->\s*\Z")


# Before the training


def check_push(name: str, data: str, private: bool, make: bool = True) -> str:
    """USER/NAME, once it is sure that this token may push there; the repository is made where there is none.

    name: USER/NAME; NAME alone or "" are completed from the user and the data folder. make: False only looks. Raises
    UserError with the cure.
    """
    user = check_token()
    with told(name or "--push"):
        repo_id = name if "/" in name else f"{user}/{name or default_name(data)}"
    if not make:
        return repo_id
    with told(repo_id):
        api = hub()
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise UserError(f"{repo_id} is public on the Hub: make it private in its settings, or leave out --private.")
        # This asks how a file would be uploaded, which only those who may write are told; nothing is uploaded.
        api.preupload_lfs_files(repo_id, [CommitOperationAdd("config.json", b"{}")])
    return repo_id


def check_token() -> str:
    """The user's name. Raises UserError where the token is missing, not valid or may only read."""
    token = get_token()
    if not token:
        raise UserError(f"pushing needs a Hugging Face token that may write, and there is none: {LOG_IN}.")
    if not re.fullmatch(r"[!-~]+", token):
        raise UserError(f"the Hugging Face token holds characters that no token has: {LOG_IN} to a whole one.")
    with told("pushing"):
        me = hub().whoami()
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"the Hugging Face token of {me['name']} may only read: {LOG_IN} to one that may write.")
    return me["name"]


def default_name(data: str) -> str:
    """ "srgan-" and the data folder's name, of the characters that the Hub takes."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", data_name(data)).strip("-")
    return f"srgan-{name}"[:90].strip("-")


# The push


def push(run: Path, repo_id: str, say: Callable[[str], object] = print) -> None:
    """Publishes a run folder, or a model folder. Doing it again completes what is missing, and changes nothing else.

    Raises HubError after a few tries where the Hub does not take it, UserError where there is no model to push.
    """
    for left in reversed(range(TRIES)):
        try:
            with told(repo_id):
                return push_once(run, repo_id, say)
        except HubError as error:
            if not left or error.wait is None or error.wait > LONGEST_WAIT:
                raise
            say(f"{error} Trying again.")
            time.sleep(error.wait)


def push_once(run: Path, repo_id: str, say: Callable[[str], object]) -> None:
    folder = run if (run / "config.json").exists() else run / "model"
    if not folder.is_dir():
        raise UserError(f"{run} holds no model yet: finish its training with train.py --resume.")
    model = load_model(folder)
    api = hub()
    head = api.model_info(repo_id).sha
    files = files_of(folder)
    if card := files.pop("README.md", b"").decode():
        card = card_to_push(repo_id, head, card)
        if card is None:
            say("The model card has been edited on the Hub and is left as it is there.")
        else:
            files["README.md"] = card.encode()
    last = (model.metrics.get("history") or [{}])[-1]
    commit = commit_files(api, repo_id, files, "main", f"{run.resolve().name}: {where(last)}", parent=head)
    say(f"{'Already there' if commit == head else 'Published'}: {api.endpoint}/{repo_id} (commit {commit[:7]})")
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
    if last.get("stage") == "detail":
        place_tag(api, repo_id, tags, Epoch(last["epoch"], files), lambda: commit, say)
    for epoch in kept_epochs(run, model, repo_id, files, say):
        if epoch.number != last.get("epoch"):
            place_tag(api, repo_id, tags, epoch, lambda e=epoch: commit_epoch(api, repo_id, e, commit), say)


def where(row: dict[str, Any]) -> str:
    return f"{row['stage']} stage, epoch {row['epoch']}" if "epoch" in row else "model"


def files_of(folder: Path) -> dict[str, bytes]:
    """A model folder's own files by their paths in it; nothing else that lies there."""
    names = ["config.json", "metrics.json", "README.md", "curves.png", PEERS_FILE, CURVE_PICTURE, *WEIGHTS.values()]
    paths = [folder / name for name in names] + sorted((folder / "samples").glob("*.png"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def commit_files(
    api: HfApi,
    repo_id: str,
    files: dict[str, bytes],
    branch: str,
    message: str,
    parent: str | None = None,
    deleted: tuple[str, ...] = (),
) -> str:
    """One commit; gives its hash, or where nothing has changed that of the branch. `parent` must still be its head."""
    operations: list[Any] = [CommitOperationAdd(name, content) for name, content in files.items()]
    operations += [CommitOperationDelete(name) for name in deleted]
    return api.create_commit(repo_id, operations, commit_message=message, revision=branch, parent_commit=parent).oid


# The card


def card_to_push(repo_id: str, head: str, text: str) -> str | None:
    """The card with the repository's name in it, signed; None where its owner has edited the one on the Hub.

    The signature is a checksum of the text above it: a card that does not match its own is somebody's work.
    """
    text = named(text, repo_id)
    try:
        there = Path(hf_hub_download(repo_id, "README.md", revision=head)).read_text(encoding="utf-8", errors="replace")
    except EntryNotFoundError:
        return sign(text)
    if is_signed(there):
        return sign(text)
    if re.sub(r"\A---\s.*?\n---\s", "", there, flags=re.DOTALL).strip():
        return None
    # A repository made on the website has a card of nothing but a licence, say: that is kept.
    card = ModelCard(text)
    for key, value in ModelCard(there, ignore_metadata_errors=True).data.to_dict().items():
        card.data[key] = value
    return sign(str(card))


def sign(text: str) -> str:
    return f"{text.rstrip()}\n\n<!-- srgan {checksum(text)}: an edited card is left as it is -->\n"


def is_signed(text: str) -> bool:
    text = text.replace("\r\n", "\n")
    match = SIGNATURE.search(text)
    return match is not None and match[1] == checksum(text[: match.start()])


def checksum(text: str) -> str:
    return hashlib.sha256(text.rstrip().encode()).hexdigest()[:16]


# Kept epochs and their tags


@dataclass(frozen=True)
class Epoch:
    """A model folder's files as they were after an epoch of the GAN stage."""

    number: int
    files: dict[str, bytes]

    @property
    def tag(self) -> str:
        return f"epoch-{self.number}"


def kept_epochs(
    run: Path, model: Model, repo_id: str, files: dict[str, bytes], say: Callable[[str], object]
) -> Iterator[Epoch]:
    """From the run's checkpoints of the GAN stage, one at a time: each takes about 100 MB to read."""
    for path in sorted((run / "checkpoints").glob("detail-*.pt")):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            weights, row = {"detail": state["networks"]["average"]}, state["history"][-1]
        except Exception as error:
            say(f"{path} cannot be read ({type(error).__name__}), so its epoch gets no tag.")
            continue
        if "fidelity" in model.weights:
            weights["fidelity"] = model.weights["fidelity"]
        figures = {name: value for name, value in model.metrics.get("figures", {}).items() if name == "bicubic"}
        figures["detail 1"] = {name: row[name] for name in FIGURES if name in row}
        metrics = {**model.metrics, "figures": figures, "history": state["history"]}
        training = as_of(model.config.training, state["position"])
        card = write_card(f"{run.resolve().name}, epoch {row['epoch']}", training, metrics, [])
        card = named(card, f"{repo_id}@epoch-{row['epoch']}")
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder), Model(replace(model.config, training=training), weights, metrics), card)
            extra = {name: files[name] for name in ("curves.png",) if name in files}
            yield Epoch(row["epoch"], {**files_of(Path(folder)), **extra})


def as_of(training: dict[str, Any], position: dict[str, Any]) -> dict[str, Any]:
    """What is told of a training, when it had come as far as this."""
    seen = {**training["data"]["seen"], position["stage"]: position["total"]}
    return {**training, "data": {**training["data"], "seen": seen}, "hours": hours(position["seconds"])}


def commit_epoch(api: HfApi, repo_id: str, epoch: Epoch, main: str) -> str:
    """Its folder as one commit on the branch of the checkpoints."""
    api.create_branch(repo_id, branch=BRANCH, revision=main, exist_ok=True)
    there = api.list_repo_files(repo_id, revision=BRANCH)
    deleted = tuple(name for name in there if name.startswith("samples/") and name not in epoch.files)
    return commit_files(api, repo_id, epoch.files, BRANCH, f"epoch {epoch.number}", deleted=deleted)


def place_tag(
    api: HfApi,
    repo_id: str,
    tags: dict[str, str],
    epoch: Epoch,
    commit: Callable[[], str],
    say: Callable[[str], object],
) -> None:
    """Tags the epoch's commit, which is made if there is need. A tag of other weights, an earlier run's, is moved."""
    before = tags.get(epoch.tag)
    if before and has_weights(api, repo_id, before, epoch.files):
        return
    target = commit()
    if before:
        api.delete_tag(repo_id, tag=epoch.tag)
    api.create_tag(repo_id, tag=epoch.tag, revision=target, exist_ok=True)
    say(f"Tagged: {repo_id}@{epoch.tag}" + (f", which named {before[:7]} before" if before else ""))


def has_weights(api: HfApi, repo_id: str, commit: str, files: dict[str, bytes]) -> bool:
    """Whether the weights of a commit are these."""
    names = [name for name in WEIGHTS.values() if name in files]
    there = {file.path: file for file in api.get_paths_info(repo_id, names, revision=commit)}
    return there.keys() == set(names) and all(is_same(files[name], file) for name, file in there.items())


# During the training


class Publisher:
    """Pushes a run every so many epochs from a thread of its own. What fails is told, and the training goes on."""

    def __init__(self, repo_id: str, every: int, write: Callable[[], Path]) -> None:
        """every: epochs, 0 for never; write: gives a model folder as it is now, which stays so until the next call."""
        self.repo_id, self.every, self.write = repo_id, every, write
        self.thread: threading.Thread | None = None

    def after_epoch(self, epoch: int) -> None:
        if not self.every or epoch % self.every:
            return
        if self.thread is not None and self.thread.is_alive():
            tqdm.write(f"Epoch {epoch} is not pushed: the push before it is still under way.")
            return
        with self.told():
            self.thread = threading.Thread(target=self.push, args=(self.write(),))
            self.thread.start()

    def push(self, folder: Path) -> None:
        disable_progress_bars()  # they would tear the training's
        with self.told():
            push(folder, self.repo_id, tqdm.write)

    @contextmanager
    def told(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            tqdm.write(f"Not pushed, and training goes on: {error}")

    def wait(self) -> None:
        if self.thread is not None:
            self.thread.join()
