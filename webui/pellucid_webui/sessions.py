"""Who has given a key on the page: sessions in an SQLite file, so that they outlive the server's process."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pellucid.errors import ConfigError
from pellucid.keys import Keys

LIFETIME = 30 * 24 * 3600
"""Seconds from the giving of a key until it has to be given again."""

BUSY_SECONDS = 5


class Sessions:
    """The sessions of a server's page. An id is known to the browser alone: the file has its HMAC under the owner's key.

    So no id can be read there, and the sessions of a key end with it. May be used from any thread.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("CREATE TABLE IF NOT EXISTS session (digest TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID")
        except sqlite3.Error as error:
            raise ConfigError(f"The sessions in {path} cannot be opened ({error}): move the file away, or mend it.") from error

    def begin(self, owner: str) -> str:
        """Whoever brings the id that this gives is the owner, for a while."""
        id, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._connection.execute("DELETE FROM session WHERE expires <= ?", (now,))
            self._connection.execute("INSERT INTO session VALUES (?, ?)", (self._digest(owner, id), now + LIFETIME))
        return id

    def owner_of(self, id: str) -> str | None:
        """Who brings an id; None for one that is unknown or over, or whose key is not the owner's any more."""
        return next((owner for owner in self._keys.by_owner if self._is_there(self._digest(owner, id))), None)

    def end(self, id: str) -> None:
        """The id is worth nothing any more."""
        with self._lock:
            for owner in self._keys.by_owner:
                self._connection.execute("DELETE FROM session WHERE digest = ?", (self._digest(owner, id),))

    def close(self) -> None:
        """Nothing is asked of it after that."""
        with self._lock:
            self._connection.close()

    def _is_there(self, digest: str) -> bool:
        with self._lock:
            found = self._connection.execute("SELECT 1 FROM session WHERE digest = ? AND expires > ?", (digest, self._clock()))
            return found.fetchone() is not None

    def _digest(self, owner: str, id: str) -> str:
        return hmac.digest(self._keys.by_owner[owner].encode(), f"{owner}\n{id}".encode(), "sha256").hex()
