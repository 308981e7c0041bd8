"""Finds the blocks of a JPEG in the pixels of any picture, and holds an enlargement to what they show.

JPEG rounds the cosine coefficients of 8x8 blocks to multiples of steps, which a table states (ITU-T T.81, A.3.4). So
each coefficient of the original was within half a step of what the picture shows. A network that removes blocks may
leave this range; `JpegBlocks.correct` brings its result back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from srgan.degradation.jpeg import (
    BLOCK,
    LUMA_TABLE,
    cosine_matrix,
    from_coefficients,
    scaled_table,
    to_coefficients,
)
from srgan.pictures.boxes import Box
from srgan.pictures.images import BACK_RADIUS, bicubic, greyed

LEVEL = 127.5
"""Number of grey levels in a difference of 1 in the range [-1, 1]."""

LEAST_SIDE = 2 * BLOCK
"""Smaller pictures do not have a whole block on every grid that could be meant."""

QUALITIES = range(10, 97)
"""The qualities, counted as in libjpeg, that are looked for. The steps of better ones are about as small as the errors
of rounded pixels."""

FINE = 5
"""A coefficient counts as fine detail if the sum of its two frequencies, at most 14, is this or more."""

TELLING = 2.0
"""A coefficient of fewer grey levels says nothing about the steps: many steps are larger."""

ROUNDING = 0.7
"""Standard deviation, in grey levels, of a coefficient around its multiple: pixels and colours were rounded."""

OUTLIERS = 0.5
"""Share of coefficients that may lie anywhere. It is this large because colours that are clipped after JPEG change the
luma."""

LEAST_EVIDENCE = 20.0
"""Steps count as found if they are exp(20) times as likely as none. benchmarks/wear.md: how often this is right."""

SLACK = 0.15
"""Share of a step by which an enlargement may differ from the picture. See benchmarks/recipes.md."""

GAIN = 1.4
"""Factor of the correction, because the bicubic loses a part of it when it is enlarged and reduced again."""

REACH = BACK_RADIUS // 2
"""Low-resolution pixels on each side that the bicubic needs, to enlarge the correction as well as to reduce the
enlargement."""


@dataclass(frozen=True)
class JpegBlocks:
    """A picture's blocks. It is a `Correction`."""

    left: int
    """column of the first whole block, 0 to 7"""
    top: int
    """row of the first whole block, 0 to 7"""
    steps: tuple[tuple[float, ...], ...]
    """of the luma's coefficients, in grey levels; a row for each vertical frequency"""
    quality: int
    """1 to 100, counted as in libjpeg; of other tables, that of the nearest"""

    @property
    def radius(self) -> int:
        return REACH + (BLOCK - 1) + REACH

    def needed(self, part: Box, whole: Box) -> Box:
        """Returns the part and REACH pixels beside it, completed to whole blocks, and REACH pixels beside those blocks.

        The correction of the part is enlarged from these blocks. To compute it, the enlargement must reach REACH pixels
        farther, because the bicubic reduces it.
        """
        near = part.grown(REACH, whole)
        left, top = near.left - (near.left - self.left) % BLOCK, near.top - (near.top - self.top) % BLOCK
        right, bottom = near.right + (self.left - near.right) % BLOCK, near.bottom + (self.top - near.bottom) % BLOCK
        return Box(left, top, right, bottom).grown(REACH, whole)

    def correct(self, low: Tensor, high: Tensor, place: Box) -> Tensor:
        """Reduces the enlargement again and compares its blocks with the picture's. Where a coefficient differs by more
        than SLACK of its step, adds the rest of the difference to the enlargement. See `Correction.correct`.

        The picture's coefficients are not rounded to multiples of the steps first: they lie close enough to them.
        """
        lost = grey_levels(low - bicubic(high, *low.shape[-2:]))
        left, top = (place.left - self.left) % BLOCK, (place.top - self.top) % BLOCK
        right, bottom = (self.left - place.right) % BLOCK, (self.top - place.bottom) % BLOCK
        cosines, allowed = cosine_matrix(low.device), SLACK * torch.tensor(self.steps, device=low.device)
        lacking = to_coefficients(F.pad(lost, (left, right, top, bottom), mode="replicate"), cosines)
        back = from_coefficients(lacking - lacking.clamp(-allowed, allowed), cosines)
        back = back[..., top : top + low.shape[-2], left : left + low.shape[-1]]
        return high.float() + GAIN / LEVEL * bicubic(back, *high.shape[-2:])

    def unexplained(self, difference: Tensor) -> Tensor:
        """Returns the part of each coefficient that is beyond half a step. JPEG cannot have caused this part, because
        it changes no coefficient by more than half a step.

        difference: of parts of the picture from their originals, [N, 1, H, W] in grey levels. The parts start as for
        `find_blocks`. Returns coefficients in grey levels.
        """
        cosines = cosine_matrix(difference.device)
        coefficients = to_coefficients(whole_blocks(difference, self.left, self.top), cosines)
        half = torch.tensor(self.steps, device=difference.device) / 2
        return coefficients - coefficients.clamp(-half, half)


