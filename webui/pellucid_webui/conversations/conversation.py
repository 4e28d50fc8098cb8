"""Conversations: the tree of versions of messages, and archives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.answer_details import StoredDetails
from pellucid_webui.conversations.turn_settings import TurnSettings

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a message; ``url`` is a data URL in base64."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Node:
    """A version of a message; all versions of a message have the same ``parent``.

    Attributes:
        end: None while an answer is being generated, and also after a crash of the server.
        error: A sentence about the failure.
        origin: The version from which this version was made.
        branched: The index of the token at which this version differs from ``origin``.
        chosen: The version of the next message that was selected last.
        created: Seconds since 1970.
        details: None for an answer without JSON values and tool calls.
        begins: The first message that the model reads from this answer on; None for no change.
        summary: The text that the model reads instead of the messages before ``begins``.
        continued: The number of characters that a continued answer already had.
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
    pictures: tuple[Picture, ...] = ()

    @property
    def is_edited(self) -> bool:
        """True if the user wrote the answer in place of another version."""
        return self.role == ASSISTANT and self.settings is None and self.origin is not None


@dataclass(frozen=True, slots=True)
class SearchMatch:
    """The best match of a search, with a snippet marked as in ``search.py``.

    ``count`` is the number of matching messages: 0 if only the title matches.
    """

    snippet: str = ""
    node: int | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list; ``messages`` counts the selected path."""

    id: str
    title: str
    updated: float
    messages: int
    pinned: bool = False
    folder: str | None = None
    match: SearchMatch | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """All versions of all messages; ``leaf`` ends the selected path."""

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
        object.__setattr__(self, "_below", below)  # The only way to initialize a field of a frozen dataclass.

    @property
    def is_unfinished(self) -> bool:
        return self.leaf is not None and self.nodes[self.leaf].end is None

    def path(self, leaf: int | None = None) -> list[Node]:
        """Return the messages from the first message to a leaf (default: the selected leaf)."""
        found: list[Node] = []
        at = self.leaf if leaf is None else leaf
        while at is not None:
            node = self.nodes[at]
            found.append(node)
            at = node.parent
        return found[::-1]

    def settings_of(self, node: Node) -> TurnSettings:
        """Return an answer's settings; edited answers have the original version's."""
        at: Node | None = node
        while at is not None and at.settings is None:
            at = None if at.origin is None else self.nodes.get(at.origin)
        if at is None or at.settings is None:
            return self.settings
        return replace(at.settings, model=at.model or at.settings.model)

    def versions(self, node: Node) -> list[Node]:
        return self.children(node.parent)

    def children(self, id: int | None) -> list[Node]:
        """Return all versions of the message after ``id`` (None: the first message)."""
        return self._below.get(id, [])


@dataclass(frozen=True, slots=True)
class Filing:
    pinned: bool = False
    folder: str | None = None


UNFILED = Filing()


@dataclass(frozen=True, slots=True)
class Archive:
    """A complete conversation; ``tokens`` has batches of records by message id."""

    conversation: Conversation
    tokens: Mapping[int, Sequence[str]]
    filing: Filing = UNFILED
