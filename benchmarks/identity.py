"""Measures how well the person in a restored face can still be recognised.

    pip install dlib-bin face_recognition_models
    python benchmarks/identity.py --data img_align_celeba --last 60 --degrade jpeg75 web --model weights/photos

A face recognition network (dlib's ResNet, whose weights are in the public domain) describes each original and each
restored face by 128 numbers. The figure is the cosine between the two descriptions, after the mean description of all
originals is subtracted: 1 for the same face, about 0 for two different people. The eyes are located in the original,
so that all systems' faces are cut out at the same place. Photos in which dlib finds no face are left out. The program
never trains with this network.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import numpy as np
import torch
from peers import PEERS, Absent, model_file, module
from torch import Tensor

from srgan.degradation.chain import KINDS
from srgan.errors import UserError
from srgan.measure.evaluation import BICUBIC, Restore, blends, evaluate
from srgan.measure.pairs import Pairs, open_pictures
from srgan.pictures.images import enlarge_bicubic, normalize, to_pixels
from srgan.upscaler import SHIPPED_MODEL, Upscaler

SIDE = 128
"""Side in pixels of the centre crops that are restored."""

CHIP = 150
"""Side in pixels of the aligned faces that dlib's network was trained on."""


class Recogniser:
    """Describes faces with dlib."""

    def __init__(self) -> None:
        self.dlib: Any = module("dlib")
        models = model_file("face_recognition_models", "models")
        self.find = self.dlib.get_frontal_face_detector()
        self.points = self.dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        network = models / "dlib_face_recognition_resnet_model_v1.dat"
        self.network = self.dlib.face_recognition_model_v1(str(network))

    def locate(self, face: np.ndarray) -> Any:
        """Returns where eyes and nose are, or None if no face is found."""
        found = self.find(face)
        return self.points(face, max(found, key=lambda box: box.area())) if found else None

    def describe(self, face: np.ndarray, points: Any) -> np.ndarray:
        return np.array(self.network.compute_face_descriptor(self.dlib.get_face_chip(face, points, CHIP)))


def four_times(pixels: Tensor) -> list[np.ndarray]:
    """Enlarges uint8 [N, 3, H, W] four times, because dlib does not find small faces: [4H, 4W, 3] each."""
    large = to_pixels(enlarge_bicubic(normalize(pixels)))
    return [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in large.cpu()]


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of photos with a face in the middle")
    parser.add_argument("--last", type=int, metavar="N", help="use only the last N photos by name")
    parser.add_argument("--degrade", choices=KINDS, nargs="+", default=["clean"], help="kinds of small copies")
    parser.add_argument("--model", default=str(SHIPPED_MODEL), help="model folder (default: weights/photos)")
    parser.add_argument("--detail", default="0,0.7,0.9,1", help="detail settings (default: 0,0.7,0.9,1)")
    parser.add_argument("--peers", nargs="*", default=["Real-ESRGAN x4plus"], choices=PEERS, help="other systems")
    arguments = parser.parse_args()
    try:
        recogniser = Recogniser()
        systems = {**BICUBIC, **{name: PEERS[name](None).restore for name in arguments.peers}}
        details = [float(detail) for detail in arguments.detail.split(",")]
        systems.update(blends(Upscaler.load(arguments.model), details))
        pictures = open_pictures(arguments.data, SIDE, last=arguments.last)
        originals = describe_originals(pictures, recogniser)
        print(f"{len(originals)} faces in {len(pictures.names)} photos")
        for kind in arguments.degrade:
            print(kind)
            for name, figure in measure(systems, recogniser, pictures, originals, kind).items():
                print(f"  {name:22} {figure:.3f}", flush=True)
    except (Absent, UserError, ValueError) as error:
        print(f"identity.py: {error}", file=sys.stderr)
        return 2
    return 0


Originals = dict[str, tuple[Any, np.ndarray]]
"""Where eyes and nose are, and the face's description, by the photo's name."""


def describe_originals(pictures: Iterable[Pairs], recogniser: Recogniser) -> Originals:
    described: Originals = {}
    for pairs in pictures:
        for name, face in zip(pairs.names, four_times(pairs.high), strict=True):
            if points := recogniser.locate(face):
                described[name] = points, recogniser.describe(face, points)
    return described


def measure(
    systems: dict[str, Restore],
    recogniser: Recogniser,
    pictures: Iterable[Pairs],
    originals: Originals,
    kind: str,
) -> dict[str, float]:
    """Returns each system's mean cosine."""
    mean = np.mean([wanted for _, wanted in originals.values()], axis=0)
    cosines: dict[str, list[float]] = {name: [] for name in systems}

    def keep(system: str, names: list[str], restored: Tensor) -> None:
        for name, face in zip(names, four_times(restored), strict=True):
            if name in originals:
                points, wanted = originals[name]
                cosines[system].append(cosine(recogniser.describe(face, points) - mean, wanted - mean))

    evaluate(systems, pictures, None, torch.device("cpu"), keep, kind)
    return {name: fmean(found) for name, found in cosines.items()}


if __name__ == "__main__":
    sys.exit(main())
