"""Defines the nouns of an edit by instruction: the selection and what to do with it, new lines as they come, and the hunks."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from pellucid.tokens import CHAT, SamplingParams, Terms, Token, Usage

RETRY_TEMPERATURE = 0.7
"""The temperature with a seed but no temperature: greedy answers do not depend on the seed."""

MAX_LOGIT = 700.0


@dataclass(frozen=True, slots=True)
class EditQuery:
    """A selection to edit by an instruction, with all the text of its document before and after it.

    The selection is extended to whole lines. An empty one asks for lines to insert above the
    cursor's line, or instead of it if it is blank. ``language`` is the document's, by its id in the
    protocol.
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
        """Return the sampling parameters of the answer."""
        drawn = RETRY_TEMPERATURE if self.seed is not None else 0.0
        temperature = drawn if self.temperature is None else self.temperature
        return SamplingParams(
            max_tokens=max_tokens, temperature=temperature, seed=self.seed, top_logprobs=self.top_logprobs
        )


@dataclass(frozen=True, slots=True)
class NewLines:
    """Lines of the new text, as the document will have them, in the order in which they are generated."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines ``old`` from line ``first`` (from 0) of the document that become ``new``, and the tokens of the answer that say so.

    ``log_odds`` is log p(new) - log p(old) in nats, under the prompt with the instruction and the
    new lines above; None if it was not read.
    """

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    tokens: tuple[Token, ...] = ()
    log_odds: float | None = None

    @property
    def probability(self) -> float | None:
        """The probability of the new lines, if there were only these and the old ones."""
        return None if self.log_odds is None else 1 / (1 + exp(-max(-MAX_LOGIT, min(self.log_odds, MAX_LOGIT))))


@dataclass(frozen=True, slots=True)
class InstructedEdit:
    """The end of an edit: ``text`` replaces ``old``, whole lines that begin at line ``first`` (from 0) of the document.

    ``reason`` says in a sentence why nothing is changed, and is None if something is. ``newline``
    ends the new lines.
    """

    first: int
    old: str
    text: str
    hunks: tuple[Hunk, ...]
    newline: str
    usage: Usage
    reason: str | None = None
