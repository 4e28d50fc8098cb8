"""Copies of a prompt's beginning outside of the slots."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.engine.model import KVStorage

Ids = npt.NDArray[np.int64]
Content = npt.NDArray[Any]


@dataclass(eq=False, slots=True)
class KVSnapshot:
    """``ids`` (tokens,) and their ``content``; see KVStorage.

    Saved content of ``saved_bytes`` is None until ``loader`` has read and verified the content
    (None if damaged). Only requests with the same ``cache_salt`` may reuse a snapshot.
    """

    ids: Ids
    content: Content | None
    loader: Callable[[], Content | None] | None = None
    cache_salt: str = ""
    saved_bytes: int = 0

    @property
    def nbytes(self) -> int:
        return self.saved_bytes if self.content is None else self.content.nbytes

    def ensure_loaded(self) -> bool:
        """Load saved content. Return False if damaged."""
        if self.content is None and self.loader is not None:
            self.content, self.loader = self.loader(), None  # The loader's file closes: Windows replaces no open file.
        return self.content is not None

    def loaded(self) -> Content:
        assert self.content is not None, "ensure_loaded comes first"
        return self.content

    @property
    def checksum(self) -> int:
        return checksum(self.loaded())

    def restore(self, storage: KVStorage, slot: int, length: int) -> None:
        storage.write(slot, self.loaded()[:, :, :length])


def copy_slot(storage: KVStorage, slot: int, ids: Ids, cache_salt: str) -> KVSnapshot:
    content = storage.read(slot, len(ids))
    return KVSnapshot(ids.copy(), content, cache_salt=cache_salt)


def common_prefix(a: Ids, b: Ids) -> int:
    length = min(len(a), len(b))
    differs = a[:length] != b[:length]
    return int(differs.argmax()) if differs.any() else length


def checksum(content: Content) -> int:
    return zlib.crc32(np.ascontiguousarray(content).view(np.uint8).data)
