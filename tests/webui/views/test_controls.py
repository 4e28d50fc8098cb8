"""Tests the menus of models and the controls of a turn.

Gradio needs an event loop: without an event loop, Gradio leaks loops of its own.
"""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.controls import chat_controls, chat_model_menu, model_menu


def served(*names: str) -> ServedModels:
    return ServedModels(
        [ModelCard(name, 64, infill=True, chat=True, weight_bytes=1, description="", licence=None) for name in names]
    )


def shown(menu: Any) -> tuple[list[Any], Any]:
    return menu.choices, menu.value


def test_a_missing_model_stays_chosen() -> None:
    """A model no longer served is called missing, and stays chosen."""
    menu = model_menu(served("a", "b"), chosen="gone")
    assert shown(menu) == ([("a", "a"), ("b", "b"), ("gone (missing)", "gone")], "gone")
    assert menu.info == "gone is not served any more: choose another model."


def test_a_chosen_model() -> None:
    """A served model is chosen by name, or by default the first model."""
    assert shown(model_menu(served("a", "b"), chosen="b"))[1] == "b"
    assert shown(model_menu(served("a", "b")))[1] == "a"


def test_models_that_cannot_be_listed() -> None:
    """While models cannot be listed, the menu keeps the chosen model and gives the reason."""
    menu = model_menu(ServedModels(problem="The server is loading."), chosen="a")
    assert shown(menu) == ([("a", "a")], "a")
    assert menu.info == "The server is loading."


async def test_the_settings_that_controls_show_are_read_back() -> None:
    """Settings are read back unchanged from the controls, even for an unlisted model."""
    with gr.Blocks(analytics_enabled=False):
        controls = chat_controls(chat_model_menu())
    settings = TurnSettings("gone", "Be brief.", 0.3, 0.9, 5, 0.1, 7, 64)
    assert controls.settings(controls.values(settings)) == settings
    assert controls.model.preprocess("gone") == "gone"


async def test_an_empty_number() -> None:
    """An empty field is reported by label."""
    with gr.Blocks(analytics_enabled=False):
        controls = chat_controls(chat_model_menu())
    values = controls.values(TurnSettings())
    values[7] = None
    with pytest.raises(InvalidRequestError, match="Max output tokens is empty: enter a number"):
        controls.settings(values)
