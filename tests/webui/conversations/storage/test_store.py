"""Tests that a store saves, finds and deletes conversations, for their owner only."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from pellucid.errors import ConfigError, InvalidRequestError, NotFoundError, PellucidError
from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.answer_details import StoredCall, StoredDetails
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Archive, Conversation, Node
from pellucid_webui.conversations.storage.database import ADDED_COLUMNS
from pellucid_webui.conversations.storage.search import HIT, HIT_END
from pellucid_webui.conversations.storage.store import DEFAULT_TITLE, ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.trial_counts import trial_count

ANN, BOB = "ann", "bob"
SETTINGS = TurnSettings(model="m", system="Be brief.", temperature=0.5, seed=7)
USAGE = Usage(cached=1, computed=2, generated=3, queued=0.25, prefill=0.5, decode=0.75)


def open_store(path: Path) -> ConversationStore:
    """Open a store with a clock that advances by a second at each call, from 0 at the opening."""
    ticks = count(0)
    return ConversationStore(path, lambda: float(next(ticks)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


@pytest.fixture
def store(path: Path) -> Iterator[ConversationStore]:
    with closing(open_store(path)) as store:
        yield store


def say(store: ConversationStore, id: str, *texts: str, parent: int | None = None, owner: str = ANN) -> list[int]:
    """Add messages below each other, the user's first, and return the ids."""
    nodes: list[int] = []
    for index, text in enumerate(texts):
        parent = store.add(owner, id, parent, ASSISTANT if index % 2 else USER, text, end=FinishReason.STOP)
        nodes.append(parent)
    return nodes


def shown(store: ConversationStore, id: str, owner: str = ANN) -> list[str]:
    return [node.text for node in store.conversation(owner, id).path()]


def titles(store: ConversationStore, search: str = "", owner: str = ANN) -> list[str]:
    return [one.title for one in store.list(owner, search)]


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


class TestKeeping:
    def test_everything_comes_back(self, store: ConversationStore, path: Path) -> None:
        """A reopened file has all data of a message."""
        id = store.create(ANN, SETTINGS, "A title")
        (question,) = say(store, id, "Hi")
        answer = store.add(
            ANN, id, question, ASSISTANT, "He", settings=SETTINGS, model="m", origin=5, branched=2, batches=["[1]"]
        )
        store.append(answer, "llo", "[2]")
        store.finish(answer, FinishReason.ERROR, USAGE, "It broke.")
        store.close()

        with closing(ConversationStore(path)) as again:
            found = again.conversation(ANN, id)
            assert found == Conversation(
                id,
                "A title",
                SETTINGS,
                created=1.0,
                updated=3.0,
                leaf=answer,
                nodes={
                    question: Node(question, None, USER, "Hi", 2.0, end=FinishReason.STOP, chosen=answer),
                    answer: Node(
                        answer,
                        question,
                        ASSISTANT,
                        "Hello",
                        3.0,
                        SETTINGS,
                        "m",
                        FinishReason.ERROR,
                        USAGE,
                        "It broke.",
                        origin=5,
                        branched=2,
                    ),
                },
            )
            assert again.tokens(ANN, id, answer) == ["[1]", "[2]"]
            assert again.tokens(ANN, id, question) == []

    def test_an_answer_that_did_not_end(self, store: ConversationStore) -> None:
        """An answer has no end until finished."""
        id = store.create(ANN, SETTINGS)
        node = store.add(ANN, id, None, ASSISTANT, "")
        store.append(node, "so far", "[]")
        found = store.conversation(ANN, id).nodes[node]
        assert (found.text, found.end, found.usage) == ("so far", None, None)

    def test_any_text(self, store: ConversationStore) -> None:
        """Any text is kept exactly, even after an append."""
        for text in ("a\0b", "\0", "\u202eabc", "😀", "\r\n", "'; DROP TABLE node; --"):
            id = store.create(ANN, SETTINGS, text)
            store.append(store.add(ANN, id, None, USER, text), text, "[]")
            assert shown(store, id) == [text + text]
            assert titles(store)[0] == text

    def test_half_an_emoji(self, store: ConversationStore) -> None:
        """A lone surrogate becomes U+FFFD; a pair in two parts becomes a character."""
        id = store.create(ANN, SETTINGS, "\ud83d")
        node = store.add(ANN, id, None, USER, "\ud83d")
        store.append(node, "\ud83d\ude00", "[]")
        store.rename(ANN, id, "x\ude00")
        assert (shown(store, id), titles(store), titles(store, "\ud83d")) == (["\ufffd😀"], ["x\ufffd"], [])

    def test_settings_of_the_next_turn(self, store: ConversationStore) -> None:
        """A conversation keeps the settings of the next turn."""
        id = store.create(ANN, SETTINGS)
        store.set_settings(ANN, id, TurnSettings(top_k=3))
        assert store.conversation(ANN, id).settings == TurnSettings(top_k=3)

    def test_rename(self, store: ConversationStore) -> None:
        """A renamed conversation is found by the new title only."""
        id = store.create(ANN, SETTINGS)
        assert titles(store) == [DEFAULT_TITLE]
        store.rename(ANN, id, "Bread")
        assert (titles(store, "bread"), titles(store, "conversation")) == (["Bread"], [])

    def test_the_latest_first(self, store: ConversationStore) -> None:
        """The latest written conversation is first; reading and renaming do not count."""
        one, two = (store.create(ANN, SETTINGS, title) for title in ("one", "two"))
        (first, *_) = say(store, one, "a", "b")
        say(store, one, "c", parent=first)
        store.rename(ANN, two, "zwei")
        store.select_version(ANN, two, None)
        assert [(found.title, found.messages, found.match) for found in store.list(ANN)] == [
            ("one", 2, None),
            ("zwei", 0, None),
        ]


