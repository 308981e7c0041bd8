"""python -m srgan evaluate: measures a model and bicubic on a folder of pictures."""

import argparse
import json
import sys
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from srgan.degradation.chain import KINDS
from srgan.errors import UserError
from srgan.files import lies_in, with_ending, write_whole
from srgan.measure.evaluation import BICUBIC, Keep, blends, evaluate, means, show
from srgan.measure.metrics import LPIPS
from srgan.measure.pairs import open_pictures
from srgan.photos.crops import first_reasons
from srgan.pictures.images import to_picture
from srgan.upscaler import Upscaler


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True,
        help="folder of photos, cropped to their middle square; or of pairs in HR/ and LR_bicubic_X4/, used in full",
    )  # fmt: skip
    parser.add_argument("--whole", action="store_true", help="use whole photos, not only their middle square")
    parser.add_argument(
        "--detail", type=detail_list, metavar="D,D,...",
        help="detail settings to measure (default: 0,0.5,1; 1 for a model without fidelity weights)",
    )  # fmt: skip
    parser.add_argument(
        "--last",
        type=int,
        metavar="N",
        help="use only the last N photos by name, which train.py --held-out N --held-out-by name keeps for testing",
    )
    parser.add_argument(
        "--degrade", choices=KINDS, default="clean",
        help="how the low-resolution copies are worn before they are restored: jpeg75: through JPEG of that quality; "
        "web: blur, noise and JPEG; old: grey, with more of all three; box: reduced by areas (default: clean)",
    )  # fmt: skip
    parser.add_argument(
        "--lpips", default="", metavar="FILE", help="LPIPS v0.1 AlexNet weights, .safetensors: also measure LPIPS"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the mean figures and the figures of each photo to this file"
    )
    parser.add_argument(
        "--save-images", type=Path, metavar="DIR", help="save the restored photos in this folder, as PNG"
    )


def detail_list(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if all is measured, 1 if some pictures could not be measured and were named."""
    upscaler = Upscaler.load(arguments.model, arguments.device, arguments.precision)
    systems = BICUBIC | blends(upscaler, arguments.detail)
    lpips = LPIPS.load(arguments.lpips).to(upscaler.device) if arguments.lpips else None
    pictures = open_pictures(arguments.data, upscaler.model.config.crop(), arguments.whole, arguments.last)
    keep = keeper(arguments.save_images, arguments.data, pictures.names) if arguments.save_images else None
    rows = evaluate(
        systems, tqdm(pictures, unit=" batches", leave=False), lpips, upscaler.device, keep, arguments.degrade
    )
    figures, left_out, count = means(rows), pictures.left_out, len(rows["bicubic"])
    if not count:
        raise UserError(f"none of the pictures in {arguments.data} can be used: {first_reasons(left_out)}.")
    if left_out:
        print(f"{len(left_out)} pictures are left out: {first_reasons(left_out)}.", file=sys.stderr)
    copies = copies_made(pictures.copies, arguments.degrade)
    print(f"{count} pictures ({pictures.what}); low-resolution copies: {copies}")
    for name, row in figures.items():
        print(f"{name:>12}: {show(row)}")
    if arguments.json:
        report = {
            "model": upscaler.name, "photos": count, "pictures": pictures.what, "low_resolution": copies,
            "figures": figures, "left_out": left_out, "rows": rows,
        }  # fmt: skip
        write_whole(arguments.json, lambda path: path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8"))
    return 1 if left_out else 0


def copies_made(given: str, degrade: str) -> str:
    """Describes how the small copies were made. given: the description before wear is applied."""
    if "filter" in KINDS[degrade]:
        return f"made by {degrade} from the originals, rounded to 8 bits"
    return given if degrade == "clean" else f"{given}, then worn: {degrade}"


def keeper(folder: Path, data: Path, names: list[str]) -> Keep:
    """Returns a function that saves restored pictures as FOLDER/<system>/<photo>.png, named by `with_ending`."""
    if lies_in(folder, data):
        raise UserError(
            f"--save-images {folder} lies inside {data}: the next run would measure the saved pictures too; choose "
            "another folder."
        )
    places = dict(zip(names, with_ending([Path(name) for name in names], "png"), strict=True))

    def keep(system: str, photos: list[str], restored: Tensor) -> None:
        for photo, pixels in zip(photos, restored, strict=True):
            write_whole(folder / system.replace(" ", "-") / places[photo], to_picture(pixels).save)

    return keep
