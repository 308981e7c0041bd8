"""Publishes a run on the Hugging Face Hub: its model folder as one commit, and a tag for each kept epoch."""

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token, hf_hub_download
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import validate_repo_id

from srgan.errors import UserError
from srgan.hub import LOG_IN, HubError, check_card, commit_of, hub, is_unchanged, told
from srgan.model_folder import LARGEST_JSON, WEIGHTS, checkpoint_folders, load_model, read_config
from srgan.photos.names import data_name
from srgan.publish.card import CURVE_PICTURE, PEERS_FILE, shown_files, with_model_name

BRANCH = "checkpoints"
"""Earlier epochs are committed on this branch, so that `main` only ever holds the latest model."""

FILES = ("config.json", "metrics.json", "curves.png", PEERS_FILE, CURVE_PICTURE, *WEIGHTS.values())
"""The files of a model folder that are published beside the card and its pictures, if they exist. A file of this
list that only the Hub has belongs to an earlier model."""

CREDITS = "credits.csv"
"""The authors of the training photos. The file is published with the model and never deleted, because an owner may
have added one."""

TRIES = 3

LONGEST_WAIT = 300.0
"""Longest pause in seconds before a new attempt. If the Hub asks for a longer one, the push gives up."""

SIGNATURE = re.compile(r"\n<!-- srgan ([0-9a-f]{16}): an edited card is left as it is -->\s*\Z")


# Before the training


def check_push(name: str, data: str, private: bool, card: str, make: bool = True) -> str:
    """Checks that the Hub will accept the model, and returns USER/NAME. Creates the repository if it does not exist.

    name: USER/NAME; NAME alone or "" is completed from the user and the data folder. card: the part of the model card
    that is known already, "" for none. make: False checks without creating the repository. Raises UserError with
    advice.
    """
    user = check_token()
    repo_id = name if "/" in name else f"{user}/{name or default_name(data)}"
    with told(repo_id):
        validate_repo_id(repo_id)
    if card:
        check_card(card)
    if not make:
        return repo_id
    with told(repo_id):
        api = hub()
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        if private and not api.model_info(repo_id).private:
            raise UserError(f"{repo_id} is public on the Hub: make it private in its settings, or leave out --private.")
        # Asks how a file would be uploaded. The Hub tells this only to those who may write. Nothing is uploaded.
        api.preupload_lfs_files(repo_id, [CommitOperationAdd("config.json", b"{}")])
        check_not_anothers(api, repo_id)
    return repo_id


def check_not_anothers(api: HfApi, repo_id: str) -> None:
    """Raises UserError if the repository holds another program's model, which would be overwritten."""
    there = {file.path: file for file in api.get_paths_info(repo_id, ["config.json", *WEIGHTS.values()])}
    if there and not is_of_this_program(repo_id, there.get("config.json")):
        raise UserError(f"{repo_id} holds a model of another program, which would be overwritten: choose another name.")


def is_of_this_program(repo_id: str, config: RepoFile | RepoFolder | None) -> bool:
    """Returns whether a config.json on the Hub belongs to this program."""
    if not isinstance(config, RepoFile) or config.size > LARGEST_JSON:
        return False
    path = Path(hf_hub_download(repo_id, config.path))
    try:
        read_config(path)
    except UserError:
        return False
    return True


def check_token() -> str:
    """Returns the user's name. Raises UserError if the token is missing, invalid or read-only."""
    token = get_token()
    if not token:
        raise UserError(f"publishing needs a Hugging Face token that may write, and there is none: {LOG_IN}.")
    if not re.fullmatch(r"[!-~]+", token):
        raise UserError(f"the Hugging Face token contains characters that no token has: {LOG_IN} again.")
    with told("pushing"):
        me = hub().whoami()
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"the Hugging Face token of {me['name']} may only read: {LOG_IN} to one that may write.")
    return me["name"]


def default_name(data: str) -> str:
    """Returns "srgan-" and the data folder's name, in characters that the Hub accepts."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", data_name(data)).strip("-")
    return f"srgan-{name}"[:90].strip("-")


# The push


def push(run: Path, repo_id: str, say: Callable[[str], object] = print) -> None:
    """Publishes a run folder or a model folder. A repeated call only adds what is missing.

    Raises HubError if the Hub refuses after several attempts, UserError if there is no model.
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
    folder = model_folder(run)
    model = load_model(folder)
    api = hub()
    main = look_at(api, repo_id, "main")
    files = files_of(folder)
    if card := files.pop("README.md", b"").decode():
        card = card_to_push(repo_id, main.card, card)
        if card is None:
            say("The model card was edited on the Hub, so it is left as it is there.")
        else:
            files["README.md"] = card.encode()
    last = (model.metrics.get("history") or [{}])[-1]
    commit = commit_files(api, repo_id, main, files, left_over(main, files), f"{run.resolve().name}: {where(last)}")
    say(
        f"{'Already published' if commit == main.head else 'Published'}: {api.endpoint}/{repo_id} (commit {commit[:7]})"
    )
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo_id).tags}
    if last.get("stage") == "detail":
        place_tag(api, repo_id, tags, Epoch(last["epoch"], files), lambda: commit, say)
    for epoch in kept_epochs(run, repo_id, say):
        if epoch.number != last.get("epoch"):
            place_tag(api, repo_id, tags, epoch, lambda e=epoch: commit_epoch(api, repo_id, e, commit, files), say)


def model_folder(run: Path) -> Path:
    """Returns the model folder of a run, or the folder itself if it is a model folder."""
    folder = run if (run / "config.json").exists() else run / "model"
    if not folder.is_dir():
        raise UserError(f"{run} holds no model yet: finish its training with train.py --resume.")
    return folder


