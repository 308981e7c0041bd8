"""Face super-resolution with an SRGAN: `Automatic.load().enlarge(picture)` enlarges a picture four times, by the model
that fits how worn it is, and `Upscaler.load().enlarge(picture)` by the one you name."""

from typing import TYPE_CHECKING, Any

from srgan.errors import UserError

if TYPE_CHECKING:
    from srgan.upscaler import Upscaler
    from srgan.wear import Automatic

__all__ = ["Automatic", "Upscaler", "UserError"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Upscaler and Automatic, and PyTorch with them, when first asked for: it takes seconds to load."""
    if name == "Upscaler":
        from srgan.upscaler import Upscaler

        return Upscaler
    if name == "Automatic":
        from srgan.wear import Automatic

        return Automatic
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
