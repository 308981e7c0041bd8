"""Face super-resolution with an SRGAN: `Upscaler.load().enlarge(picture)` enlarges a picture four times."""

from srgan.errors import UserError
from srgan.upscaler import Upscaler

__all__ = ["Upscaler", "UserError"]
__version__ = "0.1.0"
