"""The models that visitors of the page may choose from."""

from dataclasses import dataclass

from srgan import zero
from srgan.metrics import LPIPS
from srgan.upscaler import SHIPPED_MODEL, Upscaler, load_or_shipped

PHOTOS_MODEL = SHIPPED_MODEL.parent / "photos"
"""Of photos of anything; it ships with some versions."""


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

    def at_start(self) -> "Models":
        """The first one, for what the page shows before it is asked: a lent GPU is for what visitors ask."""
        title, upscaler = next(iter(self.upscalers.items()))
        if zero.HERE:
            upscaler = Upscaler(upscaler.model, upscaler.name, "cpu", commit=upscaler.commit)
        return Models({title: upscaler}, self.lpips)


def load_models(model: str = "", lpips: str = "") -> tuple[Models, str]:
    """The named model alone, or all that ship; and what visitors should know (see `load_or_shipped`).

    model: a folder or a name on the Hub. lpips: a file for `LPIPS.load`. Raises UserError for what is not whole.
    """
    notice = ""
    if model:
        upscaler, notice = load_or_shipped(model)
        upscalers = {upscaler.name: upscaler}
    else:
        upscalers = {"Faces": Upscaler.load(SHIPPED_MODEL)}
        if PHOTOS_MODEL.is_dir():
            upscalers["Any photo"] = Upscaler.load(PHOTOS_MODEL)
    judge = LPIPS.load(lpips) if lpips else None
    if judge and not zero.HERE:  # there it would need a lent GPU
        judge = judge.to(next(iter(upscalers.values())).device)
    return Models(upscalers, judge), notice
