"""A model under evaluation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pellucid.completion.edits.edit_gate import EditGate, default_gate
from pellucid.learn.score_text import Reader
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import ChatQuery, CompletionQuery
from pellucid.vocabulary.token import Token


class Ability(StrEnum):
    """The values are used in sentences."""

    COMPLETE = "completions of a text"
    SCORE = "the probabilities of a given text"
    GAPS = "the probabilities of a text between two others"
    IDS = "the probabilities of given token ids"
    USAGE = "times and token counts per request"


class ModelInterface(Reader, Protocol):
    """The methods used by questions, common to local and remote assistants."""

    def complete(self, query: CompletionQuery) -> AsyncGenerator[Token | Finish]: ...

    def chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """``identity`` has everything that may change answers.

    ``parameters`` is the number of weights multiplied per token, ``resident`` returns the memory of
    the computing process in bytes. ``files`` is True if infill prompts may include pieces of other
    files.
    """

    name: str
    description: str
    identity: Mapping[str, str | int]
    interface: ModelInterface
    abilities: frozenset[Ability]
    context: int
    infill: bool
    chat: bool
    weight_bytes: int | None = None
    parameters: int | None = None
    resident: Callable[[], int | None] = lambda: None
    files: bool = False
    edit_gate: EditGate = field(default_factory=default_gate)
