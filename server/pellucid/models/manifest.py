"""The manifest of a downloaded model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A downloaded file; for ``kind`` see :func:`pellucid.system.atomic_files.checksum`."""

    name: str
    size: int
    checksum: str
    kind: str = "sha256"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a downloaded model, and the source.

    ``model`` is the file to load, or "." for the whole folder.
    """

    name: str
    source: str
    licence: str
    model: str
    files: tuple[StoredFile, ...]
