"""The nouns of a chat: how a turn is sampled, a message in one of its versions, and the tree that they grow in."""

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
"""The largest whole number that every reader of JSON takes, browsers included."""

_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """What answers a turn, and how. An empty ``model`` is the server's first; ``seed`` None draws one."""

    model: str = ""
    system: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 512

    def sampling(self) -> SamplingParams:
        """For the engine. Raises InvalidRequestError, which names what is out of bounds."""
        for name in ("max_tokens", "top_k"):
            if getattr(self, name) > LARGEST:  # the page could not be sent it, and the conversation never be opened again
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
        """As JSON keeps it."""
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """From JSON; what is missing is the default, what is not known is left out. Raises InvalidRequestError for wrong types."""
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
    """One version of one message: the others are those with the same ``parent``.

    ``end`` is None while an answer is written, and stays so where the server died in the middle of it; ``error`` is what
    went wrong, in a sentence. ``branched`` is the number of the token from which this version goes another way than
    ``origin``, another version. ``chosen`` is the version of what follows that was looked at last. ``created`` is in
    seconds since 1970.
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

    ``messages`` are those of the path that is looked at; ``snippet`` is where a search found it, with the marks of ``search.py``.
    """

    id: str
    title: str
    updated: float
    messages: int
    snippet: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """All versions of all messages, and the last one of the path that is looked at (None where there is no message yet)."""

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
        object.__setattr__(self, "_below", below)  # it is frozen for everybody else

    def path(self, leaf: int | None = None) -> list[Node]:
        """The messages from the first one down to a leaf, by default the one that is looked at."""
        found: list[Node] = []
        at = self.leaf if leaf is None else leaf
        while at is not None:
            node = self.nodes[at]
            found.append(node)
            at = node.parent
        return found[::-1]

    def versions(self, node: Node) -> list[Node]:
        """All versions of a message, the oldest first, this one among them."""
        return self.children(node.parent)

    def children(self, id: int | None) -> list[Node]:
        """What follows a message, in all its versions; the first messages for None."""
        return self._below.get(id, [])


@dataclass(frozen=True, slots=True)
class Archive:
    """All of a conversation: with the tokens of its messages, by their ids, in strings of records as they came."""

    conversation: Conversation
    tokens: Mapping[int, Sequence[str]]


def encodable(text: str) -> str:
    """The text with U+FFFD for lone surrogates: half an emoji, as browsers may send it, cannot be kept in any file."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
