"""Pictures in files, as images of a message."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_bytes
from pellucid.vocabulary.message import Image


def read_images(paths: Iterable[str | Path]) -> tuple[Image, ...]:
    """Return the pictures in front of a message's content.

    Raises InvalidRequestError for a missing file, a folder or a file that is too large.
    """
    return tuple(_read(Path(path)) for path in paths)


def _read(path: Path) -> Image:
    try:
        return Image.of_base64(b64encode(read_bytes(path)).decode())
    except FileNotFoundError:
        raise InvalidRequestError(f"{path} does not exist: name the file of a picture.") from None
