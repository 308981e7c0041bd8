"""The models that visitors of the page may choose from."""

import time
from dataclasses import dataclass
from functools import cached_property, lru_cache

from PIL import Image

from srgan.faces import draw_faces
from srgan.measure.metrics import LPIPS
from srgan.page import zero
from srgan.page.close_ups import faces_of
from srgan.pictures.images import flat
from srgan.shipped import WEIGHTS
from srgan.upscaler import SHIPPED_MODEL, Upscaler, load_or_shipped
from srgan.wear import WORN_MODEL, Choice, judge

PHOTOS_MODEL = WEIGHTS / "photos"
"""For clean pictures of anything; a Space may leave it out."""

FACES, ANY_PHOTO, WORN_PHOTO = "Faces", "Any photo", "Worn photo"
"""What the models that ship are made for."""

AUTOMATIC = "Auto"
"""The choice that leaves it to `srgan.wear` which of FACES and WORN_PHOTO a picture is for."""


@dataclass(frozen=True)
class Models:
    """Upscalers by what they are made for. Where nothing is said, the picture decides, or else the first is taken.
    `lpips` adds that figure."""

    upscalers: dict[str, Upscaler]
    lpips: LPIPS | None = None

    @property
    def automatic(self) -> bool:
        """Whether the model can be chosen by the picture."""
        return {FACES, WORN_PHOTO} <= self.upscalers.keys()

    @property
    def made_for(self) -> list[str]:
        return [AUTOMATIC] * self.automatic + list(self.upscalers)

    @property
    def can_blend(self) -> bool:
        """Whether `detail` can be chosen of any of them."""
        return any(upscaler.can_blend for upscaler in self.upscalers.values())

    def settled(self, made_for: str, picture: Image.Image, detail: float) -> tuple[str, float, str]:
        """One of `upscalers` for a picture, and its detail; where the picture has decided, what was assumed of it."""
        made_for = made_for or self.made_for[0]
        if made_for != AUTOMATIC:
            return made_for, detail, ""
        detail, choice = self.for_judging.check_detail(detail), judged(picture, self.for_judging)
        return (WORN_PHOTO if choice.worn else FACES), choice.detail(detail), choice.why

    def chosen(self, made_for: str) -> Upscaler:
        return self.upscalers[made_for]

    @cached_property
    def for_judging(self) -> Upscaler:
        """Looks at a small part of each picture: a lent GPU is not asked for that."""
        return on_cpu(self.upscalers[WORN_PHOTO]) if zero.HERE else self.upscalers[WORN_PHOTO]

    @cached_property
    def for_faces(self) -> Upscaler:
        """Draws the faces in what another one enlarges. They are small: a lent GPU is not asked for again."""
        return on_cpu(self.upscalers[FACES]) if zero.HERE else self.upscalers[FACES]

    def enlarge_timed(self, picture: Image.Image, detail: float, made_for: str) -> tuple[Image.Image, int]:
        """`Upscaler.enlarge_timed` of an RGB or RGBA picture, whose faces are drawn by the model made for them."""
        enlarged, milliseconds = self.chosen(made_for).enlarge_timed(picture, detail)
        if not self.leaves_faces(made_for):
            return enlarged, milliseconds
        faces, _ = faces_of(flat(picture))
        start = time.perf_counter()
        drawn = draw_faces(enlarged, self.for_faces, picture, faces, detail)
        return drawn, milliseconds + round((time.perf_counter() - start) * 1000)

    def leaves_faces(self, made_for: str) -> bool:
        """Whether a model has its faces drawn by the one made for them, which knows clean faces alone."""
        return FACES in self.upscalers and made_for == ANY_PHOTO

    def at_start(self) -> "Models":
        """These, for what the page shows before it is asked: a lent GPU is for what visitors ask."""
        if not zero.HERE:
            return self
        return Models({title: on_cpu(upscaler) for title, upscaler in self.upscalers.items()}, self.lpips)


KEPT_CHOICES = 8
"""Who moves Detail has the same picture judged again."""


def judged(picture: Image.Image, worn_model: Upscaler) -> Choice:
    """`judge`, whose last choices are kept."""
    tables = getattr(picture, "quantization", None) or {}
    frozen = tuple((number, tuple(table)) for number, table in tables.items())
    return judge_once(picture.mode, picture.size, picture.tobytes(), frozen, worn_model)


@lru_cache(maxsize=KEPT_CHOICES)
def judge_once(
    mode: str, size: tuple[int, int], pixels: bytes, tables: tuple[tuple[int, tuple[int, ...]], ...], model: Upscaler
) -> Choice:
    picture = Image.frombytes(mode, size, pixels)
    if tables:
        picture.quantization = dict(tables)  # type: ignore[attr-defined]
    return judge(picture, model)


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
