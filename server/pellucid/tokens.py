"""The nouns that everything shares: a token with its probabilities, how to sample one, and how a generation ended.

This file imports nothing of ours. Logprobs are natural logarithms of the model's own distribution, before any sampler
touches it, wherever the token comes from: generated or read, streamed or not, chat or infill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

MAX_ALTERNATIVES = 20
"""The most alternatives that are kept for one token (OpenAI's own limit for ``top_logprobs``)."""


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"
    ERROR = "error"


class Priority(IntEnum):
    """Who is served first; a lower number goes before a higher one."""

    COMPLETION = 0
    CHAT = 1
    BACKGROUND = 2


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One token that the model could have said.

    ``text`` is the bytes read as UTF-8 on their own, with U+FFFD for what is not a whole character.
    """

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token, generated or read, and what the model thought of it.

    ``position`` counts from the first token of the prompt. ``text`` is the text that this token completes: a token that
    ends inside a UTF-8 character has that character's text on the token that finishes it, so that the texts of
    consecutive tokens join to the whole text, while ``bytes`` are always the token's true bytes.
    The first token of a prompt follows nothing: its ``logprob``, ``rank`` and ``entropy`` (in nats) are None.
    ``rank`` 1 is the model's first choice. ``top`` holds the most probable alternatives in order, the token itself among
    them where it belongs there, and ``rest`` is the probability of everything that is not in ``top``.
    ``sampled`` is the probability with which the sampler took the token, after temperature, penalties and truncation
    (1.0 when greedy); None for tokens that were read rather than generated.
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


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat. Roles are those of the model's template: system, user and assistant as a rule."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Extra:
    """A piece of another file that helps to complete this one."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What there is to know about a model that is served.

    ``context`` is in tokens, as the engine grants it. ``files``: whether an infill may have pieces of other files. One with an
    ``adapter`` shares the weights of its ``base``. ``revision`` tells these weights in this form from others of that name.
    ``calibration`` is what ``pellucid calibrate`` has found of its suggestions, a JSON object, and ``calibration_note`` the
    sentence that says why there is none.
    """

    name: str
    context: int
    infill: bool
    chat: bool
    weight_bytes: int
    description: str
    licence: str | None
    chat_template: str | None = None
    files: bool = False
    base: str | None = None
    adapter: str | None = None
    revision: str | None = None
    calibration: Mapping[str, Any] | None = None
    calibration_note: str | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is chosen. The defaults are greedy and end only at a stop.

    The order is: penalties, logit_bias, constraint, temperature, top_k, top_p, min_p. ``temperature`` 0 takes the most
    probable token. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 switch a truncation off. Penalties count the tokens of
    prompt (repetition only) and answer: ``repetition_penalty`` divides positive logits and multiplies negative ones
    (Keskar et al. 2019, arXiv 1909.05858); ``presence_penalty`` and ``frequency_penalty`` are OpenAI's, over the answer.
    The same ``seed`` gives the same tokens alone and in any batch; None draws one.
    ``top_logprobs`` is how many alternatives each token carries.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    ignore_eos: bool = False
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 0, "0 or more")
        flat = 1e-4 <= self.temperature <= 100.0  # below it logits overflow, and the best one is certain anyway
        _require("temperature", self.temperature, self.temperature == 0 or flat, "0 (greedy), or between 0.0001 and 100")
        _require("top_k", self.top_k, self.top_k >= 0, "0 (off) or more")
        _require("top_p", self.top_p, 0.0 < self.top_p <= 1.0, "above 0 and at most 1")
        _require("min_p", self.min_p, 0.0 <= self.min_p <= 1.0, "between 0 and 1")
        _require("repetition_penalty", self.repetition_penalty, 0.01 <= self.repetition_penalty <= 10, "between 0.01 and 10")
        _require("presence_penalty", self.presence_penalty, -2.0 <= self.presence_penalty <= 2.0, "between -2 and 2")
        _require("frequency_penalty", self.frequency_penalty, -2.0 <= self.frequency_penalty <= 2.0, "between -2 and 2")
        for id, bias in self.logit_bias.items():
            _require(f"logit_bias of token {id}", bias, -100.0 <= bias <= 100.0, "between -100 and 100")
        _require("seed", self.seed, self.seed is None or 0 <= self.seed < 2**63, "between 0 and 2**63 - 1")
        _require("top_logprobs", self.top_logprobs, 0 <= self.top_logprobs <= MAX_ALTERNATIVES, f"between 0 and {MAX_ALTERNATIVES}")


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a request is served.

    A request with a ``key`` supersedes every earlier one with the same key. ``deadline`` is in seconds from submission:
    when it passes, the answer ends with what there is.
    """

    priority: Priority = Priority.CHAT
    key: str | None = None
    deadline: float | None = None


GREEDY = SamplingParams()
"""The most probable token each time."""

COMPLETION = Terms(Priority.COMPLETION)
CHAT = Terms(Priority.CHAT)
BACKGROUND = Terms(Priority.BACKGROUND)
"""The terms of the verbs complete, chat and score, unless a caller has others."""


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """A text to continue or, with a ``suffix`` ("" included), a gap to fill between the two.

    ``prefix`` may also be token ids, which are taken as they are and only continued. ``model`` None is the default one.
    ``stop`` are texts that end the answer and do not belong to it. ``heal`` lets the answer begin inside the last token of the
    prefix (None: for infill only). ``special`` reads what spells a marker in the prefix as that marker; it is for plain
    continuation. An infill is trimmed to the context, and the text around the cursor to ``window`` tokens of it.
    """

    prefix: str | Sequence[int]
    suffix: str | None = None
    extra: Sequence[Extra] = ()
    params: SamplingParams = GREEDY
    model: str | None = None
    stop: Sequence[str] = ()
    terms: Terms = COMPLETION
    heal: bool | None = None
    special: bool = False
    window: int | None = None


@dataclass(frozen=True, slots=True)
class ChatQuery:
    """A conversation to answer; with ``continue_last`` its last message, the assistant's, is the beginning of the answer."""

    messages: Sequence[Message]
    params: SamplingParams = GREEDY
    model: str | None = None
    stop: Sequence[str] = ()
    terms: Terms = CHAT
    continue_last: bool = False


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """A text, token ids or a conversation to read, with ``top_logprobs`` alternatives for each token.

    ``special`` reads what spells a marker in a text as that marker.
    """

    text: str | Sequence[int] | Sequence[Message]
    model: str | None = None
    top_logprobs: int = 0
    terms: Terms = BACKGROUND
    special: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost: tokens read from the cache, computed (prefill) and generated; times in seconds.

    ``queued`` is the wait for a slot, ``prefill`` the time from there to the first token, ``decode`` the time from the
    first token to the last.
    """

    cached: int = 0
    computed: int = 0
    generated: int = 0
    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.cached + self.computed


OnUsage = Callable[[Usage], None]
"""What is told while an answer comes what it has cost so far."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream. ``stop`` is the stop string that ended it, if one did."""

    reason: FinishReason
    usage: Usage
    stop: str | None = None
    error: str | None = None
