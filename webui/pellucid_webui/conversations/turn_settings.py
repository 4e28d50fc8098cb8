"""The settings of a turn, such as the model and the temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields, replace
from math import isfinite
from typing import Any, Literal, Self, get_args

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, Effort, Grammar, Reasoning, SamplingParams
from pellucid_webui.conversations.schema_and_tools import AnswerFormat, ToolUse, read_schema, read_tools

ALTERNATIVES = 10


LARGEST = 2**53 - 1
"""The largest integer that every JSON parser, including browsers, reads exactly."""


UNLIMITED_TOKENS = 2**31 - 1
"""The largest limit that servers accept, sent for an answer without a limit."""


ReasoningChoice = Literal["off"] | Effort


NUMBERS = {
    "temperature": "Temperature",
    "top_p": "Top-p",
    "min_p": "Min-p",
    "top_k": "Top-k",
    "max_tokens": "Max output tokens",
}
"""The labels of the numbers that a control may leave empty."""

_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """The model, sampling, form and tools of a turn.

    Empty ``model``: the server's first model. ``seed`` None: random. ``max_tokens`` 0: up to the
    context. ``schema`` and ``tools`` are JSON as typed by the user, possibly unfinished.
    """

    model: str = ""
    system: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 0
    answer_format: AnswerFormat = "free"
    schema: str = ""
    tools: str = ""
    tool_choice: ToolUse = "auto"
    reasoning: ReasoningChoice = "off"

    def sampling(self) -> SamplingParams:
        """Raise InvalidRequestError for a setting that is out of bounds."""
        for name in ("max_tokens", "top_k"):
            # Could not be sent to the page, so the conversation could not be opened again.
            if getattr(self, name) > LARGEST:
                raise InvalidRequestError(f"{name} must be at most {LARGEST}.", param=name)
        try:
            return SamplingParams(
                max_tokens=self.max_tokens or UNLIMITED_TOKENS,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                min_p=self.min_p,
                seed=self.seed,
                top_logprobs=ALTERNATIVES,
            )
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error

    def grammar(self) -> Grammar | None:
        if self.answer_format == "free":
            return None
        return (
            Grammar("json_object", field="answer_format")
            if self.answer_format == "json_object"
            else read_schema(self.schema)
        )

    def functions(self) -> list[Mapping[str, Any]]:
        """Raise InvalidRequestError for invalid or missing tools, or tools with a format."""
        found = [] if self.tool_choice == "none" else read_tools(self.tools)
        if self.tool_choice == "required" and not found:
            raise InvalidRequestError(
                "A tool call is required, but there are no tools: write some, or choose auto.", param="tools"
            )
        if found and self.answer_format != "free":
            raise InvalidRequestError(
                "Tools and an answer format exclude each other: choose the format free, or no tools.", param="tools"
            )
        return found

    def check(self) -> None:
        self.sampling()
        self.grammar()
        self.functions()

    def query(self, messages: Sequence[Message], *, continue_last: bool = False) -> ChatQuery:
        functions = self.functions()
        return ChatQuery(
            messages,
            self.sampling(),
            model=self.model or None,
            continue_last=continue_last,
            grammar=self.grammar(),
            tools=functions,
            tool_choice=self.tool_choice if functions else "auto",
            with_fields=True,
            reasoning=None if self.reasoning == "off" else Reasoning(self.reasoning),
        )

    def record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        return cls(**{one.name: _typed(one, record[one.name]) for one in fields(cls) if one.name in record})


def settings_of_controls(values: object) -> TurnSettings:
    """Return the settings of the page's controls, by name.

    Raises InvalidRequestError for invalid sampling. Schema and tools may be unfinished.
    """
    if not isinstance(values, Mapping):
        raise InvalidRequestError("The page sent no settings: reload it.")
    found = {one.name: values[one.name] for one in fields(TurnSettings) if values.get(one.name) is not None}
    found |= {name: _number(label, found.get(name)) for name, label in NUMBERS.items()}
    found |= {name: _whole(NUMBERS[name], found[name]) for name in ("top_k", "max_tokens")}
    found["seed"] = _seed(str(found.get("seed", "")))
    settings = TurnSettings.read(found)
    settings.sampling()
    return settings


def settings_of_retry(settings: TurnSettings, other: object) -> TurnSettings:
    """Return settings with the page's model and temperature."""
    model, temperature = (other.get("model"), other.get("temperature")) if isinstance(other, Mapping) else (None, None)
    if not isinstance(model, str) or not isinstance(temperature, int | float) or isinstance(temperature, bool):
        raise InvalidRequestError("The page sent no valid model and temperature: reload it.")
    return replace(settings, model=model, temperature=float(temperature))


def _seed(text: str) -> int | None:
    try:
        return int(text) if text.strip() else None
    except ValueError:
        shown = repr(text[:_MAX_SHOWN])
        raise InvalidRequestError(f"The seed {shown} is not a whole number: change it, or leave it empty.") from None


def _number(label: str, value: object) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return float(value)
    except OverflowError:
        raise InvalidRequestError(f"{label} is too large: enter a smaller number.") from None
    raise InvalidRequestError(f"{label} is empty: enter a number.")


def _whole(label: str, value: float) -> int:
    if not value.is_integer():
        raise InvalidRequestError(f"{label} is {value:g}: enter a whole number.")
    return int(value)


_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "int | None": (int, type(None)),
}

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "AnswerFormat": get_args(AnswerFormat),
    "ToolUse": get_args(ToolUse),
    "ReasoningChoice": ("off", *get_args(Effort)),
}


def _typed(setting: Field[Any], value: object) -> Any:
    choices = _CHOICES.get(str(setting.type))
    if choices is not None:
        if value not in choices:
            raise InvalidRequestError(
                f"The setting {setting.name} of a turn must be one of {', '.join(choices)}, "
                f"not {repr(value)[:_MAX_SHOWN]}.",
                param=setting.name,
            )
        return value
    kinds = _KINDS[str(setting.type)]
    if not isinstance(value, kinds) or isinstance(value, bool):
        shown = repr(value)[:_MAX_SHOWN]
        raise InvalidRequestError(
            f"The setting {setting.name} of a turn must be of the type {setting.type}, not {shown}.", param=setting.name
        )
    return value
