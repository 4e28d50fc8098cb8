"""Reads API keys and their owners: one key that all users share, or one for each user."""

from __future__ import annotations

import hmac
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.errors import ConfigError

LOCAL = "local"
"""The owner of everything on a server without a key, or with one key that all users share."""

MAX_KEY_FILE_BYTES = 64 * 1024

NAMED = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,31}):(.+)")
"""A user's name and key."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a server by the names of their owners."""

    by_owner: Mapping[str, str] = field(repr=False)

    def owner_of(self, key: str) -> str | None:
        """Return the owner of a key, given as ``key`` or ``name:key``. Every wrong key takes the same time."""
        given, bare, named = key.encode(), None, None
        for owner, own in self.by_owner.items():
            if hmac.compare_digest(given, own.encode()):
                bare = owner
            if hmac.compare_digest(given, f"{owner}:{own}".encode()):
                named = owner
        return bare or named


def read_keys(text: str) -> Keys:
    """Return the keys in a setting: ``KEY``, or ``NAME:KEY,NAME:KEY``. Raises ValueError, which does not repeat the keys."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be printable ASCII without spaces, because it is sent in an HTTP header")
    parts = [(NAMED.fullmatch(part), part) for part in text.split(",")]
    if len(parts) == 1:
        named, key = parts[0]
        return Keys({named[1]: named[2]} if named else {LOCAL: key})
    by_owner = {named[1]: named[2] for named, _ in parts if named}
    if len(set(by_owner.values())) < len(parts):
        raise ValueError("must give every user a different name and key, as in anna:KEY,ben:KEY")
    return Keys(by_owner)


def read_key_file(path: Path) -> str:
    """Return the keys in a file, as ``api_key`` spells them. Raises ConfigError for a file that another user can read or owns."""
    try:
        # Non-blocking, because a pipe without a writer would hold up the start.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            _check_private(path, os.fstat(file.fileno()))
            text = file.read(MAX_KEY_FILE_BYTES).decode(errors="replace").strip()
    except OSError as error:
        raise ConfigError(f"The API key cannot be read from {path} ({error.strerror}): name a file that you can read.") from error
    try:
        read_keys(text)
    except ValueError as error:
        raise ConfigError(f"The API key in {path} {error}.") from None
    return text


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"The API key cannot be read from {path}, which is not a file: name a file.")
    if os.name != "posix":
        return  # modes do not control access on other systems
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path} belongs to another user, who can read the API key in it: run chown {os.geteuid()} {_quoted(path)}.")
    if status.st_mode & 0o077:
        raise ConfigError(f"Other users can read the API key in {path}: run chmod 600 {_quoted(path)}.")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