def test_the_clock_is_set_back(path: Path) -> None:
    """The latest written conversation is first, even after the clock is set back."""
    now = [10_000.0]
    with closing(ConversationStore(path, lambda: now[0])) as store:
        before, other = store.create(ANN, SETTINGS, "before"), store.create(ANN, SETTINGS, "other")
        now[0] -= 3600.0
        store.create(ANN, SETTINGS, "after")
        assert titles(store) == ["after", "other", "before"]
        for id, title in ((before, "before"), (other, "other"), (before, "before")):
            node = store.add(ANN, id, None, USER, "hello")
            assert titles(store)[0] == title
            assert store.conversation(ANN, id).nodes[node].created == now[0]


class TestOwners:
    VERBS: dict[str, Callable[[ConversationStore, str, str, int], Any]] = {  # noqa: RUF012
        "conversation": lambda store, owner, at, node: store.conversation(owner, at),
        "rename": lambda store, owner, at, node: store.rename(owner, at, "x"),
        "set_settings": lambda store, owner, at, node: store.set_settings(owner, at, SETTINGS),
        "delete": lambda store, owner, at, node: store.delete(owner, at),
        "erase": lambda store, owner, at, node: store.deleted.erase(owner, at),
        "undelete": lambda store, owner, at, node: store.deleted.restore(owner, at),
        "pin": lambda store, owner, at, node: store.folders.pin(owner, at, True),
        "move": lambda store, owner, at, node: store.folders.move(owner, at, None),
        "matches": lambda store, owner, at, node: store.matches(owner, at, "secret"),
        "add": lambda store, owner, at, node: store.add(owner, at, node, USER, "x"),
        "tokens": lambda store, owner, at, node: store.tokens(owner, at, node),
        "select_version": lambda store, owner, at, node: store.select_version(owner, at, node),
        "end_path_at": lambda store, owner, at, node: store.end_path_at(owner, at, node),
        "archive": lambda store, owner, at, node: store.archive(owner, at),
        "filing": lambda store, owner, at, node: store.filing(owner, at),
    }

    @pytest.mark.parametrize("verb", VERBS)
    def test_another_owner(self, store: ConversationStore, verb: str) -> None:
        """Other users get NotFoundError for a conversation, and change nothing."""
        id = store.create(ANN, SETTINGS, "Ann's")
        node, _ = say(store, id, "secret", "answer")
        before = store.archive(ANN, id)
        for owner, question in ((BOB, id), (ANN, "no such id"), ("", id)):
            with pytest.raises(NotFoundError, match="no such conversation"):
                self.VERBS[verb](store, owner, question, node)
        assert store.archive(ANN, id) == before

    @pytest.mark.parametrize("verb", ["add", "tokens", "select_version", "end_path_at"])
    def test_a_message_of_another_conversation(self, store: ConversationStore, verb: str) -> None:
        """A message is reached only through its own conversation, even by the same owner."""
        mine = store.create(ANN, SETTINGS)
        nodes = [
            *say(store, store.create(ANN, SETTINGS), "elsewhere"),
            *say(store, store.create(BOB, SETTINGS), "secret", owner=BOB),
            99,
        ]
        for node in nodes:
            with pytest.raises(NotFoundError, match="no such message"):
                self.VERBS[verb](store, ANN, mine, node)
        assert shown(store, mine) == []

    def test_every_verb_is_among_them(self) -> None:
        """Every method of the store is tested above or known to need no owner."""
        without = {"close", "create", "list", "append", "finish", "discard", "set_view", "restore"}
        others = {"erase", "undelete", "pin", "move"}
        assert {name for name in vars(ConversationStore) if not name.startswith("_")} == (
            set(self.VERBS) - others
        ) | without

    def test_lists_are_the_owners(self, store: ConversationStore) -> None:
        """Lists and searches have only the owner's conversations."""
        say(store, store.create(ANN, SETTINGS, "Ann's words"), "the secret word")
        store.create(BOB, SETTINGS, "Bob's words")
        assert (titles(store, owner=ANN), titles(store, owner=BOB), titles(store, owner="")) == (
            ["Ann's words"],
            ["Bob's words"],
            [],
        )
        assert (titles(store, "secret", owner=BOB), titles(store, "words", owner=BOB)) == ([], ["Bob's words"])


