"""Finds faces with YuNet, frames them like the training crops, and draws their enlargements into the enlargement of the
whole picture.

Faces are restored at their own size. Scaling them to the size of the training crops first would cost more than it
gains: benchmarks/faces.md has the measurements, also for the numbers below.
"""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from PIL import Image

from srgan.errors import UserError
from srgan.models import SCALE
from srgan.pictures.boxes import Box
from srgan.pictures.corrections import CorrectionChoice
from srgan.pictures.formats import as_standard
from srgan.pictures.images import flat
from srgan.pictures.large import let_go
from srgan.pictures.resampling import Grid
from srgan.shipped import WEIGHTS
from srgan.upscaler import Upscaler, Watch, tell_part, unwatched

DETECTOR = WEIGHTS / "face-detector" / "face_detection_yunet_2023mar.onnx"
DETECTOR_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

LEAST_SCORE = 0.8
"""Detections with a lower score, of at most 1, are ignored: more and more of them are no faces."""

LEAST_HEIGHT = 12
"""Smallest face in pixels from forehead to chin, half the size of those in training. The network cannot restore
smaller ones."""

LONG_SIDES = (320, 1280)
"""The picture is searched at two sizes, however large it is: YuNet finds faces of about 10 to 300 pixels."""

ENLARGED = 2
"""A small picture is enlarged at most this many times before it is searched at the larger size."""

STRIDE = 32
"""YuNet needs sides that are multiples of this. Given a single multiple, OpenCV 4.14 returns uninitialised memory."""

FRAME = 1.14
"""The training crop's side for a face of height 1; the eyes lie in its middle. Of CelebA's centre crops."""

FADE = 0.25
"""Width of the transition between the two enlargements around a face, as a share of the frame's side."""

AROUND = 12
"""Extra pixels on each side that the network sees of a face. It looks 40 pixels far, but those beyond change no grey
level."""

MIXED = 256
"""Side in pixels of the parts that are mixed at once. Mixing a large face at once would take gigabytes."""

detecting = threading.Lock()


def find_faces(picture: Image.Image) -> list[Box]:
    """Finds the faces of a picture, the largest first. Returns upright squares that frame them like the training crops.

    The squares may extend beyond the picture. Raises UserError if OpenCV or the detector's file is missing or damaged.
    """
    return sorted(map(framed, faces_in(flat(as_standard(picture)))), key=lambda box: -box.side)


def faces_in(photo: Image.Image) -> list[np.ndarray]:
    """Finds the faces of an RGB picture, each once, in the form of `detect`, with the highest score first."""
    largest = min(LONG_SIDES[1], ENLARGED * max(photo.size))
    sides = sorted({LONG_SIDES[0], max(LONG_SIDES[0], largest)})
    found = sorted((face for side in sides for face in detect(photo, side)), key=lambda face: -face[-1])
    kept: list[np.ndarray] = []
    for face in found:
        if all(shared(face, other) < 0.4 for other in kept):
            kept.append(face)
    return kept


