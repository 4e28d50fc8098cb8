"""Queries: what to complete, to answer or to read, and on which terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import IntEnum
from typing import Any, Literal

from pellucid.vocabulary.message import Message, NamedTool, ToolChoice
from pellucid.vocabulary.token import MAX_ALTERNATIVES

MAX_OUTCOMES = 5_000
"""Maximum number of shown, and of accepted, suggestions in a report."""


class Priority(IntEnum):
    """The order of serving requests; lower numbers come first."""

    COMPLETION = 0
    CHAT = 1
    BACKGROUND = 2


def _require(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {rule}, not {value!r}.")


@dataclass(frozen=True, slots=True)
class Extra:
    """A piece of another file, as context of a completion."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The parameters that choose the next token; the defaults are greedy and end at a stop.

    The order is: penalties, logit_bias, constraint, temperature, top_k, top_p, min_p.
    ``temperature`` 0 takes the most probable token. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 turn a
    truncation off. ``repetition_penalty`` divides positive logits and multiplies negative logits of
    tokens in prompt and answer (Keskar et al. 2019, arXiv 1909.05858). ``presence_penalty`` and
    ``frequency_penalty`` are OpenAI's, over the answer. The same ``seed`` gives the same tokens
    alone and in any batch; `None` draws a seed. ``top_logprobs`` is the number of alternatives per
    token. ``experts`` reports the experts of each token; only for a model with experts.
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
    experts: bool = False

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


Effort = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning before an answer, of at most ``most_tokens``.

    Only some models distinguish efforts.
    """

    effort: Effort = "medium"
    most_tokens: int | None = None

    def __post_init__(self) -> None:
        _require("most_tokens", self.most_tokens, self.most_tokens is None or self.most_tokens >= 0, "0 or more")


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
        reasoning: `None` lets the model answer at once; otherwise, it may reason before it answers.
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
    reasoning: Reasoning | None = None

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
        experts: Whether to report the experts of each token; see SamplingParams.
        reasoning: The reasoning that the prompt of a conversation asks for.
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
    experts: bool = False
    reasoning: Reasoning | None = None
