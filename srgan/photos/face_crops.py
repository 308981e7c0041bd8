"""Cuts faces out of photos like the training crops: upright, with the eyes at the same places in each."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from srgan.faces import detect, faces_in
from srgan.photos.pieces import LeftOut, Pieces, too_small
from srgan.photos.sharpness import sharpness_of

EYES = 0.342 + 0.52j, 0.658 + 0.52j
"""The places of the left and the right eye in a crop, as x + iy in shares of its side: medians over the 128x128 centre
crops of CelebA's photos as the detector finds them, made level and symmetric."""

LEAST_DETAIL = 0.05
"""A crop whose `sharpness_of` is lower is blurred. The lowest of 150 CelebA crops is 0.09."""

MOST_OUTSIDE = 0.08
"""A face counts as cut off if its frame extends further than this beyond its photo, as a share of the crop's side. Up
to this limit the photo's last pixels are repeated."""

LEAST_EYES = 0.2
"""Least distance of the eyes, as a share of the face's height. It is smaller in a face that looks to the side, whose
frame would show little but its middle."""

LOOKS, LOOKED_AT, AROUND = 3, 320, 2.0
"""A face is examined again, at most LOOKS times, in an upright picture of LOOKED_AT pixels a side, which shows AROUND
times its frame. The detector finds the eyes best there; in a tilted face it underestimates the tilt."""

CLOSE = 0.01
"""The eyes are found once both have moved by less than this share of the frame's side."""

NO_FACE = "without a face"

CUT_OFF = LeftOut("cut off", "is cut off by the edge of the photo")


@dataclass(frozen=True)
class Frame:
    """A square in a photo, which may be rotated. The point `point` of the crop, in shares of its side, lies at `corner
    + point * edge` in the photo, in pixels. Points are complex numbers, x + iy."""

    corner: complex
    edge: complex

    @property
    def side(self) -> float:
        return abs(self.edge)

    @property
    def corners(self) -> list[complex]:
        return [self.at(point) for point in (0, 1, 1j, 1 + 1j)]

    def at(self, point: complex) -> complex:
        return self.corner + point * self.edge

    def outside(self, size: tuple[int, int]) -> float:
        """Returns how far the frame extends beyond a picture of that size, as a share of the frame's side."""
        beyond = [max(-z.real, z.real - size[0], -z.imag, z.imag - size[1]) for z in self.corners]
        return max(0.0, *beyond) / self.side

    def grown(self, factor: float) -> "Frame":
        """Returns the square enlarged around its middle."""
        return Frame(self.at((1 - factor) * (0.5 + 0.5j)), self.edge * factor)


def frame_of(eyes: tuple[complex, complex]) -> Frame:
    """Returns the frame in which these two points of a photo lie at EYES."""
    edge = (eyes[1] - eyes[0]) / (EYES[1] - EYES[0])
    return Frame(eyes[0] - EYES[0] * edge, edge)


def eyes_of(face: np.ndarray) -> tuple[complex, complex]:
    return complex(*face[4:6]), complex(*face[6:8])


def cut_faces(photo: Image.Image, side: int) -> Pieces:
    """Cuts the faces out of an RGB picture, from left to right; also returns those left out.

    Faces are reduced to the crop's side, and none is enlarged. Raises UserError if the detector is missing.
    """
    found = Pieces()
    faces = sorted(faces_in(photo), key=lambda face: face[0])
    for number, face in enumerate(faces, start=1):
        crop = cut_face(photo, face, side)
        if isinstance(crop, LeftOut):
            which = "its face" if len(faces) == 1 else f"face {number} of {len(faces)}"
            found.left_out.append(crop._replace(words=f"{which} {crop.words}"))
        else:
            found.crops.append(crop)
    if not faces:
        found.left_out.append(LeftOut(NO_FACE, "shows no face that could be found"))
    return found


