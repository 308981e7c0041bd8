"""Measures one or more models and other systems on the same pictures, in one run.

    python benchmarks/quality.py --data Set5 --lpips FILE --peers FOLDER
    python benchmarks/quality.py --data img_align_celeba --last 60 --degrade clean jpeg75 web old --lpips FILE \\
        --peers FOLDER --model weights/celeba-faces weights/photos --card
    python benchmarks/quality.py --data Set5 --lpips FILE --unpaired OLD-PHOTOS --out SOMEWHERE

Peers come from packages and files that benchmarks/peers.py names. Missing peers are reported and left out. After each
table, quality.json, quality.md and quality-<data>.png (LPIPS over PSNR-Y) are written into --out; at the end,
quality-sheet.png. Tables of earlier runs in --out stay unless they are measured again. --card also writes the first
table and its curve into the folder of the first model, and adds them and the folder's failures.md to the model card.
--unpaired adds quality-unpaired.png, for judging by eye: small photos without a larger original, enlarged by each
system.
"""

import argparse
import datetime
import json
import sys
import tempfile
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from peers import PEERS, Absent
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from srgan.commands.evaluate import copies_made
from srgan.degradation.chain import KINDS
from srgan.errors import UserError
from srgan.files import write_whole
from srgan.measure.evaluation import BICUBIC, Restore, Row, blends, evaluate, means
from srgan.measure.metrics import LPIPS
from srgan.measure.pairs import high_folder, open_pictures
from srgan.models import SCALE
from srgan.photos.finding import find_photos
from srgan.pictures.images import normalize, open_rgb, reduce, to_pixels, to_tensor
from srgan.publish.card import CURVE_PICTURE, PEERS_FILE, add_to_card, figures_table
from srgan.reports.pictures import save_samples, save_sheet, upper_square
from srgan.upscaler import SHIPPED_MODEL, Upscaler

DETAILS = (0.0, 0.25, 0.5, 0.75, 1.0)

IN_SHEET = ("bicubic", "SRGAN (krasserm)", "Real-ESRGAN x4plus", "RealSR DF2K")
"""Systems in the sheet beside the models at detail 0 and 1."""

OURS, THEIRS = ("#c2185b", "#1565c0", "#6a1b9a"), "#455a64"
"""Colours of the models, in order, and the colour of the peers."""

MARKS = "s^vD<>pPX*hd"

SHEET_SIDE = 192
"""Side in pixels of the squares that are cut from the pictures for the sheets."""


ABOUT = """# Quality, side by side

Written by `benchmarks/quality.py`; its first lines say how to repeat it. Every system enlarges the same 8-bit
low-resolution pictures four times, and its result is rounded to 8 bits. PSNR and SSIM leave out 4 pixels at each
border; -Y means that they are measured on the BT.601 luma. LPIPS is version 0.1 with AlexNet. The figures are means
over the pictures; the numbers in brackets are millions of parameters. The other systems were trained on general photos,
and Real-ESRGAN is made to repair degraded pictures rather than to stay close to the original."""


def main() -> int:
    arguments = parse()
    try:
        return run(arguments)
    except UserError as error:
        print(f"quality.py: {error}", file=sys.stderr)
        return 2


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders, as `python -m srgan evaluate` takes"
    )
    parser.add_argument(
        "--last", type=int, metavar="N", help="use only the last N photos by name of folders without HR/"
    )
    parser.add_argument(
        "--degrade", choices=KINDS, nargs="+", default=["clean"],
        help="kinds of wear of the low-resolution copies, each a table of its own (default: clean)",
    )  # fmt: skip
    parser.add_argument(
        "--unpaired", type=Path, metavar="DIR", help="photos without larger originals, for a sheet to look at"
    )
    parser.add_argument("--lpips", required=True, metavar="FILE", help="LPIPS v0.1 Alex weights, .safetensors")
    parser.add_argument("--model", nargs="+", default=[SHIPPED_MODEL], help="model folders (default: weights/photos)")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", help="folder with the files that benchmarks/peer_networks.py names"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        default=HERE.parent / "examples",
        help="pictures of the contact sheet (default: examples/)",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the results (default: benchmarks/)")
    parser.add_argument("--card", action="store_true", help="put the first table into the first model's card")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    models, lpips = [Upscaler.load(model) for model in arguments.model], LPIPS.load(arguments.lpips)
    device, side = models[0].device, max(model.model.config.crop() for model in models)
    systems, parameters, absent = gather(models, arguments.peers)
    for name, reason in absent.items():
        print(f"{name} is left out: {reason}.", file=sys.stderr)
    about = {
        "models": [model.name for model in models], "precision": str(models[0].dtype).removeprefix("torch."),
        "date": datetime.date.today().isoformat(), "parameters": parameters, "absent": absent,
    }  # fmt: skip
    measured = []
    for folder in arguments.data:
        for kind in arguments.degrade:
            pictures = open_pictures(folder, side, last=None if high_folder(folder) else arguments.last)
            data = folder.resolve().name
            shown = tqdm(pictures, table_name(data, kind), leave=False)
            rows = evaluate(systems, shown, lpips.to(device), device, degrade=kind)
            measured.append({
                **about, "data": data, "degrade": kind, "photos": len(rows["bicubic"]), "pictures": pictures.what,
                "low_resolution": copies_made(pictures.copies, kind), "left_out": pictures.left_out,
                "figures": means(rows),
            })  # fmt: skip
            print(f"{table_name(data, kind)}\n{figures_table(measured[-1]['figures'])}", flush=True)
            save_table(measured[-1], arguments.out)
    save_contact_sheet(systems, arguments.sheet, arguments.out / "quality-sheet.png")
    if arguments.unpaired:
        save_unpaired_sheet(systems, arguments.unpaired, arguments.out / "quality-unpaired.png")
    if arguments.card:
        put_into_card(Path(arguments.model[0]), measured[0])
    return 0


