"""Face and photo super-resolution with an SRGAN.

`Automatic.load().enlarge(picture)` enlarges a picture four times with the model that fits the picture's condition.
`Upscaler.load().enlarge(picture)` does it with the model that you name.
"""

from typing import TYPE_CHECKING, Any

from srgan.errors import UserError

if TYPE_CHECKING:
    from srgan.upscaler import Upscaler
    from srgan.wear import Automatic

__all__ = ["Automatic", "Upscaler", "UserError"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports Upscaler and Automatic when they are first used, because PyTorch takes seconds to load."""
    if name == "Upscaler":
        from srgan.upscaler import Upscaler

        return Upscaler
    if name == "Automatic":
        from srgan.wear import Automatic

        return Automatic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
