"""Face super-resolution with an SRGAN: `Upscaler.load().enlarge(picture)` enlarges a picture four times."""

from typing import TYPE_CHECKING, Any

from srgan.errors import UserError

if TYPE_CHECKING:
    from srgan.upscaler import Upscaler

__all__ = ["Upscaler", "UserError"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Upscaler, and PyTorch with it, when it is first asked for: it takes seconds to load."""
    if name == "Upscaler":
        from srgan.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
