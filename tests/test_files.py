"""Files are complete or absent, whatever threads, drives and systems do, and no two files share a name."""

import ast
import errno
import os
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import ROOT

from srgan.errors import UserError
from srgan.files import folded, is_same, lies_in, remove_partial, with_ending, write_whole

PROGRAM = [ROOT / "app.py", ROOT / "train.py", *(ROOT / "srgan").rglob("*.py")]


def test_threads_may_write_one_file_at_once(tmp_path: Path) -> None:
    path, count = tmp_path / "new" / "picture.png", 8
    together, partials = threading.Barrier(count), set()

    def write(number: int) -> None:
        def fill(partial: Path) -> None:
            partials.add(partial)
            partial.write_bytes(bytes([number]) * 1000)
            together.wait(timeout=60)  # all have written, but none has renamed its file
            assert partial.read_bytes() == bytes([number]) * 1000

        write_whole(path, fill)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(write, range(count)))
    assert len(partials) == count and len(set(path.read_bytes())) == 1 and path.stat().st_size == 1000
    assert [place.name for place in path.parent.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("name", ["x" * 245 + ".png", "写" * 80 + ".png"])
def test_a_name_as_long_as_disks_take_is_written(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, lambda path: path.write_bytes(b"whole"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_files_have_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole(tmp_path / "whole", Path.touch)
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_a_kill_has_left_is_removed(tmp_path: Path) -> None:
    seen: list[Path] = []
    write_whole(tmp_path / "below" / "state.pt", lambda path: (seen.append(path), path.touch()))
    seen[0].touch()  # as left by a process that is killed while it writes
    remove_partial(tmp_path)
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["state.pt"]


def refuse_read_only(descriptor: int) -> None:
    """Applies the rule of Windows, whose fsync only accepts a file that is open for writing."""
    fcntl = pytest.importorskip("fcntl")
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")


def refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "fsync",
    [refuse_read_only, *(lambda _, number=number: refuse(number) for number in (errno.EINVAL, errno.ENOTSUP))],
    ids=["windows", "network drive", "another one"],
)
def test_windows_and_drives_that_do_not_sync_take_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: object
) -> None:
    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "file", lambda path: path.write_bytes(b"whole"))
    assert (tmp_path / "file").read_bytes() == b"whole"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_to_sync_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: refuse(number))
    with pytest.raises(UserError, match="file cannot be written"):
        write_whole(tmp_path / "file", lambda path: path.write_bytes(b"new"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_file_that_need_not_last_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: refuse(errno.EIO))
    write_whole(tmp_path / "file", lambda path: path.write_bytes(b"new"), lasting=False)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_the_disk_says_whether_two_names_are_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "linked").symlink_to(folder)  # like a disk on which `photos` and `PHOTOS` are one name
    assert is_same(folder, tmp_path / "linked") and not is_same(folder, tmp_path) and not is_same(folder, folder / "x")
    assert lies_in(folder / "not" / "there", tmp_path / "linked") and lies_in(folder, folder)
    assert not lies_in(folder, folder / "below") and not lies_in(tmp_path, folder)


# Names


LETTER = "Å"
NAMES = {
    "one of each": (["a.jpg", "below/a.png"], ["a.png", "below/a.png"]),
    "two endings": (["a.bmp", "a.jpg"], ["a.bmp.png", "a.jpg.png"]),
    "the longer name is taken": (["a.bmp", "a.jpg", "a.jpg.png"], ["a.bmp.png", "a.jpg.png", "a.jpg.png.png"]),
    "case": (["Photo.jpg", "photo.png"], ["Photo.jpg.png", "photo.png.png"]),
    "case alone": (["Photo.JPG", "photo.jpg"], ["Photo.JPG.png", "photo.jpg-2.png"]),
    "case of folders": (["A/x.jpg", "a/x.jpg"], ["A/x.jpg.png", "a/x.jpg-2.png"]),
    "sharp s": (["straße.jpg", "STRASSE.bmp"], ["straße.jpg.png", "STRASSE.bmp.png"]),
    "composed": (
        [f"{unicodedata.normalize(form, LETTER)}.jpg" for form in ("NFC", "NFD")],
        [f"{unicodedata.normalize('NFC', LETTER)}.jpg.png", f"{unicodedata.normalize('NFD', LETTER)}.jpg-2.png"],
    ),
    "a folder of that name": (["a.jpg", "a.png/b.jpg"], ["a.jpg.png", "a.png/b.png"]),
}


@pytest.mark.parametrize(("names", "wanted"), NAMES.values(), ids=NAMES)
def test_no_two_results_are_one_file_on_any_disk(names: list[str], wanted: list[str]) -> None:
    results = [path.as_posix() for path in with_ending([Path(name) for name in names], "png")]
    assert results == wanted
    assert len(set(map(folded, results))) == len(results)


# Windows


def unnamed_encodings(path: Path) -> list[str]:
    """Finds calls that read or write text in the system's encoding, which is not UTF-8 on Windows."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        if ast.unparse(node.func) == "av.open":  # a video, not text
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        text = name in ("read_text", "write_text") or (name == "open" and modes and not any("b" in m for m in modes))
        if text and not any(keyword.arg == "encoding" for keyword in node.keywords):
            found.append(f"{path.name}:{node.lineno}")
    return found


def test_every_text_file_is_utf_8_on_every_system() -> None:
    assert not [place for path in PROGRAM for place in unnamed_encodings(path)]
