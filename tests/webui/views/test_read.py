"""Tests the Read tab, during a reading and afterwards."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.reading_figures import ReadingFigures
from pellucid_webui.views import read_session
from pellucid_webui.views.read import MAX_TEXT_BYTES, NO_SECOND, opened, request_of
from pellucid_webui.views.read_payload import NOTHING, figures, line_columns, windows_note
from pellucid_webui.views.read_session import (
    AUTOMATIC,
    TEXT,
    UNEXPECTED,
    KeptReadings,
    ReadRequest,
    ReadState,
    act,
    export,
    read,
)
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, tokens
from support.scripted_answers import Item, usage

WORDS = tokens("one", " two", " three")


def reader(*items: Item) -> ScriptedPageAssistant:
    """Return an assistant that scores every text as these items."""
    return ScriptedPageAssistant(reads=lambda _text, _model: items)


async def all_of(shown: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in shown]


def ask(text: str, model: str = MODEL, second: str = "", kind: str = TEXT) -> ReadRequest:
    return ReadRequest(text, model, second, kind)


def texts_of(state: ReadState, number: int) -> list[str]:
    """Return the texts of tokens sent to the page for a reading."""
    part = state.part({"number": number, "kind": "tokens", "start": 0, "n": 1})
    assert part is not None
    found = json.loads(part["data"])["t"]
    assert isinstance(found, list)
    return found


async def test_read() -> None:
    """The payloads begin without tokens, and end with the count, figures and lines."""
    assistant, kept = reader(*WORDS), ReadState()
    first, *_, last = await all_of(read(assistant, kept, ask("one two three", "")))
    assert (first["tokens"], first["figures"], first["progress"]) == (0, [], {"share": 0.0, "words": ""})
    assert texts_of(kept, last["number"]) == ["one", " two", " three"]
    assert last["progress"] is None
    assert (last["tokens"], last["status"], last["wrong"]) == (3, "", False)
    assert last["figures"] == figures(ReadingFigures(MODEL, tuple(WORDS)))
    assert json.loads(last["lines"])["number"] == [1]
    assert [sum(chart["counts"]) for chart in last["charts"]] == [3, 3, 3]
    assert [(request.query.text, request.query.model, request.closed) for request in assistant.readings] == [
        ("one two three", MODEL, True)
    ]


async def test_payloads_are_small() -> None:
    """Payloads do not grow with tokens or alternatives: the page requests visible parts."""
    *_, short = await all_of(read(reader(*tokens("a")), ReadState(), ask("a")))
    *_, long = await all_of(read(reader(*tokens(*["wordswordswords"] * 1000)), ReadState(), ask("words")))
    assert len(json.dumps(long)) < len(json.dumps(short)) + 200


async def test_parts() -> None:
    """The page gets tokens in columns and alternatives by part, only of the last reading."""
    kept = ReadState()
    *_, last = await all_of(read(reader(*WORDS), kept, ask("one two three")))
    part = kept.part({"number": last["number"], "kind": "alternatives", "start": 0, "n": 7})
    assert part is not None
    assert (part["n"], part["kind"], part["start"]) == (7, "alternatives", 0)
    assert [[name for _, name, _ in token["a"]] for token in json.loads(part["data"])] == [
        [token.text, " other"] for token in WORDS
    ]
    assert kept.part({"number": last["number"] - 1, "kind": "tokens", "start": 0}) is None
    assert kept.part({}) is None
    for bad in (
        {"kind": "tokens", "start": -1},
        {"kind": "tokens", "start": True},
        {"kind": "all", "start": 0},
        {"kind": "tokens"},
    ):
        with pytest.raises(InvalidRequestError, match="reload the page"):
            kept.part({"number": last["number"], **bad})


async def test_progress() -> None:
    """During a reading tokens can be requested, and bytes so far give the progress."""
    hold, kept = asyncio.Event(), ReadState()
    shown = read(reader(*tokens("é", "é"), hold, *tokens("éééé")), kept, ask("éééééé"))
    await anext(shown)
    news = await anext(shown)
    assert news["progress"] == {"share": pytest.approx(1 / 3, abs=1e-4), "words": "2 of about 6 tokens"}
    assert news["tokens"] == len(texts_of(kept, news["number"])) == 2
    hold.set()
    assert (await all_of(shown))[-1]["tokens"] == 3


async def test_stop() -> None:
    """A stopped reading ends in the engine, and the tokens stay with figures."""
    assistant, kept = reader(*WORDS, None), ReadState()
    shown = read(assistant, kept, ask("one two three four"))
    await anext(shown)
    await anext(shown)
    assert await act(kept, {"verb": "stop"}) is None
    last = (await all_of(shown))[-1]
    assert assistant.readings[0].closed
    assert last["status"] == "Stopped after 3 tokens."
    assert last["tokens"] == 3
    assert ("Tokens", "3") in [(name, value) for name, value, _ in last["figures"]]
    assert last["progress"] is None


async def test_stop_before_a_token() -> None:
    """After a stop before the first token, the last reading stays."""
    kept = ReadState()
    kept.stop()
    before = (await all_of(read(reader(*WORDS), kept, ask("one two three"))))[-1]
    shown = read(reader(None), kept, ask("else"))
    await anext(shown)
    kept.stop()
    assert (await all_of(shown))[-1] == before | {"status": "Stopped before a token was read."}
    assert kept.shown == before


def two(first: Sequence[Item], second: Sequence[Item]) -> ScriptedPageAssistant:
    """Return an assistant with different scores for ``MODEL`` and for other models."""
    return ScriptedPageAssistant(reads=lambda _text, model: first if model == MODEL else second)


async def test_second_model() -> None:
    """A second model reads the same text, with saved bits for tokens and lines, and a summary."""
    kept = ReadState()
    surer = [replace(token, logprob=-0.125) for token in tokens("one", " two", " th", "ree")]
    *_, last = await all_of(read(two(WORDS, surer), kept, ask("one two three", second="large")))
    saved = kept.part({"number": last["number"], "kind": "saved", "start": 0})
    assert saved is not None
    each = 0.125 / math.log(2)
    assert json.loads(saved["data"]) == pytest.approx([each, each, 0], abs=1e-3)
    assert json.loads(last["lines"])["saved"] == pytest.approx([2 * each], abs=1e-3)
    assert (last["second"], last["compared"]) == ("large", True)
    assert last["summary"].startswith(
        "Bits saved by large: +0.03 bits per byte, so it finds this text less surprising than scripted does."
    )
    both = kept.part({"number": last["number"], "kind": "second", "start": 0})
    assert both is not None
    assert [figures[-1] for figures in json.loads(both["data"])] == ["", "", " three"]


async def test_progress_of_two_models() -> None:
    """The progress counts the text for both models, and names the current model."""
    hold, kept = asyncio.Event(), ReadState()
    shown = read(two(WORDS, (*WORDS[:1], hold, *WORDS[1:])), kept, ask("one two three", second="large"))
    found = [await anext(shown)]
    while "large" not in found[-1]["progress"]["words"]:
        found.append(await anext(shown))
    assert found[-1]["progress"] == {
        "share": pytest.approx((1 + 3 / 13) / 2, abs=1e-4),
        "words": "1 of about 4 tokens by large",
    }
    hold.set()
    await all_of(shown)


async def test_longer_than_the_context() -> None:
    """Every text is read in windows, and only a long text has a note on the windows."""
    many = tokens(*[f" {number}" for number in range(70)])
    text = "".join(token.text for token in many)
    asked: list[bool] = []

    class Reader(ScriptedPageAssistant):
        def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
            asked.append(query.windows)
            return super().score(query)

    *_, last = await all_of(read(Reader(reads=lambda _text, _model: many), ReadState(), ask(text)))
    assert (
        last["note"]
        == "The text is longer than the context of 64 tokens: each token was read with at least the 32 before it."
    )
    *_, last = await all_of(read(Reader(reads=lambda _text, _model: WORDS), ReadState(), ask("one two three")))
    assert last["note"] == ""
    *_, last = await all_of(read(Reader(reads=lambda _text, _model: many), ReadState(), ask(DIFF_TEXT, kind=AUTOMATIC)))
    assert last["note"].startswith("The text is longer than the context of 64 tokens")
    assert set(asked) == {True}


def test_windows_of_two_models() -> None:
    """The note names the models with too short a context, or both together if equal."""
    end = "each token was read with at least the"
    both = windows_note({"a": 1100, "b": 1200}, {"a": 1024, "b": 1024})
    assert both == f"The text is longer than the context of both models, 1,024 tokens: {end} 512 before it."
    one = windows_note({"a": 1100, "b": 1200}, {"a": 1024, "b": 2048})
    assert one == f"The text is longer than the context of a, 1,024 tokens: {end} 512 before it."
    other = windows_note({"a": 1100, "b": 1200}, {"a": 1024, "b": 100})
    assert other == f"{one} The text is longer than the context of b, 100 tokens: {end} 50 before it."
    assert windows_note({"a": 9}, {}) == ""


async def test_second_model_fails() -> None:
    """After a failure of the second model, the first reading and the partial comparison stay."""
    kept = ReadState()
    error = ContextLengthError(9000, 8192)
    *_, last = await all_of(read(two(WORDS, (error,)), kept, ask("one two three", second="small")))
    assert (last["tokens"], last["compared"], last["status"], last["wrong"]) == (3, False, str(error), True)
    *_, last = await all_of(read(two(WORDS, (*WORDS[:1], error)), kept, ask("one two three", second="small")))
    assert last["compared"]
    assert len(json.loads(last["lines"])["saved"]) == 1


DIFF_TEXT = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n"


async def test_diff() -> None:
    """A diff is read as old and new text of each hunk, and on request as plain text."""
    assistant, kept = (
        ScriptedPageAssistant(reads=lambda text, _model: tokens(*str(text).splitlines(keepends=True))),
        ReadState(),
    )
    *_, last = await all_of(read(assistant, kept, ask(DIFF_TEXT, kind=AUTOMATIC)))
    assert [request.query.text for request in assistant.readings] == ["one\ntwo\n", "one\nzwei\n"]
    (hunk,) = json.loads(last["diff"])
    bits = round(0.25 / math.log(2), 2)
    assert hunk["rows"][1] == [["-", 2, bits, [["two", bits]]], ["+", 2, bits, [["zwei", bits]]]]
    assert last["summary"].startswith("Removed: 1 line with 0.4 bits")
    assert (last["tokens"], last["lines"]) == (0, None)
    await all_of(read(assistant, kept, ask(DIFF_TEXT)))
    assert assistant.readings[-1].query.text == DIFF_TEXT


async def test_damaged_diff() -> None:
    """A damaged diff is reported before any reading, and the last reading stays."""
    assistant, kept = reader(*WORDS), ReadState()
    *_, before = await all_of(read(assistant, kept, ask("one two three")))
    *_, last = await all_of(read(assistant, kept, ask(DIFF_TEXT + "@@ -1 +1 @@\n-a\n", kind=AUTOMATIC)))
    sentence = "Line 8 does not fit the line counts of its @@ header: paste the whole diff, unedited."
    assert last == before | {"status": sentence, "wrong": True}
    assert len(assistant.readings) == 1


async def test_kept_for_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading is found by key and owner, and the oldest are dropped at too many tokens."""
    kept, readings = KeptReadings(), []
    for text in ("one", "two", "three"):
        state = ReadState()
        await all_of(read(reader(*WORDS), state, ask(text)))
        assert state.last is not None
        readings.append(state.last)
    kept.keep("ann", readings[0])
    assert kept.find("ann", readings[0].key) is readings[0]
    assert [kept.find("bob", readings[0].key), kept.find("ann", "else"), kept.find("ann", None)] == [None, None, None]
    monkeypatch.setattr(read_session, "MAX_KEPT_TOKENS", 6)
    for reading in readings[1:]:
        kept.keep("ann", reading)
    assert [kept.find("ann", reading.key) for reading in readings] == [None, *readings[1:]]
    monkeypatch.setattr(read_session, "MAX_KEPT_TOKENS", 1)
    kept.keep("ann", readings[0])
    assert kept.find("ann", readings[0].key) is readings[0]


