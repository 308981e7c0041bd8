"""python -m srgan upscale: a picture file, or a folder of them, enlarged into files."""

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import torch
from PIL import Image, ImageFile
from tqdm import tqdm

from srgan import ranks
from srgan.errors import UserError
from srgan.faces import detector, draw_faces, find_faces
from srgan.files import is_same, lies_in, with_ending
from srgan.models import SCALE
from srgan.photos.finding import find_photos
from srgan.pictures.formats import FORMATS, BrokenPicture, check_size, format_of, open_picture, save_picture
from srgan.upscaler import SHIPPED_MODEL, Upscaler
from srgan.wear import WORN_MODEL, Automatic

WEAR = {"clean": SHIPPED_MODEL, "worn": WORN_MODEL}
"""The models that ship, by what pictures they are for."""

JOBS = min(4, os.cpu_count() or 1)

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left, {rate_noinv_fmt}]"

GROUP = 1000
"""Pictures that are handed to the threads together: a folder may hold millions."""

Pair = tuple[Path, Path]
"""A picture, and the file for its enlargement."""

Read = Callable[[Path], tuple[Image.Image, list[str]]]
"""Gives a file's picture, and sentences on what of the file is not in it."""

Enlarge = Callable[[Image.Image], tuple[Image.Image, list[str]]]
"""Gives the enlargement, and sentences on what is to be said of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=Path, metavar="IN", help="a picture, or a folder searched with its subfolders")
    parser.add_argument("output", type=Path, metavar="OUT", help="the file to write, or the folder for the results")
    parser.add_argument("--detail", type=float, default=1.0, help="0: most faithful, 1: most detailed (default: 1)")
    parser.add_argument(
        "--wear", choices=("auto", *WEAR),
        help="without --model: the model for clean pictures, the one for worn ones (JPEG, noise, blur), or for each "
        "picture the one that it looks made for (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--faces", action="store_true", help="have the model that ships draw the faces that are found, with --model"
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="of results in a folder; jpg and webp at quality 95 (default: png)"
    )
    parser.add_argument(
        "--damaged", action="store_true", help="enlarge what can be read of a picture that is damaged or cut short"
    )
    parser.add_argument("--overwrite", action="store_true", help="enlarge again what is in the folder OUT already")
    parser.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N",
        help="pictures of a folder at work at once: read, enlarged one after the other, written; each takes up to 80 "
        f"bytes of memory a pixel (default here: {JOBS})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """0: done; 1: some pictures of a folder failed and were named."""
    # Pillow's threshold lies a little below MAX_PIXELS, beyond which we refuse.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    if arguments.jobs < 1:
        raise UserError(f"--jobs is {arguments.jobs}; it must be at least 1.")
    ranks.join()
    source, target = arguments.input, arguments.output
    find_pairs = destinations if source.is_dir() else destination
    pairs = find_pairs(source, target, arguments.format)
    assumed: Counter[str] = Counter()
    enlarge = choose_way(arguments, assumed)
    read = read_damaged if arguments.damaged else read_whole
    if source.is_dir():
        return run_folder(pairs, read, enlarge, assumed, arguments)
    if ranks.is_first():
        for note in enlarge_file(pairs[0], read, enlarge):
            print(f"srgan upscale: {source}: {note}", file=sys.stderr)
        print(f"1 picture enlarged to {pairs[0][1]}.")
    return 0


def choose_way(arguments: argparse.Namespace, assumed: Counter[str]) -> Enlarge:
    """assumed: counts the pictures of a folder by what they were taken to be, where they decide."""
    if arguments.model and arguments.wear:
        raise UserError("--wear chooses between the models that ship: leave it out with --model.")
    if arguments.faces:
        return with_faces(arguments)
    if arguments.model or arguments.wear in WEAR:
        return plainly(arguments)
    return by_wear(arguments, assumed)


def by_wear(arguments: argparse.Namespace, assumed: Counter[str]) -> Enlarge:
    models = Automatic.load(arguments.device, arguments.precision)
    for upscaler in (models.clean, models.worn):
        upscaler.check_detail(arguments.detail)

    def enlarge(picture: Image.Image) -> tuple[Image.Image, list[str]]:
        upscaler, choice = models.choose(picture)
        assumed["worn" if choice.worn else "clean"] += 1
        enlarged = upscaler.enlarge(picture, choice.detail(arguments.detail))
        return enlarged, [] if arguments.input.is_dir() else [choice.why]

    return enlarge


def plainly(arguments: argparse.Namespace) -> Enlarge:
    model = arguments.model or WEAR[arguments.wear]
    upscaler = Upscaler.load(model, arguments.device, arguments.precision)
    upscaler.check_detail(arguments.detail)
    return lambda picture: (upscaler.enlarge(picture, arguments.detail), [])


def with_faces(arguments: argparse.Namespace) -> Enlarge:
    if not arguments.model:
        raise UserError("--faces goes with --model: the model that ships is the one for faces, and draws everything.")
    detector()  # better missed now than after the first picture
    whole = plainly(arguments)
    on_faces = Upscaler.load(SHIPPED_MODEL, arguments.device, arguments.precision)

    def enlarge(picture: Image.Image) -> tuple[Image.Image, list[str]]:
        faces = find_faces(picture)
        enlarged = draw_faces(whole(picture)[0], on_faces, picture, faces, arguments.detail)
        return enlarged, [] if faces else ["No face was found."]

    return enlarge


def run_folder(
    pairs: Sequence[Pair], read: Read, enlarge: Enlarge, assumed: Counter[str], arguments: argparse.Namespace
) -> int:
    """Under torchrun, this process's share of it: every N-th picture. All end together, since one that ends with an
    exit code other than 0 has torchrun stop the others."""
    share = pairs[ranks.rank() :: ranks.world_size()]
    missing = [pair for pair in share if arguments.overwrite or not pair[1].exists()]
    try:
        report = enlarge_files(missing, read, enlarge, arguments.jobs)
    except KeyboardInterrupt:
        print("srgan upscale: stopped; the same command goes on with what is missing.", file=sys.stderr)
        return 1
    for line in report.lines():
        print(f"srgan upscale: {line}", file=sys.stderr)
    counts = torch.tensor(
        [report.done, len(report.failures), len(share) - len(missing), *(assumed[kind] for kind in WEAR)]
    )
    done, failed, there, clean, worn = ranks.all_reduce_sum(counts).tolist()
    print(
        f"{done} of {done + failed} pictures enlarged to {arguments.output}"
        + (f"; {there} were there already (--overwrite does them again)." if there else ".")
    )
    if clean or worn:
        print(f"Taken as clean: {clean}, as worn: {worn}; --wear clean or --wear worn takes all of them as one.")
    code = 1 if failed else 0
    ranks.leave(code)
    return code


# Names


def destination(photo: Path, target: Path, ending: str | None) -> list[Pair]:
    """A single picture's place: `target`, or a file in it where it is a folder."""
    place = target / f"{photo.stem}.{ending or 'png'}" if target.is_dir() else target
    if is_same(place, photo):
        raise UserError(f"{place} is the picture itself: name another file to write.")
    if ending and format_of(place) is not FORMATS[ending]:
        raise UserError(f"{place} is to be named .{ending} for --format {ending}.")
    format_of(place)
    return [(photo, place)]


