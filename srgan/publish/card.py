"""The model card of a run: what the model is, how to use it, how it was trained, how good it is, and its limits."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from srgan.errors import UserError
from srgan.files import write_whole
from srgan.measure.metrics import FIGURES
from srgan.model_folder import checkpoint_folders
from srgan.publish.facts import counted, told_data, told_settings
from srgan.training.config import Config
from srgan.training.records import Measured, Origin, PeersTable, TrainingFacts

PROTOCOL = (
    "Crops of {crop}x{crop} pixels were reduced by 4 (bicubic, antialiased, a = -0.5, rounded to 8 bits) and restored. "
    "PSNR-Y and SSIM-Y are measured on the BT.601 luma. PSNR-Y, SSIM-Y and PSNR-RGB leave out 4 pixels at each border. "
    "LPIPS is version 0.1 with AlexNet. The figures are means over {photos} photos that were not used for training."
)


PEERS_FILE, CURVE_PICTURE, FAILURES_FILE = "peers.json", "peers.png", "failures.md"
"""Files in the model folder that `add_to_card` puts into the card. benchmarks/quality.py writes the first two; the
model's owner writes the third."""


TERMS_LINE = "- Terms of the photos:"
"""The beginning of the card's line with the terms of the training photos."""


def add_to_card(folder: Path) -> None:
    """Adds PEERS_FILE and FAILURES_FILE to the card of a model folder. The rest of the card stays as it is."""
    place, peers, failures = (folder / name for name in ("README.md", PEERS_FILE, FAILURES_FILE))
    card = place.read_text(encoding="utf-8")
    if peers.exists():
        table: PeersTable = json.loads(peers.read_text(encoding="utf-8"))
        card = insert(card, "Beside others", peers_text(table), before="Training")
    if failures.exists():
        card = insert(card, "Where it fails", failures.read_text(encoding="utf-8"), before="Limits")
    write_whole(place, lambda path: path.write_text(card, encoding="utf-8"))


