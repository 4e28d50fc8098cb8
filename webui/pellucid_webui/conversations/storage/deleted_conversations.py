"""Deleted conversations, erased from the file after KEPT_DAYS."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from pellucid.errors import NotFoundError
from pellucid_webui.conversations.storage.database import Database
from pellucid_webui.conversations.storage.owned_rows import owned_or_deleted

KEPT_DAYS = 30

DAY_SECONDS = 86_400.0

ERASE_EVERY_SECONDS = 3600.0
"""Minimum time between searches for expired conversations."""

DELETED = (
    "SELECT id, title, deleted FROM conversation WHERE owner = ? AND deleted IS NOT NULL "
    "ORDER BY deleted DESC, key DESC LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class DeletedConversation:
    """A restorable conversation; ``deleted`` is in seconds since 1970."""

    id: str
    title: str
    deleted: float


class DeletedConversations:
    """The deleted conversations. Erasing leaves no words in the file."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._checked: float | None = None

    def list(self, owner: str, most: int) -> builtins.list[DeletedConversation]:
        """Return the owner's last deleted conversations, newest first."""
        with self._database.reading() as connection:
            return [
                DeletedConversation(row["id"], row["title"], row["deleted"])
                for row in connection.execute(DELETED, (owner, most))
            ]

    def restore(self, owner: str, id: str) -> None:
        """Restore a conversation with pin and folder."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET deleted = NULL WHERE key = ?",
                (owned_or_deleted(connection, owner, id)["key"],),
            )

    def erase(self, owner: str, id: str) -> None:
        with self._database.writing() as connection:
            _erase(connection, "DELETE FROM conversation WHERE key = ?", owned_or_deleted(connection, owner, id)["key"])
        self._database.shrink()

    def erase_all(self, owner: str) -> None:
        """Raise NotFoundError if there are no deleted conversations."""
        with self._database.writing() as connection:
            if not _erase(connection, "DELETE FROM conversation WHERE owner = ? AND deleted IS NOT NULL", owner):
                raise NotFoundError("There are no deleted conversations.")
        self._database.shrink()

    def erase_expired(self) -> None:
        """Erase expired conversations, at most once in ERASE_EVERY_SECONDS."""
        now = self._clock()
        if self._checked is not None and 0 <= now - self._checked < ERASE_EVERY_SECONDS:
            return
        self._checked = now
        limit = now - KEPT_DAYS * DAY_SECONDS
        with self._database.reading() as connection:
            if connection.execute("SELECT 1 FROM conversation WHERE deleted <= ? LIMIT 1", (limit,)).fetchone() is None:
                return
        with self._database.writing() as connection:
            _erase(connection, "DELETE FROM conversation WHERE deleted <= ?", limit)
        self._database.shrink()


def _erase(connection: sqlite3.Connection, statement: str, value: object) -> int:
    """Erase conversations with dependent rows, and return the count."""
    count = connection.execute(statement, (value,)).rowcount
    # An index keeps deleted words until it is merged.
    connection.execute("INSERT INTO words (words) VALUES ('optimize')")
    connection.execute("INSERT INTO titles (titles) VALUES ('optimize')")
    return count