def destinations(source: Path, target: Path, ending: str | None) -> list[Pair]:
    """Every picture of a folder with its place."""
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the pictures.")
    if is_same(target, source):
        raise UserError(f"{target} holds the pictures themselves: name another folder, so that none is overwritten.")
    # Results may lie in a folder below: what is there already is not enlarged again.
    photos = find_photos(source)
    results = {folder for folder in {photo.parent for photo in photos} if lies_in(folder, target)}
    photos = [photo.relative_to(source) for photo in photos if photo.parent not in results]
    places = with_ending(photos, ending or "png")
    return [(source / photo, target / place) for photo, place in zip(photos, places, strict=True)]


# Work


@dataclass
class Report:
    done: int = 0
    failures: list[str] = field(default_factory=list)
    """a sentence for each picture that could not be enlarged"""
    notes: dict[str, list[Path]] = field(default_factory=dict)
    """sentences that say what was not kept, say, and of which pictures"""

    def lines(self) -> Iterator[str]:
        for note, photos in self.notes.items():
            more = f" and {len(photos) - 3} more" if len(photos) > 3 else ""
            yield f"{', '.join(map(str, photos[:3]))}{more}: {note}"
        yield from self.failures


decoding = Lock()
"""Held where Pillow's switch for damaged pictures may be on, which is one for all threads."""


def read_whole(photo: Path) -> tuple[Image.Image, list[str]]:
    """`open_picture`, which refuses what is damaged; says what to do then."""
    try:
        return open_picture(photo)
    except BrokenPicture as error:
        raise UserError(f"{str(error).rstrip('.')}: --damaged enlarges what can be read of it.") from None


def read_damaged(photo: Path) -> tuple[Image.Image, list[str]]:
    """As far as the picture can be read. Raises UserError where nothing of it can."""
    with decoding:
        try:
            return open_picture(photo)
        except BrokenPicture:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            picture, notes = open_picture(photo)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return picture, [*notes, "It is damaged: where nothing can be read of it, the result is of one colour."]


def enlarge_file(pair: Pair, read: Read, enlarge: Enlarge) -> list[str]:
    """Gives a sentence for everything that is not kept, and what else is to be said. Raises UserError."""
    photo, place = pair
    try:
        picture, left_out = read(photo)
        check_size(place, SCALE * picture.width, SCALE * picture.height)  # better refused now than after the work
        enlarged, notes = enlarge(picture)
        return left_out + notes + save_picture(enlarged, place)
    except MemoryError:
        raise UserError(f"{photo}: there is not enough memory for it.") from None


def enlarge_files(pairs: Sequence[Pair], read: Read, enlarge: Enlarge, jobs: int) -> Report:
    """A picture that fails is reported, and the others are done.

    `jobs` threads read and write. The network has one thread to itself: it is as fast with one picture as with several.
    """
    report = Report()
    with ThreadPoolExecutor(1) as network, ThreadPoolExecutor(jobs) as pool:

        def work(pair: Pair) -> list[str] | UserError:
            try:
                return enlarge_file(pair, read, lambda picture: network.submit(enlarge, picture).result())
            except UserError as error:
                return error

        with tqdm(total=len(pairs), unit=" pictures", bar_format=BAR, disable=not ranks.is_first()) as bar:
            for start in range(0, len(pairs), GROUP):
                group = pairs[start : start + GROUP]
                for (photo, _), result in zip(group, pool.map(work, group), strict=True):
                    bar.update()
                    if isinstance(result, UserError):
                        report.failures.append(str(result))
                        continue
                    report.done += 1
                    for note in result:
                        report.notes.setdefault(note, []).append(photo)
    return report
