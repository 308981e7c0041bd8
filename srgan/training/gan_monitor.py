"""Watches whether generator and discriminator still learn from each other."""

import math
from collections.abc import Callable
from typing import NamedTuple

LONG = 5000
"""Number of photos for which a trouble must last to be reported; shorter ones pass."""


class Trouble(NamedTuple):
    shows: Callable[[dict[str, float]], bool]
    """whether the means of a report show it"""
    advice: str


TROUBLES = {
    "won": Trouble(
        lambda means: means["d_real"] > 0.98 and means["d_fake"] < 0.02,
        "The discriminator has won: for {LONG:,} photos it has told originals (D(real) {d_real:.3f}) from restored "
        "photos (D(fake) {d_fake:.3f}) without a mistake, so the generator learns little from it. Start again with a "
        "lower --discriminator-lr, a longer fidelity stage or more photos.",
    ),
    "gave up": Trouble(
        lambda means: (
            abs(means["d_real"] - 0.5) < 0.02
            and abs(means["d_fake"] - 0.5) < 0.02
            and abs(means["discriminator"] - 2 * math.log(2)) < 0.02
        ),
        "The discriminator has given up: for {LONG:,} photos it could not tell originals (D(real) {d_real:.2f}) from "
        "restored photos (D(fake) {d_fake:.2f}). Its loss is 2 ln 2 = 1.386, as for guessing, so the generator learns "
        "no detail from it. Start again with a higher --discriminator-lr.",
    ),
}


class GanMonitor:
    """Checks whether generator and discriminator still learn from each other, and reports each trouble once."""

    def __init__(self) -> None:
        self.since: dict[str, int] = {}
        """photos seen in the stage when each trouble began"""
        self.told: set[str] = set()

    def judge(self, means: dict[str, float], photos: int) -> tuple[str, str] | None:
        """Returns the name of a trouble and advice, once it has lasted for LONG photos and was not reported before."""
        for trouble in TROUBLES:
            if "d_real" not in means or not TROUBLES[trouble].shows(means):
                self.since.pop(trouble, None)
            elif photos - self.since.setdefault(trouble, photos) >= LONG and trouble not in self.told:
                self.told.add(trouble)
                return trouble, TROUBLES[trouble].advice.format(LONG=LONG, **means)
        return None
