"""The SQLite file of the conversations: its tables, and how it is opened and changed."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from pellucid.errors import ConfigError, PellucidError

APPLICATION = 0x506C6364
"""What tells a file of ours from other SQLite files (its application_id)."""

VERSION = 1
"""Of the schema; it is kept in the file."""

BUSY_SECONDS = 10.0
"""How long to wait for another process that writes."""

SCHEMA = """
CREATE TABLE conversation (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, title TEXT NOT NULL, settings TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, leaf INTEGER
);
CREATE INDEX conversation_of ON conversation (owner, updated);
CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    parent INTEGER REFERENCES node, depth INTEGER NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL, created REAL NOT NULL,
    settings TEXT, model TEXT NOT NULL, ending TEXT, usage TEXT, error TEXT, origin INTEGER, branched INTEGER, chosen INTEGER
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
CREATE VIRTUAL TABLE titles USING fts5 (title, content='conversation', content_rowid='key', tokenize="unicode61 remove_diacritics 2");
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


class Database:
    """The file at ``path``, made if it is not there. Raises ConfigError where that cannot be, or is not ours.

    Its transactions may be asked for on any thread. They raise a PellucidError for a file that cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # what people say to a model is for nobody else on the machine
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"The conversations in {path} cannot be opened ({error}): move the file away, or mend it.") from error

    def close(self) -> None:
        """Nothing is asked of it after that."""
        with self._lock:
            self._connection.close()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that changes something: all of it or nothing, after those of other processes."""
        return self._transaction("IMMEDIATE")

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """A transaction that sees one moment of the file, and waits for no other process."""
        return self._transaction("DEFERRED")

    def shrink(self) -> None:
        """Put what was written into the file itself; while another process reads, that one does it later."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint (TRUNCATE)")

    def _prepare(self) -> None:
        run = self._connection
        run.row_factory = sqlite3.Row
        with _transaction(run, "IMMEDIATE"):
            application, version = (run.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            if run.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                for statement in _statements(SCHEMA):
                    run.execute(statement)
                run.execute(f"PRAGMA application_id = {APPLICATION}")
                run.execute(f"PRAGMA user_version = {VERSION}")
            elif application != APPLICATION:
                raise ConfigError(f"{self._path} is the file of another program: name another one for the conversations.")
            elif version != VERSION:
                raise ConfigError(
                    f"The conversations in {self._path} are of another version of Pellucid ({version}, this one has {VERSION}): "
                    "move the file away, or start that version."
                )
        _write_ahead(run)
        run.execute("PRAGMA synchronous = NORMAL")  # what is written outlives the process; a power cut may take the last moment
        run.execute("PRAGMA foreign_keys = ON")
        run.execute("PRAGMA secure_delete = ON")

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                with _transaction(self._connection, kind):
                    yield self._connection
            except sqlite3.Error as error:
                raise PellucidError(f"The conversations in {self._path} cannot be read or written ({error}): see to the file.") from error


@contextmanager
def _transaction(run: sqlite3.Connection, kind: str) -> Iterator[None]:
    """All or nothing."""
    run.execute(f"BEGIN {kind}")
    try:
        yield
        run.execute("COMMIT")
    except BaseException:
        if run.in_transaction:  # a full disk, say, has ended it already
            run.execute("ROLLBACK")
        raise


def _write_ahead(run: sqlite3.Connection) -> None:
    """Readers and a writer do not wait for each other from now on. SQLite itself does not wait here for another process that begins."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            run.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, triggers in one piece."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
