"""Defines the data of chats: the versions of messages, the tree that they form, and archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pellucid.tokens import FinishReason, Usage
from pellucid_webui.conversations.answer_details import StoredDetails
from pellucid_webui.conversations.turn_settings import TurnSettings

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


@dataclass(frozen=True, slots=True)
class Node:
    """One version of a message; its other versions have the same ``parent``.

    ``end`` is None while an answer is being generated, and remains None if the server dies
    meanwhile. ``error`` is a sentence about what went wrong. ``branched`` is the number of the
    token at which this version differs from its ``origin``, another version. ``chosen`` is the
    version of the next message that was selected last. ``created`` is in seconds since 1970.
    ``details`` are None for an answer that has neither JSON values nor tool calls. ``begins`` is
    the first message that the model reads from this answer on, and ``summary`` what it reads
    instead of those before; None if nothing changed here. ``continued`` is the number of characters
    that a continued answer had before.
    """

    id: int
    parent: int | None
    role: str
    text: str
    created: float
    settings: TurnSettings | None = None
    model: str = ""
    end: FinishReason | None = None
    usage: Usage | None = None
    error: str | None = None
    origin: int | None = None
    branched: int | None = None
    chosen: int | None = None
    details: StoredDetails | None = None
    begins: int | None = None
    summary: str = ""
    continued: int | None = None

    @property
    def is_edited(self) -> bool:
        """True for an answer that the user wrote in place of another version."""
        return self.role == ASSISTANT and self.settings is None and self.origin is not None


@dataclass(frozen=True, slots=True)
class SearchMatch:
    """The match of a search in a conversation: its best message with a snippet of it, marked as ``search.py`` describes.

    ``count`` is the number of messages that match. A conversation of which only the title matches
    has none.
    """

    snippet: str = ""
    node: int | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list.

    ``messages`` counts the selected path; ``folder`` is the id of its folder; ``match`` comes with
    a search.
    """

    id: str
    title: str
    updated: float
    messages: int
    pinned: bool = False
    folder: str | None = None
    match: SearchMatch | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """All versions of all messages.

    ``leaf`` is the last message of the selected path, None before there is one.
    """

    id: str
    title: str
    settings: TurnSettings
    created: float
    updated: float
    leaf: int | None = None
    nodes: Mapping[int, Node] = field(default_factory=dict)
    _below: Mapping[int | None, list[Node]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        below: dict[int | None, list[Node]] = {}
        for node in self.nodes.values():
            below.setdefault(node.parent, []).append(node)
        object.__setattr__(self, "_below", below)  # frozen dataclasses can be initialized only like this

    @property
    def is_unfinished(self) -> bool:
        """True if the last message of the selected path is an answer without an end."""
        return self.leaf is not None and self.nodes[self.leaf].end is None

    def path(self, leaf: int | None = None) -> list[Node]:
        """Return the messages from the first one to a leaf, by default the selected one."""
        found: list[Node] = []
        at = self.leaf if leaf is None else leaf
        while at is not None:
            node = self.nodes[at]
            found.append(node)
            at = node.parent
        return found[::-1]

    def versions(self, node: Node) -> list[Node]:
        """Return all versions of a message, including itself, the oldest first."""
        return self.children(node.parent)

    def children(self, id: int | None) -> list[Node]:
        """Return all versions of the message after a message; for None, those of the first message."""
        return self._below.get(id, [])


@dataclass(frozen=True, slots=True)
class Filing:
    """The place of a conversation in the list: whether it is pinned, and the name of its folder."""

    pinned: bool = False
    folder: str | None = None


UNFILED = Filing()


@dataclass(frozen=True, slots=True)
class Archive:
    """A complete conversation.

    ``tokens`` holds the batches of records of its messages, by their ids.
    """

    conversation: Conversation
    tokens: Mapping[int, Sequence[str]]
    filing: Filing = UNFILED
