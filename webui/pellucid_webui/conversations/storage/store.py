"""Storage of conversations in SQLite: all versions of all messages with tokens."""

from __future__ import annotations

import json
import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pellucid.errors import NotFoundError
from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.answer_details import StoredDetails
from pellucid_webui.conversations.conversation import (
    Archive,
    Conversation,
    ConversationSummary,
    Filing,
    Node,
    Picture,
)
from pellucid_webui.conversations.encodable_text import encodable
from pellucid_webui.conversations.storage.database import Database
from pellucid_webui.conversations.storage.deleted_conversations import DeletedConversations
from pellucid_webui.conversations.storage.folders import Folders, checked_name, file_under
from pellucid_webui.conversations.storage.owned_rows import owned
from pellucid_webui.conversations.storage.search import conversations_with, matching_nodes
from pellucid_webui.conversations.turn_settings import TurnSettings

DEFAULT_TITLE = "New conversation"

LIST = """
SELECT key, id, title, updated, pinned, coalesce((SELECT depth FROM node WHERE node.id = leaf), 0) AS messages,
    (SELECT folder.id FROM folder WHERE folder.key = conversation.folder) AS folder
FROM conversation WHERE key IN (
    SELECT key FROM conversation WHERE owner = :owner AND deleted IS NULL
    ORDER BY pinned DESC, folder IS NOT NULL DESC, updated DESC, key DESC LIMIT :most
) ORDER BY updated DESC, key DESC
"""

UNLIMITED = -1

ARRIVING = """
SELECT node.id AS node, arriving.text AS text FROM node JOIN arriving ON arriving.node = node.id
WHERE node.conversation = ? ORDER BY arriving.id
"""

CHOOSE = """
WITH RECURSIVE above (id, parent) AS (
    SELECT id, parent FROM node WHERE id = :node
    UNION ALL SELECT node.id, node.parent FROM node JOIN above ON node.id = above.parent
)
UPDATE node SET chosen = above.id FROM above WHERE node.id = above.parent AND node.chosen IS NOT above.id
"""

LAST_CHOSEN = """
WITH RECURSIVE below (id, chosen, depth) AS (
    SELECT id, chosen, depth FROM node WHERE id = :node
    UNION ALL SELECT node.id, node.chosen, node.depth FROM node JOIN below ON node.id = below.chosen
)
SELECT id FROM below ORDER BY depth DESC LIMIT 1
"""

AS_THEY_ARE = ("parent", "role", "created", "origin", "branched", "begins", "continued")
"""Attributes of a message whose columns have the same name and value."""

Batches = list[str]
Names = list[str]
Ids = list[int]
Summaries = list[ConversationSummary]  # Inside the class, ``list`` is a method.


