"""Downloads models from the Hugging Face Hub, and explains its errors in one sentence each. The token is never
shown."""

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, ModelCard, get_token, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils import get_session

import srgan
from srgan.errors import UserError
from srgan.model_folder import LARGEST_JSON, WEIGHTS, brief, largest_weights, read_config

HTTPError = HfHubHTTPError.__mro__[1]
"""The client's exception for a failed connection: from httpx in huggingface_hub 1.x, from httpx2 in 2.x."""

SECONDS = 30.0
"""Timeout for a server that does not answer. The client sets none itself and would wait forever."""

HUB_NAME = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>\w[\w.-]*(/\w[\w.-]*)*))?", re.ASCII)
"""Matches USER/NAME or USER/NAME@REVISION. No part begins with a dot, so no name leads out of a folder."""

LOG_IN = "run `hf auth login`, or set HF_TOKEN"

LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"


class HubError(UserError):
    """An error that the Hub reports, or a failure to reach it.

    `wait`: seconds after which a new attempt may succeed; None if it cannot succeed.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True)
class FoundModel:
    """A model folder on this machine, and the name to show for it."""

    folder: Path
    name: str
    commit: str = ""
    """the commit on the Hub; "" for a local folder"""

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within this context, errors about downloaded files name the model instead of a path in the cache."""
        try:
            yield
        except UserError as error:
            if not self.commit:
                raise
            raise UserError(str(error).replace(str(self.folder), self.name)) from None


def hub() -> HfApi:
    get_session().timeout = SECONDS
    return HfApi(library_name="srgan", library_version=srgan.__version__)


def is_hub_name(model: str | Path) -> bool:
    """Returns whether `find_model` would look for this model on the Hub."""
    return isinstance(model, str) and not Path(model).is_dir() and HUB_NAME.fullmatch(model) is not None


def find_model(model: str | Path) -> FoundModel:
    """Finds a model: a local model folder or run folder of that name, or else USER/NAME or USER/NAME@REVISION, which is
    downloaded from the Hub."""
    folder = Path(model)
    if folder.is_dir():
        whole = (folder / "config.json").exists() or not (folder / "model" / "config.json").exists()
        return FoundModel(folder if whole else folder / "model", folder.resolve().name)
    if isinstance(model, Path):
        raise UserError(f"{model}: there is no such model folder.")
    if not (match := HUB_NAME.fullmatch(model)):
        raise UserError(
            f"{brief(model)}: there is no such model folder, and it is no name of a "
            "model on the Hub (USER/NAME or USER/NAME@REVISION)."
        )
    return pull(match["repo"], match["revision"])


def pull(repo_id: str, revision: str | None = None) -> FoundModel:
    """Downloads a model, unless it is cached. If the Hub cannot be reached, it uses an earlier download and says so."""
    asked = f"{repo_id}@{revision}" if revision else repo_id
    try:
        with told(asked):
            return download(repo_id, revision or "main", asked)
    except HubError as problem:
        if problem.wait is None:
            raise
        return in_hub_cache(repo_id, revision or "main", asked, problem)


def download(repo_id: str, revision: str, asked: str) -> FoundModel:
    """Downloads at most four files with fixed names. Checks sizes before the download and checksums before use."""
    commit = commit_of(hub().model_info(repo_id, revision=revision, expand=["sha"], timeout=SECONDS))
    wanted = ["config.json", "metrics.json", *WEIGHTS.values()]
    found = hub().get_paths_info(repo_id, wanted, revision=commit)
    files = {file.path: file for file in found if isinstance(file, RepoFile)}
    for name in ("config.json", WEIGHTS["detail"]):
        if name not in files:
            raise HubError(f"{asked} holds no model of this program: {name} is missing.")
    config = fetch(repo_id, files.pop("config.json"), commit, LARGEST_JSON)
    source = FoundModel(config.parent, f"{asked} ({commit[:7]})", commit)
    with source.named():
        largest = largest_weights(read_config(config).shapes())
    for name, file in files.items():
        fetch(repo_id, file, commit, LARGEST_JSON if name.endswith(".json") else largest)
    # Last and by its name, because this records in the cache which commit the name denotes, once it is complete.
    noted = Path(hf_hub_download(repo_id, "config.json", revision=revision))
    return (
        source if noted.parent.name == commit else download(repo_id, revision, asked)
    )  # somebody has pushed meanwhile


def commit_of(info: ModelInfo) -> str:
    """Returns the commit that the Hub's answer names, which the client declares as optional. Raises HubError without
    one."""
    if info.sha is None:
        raise HubError(f"{info.id}: the Hub did not name its commit: try again.", wait=5)
    return info.sha


