"""Finds the pictures that `srgan upscale` is given, and decides where each result goes."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from srgan.errors import UserError
from srgan.files import folded, is_same, lies_in, with_ending
from srgan.photos.finding import find_photos
from srgan.pictures.formats import ENDINGS, FORMATS, endings, format_of

SAME = "same"
"""The --format that gives each result the format of its picture, if results can be written in it."""

DEFAULT_ENDING = "png"

Pair = tuple[Path, Path]
"""A picture, and the file for its enlargement."""


@dataclass(frozen=True)
class Naming:
    format: str | None
    """one of FORMATS, SAME, or None for PNG"""
    suffix: str | None
    """inserted before the ending; None: the label for results beside their pictures, nothing in a folder"""
    label: str
    """the size as a word for file names, such as "x4" """

    @property
    def beside(self) -> str:
        return f"-{self.label}" if self.suffix is None else self.suffix

    def ending(self, photo: Path) -> str:
        if self.format == SAME:
            return photo.suffix[1:] if photo.suffix.lower() in ENDINGS else DEFAULT_ENDING
        return self.format or DEFAULT_ENDING

    def named(self, photos: Sequence[Path], suffix: str) -> list[Path]:
        """Returns a path for the result of each photo, in the same folder. No two of them are the same file on any
        disk."""
        return with_ending(photos, self.ending, suffix)


@dataclass
class Places:
    pairs: list[Pair]
    where: str
    """the place of the results, in words for the user"""
    is_one: bool = False
    """whether one picture was named with its result, which is then written even if it exists"""
    left_out: Sequence[Path] = ()
    """given pictures that are results of others that were given"""


def find_places(words: Sequence[str], naming: Naming) -> Places:
    """Reads the words of the command line: pictures, folders or patterns, and optionally the place for the results at
    the end.

    Raises UserError if there is nothing to enlarge, if several results would be one file, or if one would overwrite a
    picture.
    """
    check_suffix(naming.suffix)
    given, last = split(words)
    output = None if last is None else Path(last)
    inputs = list(dict.fromkeys(path for word in given for path in matches(word)))
    if len(inputs) == 1 and inputs[0].is_dir():
        return of_folder(inputs[0], output, naming)
    if last is None or output is None:
        return beside(inputs, naming)
    if len(inputs) == 1 and not is_pattern(given[0]) and not last.endswith(("/", os.sep)):
        return of_one(inputs[0], output, naming)
    return into_folder(inputs, output, naming)


def check_suffix(suffix: str | None) -> None:
    if suffix and Path(suffix).name != suffix:
        raise UserError(f"--suffix {suffix} names a folder: give only text to insert before the ending.")


def split(words: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Separates the pictures from the place for results. Of two words the second is the place; of more, the last is,
    unless it is an existing file."""
    last = words[-1]
    if len(words) == 1 or is_pattern(last) or (len(words) > 2 and Path(last).is_file()):
        return words, None
    return words[:-1], last


def is_pattern(word: str) -> bool:
    """Returns whether a word is a pattern and not the name of a file. Shells on Windows leave patterns to the
    program."""
    return glob.has_magic(word) and not Path(word).exists()


