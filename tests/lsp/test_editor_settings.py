"""Settings are read, and errors name the setting and the remedy."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from pellucid.completion.settings import GateLevel, SuggestionShape
from pellucid.errors import ConfigError
from pellucid_lsp.editor_settings import EditorSettings
from pellucid_lsp.server import Pellucid


def test_defaults() -> None:
    """Nothing, and an empty object, give the defaults."""
    assert EditorSettings.read(None) == EditorSettings.read({}) == EditorSettings()


def test_values() -> None:
    """Nested camelCase settings are read; null and missing settings keep their defaults."""
    settings = EditorSettings.read(
        {
            "enabled": False,
            "completion": {"level": "quiet", "maxTokens": 64.0, "shape": None, "languagesOff": ["markdown"]},
            "server": {"apiKey": "k"},
        }
    )

    assert (settings.enabled, settings.completion.level, settings.completion.max_tokens) == (False, GateLevel.QUIET, 64)
    assert (settings.completion.shape, settings.completion.languages_off) == (SuggestionShape.AUTO, ("markdown",))
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
        (
            {"completion": {"zzz": 1}},
            "pellucid.completion.zzz is not a setting of Pellucid: docs/settings.md lists all settings.",
        ),
        (
            {"completion": {"level": "loud"}},
            "pellucid.completion.level should be one of quiet, normal, eager, not 'loud'.",
        ),
        ({"completion": {"maxTokens": 0}}, "pellucid.completion.maxTokens should be between 1 and 1024, not 0."),
        ({"completion": {"budgetMs": -1}}, "pellucid.completion.budgetMs should be 0 or more, not -1."),
        ({"completion": {"maxTokens": "64"}}, "pellucid.completion.maxTokens should be a whole number, not '64'."),
        ({"completion": {"maxTokens": True}}, "pellucid.completion.maxTokens should be a whole number, not True."),
        (
            {"completion": {"languagesOff": "markdown"}},
            "pellucid.completion.languagesOff should be a list of strings, not 'markdown'.",
        ),
        ({"enabled": 1}, "pellucid.enabled should be true or false, not 1."),
        ({"server": {"apiKey": 123}}, "pellucid.server.apiKey should be a string."),
    ],
)
def test_wrong_ones(given: Any, sentence: str) -> None:
    """An error names the setting and the remedy, and repeats no secret."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        EditorSettings.read(given)


def test_over_others() -> None:
    """Missing settings keep their values, in groups as well."""
    base = EditorSettings.read({"model": "m", "completion": {"level": "quiet", "maxLines": 3}})

    settings = EditorSettings.read({"enabled": None, "completion": {"level": "eager", "maxLines": None}}, base)
    assert settings == EditorSettings.read({"model": "m", "completion": {"level": "eager", "maxLines": 3}})
    assert EditorSettings.read(None, base) == EditorSettings.read_valid({}, base)[0] == base


def test_what_can_be_taken() -> None:
    """Each invalid setting is reported and ignored, and all valid settings apply."""
    base = EditorSettings.read({"completion": {"maxLines": 3}, "context": {"filesTokens": 7}})

    settings, errors = EditorSettings.read_valid(
        {
            "unknownKey": 1,
            "enabled": False,
            "completion": {"maxLines": "x", "level": "quiet", "shape": "round"},
            "context": 5,
            "server": {"zzz": 1, "start": False},
        },
        base,
    )

    assert settings == EditorSettings.read(
        {"enabled": False, "completion": {"level": "quiet"}, "server": {"start": False}}, base
    )
    assert errors == (
        "pellucid.unknownKey is not a setting of Pellucid: docs/settings.md lists all settings.",
        "pellucid.completion.maxLines should be a whole number, not 'x'.",
        "pellucid.completion.shape should be one of auto, line, block, not 'round'.",
        "pellucid.context should be an object of settings, not 5.",
        "pellucid.server.zzz is not a setting of Pellucid: docs/settings.md lists all settings.",
    )


def test_nothing_to_take() -> None:
    """A value of the wrong type changes no settings and is reported."""
    assert EditorSettings.read_valid("x") == (EditorSettings(), ("pellucid should be an object of settings, not 'x'.",))
    assert EditorSettings.read_valid({"enabled": False}) == (EditorSettings(enabled=False), ())


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"server": {"url": "http://other"}}, ""),
        ({"server": {"url": "http://other", "apiKey": None}}, ""),
        ({"server": {"url": "http://other", "apiKey": "k2"}}, "k2"),
        ({"server": {"url": "http://one"}}, "k"),
        ({"server": {"start": False}}, "k"),
        ({}, "k"),
    ],
)
def test_a_key_stays_with_its_address(given: dict[str, Any], key: str) -> None:
    """A new address without a key does not get the former address's key."""
    base = EditorSettings.read({"server": {"url": "http://one", "apiKey": "k"}})
    assert EditorSettings.read_valid(given, base)[0].server.api_key == key


async def test_log_level() -> None:
    """The log level applies to the completion's and the language server's logs."""
    packages = [logging.getLogger(name) for name in ("pellucid", "pellucid_lsp")]
    try:
        await Pellucid().apply_settings({"logLevel": "error"})
        assert logging.getLogger("pellucid.completion.context.ignore_files").getEffectiveLevel() == logging.ERROR
        assert logging.getLogger("pellucid_lsp.documents").getEffectiveLevel() == logging.ERROR
    finally:
        for logger in packages:
            logger.setLevel(logging.NOTSET)
