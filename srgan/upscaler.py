"""The Upscaler, with which the page, the command line, evaluation and tests enlarge pictures."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from srgan.device import choose_device, choose_dtype, free_memory, is_out_of_memory, keep_memory
from srgan.errors import UserError
from srgan.hub import find_model, is_hub_name
from srgan.jpeg_blocks import JpegBlocks
from srgan.model_folder import Model, ModelConfig, load_model
from srgan.models import SCALE, Generator
from srgan.pictures.boxes import Box
from srgan.pictures.corrections import BackProjection, Correction, CorrectionChoice
from srgan.pictures.formats import as_standard
from srgan.pictures.images import (
    EIGHT_BITS,
    FLAT_RADIUS,
    SIXTEEN_BITS,
    from_network,
    normalize,
    opaque,
    to_network,
    where_flat,
)
from srgan.pictures.large import blank, let_go
from srgan.pictures.resampling import Grid
from srgan.pictures.sizes import FOUR_TIMES, TargetSize
from srgan.shipped import WEIGHTS
from srgan.signs import blocks_to_hold

SHIPPED_MODEL = WEIGHTS / "photos"

TILE = {"cpu": 512, "cuda": 1024, "xpu": 1024, "mps": 512}
"""Largest side of the tiles in the low-resolution part, whose 64 channels take 128 bytes for each pixel in bf16.
Smaller tiles lose time to their overlap; larger ones only take memory, since a single tile keeps a device busy."""

IMAGE_TILES = 4
"""The tiles of the enlarging part are smaller by this factor: it takes 24 times as much memory for each pixel, but
looks only 3 pixels around."""

MOST_DIFFERENCE = EIGHT_BITS / 2
"""Largest accepted difference between a device's float32 and the CPU's, in [-1, 1]: half a level of a picture."""

LEAST_TILE = 32
"""If there is no memory even for a tile of this side, the work fails."""

GROWS_AFTER = 8
"""Number of pictures that must fit in reduced tiles before tiles of twice the side are tried again, because the
memory may be free by then. A failed attempt costs the time of one tile, a small share of so many pictures."""

FEATURES_SHARE = 0.6
"""Share of a tile's time that the low-resolution part takes."""

Read = Callable[[Box], Tensor]
"""Returns what the network sees of a box: [N, 3, h, w], uint8 or floats in [-1, 1]."""

Write = Callable[[Box, Tensor], object]
"""Takes a part of the result from the device: its place, and [N, 3, h, w], floats in [-1, 1]."""

Watch = Callable[[float], object]
"""Called with the share of the work that is done, from 0 to 1, several times a second, in the thread that works. An
exception that it raises ends the work."""

Touch = Callable[[Image.Image, Image.Image], object]
"""Changes the result of the network's first application, given that result and the picture that the network saw,
both opaque."""


def unwatched(share: float) -> None:
    """A Watch that does nothing."""


