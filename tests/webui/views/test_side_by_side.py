"""Tests two answers to one prompt, each scored by the other side."""

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
from pellucid_webui.conversations.turn_settings import TurnSettings
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
    """Return the text of the last message of a conversation."""
    assert not isinstance(text, str)
    message = text[-1]
    assert isinstance(message, Message)
    return message.content


def as_said(text: Text, _model: str | None) -> Sequence[Token]:
    """Score an answer as one token after a token of the template."""
    return [token("<assistant>"), token(last_message(text))]


def assistant(a: Sequence[Item], b: Sequence[Item], reads: Reads = as_said) -> ScriptedReader:
    """Return a comparison in which A answers before B does."""
    return ScriptedReader([a, b], reads=reads)


def duel() -> SideBySide:
    return SideBySide(Side("A", A), Side("B", B))


def sides(
    a: Sequence[Token], b: Sequence[Token], read_a: Sequence[Token] | None = None, read_b: Sequence[Token] | None = None
) -> SideBySide:
    """Return two sides with answers that the other side has scored."""
    found = duel()
    found.a.tokens, found.b.tokens = list(a), list(b)
    found.a.read, found.b.read = (None if read is None else list(read) for read in (read_a, read_b))
    return found


async def all_of(shown: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in shown]


def text_of(side: dict[str, Any]) -> str:
    """Return the text of a side in a payload."""
    return "".join(one.text for one in unpack(side["batches"]))


async def test_each_reads_the_other() -> None:
    """Both sides answer the same prompt with their own settings, then score the other's answer under their own system prompt."""
    found = assistant(tokens("It", " is"), tokens("It", " was"))
    *_, last = await all_of(duel().run(found, PROMPT))
    system, question = Message("system", "Be brief."), Message("user", PROMPT)
    assert [(one.model, one.messages, one.params.temperature) for one in found.chat_requests] == [
        ("m-a", [system, question], 0.0),
        ("m-b", [question], 0.5),
    ]
    assert [(one.model, one.text) for one in found.read_requests] == [
        ("m-b", [question, Message("assistant", "It is")]),
        ("m-a", [system, question, Message("assistant", "It was")]),
    ]
    assert (text_of(last["a"]), text_of(last["b"])) == ("It is", "It was")
    assert (last["status"], last["running"], last["wrong"]) == ("The answers differ from character 4 on.", False, False)
    assert last["a"]["about"] == "m-a, greedy, 'Be brief.'"
    assert last["b"]["about"] == "m-b, temperature 0.5"
    assert all(len(json.loads(last[side]["marks"])) == 2 for side in "ab")


async def test_streaming() -> None:
    """Both answers are streamed, and neither waits for the other."""
    hold = asyncio.Event()
    shown = duel().run(assistant([*tokens("It"), hold], tokens("It", " was")), PROMPT)
    async for one in shown:
        if text_of(one["b"]) == "It was":
            break
    assert text_of(one["a"]) == "It"
    assert (one["running"], one["summary"], one["divergences"]) == (True, [], [])
    hold.set()
    assert (await all_of(shown))[-1]["running"] is False


@pytest.mark.parametrize(
    ("mine", "others", "text", "value"),
    [
        (-0.25, -1.75, "log ratio +2.16 bits: more likely under A than under B", 1.5 / STRONG_NATS),
        (-3.25, -0.25, "log ratio -4.33 bits: less likely under A than under B", -3.0 / STRONG_NATS),
        (-0.25, -0.252, "equally likely under A and B", 0.0005),
        (-0.25, -99.0, "log ratio +142.47 bits: more likely under A than under B", 1.0),
    ],
)
def test_words(mine: float, others: float, text: str, value: float) -> None:
    """A positive log ratio means that the side that generated a token finds it more likely, which its mark shows."""
    one = token("word")
    found = sides([replace(one, logprob=mine)], [], [replace(one, logprob=others)])
    (mark,) = marks(found.a, found.b)
    assert mark is not None
    assert mark["text"] == f"{text}, KL at least 0.000 bits"
    assert mark["value"] == pytest.approx(value, abs=1e-4)


