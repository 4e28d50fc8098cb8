"""API keys: a shared key, or a key for each user.

A server reads a changed key file again, so that users can be added and removed without a restart.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pellucid.errors import ConfigError
from pellucid.system.regular_files import open_regular, read_open

LOCAL = "local"
"""The owner of everything on a server without named keys."""

MAX_KEY_FILE_BYTES = 2**20

CHECK_SECONDS = 1.0
"""Minimum interval between two checks of a key file."""

NAMED = re.compile(r"([A-Za-z][A-Za-z0-9._-]{0,31}):(.+)")

logger = logging.getLogger(__name__)


class Keys:
    def __init__(self, by_owner: Mapping[str, str]) -> None:
        self._by_owner = by_owner

    @property
    def by_owner(self) -> Mapping[str, str]:
        return self._by_owner

    @property
    def version(self) -> int:
        return 0

    @property
    def are_named(self) -> bool:
        """True if each user has a key, false for a shared key."""
        return set(self.by_owner) != {LOCAL}

    def owner_of(self, key: str) -> str | None:
        """Return the owner of ``key`` or ``name:key``; every wrong key takes the same time."""
        given, bare, named = key.encode(), None, None
        for owner, own in self.by_owner.items():
            if hmac.compare_digest(given, own.encode()):
                bare = owner
            if hmac.compare_digest(given, f"{owner}:{own}".encode()):
                named = owner
        return bare or named


class WatchedKeys(Keys):
    """The keys of a file; a changed file is read again when the keys are used.

    Unreadable keys, and a change from named keys to a shared key, are logged and ignored.
    Thread-safe.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(keys.by_owner)
        self._path = path
        self._named = keys.are_named
        self._clock = clock
        self._lock = threading.Lock()
        self._next_check = clock()
        self._stamp: tuple[int, ...] | None = None
        self._version = 0

    @property
    def by_owner(self) -> Mapping[str, str]:
        with self._lock:
            now = self._clock()
            if now >= self._next_check:
                self._next_check = now + CHECK_SECONDS
                self._update()
            return self._by_owner

    @property
    def version(self) -> int:
        _ = self.by_owner  # Reads a changed file.
        return self._version

    def _update(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            keys = read_keys(read_key_file(self._path))
            if self._named and not keys.are_named:
                raise ConfigError(
                    f"{self._path} has one key for all, no longer one for each user: restart the server if you mean "
                    "that."
                )
        except ConfigError as error:
            logger.warning("%s The former keys stay in force.", error)
            return
        if keys.by_owner != self._by_owner:
            self._by_owner = keys.by_owner
            self._version += 1


def _stamp(path: Path) -> tuple[int, ...]:
    """Return a value that changes with the file, or () for an unreadable file."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_keys(text: str) -> Keys:
    """Return the keys in a setting: ``KEY``, or ``NAME:KEY,NAME:KEY``.

    Raises ValueError, without the keys in the message.
    """
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be printable ASCII without spaces, because it is sent in an HTTP header")
    parts = [(NAMED.fullmatch(part), part) for part in text.split(",")]
    if len(parts) == 1:
        named, key = parts[0]
        return Keys({named[1]: named[2]} if named else {LOCAL: key})
    by_owner = {named[1]: named[2] for named, _ in parts if named}
    if LOCAL in by_owner:
        raise ValueError(f"must give no user the name {LOCAL}, which stands for everyone where there are no names")
    if len(set(by_owner.values())) < len(parts):
        raise ValueError("must give every user a different name and key, as in anna:KEY,ben:KEY")
    return Keys(by_owner)


def read_key_file(path: Path) -> str:
    """Return the keys in a file, in the syntax of ``api_key``.

    Keys may be on separate lines. Empty lines and lines that begin with # are skipped. Raises
    ConfigError for a file that a different user can read or owns.
    """
    try:
        file = open_regular(path, ConfigError)
    except FileNotFoundError as error:
        raise ConfigError(
            f"The API key cannot be read from {path} ({error.strerror}): name a file that you can read."
        ) from None
    except ConfigError as error:
        raise ConfigError(f"The API key cannot be read: {error}") from None
    with file:
        _check_private(path, os.fstat(file.fileno()))
        content = read_open(path, file, MAX_KEY_FILE_BYTES, ConfigError)
    lines = [line.strip() for line in content.decode("utf-8-sig", errors="replace").splitlines()]
    text = ",".join(line for line in lines if line and not line.startswith("#"))
    if not text:
        raise ConfigError(f"There is no API key in {path}: write KEY, or NAME:KEY in a line for each user.")
    try:
        read_keys(text)
    except ValueError as error:
        raise ConfigError(f"The API key in {path} {error}.") from None
    return text


def _check_private(path: Path, status: os.stat_result) -> None:
    if os.name != "posix":
        return  # Modes control access only on POSIX systems.
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{path} belongs to another user, who can read the API key in it: run chown {os.geteuid()} {_quoted(path)}."
        )
    # A root-owned file may be readable by a service's group: systemd and Kubernetes pass secrets
    # so.
    if status.st_mode & (0o037 if status.st_uid == 0 != os.geteuid() else 0o077):
        raise ConfigError(f"Other users can read the API key in {path}: run chmod 600 {_quoted(path)}.")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
