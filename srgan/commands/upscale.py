"""python -m srgan upscale: enlarges pictures, or folders of them, into files."""

import argparse
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

import torch
from PIL import Image, ImageFile

from srgan import __version__, ranks
from srgan.commands.batch_progress import Progress
from srgan.commands.estimate import ask_at_terminal, estimate, is_large, sizes_of
from srgan.commands.places import SAME, Naming, Pair, Places, check_apart, find_places
from srgan.errors import UserError
from srgan.faces import detector, draw_face, find_faces
from srgan.jpeg_blocks import JpegBlocks
from srgan.pictures.animations import ANIMATED, Animation, read_animation, save_animation
from srgan.pictures.formats import (
    FORMATS,
    BrokenPicture,
    check_size,
    format_of,
    open_picture,
    read_metadata,
    save_picture,
)
from srgan.pictures.sizes import MOST_SCALE, TargetSize
from srgan.upscaler import Upscaler, Watch, tell_part
from srgan.video import CODECS, enlarge_video, is_video, read_video
from srgan.wear import CLEAN_MODEL, WORN_MODEL, Automatic

WEAR = {"clean": CLEAN_MODEL, "worn": WORN_MODEL}
"""The models that ship, by what pictures they are for."""

JOBS = min(4, os.cpu_count() or 1)

VIDEO_DETAIL = 0.25
"""The detail of videos if --detail is not given. benchmarks/flicker.py measures how much more a higher detail
flickers."""

GROUP = 1000
"""Number of pictures that are handed to the threads at once, because a folder may hold millions."""

Read = Callable[[Path], tuple[Image.Image, list[str]]]
"""Returns the picture in a file, and a sentence for everything of the file that is not in the picture."""

Enlarge = Callable[[Image.Image, Watch], tuple[Image.Image, list[str]]]
"""Returns the enlargement, and sentences about it for the user."""

Save = Callable[[Image.Image, Pair], list[str]]
"""Writes a picture's enlargement. Returns a sentence for everything that is not kept."""


@dataclass(frozen=True)
class Way:
    """A way to enlarge pictures."""

    choose: Callable[[Image.Image], Enlarge]
    """looks at a picture and returns the function that enlarges it"""
    upscaler: Upscaler
    """the one that is timed for the estimate"""

    def enlarge(self, picture: Image.Image, watch: Watch) -> tuple[Image.Image, list[str]]:
        return self.choose(picture)(picture, watch)

    def for_frames(self) -> Enlarge:
        """Returns a function that enlarges all frames as the first one: if two models took turns, it would flicker."""
        chosen: Enlarge | None = None

        def enlarge(frame: Image.Image, watch: Watch) -> tuple[Image.Image, list[str]]:
            nonlocal chosen
            chosen = chosen or self.choose(frame)
            return chosen(frame, watch)

        return enlarge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s IN... [OUT] [settings]"
    parser.add_argument(
        "paths", nargs="+", metavar="IN... [OUT]",
        help="pictures, folders (searched with their subfolders) or patterns; then the file to write or the folder for "
        "the results (default: beside each picture, as small-x4.png)",
    )  # fmt: skip
    add_size(parser)
    parser.add_argument(
        "--detail", type=float,
        help="from 0, closest to the original, to 1, most texture, partly imagined (default: 1; "
        f"{VIDEO_DETAIL:g} for a video, so that it flickers less)",
    )  # fmt: skip
    parser.add_argument(
        "--wear", choices=("auto", *WEAR),
        help="without --model: take the model for clean pictures, the one for worn pictures (JPEG, noise, blur), or "
        "for each picture the one that fits it (default: auto)",
    )  # fmt: skip
    parser.add_argument(
        "--faces",
        action="store_true",
        help="with --model: the model for clean faces draws the faces that are found",
    )
    parser.add_argument(
        "--best",
        action="store_true",
        help="average the results for the picture and its mirror image, which takes twice the time",
    )
    parser.add_argument(
        "--tileable", action="store_true", help="for textures: keep the seams closed when results are laid side by side"
    )
    parser.add_argument(
        "--format", choices=(*FORMATS, SAME),
        help="format of results without a name of their own; same: the format of each picture (default: png)",
    )  # fmt: skip
    parser.add_argument(
        "--suffix", metavar="TEXT",
        help="add this to the names of results, before the ending (default: the size, as in small-x4.png, for results "
        "beside their pictures; nothing for results in a folder)",
    )  # fmt: skip
    parser.add_argument(
        "--quality", type=int, metavar="N",
        help="quality of results in JPEG, WebP, AVIF, HEIC or JPEG XL, 1 to 100 (default: 95; 90 for AVIF and HEIC)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-location",
        action="store_true",
        help="keep the place where a photo was taken, which is otherwise removed",
    )
    parser.add_argument(
        "--keep-metadata", action="store_true",
        help="keep XMP, IPTC and the rest of EXIF; date, camera and exposure are always kept",
    )  # fmt: skip
    parser.add_argument(
        "--damaged", action="store_true", help="enlarge what can be read of a picture that is damaged or cut short"
    )
    parser.add_argument("--codec", choices=CODECS, default="h264", help="codec of an enlarged video (default: h264)")
    parser.add_argument("--overwrite", action="store_true", help="also enlarge pictures whose results exist already")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before a very large result is made or a named one is overwritten"
    )
    parser.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N",
        help="number of pictures that are read and written at the same time, while they are enlarged one after the "
        f"other; each takes up to 80 bytes of memory per pixel (default here: {JOBS})",
    )  # fmt: skip


