"""Defines the controls of a turn: model, system prompt, sampling, and in the chat the answer's format and the tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.answer_format import SCHEMA_EXAMPLE, TOOLS_EXAMPLE
from pellucid_webui.conversations.turn_settings import TurnSettings

DEFAULTS = TurnSettings()

MODEL_HINT = "generates the answer"

FORMATS = [("Free", "free"), ("Any JSON object", "json_object"), ("JSON schema", "json_schema")]
TOOL_CHOICES = [("Auto", "auto"), ("Required", "required"), ("None", "none")]


@dataclass(frozen=True, slots=True)
class FormatControls:
    """The components for the answer's format and the tools."""

    answer_format: gr.Dropdown
    schema: gr.Textbox
    tools: gr.Textbox
    tool_choice: gr.Dropdown


@dataclass(frozen=True, slots=True)
class Controls:
    """The components, in the order in which handlers get their values."""

    model: gr.Dropdown
    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    min_p: gr.Slider
    top_k: gr.Number
    seed: gr.Textbox
    max_tokens: gr.Number
    form: FormatControls | None = None

    @property
    def parts(self) -> list[Component]:
        """The components as inputs or outputs of an event."""
        form = self.form
        extra = [] if form is None else [form.answer_format, form.schema, form.tools, form.tool_choice]
        return [self.model, self.system, self.temperature, self.top_p, self.min_p, self.top_k, self.seed, self.max_tokens, *extra]

    @property
    def inputs(self) -> list[Any]:
        """The events of a user changing a component."""
        return [part.input for part in self.parts]  # type: ignore[attr-defined]  # each of these components has this event

    def settings(self, values: Sequence[Any]) -> TurnSettings:
        """Return the settings that the controls show. Raises InvalidRequestError for values that cannot be sampled with.

        A schema or tools may be unfinished: ``TurnSettings.check`` reports them when an answer is started.
        """
        model, system, temperature, top_p, min_p, top_k, seed, max_tokens, *form = values
        settings = TurnSettings(
            model=model or "",
            system=system or "",
            temperature=_number("Temperature", temperature),
            top_p=_number("Top-p", top_p),
            min_p=_number("Min-p", min_p),
            top_k=int(_number("Top-k", top_k)),
            seed=_seed(seed),
            max_tokens=int(_number("Maximum tokens", max_tokens)),
            **dict(zip(("answer_format", "schema", "tools", "tool_choice"), form, strict=False)),
        )
        settings.sampling()
        return settings

    async def showing(self, assistant: Assistant, settings: TurnSettings | None, which: int = 0) -> list[Any]:
        """Return updates of all components that show the server's models and these settings.

        Without settings only the model changes: to the one with index ``which``, or the last one if there are fewer.
        """
        if settings is None:
            return [await model_choices(assistant, which=which), *[gr.skip() for _ in self.parts[1:]]]
        seed = "" if settings.seed is None else str(settings.seed)
        rest = (settings.system, settings.temperature, settings.top_p, settings.min_p, settings.top_k, seed, settings.max_tokens)
        form = () if self.form is None else (settings.answer_format, settings.schema, settings.tools, settings.tool_choice)
        return [await model_choices(assistant, chosen=settings.model), *rest, *form]

    def unchanged(self) -> list[Any]:
        """Return updates that change nothing."""
        return [gr.skip() for _ in self.parts]


async def model_choices(assistant: Assistant, info: str = MODEL_HINT, chosen: str = "", which: int = 0) -> Any:
    """Return an update of a model menu, with its hint and the chosen model. If models cannot be listed, the hint says why."""
    try:
        names = [card.name for card in await assistant.cards()]
    except PellucidError as error:
        return gr.Dropdown(choices=[], value=None, info=str(error))
    return gr.Dropdown(choices=names, value=chosen if chosen in names else names[: which + 1][-1], info=info)


def turn_controls(
    name: str = "Answer settings", defaults: TurnSettings = DEFAULTS, *, opened: bool = False, with_format: bool = False
) -> Controls:
    """Add the controls to a page, in an accordion with others for rarely changed settings; ``with_format`` adds format and tools."""
    with gr.Accordion(name, open=opened):
        model = gr.Dropdown([], label="Model", info=MODEL_HINT, interactive=True)
        system = gr.Textbox(defaults.system, label="System prompt", info="for example: Answer in one sentence.", lines=2, interactive=True)
        temperature = _slider(0, 2, defaults.temperature, 0.05, "Temperature", "0: always the most likely token")
        form = _format_controls() if with_format else None
        with gr.Accordion("Sampling", open=False):
            return Controls(
                model=model,
                system=system,
                temperature=temperature,
                top_p=_slider(0.05, 1, defaults.top_p, 0.01, "Top-p", "keep the most likely tokens up to this total probability"),
                min_p=_slider(0, 1, defaults.min_p, 0.01, "Min-p", "keep tokens with at least this fraction of the top probability"),
                top_k=gr.Number(defaults.top_k, label="Top-k", info="0: off", precision=0, interactive=True),
                seed=gr.Textbox("", label="Seed", placeholder="random each time", max_lines=1, interactive=True),
                max_tokens=gr.Number(
                    defaults.max_tokens, label="Maximum tokens", info="0: up to the context", precision=0, interactive=True
                ),
                form=form,
            )


def _format_controls() -> FormatControls:
    with gr.Accordion("Format and tools", open=False):
        return FormatControls(
            answer_format=gr.Dropdown(
                FORMATS,
                value="free",
                label="Answer format",
                info='state it in your message too, for example: "Name a colour as JSON with the key colour."',
                interactive=True,
            ),
            schema=gr.Textbox(
                "",
                label="JSON schema",
                info='for the format JSON schema, for example: {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}',
                placeholder=SCHEMA_EXAMPLE,
                lines=4,
                max_lines=12,
                elem_id="pl-schema",
                elem_classes="pl-mono-field",
                interactive=True,
            ),
            tools=gr.Textbox(
                "",
                label="Tools",
                info="a JSON list of functions that the model may call, in OpenAI's shape; the page shows the calls and runs none. "
                'For example: [{"type": "function", "function": {"name": "now"}}]',
                placeholder=TOOLS_EXAMPLE,
                lines=6,
                max_lines=16,
                elem_id="pl-tools",
                elem_classes="pl-mono-field",
                interactive=True,
            ),
            tool_choice=gr.Dropdown(
                TOOL_CHOICES,
                value="auto",
                label="Tool choice",
                info="auto: the model decides; required: the answer is nothing but calls, for example to see how sure an argument is; "
                "none: the model does not see the tools",
                interactive=True,
            ),
        )


def _slider(least: float, most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    """Add a slider that accepts an empty number field, which is reported when an answer is started."""
    slider = gr.Slider(least, most, value, step=step, label=label, info=info, interactive=True)
    slider.preprocess = _unchanged  # type: ignore[method-assign, assignment]
    return slider


def _unchanged(value: float | None) -> float | None:
    return value


def _seed(text: str) -> int | None:
    """Read the seed, which has a text field because an empty number field would show 0."""
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise InvalidRequestError(f"The seed {text!r} is not a whole number: change it, or leave it empty.") from None


def _number(name: str, value: Any) -> float:
    if value is None:
        raise InvalidRequestError(f"{name} is empty: enter a number.")
    return float(value)
