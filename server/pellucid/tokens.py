"""The types that all packages share: a token with its probabilities, sampling parameters, and the end of a generation.

This file imports nothing else of Pellucid. Logprobs are natural logarithms of the model's own
distribution, before any sampler changes it, for every token: generated or read, streamed or not,
chat or infill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import IntEnum, StrEnum
from math import log
from typing import Any, Literal

TINIEST = 1e-300
"""Replaces a probability of 0 in a logarithm."""

MAX_ALTERNATIVES = 20
"""The most alternatives of one token (OpenAI's own limit for ``top_logprobs``)."""

MAX_OUTCOMES = 5_000
"""The most suggestions of one report that were shown, and the most that were accepted."""

ADAPTER_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?"
"""The names that an adapter may have.
File names are made of them: some systems allow no long ones, or none that end in a dot.
"""


class FinishReason(StrEnum):
    """The reason why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"
    ERROR = "error"


class Priority(IntEnum):
    """The order in which requests are served; lower numbers come first."""

    COMPLETION = 0
    CHAT = 1
    BACKGROUND = 2


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One token that the model could have generated.

    ``text`` is its bytes decoded as UTF-8 on their own, with U+FFFD for incomplete characters.
    """

    id: int
    text: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A token's contribution to a tool call: the first one has its ``id`` and ``name``, and all have a piece of its arguments."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class CallPart:
    """The tool call that a token belongs to, by its index, and what the token adds to calls; for most tokens that is one delta or none."""

    call: int
    deltas: tuple[CallDelta, ...] = ()


@dataclass(frozen=True, slots=True)
class GrammarScore:
    """The effect of a grammar on the choice of one token.

    ``mass`` is the model's own probability of all tokens that the grammar allowed here together,
    ``allowed`` their number, and ``logprob`` that of the token among them. The lower the mass, the
    more the grammar changed what the model would have said.
    """

    mass: float
    allowed: int
    logprob: float

    @property
    def forced(self) -> bool:
        """True if the grammar allowed no other token."""
        return self.allowed == 1


@dataclass(frozen=True, slots=True)
class Token:
    """One token, generated or read, and its place in the model's distribution.

    ``position`` counts from the first token of the prompt. ``text`` is the text that this token
    completes: a character that is split between tokens is in the text of the token that finishes
    it, so that the texts of consecutive tokens join to the whole text, while ``bytes`` are always
    the token's true bytes. The first token of a prompt follows nothing: its ``logprob``, ``rank``
    and ``entropy`` (in nats) are None. An engine elsewhere may not report the entropy of other
    tokens: ``entropy`` is None, and ``entropy_range`` bounds the exact entropy (least, most), in
    nats. It is None if the entropy is exact or nothing is known about it. ``rank`` 1 is the model's
    first choice. ``top`` holds the most probable alternatives in order, including the token itself
    if it is one of them, and ``rest`` is the probability of all tokens that are not in ``top``.
    ``sampled`` is the probability with which the sampler drew the token, after temperature,
    penalties and truncation (1.0 when greedy); None for tokens that were read rather than
    generated, and for those whose engine did not report it. ``allowed`` is the probability of all
    tokens that repeat what was typed, where token healing demands that: ``top`` holds only these,
    as others contradict the prompt, and ``constrained_logprob`` is the token's logprob given that
    one of them comes. It is 1.0 without healing. From an engine elsewhere ``allowed`` is the most
    that it may be, and ``top`` has only those among the 20 most probable tokens of all. ``grammar``
    is set if a grammar limited the choice. All other fields are the same as without one: ``top``
    also holds tokens that the grammar refused. ``part`` is set for the tokens of a tool call. Their
    ``text`` is what they contain of the message's text, as a rule nothing.
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

    @property
    def entropy_estimate(self) -> float | None:
        """The exact entropy, else the middle of its range, in nats; None if neither is known."""
        if self.entropy is None and self.entropy_range is not None:
            return sum(self.entropy_range) / 2
        return self.entropy

    @property
    def constrained_logprob(self) -> float | None:
        """The token's logprob among the tokens that repeat what was typed; ``logprob`` without healing."""
        return None if self.logprob is None else self.constrain(self.logprob)

    def constrain(self, logprob: float) -> float:
        """Return the logprob, among the tokens that repeat what was typed, of this token or an alternative."""
        return logprob if self.allowed == 1.0 else min(logprob - log(max(self.allowed, TINIEST)), 0.0)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; ``arguments`` is the text of a JSON object, which the model may have left incomplete."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    Roles are those of the model's template: system, user, assistant and tool as a rule.

    An assistant's message may have tool calls, and a message of the role tool has the result of the
    call ``tool_call_id``. ``name`` is the speaker's or the tool's.
    """

    role: str
    content: str = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def characters(self) -> int:
        """The characters of its texts."""
        calls = sum(len(call.name) + len(call.arguments) for call in self.tool_calls)
        return len(self.role) + len(self.content) + calls + len(self.tool_call_id or "") + len(self.name or "")


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool choice that demands a call of this function."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class Extra:
    """A piece of another file that helps to complete this one."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The properties of a served model.

    ``context`` is the engine's limit in tokens. ``files`` is true if an infill may include pieces
    of other files. A model with an ``adapter`` shares the weights of its ``base``. ``revision``
    distinguishes these weights in this form from others of that name. ``calibration`` is that of
    its suggestions, a JSON object: the result of ``pellucid calibrate``, or the built-in one. If
    ``pellucid calibrate`` has made none that can be used, ``calibration_note`` may give the reason
    in a sentence. ``edit_calibration`` and its note are the same for next edits; without one of
    this model it is the default model's. ``next_edit`` is the form in which the model was trained
    to propose next edits, if it was.
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
    edit_calibration: Mapping[str, Any] | None = None
    edit_calibration_note: str | None = None
    next_edit: str | None = None


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The parameters by which the next token is chosen.

    The defaults are greedy and end only at a stop.

    The order is: penalties, logit_bias, constraint, temperature, top_k, top_p, min_p.
    ``temperature`` 0 takes the most probable token. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 switch
    a truncation off. Penalties count the tokens of prompt (repetition only) and answer:
    ``repetition_penalty`` divides positive logits and multiplies negative ones (Keskar et al. 2019,
    arXiv 1909.05858); ``presence_penalty`` and ``frequency_penalty`` are OpenAI's, over the answer.
    The same ``seed`` gives the same tokens alone and in any batch; None draws a seed.
    ``top_logprobs`` is the number of alternatives of each token.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclass_field(default_factory=dict)
    seed: int | None = None
    ignore_eos: bool = False
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        _require("max_tokens", self.max_tokens, self.max_tokens >= 0, "0 or more")
        flat = (
            1e-4 <= self.temperature <= 100.0
        )  # below it logits overflow, and the most probable token is certain anyway
        _require(
            "temperature", self.temperature, self.temperature == 0 or flat, "0 (greedy), or between 0.0001 and 100"
        )
        _require("top_k", self.top_k, self.top_k >= 0, "0 (off) or more")
        _require("top_p", self.top_p, 0.0 < self.top_p <= 1.0, "above 0 and at most 1")
        _require("min_p", self.min_p, 0.0 <= self.min_p <= 1.0, "between 0 and 1")
        _require(
            "repetition_penalty", self.repetition_penalty, 0.01 <= self.repetition_penalty <= 10, "between 0.01 and 10"
        )
        _require("presence_penalty", self.presence_penalty, -2.0 <= self.presence_penalty <= 2.0, "between -2 and 2")
        _require("frequency_penalty", self.frequency_penalty, -2.0 <= self.frequency_penalty <= 2.0, "between -2 and 2")
        for id, bias in self.logit_bias.items():
            _require(f"logit_bias of token {id}", bias, -100.0 <= bias <= 100.0, "between -100 and 100")
        _require("seed", self.seed, self.seed is None or 0 <= self.seed < 2**63, "between 0 and 2**63 - 1")
        _require(
            "top_logprobs",
            self.top_logprobs,
            0 <= self.top_logprobs <= MAX_ALTERNATIVES,
            f"between 0 and {MAX_ALTERNATIVES}",
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The priority, key and deadline of a request.

    A request with a ``key`` supersedes every earlier one with the same key. ``deadline`` is in
    seconds from submission: when it passes, the answer ends where it is.
    """

    priority: Priority = Priority.CHAT
    key: str | None = None
    deadline: float | None = None


GREEDY = SamplingParams()
"""Takes the most probable token each time."""

COMPLETION = Terms(Priority.COMPLETION)
CHAT = Terms(Priority.CHAT)
BACKGROUND = Terms(Priority.BACKGROUND)
"""The terms of the verbs complete, chat and score, unless a caller gives others."""


GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "grammar"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The form that an answer must have.

    ``text`` is, by ``kind``: a JSON schema; empty (any JSON object); a regular expression; a JSON
    list of texts, of which the answer is one; a grammar in Lark's syntax as llguidance extends it,
    or in llama.cpp's (GBNF). ``whitespace`` is a regular expression for the white space between the
    parts of JSON, None for the usual one. ``field`` is the name of the request's field, for errors.
    """

    kind: GrammarKind
    text: str = ""
    whitespace: str | None = None
    field: str = dataclass_field(default="grammar", compare=False)

    @property
    def is_json(self) -> bool:
        """True if every text of this form is JSON."""
        return self.kind in ("json_schema", "json_object")


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """A text to continue or, with a ``suffix`` ("" included), a gap to fill between the two.

    ``prefix`` may also be token ids, which are taken as they are and only continued. ``model`` None
    is the default one. ``stop`` are texts that end the answer and do not belong to it. ``heal``
    lets the answer begin inside the last token of the prefix (None: for infill only). ``special``
    reads what spells a marker in the prefix as that marker; it is for plain continuation. An infill
    is trimmed to the context, and the text around the cursor to ``window`` tokens of it. With a
    ``grammar`` the answer keeps to it, and is not healed; if it is one of JSON, ``with_fields``
    puts the answer's values into the Finish.
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
    grammar: Grammar | None = None
    with_fields: bool = False


@dataclass(frozen=True, slots=True)
class ChatQuery:
    """A conversation to answer; with ``continue_last`` its last message, the assistant's, is the beginning of the answer.

    ``tools`` are the functions that the model may call, JSON objects in OpenAI's shape; with
    ``tool_choice`` "none" it is not shown them, and with "required" or a NamedTool its answer is
    nothing but calls. Without ``parallel_tool_calls`` the answer ends after its first call; None
    allows several unless calls are demanded, as small models do not stop calling then. With a
    ``grammar`` the answer (with ``continue_last`` the rest of it) keeps to that grammar; if that is
    one of JSON, ``with_fields`` puts the answer's values into the Finish. ``prediction`` is a text
    that the answer is likely to repeat, in whole or in part: the text before an edit, say. The
    answer is the same, but comes sooner.
    """

    messages: Sequence[Message]
    params: SamplingParams = GREEDY
    model: str | None = None
    stop: Sequence[str] = ()
    terms: Terms = CHAT
    continue_last: bool = False
    grammar: Grammar | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    with_fields: bool = False
    prediction: str = ""

    @property
    def shown_tools(self) -> Sequence[Mapping[str, Any]]:
        """The functions that the model is shown."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def single_call(self) -> bool:
        """True if the answer ends after its first call."""
        several = self.tool_choice == "auto" if self.parallel_tool_calls is None else self.parallel_tool_calls
        return isinstance(self.tool_choice, NamedTool) or not several

    @property
    def continues_text(self) -> bool:
        """True if the answer continues a message that has text already."""
        return self.continue_last and bool(self.messages[-1].content.strip())


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """A text, token ids or a conversation to read, with ``top_logprobs`` alternatives for each token.

    ``special`` reads what spells a marker in a text as that marker. With ``continue_last`` a
    conversation ends within its last message, the assistant's. ``tools`` are the functions that its
    model was shown. With ``windows`` a text may be longer than the context: it is read in windows
    that overlap, so that each token is read with at least half a context of text before it (near
    the beginning with all that there is). Each token is scored once; the usage is that of all
    windows. With a ``gap``, which is an infill, a text is read as what fills it, and only the
    text's own tokens are scored. Begin it at the start of a line: a gap within a word is filled by
    other tokens than those of the text alone. A gap without a suffix, which must be ``special``, is
    a prompt that the text continues; markers are read as such in both. With ``continued``, a
    conversation whose last message is the assistant's, a text is read as what continues that
    message, in the same way.
    """

    text: str | Sequence[int] | Sequence[Message]
    model: str | None = None
    top_logprobs: int = 0
    terms: Terms = BACKGROUND
    special: bool = False
    continue_last: bool = False
    tools: Sequence[Mapping[str, Any]] = ()
    windows: bool = False
    gap: CompletionQuery | None = None
    continued: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """The cost of a request: tokens read from the cache, computed (prefill) and generated; times in seconds.

    ``queued`` is the wait for a slot, ``prefill`` the time from then to the first token, ``decode``
    the time from the first token to the last. ``moves`` counts the engines elsewhere that were lost
    meanwhile, whose work others resumed. ``prediction`` counts the tokens that the request
    predicted, and ``accepted`` those of them that the answer has.
    """

    cached: int = 0
    computed: int = 0
    generated: int = 0
    queued: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    moves: int = 0
    accepted: int = 0
    prediction: int = 0

    @property
    def prompt(self) -> int:
        """Number of tokens of the prompt."""
        return self.cached + self.computed


OnUsage = Callable[[Usage], None]
"""Receives the cost so far while an answer is generated."""


JsonScalar = str | int | float | bool | None
"""A JSON value that is neither an object nor an array."""


@dataclass(frozen=True, slots=True)
class OtherValue:
    """The most probable other value where one token decided, with its probability among what the grammar allowed."""

    value: JsonScalar
    probability: float


@dataclass(frozen=True, slots=True)
class JsonField:
    """A value of a JSON answer and the place of it, a JSON pointer.

    ``probability`` is that of the value's tokens among those that the grammar allowed, each after
    what was before it: a forced token counts 1. ``mass`` is the probability, by the model alone,
    that all of these tokens are ones that the grammar allowed. ``decided`` is the number of tokens
    that were not forced.
    """

    path: str
    value: JsonScalar
    probability: float
    mass: float
    decided: int
    other: OtherValue | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream. ``stop`` is the stop string that ended it, if one did.

    ``complete`` is None without a grammar. It is false if an answer ended before its grammar did.
    ``first_difference`` is the beginning of the text that the cache did not have, for an answer
    whose prompt was computed by more than a few tokens. ``loose_functions`` are those whose
    arguments could be any JSON object, because no grammar can hold to their schema. ``fields`` are
    the values of an answer under a JSON grammar, if the query has ``with_fields``, else None.
    """

    reason: FinishReason
    usage: Usage
    stop: str | None = None
    error: str | None = None
    complete: bool | None = None
    first_difference: str | None = None
    loose_functions: tuple[str, ...] = ()
    fields: tuple[JsonField, ...] | None = None


@dataclass(frozen=True, slots=True)
class Embedding:
    """The mean of the last hidden states of a text's tokens, scaled to length 1, and how the computation ended."""

    values: Sequence[float]
    finish: Finish
