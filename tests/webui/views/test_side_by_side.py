"""Two answers to one prompt, each of which is read by the other side."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pellucid.errors import ContextLengthError
from pellucid.tokens import Finish, FinishReason, Message, Token
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import TurnSettings
from pellucid_webui.inspection.word_diff import differences
from pellucid_webui.views.compare import NOTHING, CompareState, compare
from pellucid_webui.views.side_by_side import STRONG_NATS, UNEXPECTED, Side, SideBySide, divergences, marks, summary_rows
from support.page.scripted_assistant import MODEL, Item, token, tokens, usage
from support.page.scripted_reader import ScriptedReader, Text

PROMPT = "Say it."
A = TurnSettings(model="m-a", system="Be brief.", temperature=0.0)
B = TurnSettings(model="m-b", temperature=0.5)

Reads = Callable[[Text, str | None], Sequence[Item]]


def last_message(text: Text) -> str:
    """What is said at the end of a conversation."""
    assert not isinstance(text, str)
    message = text[-1]
    assert isinstance(message, Message)
    return message.content


def as_said(text: Text, _model: str | None) -> Sequence[Token]:
    """Reads what was said as one token behind a token of the template."""
    return [token("<assistant>"), token(last_message(text))]


def assistant(a: Sequence[Item], b: Sequence[Item], reads: Reads = as_said) -> ScriptedReader:
    """A answers before B does."""
    return ScriptedReader([a, b], reads=reads)


def duel() -> SideBySide:
    return SideBySide(Side("A", A), Side("B", B))


def sides(
    a: Sequence[Token], b: Sequence[Token], read_a: Sequence[Token] | None = None, read_b: Sequence[Token] | None = None
) -> SideBySide:
    """Two sides that have said something, which the other has read."""
    found = duel()
    found.a.tokens, found.b.tokens = list(a), list(b)
    found.a.read, found.b.read = (None if read is None else list(read) for read in (read_a, read_b))
    return found


async def all_of(shown: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in shown]


def said(side: dict[str, Any]) -> str:
    """What is shown of a side."""
    return "".join(one.text for one in unpack(side["batches"]))


async def test_each_reads_the_other() -> None:
    """Both answer the same prompt with their own settings; then each reads the other's answer under its own system prompt."""
    found = assistant(tokens("It", " is"), tokens("It", " was"))
    *_, last = await all_of(duel().run(found, PROMPT))
    system, asked = Message("system", "Be brief."), Message("user", PROMPT)
    assert [(one.model, one.messages, one.params.temperature) for one in found.asked] == [
        ("m-a", [system, asked], 0.0),
        ("m-b", [asked], 0.5),
    ]
    assert [(one.model, one.text) for one in found.heard] == [
        ("m-b", [asked, Message("assistant", "It is")]),
        ("m-a", [system, asked, Message("assistant", "It was")]),
    ]
    assert (said(last["a"]), said(last["b"])) == ("It is", "It was")
    assert (last["status"], last["running"], last["wrong"]) == ("The answers part at character 4.", False, False)
    assert last["a"]["about"] == "m-a, greedy, 'Be brief.'"
    assert last["b"]["about"] == "m-b, temperature 0.5"
    assert all(len(json.loads(last[side]["marks"])) == 2 for side in "ab")


async def test_streaming() -> None:
    """Both answers are shown as they come, and neither waits for the other."""
    hold = asyncio.Event()
    shown = duel().run(assistant([*tokens("It"), hold], tokens("It", " was")), PROMPT)
    async for one in shown:
        if said(one["b"]) == "It was":
            break
    assert said(one["a"]) == "It"
    assert (one["running"], one["summary"], one["divergences"]) == (True, [], [])
    hold.set()
    assert (await all_of(shown))[-1]["running"] is False


@pytest.mark.parametrize(
    ("mine", "others", "text", "value"),
    [
        (-0.25, -1.75, "log ratio +2.16 bits: likelier under A than under B", 1.5 / STRONG_NATS),
        (-3.25, -0.25, "log ratio -4.33 bits: less likely under A than under B", -3.0 / STRONG_NATS),
        (-0.25, -0.252, "equally likely under A and B", 0.0005),
        (-0.25, -99.0, "log ratio +142.47 bits: likelier under A than under B", 1.0),
    ],
)
def test_words(mine: float, others: float, text: str, value: float) -> None:
    """A positive log ratio means that the side which said a token finds it likelier, and its mark says so in words and in colour."""
    one = token("word")
    found = sides([replace(one, logprob=mine)], [], [replace(one, logprob=others)])
    (mark,) = marks(found.a, found.b)
    assert mark is not None
    assert mark["text"] == f"{text}, KL at least 0.000 bits"
    assert mark["value"] == pytest.approx(value, abs=1e-4)


