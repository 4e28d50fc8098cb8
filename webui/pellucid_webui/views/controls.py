"""The controls of a turn: model, system prompt and sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from pellucid.client.protocol import Assistant
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.conversation import TurnSettings

DEFAULTS = TurnSettings()

WHICH = "which answers"


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

    @property
    def parts(self) -> list[Component]:
        """As inputs or outputs of an event."""
        return [self.model, self.system, self.temperature, self.top_p, self.min_p, self.top_k, self.seed, self.max_tokens]

    @property
    def inputs(self) -> list[Any]:
        """The events of somebody changing one of them."""
        return [part.input for part in self.parts]  # type: ignore[attr-defined]  # each of these has it

    def settings(self, values: Sequence[Any]) -> TurnSettings:
        """What the controls say. Raises InvalidRequestError for what cannot be sampled with."""
        model, system, temperature, top_p, min_p, top_k, seed, max_tokens = values
        settings = TurnSettings(
            model=model or "",
            system=system or "",
            temperature=_number("Temperature", temperature),
            top_p=_number("Top-p", top_p),
            min_p=_number("Min-p", min_p),
            top_k=int(_number("Top-k", top_k)),
            seed=_seed(seed),
            max_tokens=int(_number("Most tokens", max_tokens)),
        )
        settings.sampling()
        return settings

    async def showing(self, assistant: Assistant, settings: TurnSettings | None, which: int = 0) -> list[Any]:
        """Updates of all parts: the models that the server has, and these settings.

        Without settings the rest stays as it is, and the model with the number ``which`` is chosen, or the last one before it.
        """
        if settings is None:
            return [await model_choices(assistant, which=which), *[gr.skip() for _ in self.parts[1:]]]
        seed = "" if settings.seed is None else str(settings.seed)
        rest = (settings.system, settings.temperature, settings.top_p, settings.min_p, settings.top_k, seed, settings.max_tokens)
        return [await model_choices(assistant, chosen=settings.model), *rest]

    def unchanged(self) -> list[Any]:
        """Updates that leave all as it is."""
        return [gr.skip() for _ in self.parts]


async def model_choices(assistant: Assistant, info: str = WHICH, chosen: str = "", which: int = 0) -> Any:
    """An update of a menu of models, with its hint and the one that is chosen, if it is there; where none is the hint says why."""
    try:
        names = [card.name for card in await assistant.cards()]
    except PellucidError as error:
        return gr.Dropdown(choices=[], value=None, info=str(error))
    return gr.Dropdown(choices=names, value=chosen if chosen in names else names[: which + 1][-1], info=info)


def turn_controls(name: str = "How to answer", defaults: TurnSettings = DEFAULTS, *, opened: bool = False) -> Controls:
    """The controls, in an accordion; what few people change is folded once more."""
    with gr.Accordion(name, open=opened):
        model = gr.Dropdown([], label="Model", info=WHICH, interactive=True)
        system = gr.Textbox(defaults.system, label="System prompt", info="e.g. Answer in one sentence.", lines=2, interactive=True)
        temperature = _slider(0, 2, defaults.temperature, 0.05, "Temperature", "0 takes the likeliest token")
        with gr.Accordion("Sampling", open=False):
            return Controls(
                model=model,
                system=system,
                temperature=temperature,
                top_p=_slider(0.05, 1, defaults.top_p, 0.01, "Top-p", "the likeliest tokens that sum up to this"),
                min_p=_slider(0, 1, defaults.min_p, 0.01, "Min-p", "at least this share of the best one's probability"),
                top_k=gr.Number(defaults.top_k, label="Top-k", info="0: off", precision=0, interactive=True),
                seed=gr.Textbox("", label="Seed", placeholder="another one each time", max_lines=1, interactive=True),
                max_tokens=gr.Number(defaults.max_tokens, label="Most tokens", precision=0, interactive=True),
            )


def _slider(least: float, most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    """A slider whose value comes as it is: the field beside it may be empty, and that is told where an answer is begun."""
    slider = gr.Slider(least, most, value, step=step, label=label, info=info, interactive=True)
    slider.preprocess = _as_it_is  # type: ignore[method-assign, assignment]
    return slider


def _as_it_is(value: float | None) -> float | None:
    return value


def _seed(text: str) -> int | None:
    """A field and not a number's, which would show 0 where there is none."""
    try:
        return int(text) if text.strip() else None
    except ValueError:
        raise InvalidRequestError(f"Seed is {text!r}: write a whole number, or leave it empty.") from None


def _number(name: str, value: Any) -> float:
    if value is None:
        raise InvalidRequestError(f"{name} is empty: write a number.")
    return float(value)