class TestSearch:
    @pytest.fixture
    def three(self, store: ConversationStore) -> ConversationStore:
        say(
            store,
            store.create(ANN, SETTINGS, "Bread"),
            "How long must sourdough rest?",
            "Über Nacht; use the snake_case name NEAR the oven.",
        )
        say(store, store.create(ANN, SETTINGS, "Café"), 'He said "stop" AND left', "a C++ program: x->y, foo-bar")
        say(store, store.create(ANN, SETTINGS, "日本"), "日本語のテキスト", "sour milk")
        return store

    def test_words(self, three: ConversationStore) -> None:
        """A search matches conversations with all words, or beginnings of words, of the search."""
        searches = {
            "sourdough": ["Bread"],
            "sour": ["日本", "Bread"],  # Beginnings of words
            "dough": [],
            "SOUR rest": ["Bread"],  # Several words in any case
            "sour rest milk": [],
            "uber": ["Bread"],  # Accents are ignored
            "cafe stop": ["Café"],  # In the title and in a message
            "foo program left": ["Café"],  # In different messages
            "foo-bar": ["Café"],
            "bar-foo": [],
            "日本": ["日本"],
            "bre": ["Bread"],
            "  ": ["日本", "Café", "Bread"],
            "->": [],  # Punctuation alone is not a word
            "program ->": ["Café"],
            "sour OR stop": [],  # Operators are words
            "near oven": ["Bread"],
            "stop and": ["Café"],
        }
        assert {search: titles(three, search) for search in searches} == searches

    def test_operators_are_text(self, three: ConversationStore) -> None:
        """No search fails, and operators are only words."""
        hostile = ['"', '""', '"stop', 'stop" OR "sour', "AND", "NOT sour", "NEAR(sour milk)", "text:sour", "sour*"]
        hostile += ["^sour", "-sour", "sour)", "(", "{text}:a", "a\0b", "'", "\\", "*", "+"]
        for search in hostile:
            for one in three.list(ANN, search):
                nodes = three.conversation(ANN, one.id).nodes.values()
                text = " ".join([one.title, *(node.text for node in nodes)]).casefold()
                words = "".join(c if c.isalnum() else " " for c in search.casefold()).split()
                assert all(word in text for word in words), search

    def test_snippet(self, three: ConversationStore) -> None:
        """A snippet marks the matching words, and is empty if only the title matches."""

        def snippets(search: str) -> list[str]:
            return [one.match.snippet for one in three.list(ANN, search) if one.match is not None]

        assert snippets("mil") == [f"sour {HIT}milk{HIT_END}"]
        assert snippets("bread") == [""]
        say(three, three.create(ANN, SETTINGS), "word " * 100 + "needle" + " word" * 100)
        (found,) = snippets("needle")
        assert "needle" in found
        assert len(found) < 100

    def test_growing_answers(self, store: ConversationStore) -> None:
        """An answer is found after its end, by whole words that arrived in parts."""
        id = store.create(ANN, SETTINGS)
        node = store.add(ANN, id, None, ASSISTANT, "")
        store.append(node, "sour", "[]")
        store.append(node, "dough", "[]")
        assert store.list(ANN, "sour") == []
        store.finish(node, FinishReason.STOP, USAGE)
        assert (len(store.list(ANN, "sourdough")), len(store.list(ANN, "dough"))) == (1, 0)

    def test_answers_that_broke_off(self, path: Path) -> None:
        """Text of an unfinished answer is found after a restart."""
        with closing(ConversationStore(path)) as store:
            id = store.create(ANN, SETTINGS)
            store.append(store.add(ANN, id, None, ASSISTANT, ""), "sourdough", "[]")
        with closing(ConversationStore(path)) as store:
            assert (len(store.list(ANN, "sourdough")), shown(store, id)) == (1, ["sourdough"])

    def test_the_latest(self, three: ConversationStore) -> None:
        """A list has at most the requested length, with and without a search, the latest first."""
        everything = titles(three)
        assert [one.title for one in three.list(ANN, most=2)] == everything[:2]
        found = [one.title for one in three.list(ANN, "m")]
        assert [one.title for one in three.list(ANN, "m", most=1)] == found[:1] != found

    def test_many_words(self, store: ConversationStore) -> None:
        """A search of too many words is refused; repeated words count once."""
        with pytest.raises(InvalidRequestError, match="at most 32 words"):
            store.list(ANN, " ".join(map(str, range(33))))
        assert store.list(ANN, "word " * 1000) == []


