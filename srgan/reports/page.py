"""Writes report.html, a single page that shows the whole run and needs no other file and no network."""

import base64
import datetime
import io
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from srgan.files import write_whole
from srgan.measure.metrics import FIGURES
from srgan.publish.facts import counted
from srgan.reports.pictures import draw_panel, epoch_folder, panels, sample_names
from srgan.training.config import Config, flag
from srgan.training.records import EpochRow, Figures, StatsRow, TrainingFacts

STAGES = {"fidelity": "fidelity stage", "detail": "detail stage"}

MOST_IN_STRIP = 8
"""Number of epochs for which the first photo is shown."""

STYLE = """
:root { color-scheme: light; --ink: #1d2433; --soft: #667085; --line: #e4e7ec; --accent: #3538cd; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f9; color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 16px 48px; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 1.1rem; }
section { background: #fff; border: 1px solid var(--line); border-radius: 14px; padding: 20px; margin-top: 16px; }
.soft, figcaption, th { color: var(--soft); font-weight: 400; }
.state { margin: 6px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)); gap: 10px; margin-top: 20px; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 14px; padding: 12px 14px; }
.tile b { display: block; font-size: 1.45rem; font-weight: 650; letter-spacing: -0.01em; white-space: nowrap; }
.tile span { display: block; font-size: 0.85rem; line-height: 1.35; color: var(--soft); }
.warning { background: #fffaeb; border-color: #fec84b; }
.scroll { overflow-x: auto; }
.sheet { display: grid; gap: 8px; }
.sheet span { font-size: 0.85rem; color: var(--soft); text-align: center; align-self: end; }
img { display: block; width: 100%; border-radius: 8px; }
.pixels { image-rendering: pixelated; }
.strip { display: flex; gap: 8px; }
figure { margin: 0; }
.strip figure { flex: 1 0 112px; max-width: 180px; }
figcaption { font-size: 0.85rem; margin-top: 4px; text-align: center; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.changed { color: var(--accent); font-weight: 600; }
pre { margin: 0 0 16px; padding: 12px 14px; border-radius: 10px; background: #101828; color: #f2f4f7;
  font-size: 0.85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); padding: 8px 0; }
@media (max-width: 600px) { main { padding-top: 20px; } section { padding: 16px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tile b { font-size: 1.2rem; }
  .sheet { gap: 4px; } .sheet img { border-radius: 5px; } .sheet span { font-size: 0.7rem; line-height: 1.2; }
  table { font-size: 0.85rem; } }
"""


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    name: str
    training: TrainingFacts
    epochs: dict[str, int]
    """number of epochs of each stage"""
    history: list[EpochRow]
    """the epochs that were validated"""
    rows: list[StatsRow]
    """the rows of stats.jsonl"""
    figures: Figures
    """the figures on the held-out photos; the last system is this run's model"""
    samples: Path
    columns: dict[str, str]
    """each column of the sheet: its title and its subfolder of `samples`"""
    photos: list[str]
    """names of the photos in the sheet"""
    finished: bool


def save_page(report: Report, path: Path) -> None:
    text = page(report)
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="replace"))


