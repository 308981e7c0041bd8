"""The size that a result is to have."""

import pytest
from helpers import is_one_sentence

from srgan.errors import UserError
from srgan.pictures.sizes import TargetSize


@pytest.mark.parametrize(
    ("text", "size", "label"),
    [
        ("", (1600, 1200), "x4"),
        ("x2", (800, 600), "x2"),
        (" 3X ", (1200, 900), "x3"),
        ("1.5", (600, 450), "x1.5"),
        ("x1", (400, 300), "x1"),
        ("width 1000", (1000, 750), "1000w"),
        ("Height 100", (133, 100), "100h"),
        ("1920x1080", (1440, 1080), "1920x1080"),
        ("500 x 5000", (500, 375), "500x5000"),
        ("12 MP", (4000, 3000), "12mp"),
        ("0.5mp", (816, 612), "0.5mp"),
    ],
)
def test_a_size_in_words(text: str, size: tuple[int, int], label: str) -> None:
    target = TargetSize.parse(text)
    assert target.of(400, 300) == size
    assert target.label == label


@pytest.mark.parametrize(
    "text", ["x0", "big", "-2", "x2 x3", "1e3", "nan", "0x5", "width", "width 0", "width 1.5", "0 MP"]
)
def test_what_is_no_size_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as caught:
        TargetSize.parse(text)
    assert is_one_sentence(str(caught.value))


def test_two_sizes_at_once_are_refused() -> None:
    with pytest.raises(UserError, match="scale and by width"):
        TargetSize(scale=2, width=100)


def test_more_than_sixteen_times_is_refused_and_no_side_vanishes() -> None:
    assert TargetSize(scale=16).of(100, 7) == (1600, 112)
    for target in (
        TargetSize(scale=16.1),
        TargetSize(width=1601),
        TargetSize(megapixels=1),
        TargetSize(fit=(9999, 9999)),
    ):
        with pytest.raises(UserError, match="at most 16 times") as caught:
            target.of(100, 7)
        assert is_one_sentence(str(caught.value))
    assert TargetSize(width=10).of(1000, 3) == (10, 1)


def test_the_network_is_applied_twice_where_four_times_are_too_few_and_reduces_first_where_less_is_asked_for() -> None:
    assert TargetSize(scale=4).steps(10, 6) == ((10, 6), ((40, 24),))
    assert TargetSize(scale=1).steps(10, 6) == ((10, 6), ((10, 6),))
    eight = TargetSize(scale=8).steps(10, 6)
    assert eight == ((10, 6), ((40, 24), (80, 48)))
    assert eight.work == [60, 960] and eight.size == (80, 48)
    assert TargetSize(width=5).steps(10, 6) == ((5, 3), ((5, 3),))