class TestWalking:
    def test_versions_remember_the_path_below(self, store: ConversationStore) -> None:
        """A selected version shows the path that followed at the last selection."""
        id = store.create(ANN, SETTINGS)
        first, answer, _ = say(store, id, "q", "a", "q2")
        (other,) = say(store, id, "a'", parent=first)
        say(store, id, "q3", parent=other)
        assert shown(store, id) == ["q", "a'", "q3"]
        store.select_version(ANN, id, answer)
        assert shown(store, id) == ["q", "a", "q2"]
        store.select_version(ANN, id, other)
        assert shown(store, id) == ["q", "a'", "q3"]

    def test_versions_of_the_first_message(self, store: ConversationStore) -> None:
        """The first message can have versions."""
        id = store.create(ANN, SETTINGS)
        one, _ = say(store, id, "q", "a")
        two, _ = say(store, id, "q'", "a'")
        store.select_version(ANN, id, one)
        found = store.conversation(ANN, id)
        assert shown(store, id) == ["q", "a"]
        assert [node.id for node in found.versions(found.nodes[two])] == [one, two]
        assert [node.id for node in found.children(None)] == [one, two]

    def test_a_path_is_remembered_at_every_fork_above(self, store: ConversationStore) -> None:
        """Coming back to a fork shows the branch that was selected last."""
        id = store.create(ANN, SETTINGS)
        first, left, left_below = say(store, id, "q", "left", "left below")
        (right,) = say(store, id, "right", parent=first)
        (deep,) = say(store, id, "deep", parent=left)
        store.select_version(ANN, id, right)
        store.select_version(ANN, id, left_below)
        store.select_version(ANN, id, right)
        store.select_version(ANN, id, left)
        assert shown(store, id) == ["q", "left", "left below"]
        assert deep in store.conversation(ANN, id).nodes

    def test_stop_at(self, store: ConversationStore) -> None:
        """A path ended by end_path_at stays ended; the later messages can still be selected."""
        id = store.create(ANN, SETTINGS)
        first, answer, after = say(store, id, "q", "a", "q2")
        (other,) = say(store, id, "a'", parent=first)
        store.end_path_at(ANN, id, answer)
        assert shown(store, id) == ["q", "a"]
        store.select_version(ANN, id, other)
        store.select_version(ANN, id, answer)
        assert shown(store, id) == ["q", "a"]
        store.select_version(ANN, id, after)
        assert shown(store, id) == ["q", "a", "q2"]
        store.end_path_at(ANN, id, None)
        assert shown(store, id) == []
        store.select_version(ANN, id, None)
        assert shown(store, id) == []


