"""Tests the menu of models, and the controls and settings of a turn.

Gradio needs an event loop: without an event loop, Gradio leaks loops of its own.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from math import inf, nan

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.conversations.turn_settings import NUMBERS, TurnSettings, settings_of_controls
from pellucid_webui.frame.app import ASSETS, create_page
from support.page.route_tab import shown

LABELS = NUMBERS | {
    "model": "Model",
    "system": "System prompt",
    "seed": "Seed",
    "answer_format": "Answer format",
    "schema": "JSON schema",
    "tools": "Tools",
    "tool_choice": "Tool choice",
    "reasoning": "Reasoning",
}
SETTINGS = TurnSettings("gone", "Be brief.", 0.3, 0.9, 5, 0.1, 7, 64, "json_schema", "{", "[", "none", "low")


def served(*names: str) -> ServedModels:
    return ServedModels([ModelCard(name, 64) for name in names])


def test_menus() -> None:
    """A menu chooses a model by name, by default the first model, and keeps a missing model."""
    choices = [["a", "a"], ["b", "b"]]
    assert served("a", "b").menu("hint", "b") == {"choices": choices, "value": "b", "info": "hint"}
    assert served("a", "b").menu("hint")["value"] == "a"
    assert served("a", "b").menu("hint", "gone") == {
        "choices": [*choices, ["gone (missing)", "gone"]],
        "value": "gone",
        "info": "gone is not served any more: choose another model.",
    }


def test_models_that_cannot_be_listed() -> None:
    """While models cannot be listed, the menu keeps the chosen model and gives the reason."""
    served = ServedModels(problem="The server is loading.")
    assert served.menu("hint", "a") == {"choices": [["a", "a"]], "value": "a", "info": "The server is loading."}
    assert served.menu("hint") == {"choices": [], "value": None, "info": "The server is loading."}


async def test_the_order_of_the_controls() -> None:
    """The script names the controls of the chat in the page's order."""
    functions = create_page().fns.values()
    heard = [one.inputs for one in functions if 'formControls("chat").hear' in str(one.js)]
    (names,) = re.findall(r"const NAMES = (\[.*\]);", (ASSETS / "chat/chat_settings.js").read_text())
    labels = [LABELS[name] for name in json.loads(names)]
    assert [[getattr(control, "label", None) for control in controls] for controls in heard] == [labels, labels]
    assert set(LABELS) == {one.name for one in fields(TurnSettings)}


def test_the_settings_that_controls_show_are_read_back() -> None:
    """Settings are read back unchanged from the controls, even with an unfinished schema."""
    for settings in (SETTINGS, TurnSettings()):
        assert settings_of_controls(shown(settings)) == settings
    assert settings_of_controls(shown(SETTINGS) | {"seed": " "}).seed is None


@pytest.mark.parametrize("values", [None, [], "settings"])
def test_no_settings(values: object) -> None:
    """Values other than a mapping are refused."""
    with pytest.raises(InvalidRequestError, match="The page sent no settings: reload it"):
        settings_of_controls(values)


@pytest.mark.parametrize(
    ("name", "values", "reported"),
    [
        ("max_tokens", [None, "", "5", True, nan, inf, []], "Max output tokens is empty: enter a number."),
        ("max_tokens", [2**53], "max_tokens must be at most 9007199254740991."),
        ("top_k", [10**399], "Top-k is too large: enter a smaller number."),
        ("top_k", [1.5], "Top-k is 1.5: enter a whole number."),
        ("seed", ["x", "1.5", "9" * 5000, True, []], "is not a whole number: change it, or leave it empty."),
        ("temperature", [-1], "temperature must be 0 (greedy), or between 0.0001 and 100, not -1.0."),
        ("system", [5], "The setting system of a turn must be of the type str, not 5."),
        ("tool_choice", ["x", 1], "The setting tool_choice of a turn must be one of auto, required, none, not "),
    ],
)
def test_invalid_values(name: str, values: list[object], reported: str) -> None:
    """An empty or invalid value is refused in a sentence with the name."""
    for value in values:
        with pytest.raises(InvalidRequestError) as caught:
            settings_of_controls(shown(SETTINGS) | {name: value})
        assert reported in str(caught.value)
