"""The settings of a turn and their JSON."""

from __future__ import annotations

import json

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.tokens import SamplingParams
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings

SETTINGS = TurnSettings("m", "s", 0.5, 0.75, 3, 0.25, 9, 7)


def test_round_trip() -> None:
    """Settings are read back as they were, with defaults for missing ones; unknown ones are ignored."""
    assert TurnSettings.read(json.loads(json.dumps(SETTINGS.record()))) == SETTINGS
    assert TurnSettings.read({}) == TurnSettings()
    assert TurnSettings.read({"top_k": 3, "shoe_size": 44}) == TurnSettings(top_k=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 1),
        ("system", None),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_k", 1.5),
        ("top_k", True),
        ("seed", "1"),
        ("seed", False),
        ("max_tokens", None),
    ],
)
def test_wrong_types(name: str, value: object) -> None:
    """A setting of a wrong type is refused by name."""
    with pytest.raises(InvalidRequestError, match=f"The setting {name} of a turn must be of the type") as caught:
        TurnSettings.read({name: value})
    assert caught.value.param == name


def test_whole_numbers_are_numbers() -> None:
    """A temperature may be written without a decimal point."""
    assert TurnSettings.read({"temperature": 1}).temperature == 1.0


def test_sampling() -> None:
    """The engine gets all settings; one that is out of bounds is refused by name."""
    assert SETTINGS.sampling() == SamplingParams(7, 0.5, 3, 0.75, 0.25, seed=9, top_logprobs=ALTERNATIVES)
    with pytest.raises(InvalidRequestError, match="temperature must be 0"):
        TurnSettings(temperature=-1).sampling()