class Tree(RuleBasedStateMachine):
    """Compares a conversation with a model after any actions."""

    nodes: Bundle[int] = Bundle("nodes")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = open_store(Path(self.folder.name) / "conversations.db")
        self.id = self.store.create(ANN, SETTINGS)
        self.messages: dict[int, tuple[int | None, str]] = {}

    @rule(target=nodes, parent=st.none() | nodes, text=st.text(max_size=5))
    def add(self, parent: int | None, text: str) -> int:
        node = self.store.add(ANN, self.id, parent, USER, text)
        self.messages[node] = (parent, text)
        assert self.now.leaf == node
        return node

    @rule(node=nodes, text=st.text(max_size=5))
    def append(self, node: int, text: str) -> None:
        self.store.append(node, text, "[]")
        parent, before = self.messages[node]
        self.messages[node] = (parent, before + text)

    @rule(node=nodes)
    def select_version(self, node: int) -> None:
        before = self.now
        self.store.select_version(ANN, self.id, node)
        assert node in [one.id for one in self.now.path()]
        if node in [one.id for one in before.path()]:
            assert self.now.leaf == before.leaf

    @rule(node=st.none() | nodes)
    def end_path_at(self, node: int | None) -> None:
        self.store.end_path_at(ANN, self.id, node)
        assert self.now.leaf == node

    @rule()
    def copy(self) -> None:
        archive = self.store.archive(ANN, self.id)
        copy = self.store.conversation(BOB, *self.store.restore(BOB, [archive]))
        assert [(node.text, node.role) for node in copy.nodes.values()] == [
            (node.text, node.role) for node in self.now.nodes.values()
        ]
        assert [node.text for node in copy.path()] == [node.text for node in self.now.path()]

    @property
    def now(self) -> Conversation:
        return self.store.conversation(ANN, self.id)

    @invariant()
    def nothing_is_lost(self) -> None:
        found = self.now
        assert {id: (node.parent, node.text) for id, node in found.nodes.items()} == self.messages
        assert all(node.chosen is None or found.nodes[node.chosen].parent == id for id, node in found.nodes.items())
        assert found.leaf is None or found.nodes[found.leaf].chosen is None

    def teardown(self) -> None:
        for node, (_, text) in self.messages.items():
            self.store.select_version(ANN, self.id, node)
            assert text in shown(self.store, self.id)
        self.store.close()
        self.folder.cleanup()


