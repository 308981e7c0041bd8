"""Measures what the automatic choice between the clean and the worn model costs. Run it in a checkout:
python benchmarks/wear.py --lpips FILE FOLDER...

Evenly spaced photos of each folder are fitted into 256x256, reduced to a quarter with each kind of wear in
`srgan.degradation.chain.KINDS`, and enlarged by both models that ship. For each kind, a table shows how often the small
copy is taken for worn by its pixels alone, and the mean PSNR-Y / LPIPS of each model and of the choice, which alone
holds its results to JPEG blocks. The shares are given as their 5th to 95th percentile, and the JPEG quality that the
pixels show by its most frequent value.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from srgan.degradation.chain import KINDS, copies_alike
from srgan.measure.comparison import fit
from srgan.measure.metrics import LPIPS, psnr_y
from srgan.photos.finding import find_photos
from srgan.pictures.images import normalize, open_rgb, to_picture, to_pixels, to_tensor
from srgan.signs import NETWORK_WINDOW, block_share, looked_at, removed_by, seen_blocks, worn_share
from srgan.wear import Automatic, judge

EXTRA = {"jpeg95": {"quality": 95}, "jpeg85": {"quality": 85}}
"""Additional kinds of wear that are only measured here."""


@torch.inference_mode()
def measure(photo: Path, side: int, models: Automatic, lpips: LPIPS) -> list[dict]:
    """Returns for each kind of wear the shares, and (PSNR-Y, LPIPS) of both models and of the automatic choice."""
    high = normalize(to_tensor(fit(open_rgb(photo), side))).unsqueeze(0)
    rows = []
    for kind in KINDS:
        low, target = copies_alike(kind, high)
        small = to_picture(to_pixels(low)[0])
        row = {"folder": photo.parent.name, "kind": kind, "worn": judge(small, models.worn).worn}
        blocks, shares = seen_blocks(small)
        part = looked_at(small, NETWORK_WINDOW)
        removed = removed_by(models.worn.restore_closest, part)
        row |= {"block_share": block_share(shares), "worn_share": worn_share(part, removed)}
        row["quality"] = blocks.quality if blocks else None
        distance = lpips.against(target)
        plainly = partial(models.worn.enlarge, correction=None)
        for name, enlarge in (("clean", models.clean.enlarge), ("worn", plainly), ("auto", models.enlarge)):
            restored = to_tensor(enlarge(small)).unsqueeze(0)
            row[f"by {name}"] = (float(psnr_y(restored, to_pixels(target))), float(distance(normalize(restored))))
        rows.append(row)
    return rows


def table(rows: Sequence[dict]) -> list[str]:
    lines = [
        "| copies | JPEG | `block_share` | `worn_share` | taken as worn | clean model | worn model | automatic |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in KINDS:
        those = [row for row in rows if row["kind"] == kind]
        shares = []
        for name in ("block_share", "worn_share"):
            ends = torch.tensor([row[name] for row in those]).quantile(torch.tensor([0.05, 0.95])).tolist()
            shares.append(f"{ends[0]:.2f} to {ends[1]:.2f}")
        figures = [
            torch.tensor([row[name] for row in those]).mean(0).tolist() for name in ("by clean", "by worn", "by auto")
        ]
        told = " | ".join(f"{psnr:.2f} / {distance:.3f}" for psnr, distance in figures)
        taken = f"{100 * sum(row['worn'] for row in those) / len(those):.0f} %"
        (quality, count), *_ = Counter(row["quality"] for row in those).most_common()
        qualities = f"{quality or 'none'} in {100 * count / len(those):.0f} %"
        lines.append(f"| {kind} | {qualities} | {' | '.join(shares)} | {taken} | {told} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders of photos")
    parser.add_argument("--lpips", type=Path, required=True, metavar="FILE", help="LPIPS v0.1 Alex weights")
    parser.add_argument("--photos", type=int, default=12, metavar="N", help="photos of each folder (default: 12)")
    parser.add_argument("--side", type=int, default=256, help="longest side of the photos in pixels (default: 256)")
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="write the figures of each photo to this file, as JSON"
    )
    arguments = parser.parse_args()
    KINDS.update(EXTRA)
    models, lpips = Automatic.load("cpu"), LPIPS.load(arguments.lpips)
    rows = []
    for folder in arguments.folders:
        photos = find_photos(folder)
        count = min(arguments.photos, len(photos))
        for number in range(count):
            rows += measure(photos[number * len(photos) // count], arguments.side, models, lpips)
            if arguments.rows:
                arguments.rows.write_text(json.dumps(rows))
        these = [row for row in rows if row["folder"] == folder.name]
        print(f"\n{folder.name}: {count} photos\n", *table(these), sep="\n", flush=True)
    print("\nAll\n", *table(rows), sep="\n")


if __name__ == "__main__":
    main()