def test_the_other_side() -> None:
    """The same text with the models swapped has the opposite log ratio, under the other name."""
    one, less = token("word"), replace(token("word"), logprob=-1.25)
    found = sides([one], [less], [less], [one])
    (a,), (b,) = marks(found.a, found.b), marks(found.b, found.a)
    assert a is not None
    assert b is not None
    assert a["value"] == -b["value"]
    assert b["text"].startswith("log ratio -1.44 bits: less likely under B than under A")


def test_other_tokens() -> None:
    """If the other model tokenizes differently, all tokens of a segment share its mark; a first token has none."""
    found = sides(tokens("wo", "rd", "s"), [], [token("word"), replace(token("s"), logprob=None)])
    first, second, third = marks(found.a, found.b)
    assert first == second == {"text": "log ratio -0.36 bits: less likely under A than under B", "value": -0.0625}
    assert third is None


def test_divergences() -> None:
    """The divergences are the differences of the texts, in order, and then the tokens that the two models find very different."""
    a, b = tokens("It", " is", " red", "."), tokens("It", " is", " not", " red")
    rare = [replace(one, logprob=-9.0 if one.text == " is" else one.logprob) for one in a]
    found = sides(a, b, rare, b)
    assert divergences(found.a, found.b, differences(found.a.text, found.b.text)) == [
        ("b", 2, "Only B has “not ”."),
        ("a", 3, "Only A has “.”."),
        ("a", 1, "A's answer: log ratio +12.62 bits: more likely under A than under B, KL at least 0.000 bits"),
    ]


def test_long_stretches() -> None:
    """A long difference is quoted by its beginning, with visible line ends."""
    found = sides(tokens("a\nb"), tokens("c" * 100))
    ((_, _, words),) = divergences(found.a, found.b, differences(found.a.text, found.b.text))
    assert words == f"A has “a↵b”, B has “{'c' * 39}…”."


async def test_apart() -> None:
    """Marked tokens contain words that only one answer has."""
    *_, last = await all_of(duel().run(assistant(tokens("It", " is", " red", "."), tokens("It", " is", " blue", ".")), PROMPT))
    assert (last["a"]["apart"], last["b"]["apart"]) == ([(2, 3)], [(2, 3)])


async def test_the_same_answer() -> None:
    """Equal answers have no marked tokens and no divergences."""
    *_, last = await all_of(
        duel().run(assistant(tokens("It", " is"), tokens("It", " is"), lambda _text, _model: tokens("It", " is")), PROMPT)
    )
    assert last["status"] == "Both answers are equal."
    assert (last["a"]["apart"], last["b"]["apart"], last["divergences"]) == ([], [], [])
    assert all(mark["value"] == 0 for side in "ab" for mark in json.loads(last[side]["marks"]))


def test_summary() -> None:
    """The summary has each text's perplexity under both models, the agreement of first choices, and the times."""
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
    """A stopped comparison ends both generations, scores nothing, and keeps the text."""
    found = assistant([*tokens("It", " is"), None], [*tokens("It"), None])
    kept = CompareState()
    kept.stop()  # nothing is running
    shown = compare(found, kept, PROMPT, (A, B))
    async for one in shown:
        if text_of(one["a"]) == "It is" and text_of(one["b"]) == "It":
            break
    kept.stop()
    last = (await all_of(shown))[-1]
    assert all(request.closed for request in found.chat_requests)
    assert found.read_requests == []
    assert last["status"].startswith("Stopped")
    assert (text_of(last["a"]), text_of(last["b"]), last["running"]) == ("It is", "It", False)
    rows = {name: cells for name, *cells in last["summary"]}
    assert rows["perplexity under A"] == ["1.284", "–"]
    kept.stop()  # the comparison has ended
    assert kept.comparison is not None
    assert kept.shown["status"] == last["status"]


