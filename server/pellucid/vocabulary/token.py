"""Tokens with their probabilities: generated or read, streamed or not.

Logprobs are natural logarithms of the model's own distribution, before any sampler.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

TINIEST = 1e-300
"""Replaces a probability of 0 in a logarithm."""

MAX_ALTERNATIVES = 20
"""Maximum number of alternatives per token (OpenAI's limit for ``top_logprobs``)."""


ExpertChoice = tuple[tuple[tuple[int, float], ...], ...]
"""By layer, the number of each chosen expert and the weight of the expert's output."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A possible token; ``text`` has U+FFFD for incomplete characters."""

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A token's part of a tool call; only the first part of a call has ``id`` and ``name``."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CallPart:
    """The index of the tool call that contains a token, and the token's deltas."""

    call: int
    deltas: tuple[CallDelta, ...] = ()


@dataclass(frozen=True, slots=True)
class GrammarScore:
    """The effect of a grammar on the choice of a token.

    Attributes:
        mass: The model's probability of all allowed tokens together; low for a strong effect.
        allowed: The number of allowed tokens.
        logprob: The token's logprob relative to the allowed tokens.
    """

    mass: float
    allowed: int
    logprob: float

    @property
    def forced(self) -> bool:
        return self.allowed == 1


@dataclass(frozen=True, slots=True)
class Token:
    """A generated or read token, and its place in the model's distribution.

    The first token of a prompt has no context: ``logprob``, ``rank`` and ``entropy`` are `None`.

    Attributes:
        text: The text completed by this token. A character split between tokens belongs to the last
            of the tokens, so that consecutive texts join to the whole text.
        position: The index, counted from the first token of the prompt.
        rank: 1 for the most probable token.
        entropy: In nats; `None` if a remote engine did not report the entropy.
        top: The most probable alternatives in order, possibly including the token itself.
        rest: The probability of all tokens outside ``top``.
        sampled: The probability after temperature, penalties and truncation (1.0 if greedy); `None`
            for read tokens and unreported values.
        allowed: With token healing, the probability of all tokens that repeat typed text; ``top``
            then holds only these tokens, because other tokens contradict the prompt. Otherwise 1.0.
            From a remote engine, an upper bound, and ``top`` is limited to the 20 most probable
            tokens.
        part: Set for tokens of a tool call, with ``text`` as a rule empty.
        grammar: Set if a grammar limited the choice. ``top`` still contains refused tokens.
        entropy_range: Bounds (least, most) in nats for an unreported entropy, if known.
        experts: The experts that computed the prediction of this token, the most probable first, if
            requested. The first token of a prompt has no experts.
        reasoning: The text, for a token of the reasoning before an answer; ``text`` is then empty.
    """

    id: int
    text: str
    bytes: bytes
    position: int
    logprob: float | None
    rank: int | None
    entropy: float | None
    top: tuple[Alternative, ...] = ()
    rest: float = 1.0
    sampled: float | None = None
    allowed: float = 1.0
    part: CallPart | None = None
    grammar: GrammarScore | None = None
    entropy_range: tuple[float, float] | None = None
    experts: ExpertChoice | None = None
    reasoning: str | None = None

    @property
    def entropy_estimate(self) -> float | None:
        """The entropy, else the middle of the range, in nats."""
        if self.entropy is None and self.entropy_range is not None:
            return sum(self.entropy_range) / 2
        return self.entropy

    @property
    def constrained_logprob(self) -> float | None:
        """The token's logprob relative to the tokens that repeat typed text."""
        return None if self.logprob is None else self.constrain(self.logprob)

    def constrain(self, logprob: float) -> float:
        """Return an alternative's logprob relative to the tokens that repeat typed text."""
        return logprob if self.allowed == 1.0 else min(logprob - log(max(self.allowed, TINIEST)), 0.0)
