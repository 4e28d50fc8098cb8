"""Tests pins, folders, deleted conversations, and files of earlier releases."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.deleted_conversations import DAY_SECONDS, KEPT_DAYS
from pellucid_webui.conversations.storage.folders import MAX_FOLDERS, MAX_NAME
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings

ANN, BOB = "ann", "bob"
SETTINGS = TurnSettings(model="m", seed=7)

NOW = 1_000_000_000.0

EARLIER_SCHEMA = """
CREATE TABLE conversation (
    key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, title TEXT NOT NULL, settings TEXT NOT NULL,
    created REAL NOT NULL, updated REAL NOT NULL, leaf INTEGER
);
CREATE INDEX conversation_of ON conversation (owner, updated);
CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
    parent INTEGER REFERENCES node, depth INTEGER NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL, \
created REAL NOT NULL,
    settings TEXT, model TEXT NOT NULL, ending TEXT, usage TEXT, error TEXT, origin INTEGER, branched INTEGER, \
chosen INTEGER
);
CREATE INDEX node_of ON node (conversation);
CREATE INDEX node_below ON node (parent);
CREATE TABLE batch (id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE, \
tokens TEXT NOT NULL);
CREATE INDEX batch_of ON batch (node);
CREATE TABLE arriving (id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node ON DELETE CASCADE, \
text TEXT NOT NULL);
CREATE INDEX arriving_for ON arriving (node);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='node', content_rowid='id', tokenize="unicode61 remove_diacritics 2", prefix='1 2'
);
CREATE TRIGGER node_added AFTER INSERT ON node BEGIN INSERT INTO words (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER node_removed AFTER DELETE ON node BEGIN \
INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text); END;
CREATE TRIGGER node_changed AFTER UPDATE OF text ON node BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO words (rowid, text) VALUES (new.id, new.text);
END;
CREATE VIRTUAL TABLE titles USING fts5 (title, content='conversation', content_rowid='key', \
tokenize="unicode61 remove_diacritics 2");
CREATE TRIGGER conversation_added AFTER INSERT ON conversation BEGIN \
INSERT INTO titles (rowid, title) VALUES (new.key, new.title); END;
CREATE TRIGGER conversation_removed AFTER DELETE ON conversation BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
END;
CREATE TRIGGER conversation_renamed AFTER UPDATE OF title ON conversation BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
    INSERT INTO titles (rowid, title) VALUES (new.key, new.title);
END;
PRAGMA application_id = 0x506C6364;
PRAGMA user_version = 1;
INSERT INTO conversation VALUES (1, 'c1', 'ann', 'Bread', '{"model": "m", "seed": 7}', 10.0, 20.0, 2);
INSERT INTO conversation VALUES (2, 'c2', 'ann', 'Empty', '{}', 5.0, 5.0, NULL);
INSERT INTO conversation VALUES (3, 'c3', 'bob', 'His', '{}', 6.0, 6.0, NULL);
INSERT INTO node VALUES (1, 1, NULL, 1, 'user', 'How long must sourdough rest?', 10.0, NULL, '', 'stop', NULL, NULL, \
NULL, NULL, 2);
INSERT INTO node VALUES (2, 1, 1, 2, 'assistant', 'Overnight.', 20.0, '{"model": "m"}', 'm', 'stop', NULL, NULL, \
NULL, NULL, NULL);
INSERT INTO node VALUES (3, 1, 1, 2, 'assistant', 'A day.', 19.0, '{"model": "m"}', 'm', 'stop', NULL, NULL, NULL, \
NULL, NULL);
INSERT INTO batch VALUES (1, 2, '[1]'), (2, 2, '[2]');
"""
"""The schema of a file before folders existed, with three conversations."""


class Clock:
    """A clock set by a test."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[ConversationStore]:
    with closing(ConversationStore(path, clock)) as store:
        yield store


def create(store: ConversationStore, title: str, text: str = "words", owner: str = ANN) -> str:
    """Create a conversation with a single message."""
    id = store.create(owner, SETTINGS, title)
    store.add(owner, id, None, USER, text, end=FinishReason.STOP)
    return id


def titles(store: ConversationStore, search: str = "", owner: str = ANN) -> list[str]:
    return [one.title for one in store.list(owner, search)]


