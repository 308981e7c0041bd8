"""The page's files while old ones are deleted, and while several visitors save the same file at once."""

import os
import threading
import time
import zipfile
from pathlib import Path

import pytest
from helpers import is_one_sentence, textured
from PIL import Image

from srgan.errors import UserError
from srgan.page import served_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes all existing files old enough to be deleted, but not those that are kept anew from now on."""
    later = time.time() + served_files.KEPT_SECONDS
    monkeypatch.setattr(served_files.time, "time", lambda: later)


def test_a_file_that_has_just_been_swept_is_written_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = textured(0, 8, 8)
    place = Path(served_files.save_png(picture, "mine"))
    place.unlink()
    monkeypatch.setattr(Path, "exists", lambda _: True)  # as if the file still existed
    assert served_files.save_png(picture, "mine") == str(place)
    assert place.stat().st_size and Image.open(place).tobytes() == picture.tobytes()


def test_a_file_is_not_swept_just_when_it_is_kept_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture, unlink = textured(0, 8, 8), Path.unlink
    place = Path(served_files.save_png(picture, "mine"))
    visitor = threading.Thread(target=served_files.save_png, args=(picture, "mine"))

    def unlink_late(path: Path, missing_ok: bool = False) -> None:
        if path == place:
            visitor.start()
            visitor.join(0.3)  # it waits for the sweeper
        unlink(path, missing_ok)

    grow_old(monkeypatch)
    monkeypatch.setattr(Path, "unlink", unlink_late)
    served_files.sweep(folder)
    visitor.join()
    assert Image.open(place).tobytes() == picture.tobytes()


def test_a_folder_is_not_swept_just_when_it_is_to_be_filled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(served_files.save_png(textured(0, 8, 8), "mine"))
    place.unlink()
    os.utime(place.parent, (0, 0))
    assert not served_files.keep(place)
    served_files.sweep(folder)
    assert place.parent.is_dir()
    grow_old(monkeypatch)
    served_files.sweep(folder)
    assert not place.parent.exists()


def test_a_file_kept_anew_stays_where_only_its_modification_tells(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows, st_ctime is the time when a file was created."""
    place = folder / "a.png"
    place.touch()
    made = os.stat_result((*place.stat()[:8], time.time(), 0.0))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: made)
    assert served_files.last_kept(place) == pytest.approx(time.time(), abs=60)


def test_many_visitors_may_save_one_picture_at_once(folder: Path) -> None:
    picture, failures, together = textured(0, 64, 64), [], threading.Barrier(8)

    def save() -> None:
        together.wait()
        try:
            served_files.save_png(picture, "mine")
        except UserError as error:
            failures.append(error)

    visitors = [threading.Thread(target=save) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert not failures
    (place,) = folder.rglob("*.png")
    assert Image.open(place).tobytes() == picture.tobytes()


def test_no_two_files_of_a_zip_are_one_on_any_disk(folder: Path) -> None:
    places = [
        served_files.save_png(textured(number, 8, 8), name)
        for number, name in enumerate(("a", "A", "a", "\u00c5", "A\u030a"))
    ]
    names = zipfile.ZipFile(served_files.save_zip(places)).namelist()
    assert names == ["a.png", "A-2.png", "a-3.png", "\u00c5.png", "A\u030a-2.png"]


def test_a_visitor_reads_no_path_of_the_machine(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "file").touch()
    with pytest.raises(UserError) as caught:
        served_files.save(folder / "file" / "below" / "mine.png", Path.touch)
    assert is_one_sentence(str(caught.value)) and "mine.png" in str(caught.value)
    assert str(folder) not in str(caught.value) and str(folder) in caplog.text