def test_the_other_side() -> None:
    """The same text with the models the other way round has the opposite log ratio, under the other name."""
    one, less = token("word"), replace(token("word"), logprob=-1.25)
    found = sides([one], [less], [less], [one])
    (a,), (b,) = marks(found.a, found.b), marks(found.b, found.a)
    assert a is not None
    assert b is not None
    assert a["value"] == -b["value"]
    assert b["text"].startswith("log ratio -1.44 bits: less likely under B than under A")


def test_other_tokens() -> None:
    """Where the other model cuts the text differently, all tokens of a piece share the mark of the piece; a first token has none."""
    found = sides(tokens("wo", "rd", "s"), [], [token("word"), replace(token("s"), logprob=None)])
    first, second, third = marks(found.a, found.b)
    assert first == second == {"text": "log ratio -0.36 bits: less likely under A than under B", "value": -0.0625}
    assert third is None


def test_divergences() -> None:
    """One walks to where the texts differ, in their order, and then to the tokens that the two find very differently likely."""
    a, b = tokens("It", " is", " red", "."), tokens("It", " is", " not", " red")
    rare = [replace(one, logprob=-9.0 if one.text == " is" else one.logprob) for one in a]
    found = sides(a, b, rare, b)
    assert divergences(found.a, found.b, differences(found.a.text, found.b.text)) == [
        ("b", 2, "Only B says “not ”."),
        ("a", 3, "Only A says “.”."),
        ("a", 1, "A's answer: log ratio +12.62 bits: likelier under A than under B, KL at least 0.000 bits"),
    ]


def test_long_stretches() -> None:
    """Of a long stretch its beginning is said, and ends of lines are visible."""
    found = sides(tokens("a\nb"), tokens("c" * 100))
    ((_, _, words),) = divergences(found.a, found.b, differences(found.a.text, found.b.text))
    assert words == f"A says “a↵b”, B says “{'c' * 39}…”."


async def test_apart() -> None:
    """The tokens that stand out are those with words that only one of the two has."""
    *_, last = await all_of(duel().run(assistant(tokens("It", " is", " red", "."), tokens("It", " is", " blue", ".")), PROMPT))
    assert (last["a"]["apart"], last["b"]["apart"]) == ([(2, 3)], [(2, 3)])


async def test_the_same_answer() -> None:
    """Of two equal answers nothing stands out and there is nowhere to walk to."""
    *_, last = await all_of(
        duel().run(assistant(tokens("It", " is"), tokens("It", " is"), lambda _text, _model: tokens("It", " is")), PROMPT)
    )
    assert last["status"] == "Both say the same."
    assert (last["a"]["apart"], last["b"]["apart"], last["divergences"]) == ([], [], [])
    assert all(mark["value"] == 0 for side in "ab" for mark in json.loads(last[side]["marks"]))


def test_summary() -> None:
    """The summary has the perplexity of each text under both models, how often the first choice is the same, and the times."""
    one, two = tokens("x"), [replace(token("x"), logprob=-1.0)]
    other = [replace(token("y", 2), logprob=-2.0)]
    found = sides(one, other, two, [token("y", 2)])
    found.a.took = 1.25
    rows = {name: cells for name, *cells in summary_rows(found.a, found.b)}
    assert rows["perplexity under A"] == ["1.284", "1.284"]
    assert rows["perplexity under B"] == ["2.718", "7.389"]
    assert rows["same first choice"] == ["100.0%", "100.0%"]
    assert rows["tokens"] == ["1", "1"]
    assert rows["seconds"] == ["1.2", "–"]


async def test_stop() -> None:
    """A comparison that is stopped ends both generations, reads nothing, and keeps what was said."""
    found = assistant([*tokens("It", " is"), None], [*tokens("It"), None])
    kept = CompareState()
    kept.stop()  # of nothing
    shown = compare(found, kept, PROMPT, (A, B))
    async for one in shown:
        if said(one["a"]) == "It is" and said(one["b"]) == "It":
            break
    kept.stop()
    last = (await all_of(shown))[-1]
    assert all(asked.closed for asked in found.asked)
    assert found.heard == []
    assert last["status"].startswith("Stopped")
    assert (said(last["a"]), said(last["b"]), last["running"]) == ("It is", "It", False)
    rows = {name: cells for name, *cells in last["summary"]}
    assert rows["perplexity under A"] == ["1.284", "–"]
    kept.stop()  # when all is over
    assert kept.duel is not None
    assert kept.shown["status"] == last["status"]


