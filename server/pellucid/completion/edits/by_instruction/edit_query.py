"""Types of an edit by instruction: the query, new lines, and hunks."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.vocabulary.finish import Usage
from pellucid.vocabulary.query import CHAT, SamplingParams, Terms
from pellucid.vocabulary.token import Token

RETRY_TEMPERATURE = 0.7
"""Temperature for a seed without a temperature: greedy answers do not depend on the seed."""


@dataclass(frozen=True, slots=True)
class EditQuery:
    """A selection to edit by an instruction, with the document's text before and after.

    The selection is extended to whole lines. An empty selection asks for lines to insert above the
    cursor's line, or instead of a blank line. ``language`` is an id of the protocol.
    """

    prefix: str
    selection: str
    suffix: str
    instruction: str
    path: str = ""
    language: str = ""
    model: str | None = None
    seed: int | None = None
    temperature: float | None = None
    top_logprobs: int = 5
    terms: Terms = CHAT

    def params(self, max_tokens: int) -> SamplingParams:
        drawn = RETRY_TEMPERATURE if self.seed is not None else 0.0
        temperature = drawn if self.temperature is None else self.temperature
        return SamplingParams(
            max_tokens=max_tokens, temperature=temperature, seed=self.seed, top_logprobs=self.top_logprobs
        )


@dataclass(frozen=True, slots=True)
class NewLines:
    """New lines, as the document will have them, in the order of generation."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines ``old`` from line ``first`` (from 0) that become ``new``, and the answer's tokens.

    ``breaks_syntax`` is None if not known: the file has no parser, or a syntax error before.
    """

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    tokens: tuple[Token, ...] = ()
    breaks_syntax: bool | None = None


@dataclass(frozen=True, slots=True)
class InstructedEdit:
    """The end of an edit: ``text`` replaces ``old``, whole lines from line ``first`` (from 0).

    The lines are those of the selection, from the import block on if imports are added. ``reason``
    is a sentence if nothing is changed, else None. ``note`` is a sentence about the syntax, if any.
    """

    first: int
    old: str
    text: str
    hunks: tuple[Hunk, ...]
    usage: Usage
    reason: str | None = None
    note: str | None = None