TestTree = Tree.TestCase
TestTree.settings = hypothesis_settings(max_examples=trial_count(150), stateful_step_count=20)
TestTree.__doc__ = "Whatever is done in a conversation, every text can still be selected."


class TestRemoving:
    def test_nothing_stays(self, store: ConversationStore, path: Path) -> None:
        """Erasing a conversation removes all of its data from the file, and no other data."""
        kept = store.create(ANN, SETTINGS, "Kept")
        say(store, kept, "kept")
        id = store.create(ANN, SETTINGS, "Confidential")
        say(store, id, "xylophone " * 50, "zeppelin " * 50)
        node = store.add(ANN, id, None, ASSISTANT, "", batches=["[quagmire]"])
        store.append(node, "zygote", "[]")
        store.deleted.erase(ANN, id)
        assert (titles(store), rows(path, "node"), rows(path, "batch")) == (["Kept"], 1, 0)
        assert store.list(ANN, "xylophone") == store.list(ANN, "confidential") == []
        content = b"".join(file.read_bytes() for file in path.parent.iterdir()).lower()
        assert [
            word for word in (b"confidential", b"xylophone", b"zeppelin", b"quagmire", b"zygote") if word in content
        ] == []
        assert b"kept" in content

    def test_a_long_conversation(self, store: ConversationStore, path: Path) -> None:
        """A conversation beyond SQLite's limit of nested triggers can be erased and selected."""
        nodes = {
            n: Node(n, n - 1 or None, USER, str(n), 1.0, chosen=n + 1 if n < 1500 else None) for n in range(1, 1501)
        }
        (id,) = store.restore(ANN, [Archive(Conversation("", "long", SETTINGS, 1.0, 1.0, 1500, nodes), {})])
        leaf = store.conversation(ANN, id).leaf
        store.select_version(ANN, id, None)
        store.select_version(ANN, id, min(store.conversation(ANN, id).nodes))
        assert store.conversation(ANN, id).leaf == leaf
        store.deleted.erase(ANN, id)
        assert rows(path, "node") == 0

    def test_an_answer_on_its_way(self, store: ConversationStore) -> None:
        """Writing to an erased answer raises NotFoundError."""
        id = store.create(ANN, SETTINGS)
        node = store.add(ANN, id, None, ASSISTANT, "")
        store.deleted.erase(ANN, id)
        with pytest.raises(NotFoundError, match="no such message"):
            store.append(node, "x", "[]")
        with pytest.raises(NotFoundError, match="no such message"):
            store.finish(node, FinishReason.STOP, USAGE)

    def test_ids_are_not_used_again(self, store: ConversationStore) -> None:
        """The id of an erased message is not reused, because a writer may still have the id."""
        id = store.create(ANN, SETTINGS)
        (node,) = say(store, id, "x")
        store.deleted.erase(ANN, id)
        assert say(store, store.create(ANN, SETTINGS), "y") > [node]