async def test_stop_while_reading() -> None:
    """A stop while the answers are read ends the readings; the answers are whole."""
    found = assistant(tokens("It", " is"), tokens("It", " was"), lambda _text, _model: [None])
    fight = duel()
    shown = fight.run(found, PROMPT)
    async for _ in shown:
        if len(found.heard) == 2:
            break
    fight.stop()
    last = (await all_of(shown))[-1]
    assert [heard.closed for heard in found.heard] == [True, True]
    assert (said(last["a"]), said(last["b"])) == ("It is", "It was")
    assert last["a"]["marks"] is None


async def test_the_tab_is_closed() -> None:
    """When nobody looks any more both generations end."""
    found = assistant([*tokens("It"), None], [None])
    shown = duel().run(found, PROMPT)
    async for one in shown:
        if said(one["a"]):
            break
    await shown.aclose()
    assert [asked.closed for asked in found.asked] == [True, True]


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (ContextLengthError(9000, 8192), str(ContextLengthError(9000, 8192))),
        (Finish(FinishReason.CANCELLED, usage(1)), "The server ended this answer early: cancelled."),
        (Finish(FinishReason.ERROR, usage(1), error="It is out of memory."), "It is out of memory."),
        (RuntimeError("the insides"), UNEXPECTED),
    ],
)
async def test_one_side_fails(item: Item, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong on one side is told there in one sentence; what had come stays, and so does the other side."""
    with caplog.at_level(logging.ERROR):
        *_, last = await all_of(duel().run(assistant([*tokens("It"), item], tokens("It", " was")), PROMPT))
    assert (last["a"]["note"], last["a"]["wrong"], last["b"]["wrong"]) == (sentence, True, False)
    assert (said(last["a"]), said(last["b"])) == ("It", "It was")
    assert last["status"] == "Not all went well: the sentence below an answer says why."
    assert ("the insides" in caplog.text) == (sentence == UNEXPECTED)


async def test_a_side_without_an_answer() -> None:
    """Nobody is asked to read nothing, and one can walk to what the other side says."""
    found = assistant([ContextLengthError(9000, 8192)], tokens("It"))
    *_, last = await all_of(duel().run(found, PROMPT))
    assert len(found.heard) == 1
    assert last["divergences"] == [("b", 0, "Only B says “It”.")]


async def test_a_template_that_changes_the_answer() -> None:
    """Where the other's template does not leave an answer as it is, that is told."""
    found = assistant(tokens("It", " "), tokens("It"), lambda text, _model: [token(last_message(text).strip())])
    *_, last = await all_of(duel().run(found, PROMPT))
    assert last["a"]["note"] == "The template of B's model changes this answer: B cannot read it as it is."
    assert last["b"]["marks"] is not None


async def test_reading_is_cut_short() -> None:
    """A reading that does not come to its end is told and not taken for one."""
    found = assistant(tokens("It"), tokens("It"), lambda _text, _model: [token("It"), Finish(FinishReason.CANCELLED, usage(1))])
    *_, last = await all_of(duel().run(found, PROMPT))
    assert last["a"]["note"] == "The server ended this answer early: cancelled."
    assert last["a"]["marks"] is None


async def test_no_prompt() -> None:
    """Without a prompt nothing is asked, and what was compared before stays."""
    found, kept = assistant(tokens("It"), tokens("It")), CompareState()
    (shown,) = await all_of(compare(found, kept, " ", (A, B)))
    assert shown == dict(NOTHING) | {"status": "There is no prompt: write what both sides should answer.", "wrong": True}
    before = (await all_of(compare(found, kept, PROMPT, (A, B))))[-1]
    (shown,) = await all_of(compare(found, kept, "", (A, B)))
    assert shown == before | {"status": "There is no prompt: write what both sides should answer.", "wrong": True}
    assert len(found.asked) == 2


async def test_the_default_model() -> None:
    """A side without a model is the server's first one, and says so."""
    found = assistant(tokens("It"), tokens("It"))
    *_, last = await all_of(compare(found, CompareState(), PROMPT, (replace(A, model=""), B)))
    assert last["a"]["about"].startswith(MODEL)
    assert found.asked[0].model == MODEL
