"""Who has given a key on the page: sessions in an SQLite file, so that they outlive the server's process."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.client.api_keys import Keys
from pellucid.errors import ConfigError, PellucidError

SESSION_SECONDS = 30 * 24 * 3600
"""Seconds from the giving of a key until it has to be given again."""

BUSY_SECONDS = 5
"""How long to wait for another process that writes."""

TABLE = (
    "CREATE TABLE session (digest TEXT PRIMARY KEY, owner TEXT NOT NULL, begun REAL NOT NULL, expires REAL NOT NULL, "
    "agent TEXT NOT NULL) WITHOUT ROWID"
)
"""All that the file has, and what tells it from other SQLite files."""

OLD_TABLE = "CREATE TABLE session (digest TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID"
"""The table of versions that could not list sessions. Its sessions end, as their users could not see or end them."""

MAX_SESSIONS = 100
"""Sessions of one owner. The oldest one ends when one more begins."""

MAX_AGENT_CHARACTERS = 300
"""Characters of a User-Agent that are kept."""


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A session as its owner sees it: ``digest`` names it and opens nothing, ``is_this`` marks the one that asks."""

    digest: str
    begun: float
    expires: float
    agent: str
    is_this: bool


class LoginSessions:
    """The sessions of a server's page. An id is known to the browser alone: the file has its HMAC under the owner's key.

    So no id can be read there, and the sessions of a key end with it. May be used from any thread. Raises ConfigError where
    there can be no such file, and later a PellucidError for one that cannot be read or written any more.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.touch(mode=0o600)  # who has logged in is for nobody else on the machine
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"The sessions in {path} cannot be opened ({error}): move the file away, or mend it.") from error

    def begin(self, owner: str, agent: str = "") -> str:
        """Begin a session and return its id, which makes its bearer the owner for a while. ``agent`` is the browser's User-Agent."""
        id, now = secrets.token_urlsafe(32), self._clock()
        with self._file() as run:
            run.execute("DELETE FROM session WHERE expires <= ?", (now,))
            row = (self._digest(owner, id), self._mark(owner), now, now + SESSION_SECONDS, agent[:MAX_AGENT_CHARACTERS])
            run.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", row)
            run.execute(
                "DELETE FROM session WHERE owner = ?1 AND digest != ?2 AND digest NOT IN "
                "(SELECT digest FROM session WHERE owner = ?1 AND digest != ?2 ORDER BY begun DESC, digest LIMIT ?3)",
                (row[1], row[0], MAX_SESSIONS - 1),
            )
        return id

    def owner_of(self, id: str) -> str | None:
        """Who brings an id; None for one that is unknown or over, or whose key is not the owner's any more."""
        return next((owner for owner in self._keys.by_owner if self._is_there(self._digest(owner, id))), None)

    def end(self, id: str) -> None:
        """The id is worth nothing any more."""
        with self._file() as run:
            for owner in self._keys.by_owner:
                run.execute("DELETE FROM session WHERE digest = ?", (self._digest(owner, id),))

    def open_sessions(self, owner: str, id: str) -> list[LoginSession]:
        """Return the sessions of an owner, the newest first; ``id`` is that of the one that asks."""
        this = self._digest(owner, id)
        with self._file() as run:
            rows = run.execute(
                "SELECT digest, begun, expires, agent FROM session WHERE owner = ? AND expires > ? ORDER BY begun DESC, digest",
                (self._mark(owner), self._clock()),
            ).fetchall()
        return [LoginSession(digest, begun, expires, agent, digest == this) for digest, begun, expires, agent in rows]

    def end_one(self, owner: str, digest: str) -> None:
        """End the session of this digest, if it is one of the owner's."""
        with self._file() as run:
            run.execute("DELETE FROM session WHERE owner = ? AND digest = ?", (self._mark(owner), digest))

    def end_others(self, owner: str, id: str) -> None:
        """End all sessions of an owner but the one with this id."""
        with self._file() as run:
            run.execute("DELETE FROM session WHERE owner = ? AND digest != ?", (self._mark(owner), self._digest(owner, id)))

    def close(self) -> None:
        """Nothing is asked of it after that."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        with self._connection as run:
            run.execute("BEGIN IMMEDIATE")
            found = [sql for (sql,) in run.execute("SELECT sql FROM sqlite_master")]
            if found == [OLD_TABLE]:
                run.execute("DROP TABLE session")
                found = []
            if not found:
                run.execute(TABLE)
            elif found != [TABLE]:
                raise ConfigError(f"{self._path} is the file of another program: move it away, for the sessions are kept there.")
        run.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        """The file, for one thread at a time."""
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise PellucidError(
                    f"The sessions in {self._path} cannot be read or written ({error}): see to the file, or stop the server and "
                    "move it away, then everybody logs in again."
                ) from error

    def _is_there(self, digest: str) -> bool:
        with self._file() as run:
            row = run.execute("SELECT expires FROM session WHERE digest = ?", (digest,)).fetchone()
            if row is None or row[0] > self._clock():
                return row is not None
            with suppress(sqlite3.Error):  # it is over, deleted or not; deleted it stays so where the clock is set back
                run.execute("DELETE FROM session WHERE digest = ?", (digest,))
            return False

    def _digest(self, owner: str, id: str) -> str:
        return hmac.digest(self._keys.by_owner[owner].encode(), f"{owner}\n{id}".encode(), "sha256").hex()

    def _mark(self, owner: str) -> str:
        """Return a mark for an owner's rows, which does not reveal the owner and changes with their key."""
        return hmac.digest(self._keys.by_owner[owner].encode(), owner.encode(), "sha256").hex()
