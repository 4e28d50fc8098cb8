"""Controls of a turn: model, system prompt, sampling, answer format and tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.schema_and_tools import SCHEMA_EXAMPLE, TOOLS_EXAMPLE
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.conversations.turn_settings import TurnSettings

DEFAULTS = TurnSettings()

MODEL_HINT = "generates the answer"

FORMATS = [("Free", "free"), ("Any JSON object", "json_object"), ("JSON schema", "json_schema")]
TOOL_CHOICES = [("Auto", "auto"), ("Required", "required"), ("None", "none")]


@dataclass(frozen=True, slots=True)
class FormatControls:
    answer_format: gr.Dropdown
    schema: gr.Textbox
    tools: gr.Textbox
    tool_choice: gr.Dropdown


@dataclass(frozen=True, slots=True)
class Controls:
    """The components, in the order of handlers' values."""

    model: gr.Dropdown
    system: gr.Textbox
    temperature: gr.Slider
    top_p: gr.Slider
    min_p: gr.Slider
    top_k: gr.Number
    seed: gr.Textbox
    max_tokens: gr.Number
    form: FormatControls

    @property
    def parts(self) -> list[Component]:
        form = self.form
        sampling = [self.temperature, self.top_p, self.min_p, self.top_k, self.seed, self.max_tokens]
        return [self.model, self.system, *sampling, form.answer_format, form.schema, form.tools, form.tool_choice]

    @property
    def inputs(self) -> list[Any]:
        return [part.input for part in self.parts]  # type: ignore[attr-defined]  # All of these components have this event.

    def settings(self, values: Sequence[Any]) -> TurnSettings:
        """Raise InvalidRequestError for invalid sampling. Schema and tools may be unfinished."""
        model, system, temperature, top_p, min_p, top_k, seed, max_tokens, answer_format, schema, tools, tool_choice = (
            values
        )
        settings = TurnSettings(
            model=model or "",
            system=system or "",
            temperature=_number("Temperature", temperature),
            top_p=_number("Top-p", top_p),
            min_p=_number("Min-p", min_p),
            top_k=int(_number("Top-k", top_k)),
            seed=_seed(seed),
            max_tokens=int(_number("Max output tokens", max_tokens)),
            answer_format=answer_format,
            schema=schema,
            tools=tools,
            tool_choice=tool_choice,
        )
        settings.sampling()
        return settings

    def values(self, settings: TurnSettings) -> list[Any]:
        seed = "" if settings.seed is None else str(settings.seed)
        rest = (settings.temperature, settings.top_p, settings.min_p, settings.top_k, seed, settings.max_tokens)
        form = (settings.answer_format, settings.schema, settings.tools, settings.tool_choice)
        return [settings.model, settings.system, *rest, *form]

    def unchanged(self) -> list[Any]:
        return [gr.skip() for _ in self.parts]


def model_menu(served: ServedModels, info: str = MODEL_HINT, chosen: str = "") -> Any:
    """Update a model menu; a chosen model that is not served stays, marked as missing."""
    return gr.Dropdown(**served.menu(info, chosen))


def chat_model_menu() -> gr.Dropdown:
    """Add the model menu, which accepts any name.

    Gradio would refuse names outside the choices remembered for the tab, and remembers none after a
    change of user. Starting an answer reports a missing model.
    """
    menu = gr.Dropdown(
        [], label="Model", show_label=False, container=False, interactive=True, elem_id="pl-model", scale=0
    )
    menu.preprocess = _unchanged  # type: ignore[method-assign, assignment]
    return menu


def chat_controls(model: gr.Dropdown) -> Controls:
    """Add the chat's controls, except the model menu in the header."""
    system = gr.Textbox(
        DEFAULTS.system, label="System prompt", info="for example: Answer in one sentence.", lines=2, interactive=True
    )
    temperature = _slider(0, 2, DEFAULTS.temperature, 0.05, "Temperature", "0: always the most likely token")
    form = _format_controls()
    with gr.Accordion("Sampling", open=False):
        return Controls(
            model=model,
            system=system,
            temperature=temperature,
            top_p=_slider(
                0.05, 1, DEFAULTS.top_p, 0.01, "Top-p", "keep the most likely tokens up to this total probability"
            ),
            min_p=_slider(
                0, 1, DEFAULTS.min_p, 0.01, "Min-p", "keep tokens with at least this fraction of the top probability"
            ),
            top_k=gr.Number(DEFAULTS.top_k, label="Top-k", info="0: off", precision=0, interactive=True),
            seed=gr.Textbox("", label="Seed", placeholder="Random", max_lines=1, interactive=True),
            max_tokens=gr.Number(
                DEFAULTS.max_tokens,
                label="Max output tokens",
                info="0: up to the context",
                precision=0,
                interactive=True,
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
                info="for the format JSON schema, for example: "
                '{"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}',
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
                info="a JSON list of functions that the model may call, in OpenAI's shape; the page shows the calls "
                'and runs none. For example: [{"type": "function", "function": {"name": "now"}}]',
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
                info="auto: the model decides; required: the answer is nothing but calls, "
                "for example to see how sure an argument is; none: the model does not see the tools",
                interactive=True,
            ),
        )


def _slider(least: float, most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    """Add a slider that accepts an empty field, reported when an answer is started."""
    slider = gr.Slider(least, most, value, step=step, label=label, info=info, interactive=True)
    slider.preprocess = _unchanged  # type: ignore[method-assign, assignment]
    return slider


def _unchanged(value: Any) -> Any:
    return value


def _seed(text: str) -> int | None:
    """Parse the seed. An empty number field would show 0, so the field is text."""
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise InvalidRequestError(f"The seed {text!r} is not a whole number: change it, or leave it empty.") from None


def _number(name: str, value: Any) -> float:
    if value is None:
        raise InvalidRequestError(f"{name} is empty: enter a number.")
    return float(value)