def where(row: dict[str, Any]) -> str:
    return f"{row['stage']} stage, epoch {row['epoch']}" if "epoch" in row else "model"


def files_of(folder: Path) -> dict[str, bytes]:
    """Reads the files of the model and the samples that the card shows, and no others. Returns them by their paths
    relative to the folder."""
    card = folder / "README.md"
    samples = samples_in(card.read_text(encoding="utf-8")) if card.is_file() else set()
    paths = (folder / name for name in (*FILES, CREDITS, card.name, *sorted(samples)))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def samples_in(card: str) -> set[str]:
    return {name for name in shown_files(card) if re.fullmatch(r"samples/[^/\\]+\.png", name)}


@dataclass(frozen=True)
class Branch:
    """The state of a branch when it was read."""

    name: str
    head: str
    files: frozenset[str]
    card: str
    """its README.md; "" if it has none"""


def look_at(api: HfApi, repo_id: str, name: str) -> Branch:
    info = api.model_info(repo_id, revision=name)
    files = frozenset(file.rfilename for file in info.siblings or ())
    card = ""
    if "README.md" in files:
        path = Path(hf_hub_download(repo_id, "README.md", revision=info.sha))
        card = path.read_text(encoding="utf-8", errors="replace")
    return Branch(name, commit_of(info), files, card)


def left_over(branch: Branch, files: dict[str, bytes], brought: Collection[str] = ()) -> list[str]:
    """Lists the files of an earlier model on the branch that would be taken for parts of this one.

    Files that an owner has added, and pictures that an edited card shows, are not listed. brought: names of other files
    that have been published.
    """
    own, card = {*FILES, *brought}, branch.card
    if is_signed(card):
        own |= {"README.md", *samples_in(card)}
        card = ""
    card = files["README.md"].decode() if "README.md" in files else card
    shown = {name for name in shown_files(card) if name.endswith(".png")}
    return sorted((own & branch.files) - files.keys() - shown)


def commit_files(
    api: HfApi, repo_id: str, branch: Branch, files: dict[str, bytes], deleted: list[str], message: str
) -> str:
    """Makes one commit on the branch, which must not have changed since it was read. Returns the commit's hash, or the
    branch's latest if nothing changes."""
    operations: list[Any] = [CommitOperationAdd(name, content) for name, content in files.items()]
    operations += [CommitOperationDelete(name) for name in deleted]
    return api.create_commit(
        repo_id, operations, commit_message=message, revision=branch.name, parent_commit=branch.head
    ).oid


# The card


def card_to_push(repo_id: str, there: str, text: str) -> str | None:
    """Returns the card with the repository's name, signed; None if the owner has edited the card that is there.

    The signature is a checksum of the text above it. A card that does not match its signature was edited.
    """
    text = with_model_name(text, repo_id)
    if not there or is_signed(there):
        return sign(text)
    if re.sub(r"\A---\s.*?\n---\s", "", there, flags=re.DOTALL).strip():
        return None
    # For example, a repository made on the website may have a card with only a licence, which is kept.
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
    """The files of a model folder after an epoch of the detail stage."""

    number: int
    files: dict[str, bytes]

    @property
    def tag(self) -> str:
        return f"epoch-{self.number}"


def kept_epochs(run: Path, repo_id: str, say: Callable[[str], object]) -> Iterator[Epoch]:
    """Yields the model folders of the run's checkpoints in the detail stage, in order."""
    for folder in checkpoint_folders(run, "detail"):
        try:
            number = load_model(folder).metrics["history"][-1]["epoch"]
        except (UserError, LookupError) as error:
            say(f"{folder} cannot be read ({error}), so its epoch is not tagged.")
            continue
        files = files_of(folder)
        card = with_model_name(files["README.md"].decode(), f"{repo_id}@epoch-{number}")
        yield Epoch(number, {**files, "README.md": card.encode()})


def commit_epoch(api: HfApi, repo_id: str, epoch: Epoch, main: str, on_main: Collection[str]) -> str:
    """Commits the epoch's folder on the branch of the checkpoints. That branch starts at the commit `main`, with which
    `on_main` was published."""
    api.create_branch(repo_id, branch=BRANCH, revision=main, exist_ok=True)
    branch = look_at(api, repo_id, BRANCH)
    deleted = left_over(branch, epoch.files, on_main)
    return commit_files(api, repo_id, branch, epoch.files, deleted, f"epoch {epoch.number}")


def place_tag(
    api: HfApi,
    repo_id: str,
    tags: dict[str, str],
    epoch: Epoch,
    commit: Callable[[], str],
    say: Callable[[str], object],
) -> None:
    """Tags the epoch's commit, and makes the commit if needed. A tag of an earlier run with other weights is moved."""
    before = tags.get(epoch.tag)
    if before and has_weights(api, repo_id, before, epoch.files):
        return
    target = commit()
    if before:
        api.delete_tag(repo_id, tag=epoch.tag)
    api.create_tag(repo_id, tag=epoch.tag, revision=target, exist_ok=True)
    say(f"Tagged: {repo_id}@{epoch.tag}" + (f", which named {before[:7]} before" if before else ""))


def has_weights(api: HfApi, repo_id: str, commit: str, files: dict[str, bytes]) -> bool:
    """Returns whether a commit holds exactly these weights."""
    found = api.get_paths_info(repo_id, [*WEIGHTS.values()], revision=commit)
    there = {file.path: file for file in found if isinstance(file, RepoFile)}
    names = files.keys() & set(WEIGHTS.values())
    return there.keys() == names and all(is_unchanged(files[name], file) for name, file in there.items())


# During the training