def page(report: Report) -> str:
    parts = [
        *warnings(report.rows),
        section("Held-out photos", sheet(report)),
        section("From epoch to epoch", strip(report)),
        section("Curves", curves(report.history)),
        section("Figures on the held-out photos", figures(report)),
        section("Settings", settings(report.training)),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(report.name)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{escape(report.name)}</h1>
<p class="state soft">{escape(state(report))}</p>
</header>
<div class="tiles">{"".join(tiles(report))}</div>
{"".join(parts)}
</main>
</body>
</html>
"""


def section(title: str, content: str, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{title}</h2>{content}</section>\n' if content else ""


def state(report: Report) -> str:
    """Describes how far the run has come, its photos and hardware, and the time of this report."""
    last, data = report.history[-1], report.training["data"]
    reached = f"{STAGES[last.stage]}, epoch {last.epoch} of {report.epochs[last.stage]}"
    seen = " and ".join(f"{count:,} in the {STAGES[stage]}" for stage, count in data["seen"].items())
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"{'Finished' if report.finished else reached[0].upper() + reached[1:]}. Photos seen: {seen}, "
        f"of {data['train']:,} {counted(report.training['settings'])} in {data['name']}. "
        f"{report.training['hardware']}. {now}"
    )


def tiles(report: Report) -> Iterable[str]:
    name, last = list(report.figures.items())[-1]
    for key in ("psnr_y", "ssim_y", "lpips"):
        if key in last:
            figure = FIGURES[key]
            bicubic = figure.show(report.figures["bicubic"][key])
            yield tile(figure.show(last[key]), f"{figure.heading()}, {name}; bicubic {bicubic}")
    trained = [row.values for row in report.rows if row.kind == "train"]
    if trained:
        speed = trained[-1]
        yield tile(short(speed["photos_per_second"]), "photos per second")
        yield tile(f"{short(speed['seconds_per_1000_photos'])} s", "for 1,000 photos")
        if "peak_memory_gb" in speed:
            yield tile(f"{speed['peak_memory_gb']:.1f} GB", "peak memory")
    for stage, hours in report.training["hours"].items():
        yield tile(f"{hours:.2f} h", f"in the {STAGES[stage]}")


def short(value: float) -> str:
    """Formats a number with three significant digits, or with all of its integer digits: "0.383", "26.1", "2,611"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def tile(value: str, title: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(title)}</span></div>'


def warnings(rows: list[StatsRow]) -> Iterable[str]:
    for row in rows:
        if row.kind == "warning":
            where = f"{STAGES[row.stage]}, epoch {row.epoch}"
            text = escape(row.texts["text"])
            yield section("Out of balance", f"{text} <span class='soft'>({where})</span>", "warning")


# Pictures


def picture(data: bytes, kind: str, text: str, style: str = "") -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img class="{style}" alt="{escape(text)}" src="{source}">'


def sample(report: Report, folder: str, photo: str, title: str) -> str:
    data = (report.samples / folder / sample_names(report.photos)[photo]).read_bytes()
    return picture(data, "png", f"{photo}, {title}", "pixels" if folder == "low" else "")


def sheet(report: Report) -> str:
    """Returns a table with a row for each photo and a column for each stage of its restoration."""
    cells = [f"<span>{escape(title)}</span>" for title in report.columns]
    cells += [
        sample(report, folder, photo, title) for photo in report.photos for title, folder in report.columns.items()
    ]
    columns = f"grid-template-columns: repeat({len(report.columns)}, 1fr)"
    return f'<div class="sheet" style="{columns}">{"".join(cells)}</div>'


def strip(report: Report) -> str:
    """Returns the first photo as restored after several evenly spaced epochs, and the original."""
    reached = [(row.stage, row.epoch) for row in report.history]
    reached = [place for place in reached if (report.samples / epoch_folder(*place)).is_dir()]
    if len(reached) > MOST_IN_STRIP:
        step = (len(reached) - 1) / (MOST_IN_STRIP - 1)
        reached = [reached[round(place * step)] for place in range(MOST_IN_STRIP)]
    shown = {f"{STAGES[stage].removesuffix(' stage')} {epoch}": epoch_folder(stage, epoch) for stage, epoch in reached}
    photo = report.photos[0]
    figures = [
        f"<figure>{sample(report, folder, photo, title)}<figcaption>{title}</figcaption></figure>"
        for title, folder in {"low": "low", **shown, "original": "original"}.items()
    ]
    return f'<div class="scroll"><div class="strip">{"".join(figures)}</div></div>'


def curves(history: list[EpochRow]) -> str:
    """Returns the curves as SVG, which is sharp at any size."""
    style = matplotlib.rc_context(
        {"svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False}
    )
    drawn = []
    with style:
        for title, names in panels(history).items():
            figure, data = Figure(figsize=(5.6, 3.0), layout="constrained"), io.BytesIO()
            draw_panel(figure.add_subplot(), title, names, history)
            figure.savefig(data, format="svg", metadata={"Date": None})
            drawn.append(picture(data.getvalue(), "svg+xml", title))
    return f'<div class="curves">{"".join(drawn)}</div>'


# Tables


def figures(report: Report) -> str:
    shown = [name for name in FIGURES if any(name in row for row in report.figures.values())]
    headings = [FIGURES[name].heading() for name in shown]
    now = table(
        ["", *headings],
        [[title, *cells(row, shown)] for title, row in report.figures.items()],
    )
    epochs = table(
        ["after", *headings],
        [[f"{STAGES[row.stage]}, epoch {row.epoch}", *cells(row.values, shown)] for row in report.history],
    )
    return f"{now}<details><summary>Every epoch</summary>{epochs}</details>"


def cells(row: dict[str, float], names: list[str]) -> list[str]:
    return [FIGURES[name].show(row[name]) if name in row else "" for name in names]


def settings(training: TrainingFacts) -> str:
    """Returns the command that repeats the run, and all settings. Settings that differ from the defaults are
    highlighted."""
    usual = vars(Config())
    rows = "".join(
        f"<tr><td{' class=changed' * (value != usual.get(name))}>{flag(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in training["settings"].items()
        if value not in (None, "")
    )
    versions = ", ".join(f"{name} {value}" for name, value in training["versions"].items() if value)
    return (
        f"<pre>{escape(training['command'])}</pre>"
        f'<details><summary>All settings</summary><table class="settings">{rows}</table></details>'
        f'<p class="soft">{escape(versions)}</p>'
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
