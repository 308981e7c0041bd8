"""Shows a run in TensorBoard: losses, figures and restored photos. The step is the number of photos seen."""

import math
from pathlib import Path

from torch import Tensor

from srgan.errors import UserError
from srgan.training.records import StatsRow


class Board:
    """Writes TensorBoard's files. Raises UserError if the package tensorboard is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UserError("--tensorboard needs a package that is not installed: pip install tensorboard.") from None
        self.folder, self.writer_class = folder, SummaryWriter

    def open(self, stages: dict[str, int], stage: str, photos: int) -> None:
        """Starts writing at this position of the run. Removes later entries, because those steps are trained again.

        stages: number of photos that each stage will see.
        """
        self.stages = stages
        self.writer = self.writer_class(str(self.folder), purge_step=self.place(stage, photos) + 1)

    def place(self, stage: str, photos: int) -> int:
        """Returns the number of photos seen in both stages."""
        before = list(self.stages)[: list(self.stages).index(stage)]
        return sum(self.stages[name] for name in before) + photos

    def add_row(self, row: StatsRow) -> None:
        """Shows the row's values as curves, and a warning as text."""
        place = self.place(row.stage, row.photos)
        for name, value in row.values.items():
            if math.isfinite(value):
                self.writer.add_scalar(f"{row.kind}/{name}", value, place)
        if row.kind == "warning":
            self.writer.add_text("warning", row.texts["text"], place)

    def add_pictures(self, stage: str, photos: int, rows: dict[str, Tensor]) -> None:
        """Shows pictures side by side. rows: title and uint8 [N, 3, H, W]."""
        for title, pixels in rows.items():
            self.writer.add_images(title, pixels, self.place(stage, photos))
        self.writer.flush()