def detect(photo: Image.Image, side: int) -> Iterator[np.ndarray]:
    """Runs YuNet on an RGB picture that is scaled to a long side.

    Returns for each face, in pixels of the picture: left, top, width, height; x and y of right eye, left eye, nose and
    both corners of the mouth; and the score.
    """
    ratio = side / max(photo.size)
    width, height = (max(1, round(length * ratio)) for length in photo.size)
    canvas = np.zeros((*(max(2, -(-length // STRIDE)) * STRIDE for length in (height, width)), 3), np.uint8)
    resized = photo.resize((width, height), Image.Resampling.BICUBIC)
    canvas[:height, :width] = np.asarray(resized)[..., ::-1]  # BGR
    with detecting:
        network = detector()
        network.setInputSize(canvas.shape[1::-1])
        rows = network.detect(canvas)[1]
    for row in [] if rows is None else rows:
        face = np.append(row[:-1] / ratio, row[-1])
        eyes = middle_of_eyes(face)
        if np.isfinite(face).all() and face[3] >= LEAST_HEIGHT and ((eyes >= 0) & (eyes < photo.size)).all():
            yield face


@lru_cache(maxsize=1)
def detector() -> Any:
    """Returns the one cv2.FaceDetectorYN. Only one thread may use it at a time."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # OpenCV 5 warns of its own defaults
    try:
        import cv2
    except ImportError as error:
        raise UserError(f"Finding faces needs OpenCV: pip install opencv-python-headless ({error}).") from None
    try:
        data = DETECTOR.read_bytes()
    except OSError as error:
        raise UserError(f"{DETECTOR.name}, which finds faces, cannot be read ({error.strerror}).") from None
    if hashlib.sha256(data).hexdigest() != DETECTOR_SHA256:
        raise UserError(f"{DETECTOR.name}, which finds faces, is damaged: download it again from the repository.")
    model = np.frombuffer(data, np.uint8)
    return cv2.FaceDetectorYN.create("onnx", model, np.empty(0, np.uint8), (STRIDE, STRIDE), LEAST_SCORE)


def shared(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the share of the smaller face that overlaps the other one."""
    lengths = np.minimum(first[:2] + first[2:4], second[:2] + second[2:4]) - np.maximum(first[:2], second[:2])
    return float(lengths.clip(min=0).prod() / min(first[2:4].prod(), second[2:4].prod()))


def middle_of_eyes(face: np.ndarray) -> np.ndarray:
    return (face[4:6] + face[6:8]) / 2


def framed(face: np.ndarray) -> Box:
    side = round(FRAME * face[3])
    left, top = (round(middle - side / 2) for middle in middle_of_eyes(face))
    return Box(left, top, left + side, top + side)


def draw_faces(
    enlarged: Image.Image,
    upscaler: Upscaler,
    picture: Image.Image,
    faces: Sequence[Box],
    detail: float = 1.0,
    best: bool = False,
    watch: Watch = unwatched,
    correction: CorrectionChoice = "auto",
) -> Image.Image:
    """Returns a copy of a picture's enlargement, of at most 4 times its size, with its faces enlarged by `upscaler`.

    Inside a face's box every pixel comes from `upscaler`. Over FADE of its side around the box, it fades into the other
    enlargement. best, watch, correction: as for `Upscaler.enlarge`.
    """
    picture, drawn = as_standard(picture), enlarged.copy()
    correction = upscaler.correction_for(picture, correction)  # once, not for each face
    for number, face in enumerate(faces):
        tell = partial(tell_part, watch, number / len(faces), 1 / len(faces))
        draw_face(drawn, upscaler, picture, face, detail, best, tell, correction)
    return drawn


def draw_face(
    drawn: Image.Image,
    upscaler: Upscaler,
    picture: Image.Image,
    face: Box,
    detail: float = 1.0,
    best: bool = False,
    watch: Watch = unwatched,
    correction: CorrectionChoice = "auto",
) -> None:
    """Draws one face into the enlargement `drawn` itself, as `draw_faces` does into a copy. picture: in one of
    `formats.standard`'s modes."""
    grid = Grid.between(picture.size, drawn.size, SCALE)
    fade = fade_of(face)
    area = drawn_around(face, picture.size)
    restored = upscaler.enlarge_part(picture, area, drawn.size, detail, AROUND, best, watch, correction)
    corner = grid.place(area)
    for part in area.parts(MIXED):
        place = grid.place(part)
        if not (place.width and place.height):
            continue
        mixed = np.array(drawn.crop(place))
        theirs = np.atleast_3d(np.asarray(restored.crop(place.inside(corner))))
        colours = np.atleast_3d(mixed)[..., : theirs.shape[2]]  # a view without alpha
        rows = fade_weights(place.top, place.bottom, picture.height / drawn.height, face.top, face.bottom, fade)
        columns = fade_weights(place.left, place.right, picture.width / drawn.width, face.left, face.right, fade)
        weight = np.outer(rows, columns)[..., None]
        there = colours.astype(np.float32)
        colours[...] = np.rint(there + weight * (theirs - there))
        drawn.paste(Image.fromarray(mixed), place[:2])
        let_go(drawn)


def fade_of(face: Box) -> int:
    return max(1, round(FADE * face.side))


def drawn_around(face: Box, size: tuple[int, int]) -> Box:
    """Returns what is restored of a picture of that size to draw a face: the face, and where it fades."""
    return face.grown(fade_of(face), Box(0, 0, *size))


def fade_weights(start: int, end: int, step: float, low: int, high: int, fade: int) -> np.ndarray:
    """Weights of the enlarged pixels from `start` to `end`, which are `step` picture pixels apart: 1 from `low` to
    `high`, falling smoothly to 0 over `fade` on both sides. float32."""
    middles = (np.arange(start, end, dtype=np.float32) + 0.5) * step
    beyond = np.maximum(low - middles, middles - high)
    inner = 1 - (beyond / fade).clip(0, 1)
    return inner**2 * (3 - 2 * inner)
