"""Tests several columns' answers to a prompt, scored by all columns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pellucid.errors import ContextLengthError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.comparison import REFERENCE, UNEXPECTED, Column, Comparison
from support.page.scripted_assistant import ScriptedPageAssistant, Text, last_message, token, tokens
from support.scripted_answers import Item, usage

PROMPT = "Say it."
A = TurnSettings(model="m-a", system="Be brief.", temperature=0.0)
B = TurnSettings(model="m-b", temperature=0.5)

Reads = Callable[[Text, str | None], Sequence[Item]]


def as_said(text: Text, _model: str | None) -> Sequence[Token]:
    """Score an answer as a single token after a token of the template."""
    return [token("<assistant>"), token(last_message(text))]


def assistant(*answers: Sequence[Item], reads: Reads = as_said) -> ScriptedPageAssistant:
    """Return an assistant with a scripted answer for each column."""
    return ScriptedPageAssistant(list(answers), reads=reads)


def comparison(*settings: TurnSettings, reference: str = "") -> Comparison:
    return Comparison(
        PROMPT, reference, [Column(letter, one) for letter, one in zip("ABCD", settings or (A, B), strict=False)]
    )


async def run(found: Comparison, scripted: ScriptedPageAssistant) -> Comparison:
    async for _ in found.run(scripted):
        pass
    return found


async def test_each_reads_the_others() -> None:
    """Columns answer with their own settings, and score answers under their own system prompt."""
    scripted = assistant(tokens("It", " is"), tokens("It", " was"))
    found = await run(comparison(), scripted)
    system, question = Message("system", "Be brief."), Message("user", PROMPT)
    assert [(one.query.model, one.query.messages, one.query.params.temperature) for one in scripted.chats] == [
        ("m-a", [system, question], 0.0),
        ("m-b", [question], 0.5),
    ]
    assert [(one.query.model, one.query.text) for one in scripted.readings] == [
        ("m-b", [question, Message("assistant", "It is")]),
        ("m-a", [system, question, Message("assistant", "It was")]),
    ]
    assert [column.text for column in found.columns] == ["It is", "It was"]
    assert [sorted(text.tokens) for text in found.texts] == [[0, 1], [0, 1]]
    assert (found.ended, found.stopped) == (True, False)


async def test_a_reference() -> None:
    """A reference text is scored by every column, and is not an answer."""
    scripted = assistant(tokens("It", " is"), tokens("It", " was"))
    found = await run(comparison(reference="It rains"), scripted)
    last = found.texts[-1]
    assert (last.name, last.text, sorted(last.tokens)) == (REFERENCE, "It rains", [0, 1])
    assert sum(last_message(one.query.text) == "It rains" for one in scripted.readings) == 2


async def test_columns_of_the_same_model() -> None:
    """Columns with the same model and system prompt share the scores of a text."""
    scripted = assistant(tokens("It"), tokens("He"), tokens("She"))
    found = await run(comparison(B, replace(B, temperature=1.0), A), scripted)
    assert [one.query.model for one in scripted.readings] == ["m-a", "m-a", "m-b"]
    assert all(sorted(text.tokens) == [0, 1, 2] for text in found.texts)
    assert found.texts[2].tokens[0] is found.texts[2].tokens[1]
    assert found.texts[0].tokens[1] is found.columns[0].tokens


async def test_streaming() -> None:
    """The answers are streamed independently."""
    hold = asyncio.Event()
    found = comparison()
    ticks = found.run(assistant([*tokens("It"), hold], tokens("It", " was")))
    async for _ in ticks:
        if found.columns[1].text == "It was":
            break
    assert (found.columns[0].text, found.ended) == ("It", False)
    hold.set()
    async for _ in ticks:
        pass
    assert found.ended


async def test_stop() -> None:
    """A stop ends all generations, prevents scoring, and keeps the text."""
    scripted = assistant([*tokens("It", " is"), None], [*tokens("It"), None])
    found = comparison()
    async for _ in found.run(scripted):
        if (found.columns[0].text, found.columns[1].text) == ("It is", "It"):
            found.stop()
    assert all(request.closed for request in scripted.chats)
    assert scripted.readings == []
    assert (found.stopped, found.ended, found.columns[0].text) == (True, True, "It is")


async def test_stop_while_reading() -> None:
    """A stop during scoring ends the scoring, and keeps the complete answers."""
    scripted = assistant(tokens("It", " is"), tokens("It", " was"), reads=lambda _text, _model: [None])
    found = comparison()
    async for _ in found.run(scripted):
        if len(scripted.readings) == 2:
            found.stop()
    assert [request.closed for request in scripted.readings] == [True, True]
    assert [sorted(text.tokens) for text in found.texts] == [[0], [1]]
    assert found.stopped


async def test_the_end_is_no_stop() -> None:
    """A stop after the end changes nothing."""
    found = await run(comparison(), assistant(tokens("It"), tokens("It")))
    found.stop()
    assert not found.stopped


async def test_the_tab_is_closed() -> None:
    """A closed page ends all generations, and keeps the text of a stopped comparison."""
    scripted = assistant([*tokens("It"), None], [None])
    found = comparison()
    ticks = found.run(scripted)
    async for _ in ticks:
        if found.columns[0].text:
            break
    await ticks.aclose()
    assert [request.closed for request in scripted.chats] == [True, True]
    assert (found.stopped, found.ended, found.columns[0].text) == (True, True, "It")


@pytest.mark.parametrize(
    ("item", "sentence"),
    [
        (ContextLengthError(9000, 8192), str(ContextLengthError(9000, 8192))),
        (Finish(FinishReason.CANCELLED, usage(1)), "The server ended this answer early: cancelled."),
        (Finish(FinishReason.ERROR, usage(1), error="It is out of memory."), "It is out of memory."),
        (RuntimeError("the insides"), UNEXPECTED),
    ],
)
async def test_one_column_fails(item: Item, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    """A failed column has an error in a sentence, and keeps the text; other columns continue."""
    with caplog.at_level(logging.ERROR):
        found = await run(comparison(), assistant([*tokens("It"), item], tokens("It", " was")))
    assert [column.error for column in found.columns] == [sentence, None]
    assert [column.text for column in found.columns] == ["It", "It was"]
    assert ("the insides" in caplog.text) == (sentence == UNEXPECTED)


async def test_an_empty_answer() -> None:
    """An answer without text is not scored."""
    scripted = assistant([ContextLengthError(9000, 8192)], tokens("It"))
    await run(comparison(), scripted)
    assert [last_message(one.query.text) for one in scripted.readings] == ["It"]


async def test_a_template_that_changes_the_answer() -> None:
    """A column with a template that changes an answer says so."""
    scripted = assistant(
        tokens("It", " "), tokens("It"), reads=lambda text, _model: [token(last_message(text).strip())]
    )
    found = await run(comparison(), scripted)
    sentence = "The chat template of B's model changes A's answer, so B cannot score it."
    assert [column.error for column in found.columns] == [None, sentence]
    assert [sorted(text.tokens) for text in found.texts] == [[0], [0, 1]]


async def test_reading_is_cut_short() -> None:
    """An incomplete scoring is reported and not used."""
    scripted = assistant(
        tokens("It"), tokens("It"), reads=lambda _text, _model: [token("It"), Finish(FinishReason.CANCELLED, usage(1))]
    )
    found = await run(comparison(), scripted)
    assert found.columns[1].error == "The server ended this answer early: cancelled."
    assert [sorted(text.tokens) for text in found.texts] == [[0], [1]]