def with_suffix_joined(words: Sequence[str]) -> list[str]:
    """Turns `--suffix -big` into `--suffix=-big`: argparse would take a value that begins with a dash for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--suffix":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def add_size(parser: argparse.ArgumentParser) -> None:
    size = parser.add_argument_group("size of the result (default: --scale 4)").add_mutually_exclusive_group()
    size.add_argument(
        "--scale", type=float, metavar="N",
        help=f"times the width and height, up to {MOST_SCALE}; 1 cleans up at the picture's own size",
    )  # fmt: skip
    size.add_argument("--width", type=int, metavar="PIXELS", help="width of the result; the proportions are kept")
    size.add_argument("--height", type=int, metavar="PIXELS", help="height of the result; the proportions are kept")
    size.add_argument("--megapixels", type=float, metavar="M", help="millions of pixels of the result")
    size.add_argument("--fit", metavar="WxH", help="as large as fits into this width and height, for example 1920x1080")


def target_size(arguments: argparse.Namespace) -> TargetSize:
    if arguments.fit:
        target = TargetSize.parse(arguments.fit)
        if not target.fit:
            raise UserError(f"--fit is {arguments.fit}; it must be a width and a height, such as 1920x1080.")
        return target
    return TargetSize(arguments.scale, arguments.width, arguments.height, arguments.megapixels)


def run(arguments: argparse.Namespace) -> int:
    """Returns 0 if all is done, 1 if some of several pictures failed and were named."""
    # Pillow's threshold lies a little below MAX_PIXELS, beyond which we refuse.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    if arguments.jobs < 1:
        raise UserError(f"--jobs is {arguments.jobs}; it must be at least 1.")
    ranks.join()
    target = target_size(arguments)
    of_video = is_video(Path(arguments.paths[0]))
    arguments.is_detail_open = arguments.detail is None
    if arguments.is_detail_open:
        arguments.detail = VIDEO_DETAIL if of_video else 1.0
    if of_video:
        return run_video(arguments, target)
    places = find_places(arguments.paths, Naming(arguments.format, arguments.suffix, target.label))
    arguments.scratch = places.pairs[0][1].parent  # on the disk that must have space for the results
    for path in places.left_out:
        print(f"srgan upscale: {path} is the result of another of these pictures, so it is left out.", file=sys.stderr)
    if places.is_one and ranks.is_first():
        check_overwriting(places.pairs[0][1], arguments)
    assumed: Counter[str] = Counter()
    way = choose_way(arguments, target, assumed, say_why=len(places.pairs) == 1)
    read = read_damaged if arguments.damaged else read_whole
    work = Work(read, way, target, choose_saving(arguments), arguments.quality)
    if places.is_one:
        if ranks.is_first():
            announce(places.pairs, target, way, arguments)
            run_one(places.pairs[0], work)
        return 0
    return run_many(places, work, way, assumed, arguments)


def check_overwriting(place: Path, arguments: argparse.Namespace) -> None:
    """Asks before an existing file is overwritten, unless --overwrite or --yes is given.

    If two pictures match a pattern, the shell passes two words, and the second then looks like the name for the result.
    """
    if place.is_file() and not (arguments.overwrite or arguments.yes):
        ask_at_terminal(f"{place} exists already. Overwrite it?")


def choose_saving(arguments: argparse.Namespace) -> Save:
    if arguments.quality is not None and not 1 <= arguments.quality <= 100:
        raise UserError(f"--quality is {arguments.quality}; it must be from 1 to 100.")

    def save(picture: Image.Image, pair: Pair) -> list[str]:
        metadata = read_metadata(pair[0], arguments.keep_location, arguments.keep_metadata)
        return save_picture(picture, pair[1], metadata, arguments.quality)

    return save


def announce(pairs: Sequence[Pair], target: TargetSize, way: Way, arguments: argparse.Namespace) -> None:
    """Announces long work, and asks before a result becomes very large. Raises UserError if the answer is no."""
    announce_sizes(sizes_of([photo for photo, _ in pairs]), target, way, arguments)


def announce_sizes(
    sizes: Sequence[tuple[int, int]], target: TargetSize, way: Way, arguments: argparse.Namespace
) -> None:
    sentence = estimate(sizes, target, way.upscaler, arguments.detail, times=2 if arguments.best else 1)
    if sentence:
        print(f"srgan upscale: {sentence}", file=sys.stderr)
    if ranks.world_size() == 1 and not arguments.yes and any(is_large(size, target) for size in sizes):
        ask_at_terminal("Go on?")


def choose_way(arguments: argparse.Namespace, target: TargetSize, assumed: Counter[str], say_why: bool) -> Way:
    """Loads the models. assumed: counts the pictures that were judged clean or worn. say_why: adds the reason for the
    judgement to the sentences about a picture."""
    if arguments.model and arguments.wear:
        raise UserError("--wear chooses between the models that ship, so it cannot be combined with --model.")
    if arguments.faces:
        way = with_faces(arguments, target)
    elif arguments.model or arguments.wear in WEAR:
        way = plainly(arguments, target)
    else:
        way = by_wear(arguments, target, assumed, say_why)
    if way.upscaler.fallback and ranks.is_first():
        print(f"srgan upscale: {way.upscaler.fallback}", file=sys.stderr)
    return way


def by_wear(arguments: argparse.Namespace, target: TargetSize, assumed: Counter[str], say_why: bool) -> Way:
    models = Automatic.load(arguments.device, arguments.precision)
    for upscaler in (models.clean, models.worn):
        upscaler.check_detail(arguments.detail)

    def choose(first: Image.Image) -> Enlarge:
        upscaler, choice = models.choose(first)
        assumed["worn" if choice.worn else "clean"] += 1
        detail, why = choice.detail(arguments.detail), [choice.why] if say_why else []
        enlarged = partial(with_settings(upscaler, target, arguments), correction=choice.blocks)
        return lambda picture, watch: (enlarged(picture, detail, watch=watch), why)

    return Way(choose, models.clean)


def plainly(arguments: argparse.Namespace, target: TargetSize) -> Way:
    upscaler = Upscaler.load(arguments.model or WEAR[arguments.wear], arguments.device, arguments.precision)
    if arguments.is_detail_open and not upscaler.can_blend:
        arguments.detail = 1.0
    detail, enlarged = upscaler.check_detail(arguments.detail), with_settings(upscaler, target, arguments)

    def choose(first: Image.Image) -> Enlarge:
        blocks = upscaler.blocks_to_hold(first)
        return lambda picture, watch: (enlarged(picture, detail, watch=watch, correction=blocks), [])

    return Way(choose, upscaler)


def with_faces(arguments: argparse.Namespace, target: TargetSize) -> Way:
    if not arguments.model:
        raise UserError("--faces needs --model: name the model into whose results the faces are drawn.")
    detector()  # if it is missing, the user learns it now and not after the first picture
    whole = plainly(arguments, target).upscaler
    enlarged = with_settings(whole, target, arguments)
    on_faces = Upscaler.load(CLEAN_MODEL, arguments.device, arguments.precision)

    def enlarge(picture: Image.Image, watch: Watch, blocks: JpegBlocks | None) -> tuple[Image.Image, list[str]]:
        found = 0

        def draw(large: Image.Image, small: Image.Image) -> None:
            nonlocal found
            faces = find_faces(small)
            found = len(faces)
            for face in faces:
                draw_face(large, on_faces, small, face, arguments.detail, arguments.best)

        large = enlarged(picture, arguments.detail, watch=watch, touch=draw, correction=blocks)
        return large, [] if found else ["No face was found."]

    return Way(lambda first: partial(enlarge, blocks=whole.blocks_to_hold(first)), whole)


def with_settings(upscaler: Upscaler, target: TargetSize, arguments: argparse.Namespace) -> Callable[..., Image.Image]:
    """Returns `Upscaler.enlarge` with the arguments that are the same for every picture."""
    return partial(
        upscaler.enlarge, size=target, best=arguments.best, tileable=arguments.tileable, scratch=arguments.scratch
    )


def run_video(arguments: argparse.Namespace, target: TargetSize) -> int:
    source, place, is_named = video_places(arguments.paths, target.label)
    for name in ("format", "suffix", "quality"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name} is for pictures: leave it out for the video {source}.")
    video = read_video(source)
    if is_named:
        check_overwriting(place, arguments)
    elif place.exists() and not arguments.overwrite:
        print(f"{place} existed already (--overwrite makes it again).")
        return 0
    arguments.scratch = place.parent
    way = choose_way(arguments, target, Counter(), say_why=True)
    announce_sizes([video.size] * video.frames, target, way, arguments)
    enlarge = way.for_frames()
    said = dict.fromkeys(video.notes)
    with Progress(1) as progress:
        watch = progress.watch(str(source))

        def enlarge_frame(frame: Image.Image, before: float, after: float) -> Image.Image:
            large, notes = enlarge(frame, partial(tell_part, watch, before, after - before))
            said.update(dict.fromkeys(notes))
            return large

        chosen = ("detail", "model", "wear", "faces", "best", "tileable", "precision")
        settings = {name: str(getattr(arguments, name)) for name in chosen} | {"version": __version__}
        enlarge_video(video, place, target.of(*video.size), enlarge_frame, arguments.codec, settings)
        progress.done(str(source))
    for note in said:
        print(f"srgan upscale: {source}: {note}", file=sys.stderr)
    print(f"1 video enlarged to {place}.")
    return 0


def video_places(words: Sequence[str], label: str) -> tuple[Path, Path, bool]:
    """Returns the video, the file for its enlargement, and whether the user named that file. Raises UserError for more
    than one video."""
    if len(words) > 2:
        raise UserError("Only one video is enlarged at a time: give the video and, if you like, the file to write.")
    source, default = Path(words[0]), Path(f"{Path(words[0]).stem}-{label}.mp4")
    if not source.is_file():
        raise UserError(f"{source}: no such file.")
    if len(words) == 1:
        return source, source.parent / default, False
    place = Path(words[1])
    place = place / f"{source.stem}.mp4" if place.is_dir() else place
    check_apart(place, source)
    return source, place, True


def run_one(pair: Pair, work: "Work") -> None:
    with Progress(1) as progress:
        notes = work.enlarge_file(pair, progress)
    for note in notes:
        print(f"srgan upscale: {pair[0]}: {note}", file=sys.stderr)
    print(f"1 picture enlarged to {pair[1]}.")


def run_many(places: Places, work: "Work", way: Way, assumed: Counter[str], arguments: argparse.Namespace) -> int:
    """Enlarges many pictures; under torchrun, this process's share of them: every N-th one. All processes end together,
    because torchrun stops the others when one ends with an exit code other than 0."""
    share = places.pairs[ranks.rank() :: ranks.world_size()]
    missing = [pair for pair in share if arguments.overwrite or not pair[1].exists()]
    if ranks.is_first():
        announce(missing, work.target, way, arguments)
    try:
        report = work.enlarge_files(missing, arguments.jobs)
    except KeyboardInterrupt:
        print(
            "srgan upscale: stopped; run the same command again to continue with the missing pictures.", file=sys.stderr
        )
        return 1
    for line in report.lines():
        print(f"srgan upscale: {line}", file=sys.stderr)
    counts = torch.tensor(
        [report.done, len(report.failures), len(share) - len(missing), *(assumed[kind] for kind in WEAR)]
    )
    done, failed, there, clean, worn = ranks.all_reduce_sum(counts).tolist()
    if sentence := outcome(done, failed, there, places.where):
        print(sentence)
    if clean + worn > 1:
        print(f"Looked clean: {clean}; looked worn: {worn}. --wear clean or --wear worn decides for all of them.")
    code = 1 if failed else 0
    ranks.leave(code)
    return code


def outcome(done: int, failed: int, there: int, where: str) -> str:
    """Returns a sentence on what was done, or "" if the only picture failed, because the error has said so.

    there: number of pictures whose results existed.
    """
    one = there == 1
    again = f"{there} result{'' if one else 's'} existed already (--overwrite makes {'it' if one else 'them'} again)"
    sentences = [again] if there else []
    if done:
        pictures = f"{done} of {done + failed} pictures" if done + failed > 1 else "1 picture"
        sentences.insert(0, f"{pictures} enlarged to {where}")
    elif failed > 1:
        sentences.insert(0, f"None of the {failed} pictures was enlarged")
    return f"{'; '.join(sentences)}." if sentences else ""


# Work


@dataclass
class BatchReport:
    done: int = 0
    failures: list[str] = field(default_factory=list)
    """a sentence for each picture that could not be enlarged"""
    notes: dict[str, list[Path]] = field(default_factory=dict)
    """sentences for the user, such as what was not kept, each with its pictures"""

    def lines(self) -> Iterator[str]:
        for note, photos in self.notes.items():
            more = f" and {len(photos) - 3} more" if len(photos) > 3 else ""
            yield f"{', '.join(map(str, photos[:3]))}{more}: {note}"
        yield from self.failures


decoding = Lock()
"""Held while Pillow's switch for damaged pictures is on, which affects all threads."""


