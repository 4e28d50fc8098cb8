"""Pictures of requests: base64 in data URLs, as PNG, JPEG, WebP or GIF files."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import TYPE_CHECKING

from pellucid.errors import ConfigError, InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

MAX_PIXELS = 50_000_000
"""A compressed file of some kilobytes may hold billions of pixels."""


def picture_bytes(url: str) -> bytes:
    """Return the file in an image's data URL. Raise InvalidRequestError for damaged base64."""
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise _refused("The data URL of an image is not valid base64: encode the file again.") from None


def open_picture(file: bytes) -> Image:
    """Return the picture in RGB, turned as its camera was held; the first frame of an animation.

    Raises InvalidRequestError for other files, and ConfigError without Pillow.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ConfigError('Images need Pillow: run pip install "pellucid[torch]".') from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(file), formats=FORMATS)
            if picture.width * picture.height > MAX_PIXELS:
                raise _refused(
                    f"An image has {picture.width} x {picture.height} pixels, and at most {MAX_PIXELS:,} are read: "
                    "scale the image down."
                )
            return ImageOps.exif_transpose(picture).convert("RGB")
    except InvalidRequestError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _refused(f"An image has more than {MAX_PIXELS:,} pixels: scale the image down.") from None
    except Exception as error:  # The decoders of damaged files raise nearly any error.
        raise _refused("An image is not a readable PNG, JPEG, WebP or GIF file: save the image again.") from error


def _refused(sentence: str) -> InvalidRequestError:
    return InvalidRequestError(sentence, param="messages")