def save_table(table: Mapping[str, Any], out: Path) -> None:
    """Adds a table and its curve to those in `out`."""
    name, file = table_name(table["data"], table["degrade"]), out / "quality.json"
    tables = json.loads(file.read_text()) if file.exists() else {}
    tables[name] = table
    write_whole(file, lambda path: path.write_text(json.dumps(tables, indent=2) + "\n"))
    write_whole(out / "quality.md", lambda path: path.write_text(to_markdown(tables)))
    save_curve(table, out / f"quality-{name}.png")


def table_name(data: str, kind: str) -> str:
    return data if kind == "clean" else f"{data}-{kind}"


def gather(models: list[Upscaler], files: Path | None) -> tuple[dict[str, Restore], dict[str, int], dict[str, str]]:
    """Returns the systems, the number of parameters of each network, and the reason for each peer that is left out."""
    systems, parameters, absent = dict(BICUBIC), {}, {}
    for name, load in PEERS.items():
        try:
            systems[name], parameters[name] = load(files)
        except Absent as reason:
            absent[name] = str(reason)
    for model in models:
        count = sum(value.numel() for value in model.model.weights["detail"].values())
        for name, restore in blends(model, DETAILS if model.can_blend else DETAILS[-1:]).items():
            if f"{model.name}, {name}" in systems:
                raise UserError(f"two models are called {model.name}: rename the folder of one.")
            systems[f"{model.name}, {name}"], parameters[f"{model.name}, {name}"] = restore, count
    return systems, {name: n for name, n in parameters.items() if n}, absent


def to_markdown(tables: Mapping[str, Any]) -> str:
    parts = [ABOUT]
    for data, kinds in by_data(tables).items():
        if len(kinds) > 1:
            parts.append(f"## {data} by kind of wear\n\nPSNR-Y / LPIPS.\n\n{wear_table(kinds)}")
    for name, table in tables.items():
        sized = {titled(system, table["parameters"]): row for system, row in table["figures"].items()}
        absent = "".join(f" {system} is left out: {reason}." for system, reason in table["absent"].items())
        parts.append(
            f"## {name}\n\n{table['photos']} pictures ({table['pictures']}); low-resolution copies: "
            f"{table['low_resolution']}. Our models ran in {table['precision']}. {table['date']}.{absent}\n\n"
            f"{figures_table(sized)}\n\n![LPIPS over PSNR-Y](quality-{name}.png)"
        )
    return "\n\n".join([*parts, "## Free pictures\n\n![side by side](quality-sheet.png)"]) + "\n"