def read_whole(photo: Path) -> tuple[Image.Image, list[str]]:
    """Opens a picture and refuses a damaged one, with advice."""
    try:
        return open_picture(photo)
    except BrokenPicture as error:
        raise UserError(f"{str(error).rstrip('.')}: --damaged enlarges what can be read of it.") from None


def read_damaged(photo: Path) -> tuple[Image.Image, list[str]]:
    """Reads as much of a damaged picture as possible. Raises UserError if nothing can be read."""
    with decoding:
        try:
            return open_picture(photo)
        except BrokenPicture:
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            picture, notes = open_picture(photo)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
    return picture, [*notes, "It is damaged: the parts that cannot be read are filled with one colour."]


Turn = Callable[[Enlarge, Image.Image, Watch], tuple[Image.Image, list[str]]]
"""Enlarges a picture as soon as the network is free."""


def at_once(enlarge: Enlarge, picture: Image.Image, watch: Watch) -> tuple[Image.Image, list[str]]:
    return enlarge(picture, watch)


@dataclass(frozen=True)
class Work:
    """The steps that are done with every picture."""

    read: Read
    way: Way
    target: TargetSize
    save: Save
    quality: int | None = None

    def enlarge_file(self, pair: Pair, progress: Progress, turn: Turn = at_once) -> list[str]:
        """Enlarges one file. Returns a sentence for everything that is not kept or is worth knowing. Raises
        UserError."""
        photo, place = pair
        try:
            unused = self.unused_quality(place)
            if format_of(place).name in ANIMATED and (animation := read_animation(photo)):
                return self.enlarge_animation(animation, place, progress.watch(str(photo)), turn) + unused
            picture, left_out = self.read(photo)
            check_size(place, *self.target.of(*picture.size))  # better refused now than after the work
            enlarged, notes = turn(self.way.enlarge, picture, progress.watch(str(photo)))
            del picture  # frees the memory of a large picture before the result is written
            return left_out + notes + self.save(enlarged, pair) + unused
        except MemoryError:
            raise UserError(f"{photo}: there is not enough memory to enlarge it.") from None
        finally:
            progress.done(str(photo))

    def unused_quality(self, place: Path) -> list[str]:
        """Returns a sentence if the user asks for a quality and the result's format has none to choose."""
        format = format_of(place)
        if self.quality is None or "quality" in format.options:
            return []
        return [f"{format.name} has no quality to choose, so --quality changed nothing."]

    def enlarge_animation(self, animation: Animation, place: Path, watch: Watch, turn: Turn) -> list[str]:
        size = self.target.of(*animation.size)
        check_size(place, *size)
        enlarge, count, said = self.way.for_frames(), len(animation.milliseconds), dict[str, None]()

        def enlarged() -> Iterator[Image.Image]:
            for number, frame in enumerate(animation.frames()):
                large, notes = turn(enlarge, frame, partial(tell_part, watch, number / count, 1 / count))
                said.update(dict.fromkeys(notes))
                yield large

        notes = save_animation(animation, enlarged(), place, size, self.quality)
        return [*said, *notes]

    def enlarge_files(self, pairs: Sequence[Pair], jobs: int) -> BatchReport:
        """Enlarges pictures and reports those that fail.

        `jobs` threads read and write. One thread runs the network, which is as fast with one picture as with several.
        """
        report = BatchReport()
        with ThreadPoolExecutor(1) as network, ThreadPoolExecutor(jobs) as pool, Progress(len(pairs)) as progress:

            def in_turn(enlarge: Enlarge, picture: Image.Image, watch: Watch) -> tuple[Image.Image, list[str]]:
                return network.submit(enlarge, picture, watch).result()

            for start in range(0, len(pairs), GROUP):
                group = pairs[start : start + GROUP]
                results = pool.map(partial(self.try_file, progress=progress, turn=in_turn), group)
                for (photo, _), result in zip(group, results, strict=True):
                    if isinstance(result, UserError):
                        report.failures.append(str(result))
                        continue
                    report.done += 1
                    for note in result:
                        report.notes.setdefault(note, []).append(photo)
        return report

    def try_file(self, pair: Pair, progress: Progress, turn: Turn) -> list[str] | UserError:
        try:
            return self.enlarge_file(pair, progress, turn)
        except UserError as error:
            return error
