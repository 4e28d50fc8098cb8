"""Types of an edit by instruction: the query, new lines, and hunks."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from pellucid.vocabulary.finish import Usage
from pellucid.vocabulary.query import CHAT, SamplingParams, Terms
from pellucid.vocabulary.token import Token

RETRY_TEMPERATURE = 0.7
"""Temperature for a seed without a temperature: greedy answers do not depend on the seed."""

MAX_LOGIT = 700.0


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

    ``log_odds`` is log p(new) - log p(old) in nats, under the prompt with the instruction and the
    new lines above; None if not read.
    """

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    tokens: tuple[Token, ...] = ()
    log_odds: float | None = None

    @property
    def probability(self) -> float | None:
        """The probability of the new lines, with the old lines as the only alternative."""
        return None if self.log_odds is None else 1 / (1 + exp(-max(-MAX_LOGIT, min(self.log_odds, MAX_LOGIT))))


@dataclass(frozen=True, slots=True)
class InstructedEdit:
    """The end of an edit: ``text`` replaces ``old``, whole lines from line ``first`` (from 0).

    ``reason`` is a sentence if nothing is changed, else None. ``newline`` ends the new lines.
    """

    first: int
    old: str
    text: str
    hunks: tuple[Hunk, ...]
    newline: str
    usage: Usage
    reason: str | None = None