def in_hub_cache(repo_id: str, revision: str, asked: str, problem: HubError) -> FoundModel:
    try:
        config = hf_hub_download(repo_id, "config.json", revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        raise HubError(f"{str(problem).rstrip('.')}; {asked} is not in the cache.") from None
    folder = Path(config).parent
    return FoundModel(folder, f"{asked} ({folder.name[:7]}, from the cache)", folder.name)


def fetch(repo_id: str, file: RepoFile, commit: str, largest: int) -> Path:
    """Downloads a file of a commit into the cache. Refuses a file of implausible size, and downloads a damaged one
    again."""
    if file.size > largest:
        raise HubError(f"{repo_id}: {file.path} has {file.size:,} bytes; it should have {largest:,} at most.")
    for force in (False, True):
        path = Path(hf_hub_download(repo_id, file.path, revision=commit, force_download=force))
        if is_unchanged(path.read_bytes(), file):
            return path
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    raise HubError(f"{repo_id}: {file.path} was damaged during the download, twice: try again.", wait=5)


def is_unchanged(data: bytes, file: RepoFile) -> bool:
    """Returns whether the data match the Hub's checksum of the file: SHA-256, or git's hash for a small file."""
    return file.lfs.sha256 == sha256(data) if file.lfs else file.blob_id == git_hash(data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def epoch_tags(repo_id: str) -> list[str]:
    """Returns the tags "epoch-20", "epoch-42", ... of epochs that can be loaded as USER/NAME@epoch-20; [] if there are
    none."""
    with told(repo_id):
        names = {tag.name for tag in hub().list_repo_refs(repo_id).tags}
    return sorted((name for name in names if re.fullmatch(r"epoch-\d{1,9}", name, re.ASCII)), key=epoch_of)


def epoch_of(tag: str) -> int:
    return int(tag.removeprefix("epoch-"))


def epoch_models(model: str | Path) -> list[str]:
    """Returns the names by which `find_model` loads the kept epochs of a model, in order. Returns [] for a folder, or
    if the Hub cannot be reached."""
    if not is_hub_name(model):
        return []
    repo_id = str(model).split("@")[0]
    try:
        return [f"{repo_id}@{tag}" for tag in epoch_tags(repo_id)]
    except HubError:
        return []


def check_card(text: str) -> None:
    """Asks the Hub to check the metadata of a model card. Raises UserError with its objection."""
    get_session().timeout = SECONDS
    with told("the model card"):
        try:
            card = ModelCard(text)
            card.validate()
        except ValueError as error:
            said = re.sub(r"^- (Error: )?", "", str(error).strip())
            if said.startswith('"license"'):
                raise UserError(
                    f"the Hub knows no licence {card.data.get('license')!r}: give --license as the Hub spells it, such "
                    f"as mit, cc-by-nc-4.0 or other (all of them: {LICENSES})."
                ) from None
            raise UserError(f"the Hub refuses the metadata of the model card: {brief(said).rstrip('. ')}.") from None


@contextmanager
def told(what: str) -> Iterator[None]:
    """Within this context, any exception of the Hub's client becomes a HubError about `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # for example, a proxy's answer can raise any exception
        raise explain(error, what) from error


def explain(error: Exception, what: str) -> HubError:
    """Explains in one sentence what went wrong and what to do. what: the repository or the task."""
    while isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the client wraps the error that stopped a large upload
    if isinstance(error, OfflineModeIsEnabled):
        return HubError("HF_HUB_OFFLINE is set, so the Hub is not used: unset it to use the Hub.", wait=math.inf)
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        return explain_status(error, what)
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return explain(error.__cause__, what)
    if isinstance(error, HFValidationError):
        return HubError(
            f"{what} is no valid name on the Hub: it takes USER/NAME, made of letters, digits, '-', '_' and '.'."
        )
    if isinstance(error, HTTPError):
        return HubError(f"{what}: the Hub cannot be reached ({client_message(error)}): check the connection.", wait=5)
    if "Consistency check failed" in str(error):
        return HubError(f"{what}: the connection broke off in the middle of a file: try again.", wait=5)
    kind = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
    return HubError(f"{what}: {kind}{client_message(error)}.")


def explain_status(error: HfHubHTTPError, what: str) -> HubError:
    status, headers = error.response.status_code, error.response.headers
    if status == 401 and get_token() and headers.get("X-Error-Code") not in ("RepoNotFound", "GatedRepo"):
        return HubError(f"{what}: the Hugging Face token is invalid or expired: {LOG_IN} to a new one.")
    if headers.get("X-Error-Code") == "GatedRepo":
        return HubError(
            f"{what}: its owner grants access on request: ask for it on the model's page on the Hub, and {LOG_IN}."
        )
    if status in (401, 404):
        missing = "no such revision" if headers.get("X-Error-Code") == "RevisionNotFound" else "no such repository"
        return HubError(
            f"{what}: {missing} on the Hub, or you may not see it: check the name; if it is private, {LOG_IN}."
        )
    if status == 403:
        return HubError(f"{what}: the Hugging Face token does not allow this (HTTP 403): {LOG_IN} to another one.")
    if status == 402:
        return HubError(f"{what}: the Hub requires a paid plan for this (HTTP 402): {client_message(error)}.")
    if status in (409, 412):
        return HubError(f"{what}: somebody else changed it at the same time (HTTP {status}): try again.", wait=2)
    if status == 429:
        seconds = headers.get("Retry-After", "")
        wait = float(seconds) if seconds.isdigit() else 60.0
        return HubError(f"{what}: the Hub received too many requests: try again in {wait:.0f} seconds.", wait=wait)
    if status >= 500 or status == 408:
        return HubError(f"{what}: the Hub has a problem (HTTP {status}): try again later.", wait=5)
    return HubError(f"{what}: the Hub refused the request (HTTP {status}: {client_message(error)}).")


def client_message(error: Exception) -> str:
    """Returns the client's own message, shortened and without the token, which some libraries quote if they cannot send
    it."""
    said = getattr(error, "server_message", None) or str(error) or type(error).__name__
    token = get_token()
    if (token and token in said) or "Bearer" in said:
        return type(error).__name__
    return brief(said).rstrip(". ")
