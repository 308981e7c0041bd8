"""Pictures of a run: loss curves, the held-out photos after every epoch, and the sheet that compares them."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from srgan.files import with_ending, write_whole
from srgan.pictures.images import enlarge_bicubic, normalize, reduce, to_picture, to_pixels, to_tensor
from srgan.training.records import EpochRow
from srgan.upscaler import Upscaler

matplotlib.use("Agg")

CURVES = {
    "Generator loss": ("generator", "pixel"),
    "Discriminator loss": ("discriminator",),
    "D(real), D(fake)": ("d_real", "d_fake"),
    "PSNR-Y on held-out photos, dB": ("psnr_y",),
    "SSIM-Y on held-out photos": ("ssim_y",),
    "LPIPS on held-out photos": ("lpips",),
}
"""The panels of the curves with their columns of the history. A panel without values is left out."""

TITLE_WIDTH = 120
"""Width in pixels of a column's title in the sheet."""

LONGEST_NAME = 200
"""Most bytes of a photo's path that the name of its samples keeps, because disks allow names of 255 bytes."""

LABELS = {"pixel": "fidelity stage (L1)", "generator": "detail stage", "d_real": "D(real)", "d_fake": "D(fake)"}


def save_curves(history: list[EpochRow], path: Path) -> None:
    """Plots losses and figures over the epochs of both stages, and saves the plot as PNG."""
    shown = panels(history)
    figure = Figure(figsize=(10, 2.8 * ((len(shown) + 1) // 2)), layout="constrained")
    for place, (title, names) in enumerate(shown.items(), start=1):
        draw_panel(figure.add_subplot((len(shown) + 1) // 2, 2, place), title, names, history)
    write_whole(path, lambda partial: figure.savefig(partial, dpi=100))


def panels(history: list[EpochRow]) -> dict[str, list[str]]:
    """Returns the panels of CURVES that have values, with the columns that exist."""
    found = {
        title: [name for name in names if any(name in row.values for row in history)] for title, names in CURVES.items()
    }
    return {title: names for title, names in found.items() if names}


def draw_panel(axes: Axes, title: str, names: list[str], history: list[EpochRow]) -> None:
    axes.set(title=title, xlabel="epoch", xlim=(0.5, len(history) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for name in names:
        points = [(epoch, row.values[name]) for epoch, row in enumerate(history, start=1) if name in row.values]
        axes.plot(*zip(*points, strict=True), marker=".", label=LABELS.get(name))
    change = next((i for i in range(1, len(history)) if history[i].stage != history[i - 1].stage), None)
    if change is not None:
        axes.axvline(change + 0.5, color="grey", linestyle=":")
    if len(names) > 1:
        axes.legend()
    axes.grid(alpha=0.3)


def save_samples(folder: Path, names: list[str], pixels: Tensor) -> None:
    """Saves each picture, uint8 [N, 3, H, W], as a PNG under its photo's name."""
    for name, picture in zip(sample_names(names).values(), pixels, strict=True):
        write_whole(folder / name, lambda path, picture=picture: to_picture(picture).save(path))


def sample_names(photos: list[str]) -> dict[str, str]:
    """Returns the file name of the samples of each held-out photo, by the photo's path in its folder.

    No two names denote the same file on any disk. Of a long path, the end is kept.
    """
    flat = [Path(photo).as_posix().replace("/", "-") for photo in photos]
    short = [Path(name.encode()[-LONGEST_NAME:].decode(errors="ignore")) for name in flat]
    return {photo: str(name) for photo, name in zip(photos, with_ending(short, "png"), strict=True)}


def save_sheet(samples: Path, columns: dict[str, str], names: list[str], path: Path) -> None:
    """Saves a sheet as PNG, with a row for each photo and a column for each title and subfolder of `samples`. All
    pictures have the size of the originals."""
    files = sample_names(names).values()
    rows = [[Image.open(samples / folder / file) for folder in columns.values()] for file in files]
    side = rows[0][-1].width
    cell, gap, head = max(side, TITLE_WIDTH), 8, 28
    sheet = Image.new("RGB", (len(columns) * (cell + gap) + gap, len(rows) * (side + gap) + gap + head), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        left = gap + column * (cell + gap)
        draw.text((left + cell / 2, head / 2 + 2), title, "black", ImageFont.load_default(14), anchor="mm")
        for row, pictures in enumerate(rows):
            large = pictures[column].resize((side, side), Image.Resampling.NEAREST)  # pixels stay crisp
            sheet.paste(large, (left + (cell - side) // 2, head + gap + row * (side + gap)))
    write_whole(path, sheet.save)


def sheet_columns(stages: dict[str, int], stage: str, epoch: int) -> dict[str, str]:
    """Returns the columns of the sheet after an epoch, as titles and subfolders of the samples: low, mid-run, latest,
    original."""
    mid_run = middle(stages)
    reached = stage == "detail" and (mid_run[0] == "fidelity" or 0 < mid_run[1] < epoch)
    shown = [mid_run, (stage, epoch)] if reached else [(stage, epoch)]
    restored = {f"{name} epoch {number}": epoch_folder(name, number) for name, number in shown}
    return {"low resolution": "low", **restored, "original": "original"}


def middle(stages: dict[str, int]) -> tuple[str, int]:
    """Returns the epoch with which the last one is compared: the end of the fidelity stage, or seven tenths of the
    epochs of a GAN alone, which is 42 of the documented 60."""
    return ("fidelity", stages["fidelity"]) if "fidelity" in stages else ("detail", round(0.7 * stages["detail"]))


def epoch_folder(stage: str, epoch: int) -> str:
    return f"{stage}-{epoch:03}"


def upper_square(picture: Image.Image, side: int) -> Image.Image:
    """Returns the upper middle square of a picture, where a portrait has its face, scaled to `side` x `side`."""
    square = min(picture.size)
    left = (picture.width - square) // 2
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=(left, 0, left + square, square))


def save_comparison(original: Image.Image, upscaler: Upscaler, path: Path, side: int = 384) -> None:
    """Saves a picture's upper middle square side by side as bicubic, fidelity, detail and original."""
    picture = upper_square(original, side)
    low = reduce(normalize(to_tensor(picture)).unsqueeze(0))
    panes = [
        enlarge_bicubic(low),
        *(upscaler.restore(low, detail) for detail in ((0.0, 1.0) if upscaler.can_blend else (1.0,))),
    ]
    strip = Image.new("RGB", (side * (len(panes) + 1), side))
    for place, pane in enumerate([*(to_picture(to_pixels(pane)[0]) for pane in panes), picture]):
        strip.paste(pane, (place * side, 0))
    write_whole(path, strip.save)
