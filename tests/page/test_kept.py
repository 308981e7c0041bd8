"""srgan/page/kept.py: an answer about a picture is found once and kept without the picture."""

import weakref

import pytest
from PIL import Image

from srgan.page import kept
from srgan.page.kept import MOST_KEPT, once


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "ANSWERS", type(kept.ANSWERS)())


def grey(level: int, size: tuple[int, int] = (4, 6)) -> Image.Image:
    return Image.new("L", size, level)


def test_an_equal_picture_is_asked_about_once() -> None:
    asked: list[object] = []

    def look(picture: Image.Image, *others: object) -> int:
        asked.append(others)
        return len(asked)

    with_tables, with_others = grey(1), grey(1)
    with_tables.quantization = {0: [1] * 64}  # pyright: ignore[reportAttributeAccessIssue] - as JpegImageFile has it
    with_others.quantization = {0: [2] * 64}  # pyright: ignore[reportAttributeAccessIssue]
    different = [grey(1), grey(2), grey(1, (6, 4)), grey(1).convert("RGB"), with_tables, with_others]
    assert [once(look, picture) for picture in different] == [1, 2, 3, 4, 5, 6]
    assert [once(look, picture.copy()) for picture in different[:4]] == [1, 2, 3, 4]
    assert once(look, with_tables) == 5 and once(look, with_others) == 6
    assert once(look, grey(1), "another model") == 7 and once(look, grey(1), "another model") == 7


def test_only_the_last_answers_are_kept_and_no_picture() -> None:
    asked: list[int] = []

    def look(picture: Image.Image) -> int:
        asked.append(level := int(picture.getpixel((0, 0)) or 0))
        return level

    first = grey(0)
    alive = weakref.ref(first)
    assert once(look, first) == 0
    del first
    assert alive() is None
    for level in range(1, MOST_KEPT):
        once(look, grey(level))
    once(look, grey(0))  # asked about again, so it stays longest
    once(look, grey(200))
    once(look, grey(0))
    once(look, grey(1))
    assert asked == [*range(MOST_KEPT), 200, 1]


def test_an_error_is_not_kept() -> None:
    answers = iter([ValueError("not now"), 5])

    def look(picture: Image.Image) -> int:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    with pytest.raises(ValueError, match="not now"):
        once(look, grey(0))
    assert once(look, grey(0)) == 5