def test_request() -> None:
    """Without a choice, the menus select the default model and no second model."""
    assert request_of("x", None, None, None) == ReadRequest("x")
    assert request_of("x", "m", NO_SECOND, TEXT) == ReadRequest("x", "m", "", TEXT)
    assert request_of("x", "m", "n", TEXT).second == "n"


async def test_the_tab_is_closed() -> None:
    """A reading ends in the engine with the reader."""
    assistant = reader(*WORDS, None)
    shown = read(assistant, ReadState(), ask("one two three four"))
    await anext(shown)
    await anext(shown)
    await shown.aclose()
    assert assistant.readings[0].closed


@pytest.mark.parametrize(
    ("text", "items", "sentence"),
    [
        ("", (), "There is no text to read: paste one, or open a file."),
        ("long", (ContextLengthError(9000, 8192),), str(ContextLengthError(9000, 8192))),
        (
            "x",
            (Finish(FinishReason.CANCELLED, usage(0)),),
            "The server cancelled the reading: press Read to try again.",
        ),
        ("x", (Finish(FinishReason.ERROR, usage(0), error="It is out of memory."),), "It is out of memory."),
    ],
)
async def test_wrong(text: str, items: Sequence[Item], sentence: str) -> None:
    """A failed reading is reported in a sentence, and the last reading stays."""
    kept = ReadState()
    before = (await all_of(read(reader(*WORDS), kept, ask("one two three"))))[-1]
    last = (await all_of(read(reader(*items), kept, ask(text))))[-1]
    assert last == before | {"status": sentence, "wrong": True}
    assert kept.shown == before


