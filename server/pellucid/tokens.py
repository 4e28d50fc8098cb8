"""The types shared by all packages: tokens with probabilities, queries and results.

This file imports nothing else of Pellucid. Logprobs are natural logarithms of the model's own
distribution, before any sampler, for all tokens: generated or read, streamed or not.
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
"""Maximum number of alternatives per token (OpenAI's limit for ``top_logprobs``)."""

MAX_OUTCOMES = 5_000
"""Maximum number of shown, and of accepted, suggestions in a report."""

ADAPTER_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?"
"""Permitted adapter names. File names contain these, and some systems forbid long names and a final
dot.
"""


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    SUPERSEDED = "superseded"
    ERROR = "error"


class Priority(IntEnum):
    """The order of serving requests; lower numbers come first."""

    COMPLETION = 0
    CHAT = 1
    BACKGROUND = 2


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, not {value!r}.")


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


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call; ``arguments`` is the text of a JSON object, possibly incomplete."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a chat. Roles are defined by the model's template.

    The assistant's messages may have tool calls. A message with the role tool has the result of the
    call ``tool_call_id``. ``name`` is the name of the speaker or tool.
    """

    role: str
    content: str = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    name: str | None = None

    @property
    def characters(self) -> int:
        calls = sum(len(call.name) + len(call.arguments) for call in self.tool_calls)
        return len(self.role) + len(self.content) + calls + len(self.tool_call_id or "") + len(self.name or "")


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool choice that demands a call of this function."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class Extra:
    """A piece of another file, as context of a completion."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The properties of a served model.

    Attributes:
        context: The engine's limit in tokens.
        files: Whether an infill may include pieces of other files.
        base: The model that shares its weights with an ``adapter``.
        revision: Distinguishes weights with the same name.
        calibration: The result of ``pellucid calibrate``, or the built-in calibration of
            suggestions.
        calibration_note: The reason why no result of ``pellucid calibrate`` is used.
        edit_calibration: For next edits; defaults to the default model's calibration.
        next_edit: The form in which the model was trained to propose next edits.
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
    """The parameters that choose the next token; the defaults are greedy and end at a stop.

    The order is: penalties, logit_bias, constraint, temperature, top_k, top_p, min_p.
    ``temperature`` 0 takes the most probable token. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 turn a
    truncation off. ``repetition_penalty`` divides positive logits and multiplies negative logits of
    tokens in prompt and answer (Keskar et al. 2019, arXiv 1909.05858). ``presence_penalty`` and
    ``frequency_penalty`` are OpenAI's, over the answer. The same ``seed`` gives the same tokens
    alone and in any batch; `None` draws a seed. ``top_logprobs`` is the number of alternatives per
    token.
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
        # Below 0.0001, logits overflow, and the most probable token is certain anyway.
        flat = 1e-4 <= self.temperature <= 100.0
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

    A request with a ``key`` supersedes all earlier requests with the same key. ``deadline`` is in
    seconds after submission and cuts the answer off.
    """

    priority: Priority = Priority.CHAT
    key: str | None = None
    deadline: float | None = None


GREEDY = SamplingParams()

COMPLETION = Terms(Priority.COMPLETION)
CHAT = Terms(Priority.CHAT)
BACKGROUND = Terms(Priority.BACKGROUND)
"""The default terms of complete, chat and score."""


GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "grammar"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """The required form of an answer.

    Attributes:
        text: By ``kind``: a JSON schema; empty (any JSON object); a regular expression; a JSON list
            of permitted answers; a grammar in Lark's syntax as extended by llguidance, or in GBNF.
        whitespace: A regular expression for white space in JSON; `None` for the default.
        field: The name of the request's field, for errors.
    """

    kind: GrammarKind
    text: str = ""
    whitespace: str | None = None
    field: str = dataclass_field(default="grammar", compare=False)

    @property
    def is_json(self) -> bool:
        return self.kind in ("json_schema", "json_object")


@dataclass(frozen=True, slots=True)
class CompletionQuery:
    """A text to continue or, with a ``suffix`` (even ""), a gap to fill.

    An infill is trimmed to the context, and the text around the cursor to ``window`` tokens.

    Attributes:
        prefix: A text, or token ids to continue unchanged.
        stop: Texts that end the answer and are not part of the answer.
        heal: Whether the answer may begin inside the prefix's last token (`None`: for infill).
        special: Whether markers in the prefix are read as special tokens; only without a suffix.
        grammar: The form of the answer; turns healing off.
        with_fields: Whether the Finish contains the values of a JSON answer.
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
    """A conversation to answer.

    Attributes:
        continue_last: Whether to continue the last message, which must be the assistant's.
        grammar: The form of the answer or, with ``continue_last``, of the rest.
        tools: The functions that the model may call, as JSON objects in OpenAI's format.
        tool_choice: "none" hides the tools; "required" or a NamedTool allows only calls.
        parallel_tool_calls: If false, the answer ends after the first call. `None` allows several
            calls unless calls are demanded, because small models then do not stop calling.
        with_fields: Whether the Finish contains the values of a JSON answer.
        prediction: A text that the answer probably repeats. The answer is the same, but faster.
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
        return () if self.tool_choice == "none" else self.tools

    @property
    def single_call(self) -> bool:
        several = self.tool_choice == "auto" if self.parallel_tool_calls is None else self.parallel_tool_calls
        return isinstance(self.tool_choice, NamedTool) or not several

    @property
    def continues_text(self) -> bool:
        return self.continue_last and bool(self.messages[-1].content.strip())


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """A text, token ids or a conversation to read.

    Attributes:
        special: Whether markers in a text are read as special tokens.
        continue_last: Whether the conversation ends within the assistant's last message.
        windows: Whether a text may exceed the context. The text is read in overlapping windows,
            with at least half a context before each token (near the beginning, all the text). Each
            token is scored once; the usage covers all windows.
        gap: An infill that the text fills; only the text is scored. Begin the text at the start of
            a line, because a gap within a word changes the tokens. A gap without a suffix is a
            prompt and must be ``special``; markers are then read in prompt and text.
        continued: A conversation with a last message of the assistant, which the text continues.
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
    """The cost of a request, in tokens and seconds.

    Attributes:
        cached, computed: Prompt tokens found in the KV cache, and computed in the prefill.
        queued: The wait for a slot.
        prefill, decode: The time until the first token, and from there to the last token.
        moves: The number of remote engines lost meanwhile, with the work resumed elsewhere.
        accepted: The number of predicted tokens in the answer.
        prediction: The number of tokens in the request's prediction.
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
        return self.cached + self.computed


OnUsage = Callable[[Usage], None]
"""Receives the cost so far while an answer is generated."""


JsonScalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class OtherValue:
    """The most probable other JSON value, if one token decided; relative to the allowed tokens."""

    value: JsonScalar
    probability: float


@dataclass(frozen=True, slots=True)
class JsonField:
    """A value of a JSON answer, with the JSON pointer ``path``.

    Attributes:
        probability: The probability of the value's tokens relative to the allowed tokens (1 if
            forced).
        mass: The model's probability that each of these tokens is allowed.
        decided: The number of tokens that were not forced.
    """

    path: str
    value: JsonScalar
    probability: float
    mass: float
    decided: int
    other: OtherValue | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of every stream.

    Attributes:
        stop: The stop string that ended the answer, if any.
        complete: False if the answer ended before the grammar did; `None` without a grammar.
        first_difference: The start of the text missing in the KV cache, unless only a few prompt
            tokens were computed.
        loose_functions: Functions with any JSON object as arguments, because no grammar can express
            the schema.
        fields: The values of a JSON answer, if the query has ``with_fields``.
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
    """The mean of the last hidden states of a text's tokens, scaled to length 1."""

    values: Sequence[float]
    finish: Finish
