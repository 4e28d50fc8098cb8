"""Folders of conversations, separate for each owner, and pins."""

from __future__ import annotations

import builtins
import sqlite3
import uuid
from dataclasses import dataclass

from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid_webui.conversations.encodable_text import encodable
from pellucid_webui.conversations.storage.database import Database
from pellucid_webui.conversations.storage.owned_rows import owned

MAX_FOLDERS = 200

MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class Folder:
    id: str
    name: str
    collapsed: bool


class Folders:
    """Folders. Methods raise NotFoundError for a folder or conversation of someone else."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, owner: str) -> builtins.list[Folder]:
        with self._database.reading() as connection:
            rows = connection.execute("SELECT id, name, collapsed FROM folder WHERE owner = ?", (owner,)).fetchall()
        return sorted(
            (Folder(row["id"], row["name"], bool(row["collapsed"])) for row in rows),
            key=lambda one: (one.name.casefold(), one.id),
        )

    def create(self, owner: str, name: str) -> str:
        with self._database.writing() as connection:
            return _create(connection, owner, checked_name(name))

    def rename(self, owner: str, id: str, name: str) -> None:
        name = checked_name(name)
        with self._database.writing() as connection:
            connection.execute("UPDATE folder SET name = ? WHERE key = ?", (name, self._key(connection, owner, id)))

    def collapse(self, owner: str, id: str, collapsed: bool) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE folder SET collapsed = ? WHERE key = ?", (collapsed, self._key(connection, owner, id))
            )

    def delete(self, owner: str, id: str) -> builtins.list[str]:
        """Delete a folder, keep the conversations, and return the conversations' ids."""
        with self._database.writing() as connection:
            key = self._key(connection, owner, id)
            inside = connection.execute(
                "SELECT id FROM conversation WHERE folder = ? AND deleted IS NULL", (key,)
            ).fetchall()
            connection.execute("DELETE FROM folder WHERE key = ?", (key,))
        return [row["id"] for row in inside]

    def move(self, owner: str, conversation: str, folder: str | None) -> None:
        with self._database.writing() as connection:
            key = None if folder is None else self._key(connection, owner, folder)
            connection.execute(
                "UPDATE conversation SET folder = ? WHERE key = ?", (key, owned(connection, owner, conversation)["key"])
            )

    def pin(self, owner: str, conversation: str, pinned: bool) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET pinned = ? WHERE key = ?",
                (pinned, owned(connection, owner, conversation)["key"]),
            )

    @staticmethod
    def _key(connection: sqlite3.Connection, owner: str, id: str) -> int:
        row = connection.execute("SELECT key FROM folder WHERE id = ? AND owner = ?", (id, owner)).fetchone()
        if row is None:
            raise NotFoundError("There is no such folder: it may have been deleted.")
        return int(row["key"])


def file_under(connection: sqlite3.Connection, owner: str, conversation: int, name: str) -> None:
    select = "SELECT key FROM folder WHERE owner = ? AND name = ? ORDER BY key"
    if connection.execute(select, (owner, name)).fetchone() is None:
        _create(connection, owner, name)
    (key,) = connection.execute(select, (owner, name)).fetchone()
    connection.execute("UPDATE conversation SET folder = ? WHERE key = ?", (key, conversation))


def _create(connection: sqlite3.Connection, owner: str, name: str) -> str:
    (count,) = connection.execute("SELECT count(*) FROM folder WHERE owner = ?", (owner,)).fetchone()
    if count >= MAX_FOLDERS:
        raise InvalidRequestError(f"There are {MAX_FOLDERS} folders already: delete one first.")
    id = uuid.uuid4().hex
    connection.execute("INSERT INTO folder (id, owner, name) VALUES (?, ?, ?)", (id, owner, name))
    return id


def checked_name(name: str) -> str:
    """Return the name in one line. Raises InvalidRequestError if empty or too long."""
    name = " ".join(encodable(name).split())
    if not name:
        raise InvalidRequestError("The folder has no name: enter one.")
    if len(name) > MAX_NAME:
        raise InvalidRequestError(f"The name of a folder has at most {MAX_NAME} characters: shorten it.")
    return name
