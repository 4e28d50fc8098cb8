"""The conversations' SQLite schema, and transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pellucid.errors import ConfigError, PellucidError
from pellucid.system.sqlite_file import SqliteFile

APPLICATION = 0x506C6364
"""The application_id that distinguishes Pellucid's files from other SQLite files."""

VERSION = 1

SCHEMA = """
CREATE TABLE conversation (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, title TEXT NOT NULL, settings TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, leaf INTEGER,
    pinned INTEGER NOT NULL DEFAULT 0, folder INTEGER REFERENCES folder ON DELETE SET NULL, deleted REAL
);
CREATE INDEX conversation_of ON conversation (owner, updated);
CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    parent INTEGER REFERENCES node, depth INTEGER NOT NULL, \
role TEXT NOT NULL, text TEXT NOT NULL, created REAL NOT NULL,
    settings TEXT, model TEXT NOT NULL, ending TEXT, usage TEXT, error TEXT, \
origin INTEGER, branched INTEGER, chosen INTEGER,
    details TEXT, begins INTEGER, summary TEXT, continued INTEGER, pictures TEXT
);
CREATE INDEX node_of ON node (conversation);
CREATE INDEX node_below ON node (parent);
CREATE TABLE batch (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE, tokens TEXT NOT NULL
);
CREATE INDEX batch_of ON batch (node);
CREATE TABLE arriving (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE, text TEXT NOT NULL
);
CREATE INDEX arriving_for ON arriving (node);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='node', content_rowid='id', tokenize="unicode61 remove_diacritics 2", prefix='1 2'
);
CREATE TRIGGER node_added AFTER INSERT ON node BEGIN
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER node_removed AFTER DELETE ON node BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER node_changed AFTER UPDATE OF text ON node BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE VIRTUAL TABLE titles USING fts5 (\
title, content='conversation', content_rowid='key', tokenize="unicode61 remove_diacritics 2");
CREATE TRIGGER conversation_added AFTER INSERT ON conversation BEGIN
    INSERT INTO titles (rowid, title) VALUES (new.key, new.title);
END;
CREATE TRIGGER conversation_removed AFTER DELETE ON conversation BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
END;
CREATE TRIGGER conversation_renamed AFTER UPDATE OF title ON conversation BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
    INSERT INTO titles (rowid, title) VALUES (new.key, new.title);
END;
"""

FOLDERS = """
CREATE TABLE IF NOT EXISTS folder (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, name TEXT NOT NULL, \
collapsed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS folder_of ON folder (owner);
CREATE INDEX IF NOT EXISTS conversation_in ON conversation (folder);
"""

ADDED_COLUMNS = (
    ("node", "details", "TEXT"),
    ("node", "begins", "INTEGER"),
    ("node", "summary", "TEXT"),
    ("node", "continued", "INTEGER"),
    ("node", "pictures", "TEXT"),
    ("conversation", "pinned", "INTEGER NOT NULL DEFAULT 0"),
    ("conversation", "folder", "INTEGER REFERENCES folder ON DELETE SET NULL"),
    ("conversation", "deleted", "REAL"),
)
"""Columns that files of earlier releases lack: table, name and type."""

OLD_MAX_TOKENS = 512
"""The default answer limit of earlier releases; now the context is the limit."""

NO_OLD_LIMIT = """
UPDATE conversation SET settings = json_set(settings, '$.max_tokens', 0) \
WHERE json_extract(settings, '$.max_tokens') = :old
"""

PRAGMAS = (
    "synchronous = NORMAL",  # Writes survive the end of the process; a power cut may lose the last moment.
    "foreign_keys = ON",
    "secure_delete = ON",
)


class Database:
    """The file at ``path``, created if missing.

    Transactions may run on any thread, and raise PellucidError if the file is inaccessible. Raises
    ConfigError if the file cannot be opened, or belongs to another program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path, "conversations", self._prepare, pragmas=PRAGMAS)

    def close(self) -> None:
        self._file.close()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """Begin a transaction after other processes' writing transactions."""
        return self._file.transaction("IMMEDIATE")

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Begin a transaction on a single state of the file, without waiting."""
        return self._file.transaction("DEFERRED")

    def shrink(self) -> None:
        """Move written data from the log into the file, unless another process is reading."""
        with suppress(PellucidError), self._file.autocommit() as connection:
            connection.execute("PRAGMA wal_checkpoint (TRUNCATE)")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _statements(SCHEMA + FOLDERS):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        elif application != APPLICATION:
            raise ConfigError(f"{self._path} belongs to another program: choose another file for the conversations.")
        elif version != VERSION:
            raise ConfigError(
                f"The conversations in {self._path} are from another version of Pellucid "
                f"(schema {version}, this version has {VERSION}): "
                "move the file away, or start that version."
            )
        else:
            _upgrade(connection)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Add missing columns and tables. Earlier releases can still read the file."""
    lacking = [
        one
        for one in ADDED_COLUMNS
        if not any(row["name"] == one[1] for row in connection.execute(f"PRAGMA table_info ({one[0]})"))
    ]
    for table, name, kind in lacking:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    if any(name == "begins" for _, name, _ in lacking):
        connection.execute(NO_OLD_LIMIT, {"old": OLD_MAX_TOKENS})
    for statement in _statements(FOLDERS):
        connection.execute(statement)


def _statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; a trigger is a single statement."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