class TestArchives:
    def test_the_same_conversation(self, store: ConversationStore) -> None:
        """A restored archive has new ids, and the same versions, tokens and paths."""
        id = store.create(ANN, SETTINGS, "A title")
        question, answer, _ = say(store, id, "q", "a", "q2")
        other = store.add(
            ANN,
            id,
            question,
            ASSISTANT,
            "a'",
            settings=SETTINGS,
            model="m",
            origin=answer,
            branched=1,
            batches=["[1]", "[2]"],
        )
        details = StoredDetails(calls=(StoredCall(id="c", name="f", arguments="{}", complete=True, enforced=False),))
        store.finish(other, FinishReason.LENGTH, USAGE, "too long", details)
        store.select_version(ANN, id, answer)
        archive = store.archive(ANN, id)

        (copy,) = store.restore(BOB, [archive])

        found = store.archive(BOB, copy)
        new = dict(zip(archive.conversation.nodes, found.conversation.nodes, strict=True))
        assert new.keys().isdisjoint(new.values())
        assert shown(store, copy, BOB) == ["q", "a", "q2"]
        node = found.conversation.nodes[new[other]]
        assert (node.parent, node.origin, node.branched, node.text) == (new[question], new[answer], 1, "a'")
        assert (node.settings, node.end, node.usage, node.error, node.created) == (
            SETTINGS,
            FinishReason.LENGTH,
            USAGE,
            "too long",
            5.0,
        )
        assert node.details == details
        assert found.tokens[new[other]] == ["[1]", "[2]"]
        store.select_version(BOB, copy, new[other])
        store.select_version(BOB, copy, new[answer])
        assert shown(store, copy, BOB) == ["q", "a", "q2"]
        assert [(one.title, one.updated) for one in store.list(BOB)] == [("A title", archive.conversation.updated)]
        assert len(store.list(BOB, "q2")) == 1
        assert store.archive(ANN, id) == archive

    def test_all_or_nothing(self, store: ConversationStore, path: Path) -> None:
        """An archive that cannot be saved changes nothing."""
        nodes = {n: Node(n, None, USER, "x", 1.0) for n in (1, 2)}
        archive = Archive(Conversation("", "broken", SETTINGS, 1.0, 1.0, 2, nodes), {2: [None]})  # type: ignore[list-item]
        with pytest.raises(PellucidError, match="NOT NULL"):
            store.restore(ANN, [archive])
        assert (store.list(ANN), rows(path, "node"), store.list(ANN, "x")) == ([], 0, [])


class TestFiles:
    def test_only_its_owner_reads_it(self, path: Path) -> None:
        """Only the owner can read the files; a missing folder is created."""
        path = path.parent / "new" / "folder" / path.name
        with closing(open_store(path)) as store:
            store.create(ANN, SETTINGS)
            assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}

    def test_another_programs_file(self, path: Path) -> None:
        """A database of another program is refused unchanged."""
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE song (title)")
            connection.commit()
        before = path.read_bytes()
        with pytest.raises(ConfigError, match="another program"):
            ConversationStore(path)
        assert path.read_bytes() == before

    def test_a_file_of_an_earlier_release(self, path: Path) -> None:
        """A file without details of answers is read, and keeps the details of new answers."""
        with closing(open_store(path)) as store:
            id = store.create(ANN, SETTINGS)
            say(store, id, "q", "a")
        with closing(sqlite3.connect(path)) as connection:
            for column in (name for table, name, _ in ADDED_COLUMNS if table == "node"):
                connection.execute(f"ALTER TABLE node DROP COLUMN {column}")
        details = StoredDetails(calls=(StoredCall(id="c", name="f", arguments="{}", complete=True, enforced=False),))
        with closing(open_store(path)) as store:
            assert [node.details for node in store.conversation(ANN, id).path()] == [None, None]
            store.finish(max(store.conversation(ANN, id).nodes), FinishReason.STOP, USAGE, None, details)
            assert store.conversation(ANN, id).path()[-1].details == details

    def test_the_limit_of_an_earlier_release(self, path: Path) -> None:
        """The former default of 512 tokens is removed once, from the next turn only."""
        with closing(open_store(path)) as store:
            ids = [store.create(ANN, replace(SETTINGS, max_tokens=limit)) for limit in (512, 100)]
            store.add(ANN, ids[0], None, ASSISTANT, "a", settings=replace(SETTINGS, max_tokens=512))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ALTER TABLE node DROP COLUMN begins")
        with closing(open_store(path)) as store:
            found = [store.conversation(ANN, id) for id in ids]
            assert [one.settings.max_tokens for one in found] == [0, 100]
            assert [node.settings.max_tokens for node in found[0].path() if node.settings] == [512]
            store.set_settings(ANN, ids[0], replace(SETTINGS, max_tokens=512))
        with closing(open_store(path)) as store:
            assert store.conversation(ANN, ids[0]).settings.max_tokens == 512

    def test_another_version(self, path: Path) -> None:
        """A file with another schema version is refused, with the remedy."""
        ConversationStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 2")
        with pytest.raises(
            ConfigError, match=r"another version of Pellucid \(schema 2, this version has 1\): move the file away"
        ):
            ConversationStore(path)

    @pytest.mark.parametrize("content", [b"no database" * 100, None])
    def test_no_database(self, path: Path, content: bytes | None) -> None:
        """A folder, or a file in another format, is refused by name."""
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=f"conversations in {path} cannot be opened"):
            ConversationStore(path)

    def test_a_file_that_fails(self, store: ConversationStore) -> None:
        """A later failure of the file is reported in a sentence."""
        store.close()
        with pytest.raises(PellucidError, match=r"cannot be read or written .* check the file"):
            store.list(ANN)

    def test_it_writes_ahead(self, store: ConversationStore, path: Path) -> None:
        """The file is in WAL mode: readers and writers do not block each other."""
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