def insert(card: str, title: str, text: str, before: str) -> str:
    """Inserts a section before the section `before`, or at the end. Replaces a section of the same title."""
    card = re.sub(rf"^## {title}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    head, anchor, tail = card.partition(f"\n## {before}\n")
    return f"{head.rstrip()}\n\n## {title}\n\n{text.strip()}\n{anchor}{tail}"


def peers_text(peers: PeersTable) -> str:
    pictures = f"{peers['photos']} pictures of {peers['data']} ({peers['pictures']})"
    return f"""{figures_table(peers["figures"])}

Measured on {pictures}, the same for all systems, on {peers["date"]}. Low-resolution copies: {peers["low_resolution"]}.

![LPIPS over PSNR-Y]({CURVE_PICTURE})"""


def with_model_name(text: str, model: str) -> str:
    """Replaces the model's name in the card's example code, so that its reader loads this model."""
    return re.sub(r'Upscaler\.load\("(\\.|[^"\\])*"\)', lambda _: load_code(model), text)


def load_code(model: str) -> str:
    return f"Upscaler.load({json.dumps(model, ensure_ascii=False)})"


TWO_SETS = """`model.safetensors` holds the detail weights and `fidelity.safetensors` the fidelity weights. `detail`
blends them: 0 takes the fidelity weights alone, 1 the detail weights alone."""
ONE_SET = """`model.safetensors` holds the detail weights. There are no fidelity weights, so `detail` cannot be
chosen."""


def use_text(model: str, blends: bool) -> str:
    """Explains how to use the model in Python. blends: whether it has fidelity weights."""
    enlarge, sets = (
        ('enlarge(Image.open("small.png"), detail=0.8)', TWO_SETS)
        if blends
        else ('enlarge(Image.open("small.png"))', ONE_SET)
    )
    return f"""Run this where the program that trained the model is installed:

```python
from PIL import Image
from srgan import Upscaler

{load_code(model)}.{enlarge}.save("large.png")
```

{sets}"""


def shown_files(card: str) -> set[str]:
    """Returns the paths, relative to the card, of the files that the card links to or shows."""
    targets = re.findall(r"""\]\(\s*<?([^)>"]+?)>?\s*(?:"[^"]*"\s*)?\)|\bsrc=["']([^"']+)["']""", card)
    return {unquote(markdown or html).removeprefix("./") for markdown, html in targets}


def restated(card: str, license: str, terms: str) -> str:
    """Returns the card with this licence and these terms of the training photos. An empty string keeps the old value.

    Raises UserError if the card has no line with the terms.
    """
    if license:
        changed = ModelCard(card, ignore_metadata_errors=True)
        changed.data["license"] = license
        card = str(changed)
    if terms:
        line = f"{TERMS_LINE} {' '.join(terms.split())}"
        card, found = re.subn(rf"^{re.escape(TERMS_LINE)} .*$", lambda _: line, card, flags=re.MULTILINE)
        if not found:
            raise UserError(f"the card has no line {TERMS_LINE!r} to change: add the terms by hand.")
    return card


def restate(folder: Path, card: str, license: str, terms: str) -> None:
    """Writes the card ("" writes none), and puts licence and terms into the model folder's config.json.

    If the model belongs to a run, changes the run's checkpoints too, and its settings, from which a resumed run writes
    its card.
    """
    if card:
        write_file(folder / "README.md", card)
    settings = {name: value for name, value in (("license", license), ("data_terms", terms)) if value}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    training = config.get("training") or {}
    training["settings"] = {**training.get("settings", {}), **settings}
    if terms:
        training["data"] = {**training.get("data", {}), "terms": terms}
    write_file(folder / "config.json", json.dumps({**config, "training": training}, indent=2) + "\n")
    of_run = folder.parent / "settings.json"
    if folder.name == "model" and of_run.exists():
        saved = json.loads(of_run.read_text(encoding="utf-8"))
        write_file(of_run, json.dumps({**saved, **settings}, indent=2) + "\n")
        for checkpoint in checkpoint_folders(folder.parent):
            before = (checkpoint / "README.md").read_text(encoding="utf-8")
            restate(checkpoint, restated(before, license, terms), license, terms)


def write_file(path: Path, text: str) -> None:
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def draft_card(config: Config) -> str:
    """Returns a card with the future metadata and figures of 0, so that the Hub can check it before the training."""
    figures = {title: dict.fromkeys(FIGURES, 0.0) for title in ("detail 0", "detail 0.5", "detail 1")}
    measured: Measured = {"photos": 1, "figures": figures}
    metadata = card_data(config.run_folder().name, told_data(config), told_settings(config), measured)
    return f"---\n{metadata.to_yaml()}\n---\n"


def write_card(name: str, training: TrainingFacts, metrics: Measured, pictures: list[str], blends: bool = True) -> str:
    """Returns the card as Markdown, with the Hub's metadata at the top.

    pictures: paths inside the model folder; blends: whether the model has fidelity weights, so that `detail` can be
    chosen.
    """
    data, settings = training["data"], training["settings"]
    windows = settings.get("crop_at") == "random"
    hours = " + ".join(f"{value:g} h {stage}" for stage, value in training["hours"].items())
    photos = ", ".join(f"{count:,} in the {stage} stage" for stage, count in data["seen"].items())
    versions = ", ".join(f"{key} {value}" for key, value in training["versions"].items() if value)
    origin = origin_line(training.get("started_from"))
    shown = "\n".join(f"![{Path(picture).stem}]({quote(picture)})" for picture in pictures)
    return f"""---
{card_data(name, data["name"], settings, metrics).to_yaml()}
---
# {name}

This model enlarges {"photos" if windows else "face photos"} four times in width and height. It is an SRGAN generator
with {settings["blocks"]} residual blocks and {settings["channels"]} channels, without batch normalisation.

{shown}

## Use

{use_text(name, blends)}

## Figures

{figures_table(metrics["figures"])}

{PROTOCOL.format(crop=settings["crop"], photos=metrics["photos"])}

## Training

    {training["command"]}

- Photos: {data["name"]}, {data["train"]:,} {counted(settings)}, {data["held_out"]:,} held out for testing.
- Photos seen: {photos}.
{origin}{TERMS_LINE} {data["terms"] or "not stated"}
- Time: {hours}, on {training["hardware"]}, {training["date"]}.
- Versions: {versions}.

![Losses and figures over the epochs](curves.png)

## Limits

- It invents plausible detail. The result is not evidence of what was there, and a face can turn into another person's
  face. Lower `detail` if that matters.
- It was trained on {learned_from(settings)}
- It works best on pictures like its training photos, with the same subjects in the same poses.
"""


LEARNED_WEAR = {
    "copy": "clean copies, half of them reduced by bicubic, the others by one of four filters",
    "web": "copies with blur, noise and JPEG as on web sites and in messengers, reduced by one of four filters",
    "old": "copies with strong blur, noise and JPEG as in scans of old photos, many of them grey",
    "any": "a mix of clean copies, copies as on web sites and in messengers, and copies like scans of old photos",
}
"""Descriptions of the small pictures that a model learns from, for each `--degrade` except clean."""


def learned_from(settings: Mapping[str, Any]) -> str:
    """Describes the small pictures of the training, and so the kind of picture that the model can restore."""
    crops = f"bicubic reductions of {settings['crop']}x{settings['crop']} crops"
    worn = settings.get("degrade") or "clean"
    if worn == "clean":
        return f"clean {crops}. If a small picture\n  has noise, blur or JPEG blocks, they are enlarged too."
    return f"{crops},\n  degraded with `--degrade {worn}`: {LEARNED_WEAR.get(worn, 'blur, noise and JPEG')}."


def origin_line(origin: Origin | None) -> str:
    if not origin:
        return ""
    seen = f", which had seen {origin['photos']:,} photos in {origin['hours']:g} h" if origin["photos"] else ""
    terms = f" Its terms hold for this model too: {origin['terms']}" if "terms" in origin else ""
    return f"- Started from: {origin['model']}{seen}.{terms}\n"


def card_data(name: str, photos: str, settings: Mapping[str, Any], measured: Measured) -> ModelCardData:
    """Returns the card's metadata: each figure with its protocol, and a licence only if one was stated.

    name: of the model; photos: name of the training photos.
    """
    results = eval_results(photos, measured)
    faces = [] if settings.get("crop_at") == "random" else ["face-super-resolution"]
    data = ModelCardData(
        library_name="srgan",
        pipeline_tag="image-to-image",
        license=settings.get("license") or None,
        tags=["super-resolution", "image-super-resolution", *faces, "srgan", "gan", "pytorch"],
        datasets=[dataset_id(photos)],
        metrics=list(dict.fromkeys(result.metric_type for result in results)),
        model_name=name,
        eval_results=results or None,
    )
    if data.eval_results is None:  # the client would write only the name, which the Hub rejects
        data.pop("model_name")
    return data


def dataset_id(name: str) -> str:
    """Returns a name that the Hub accepts. USER/NAME stays as it is; in others, invalid characters become hyphens."""
    return name if "/" in name else re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "photos"


def eval_results(data: str, measured: Measured) -> list[EvalResult]:
    """Returns the model's figures as entries for the Hub's model-index. Only the card's table also has the figures for
    bicubic and for the initial model."""
    return [
        EvalResult(
            task_type="image-to-image",
            task_name="4x super-resolution",
            dataset_type=dataset_id(data),
            dataset_name=f"{data}, {measured['photos']} held-out photos",
            dataset_split="held-out",
            metric_type=figure.kind,
            metric_name=f"{figure.title} ({', '.join(filter(None, (figure.unit, figure.protocol)))}), {title}",
            metric_value=round(row[column], 4),
        )
        for title, row in measured["figures"].items()
        for column, figure in FIGURES.items()
        if title.startswith("detail ") and column in row and math.isfinite(row[column])  # the Hub rejects others
    ]


def figures_table(figures: dict[str, dict[str, float]]) -> str:
    columns = {name: figure for name, figure in FIGURES.items() if any(name in row for row in figures.values())}
    headings = [figure.heading() for figure in columns.values()]
    lines = ["| | " + " | ".join(headings) + " |", "|---" * (len(columns) + 1) + "|"]
    for title, row in figures.items():
        cells = (figure.show(row[name]) if name in row else "" for name, figure in columns.items())
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
