"""Keeps the last answers about pictures, because moving Detail asks the same about the same picture again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from hashlib import blake2b
from threading import Lock
from typing import Any, TypeVar

from PIL import Image

MOST_KEPT = 16
"""Number of answers that are kept."""

T = TypeVar("T")

ANSWERS: OrderedDict[Hashable, Any] = OrderedDict()
LOCK = Lock()


def once(look: Callable[..., T], picture: Image.Image, *others: Hashable) -> T:
    """Returns `look(picture, *others)`, or what it has answered about an equal picture before.

    The answers are kept by a checksum of the picture. The pictures, which take up to 300 MB each, are not kept.
    """
    key = (look, others, identity(picture))
    with LOCK:
        if key in ANSWERS:
            ANSWERS.move_to_end(key)
            return ANSWERS[key]
    answer = look(picture, *others)
    with LOCK:
        ANSWERS[key] = answer
        while len(ANSWERS) > MOST_KEPT:
            ANSWERS.popitem(last=False)
    return answer


def identity(picture: Image.Image) -> Hashable:
    """Returns what differs between pictures that may be judged differently: their pixels and their JPEG tables."""
    tables = getattr(picture, "quantization", None) or {}
    frozen = tuple((number, tuple(table)) for number, table in tables.items())
    return picture.mode, picture.size, frozen, blake2b(picture.tobytes()).digest()