async def test_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    """Details of a failure are only in the log, and the tokens so far are kept."""
    with caplog.at_level(logging.ERROR):
        last = (
            await all_of(read(reader(*WORDS, RuntimeError("the insides")), ReadState(), ask("one two three four")))
        )[-1]
    assert (last["status"], last["wrong"]) == (UNEXPECTED, True)
    assert last["tokens"] == 3
    assert "the insides" in caplog.text


def test_figures() -> None:
    """Figures have names and explanations, and figures without a value are omitted."""
    shown = figures(ReadingFigures("m", tuple(WORDS)))
    assert {name: value for name, value, _ in shown} == {
        "Tokens": "3",
        "Perplexity": f"{math.exp(0.25):.3f}",
        "Bits per byte": f"{0.75 / math.log(2) / 13:.4f}",
        "Total bits": f"{0.75 / math.log(2):.1f}",
    }
    assert all(hint.endswith(".") for _, _, hint in shown)
    assert [name for name, _, _ in figures(ReadingFigures("m", (replace(WORDS[0], logprob=None),)))] == [
        "Tokens",
        "Total bits",
    ]


def test_lines() -> None:
    """Each line has number, first and most surprising token, and bits in total and at most."""
    words = [
        replace(token, logprob=-bits * math.log(2))
        for token, bits in zip(tokens("a", " b\n", "c"), (1, 3, 2), strict=True)
    ]
    assert json.loads(line_columns(ReadingFigures("m", tuple(words)))) == {
        "number": [1, 2],
        "first": [0, 2],
        "tokens": [2, 1],
        "peak": [1, 2],
        "bits": [4, 2],
        "most": [3, 2],
    }