def by_data(tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Groups the tables: {data: {kind of wear: table}}."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables.values():
        found.setdefault(table["data"], {})[table["degrade"]] = table
    return found


def wear_table(kinds: Mapping[str, Any]) -> str:
    """Returns a table with a row for each system and a column for each kind of wear."""
    figures = {kind: table["figures"] for kind, table in kinds.items()}
    lines = ["| system | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for system in dict.fromkeys(system for rows in figures.values() for system in rows):
        lines.append(f"| {system} | " + " | ".join(cell(rows.get(system)) for rows in figures.values()) + " |")
    return "\n".join(lines)


def cell(row: Row | None) -> str:
    return f"{row['psnr_y']:.2f} / {row['lpips']:.3f}" if row else ""


def titled(system: str, parameters: Mapping[str, int]) -> str:
    return f"{system} ({parameters[system] / 1e6:.2f})" if system in parameters else system


def save_curve(table: Mapping[str, Any], path: Path) -> None:
    """Plots LPIPS over PSNR-Y: a line for each model's blends, and a different mark for each peer."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.add_subplot(
        xlabel="PSNR-Y, dB (fidelity, more is better)", ylabel="LPIPS (less is better)", yscale="log"
    )
    points = {name: (row["psnr_y"], row["lpips"]) for name, row in table["figures"].items()}
    peers = list(points)
    for model, colour in zip(table["models"], cycle(OURS)):
        own = [name for name in points if name.startswith(f"{model}, ")]
        peers = [name for name in peers if name not in own]
        line = zip(*(points[name] for name in own), strict=True)
        axes.plot(*line, "o-", color=colour, linewidth=2.5, markersize=6, zorder=3, label=f"{model}, by detail")
        for name in own:
            detail = name.rpartition(" ")[-1]
            axes.annotate(detail, points[name], (8, -3), textcoords="offset points", color=colour, fontsize=8)
    for name, mark in zip(peers, cycle(MARKS)):
        axes.plot(*points[name], mark, color=THEIRS, markersize=8, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    axes.annotate(
        "better", (0.985, 0.03), (0.9, 0.11), xycoords="axes fraction", color="#2e7d32", ha="center",
        arrowprops={"arrowstyle": "-|>", "color": "#2e7d32", "linewidth": 2},
    )  # fmt: skip
    axes.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
    axes.yaxis.set_minor_formatter(FormatStrFormatter("%.2f"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="both")
    axes.margins(x=0.08, y=0.12)
    write_whole(path, lambda partial: figure.savefig(partial, dpi=150))


def save_contact_sheet(systems: Mapping[str, Restore], pictures: Path, path: Path) -> None:
    """Saves a sheet of upper middle squares, with a row per picture of the folder (without subfolders) and a column per
    system."""
    photos = [photo for photo in find_photos(pictures) if photo.parent == pictures]
    high = torch.stack([to_tensor(upper_square(open_rgb(photo), SHEET_SIDE)) for photo in photos])
    draw_sheet(systems, [photo.name for photo in photos], reduce(normalize(high)), high, path)


def save_unpaired_sheet(systems: Mapping[str, Restore], pictures: Path, path: Path) -> None:
    """Saves the same sheet for photos without a larger original. The last column shows the photo's pixels, enlarged."""
    photos = find_photos(pictures)
    low = torch.stack([to_tensor(upper_part(open_rgb(photo), SHEET_SIDE)) for photo in photos])
    high = low.repeat_interleave(SCALE, dim=-1).repeat_interleave(SCALE, dim=-2)
    draw_sheet(systems, [photo.name for photo in photos], normalize(low), high, path)


def upper_part(picture: Image.Image, side: int) -> Image.Image:
    """Returns the upper middle square of `side` pixels. A smaller picture is extended by repeating its edges."""
    left = max(0, (picture.width - side) // 2)
    part = np.asarray(picture.crop((left, 0, min(picture.width, left + side), min(picture.height, side))))
    missing = ((0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0))
    return Image.fromarray(np.pad(part, missing, mode="edge"))


def draw_sheet(systems: Mapping[str, Restore], names: list[str], low: Tensor, last: Tensor, path: Path) -> None:
    """Draws the sheet. low: floats in [-1, 1]. last: uint8, the pictures in the last column."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        ends = tuple(f", detail {detail:g}" for detail in (DETAILS[0], DETAILS[-1]))
        shown = {name: restore for name, restore in systems.items() if name in IN_SHEET or name.endswith(ends)}
        for name, restore in shown.items():
            save_samples(Path(folder) / name, names, to_pixels(restore(low)))
        save_samples(Path(folder) / "original", names, last)
        save_sheet(Path(folder), {name: name for name in [*shown, "original"]}, names, path)


def put_into_card(model: Path, table: Mapping[str, Any]) -> None:
    write_whole(model / PEERS_FILE, lambda path: path.write_text(json.dumps(table, indent=2) + "\n"))
    save_curve(table, model / CURVE_PICTURE)
    add_to_card(model)


if __name__ == "__main__":
    sys.exit(main())
