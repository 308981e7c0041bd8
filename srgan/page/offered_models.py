"""The models that visitors of the page may choose from."""

import time
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from srgan.faces import draw_faces
from srgan.measure.metrics import LPIPS
from srgan.page import zero
from srgan.page.close_ups import faces_of
from srgan.pictures.images import flat
from srgan.shipped import WEIGHTS
from srgan.upscaler import SHIPPED_MODEL, Upscaler, load_or_shipped

PHOTOS_MODEL = WEIGHTS / "photos"
"""For clean pictures of anything; a Space may leave it out."""

WORN_MODEL = WEIGHTS / "worn"
"""For pictures of anything that went through JPEG, a messenger or a scanner; a Space may leave it out."""

FACES, ANY_PHOTO, WORN_PHOTO = "Faces", "Any photo", "Worn photo"
"""What the models that ship are made for."""


@dataclass(frozen=True)
class Models:
    """Upscalers by what they are made for; the first is taken where nothing is said. `lpips` adds that figure."""

    upscalers: dict[str, Upscaler]
    lpips: LPIPS | None = None

    @property
    def made_for(self) -> list[str]:
        return list(self.upscalers)

    @property
    def can_blend(self) -> bool:
        """Whether `detail` can be chosen of any of them."""
        return any(upscaler.can_blend for upscaler in self.upscalers.values())

    def chosen(self, made_for: str = "") -> Upscaler:
        return self.upscalers[made_for or self.made_for[0]]

    @cached_property
    def for_faces(self) -> Upscaler:
        """Draws the faces in what another one enlarges. They are small: a lent GPU is not asked for again."""
        return on_cpu(self.upscalers[FACES]) if zero.HERE else self.upscalers[FACES]

    def enlarge_timed(self, picture: Image.Image, detail: float = 1.0, made_for: str = "") -> tuple[Image.Image, int]:
        """`Upscaler.enlarge_timed` of an RGB or RGBA picture, whose faces are drawn by the model made for them."""
        enlarged, milliseconds = self.chosen(made_for).enlarge_timed(picture, detail)
        if not self.leaves_faces(made_for):
            return enlarged, milliseconds
        faces, _ = faces_of(flat(picture))
        start = time.perf_counter()
        drawn = draw_faces(enlarged, self.for_faces, picture, faces, detail)
        return drawn, milliseconds + round((time.perf_counter() - start) * 1000)

    def leaves_faces(self, made_for: str = "") -> bool:
        """Whether a model has its faces drawn by the one made for them, which knows clean faces alone."""
        return FACES in self.upscalers and (made_for or self.made_for[0]) == ANY_PHOTO

    def at_start(self) -> "Models":
        """The first one, for what the page shows before it is asked: a lent GPU is for what visitors ask."""
        title, upscaler = next(iter(self.upscalers.items()))
        return Models({title: on_cpu(upscaler) if zero.HERE else upscaler}, self.lpips)


def on_cpu(upscaler: Upscaler) -> Upscaler:
    return Upscaler(upscaler.model, upscaler.name, "cpu", commit=upscaler.commit)


def load_models(model: str = "", lpips: str = "") -> tuple[Models, str]:
    """The named model alone, or all that ship; and what visitors should know (see `load_or_shipped`).

    model: a folder or a name on the Hub. lpips: a file for `LPIPS.load`. Raises UserError for what is not whole.
    """
    notice = ""
    if model:
        upscaler, notice = load_or_shipped(model)
        upscalers = {upscaler.name: upscaler}
    else:
        upscalers = {FACES: Upscaler.load(SHIPPED_MODEL)}
        more = {ANY_PHOTO: PHOTOS_MODEL, WORN_PHOTO: WORN_MODEL}
        upscalers |= {title: Upscaler.load(folder) for title, folder in more.items() if folder.is_dir()}
    judge = LPIPS.load(lpips) if lpips else None
    if judge and not zero.HERE:  # there it would need a lent GPU
        judge = judge.to(next(iter(upscalers.values())).device)
    return Models(upscalers, judge), notice