async def test_stop_while_reading() -> None:
    """A stop during scoring ends it; the answers are complete."""
    found = assistant(tokens("It", " is"), tokens("It", " was"), lambda _text, _model: [None])
    comparison = duel()
    shown = comparison.run(found, PROMPT)
    async for _ in shown:
        if len(found.read_requests) == 2:
            break
    comparison.stop()
    last = (await all_of(shown))[-1]
    assert [request.closed for request in found.read_requests] == [True, True]
    assert (text_of(last["a"]), text_of(last["b"])) == ("It is", "It was")
    assert last["a"]["marks"] is None


async def test_the_tab_is_closed() -> None:
    """Both generations end when the reader is gone."""
    found = assistant([*tokens("It"), None], [None])
    shown = duel().run(found, PROMPT)
    async for one in shown:
        if text_of(one["a"]):
            break
    await shown.aclose()
    assert [request.closed for request in found.chat_requests] == [True, True]


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
    """An error of one side is reported there in one sentence; its text stays, and so does the other side."""
    with caplog.at_level(logging.ERROR):
        *_, last = await all_of(duel().run(assistant([*tokens("It"), item], tokens("It", " was")), PROMPT))
    assert (last["a"]["note"], last["a"]["wrong"], last["b"]["wrong"]) == (sentence, True, False)
    assert (text_of(last["a"]), text_of(last["b"])) == ("It", "It was")
    assert last["status"] == "Something failed; see the message below the answer."
    assert ("the insides" in caplog.text) == (sentence == UNEXPECTED)


async def test_a_side_without_an_answer() -> None:
    """An empty answer is not scored, and the divergences lead to the other side's text."""
    found = assistant([ContextLengthError(9000, 8192)], tokens("It"))
    *_, last = await all_of(duel().run(found, PROMPT))
    assert len(found.read_requests) == 1
    assert last["divergences"] == [("b", 0, "Only B has “It”.")]


async def test_a_template_that_changes_the_answer() -> None:
    """If the other side's chat template changes an answer, a sentence says so."""
    found = assistant(tokens("It", " "), tokens("It"), lambda text, _model: [token(last_message(text).strip())])
    *_, last = await all_of(duel().run(found, PROMPT))
    assert last["a"]["note"] == "The chat template of B's model changes this answer, so B cannot score it."
    assert last["b"]["marks"] is not None


async def test_reading_is_cut_short() -> None:
    """An incomplete scoring is reported and not used."""
    found = assistant(tokens("It"), tokens("It"), lambda _text, _model: [token("It"), Finish(FinishReason.CANCELLED, usage(1))])
    *_, last = await all_of(duel().run(found, PROMPT))
    assert last["a"]["note"] == "The server ended this answer early: cancelled."
    assert last["a"]["marks"] is None


async def test_no_prompt() -> None:
    """Without a prompt nothing is requested, and the last comparison stays."""
    found, kept = assistant(tokens("It"), tokens("It")), CompareState()
    (shown,) = await all_of(compare(found, kept, " ", (A, B)))
    assert shown == dict(NOTHING) | {"status": "The prompt is empty: write what both sides should answer.", "wrong": True}
    before = (await all_of(compare(found, kept, PROMPT, (A, B))))[-1]
    (shown,) = await all_of(compare(found, kept, "", (A, B)))
    assert shown == before | {"status": "The prompt is empty: write what both sides should answer.", "wrong": True}
    assert len(found.chat_requests) == 2


async def test_the_default_model() -> None:
    """A side without a model uses the server's first one, and shows its name."""
    found = assistant(tokens("It"), tokens("It"))
    *_, last = await all_of(compare(found, CompareState(), PROMPT, (replace(A, model=""), B)))
    assert last["a"]["about"].startswith(MODEL)
    assert found.chat_requests[0].model == MODEL