def content(path: Path) -> bytes:
    """Return the bytes of the file and of SQLite's files next to it."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


class TestEarlierReleases:
    def test_nothing_is_lost(self, path: Path) -> None:
        """A file of an earlier release keeps all data, and gets pins, folders and deletion."""
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(EARLIER_SCHEMA)
        # The second time, the file already has the columns.
        for _ in range(2):
            with closing(ConversationStore(path)) as store:
                assert (titles(store), titles(store, owner=BOB)) == (["Bread", "Empty"], ["His"])
                found = store.conversation(ANN, "c1")
                assert [(node.role, node.text) for node in found.path()] == [
                    (USER, "How long must sourdough rest?"),
                    (ASSISTANT, "Overnight."),
                ]
                assert (len(found.nodes), found.settings.seed, store.tokens(ANN, "c1", 2)) == (3, 7, ["[1]", "[2]"])
                assert titles(store, "sourdough") == ["Bread"]
        with closing(ConversationStore(path)) as store:
            folder = store.folders.create(ANN, "Food")
            store.folders.move(ANN, "c1", folder)
            store.folders.pin(ANN, "c2", True)
            store.delete(BOB, "c3")
            assert [(one.folder, one.pinned) for one in store.list(ANN)] == [(folder, False), (None, True)]
            assert (titles(store, owner=BOB), [one.title for one in store.deleted.list(BOB, 9)]) == ([], ["His"])


class TestPins:
    def test_a_pin_stays(self, store: ConversationStore, path: Path) -> None:
        """A pin is saved in the file, and can be removed."""
        id = create(store, "Bread")
        store.folders.pin(ANN, id, True)
        store.close()
        with closing(ConversationStore(path)) as again:
            assert [one.pinned for one in again.list(ANN)] == [True]
            again.folders.pin(ANN, id, False)
            assert [one.pinned for one in again.list(ANN)] == [False]

    def test_never_cut(self, store: ConversationStore, clock: Clock) -> None:
        """A list of limited length includes all pinned and filed conversations, however old."""
        ids = []
        for title in ("pinned", "filed", "c", "d", "e"):
            ids.append(create(store, title))
            clock.now += 1
        store.folders.pin(ANN, ids[0], True)
        store.folders.move(ANN, ids[1], store.folders.create(ANN, "F"))
        assert [one.title for one in store.list(ANN, most=3)] == ["e", "filed", "pinned"]


class TestFolders:
    def test_a_folders_life(self, store: ConversationStore, path: Path) -> None:
        """A folder keeps name, state and content, and a deleted folder frees its conversations."""
        folder, other = store.folders.create(ANN, " Food  and drink "), store.folders.create(ANN, "animals")
        bread, birds = create(store, "Bread"), create(store, "Birds")
        store.folders.move(ANN, bread, folder)
        store.folders.move(ANN, birds, other)
        store.folders.collapse(ANN, folder, True)
        store.folders.rename(ANN, other, "Animals")
        store.close()
        with closing(ConversationStore(path)) as again:
            assert [(one.name, one.collapsed) for one in again.folders.list(ANN)] == [
                ("Animals", False),
                ("Food and drink", True),
            ]
            assert {one.title: one.folder for one in again.list(ANN)} == {"Bread": folder, "Birds": other}
            assert again.folders.delete(ANN, folder) == [bread]
            assert {one.title: one.folder for one in again.list(ANN)} == {"Bread": None, "Birds": other}
            again.folders.move(ANN, birds, None)
            assert [one.folder for one in again.list(ANN)] == [None, None]

    VERBS: dict[str, Callable[[ConversationStore, str, str, str], Any]] = {  # noqa: RUF012
        "rename": lambda store, owner, folder, at: store.folders.rename(owner, folder, "x"),
        "collapse": lambda store, owner, folder, at: store.folders.collapse(owner, folder, True),
        "delete": lambda store, owner, folder, at: store.folders.delete(owner, folder),
        "move": lambda store, owner, folder, at: store.folders.move(owner, at, folder),
    }

    @pytest.mark.parametrize("verb", VERBS)
    def test_another_owners(self, store: ConversationStore, verb: str) -> None:
        """A user cannot see or change another user's folders."""
        folder = store.folders.create(ANN, "Hers")
        his = create(store, "His", owner=BOB)
        for owner, which in ((BOB, folder), (BOB, "no such id")):
            with pytest.raises(NotFoundError, match="no such folder"):
                self.VERBS[verb](store, owner, which, his)
        assert (store.folders.list(BOB), [one.name for one in store.folders.list(ANN)]) == ([], ["Hers"])
        assert [one.folder for one in store.list(BOB)] == [None]

    @pytest.mark.parametrize(
        ("name", "sentence"), [("", "has no name"), (" \n", "has no name"), ("x" * (MAX_NAME + 1), "at most 100")]
    )
    def test_names(self, store: ConversationStore, name: str, sentence: str) -> None:
        """A folder has a name of limited length; half an emoji becomes U+FFFD."""
        folder = store.folders.create(ANN, "x\ud83d")
        for refused in (lambda: store.folders.create(ANN, name), lambda: store.folders.rename(ANN, folder, name)):
            with pytest.raises(InvalidRequestError, match=sentence):
                refused()
        assert [one.name for one in store.folders.list(ANN)] == ["x\ufffd"]

    def test_how_many(self, store: ConversationStore) -> None:
        """The number of folders is limited for each owner."""
        for number in range(MAX_FOLDERS):
            store.folders.create(ANN, str(number))
        with pytest.raises(InvalidRequestError, match=f"{MAX_FOLDERS} folders already: delete one first"):
            store.folders.create(ANN, "one more")
        assert store.folders.create(BOB, "one")