async def test_export() -> None:
    """A reading is exported with all tokens, each time as a new file."""
    kept = ReadState()
    await all_of(read(reader(*WORDS), kept, ask("one two three")))
    table, tree = [await act(kept, {"verb": "export", "form": form}) for form in ("csv", "json")]
    assert table is not None
    assert tree is not None
    assert [row["token"] for row in csv.DictReader(io.StringIO(table["file"]["text"], newline=""))] == [
        "one",
        " two",
        " three",
    ]
    assert [one["t"] for one in json.loads(tree["file"]["text"])["tokens"]] == ["one", " two", " three"]
    assert table["file"]["n"] != tree["file"]["n"]
    assert table["number"] == kept.shown["number"]


async def read_words() -> ReadState:
    """Return the state of a tab after a reading."""
    state = ReadState()
    await all_of(read(reader(*WORDS), state, ask("one two three")))
    return state


async def test_nothing_to_export() -> None:
    """Without a reading an export is refused in a drawable payload."""
    assert await act(ReadState(), {"verb": "export", "form": "csv"}) == dict(NOTHING) | {
        "status": "There is no reading to export yet: read a text first.",
        "wrong": True,
    }
    with pytest.raises(InvalidRequestError, match="not as 'exe'"):
        export(await read_words(), "exe")


def sent(name: object, content: bytes) -> dict[str, object]:
    """Return a file as sent by the script."""
    return {"name": name, "data": base64.b64encode(content).decode()}


def test_files() -> None:
    """A text file is opened; other files are refused by name, and the text in the field stays."""
    text, shown = opened(ReadState(), sent("words.rs", "é\r\nb".encode()))
    assert text == "é\nb"
    assert shown["status"] == "words.rs is open: press Read."
    assert not shown["wrong"]
    for bad in (sent("picture.png", b"\x89PNG\0"), sent("picture.png", b"x" * (MAX_TEXT_BYTES + 1))):
        text, shown = opened(ReadState(), bad)
        assert text is None
        assert shown["wrong"]
        assert "picture.png" in shown["status"]


@pytest.mark.parametrize(
    "file",
    [
        None,
        "words.rs",
        [],
        {},
        {"name": "words.rs"},
        {"name": "words.rs", "data": "not base64"},
        {"name": "words.rs", "data": "é"},
        {"name": "words.rs", "data": ["YQ=="]},
        {"name": 1, "data": "YQ=="},
    ],
)
def test_what_is_not_a_file(file: object) -> None:
    """Data without a name and content, for example a path, is refused in a sentence."""
    text, shown = opened(ReadState(), file)
    assert text is None
    assert shown["wrong"]
    assert shown["status"].startswith("The page sent a file without a name or without base64 content")


def test_name_of_a_file() -> None:
    """A name is shown without folders and without characters that cannot be sent."""
    assert opened(ReadState(), sent("/etc/\ud800.txt", b"x"))[1]["status"] == "_.txt is open: press Read."
