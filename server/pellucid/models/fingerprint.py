"""Hashes of model weights: an adapter is useless with any weights except the base weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

_BLOCK = 1 << 20


def fingerprint(files: Sequence[Path]) -> str:
    """Return the SHA-256 (hexadecimal) of the concatenated contents of a model's files.

    Each file is read once; later calls compare only sizes and times.
    """
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=64)
def _digest(states: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in states:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
