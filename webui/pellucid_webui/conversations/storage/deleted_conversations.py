"""Keeps deleted conversations for a while, so that they can be restored, and then erases them from the file."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from pellucid.errors import NotFoundError
from pellucid_webui.conversations.storage.database import Database
from pellucid_webui.conversations.storage.owned_rows import owned_or_deleted

KEPT_DAYS = 30
"""Days for which a deleted conversation can be restored."""

DAY_SECONDS = 86_400.0

ERASE_EVERY_SECONDS = 3600.0
"""Shortest time between two looks for conversations whose days are over."""

DELETED = "SELECT id, title, deleted FROM conversation WHERE owner = ? AND deleted IS NOT NULL ORDER BY deleted DESC, key DESC LIMIT ?"

ERASE = "DELETE FROM conversation WHERE key = ?"

ERASE_ALL = "DELETE FROM conversation WHERE owner = ? AND deleted IS NOT NULL"

ERASE_EXPIRED = "DELETE FROM conversation WHERE deleted <= ?"

EXPIRED = "SELECT 1 FROM conversation WHERE deleted <= ? LIMIT 1"


@dataclass(frozen=True, slots=True)
class DeletedConversation:
    """A conversation that can be restored; ``deleted`` is when it was deleted, in seconds since 1970."""

    id: str
    title: str
    deleted: float


class DeletedConversations:
    """The deleted conversations in a database.

    ``erased`` ones cannot be restored: the file no longer contains their words.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._checked: float | None = None

    def list(self, owner: str, most: int) -> builtins.list[DeletedConversation]:
        """Return the owner's deleted conversations that can be restored, the latest first."""
        with self._database.reading() as connection:
            return [
                DeletedConversation(row["id"], row["title"], row["deleted"])
                for row in connection.execute(DELETED, (owner, most))
            ]

    def restore(self, owner: str, id: str) -> None:
        """Restore a deleted conversation with its pin and folder.

        Does nothing for one that is not deleted.
        """
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET deleted = NULL WHERE key = ?",
                (owned_or_deleted(connection, owner, id)["key"],),
            )

    def erase(self, owner: str, id: str) -> None:
        """Erase a conversation at once, whether it was deleted before or not."""
        with self._database.writing() as connection:
            _erase(connection, ERASE, owned_or_deleted(connection, owner, id)["key"])
        self._database.shrink()

    def erase_all(self, owner: str) -> None:
        """Erase all deleted conversations of an owner at once.

        Raises NotFoundError if there are none.
        """
        with self._database.writing() as connection:
            if not _erase(connection, ERASE_ALL, owner):
                raise NotFoundError("There are no deleted conversations.")
        self._database.shrink()

    def erase_expired(self) -> None:
        """Erase the conversations that were deleted KEPT_DAYS ago.

        Looks for them at most once in ERASE_EVERY_SECONDS.
        """
        now = self._clock()
        if self._checked is not None and 0 <= now - self._checked < ERASE_EVERY_SECONDS:
            return
        self._checked = now
        limit = now - KEPT_DAYS * DAY_SECONDS
        with self._database.reading() as connection:
            if connection.execute(EXPIRED, (limit,)).fetchone() is None:
                return
        with self._database.writing() as connection:
            _erase(connection, ERASE_EXPIRED, limit)
        self._database.shrink()


def _erase(connection: sqlite3.Connection, statement: str, value: object) -> int:
    """Erase the conversations of a statement with all that belongs to them, and return their number."""
    count = connection.execute(statement, (value,)).rowcount
    connection.execute(
        "INSERT INTO words (words) VALUES ('optimize')"
    )  # an index keeps deleted words until it is merged
    connection.execute("INSERT INTO titles (titles) VALUES ('optimize')")
    return count
