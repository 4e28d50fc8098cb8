"""Reading of the workspace's code files, as far as the rules permit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pellucid.completion.document_cursor import normalize_newlines
from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_bytes

SUFFIXES = frozenset({
    ".c", ".cc", ".cpp", ".cs", ".dart", ".el", ".ex", ".go", ".h", ".hpp", ".hs", ".java", ".jl", ".js", ".jsx", ".kt",
    ".lua", ".mjs", ".php", ".pl", ".py", ".pyi", ".r", ".rb", ".rs", ".scala", ".sh", ".swift", ".ts", ".tsx", ".vue",
    ".zig",
})  # fmt: skip

_SECRETS = re.compile(
    r"(?:.*[._-])?(?:secrets?|credentials?|passwords?|env|service[_-]?account)(?:[._-].*)?", re.IGNORECASE
)
"""Stems of files never sent unless opened: even code with these names may hold secrets."""


def is_code(name: str) -> bool:
    """Return whether a file's name is that of code, without secrets."""
    path = Path(name)
    # A name that is not printable has an invalid encoding.
    return path.suffix in SUFFIXES and not _SECRETS.fullmatch(path.stem) and name.isprintable()


def is_inside(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a file is in one of the folders; links count as where they lead."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def read_content(path: Path, most: int) -> bytes:
    """Return a file's bytes, empty if unreadable, linked or larger than ``most``."""
    try:
        return read_bytes(path, most, follow_links=False)
    except (OSError, InvalidRequestError):
        return b""


def read_text(path: Path, folders: Sequence[Path], may_send: Callable[[str, str], bool], most: int) -> str:
    """Return a file's text, empty if unreadable, of a different kind, or not to be sent."""
    if not is_inside(path, folders):
        return ""
    try:
        text = normalize_newlines(read_content(path, most).decode())
    except UnicodeDecodeError:
        return ""
    return text if text and may_send(path.as_uri(), text) else ""
