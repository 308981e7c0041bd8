"""Upscaler: the one object that the page, the command line, evaluation and tests enlarge pictures with."""

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from srgan.device import choose_device, choose_dtype, free_memory, is_out_of_memory, keep_memory
from srgan.errors import UserError
from srgan.hub import find_model, is_hub_name
from srgan.model_folder import Model, load_model
from srgan.models import SCALE, Generator
from srgan.pictures.boxes import Box
from srgan.pictures.formats import standard
from srgan.pictures.images import (
    EIGHT_BITS,
    FLAT_RADIUS,
    SIXTEEN_BITS,
    bicubic,
    from_network,
    normalize,
    opaque,
    to_network,
    to_pixels,
    where_flat,
)
from srgan.shipped import WEIGHTS

SHIPPED_MODEL = WEIGHTS / "celeba-faces"

TILE = {"cpu": 512, "cuda": 1024}
"""Largest side of the tiles that the low-resolution part takes: its 64 channels are 128 bytes a pixel in bf16. Smaller
ones cost time for what they overlap, and larger ones only memory: one at a time fills a device."""

IMAGE_TILES = 4
"""So many times smaller are the enlarging part's tiles: it takes 24 times as much memory a pixel, but looks only 3
pixels around."""

LEAST_TILE = 32
"""Where not even such a tile fits, memory is given up on."""

GROWS_AFTER = 8
"""Pictures that fitted in smaller tiles than usual, before tiles of twice their side are tried: what filled the memory
may be gone. A tile that fails costs its own time, which is a small share of that of so many pictures."""

ALPHA_RADIUS = 2
"""Pixels around a point that the bicubic looks at."""

Read = Callable[[Box], Tensor]
"""What the network is to see of a box: [N, 3, h, w], uint8 or floats in [-1, 1]."""