def matches(word: str) -> list[Path]:
    """Returns the picture or folder of that name, or all that fit a pattern. Raises UserError if there are none."""
    if not is_pattern(word):
        if not Path(word).exists():
            raise UserError(f"{word}: no such file or folder.")
        return [Path(word)]
    found = [Path(name) for name in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207  of any folder
    found = [path for path in found if path.is_dir() or path.suffix.lower() in endings()]
    if not found:
        raise UserError(f"{word}: no picture and no folder matches this pattern.")
    return found


def of_one(photo: Path, target: Path, naming: Naming) -> Places:
    """Writes to `target`, or to a file in it if it is a folder."""
    if target.is_dir():
        place = target / naming.named([Path(photo.name)], naming.suffix or "")[0]
    else:
        place = target
        if naming.suffix:
            raise UserError(
                f"--suffix is for results in a folder or beside their pictures, but {target} names the result."
            )
    check_apart(place, photo)
    if naming.format and format_of(place) is not FORMATS[ENDINGS[f".{naming.ending(photo).lower()}"]]:
        raise UserError(f"{place} must end in .{naming.ending(photo)} for --format {naming.format}.")
    format_of(place)
    return Places([(photo, place)], str(place), is_one=True)


def of_folder(source: Path, target: Path | None, naming: Naming) -> Places:
    """Places the results of all pictures of a folder and its subfolders in a folder with the same subfolders."""
    if target is None:
        whole = source.resolve()
        target, suffix = source.parent / f"{whole.name}{naming.beside}", ""
        if source.name != whole.name:  # "." or ".."
            target = whole.parent / target.name
    else:
        suffix = naming.suffix or ""
    check_folder(target)
    photos = photos_of(source, target)
    places = naming.named(photos, suffix)
    pairs = [(source / photo, target / place) for photo, place in zip(photos, places, strict=True)]
    return Places(pairs, str(target))


def photos_of(source: Path, target: Path) -> list[Path]:
    """Returns the pictures of a folder, relative to it. If the results go into one of its subfolders, the pictures
    in that one are left out."""
    if is_same(target, source):
        raise UserError(f"{target} holds the pictures themselves: name another folder, so that none is overwritten.")
    photos = find_photos(source)
    results = {folder for folder in {photo.parent for photo in photos} if lies_in(folder, target)}
    return [photo.relative_to(source) for photo in photos if photo.parent not in results]


def into_folder(inputs: Sequence[Path], target: Path, naming: Naming) -> Places:
    """Places the results of pictures in a folder, and the results of folders in its subfolders of the same names."""
    if target.suffix.lower() in ENDINGS and not target.is_dir():
        raise UserError(f"{target}: several pictures are given, so the results need a folder.")
    check_folder(target)
    photos, names = [], []
    for path in inputs:
        below = photos_of(path, target) if path.is_dir() else [Path()]
        photos += [path / name for name in below]
        names += [path.resolve().name / name for name in below]
    places = [target / place for place in naming.named(names, naming.suffix or "")]
    for photo, place in zip(photos, places, strict=True):
        check_apart(place, photo)
    check_none_lost(photos, places)
    return Places(list(zip(photos, places, strict=True)), str(target))


def beside(inputs: Sequence[Path], naming: Naming) -> Places:
    """Places results beside their pictures under another name. The results of a folder go into a folder beside it."""
    folders = [of_folder(path, None, naming) for path in inputs if path.is_dir()]
    files = [path for path in inputs if not path.is_dir()]
    names = [folded(path.as_posix()) for path in files]
    results = [folded(place.as_posix()) for place in naming.named(files, naming.beside)]
    if any(name == result for name, result in zip(names, results, strict=True)):
        raise UserError("Without OUT and with an empty --suffix, results would be written over their pictures.")
    others = set(results)
    photos = [path for path, name in zip(files, names, strict=True) if name not in others]
    places = naming.named(photos, naming.beside)
    check_none_lost(photos, places)
    pairs = [*zip(photos, places, strict=True), *(pair for folder in folders for pair in folder.pairs)]
    where = str(pairs[0][1]) if len(pairs) == 1 else f"files named …{naming.beside} beside them"
    if folders and not files:
        where = ", ".join(folder.where for folder in folders)
    return Places(pairs, where, left_out=[path for path in files if path not in photos])


def check_folder(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: name a folder for the pictures.")


def check_apart(place: Path, photo: Path) -> None:
    if is_same(place, photo):
        raise UserError(f"{place} is the picture itself: name another file to write.")


def check_none_lost(photos: Sequence[Path], places: Sequence[Path]) -> None:
    given = {folded(photo.resolve().as_posix()) for photo in photos}
    for place in places:
        if folded(place.resolve().as_posix()) in given:
            raise UserError(f"{place} is one of the pictures themselves: name another folder, or give a --suffix.")
