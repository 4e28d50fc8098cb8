"""Defines the data of chats: the settings of a turn, the versions of messages, and the tree that they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, Self

from pellucid.errors import InvalidRequestError
from pellucid.tokens import FinishReason, SamplingParams, Usage

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"

ALTERNATIVES = 10
"""Alternatives that are kept for each token of an answer."""

LARGEST = 2**53 - 1
"""The largest whole number that every JSON parser reads exactly, including those of browsers."""

_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """The model and sampling of a turn. An empty ``model`` is the server's first one; ``seed`` None draws a random seed."""

    model: str = ""
    system: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 512

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters for the engine. Raises InvalidRequestError, which names a setting that is out of bounds."""
        for name in ("max_tokens", "top_k"):
            if getattr(self, name) > LARGEST:  # it could not be sent to the page, so that the conversation could not be opened again
                raise InvalidRequestError(f"{name} must be at most {LARGEST}.", param=name)
        try:
            return SamplingParams(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                min_p=self.min_p,
                seed=self.seed,
                top_logprobs=ALTERNATIVES,
            )
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error

    def record(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Return the settings of a JSON record, with defaults for what is missing. Raises InvalidRequestError for wrong types."""
        return cls(**{one.name: _typed(one, record[one.name]) for one in fields(cls) if one.name in record})


_KINDS: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "int | None": (int, type(None))}


def _typed(setting: Field[Any], value: object) -> Any:
    kinds = _KINDS[str(setting.type)]
    if not isinstance(value, kinds) or isinstance(value, bool):
        shown = repr(value)[:_LONGEST_SHOWN]
        raise InvalidRequestError(
            f"The setting {setting.name} of a turn must be of the type {setting.type}, not {shown}.", param=setting.name
        )
    return value


@dataclass(frozen=True, slots=True)
class Node:
    """One version of a message; its other versions have the same ``parent``.

    ``end`` is None while an answer is being generated, and remains None if the server dies meanwhile. ``error`` is a sentence
    about what went wrong. ``branched`` is the number of the token at which this version differs from its ``origin``, another
    version. ``chosen`` is the version of the next message that was selected last. ``created`` is in seconds since 1970.
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


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list.

    ``messages`` counts the selected path; ``snippet`` is a match of a search, marked as ``search.py`` describes.
    """

    id: str
    title: str
    updated: float
    messages: int
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All versions of all messages. ``leaf`` is the last message of the selected path, None before there is one."""

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
class Archive:
    """A complete conversation. ``tokens`` holds the batches of records of its messages, by their ids."""

    conversation: Conversation
    tokens: Mapping[int, Sequence[str]]


def encodable(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which browsers may send but UTF-8 cannot encode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