def grey_levels(images: Tensor) -> Tensor:
    """[N, 3, H, W] in [-1, 1] -> their luma in grey levels from -127.5 to 127.5, [N, 1, H, W]."""
    return LEVEL * greyed(images)[:, :1]


def whole_blocks(plane: Tensor, left: int, top: int) -> Tensor:
    """Returns the part of [N, C, H, W] that consists of whole blocks. left, top: where the first one begins."""
    plane = plane[..., top:, left:]
    return plane[..., : plane.shape[-2] // BLOCK * BLOCK, : plane.shape[-1] // BLOCK * BLOCK]


def find_blocks(seen: Tensor, shares: Tensor, tables: Sequence[Tensor] = ()) -> JpegBlocks | None:
    """Finds the JPEG blocks of a picture. None if it shows none: it was never a JPEG, or was changed afterwards.

    seen: parts of the picture, [N, 3, H, W] in [-1, 1]; each starts a multiple of 8 pixels from the picture's corner.
    shares: their `zero_shares`. tables: steps to look for besides libjpeg's, [8, 8] each.
    """
    if min(seen.shape[-2:]) < LEAST_SIDE:
        return None
    grey = grey_levels(seen)
    steps = torch.cat([*(table.view(1, 8, 8) for table in tables), libjpeg_tables(QUALITIES)])
    corners = {(0, 0), divmod(int(shares.argmax()), BLOCK)}
    found = [(*evidence(grey, left, top, steps), left, top) for top, left in corners]
    logarithm, row, left, top = max(found)
    if logarithm < LEAST_EVIDENCE:
        return None
    return JpegBlocks(left, top, tuple(map(tuple, steps[row].tolist())), nearest_quality(steps[row]))


def zero_shares(seen: Tensor) -> Tensor:
    """Returns the share of fine coefficients below one grey level for each of the 64 possible grids of blocks: [64]. In
    grid i, the first block begins at row i // 8 and column i % 8. All are 0 if a side has less than two blocks.

    JPEG rounds most fine coefficients of its blocks to 0. In blocks that lie across its grid they are not 0.

    seen: as for `find_blocks`.
    """
    if min(seen.shape[-2:]) < LEAST_SIDE:
        return torch.zeros(BLOCK * BLOCK)
    grey, cosines = grey_levels(seen), cosine_matrix(seen.device)
    waves = torch.einsum("ia,jb->ijab", cosines, cosines)
    places = torch.arange(BLOCK)
    fine = waves[places.view(-1, 1) + places >= FINE].unsqueeze(1)
    none = (F.conv2d(grey, fine).abs() < 1).float().mean((0, 1))
    return torch.stack([none[top::BLOCK, left::BLOCK].mean() for top in range(BLOCK) for left in range(BLOCK)])


def evidence(grey: Tensor, left: int, top: int, steps: Tensor) -> tuple[float, int]:
    """Compares several tables of steps. Returns the logarithm of the likelihood ratio of the best one, and its row.

    The ratio says how many times likelier the coefficients of a grid are after JPEG with these steps than without JPEG.
    A coefficient that JPEG has made lies around a multiple of its step; any other may lie anywhere.

    grey: [N, 1, H, W] in grey levels; left, top: where the first block begins; steps: [T, 8, 8].
    """
    coefficients = to_coefficients(whole_blocks(grey, left, top), cosine_matrix(grey.device)).flatten(0, 3).flatten(1)
    telling = coefficients.abs() >= TELLING
    telling[:, 0] = False  # the mean: JPEG takes 128 from it, so that it is no multiple
    values, steps = coefficients[telling], steps.flatten(1)[:, telling.nonzero()[:, 1]]
    times = (values / steps).round()
    density = torch.exp(-0.5 * ((values - times * steps) / ROUNDING) ** 2) / (ROUNDING * (2 * torch.pi) ** 0.5)
    ratio = torch.where(times != 0, density * steps, 0.0)
    logarithms = torch.log((1 - OUTLIERS) * ratio + OUTLIERS).sum(1)
    row = int(logarithms.argmax())
    return float(logarithms[row]), row


def libjpeg_tables(qualities: Iterable[int]) -> Tensor:
    """Returns libjpeg's steps for luma at each of the qualities: [Q, 8, 8]."""
    return scaled_table(LUMA_TABLE, torch.tensor([*qualities]).float().view(-1, 1, 1, 1)).view(-1, BLOCK, BLOCK)


def nearest_quality(steps: Tensor) -> int:
    """Returns the quality, 1 to 100 as in libjpeg, of the table nearest to [8, 8]; of several the best."""
    qualities = range(100, 0, -1)
    return qualities[int((libjpeg_tables(qualities) - steps).abs().sum((1, 2)).argmin())]