class ConversationStore:
    """The store in the file at ``path``, created if missing.

    Raises ConfigError if the file cannot be opened, or belongs to another program.

    Every method is a single transaction and may be called from any thread. Written data survives a
    crash of the process. Methods raise NotFoundError for another owner's conversation, and
    PellucidError if the file is inaccessible.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = path.parent
        self._clock = clock
        self._database = Database(path)
        self.folders = Folders(self._database)
        self.deleted = DeletedConversations(self._database, clock)
        self.deleted.erase_expired()
        # Finish answers that were being generated when the last process ended.
        with self._database.writing() as connection:
            for row in connection.execute("SELECT DISTINCT node FROM arriving").fetchall():
                _merge_pieces(connection, row["node"])

    def close(self) -> None:
        self._database.close()

    def create(self, owner: str, settings: TurnSettings, title: str = DEFAULT_TITLE) -> str:
        now = self._clock()
        with self._database.writing() as connection:
            return _create(connection, owner, title, settings, now, _after_all(connection, owner, now))[1]

    def list(self, owner: str, search: str = "", most: int | None = None) -> Summaries:
        """Return the owner's conversations, newest first; with ``search``, only matches.

        Each word of ``search`` must begin a word of any version, or of the title; answers are
        indexed at the end. Without a search, the limit ``most`` prefers pinned conversations, then
        conversations in folders.
        """
        with self._database.reading() as connection:
            found = conversations_with(connection, owner, search) if search.strip() else None
            limit = most if found is None and most is not None else UNLIMITED
            rows = connection.execute(LIST, {"owner": owner, "most": limit}).fetchall()
        return [
            ConversationSummary(
                row["id"],
                row["title"],
                row["updated"],
                row["messages"],
                pinned=bool(row["pinned"]),
                folder=row["folder"],
                match=None if found is None else found[row["key"]],
            )
            for row in rows
            if found is None or row["key"] in found
        ][:most]

    def matches(self, owner: str, id: str, search: str) -> Ids:
        """Return the messages on all paths that contain any word of a search."""
        with self._database.reading() as connection:
            return matching_nodes(connection, owned(connection, owner, id)["key"], search)

    def conversation(self, owner: str, id: str) -> Conversation:
        """Return a conversation without tokens."""
        with self._database.reading() as connection:
            return _conversation(connection, owned(connection, owner, id))

    def rename(self, owner: str, id: str, title: str) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET title = ? WHERE key = ?",
                (encodable(title), owned(connection, owner, id)["key"]),
            )

    def set_settings(self, owner: str, id: str, settings: TurnSettings) -> None:
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET settings = ? WHERE key = ?",
                (_json(settings), owned(connection, owner, id)["key"]),
            )

    def delete(self, owner: str, id: str) -> None:
        """Mark a conversation as deleted; ``deleted`` erases after KEPT_DAYS."""
        now = self._clock()
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE conversation SET deleted = ? WHERE key = ?", (now, owned(connection, owner, id)["key"])
            )

    def add(
        self,
        owner: str,
        conversation: str,
        parent: int | None,
        role: str,
        text: str,
        *,
        settings: TurnSettings | None = None,
        model: str = "",
        end: FinishReason | None = None,
        origin: int | None = None,
        branched: int | None = None,
        continued: int | None = None,
        begins: int | None = None,
        summary: str = "",
        batches: Sequence[str] = (),
        pictures: Sequence[Picture] = (),
    ) -> int:
        """Add and select a version of the message after ``parent``; return the id."""
        now = self._clock()
        node = Node(
            0,
            parent,
            role,
            text,
            now,
            settings,
            model,
            end,
            origin=origin,
            branched=branched,
            begins=begins,
            summary=summary,
            continued=continued,
            pictures=tuple(pictures),
        )
        with self._database.writing() as connection:
            key = owned(connection, owner, conversation)["key"]
            if parent is not None:
                _node_of(connection, key, parent)
            id = _insert(connection, key, node, batches)
            connection.execute(CHOOSE, {"node": id})
            connection.execute(
                "UPDATE conversation SET leaf = ?, updated = ? WHERE key = ?",
                (id, _after_all(connection, owner, now), key),
            )
        return id

    def append(self, node: int, text: str, batch: str) -> None:
        """Append text, and a batch of tokens, to an answer.

        Message and search index are written at the end: updates for each piece would take quadratic
        time.
        """
        with self._database.writing() as connection:
            _require_changed(
                connection.execute(
                    "INSERT INTO arriving (node, text) SELECT id, ? FROM node WHERE id = ?", (encodable(text), node)
                )
            )
            connection.execute("INSERT INTO batch (node, tokens) VALUES (?, ?)", (node, batch))

    def finish(
        self, node: int, end: FinishReason, usage: Usage, error: str | None = None, details: StoredDetails | None = None
    ) -> None:
        with self._database.writing() as connection:
            _merge_pieces(connection, node)
            values = (
                end,
                json.dumps(asdict(usage)),
                None if error is None else encodable(error),
                _details_json(details),
                node,
            )
            _require_changed(
                connection.execute("UPDATE node SET ending = ?, usage = ?, error = ?, details = ? WHERE id = ?", values)
            )

    def set_view(self, node: int, begins: int, summary: str) -> None:
        """Record the first message that the model reads, and a summary of earlier messages."""
        with self._database.writing() as connection:
            values = (begins, encodable(summary), node)
            _require_changed(connection.execute("UPDATE node SET begins = ?, summary = ? WHERE id = ?", values))

    def discard(self, node: int) -> int | None:
        """Remove a refused answer, select ``origin`` instead, and return the new leaf."""
        with self._database.writing() as connection:
            row = connection.execute("SELECT conversation, parent, origin FROM node WHERE id = ?", (node,)).fetchone()
            if row is None:
                raise _no_message()
            leaf: int | None = row["parent"]
            if row["origin"] is not None:
                leaf = connection.execute(LAST_CHOSEN, {"node": row["origin"]}).fetchone()["id"]
            connection.execute(
                "UPDATE node SET chosen = ? WHERE id = ? AND chosen = ?", (row["origin"], row["parent"], node)
            )
            connection.execute(
                "UPDATE conversation SET leaf = ? WHERE key = ? AND leaf = ?", (leaf, row["conversation"], node)
            )
            connection.execute("DELETE FROM node WHERE id = ?", (node,))
        return leaf

    def tokens(self, owner: str, conversation: str, node: int) -> Batches:
        with self._database.reading() as connection:
            return _batches(connection, _node_of(connection, owned(connection, owner, conversation)["key"], node)["id"])

    def select_version(self, owner: str, conversation: str, node: int | None) -> None:
        """Select a version with the path last selected below; None selects the empty path."""
        with self._database.writing() as connection:
            key = owned(connection, owner, conversation)["key"]
            leaf = node
            if node is not None:
                _node_of(connection, key, node)
                connection.execute(CHOOSE, {"node": node})
                leaf = connection.execute(LAST_CHOSEN, {"node": node}).fetchone()["id"]
            connection.execute("UPDATE conversation SET leaf = ? WHERE key = ?", (leaf, key))

    def end_path_at(self, owner: str, conversation: str, node: int | None) -> None:
        """Select the path that ends at a message. Later messages are kept as versions."""
        with self._database.writing() as connection:
            key = owned(connection, owner, conversation)["key"]
            if node is not None:
                _node_of(connection, key, node)
                connection.execute(CHOOSE, {"node": node})
                connection.execute("UPDATE node SET chosen = NULL WHERE id = ?", (node,))
            connection.execute("UPDATE conversation SET leaf = ? WHERE key = ?", (node, key))

    def archive(self, owner: str, id: str) -> Archive:
        with self._database.reading() as connection:
            row = owned(connection, owner, id)
            found = _conversation(connection, row)
            return Archive(found, {node: _batches(connection, node) for node in found.nodes}, _filing(connection, row))

    def filing(self, owner: str, id: str) -> Filing:
        with self._database.reading() as connection:
            return _filing(connection, owned(connection, owner, id))

    def restore(self, owner: str, archives: Sequence[Archive]) -> Names:
        """Save all archives as new conversations, or none; parents must come before children."""
        with self._database.writing() as connection:
            return [_restore(connection, owner, archive) for archive in archives]


def _restore(connection: sqlite3.Connection, owner: str, archive: Archive) -> str:
    old = archive.conversation
    new: dict[int | None, int | None] = {None: None}
    key, id = _create(connection, owner, old.title, old.settings, old.created, old.updated)
    for node in old.nodes.values():
        moved = replace(node, parent=new[node.parent], origin=new[node.origin], begins=new[node.begins])
        new[node.id] = _insert(connection, key, moved, archive.tokens.get(node.id, ()))
    chosen = [(new[node.chosen], new[node.id]) for node in old.nodes.values()]
    connection.executemany("UPDATE node SET chosen = ? WHERE id = ?", chosen)
    connection.execute(
        "UPDATE conversation SET leaf = ?, pinned = ? WHERE key = ?", (new[old.leaf], archive.filing.pinned, key)
    )
    if archive.filing.folder is not None:
        file_under(connection, owner, key, checked_name(archive.filing.folder))
    return id


def _filing(connection: sqlite3.Connection, row: sqlite3.Row) -> Filing:
    folder = connection.execute("SELECT name FROM folder WHERE key = ?", (row["folder"],)).fetchone()
    return Filing(bool(row["pinned"]), None if folder is None else folder["name"])


def _after_all(connection: sqlite3.Connection, owner: str, now: float) -> float:
    """Return ``now``, or a time after the latest conversation if the clock was set back."""
    (latest,) = connection.execute("SELECT max(updated) FROM conversation WHERE owner = ?", (owner,)).fetchone()
    return now if latest is None or now > latest else math.nextafter(latest, math.inf)


def _merge_pieces(connection: sqlite3.Connection, node: int) -> None:
    rows = connection.execute("SELECT text FROM arriving WHERE node = ? ORDER BY id", (node,)).fetchall()
    connection.execute("UPDATE node SET text = text || ? WHERE id = ?", ("".join(row["text"] for row in rows), node))
    connection.execute("DELETE FROM arriving WHERE node = ?", (node,))


def _node_of(connection: sqlite3.Connection, conversation: int, id: int) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM node WHERE id = ? AND conversation = ?", (id, conversation)
    ).fetchone()
    if row is None:
        raise _no_message()
    return row


def _require_changed(cursor: sqlite3.Cursor) -> None:
    if not cursor.rowcount:
        raise _no_message()


def _no_message() -> NotFoundError:
    return NotFoundError("There is no such message: its conversation may have been deleted.")


def _create(
    connection: sqlite3.Connection, owner: str, title: str, settings: TurnSettings, created: float, updated: float
) -> tuple[int, str]:
    id = uuid.uuid4().hex
    cursor = connection.execute(
        "INSERT INTO conversation (id, owner, title, settings, created, updated) VALUES (?, ?, ?, ?, ?, ?)",
        (id, owner, encodable(title), _json(settings), created, updated),
    )
    return _row_id(cursor), id


def _insert(connection: sqlite3.Connection, conversation: int, node: Node, batches: Sequence[str]) -> int:
    """Insert a copy of ``node``, without ``id`` and ``chosen``."""
    above = connection.execute("SELECT depth FROM node WHERE id = ?", (node.parent,)).fetchone()
    row = {name: getattr(node, name) for name in AS_THEY_ARE} | {
        "conversation": conversation,
        "depth": 1 if above is None else above["depth"] + 1,
        "text": encodable(node.text),
        "settings": None if node.settings is None else _json(node.settings),
        "model": encodable(node.model),
        "ending": node.end,
        "usage": None if node.usage is None else json.dumps(asdict(node.usage)),
        "error": None if node.error is None else encodable(node.error),
        "details": _details_json(node.details),
        "summary": encodable(node.summary),
        "pictures": json.dumps([asdict(one) for one in node.pictures]) if node.pictures else None,
    }
    places = ", ".join(f":{name}" for name in row)
    id = _row_id(connection.execute(f"INSERT INTO node ({', '.join(row)}) VALUES ({places})", row))  # noqa: S608 (constant)
    connection.executemany("INSERT INTO batch (node, tokens) VALUES (?, ?)", [(id, batch) for batch in batches])
    return id


def _row_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None, "an INSERT sets it"
    return cursor.lastrowid


def _batches(connection: sqlite3.Connection, node: int) -> list[str]:
    return [row["tokens"] for row in connection.execute("SELECT tokens FROM batch WHERE node = ? ORDER BY id", (node,))]


def _conversation(connection: sqlite3.Connection, row: sqlite3.Row) -> Conversation:
    arriving: dict[int, list[str]] = {}
    for piece in connection.execute(ARRIVING, (row["key"],)):
        arriving.setdefault(piece["node"], []).append(piece["text"])
    nodes = connection.execute("SELECT * FROM node WHERE conversation = ? ORDER BY id", (row["key"],))
    return Conversation(
        id=row["id"],
        title=row["title"],
        settings=TurnSettings.read(json.loads(row["settings"])),
        created=row["created"],
        updated=row["updated"],
        leaf=row["leaf"],
        nodes={node["id"]: _node(node, "".join(arriving.get(node["id"], ()))) for node in nodes},
    )


def _node(row: sqlite3.Row, arriving: str) -> Node:
    return Node(
        **{name: row[name] for name in AS_THEY_ARE},
        id=row["id"],
        text=row["text"] + arriving,
        settings=None if row["settings"] is None else TurnSettings.read(json.loads(row["settings"])),
        model=row["model"],
        end=None if row["ending"] is None else FinishReason(row["ending"]),
        usage=None if row["usage"] is None else Usage(**json.loads(row["usage"])),
        error=row["error"],
        chosen=row["chosen"],
        details=None if row["details"] is None else StoredDetails.model_validate_json(row["details"]),
        summary=row["summary"] or "",
        pictures=tuple(Picture(**one) for one in json.loads(row["pictures"] or "[]")),
    )


def _json(settings: TurnSettings) -> str:
    return json.dumps(settings.record())


def _details_json(details: StoredDetails | None) -> str | None:
    return None if details is None else details.model_dump_json(exclude_defaults=True)
