"""Tests the Infill tab: an editor's suggestion with reasons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.routes.infill import ENDING_REASONS, NO_INFILL, complete, empty
from support.page.scripted_assistant import ScriptedPageAssistant, tokens
from support.scripted_answers import Item
from support.servers.http_servers import TINY, TINY_PLAIN, tiny_assistant

BEFORE, AFTER = "def f(x):\n    return ", "\n"


def completing(*items: Item) -> ScriptedPageAssistant:
    return ScriptedPageAssistant(says=items)


@pytest.fixture
async def assistant() -> AsyncIterator[LocalAssistant]:
    found, engine = tiny_assistant()
    yield found
    await asyncio.to_thread(engine.close)


def sure(*texts: str, logprob: float = -0.01) -> Sequence[Item]:
    return [replace(token, logprob=logprob) for token in tokens(*texts)]


async def test_shown() -> None:
    """A confident suggestion is shown with prompt, tokens and the gate's values."""
    shown = await complete(completing(*sure("x", " + ", "1", "\n")), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert (shown["shown"], shown["cut"], shown["wrong"]) == ("x + 1", "", False)
    assert (shown["before"], shown["after"]) == (BEFORE, AFTER)
    assert shown["status"] == "Shown: Every probability is above its threshold."
    assert [token.text for token in unpack(shown["batches"])] == ["x", " + ", "1"]
    required = [("first token's", "0.000"), ("mean", "0.750"), ("least", "0.500")]
    assert [(name, least) for name, _, least in shown["gate"]] == [
        (f"{name} probability", f"at least {least}") for name, least in required
    ]
    assert shown["prompt"] == f"<suffix>{AFTER}<prefix>{BEFORE}<middle>"
    assert shown["cost"].startswith("The suggestion ends with its line, since only one line is needed here. ")
    assert "total" in shown["cost"]


async def test_hidden() -> None:
    """An unsure suggestion is shown as hidden, with the value that was too low."""
    shown = await complete(completing(*sure("x", "\n", logprob=-4.0)), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert (shown["shown"], shown["cut"]) == ("", "x")
    assert shown["status"].startswith("Hidden: The mean probability is 0.02, below the 0.75")
    assert shown["status"].endswith(" It is struck through below. The confidence threshold eager shows more.")


async def test_levels() -> None:
    """A suggestion hidden at a quiet level is shown at an eager level."""
    shown = await complete(completing(*sure("x", "\n", logprob=-0.5)), BEFORE, AFTER, "python", GateLevel.EAGER, "")
    assert shown["shown"] == "x"
    shown = await complete(completing(*sure("x", "\n", logprob=-0.5)), BEFORE, AFTER, "python", GateLevel.QUIET, "")
    assert shown["shown"] == ""


async def test_nothing() -> None:
    """The tokens of an answer without a suggestion can be inspected."""
    shown = await complete(completing(*sure("\n", "\n")), "x = 1", AFTER, "python", GateLevel.NORMAL, "")
    assert shown["shown"] == ""
    assert shown["status"].startswith("Nothing: ")
    assert {token.text for token in unpack(shown["batches"])} == {"\n"}
    assert shown["gate"] == []


async def test_wrong() -> None:
    """An error is reported in a sentence, and the code stays."""
    away = UnavailableError("The model server is away.")
    shown = await complete(completing(away), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert shown == empty(BEFORE, AFTER) | {"status": "The model server is away.", "wrong": True}


async def test_a_model_that_is_not_served() -> None:
    """An unknown model is reported by name."""
    shown = await complete(completing(*sure("x")), BEFORE, AFTER, "python", GateLevel.NORMAL, "other")
    assert shown["wrong"]
    assert "'other'" in shown["status"]


async def test_a_model_without_infill(assistant: LocalAssistant) -> None:
    """Only a model without infill has a caveat about the text after the cursor."""
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY_PLAIN)
    assert shown["caveat"] == f"{TINY_PLAIN} {NO_INFILL}"
    assert shown["prompt"] == BEFORE
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY)
    assert shown["caveat"] == ""


async def test_the_prompt_of_a_real_model(assistant: LocalAssistant) -> None:
    """The prompt is shown as the model read it, with markers."""
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY)
    assert not shown["wrong"]
    assert shown["prompt"] == f"<|fim_prefix|><|fim_suffix|>{AFTER}<|fim_middle|>{BEFORE}"


async def test_two_people(assistant: LocalAssistant) -> None:
    """Requests of different tabs do not supersede each other."""
    completions = [complete(assistant, f"x{number} = ", AFTER, "python", GateLevel.EAGER, TINY) for number in range(3)]
    assert not any("newer request" in shown["status"] for shown in await asyncio.gather(*completions))


def test_every_ending_has_a_sentence() -> None:
    """Every reason for the end of a suggestion has a sentence."""
    assert set(ENDING_REASONS) == set(Ending)