def cut_face(photo: Image.Image, face: np.ndarray, side: int) -> np.ndarray | LeftOut:
    """Cuts out a face that the detector has found, uint8 [3, side, side], or returns the reason why it is left out."""
    rough = frame_of(eyes_of(face))
    if rough.side < 0.8 * side:  # looking again would not make it so much larger
        return too_small(int(rough.side), int(rough.side), side)
    if rough.outside(photo.size) > 2 * MOST_OUTSIDE:
        return CUT_OFF
    frame, height = look_again(photo, rough, float(face[3]))
    if frame.side < side:
        return too_small(int(frame.side), int(frame.side), side)
    if abs(EYES[1] - EYES[0]) * frame.side < LEAST_EYES * height:
        return LeftOut("turned away", "looks to the side")
    if frame.outside(photo.size) > MOST_OUTSIDE:
        return CUT_OFF
    crop = cut(photo, frame, side)
    if (sharpness := sharpness_of(crop)) < LEAST_DETAIL:
        return LeftOut("blurred", f"is blurred (detail {sharpness:.3f}, less than {LEAST_DETAIL})")
    return np.asarray(crop).transpose(2, 0, 1)


def look_again(photo: Image.Image, frame: Frame, height: float) -> tuple[Frame, float]:
    """Finds the eyes again in an upright picture of the face. Returns the frame and the face's height in pixels."""
    for _ in range(LOOKS):
        around = frame.grown(AROUND)
        faces = list(detect(cut(photo, around, LOOKED_AT, quick=True), LOOKED_AT))
        if not faces:
            break
        middle = (EYES[0] + EYES[1]) / 2
        expected = ((middle - 0.5 - 0.5j) / AROUND + 0.5 + 0.5j) * LOOKED_AT
        face = min(faces, key=lambda face: abs(sum(eyes_of(face)) / 2 - expected))
        left, right = eyes_of(face)
        if abs((left + right) / 2 - expected) > LOOKED_AT / AROUND / 4:  # somebody else's
            break
        better = frame_of((around.at(left / LOOKED_AT), around.at(right / LOOKED_AT)))
        height = float(face[3]) / LOOKED_AT * around.side
        moved = max(abs(better.at(eye) - frame.at(eye)) for eye in EYES)
        frame = better
        if moved < CLOSE * frame.side:
            break
    return frame, height


def cut(photo: Image.Image, frame: Frame, side: int, quick: bool = False) -> Image.Image:
    """Cuts out a frame at `side` pixels: it is rotated at the photo's own resolution, then reduced by the bicubic.

    Outside of the photo its last pixels are repeated. quick: reduce by averaging whole pixels before rotating.
    """
    across, down = ([z.real for z in frame.corners], [z.imag for z in frame.corners])
    left, top = (int(min(places)) - 4 for places in (across, down))
    right, bottom = (int(max(places)) + 5 for places in (across, down))
    part = with_edges(photo, left, top, right, bottom)
    inside = Frame(frame.corner - complex(left, top), frame.edge)
    if quick and (factor := int(frame.side / side)) > 1:
        part, inside = part.reduce(factor), Frame(inside.corner / factor, inside.edge / factor)
    fine = side * max(1, int(np.ceil(inside.side / side - 1e-6)))
    step, start = inside.edge / fine, inside.corner
    place = (step.real, -step.imag, start.real, step.imag, step.real, start.imag)
    turned = part.transform((fine, fine), Image.Transform.AFFINE, place, Image.Resampling.BICUBIC)
    return turned.resize((side, side), Image.Resampling.BICUBIC)


def with_edges(photo: Image.Image, left: int, top: int, right: int, bottom: int) -> Image.Image:
    """Cuts out a part of a photo that may extend beyond it, where its last pixels are repeated."""
    columns = np.arange(left, right).clip(0, photo.width - 1)
    rows = np.arange(top, bottom).clip(0, photo.height - 1)
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    inner = np.asarray(photo.crop(box))
    return Image.fromarray(inner[rows - box[1]][:, columns - box[0]])
