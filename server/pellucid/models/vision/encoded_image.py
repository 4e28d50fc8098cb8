"""An image as a language model reads the image: rows in place of embeddings, within a text."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256, shake_256
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """``text`` has a placeholder token for each of the ``rows`` (n, hidden) float32.

    See EmbeddedRun for ``whole`` and ``grid``. Images with the same ``digest`` are equal.
    """

    text: str
    rows: NDArray[np.float32]
    digest: bytes
    whole: bool = False
    grid: tuple[int, int] | None = None

    def ids(self) -> list[int]:
        """Return an id below 0 for each row: equal images share cached prefixes."""
        numbers = np.frombuffer(shake_256(self.digest).digest(8 * len(self.rows)), np.int64)
        ids: list[int] = (numbers | np.iinfo(np.int64).min).tolist()
        return ids


class ImageEncoder(Protocol):
    """The image part of a model. A single thread at a time calls ``encode``."""

    @property
    def marker(self) -> str:
        """The token that a chat template writes for an image."""
        ...

    @property
    def placeholder(self) -> int:
        """The id of the token that stands for a row."""
        ...

    def encode(self, picture: bytes, left: Event | None = None) -> EncodedImage:
        """Encode a picture file. Takes seconds; equal recent pictures are not encoded again.

        Raises InvalidRequestError for an unreadable picture, ModelError, and soon after ``left`` is
        set CancelledError.
        """
        ...


def digest_of(picture: bytes) -> bytes:
    return sha256(picture).digest()
