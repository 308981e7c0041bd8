"""Names of collections of photos, and which of them are streamed."""

import re
from pathlib import Path


def is_stream(data: str) -> bool:
    """Returns whether `--data` is read from its beginning in every epoch, instead of decoded once into a cache."""
    return data.startswith("hf://") or data.endswith(".tar")


def hub_dataset(data: str) -> str:
    """USER/NAME for hf://USER/NAME or hf://USER/NAME@REVISION; "" for anything else."""
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(@.+)?", data)
    return found[1] if found else ""


def data_name(data: str) -> str:
    """Returns the name for a run on these photos: the name of their folder, zip, shards (without numbers) or data
    set."""
    if hub_dataset(data):
        return hub_dataset(data).partition("/")[2]
    path = Path(data).resolve()
    if path.suffix == ".tar":
        return re.sub(r"\{.*?\}", "", path.stem).strip("-_.") or path.parent.name
    return path.name.removesuffix(".zip")