Write = Callable[[Box, Tensor], object]
"""Takes a box's enlargement from the device: [N, 3, 4h, 4w], floats in [-1, 1]."""


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
        self.tile = TILE[self.device.type]
        self._fitted = 0
        keep_memory(self.device)
        self._networks = lru_cache(maxsize=8)(self._blend)

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

    @property
    def revision(self) -> str:
        """Seven letters of the Hub's commit, or of the program's that trained a folder's model; "" for neither."""
        return (self.commit or self.model.config.commit())[:7]

    def enlarge(self, picture: Image.Image, detail: float = 1.0) -> Image.Image:
        """The picture at 4 times its width and height, upright, with its colour profile and DPI in `info`.

        RGB, RGBA, L, LA and I;16 stay what they are; one bit comes back as L, all else as RGB or RGBA (see
        `formats.standard`). Of an animation, the frame it stands at. Alpha is enlarged on its own, by the bicubic.

        detail: 0 is closest to the original on average, 1 has the most texture; between them the two weight sets are
        blended (Wang et al. 2018, ESRGAN section 3.4). Raises UserError when it is outside 0 to 1.
        """
        picture = standard(picture)
        colour = opaque(picture) if picture.mode.endswith("A") else picture
        large = Image.new(colour.mode, (SCALE * picture.width, SCALE * picture.height))

        def read(box: Box) -> Tensor:
            return to_network(colour.crop(box))

        def write(box: Box, image: Tensor) -> None:
            large.paste(from_network(image[0], large.mode), (SCALE * box.left, SCALE * box.top))

        self._run(Box(0, 0, *picture.size), read, write, detail, deep=colour.mode == "I;16")
        if colour is not picture:
            large.putalpha(enlarge_alpha(picture.getchannel("A")))
        large.info = dict(picture.info)
        return large

    def enlarge_timed(self, picture: Image.Image, detail: float = 1.0) -> tuple[Image.Image, int]:
        """`enlarge`, and the milliseconds that it took once there was a network for this detail, which is kept."""
        self.enlarge(picture.crop((0, 0, 1, 1)), detail)
        start = time.perf_counter()
        enlarged = self.enlarge(picture, detail)
        return enlarged, round((time.perf_counter() - start) * 1000)

    def restore(self, low: Tensor, detail: float = 1.0) -> Tensor:
        """Floats in [-1, 1], [N, 3, H, W] -> floats in [-1, 1], [N, 3, 4H, 4W], on the device where `low` is."""
        count, _, height, width = low.shape
        large = low.new_empty(count, 3, SCALE * height, SCALE * width)

        def write(box: Box, images: Tensor) -> None:
            box.of(large, SCALE).copy_(images)

        self._run(Box(0, 0, width, height), lambda box: box.of(low), write, detail)
        return large

    @torch.inference_mode()
    def _run(self, whole: Box, read: Read, write: Write, detail: float, deep: bool = False) -> None:
        """Enlarges in tiles, which give what the whole would give: each is read with all that the network looks at.

        The picture and the result stay where they are: a device holds one tile of them. A tile for which it has no
        memory is cut into smaller ones, and so is what comes after it; see GROWS_AFTER. deep: of 16 bits.
        """
        # bf16 tells no more than 256 levels apart.
        generator = self.generator(self.check_detail(detail), torch.float32 if deep else self.dtype)
        level = SIXTEEN_BITS if deep else EIGHT_BITS
        waiting = [whole]
        while waiting:
            box = waiting.pop()
            if box.side > self.tile:
                waiting += reversed(box.parts(self.tile))
                continue
            try:
                self._enlarge_tile(generator, box, whole, read, write, level)
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler, which keeps what the tile has allocated.
            if box.side <= LEAST_TILE:
                raise UserError(f"{self.device} has no memory even for a tile of {box.side} pixels: free some of it.")
            free_memory(self.device)
            self.tile, self._fitted = box.side // 2, 0
            waiting.append(box)
        if whole.side > self.tile:
            self._fitted += 1
            if self.device.type == "cpu":
                free_memory(self.device)  # taking it anew is a small share of the time, then
        if self._fitted >= GROWS_AFTER and self.tile < TILE[self.device.type]:
            self.tile, self._fitted = min(2 * self.tile, TILE[self.device.type]), 0

    def _enlarge_tile(self, generator: Generator, box: Box, whole: Box, read: Read, write: Write, level: float) -> None:
        """Writes `box`, in parts. Whatever lies within reach of an edge that is not the picture's own is cut off.

        level: one step of the picture's levels.
        """
        kept = box.grown(generator.image_radius, whole)
        seen = kept.grown(generator.features_radius, whole)
        low = read(seen).to(self.device)
        low = normalize(low) if low.dtype == torch.uint8 else low
        shown = low.to(generator.tail.weight.dtype).contiguous(memory_format=torch.channels_last)
        features = generator.to_features(shown)
        features = kept.inside(seen).of(features)
        for part in box.parts(max(1, self.tile // IMAGE_TILES)):
            around = part.grown(generator.image_radius, whole)
            window = around.inside(kept).of(features).contiguous(memory_format=torch.channels_last)
            image = part.inside(around).of(generator.to_image(window), SCALE)
            near = part.grown(FLAT_RADIUS + 1, whole)
            flat = where_flat(near.inside(seen).of(low).float(), level)
            write(part, torch.lerp(image.float(), *(part.inside(near).of(values, SCALE) for values in flat)))

    def check_detail(self, detail: float) -> float:
        if not 0 <= detail <= 1:
            raise UserError(f"detail is {detail}; it must be between 0 (most faithful) and 1 (most detailed).")
        if detail != 1 and not self.can_blend:
            raise UserError(f"{self.name} holds one weight set only, so detail cannot be chosen: leave it at 1.")
        return round(detail, 3)

    def generator(self, detail: float = 1.0, dtype: torch.dtype | None = None) -> Generator:
        """The network for this detail, on the device; kept for the next call. dtype: bfloat16 or float32."""
        return self._networks(detail, dtype or self.dtype)

    def _blend(self, detail: float, dtype: torch.dtype) -> Generator:
        config, weights = self.model.config, self.model.weights
        blend = weights["detail"]
        if detail < 1:
            blend = {name: torch.lerp(value, blend[name], detail) for name, value in weights["fidelity"].items()}
        generator = Generator(config.channels, config.blocks)
        generator.load_state_dict(blend)
        # Converted once: autocast would do it in every call.
        return generator.eval().requires_grad_(False).to(self.device, dtype).to(memory_format=torch.channels_last)


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


def enlarge_alpha(alpha: Image.Image, tile: int = TILE["cpu"]) -> Image.Image:
    """L -> L at 4 times its size, by the one bicubic, in tiles."""
    whole = Box(0, 0, *alpha.size)
    large = Image.new("L", (SCALE * alpha.width, SCALE * alpha.height))
    for box in whole.parts(tile):
        around = box.grown(ALPHA_RADIUS, whole)
        window = normalize(torch.from_numpy(np.array(alpha.crop(around))))[None, None]
        pixels = to_pixels(bicubic(window, SCALE * around.height, SCALE * around.width))
        part = box.inside(around).of(pixels, SCALE)[0, 0]
        large.paste(Image.fromarray(part.numpy()), (SCALE * box.left, SCALE * box.top))
    return large
