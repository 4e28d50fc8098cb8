"""Login sessions of the page, which survive a restart of the server."""

from __future__ import annotations

import hmac
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.door.api_keys import Keys
from pellucid.errors import AuthenticationError, ConfigError
from pellucid.system.sqlite_file import SqliteFile

SESSION_SECONDS = 30 * 24 * 3600

BUSY_SECONDS = 5.0

TABLE = (
    "CREATE TABLE session (digest TEXT PRIMARY KEY, owner TEXT NOT NULL, begun REAL NOT NULL, expires REAL NOT NULL, "
    "agent TEXT NOT NULL) WITHOUT ROWID"
)
"""The only table, which distinguishes the file from other SQLite files."""

OLD_TABLE = "CREATE TABLE session (digest TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID"
"""Sessions of this older table are dropped: users could not see or end them."""

MAX_SESSIONS = 100
"""A further login ends the owner's oldest session."""

MAX_AGENT_CHARACTERS = 300

REMEDY = (
    "check the file and the free space on its disk, or stop the server and move the file away; "
    "everyone must then log in again"
)


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A session; ``digest`` identifies the session without granting access."""

    digest: str
    begun: float
    expires: float
    agent: str
    is_this: bool


class LoginSessions:
    """The login sessions of a server's page, usable from any thread.

    The file holds only the HMAC of a session's id under the owner's key. Therefore the file reveals
    no id, and sessions end when the key changes or is removed. Raises ConfigError if the file
    cannot be opened. Methods raise PellucidError for an inaccessible file, and AuthenticationError
    for an owner without a key.
    """

    def __init__(self, path: Path, keys: Keys, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._keys = keys
        self._clock = clock
        self._file = SqliteFile(path, "login sessions", self._prepare, remedy=REMEDY, busy_seconds=BUSY_SECONDS)

    def begin(self, owner: str, agent: str = "") -> str:
        """Begin a session and return the secret id; ``agent`` is the User-Agent."""
        id, now = secrets.token_urlsafe(32), self._clock()
        with self._file.autocommit() as connection:
            connection.execute("DELETE FROM session WHERE expires <= ?", (now,))
            row = (self._digest(owner, id), self._mark(owner), now, now + SESSION_SECONDS, agent[:MAX_AGENT_CHARACTERS])
            connection.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", row)
            connection.execute(
                "DELETE FROM session WHERE owner = ?1 AND digest != ?2 AND digest NOT IN "
                "(SELECT digest FROM session WHERE owner = ?1 AND digest != ?2 ORDER BY begun DESC, digest LIMIT ?3)",
                (row[1], row[0], MAX_SESSIONS - 1),
            )
        return id

    def owner_of(self, id: str) -> str | None:
        """Return the owner of a session, or None if unknown, expired, or of an old key."""
        return next(
            (owner for owner, key in self._keys.by_owner.items() if self._is_open(_hmac(key, f"{owner}\n{id}"))), None
        )

    def end(self, id: str) -> None:
        with self._file.autocommit() as connection:
            for owner, key in self._keys.by_owner.items():
                connection.execute("DELETE FROM session WHERE digest = ?", (_hmac(key, f"{owner}\n{id}"),))

    def open_sessions(self, owner: str, id: str) -> list[LoginSession]:
        this = self._digest(owner, id)
        with self._file.autocommit() as connection:
            rows = connection.execute(
                "SELECT digest, begun, expires, agent FROM session WHERE owner = ? AND expires > ? "
                "ORDER BY begun DESC, digest",
                (self._mark(owner), self._clock()),
            ).fetchall()
        return [LoginSession(digest, begun, expires, agent, digest == this) for digest, begun, expires, agent in rows]

    def end_one(self, owner: str, digest: str) -> None:
        with self._file.autocommit() as connection:
            connection.execute("DELETE FROM session WHERE owner = ? AND digest = ?", (self._mark(owner), digest))

    def end_others(self, owner: str, id: str) -> None:
        with self._file.autocommit() as connection:
            connection.execute(
                "DELETE FROM session WHERE owner = ? AND digest != ?", (self._mark(owner), self._digest(owner, id))
            )

    def close(self) -> None:
        self._file.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        tables = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")]
        if tables == [OLD_TABLE]:
            connection.execute("DROP TABLE session")
            tables = []
        if not tables:
            connection.execute(TABLE)
        elif tables != [TABLE]:
            raise ConfigError(
                f"{self._path} belongs to another program: move it away, since the login sessions are kept there."
            )

    def _is_open(self, digest: str) -> bool:
        with self._file.autocommit() as connection:
            row = connection.execute("SELECT expires FROM session WHERE digest = ?", (digest,)).fetchone()
            if row is None or row[0] > self._clock():
                return row is not None
            with suppress(sqlite3.Error):  # Deleted so that the session stays expired if the clock is set back.
                connection.execute("DELETE FROM session WHERE digest = ?", (digest,))
            return False

    def _digest(self, owner: str, id: str) -> str:
        return _hmac(self._key(owner), f"{owner}\n{id}")

    def _mark(self, owner: str) -> str:
        """Return a mark for an owner's rows that hides the name and depends on the key."""
        return _hmac(self._key(owner), owner)

    def _key(self, owner: str) -> str:
        key = self._keys.by_owner.get(owner)
        if key is None:  # The key was removed after the request began.
            raise AuthenticationError("Your API key was removed: log in with another one.")
        return key


def _hmac(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha256").hex()