WRITER = """
import sys
from pathlib import Path
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.trial_counts import trial_count
from pellucid_webui.conversations.storage.store import ConversationStore

path, owner, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = ConversationStore(path)
id = store.create(owner, TurnSettings())
node = store.add(owner, id, None, "assistant", "")
print("begun", flush=True)
sys.stdin.readline()
for number in range(count):
    store.append(node, f"{number} ", f"[{number}]")
    if number % 10 == 9:
        print(number, flush=True)
store.close()
"""


def writer(path: Path, owner: str, count: int) -> subprocess.Popen[str]:
    """Start a process that writes to the file after a line on standard input."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(path), owner, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


class TestProcesses:
    def test_two_write_to_one_file(self, store: ConversationStore, path: Path) -> None:
        """Processes that open and write a file at the same time lose no data."""
        others = [writer(path, f"other {number}", 100) for number in range(2)]
        id = store.create(ANN, SETTINGS)
        node = store.add(ANN, id, None, ASSISTANT, "")
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline() == "begun\n"
        for other in others:
            assert other.stdin is not None
            other.stdin.write("go\n")
            other.stdin.flush()
        for number in range(100):
            store.append(node, f"{number} ", f"[{number}]")
        for other in others:
            other.communicate()
            assert other.returncode == 0
        for owner in (ANN, "other 0", "other 1"):
            (found,) = store.list(owner)
            (answer,) = store.conversation(owner, found.id).nodes.values()
            assert answer.text == "".join(f"{number} " for number in range(100))
            assert store.tokens(owner, found.id, answer.id) == [f"[{number}]" for number in range(100)]

    def test_they_begin_at_once(self, path: Path) -> None:
        """Several processes can create the file at the same moment."""
        others = [writer(path, str(number), 0) for number in range(4)]
        for other in others:
            other.communicate("go\n")
        assert [other.returncode for other in others] == [0] * 4
        with closing(ConversationStore(path)) as store:
            assert [len(store.list(str(number))) for number in range(4)] == [1] * 4

    def test_one_is_killed(self, path: Path) -> None:
        """All complete writes of a killed process are readable, and no partial write."""
        other = writer(path, ANN, 1_000_000)
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("go\n")
        other.stdin.flush()
        while other.stdout.readline() != "49\n":
            pass
        other.kill()
        acknowledged = [int(line) for line in other.communicate()[0].split()]
        with closing(ConversationStore(path)) as store:
            (found,) = store.list(ANN)
            (answer,) = store.conversation(ANN, found.id).nodes.values()
            numbers = [int(number) for number in answer.text.split()]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > max([49, *acknowledged])
            assert [json.loads(batch) for batch in store.tokens(ANN, found.id, answer.id)] == [
                [number] for number in numbers
            ]
            assert answer.end is None
            store.append(answer.id, "more", "[]")
