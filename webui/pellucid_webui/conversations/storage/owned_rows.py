"""Rows of an owner's conversations."""

from __future__ import annotations

import sqlite3

from pellucid.errors import NotFoundError


def owned(connection: sqlite3.Connection, owner: str, id: str) -> sqlite3.Row:
    """Return a row. Raises NotFoundError if deleted, missing or owned by someone else."""
    row = owned_or_deleted(connection, owner, id)
    if row["deleted"] is not None:
        raise NotFoundError(
            "This conversation was deleted: you can restore it under Recently deleted, at the end of the list."
        )
    return row


def owned_or_deleted(connection: sqlite3.Connection, owner: str, id: str) -> sqlite3.Row:
    """Return a row. Raises NotFoundError if missing or owned by someone else."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM conversation WHERE id = ? AND owner = ?", (id, owner)
    ).fetchone()
    if row is None:
        raise NotFoundError("There is no such conversation: it may have been deleted.")
    return row
