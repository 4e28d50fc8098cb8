"""Settings say what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import ConfigError
from pellucid_lsp.settings import Level, Settings, Shape, settings_table

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_defaults() -> None:
    """Nothing, and an empty object, give the defaults."""
    assert Settings.read(None) == Settings.read({}) == Settings()


def test_values() -> None:
    """What is given is taken, in nested objects with camelCase names; null and what is missing keep the default."""
    settings = Settings.read(
        {
            "enabled": False,
            "completion": {"level": "quiet", "maxTokens": 64.0, "shape": None, "languagesOff": ["markdown"]},
            "server": {"apiKey": "k"},
        }
    )

    assert (settings.enabled, settings.completion.level, settings.completion.max_tokens) == (False, Level.QUIET, 64)
    assert (settings.completion.shape, settings.completion.languages_off) == (Shape.AUTO, ("markdown",))
    assert (settings.server.api_key, settings.server.start) == ("k", True)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("x", "pellucid should be an object of settings, not 'x'."),
        ({"level": "quiet"}, "pellucid.level is not a setting of Pellucid: did you mean pellucid.completion.level?"),
        (
            {"completion": {"maxToken": 1}},
            "pellucid.completion.maxToken is not a setting of Pellucid: did you mean pellucid.completion.maxTokens?",
        ),
        ({"completion": {"zzz": 1}}, "pellucid.completion.zzz is not a setting of Pellucid: the README lists all."),
        ({"completion": {"level": "loud"}}, "pellucid.completion.level should be one of quiet, normal, eager, not 'loud'."),
        ({"completion": {"maxTokens": 0}}, "pellucid.completion.maxTokens should be between 1 and 1024, not 0."),
        ({"completion": {"budgetMs": -1}}, "pellucid.completion.budgetMs should be 0 or more, not -1."),
        ({"completion": {"maxTokens": "64"}}, "pellucid.completion.maxTokens should be a whole number, not '64'."),
        ({"completion": {"maxTokens": True}}, "pellucid.completion.maxTokens should be a whole number, not True."),
        ({"completion": {"languagesOff": "markdown"}}, "pellucid.completion.languagesOff should be a list of texts, not 'markdown'."),
        ({"enabled": 1}, "pellucid.enabled should be true or false, not 1."),
        ({"server": {"apiKey": 123}}, "pellucid.server.apiKey should be a text."),
    ],
)
def test_wrong_ones(given: Any, sentence: str) -> None:
    """One sentence names the setting and the remedy; a secret is not repeated."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        Settings.read(given)


def test_readme() -> None:
    """The README lists every setting."""
    assert settings_table() in README
