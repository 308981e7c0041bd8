"""Upscaler: the one object that the page, the command line, evaluation and tests enlarge pictures with."""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from srgan.device import autocast, choose_device, choose_dtype
from srgan.errors import UserError
from srgan.hub import find_model, is_hub_name
from srgan.images import to_picture, to_pixels, to_rgb, to_tensor, to_unit
from srgan.model_folder import Model, load_model
from srgan.models import SCALE, Generator

SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "weights" / "celeba-faces"

FEATURES_TILE = 1024
"""Largest side of the low-resolution part's tiles: its 64 channels take 128 bytes a pixel in bf16, a few times over."""

IMAGE_TILE = 256
"""Largest side of the enlarging part's tiles: 24 times as much memory a pixel, but it looks only 3 pixels around."""


class Upscaler:
    """A model folder's generator on a device.

    >>> Upscaler.load().enlarge(Image.open("small.png"), detail=0.8).save("large.png")
    """

    def __init__(
        self, model: Model, name: str = "", device: str = "auto", precision: str = "auto", commit: str = ""
    ) -> None:
        self.model, self.name, self.commit = model, name, commit
        self.device = choose_device(device)
        self.dtype = choose_dtype(self.device, precision)
        self.generator = lru_cache(maxsize=8)(self._blend)

    @classmethod
    def load(cls, model: str | Path = SHIPPED_MODEL, device: str = "auto", precision: str = "auto") -> "Upscaler":
        """From a model folder, from the Hub (USER/NAME or USER/NAME@REVISION), or by default the model that ships.

        A folder that is there wins over a name on the Hub. `name` then holds what to show, with the revision; `commit`
        the Hub's. Raises UserError when the model is not there, not whole, or not what it should be.
        """
        source = find_model(model)
        with source.named():
            model_read = load_model(source.folder)
        return cls(model_read, source.name, device, precision, source.commit)

    @property
    def can_blend(self) -> bool:
        """Whether the model holds both weight sets, so that `detail` can be chosen."""
        return "fidelity" in self.model.weights

    def enlarge(self, picture: Image.Image, detail: float = 1.0) -> Image.Image:
        """The picture at 4 times its width and height, upright and in RGB; what is transparent is laid on white.

        detail: 0 is closest to the original on average, 1 has the most texture; between them the two weight sets are
        blended (Wang et al. 2018, ESRGAN section 3.4). Raises UserError when it is outside 0 to 1.
        """
        low = to_unit(to_tensor(to_rgb(picture))).unsqueeze(0)
        return to_picture(self._run(low, detail, to_pixels)[0])

    def enlarge_timed(self, picture: Image.Image, detail: float = 1.0) -> tuple[Image.Image, int]:
        """`enlarge`, and the milliseconds that it took once there was a network for this detail, which is kept."""
        self.enlarge(picture.crop((0, 0, 1, 1)), detail)
        start = time.perf_counter()
        enlarged = self.enlarge(picture, detail)
        return enlarged, round((time.perf_counter() - start) * 1000)

    def restore(self, low: Tensor, detail: float = 1.0) -> Tensor:
        """Floats in [-1, 1], [N, 3, H, W] -> floats in [-1, 1], [N, 3, 4H, 4W], on the CPU where `low` is.

        Large images go through in overlapping tiles, which gives what the whole would give: the overlap is as wide as
        the network looks.
        """
        return self._run(low, detail, lambda images: images).float()

    @torch.inference_mode()
    def _run(self, low: Tensor, detail: float, finish: Callable[[Tensor], Tensor]) -> Tensor:
        """`finish` is applied tile by tile: what it makes smaller never takes its full size for the whole image."""
        generator = self.generator(self.check_detail(detail))

        def part(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
            def run(window: Tensor) -> Tensor:
                window = window.to(self.device).contiguous(memory_format=torch.channels_last)
                with autocast(self.device, self.dtype):
                    return function(window).to(low.device)

            return run

        features = tiled(part(generator.to_features), low, FEATURES_TILE, generator.features_radius, 1)
        to_image = part(lambda window: finish(generator.to_image(window)))
        return tiled(to_image, features, IMAGE_TILE, generator.image_radius, SCALE)

    def check_detail(self, detail: float) -> float:
        if not 0 <= detail <= 1:
            raise UserError(f"detail is {detail}; it must be between 0 (most faithful) and 1 (most detailed).")
        if detail != 1 and not self.can_blend:
            raise UserError(f"{self.name} holds one weight set only, so detail cannot be chosen: leave it at 1.")
        return round(detail, 3)

    def _blend(self, detail: float) -> Generator:
        """The network for this detail, on the device."""
        config, weights = self.model.config, self.model.weights
        blend = weights["detail"]
        if detail < 1:
            blend = {name: torch.lerp(value, blend[name], detail) for name, value in weights["fidelity"].items()}
        generator = Generator(config.channels, config.blocks)
        generator.load_state_dict(blend)
        return generator.eval().requires_grad_(False).to(self.device, memory_format=torch.channels_last)


def load_or_shipped(
    model: str | Path = SHIPPED_MODEL, device: str = "auto", precision: str = "auto"
) -> tuple[Upscaler, str]:
    """The model, and ""; or where the Hub's cannot be had, the one that ships, and a sentence that says so and why.

    A folder that is not whole raises UserError: whoever named it is there to mend it.
    """
    try:
        return Upscaler.load(model, device, precision), ""
    except UserError as error:
        if not is_hub_name(model):
            raise
        return Upscaler.load(SHIPPED_MODEL, device, precision), f"{error} Taken instead: the model that ships."


def tiled(function: Callable[[Tensor], Tensor], images: Tensor, tile: int, radius: int, scale: int) -> Tensor:
    """`function(images)`, computed on windows of at most `tile` pixels a side plus `radius` around them.

    [N, C, H, W] -> [N, C', scale*H, scale*W]. Equal to the untiled result where `function` looks at most `radius`
    around and pads with nothing but zeros at the images' own borders.
    """
    height, width = images.shape[-2:]
    if height <= tile and width <= tile:
        return function(images)
    whole: Tensor | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            from_y, from_x = max(top - radius, 0), max(left - radius, 0)
            window = images[..., from_y : bottom + radius, from_x : right + radius]
            result = function(window)
            if whole is None:
                whole = result.new_empty(*result.shape[:2], height * scale, width * scale)
            y, x = (top - from_y) * scale, (left - from_x) * scale
            rows, columns = (bottom - top) * scale, (right - left) * scale
            whole[..., top * scale : bottom * scale, left * scale : right * scale] = result[
                ..., y : y + rows, x : x + columns
            ]
    assert whole is not None
    return whole
