"""What the Infill tab shows of a place: what an editor would get there, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending import Ending
from pellucid.errors import UnavailableError
from pellucid.text.assistant import LocalAssistant
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.views.infill import NO_INFILL, WHY, complete, empty
from support.page.scripted_assistant import Item, tokens
from support.page.scripted_reader import ScriptedReader
from support.servers.http_servers import TINY, TINY_PLAIN, tiny_assistant

BEFORE, AFTER = "def f(x):\n    return ", "\n"


def completing(*items: Item) -> ScriptedReader:
    """Completes everything with these items."""
    return ScriptedReader(says=items)


@pytest.fixture
async def assistant() -> AsyncIterator[LocalAssistant]:
    found, engine = tiny_assistant()
    yield found
    await asyncio.to_thread(engine.close)


def sure(*texts: str, logprob: float = -0.01) -> Sequence[Item]:
    return [replace(token, logprob=logprob) for token in tokens(*texts)]


async def test_shown() -> None:
    """A sure suggestion is shown with its prompt, its tokens and the gate's values above their thresholds."""
    shown = await complete(completing(*sure("x", " + ", "1", "\n")), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert (shown["shown"], shown["cut"], shown["wrong"]) == ("x + 1", "", False)
    assert (shown["before"], shown["after"]) == (BEFORE, AFTER)
    assert shown["status"] == "Shown: Every probability is above its threshold."
    assert [token.text for token in unpack(shown["batches"])] == ["x", " + ", "1"]
    assert [(name, float(value) > float(least)) for name, value, least in shown["gate"]] == [
        ("first", True),
        ("mean", True),
        ("least", True),
    ]
    assert shown["prompt"] == f"<suffix>{AFTER}<prefix>{BEFORE}<middle>"
    assert shown["cost"].startswith("It ends with the line: the place asks for no more. ")
    assert "total" in shown["cost"]


async def test_hidden() -> None:
    """An unsure suggestion is not shown but as what was cut, and the gate says which value was too low."""
    shown = await complete(completing(*sure("x", "\n", logprob=-4.0)), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert (shown["shown"], shown["cut"]) == ("", "x")
    assert shown["status"].startswith("Hidden: The first token's probability is 0.02, below 0.15")


async def test_levels() -> None:
    """What is hidden at one level is shown at a more eager one."""
    shown = await complete(completing(*sure("x", "\n", logprob=-1.0)), BEFORE, AFTER, "python", GateLevel.EAGER, "")
    assert shown["shown"] == "x"
    shown = await complete(completing(*sure("x", "\n", logprob=-1.0)), BEFORE, AFTER, "python", GateLevel.QUIET, "")
    assert shown["shown"] == ""


async def test_nothing() -> None:
    """Where nothing is suggested of an answer, its tokens are there to look at all the same."""
    shown = await complete(completing(*sure("\n", "\n")), "x = 1", AFTER, "python", GateLevel.NORMAL, "")
    assert shown["shown"] == ""
    assert shown["status"].startswith("Nothing: ")
    assert {token.text for token in unpack(shown["batches"])} == {"\n"}
    assert shown["gate"] == []


async def test_wrong() -> None:
    """What goes wrong is told in one sentence, and the code stays."""
    away = UnavailableError("The model server is away.")
    shown = await complete(completing(away), BEFORE, AFTER, "python", GateLevel.NORMAL, "")
    assert shown == empty(BEFORE, AFTER) | {"status": "The model server is away.", "wrong": True}


async def test_a_model_that_is_not_served() -> None:
    """A model that is not there is named, with those that are."""
    shown = await complete(completing(*sure("x")), BEFORE, AFTER, "python", GateLevel.NORMAL, "other")
    assert shown["wrong"]
    assert "'other'" in shown["status"]


async def test_a_model_without_infill(assistant: LocalAssistant) -> None:
    """Of a model that cannot fill in it is said that it does not see what is behind the cursor, and of others nothing."""
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY_PLAIN)
    assert shown["caveat"] == f"{TINY_PLAIN} {NO_INFILL}"
    assert shown["prompt"] == BEFORE
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY)
    assert shown["caveat"] == ""


async def test_the_prompt_of_a_real_model(assistant: LocalAssistant) -> None:
    """The prompt is shown as the model read it, with its markers."""
    shown = await complete(assistant, BEFORE, AFTER, "python", GateLevel.EAGER, TINY)
    assert not shown["wrong"]
    assert shown["prompt"] == f"<|fim_prefix|><|fim_suffix|>{AFTER}<|fim_middle|>{BEFORE}"


async def test_two_people(assistant: LocalAssistant) -> None:
    """What one tab asks for does not take the answer of another away."""
    asked = [complete(assistant, f"x{number} = ", AFTER, "python", GateLevel.EAGER, TINY) for number in range(3)]
    assert not any("newer request" in shown["status"] for shown in await asyncio.gather(*asked))


def test_every_ending_is_told() -> None:
    """There is a sentence for each reason why a suggestion may end."""
    assert set(WHY) == set(Ending)
