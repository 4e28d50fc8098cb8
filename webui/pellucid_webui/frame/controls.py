"""Controls of a turn: model, system prompt, sampling, answer format and tools.

The names in ``chat_settings.js`` have the order of these controls.
"""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from pellucid_webui.conversations.schema_and_tools import SCHEMA_EXAMPLE, TOOLS_EXAMPLE
from pellucid_webui.conversations.turn_settings import TurnSettings

DEFAULTS = TurnSettings()

FORMATS = [("Free", "free"), ("Any JSON object", "json_object"), ("JSON schema", "json_schema")]
REASONING = [("Off", "off"), ("Low", "low"), ("Medium", "medium"), ("High", "high")]
TOOL_CHOICES = [("Auto", "auto"), ("Required", "required"), ("None", "none")]


def chat_model_menu() -> gr.Dropdown:
    return gr.Dropdown(
        [], label="Model", show_label=False, container=False, interactive=True, elem_id="pl-model", scale=0
    )


def chat_controls() -> list[Component]:
    """Add the chat's controls, except the model menu."""
    system = gr.Textbox(
        DEFAULTS.system, label="System prompt", info="for example: Answer in one sentence.", lines=2, interactive=True
    )
    temperature = _slider(0, 2, DEFAULTS.temperature, 0.05, "Temperature", "0: always the most likely token")
    form = _format_controls()
    with gr.Accordion("Sampling", open=False):
        top_p = _slider(
            0.05, 1, DEFAULTS.top_p, 0.01, "Top-p", "keep the most likely tokens up to this total probability"
        )
        min_p = _slider(
            0, 1, DEFAULTS.min_p, 0.01, "Min-p", "keep tokens with at least this fraction of the top probability"
        )
        top_k = gr.Number(DEFAULTS.top_k, label="Top-k", info="0: off", precision=0, interactive=True)
        # An empty number field would show 0.
        seed = gr.Textbox("", label="Seed", placeholder="Random", max_lines=1, interactive=True)
        max_tokens = gr.Number(
            DEFAULTS.max_tokens, label="Max output tokens", info="0: up to the context", precision=0, interactive=True
        )
    return [system, temperature, top_p, min_p, top_k, seed, max_tokens, *form]


def _format_controls() -> list[Component]:
    with gr.Accordion("Format and tools", open=False):
        answer_format = gr.Dropdown(
            FORMATS,
            value="free",
            label="Answer format",
            info='state it in your message too, for example: "Name a colour as JSON with the key colour."',
            interactive=True,
        )
        schema = gr.Textbox(
            "",
            label="JSON schema",
            info="for the format JSON schema",
            placeholder=f"Empty. For example:\n{SCHEMA_EXAMPLE}",
            lines=4,
            max_lines=12,
            elem_id="pl-schema",
            elem_classes="pl-mono-field",
            interactive=True,
        )
        tools = gr.Textbox(
            "",
            label="Tools",
            info="a JSON list of functions that the model may call, in OpenAI's shape; the page shows the calls "
            "and runs none",
            placeholder=f"Empty. For example:\n{TOOLS_EXAMPLE}",
            lines=6,
            max_lines=16,
            elem_id="pl-tools",
            elem_classes="pl-mono-field",
            interactive=True,
        )
        tool_choice = gr.Dropdown(
            TOOL_CHOICES,
            value="auto",
            label="Tool choice",
            info="auto: the model decides; required: the answer is nothing but calls, "
            "for example to see how sure an argument is; none: the model does not see the tools",
            interactive=True,
        )
        reasoning = gr.Dropdown(
            REASONING,
            value="off",
            label="Reasoning",
            info="for a model that can reason before it answers; few models distinguish low, medium and high",
            interactive=True,
        )
    return [answer_format, schema, tools, tool_choice, reasoning]


def _slider(least: float, most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(least, most, value, step=step, label=label, info=info, interactive=True)