class Upscaler:
    """A model folder's generator on a device.

    >>> Upscaler.load().enlarge(Image.open("small.png"), detail=0.8).save("large.png")

    If "auto" takes the CPU because a chip does not work, `fallback` is a sentence that says so; otherwise it is "".
    """

    def __init__(
        self, model: Model, name: str = "", device: str = "auto", precision: str = "auto", commit: str = ""
    ) -> None:
        self.model, self.name, self.commit = model, name, commit
        self.device, self.fallback = working_device(device)
        self.dtype = choose_dtype(self.device, precision)
        self.tile = TILE[self.device.type]
        self._fitted = 0
        keep_memory(self.device)
        self._networks = lru_cache(maxsize=8)(self._blend)

    @classmethod
    def load(cls, model: str | Path = SHIPPED_MODEL, device: str = "auto", precision: str = "auto") -> "Upscaler":
        """Loads a model folder, or a model of the Hub (USER/NAME or USER/NAME@REVISION); by default weights/photos.

        An existing folder takes precedence over a name on the Hub. `name` is the model's name to show, with the
        revision, and `commit` the Hub's commit. Raises UserError if the model is missing, incomplete or invalid.
        """
        source = find_model(model)
        with source.named():
            model_read = load_model(source.folder)
        return cls(model_read, source.name, device, precision, source.commit)

    @property
    def can_blend(self) -> bool:
        """Whether the model has fidelity weights beside its detail weights, so that `detail` can be chosen."""
        return "fidelity" in self.model.weights

    @property
    def correction(self) -> Correction | None:
        """The correction that the model's config asks for."""
        return BackProjection() if self.model.config.back_projection else None

    def blocks_to_hold(self, picture: Image.Image) -> JpegBlocks | None:
        """Returns the JPEG blocks to which this model's enlargement of a picture of any mode and size is held, so that
        detail comes back which the model has taken for wear. None if the model has not learned to remove JPEG, or if
        the picture shows no blocks or other wear too (see `signs.blocks_to_hold`).

        Give it the picture as `Image.open` made it, because the file may state tables that the pixels alone do not
        show. The network runs only if there are blocks, on at most 9,216 pixels.
        """
        return blocks_to_hold(picture, self.restore_closest) if self.model.config.removes_jpeg() else None

    def correction_for(self, picture: Image.Image, correction: CorrectionChoice) -> Correction | None:
        return self.blocks_to_hold(picture) if correction == "auto" else correction

    @property
    def revision(self) -> str:
        """The first seven letters of the Hub's commit, or of the commit of the program that trained the folder's
        model; "" if neither is known."""
        return (self.commit or self.model.config.commit())[:7]

    def enlarge(
        self,
        picture: Image.Image,
        detail: float = 1.0,
        size: TargetSize = FOUR_TIMES,
        watch: Watch = unwatched,
        *,
        touch: Touch | None = None,
        best: bool = False,
        tileable: bool = False,
        scratch: Path | None = None,
        correction: CorrectionChoice = "auto",
    ) -> Image.Image:
        """Enlarges a picture 4 times or to another size. The result is upright, with colour profile and DPI in `info`.

        RGB, RGBA, L, LA and I;16 keep their mode; one bit becomes L, everything else RGB or RGBA (see
        `formats.standard`). Of an animation, the current frame is enlarged. Alpha is enlarged separately by the
        bicubic.

        detail: 0 is closest to the original on average, 1 has the most texture; values between them blend the two
        weight sets (Wang et al. 2018, ESRGAN section 3.4).

        size: the network is applied once, or twice for more than 4 times, and its last result is reduced once by the
        antialiased bicubic. If the result is smaller than the picture, the picture is reduced to that size first and
        cleaned up.

        watch: see `Watch`. best: average the results for the picture and its mirror image, which takes twice the time.
        tileable: continue the picture beyond each edge with its opposite edge, so that copies of the result can be laid
        side by side. scratch: a folder for the pixels of large results, so that they take no memory (see
        `large.blank`). correction: takes the place of the model's own where the network sees the picture itself. So it
        is not used if the picture is reduced first, for the second application, or with tileable. "auto": the result is
        held to `blocks_to_hold`, if there are any; None: only the model's own.

        Raises UserError if detail is not between 0 and 1, if the result is more than 16 times as wide and high, or if
        the disk of `scratch` is full.
        """
        picture = as_standard(picture)
        steps = size.steps(*picture.size)
        colour = opaque(picture) if picture.mode.endswith("A") else picture
        large = resized(colour, steps.reduced, tileable=tileable)
        modes = [colour.mode] * (len(steps.passes) - 1) + [picture.mode]
        blanks = [blank(mode, passed, scratch) for mode, passed in zip(modes, steps.passes, strict=True)]
        done, whole = 0, sum(steps.work)
        sees_itself = steps.reduced == picture.size and not tileable
        first = self.correction_for(picture, correction) if sees_itself else None
        for number, (next_large, work) in enumerate(zip(blanks, steps.work, strict=True)):
            small, large = large, next_large
            told = partial(tell_part, watch, done / whole, work / whole)
            self._draw(large, small, detail, told, best, tileable, None if number else first)
            if touch and number == 0:
                touch(large, small)
            done += work
        if colour is not picture:
            for place, alpha in resized_parts(picture.getchannel("A"), steps.size, tileable=tileable):
                part = large.crop(place)
                part.putalpha(alpha)
                large.paste(part, place[:2])
                let_go(large)
        large.info = dict(picture.info)
        return large

    def _draw(
        self,
        large: Image.Image,
        small: Image.Image,
        detail: float,
        watch: Watch,
        best: bool,
        tileable: bool,
        correction: Correction | None,
    ) -> None:
        """Fills `large`, which may also have alpha, with the enlargement of `small`."""
        grid, generator = Grid.between(small.size, large.size, SCALE), self.generator(self.check_detail(detail))
        sees = generator.features_radius + generator.image_radius + reach_of(self.correction) + grid.reach
        source = SourcePicture.of(small, sees if tileable else 0)

        def write(place: Box, image: Tensor) -> None:
            large.paste(from_network(image[0], small.mode), (place.left, place.top))
            let_go(large, small)

        tiles = self._tiles(detail, source.whole, grid, source.read, write, small.mode == "I;16", best, correction)
        self._run(Box(0, 0, *small.size), tiles, watch)

    def enlarge_part(
        self,
        picture: Image.Image,
        part: Box,
        size: tuple[int, int],
        detail: float = 1.0,
        around: int = 0,
        best: bool = False,
        watch: Watch = unwatched,
        correction: CorrectionChoice = "auto",
    ) -> Image.Image:
        """Returns a part of a picture's enlargement, of at most 4 times its size, without alpha.

        picture: in one of `formats.standard`'s modes. around: number of extra pixels that the network sees on each
        side, as far as the picture reaches. correction: as for `enlarge`.
        """
        correction = self.correction_for(picture, correction)
        grid = Grid.between(picture.size, size, SCALE)
        seen, corner = part.grown(around, Box(0, 0, *picture.size)), grid.place(part)
        colour = picture.crop(seen)
        colour = opaque(colour) if colour.mode.endswith("A") else colour
        drawn = Image.new(colour.mode, (corner.width, corner.height))

        def read(box: Box) -> Tensor:
            return to_network(colour.crop(box.inside(seen)))

        def write(place: Box, image: Tensor) -> None:
            inside = place.inside(corner)
            drawn.paste(from_network(image[0], drawn.mode), (inside.left, inside.top))

        self._run(part, self._tiles(detail, seen, grid, read, write, drawn.mode == "I;16", best, correction), watch)
        return drawn

    def enlarge_timed(
        self,
        picture: Image.Image,
        detail: float = 1.0,
        size: TargetSize = FOUR_TIMES,
        watch: Watch = unwatched,
        correction: CorrectionChoice = "auto",
    ) -> tuple[Image.Image, int]:
        """`enlarge`, and the milliseconds that it took. Making the network for this detail is not counted; it is
        kept."""
        self.generator(self.check_detail(detail))
        start = time.perf_counter()
        enlarged = self.enlarge(picture, detail, size, watch, correction=correction)
        return enlarged, round((time.perf_counter() - start) * 1000)

    def restore(self, low: Tensor, detail: float = 1.0) -> Tensor:
        """Floats in [-1, 1], [N, 3, H, W] -> floats in [-1, 1], [N, 3, 4H, 4W], on the device where `low` is.

        The results are not held to JPEG blocks, which each picture has its own.
        """
        count, _, height, width = low.shape
        large = low.new_empty(count, 3, SCALE * height, SCALE * width)

        def write(place: Box, images: Tensor) -> None:
            place.of(large).copy_(images)

        whole = Box(0, 0, width, height)
        grid = Grid.between((width, height), (SCALE * width, SCALE * height), SCALE)
        self._run(whole, self._tiles(detail, whole, grid, lambda box: box.of(low), write), unwatched)
        return large

    def restore_closest(self, low: Tensor) -> Tensor:
        """`restore` with the least detail that the model can give, which is closest to the original on average."""
        return self.restore(low, 0.0 if self.can_blend else 1.0)

    def _tiles(
        self,
        detail: float,
        whole: Box,
        grid: Grid,
        read: Read,
        write: Write,
        deep: bool = False,
        best: bool = False,
        correction: Correction | None = None,
    ) -> "Tiles":
        """deep: whether the picture has 16 bits. best, correction: as for `enlarge`."""
        # bf16 tells no more than 256 levels apart.
        generator = self.generator(self.check_detail(detail), torch.float32 if deep else self.dtype)
        level = SIXTEEN_BITS if deep else EIGHT_BITS
        return Tiles(generator, whole, grid, read, write, level, self.device, best, correction or self.correction)

    @torch.inference_mode()
    def _run(self, area: Box, tiles: "Tiles", watch: Watch) -> None:
        """Enlarges a part of what can be read, in tiles. The result is the same as for the whole picture at once,
        because each tile is read with all surrounding pixels that affect it.

        The picture and the result stay where they are; a device holds one tile at a time. A tile that does not fit into
        its memory is cut into smaller ones, and so are the following ones; see GROWS_AFTER.
        """
        waiting, done = [area], 0
        while waiting:
            box = waiting.pop()
            if box.side > self.tile:
                waiting += reversed(box.parts(self.tile))
                continue
            share = box.width * box.height / (area.width * area.height)
            try:
                tiles.enlarge(box, max(1, self.tile // IMAGE_TILES), partial(tell_part, watch, done, share))
                done += share
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler: inside, the error would keep the tile's memory allocated.
            if box.side <= LEAST_TILE:
                raise UserError(
                    f"{self.device} has not enough memory even for a tile of {box.side} pixels: free some of it."
                )
            free_memory(self.device)
            self.tile, self._fitted = box.side // 2, 0
            waiting.append(box)
        if area.side > self.tile:
            self._fitted += 1
            if self.device.type == "cpu":
                free_memory(self.device)  # taking it anew is a small share of the time, then
        if self._fitted >= GROWS_AFTER and self.tile < TILE[self.device.type]:
            self.tile, self._fitted = min(2 * self.tile, TILE[self.device.type]), 0

    def check_detail(self, detail: float) -> float:
        if not 0 <= detail <= 1:
            raise UserError(f"detail is {detail}; it must be between 0 (closest to the original) and 1 (most texture).")
        if detail != 1 and not self.can_blend:
            raise UserError(f"{self.name} has no fidelity weights, so detail cannot be chosen: leave it at 1.")
        return round(detail, 3)

    def generator(self, detail: float = 1.0, dtype: torch.dtype | None = None) -> Generator:
        """Returns the network for this detail on the device, and keeps it for the next call. dtype: bfloat16 or
        float32."""
        return self._networks(detail, dtype or self.dtype)

    def _blend(self, detail: float, dtype: torch.dtype) -> Generator:
        config, weights = self.model.config, self.model.weights
        blend = weights["detail"]
        if detail < 1:
            blend = {name: torch.lerp(value, blend[name], detail) for name, value in weights["fidelity"].items()}
        generator = config.network()
        generator.load_state_dict(blend)
        # Converted once: autocast would do it in every call.
        return generator.eval().requires_grad_(False).to(self.device, dtype).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Tiles:
    """The properties that all tiles of a picture share."""

    generator: Generator
    whole: Box
    """the box that can be read"""
    grid: Grid
    read: Read
    write: Write
    level: float
    """one step of the picture's levels"""
    device: torch.device
    best: bool = False
    correction: Correction | None = None

    def enlarge(self, box: Box, side: int, watch: Watch) -> None:
        """Writes `box`, in parts of that side. Everything that is distorted by an edge other than the picture's own
        is cut off."""
        generator, whole, reach = self.generator, self.whole, self.grid.reach
        kept = box.grown(generator.image_radius + reach_of(self.correction) + reach, whole)
        seen = kept.grown(generator.features_radius, whole)
        low = self.read(seen).to(self.device)
        low = normalize(low) if low.dtype == torch.uint8 else low
        shown = low.to(next(generator.parameters()).dtype).contiguous(memory_format=torch.channels_last)
        features = [kept.inside(seen).of(each) for each in self.features(shown, watch)]
        parts = box.parts(side)
        for number, part in enumerate(parts):
            tell_part(watch, FEATURES_SHARE, 1 - FEATURES_SHARE, number / len(parts))
            place = self.grid.place(part)
            if not (place.width and place.height):
                continue
            used = part.grown(reach, whole)
            made = self.correction.needed(used, whole) if self.correction else used
            around = made.grown(generator.image_radius, whole)
            image = made.inside(around).of(self.image([around.inside(kept).of(each) for each in features]), SCALE)
            if self.correction:
                image = used.inside(made).of(self.correction.correct(made.inside(seen).of(low), image, made), SCALE)
            near = used.grown(FLAT_RADIUS + 1, whole)
            flat = where_flat(near.inside(seen).of(low).float(), self.level)
            image = torch.lerp(image.float(), *(used.inside(near).of(values, SCALE) for values in flat))
            self.write(place, self.grid.resample(image, used, place))
        watch(1.0)

    def features(self, low: Tensor, watch: Watch) -> list[Tensor]:
        """Returns the features of the network's input and, for `best`, the features of its mirror image, mirrored
        back."""
        share = FEATURES_SHARE / 2 if self.best else FEATURES_SHARE
        found = [self.generator.to_features(low, partial(tell_part, watch, 0.0, share))]
        if self.best:
            mirrored = low.flip(-1).contiguous(memory_format=torch.channels_last)
            found.append(self.generator.to_features(mirrored, partial(tell_part, watch, share, share)).flip(-1))
        return found

    def image(self, features: list[Tensor]) -> Tensor:
        plain, *mirrored = features
        image = self.generator.to_image(plain.contiguous(memory_format=torch.channels_last))
        for each in mirrored:
            each = each.flip(-1).contiguous(memory_format=torch.channels_last)
            image = (image + self.generator.to_image(each).flip(-1)) / 2
        return image


@dataclass(frozen=True)
class SourcePicture:
    """A picture from which parts are read. With a margin, it continues beyond each edge with the opposite edge."""

    picture: Image.Image
    """including the margin on each side"""
    margin: int
    """in pixels"""

    @classmethod
    def of(cls, picture: Image.Image, margin: int) -> "SourcePicture":
        if not margin:
            return cls(picture, 0)
        width, height = picture.size
        wrapped = Image.new(picture.mode, (width + 2 * margin, height + 2 * margin))
        for top in range(margin % height - height, height + 2 * margin, height):
            for left in range(margin % width - width, width + 2 * margin, width):
                wrapped.paste(picture, (left, top))
        return cls(wrapped, margin)

    @property
    def whole(self) -> Box:
        """The box that can be read, in coordinates of the picture without its margin."""
        width, height = self.picture.size
        return Box(-self.margin, -self.margin, width - self.margin, height - self.margin)

    def crop(self, box: Box) -> Image.Image:
        return self.picture.crop(box.inside(self.whole))

    def read(self, box: Box) -> Tensor:
        """See `Read`."""
        return to_network(self.crop(box))


def reach_of(correction: Correction | None) -> int:
    return correction.radius if correction else 0


def tell_part(watch: Watch, before: float, part: float, share: float) -> None:
    """Calls the watch of the whole work after a share of a part is done."""
    watch(before + part * share)


def load_or_shipped(
    model: str | Path = SHIPPED_MODEL, device: str = "auto", precision: str = "auto"
) -> tuple[Upscaler, str]:
    """Loads the model and returns it with "". If it is a model of the Hub that cannot be loaded, returns weights/photos
    and a sentence that says why.

    Raises UserError for an incomplete folder, because the user who named it can repair it.
    """
    try:
        return Upscaler.load(model, device, precision), ""
    except UserError as error:
        if not is_hub_name(model):
            raise
        return Upscaler.load(SHIPPED_MODEL, device, precision), f"{error} The model that ships is used instead."


def resized(
    picture: Image.Image, size: tuple[int, int], tile: int = TILE["cpu"], tileable: bool = False
) -> Image.Image:
    """Resizes L, RGB or I;16 by the one bicubic, in tiles. A picture that already has the size is returned itself."""
    if picture.size == size:
        return picture
    result = Image.new(picture.mode, size)
    for place, part in resized_parts(picture, size, tile, tileable):
        result.paste(part, place[:2])
    return result


def resized_parts(
    picture: Image.Image, size: tuple[int, int], tile: int = TILE["cpu"], tileable: bool = False
) -> Iterator[tuple[Box, Image.Image]]:
    """Yields `resized` in parts, each with its place in the result."""
    grid = Grid.between(picture.size, size)
    source = SourcePicture.of(picture, grid.reach if tileable else 0)
    channels = 3 if picture.mode == "RGB" else 1
    for part in Box(0, 0, *picture.size).parts(tile):
        seen, place = part.grown(grid.reach, source.whole), grid.place(part)
        if place.width and place.height:
            window = source.read(seen)[:, :channels]
            window = normalize(window) if window.dtype == torch.uint8 else window
            yield place, from_network(grid.resample(window, seen, place)[0], picture.mode)


@cache
def working_device(name: str) -> tuple[torch.device, str]:
    """Returns the device of that name and "". If "auto" would take a device whose results differ from the CPU's,
    returns the CPU and a sentence that says so. Only the CPU and NVIDIA's devices are trusted without a check, because
    PyTorch has supported the others for less long."""
    device = choose_device(name, TILE)
    if name != "auto" or device.type == "cpu" or (device.type == "cuda" and not torch.version.hip):
        return device, ""
    problem = difference_from_cpu(device)
    if not problem:
        return device, ""
    return torch.device("cpu"), f"{device.type.upper()} is not used, because {problem}: the CPU is used instead."


def difference_from_cpu(device: torch.device) -> str:
    """Tests a device with a small network of random weights in float32. Returns what is wrong with it, or ""."""
    model = Model(ModelConfig(channels=16, blocks=2, recipe="classic"), {}, {})
    network = Generator(model.config.channels, model.config.blocks)
    model.weights["detail"] = network.state_dict()
    low = torch.rand(1, 3, 24, 20) * 2 - 1
    try:
        theirs = Upscaler(model, "", device.type, "fp32").restore(low)
    except Exception as error:  # a driver may raise anything
        return f"it fails ({type(error).__name__})"
    difference = float((theirs - Upscaler(model, "", "cpu", "fp32").restore(low)).abs().max())
    return "" if difference < MOST_DIFFERENCE else f"its float32 differs from the CPU's by {difference:.2g} of 2"
