"""The models that visitors of the page may choose from."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from PIL import Image

from srgan.measure.metrics import LPIPS
from srgan.page import zero
from srgan.page.kept import once
from srgan.pictures.corrections import Correction
from srgan.upscaler import SHIPPED_MODEL, Upscaler, load_or_shipped
from srgan.wear import CLEAN_MODEL, judge

ANY_PHOTO, CLEAN_FACES = "Any photo", "Clean faces"
"""What the models that ship are made for."""

AUTOMATIC = "Auto"
"""The choice with which `srgan.wear` decides which of the two models a picture needs."""


class Settled(NamedTuple):
    """How a picture is enlarged."""

    made_for: str
    detail: float
    why: str = ""
    """a sentence about what was assumed, if the picture has decided"""
    correction: Correction | None = None


@dataclass(frozen=True)
class Models:
    """The upscalers by what they are made for. Without a choice, the picture decides if it can; otherwise the first is
    taken. `lpips` adds that figure."""

    upscalers: dict[str, Upscaler]
    lpips: LPIPS | None = None

    @property
    def automatic(self) -> bool:
        """Whether the model can be chosen by the picture."""
        return {ANY_PHOTO, CLEAN_FACES} <= self.upscalers.keys()

    @property
    def made_for(self) -> list[str]:
        return [AUTOMATIC] * self.automatic + list(self.upscalers)

    @property
    def can_blend(self) -> bool:
        """Whether `detail` can be chosen for any of them."""
        return any(upscaler.can_blend for upscaler in self.upscalers.values())

    def check_detail(self, made_for: str, detail: float) -> None:
        """Raises UserError for a detail that the chosen model does not support."""
        made_for = made_for or self.made_for[0]
        self.unlent.chosen(ANY_PHOTO if made_for == AUTOMATIC else made_for).check_detail(detail)

    def settled(self, made_for: str, picture: Image.Image, detail: float) -> Settled:
        made_for = made_for or self.made_for[0]
        if made_for != AUTOMATIC:
            return Settled(made_for, detail, correction=once(self.unlent.chosen(made_for).blocks_to_hold, picture))
        judging = self.unlent.chosen(ANY_PHOTO)
        choice = once(judge, picture, judging)
        title = ANY_PHOTO if choice.worn else CLEAN_FACES
        return Settled(title, choice.detail(judging.check_detail(detail)), choice.why, choice.blocks)

    def chosen(self, made_for: str) -> Upscaler:
        return self.upscalers[made_for]

    @cached_property
    def unlent(self) -> "Models":
        """The same models for work that needs no lent GPU: on ZeroGPU they are on the CPU.

        They make what the page shows before a visitor asks, judge pictures, and restore parts of pictures.
        """
        if not zero.HERE:
            return self
        return Models({title: on_cpu(upscaler) for title, upscaler in self.upscalers.items()}, self.lpips)


def on_cpu(upscaler: Upscaler) -> Upscaler:
    return Upscaler(upscaler.model, upscaler.name, "cpu", commit=upscaler.commit)


def load_models(model: str = "", lpips: str = "") -> tuple[Models, str]:
    """Loads the named model, or all that ship. Also returns what visitors should know (see `load_or_shipped`).

    model: a folder or a name on the Hub. lpips: a file for `LPIPS.load`. Raises UserError for an incomplete model.
    """
    notice = ""
    if model:
        upscaler, notice = load_or_shipped(model)
        upscalers = {upscaler.name: upscaler}
    else:
        upscalers = {ANY_PHOTO: Upscaler.load(SHIPPED_MODEL)}
        if CLEAN_MODEL.is_dir():
            upscalers[CLEAN_FACES] = Upscaler.load(CLEAN_MODEL)
    measure = LPIPS.load(lpips) if lpips else None
    if measure and not zero.HERE:  # there it would need a lent GPU
        measure = measure.to(next(iter(upscalers.values())).device)
    return Models(upscalers, measure), notice