class TestDeleted:
    def test_gone_and_back(self, store: ConversationStore) -> None:
        """A deleted conversation cannot be found or changed; a restored one is unchanged."""
        folder = store.folders.create(ANN, "Food")
        id = create(store, "Bread", "sourdough")
        store.folders.pin(ANN, id, True)
        store.folders.move(ANN, id, folder)
        before = (store.archive(ANN, id), store.list(ANN))
        store.delete(ANN, id)
        assert (titles(store), titles(store, "sourdough"), titles(store, "bread")) == ([], [], [])
        for refused in (
            lambda: store.conversation(ANN, id),
            lambda: store.rename(ANN, id, "x"),
            lambda: store.delete(ANN, id),
            lambda: store.add(ANN, id, None, USER, "x"),
            lambda: store.folders.pin(ANN, id, False),
        ):
            with pytest.raises(NotFoundError, match="was deleted: you can restore it under Recently deleted"):
                refused()
        assert [(one.id, one.title, one.deleted) for one in store.deleted.list(ANN, 9)] == [(id, "Bread", NOW)]
        assert store.deleted.list(BOB, 9) == []
        store.deleted.restore(ANN, id)
        assert (store.archive(ANN, id), store.list(ANN)) == before
        assert (store.deleted.list(ANN, 9), titles(store, "sourdough")) == ([], ["Bread"])

    def test_erased_after_its_days(self, store: ConversationStore, path: Path, clock: Clock) -> None:
        """After KEPT_DAYS a deleted conversation is erased from the file, or at the next start."""
        kept, gone, later = (
            create(store, "Kept", "kept"),
            create(store, "Confidential", "xylophone"),
            create(store, "Later", "zeppelin"),
        )
        store.delete(ANN, gone)
        clock.now += 1.0
        store.delete(ANN, later)
        clock.now = NOW + KEPT_DAYS * DAY_SECONDS - 1
        store.deleted.erase_expired()
        assert b"xylophone" in content(path)

        clock.now = NOW + KEPT_DAYS * DAY_SECONDS
        store.deleted.erase_expired()
        # The store searched for expired conversations a moment ago.
        assert b"xylophone" in content(path)
        store.close()
        with closing(ConversationStore(path, clock)) as again:
            assert [one.id for one in again.deleted.list(ANN, 9)] == [later]
            found = content(path).lower()
            assert [word for word in (b"confidential", b"xylophone") if word in found] == []
            clock.now += 2 * 3600
            again.deleted.erase_expired()
            found = content(path).lower()
            assert [word for word in (b"later", b"zeppelin") if word in found] == []
            assert [one.id for one in again.list(ANN)] == [kept]
            with pytest.raises(NotFoundError, match="no such conversation"):
                again.deleted.restore(ANN, gone)

    def test_erased_at_once(self, store: ConversationStore, path: Path) -> None:
        """An owner's deleted conversations can be erased at once, singly or together."""
        ids = {title: create(store, title, title) for title in ("sourdough", "xylophone", "zeppelin", "quagmire")}
        his = create(store, "His", "hers", owner=BOB)
        for title in ("sourdough", "xylophone", "zeppelin"):
            store.delete(ANN, ids[title])
        store.delete(BOB, his)
        store.deleted.erase(ANN, ids["sourdough"])
        assert b"sourdough" not in content(path)
        assert b"xylophone" in content(path)
        store.deleted.erase_all(ANN)
        assert [word for word in (b"xylophone", b"zeppelin") if word in content(path)] == []
        assert (titles(store), [one.id for one in store.deleted.list(BOB, 9)]) == (["quagmire"], [his])
        with pytest.raises(NotFoundError, match="no deleted conversations"):
            store.deleted.erase_all(ANN)


class TestMatches:
    def test_all_paths(self, store: ConversationStore) -> None:
        """A search matches messages on all paths with any of the words; the list has a snippet."""
        id = create(store, "Bread", "sourdough")
        first = store.conversation(ANN, id).path()[0].id
        answer = store.add(ANN, id, first, ASSISTANT, "sourdough, sourdough and milk", end=FinishReason.STOP)
        other = store.add(ANN, id, first, ASSISTANT, "only Milk", end=FinishReason.STOP)
        store.add(ANN, id, first, ASSISTANT, "nothing", end=FinishReason.STOP)
        create(store, "Other", "milk")
        assert store.matches(ANN, id, "sour") == [first, answer]
        assert store.matches(ANN, id, "sour milk") == [first, answer, other]
        assert store.matches(ANN, id, "bread") == store.matches(ANN, id, " -> ") == store.matches(ANN, id, "") == []
        (found,) = store.list(ANN, "sour milk")
        assert found.match is not None
        assert found.match.count == 3
        assert (
            found.match.snippet.translate({2: None, 3: None})
            == store.conversation(ANN, id).nodes[found.match.node or 0].text
        )
        (found,) = store.list(ANN, "bread")
        assert found.match is not None
        assert (found.match.node, found.match.count, found.match.snippet) == (None, 0, "")
