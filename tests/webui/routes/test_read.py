"""Tests the Read tab, during a reading and afterwards."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import ContextLengthError, InvalidRequestError, NotFoundError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.reading_figures import ReadingFigures
from pellucid_webui.inspection.unified_diff import ReadAs
from pellucid_webui.routes.read import MAX_TEXT_BYTES, ReadRoute, opened
from pellucid_webui.routes.read_payload import figures, line_columns, windows_note
from pellucid_webui.routes.read_session import NO_SECOND, UNEXPECTED, ReadRequest
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, tokens
from support.scripted_answers import Item, usage

WORDS = tokens("one", " two", " three")
TEXT = "one two three"


def reader(*items: Item) -> ScriptedPageAssistant:
    return ScriptedPageAssistant(reads=lambda _text, _model: items)


def route(*items: Item) -> ReadRoute:
    return ReadRoute(shared(reader(*items)))


def act(found: ReadRoute, owner: str = "me", tab: str = "1", **asked: Any) -> AsyncGenerator[dict[str, Any]]:
    return found.act(owner, {"tab": tab, **asked})


def begin(found: ReadRoute, text: str = TEXT, tab: str = "1", **asked: str) -> AsyncGenerator[dict[str, Any]]:
    return act(found, tab=tab, verb="read", **{"text": text, "model": MODEL, "kind": ReadAs.TEXT, **asked})


async def read(found: ReadRoute, text: str = TEXT, tab: str = "1", **asked: str) -> dict[str, Any]:
    return [event async for event in begin(found, text, tab, **asked)][-1]


async def result(found: ReadRoute, text: str = TEXT, **asked: str) -> dict[str, Any]:
    """Read a text without an error, and return the result."""
    last = await read(found, text, **asked)
    return dict(last["result"]) if last["status"] == "" else pytest.fail(last["status"])


async def one(found: ReadRoute, owner: str = "me", tab: str = "1", **asked: Any) -> dict[str, Any]:
    (event,) = [event async for event in act(found, owner, tab, **asked)]
    return event


async def part(found: ReadRoute, number: int, kind: str, start: object = 0) -> Any:
    return json.loads((await one(found, verb="part", number=number, kind=kind, start=start))["data"])


async def test_read() -> None:
    """The events begin without tokens, and end with the count, figures and lines."""
    assistant = reader(*WORDS)
    found = ReadRoute(shared(assistant))
    first, *_, last = [event async for event in begin(found, model="")]
    assert (first["tokens"], first["share"], first["words"]) == (0, 0.0, "")
    assert (last["status"], last["wrong"]) == ("", False)
    shown = last["result"]
    assert (await part(found, shown["number"], "tokens"))["t"] == ["one", " two", " three"]
    assert shown["tokens"] == 3
    assert shown["figures"] == figures(ReadingFigures(MODEL, tuple(WORDS)))
    assert json.loads(shown["lines"])["number"] == [1]
    assert [sum(chart["counts"]) for chart in shown["charts"]] == [3, 3, 3]
    (request,) = assistant.readings
    assert (request.query.text, request.query.model, request.closed) == (TEXT, MODEL, True)


async def test_results_are_small() -> None:
    """Results do not grow with tokens or alternatives: the page requests visible parts."""
    short = await result(route(*tokens("a")), "a")
    long = await result(route(*tokens(*["wordswordswords"] * 1000)), "words")
    assert len(json.dumps(long)) < len(json.dumps(short)) + 200


async def test_parts() -> None:
    """The page gets tokens in columns and alternatives by part, only of the tab's last reading."""
    found = route(*WORDS)
    before, number = [(await result(found))["number"] for _ in range(2)]
    assert [[name for _, name, _ in token["a"]] for token in await part(found, number, "alternatives")] == [
        [token.text, " other"] for token in WORDS
    ]
    assert (await part(found, number, "tokens", 2))["t"] == [" three"]
    for gone in ({"number": before}, {"number": number, "tab": "2"}, {"number": number, "owner": "else"}, {}):
        with pytest.raises(NotFoundError, match="The server no longer has this reading: press Read"):
            await one(found, verb="part", kind="tokens", start=0, **gone)
    for kind, start in (("tokens", -1), ("tokens", True), ("tokens", None), ("all", 0)):
        with pytest.raises(InvalidRequestError, match="reload the page"):
            await part(found, number, kind, start)


async def test_progress() -> None:
    """During a reading tokens can be requested, and bytes so far give the progress."""
    hold = asyncio.Event()
    found = route(*tokens("é", "é"), hold, *tokens("éééé"))
    shown = begin(found, "éééééé")
    _, news = await anext(shown), await anext(shown)
    assert (news["share"], news["words"]) == (pytest.approx(1 / 3, abs=1e-4), "2 of about 6 tokens")
    assert news["tokens"] == len((await part(found, news["number"], "tokens"))["t"]) == 2
    hold.set()
    assert [event async for event in shown][-1]["result"]["tokens"] == 3


async def test_stop() -> None:
    """A stopped reading ends in the engine, and the tokens stay with figures."""
    assistant = reader(*WORDS, None)
    found = ReadRoute(shared(assistant))
    shown = begin(found)
    assert [(await anext(shown))["tokens"] for _ in range(2)] == [0, 3]
    for other in ({"tab": "2"}, {"owner": "else"}):
        assert [event async for event in act(found, verb="stop", **other)] == []
    assert [request.closed for request in assistant.readings] == [False]
    assert [event async for event in act(found, verb="stop")] == []
    last = [event async for event in shown][-1]
    assert [request.closed for request in assistant.readings] == [True]
    assert (last["status"], last["wrong"], last["result"]["tokens"]) == ("Stopped after 3 tokens.", False, 3)
    assert ("Tokens", "3") in [(name, value) for name, value, _ in last["result"]["figures"]]


async def test_stop_before_a_token() -> None:
    """After a stop before the first token, the last reading stays."""
    found = two(WORDS, (None,))
    before = await result(found)
    shown = begin(found, model="large")
    await anext(shown)
    assert [event async for event in act(found, verb="stop")] == []
    last = [event async for event in shown][-1]
    assert last == {"status": "Stopped before a token was read.", "wrong": False, "result": None}
    assert (await one(found, verb="open"))["result"] == before


async def test_a_newer_reading_of_the_tab() -> None:
    """A tab has a single reading in the engine: a newer one stops the one before."""
    found = route(*WORDS, None)
    first, second = begin(found), begin(found)
    for events in (first, first, second):
        await anext(events)
    assert [event async for event in first][-1]["status"] == "Stopped after 3 tokens."
    assert [event async for event in act(found, verb="stop")] == []
    assert [event async for event in second][-1]["status"].startswith("Stopped")


def two(first: Sequence[Item], second: Sequence[Item]) -> ReadRoute:
    """Return a route with different scores for ``MODEL`` and for other models."""
    return ReadRoute(shared(ScriptedPageAssistant(reads=lambda _text, model: first if model == MODEL else second)))


async def test_second_model() -> None:
    """A second model reads the same text, with saved bits for tokens and lines, and a summary."""
    found = two(WORDS, [replace(token, logprob=-0.125) for token in tokens("one", " two", " th", "ree")])
    last = await result(found, second="large")
    each = 0.125 / math.log(2)
    assert await part(found, last["number"], "saved") == pytest.approx([each, each, 0], abs=1e-3)
    assert json.loads(last["lines"])["saved"] == pytest.approx([2 * each], abs=1e-3)
    assert last["second"] == "large"
    assert last["summary"].startswith(
        "Bits saved by large: +0.03 bits per byte, so it finds this text less surprising than scripted does."
    )
    assert [figures[-1] for figures in await part(found, last["number"], "second")] == ["", "", " three"]


async def test_progress_of_two_models() -> None:
    """The progress counts the text for both models, and names the current model."""
    hold = asyncio.Event()
    shown = begin(two(WORDS, (*WORDS[:1], hold, *WORDS[1:])), second="large")
    while "large" not in (event := await anext(shown))["words"]:
        pass
    assert event["share"] == pytest.approx((1 + 3 / 13) / 2, abs=1e-4)
    assert event["words"] == "1 of about 4 tokens by large"
    hold.set()
    assert [event async for event in shown][-1]["result"]["second"] == "large"


async def test_longer_than_the_context() -> None:
    """Every text is read in windows, and only a long text has a note on the windows."""
    many = tokens(*[f" {number}" for number in range(70)])
    text = "".join(token.text for token in many)
    asked: list[bool] = []

    class Reader(ScriptedPageAssistant):
        def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
            asked.append(query.windows)
            return super().score(query)

    def windows(items: Sequence[Item]) -> ReadRoute:
        return ReadRoute(shared(Reader(reads=lambda _text, _model: items)))

    note = "The text is longer than the context of 64 tokens: each token was read with at least the 32 before it."
    assert (await result(windows(many), text))["note"] == note
    assert (await result(windows(WORDS)))["note"] == ""
    last = await result(windows(many), DIFF_TEXT, kind=ReadAs.AUTOMATIC)
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
    error = ContextLengthError(9000, 8192)
    last = await read(two(WORDS, (error,)), second="small")
    assert (last["status"], last["wrong"]) == (str(error), True)
    assert (last["result"]["second"], last["result"]["tokens"]) == ("", 3)
    last = await read(two(WORDS, (*WORDS[:1], error)), second="small")
    assert last["result"]["second"] == "small"
    assert len(json.loads(last["result"]["lines"])["saved"]) == 1


DIFF_TEXT = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n"


async def test_diff() -> None:
    """A diff is read as old and new text of each hunk, and on request as plain text."""
    assistant = ScriptedPageAssistant(reads=lambda text, _model: tokens(*str(text).splitlines(keepends=True)))
    found = ReadRoute(shared(assistant))
    last = await result(found, DIFF_TEXT, kind="")
    assert [request.query.text for request in assistant.readings] == ["one\ntwo\n", "one\nzwei\n"]
    (hunk,) = json.loads(last["diff"])
    bits = round(0.25 / math.log(2), 2)
    assert hunk["rows"][1] == [["-", 2, bits, [["two", bits]]], ["+", 2, bits, [["zwei", bits]]]]
    assert last["summary"].startswith("Removed: 1 line with 0.4 bits")
    assert (last["tokens"], last["lines"]) == (0, None)
    with pytest.raises(InvalidRequestError, match="There is no reading to export yet: read a text first"):
        await one(found, verb="export", number=last["number"], form="csv")
    await result(found, DIFF_TEXT)
    assert assistant.readings[-1].query.text == DIFF_TEXT


async def test_damaged_diff() -> None:
    """A damaged diff is reported before any reading, and the last reading stays."""
    assistant = reader(*WORDS)
    found = ReadRoute(shared(assistant))
    before = await result(found)
    last = await read(found, DIFF_TEXT + "@@ -1 +1 @@\n-a\n", kind=ReadAs.AUTOMATIC)
    assert last["status"] == "Line 8 does not fit the line counts of its @@ header: paste the whole diff, unedited."
    assert (last["wrong"], last["result"]) == (True, None)
    assert (await one(found, verb="open"))["result"] == before
    assert len(assistant.readings) == 1


async def test_kept_for_a_reload() -> None:
    """A tab's last reading is restored, and the oldest are dropped at too many tokens or texts."""

    async def kept(found: ReadRoute) -> list[str | None]:
        asked = [(await one(found, tab=tab, verb="open"))["asked"] for tab in "abc"]
        return [one and one["text"] for one in asked]

    found = route(*WORDS)
    for tab, text in ("a", "one"), ("a", "two"), ("b", "three"), ("c", "four"):
        await read(found, text, tab)
    assert await kept(found) == ["two", "three", "four"]
    assert (await one(found, "else", "a", verb="open"))["result"] is None
    found.max_tokens = 6
    await read(found, "five", "b")
    assert await kept(found) == [None, "five", "four"]
    await read(found, "long" * 7, "a")
    assert await kept(found) == ["long" * 7, None, None]


async def test_opened() -> None:
    """The menus show the last reading's models, also a missing one, or why there are none."""

    class Reader(ScriptedPageAssistant):
        served: tuple[str, ...] = (MODEL, "large")

        async def cards(self) -> list[ModelCard]:
            if not self.served:
                raise UnavailableError("The models are loading.")
            (card,) = await super().cards()
            return [replace(card, name=name) for name in self.served]

    assistant = Reader(reads=lambda _text, _model: WORDS)
    found = ReadRoute(shared(assistant))
    shown = await one(found, verb="open")
    assert (shown["asked"], shown["result"]) == (None, None)
    assert (shown["model"]["value"], shown["second"]["value"]) == (MODEL, NO_SECOND)
    assert shown["second"]["choices"] == [[name, name] for name in (NO_SECOND, MODEL, "large")]
    last = await result(found, model="", second="large")
    assistant.served = (MODEL,)
    shown = await one(found, verb="open")
    assert shown["asked"] == {"text": TEXT, "model": MODEL, "second": "large", "kind": ReadAs.TEXT}
    assert shown["result"] == last
    assert (shown["second"]["value"], shown["second"]["choices"][-1]) == ("large", ["large", "large"])
    assistant.served = ()
    shown = await one(found, verb="open")
    assert (shown["model"]["info"], shown["result"]) == ("The models are loading.", last)


def test_request() -> None:
    """Without a choice, the menus select the default model and no second model."""
    asked = {"text": "x", "model": None, "second": None}
    assert ReadRequest.of(asked) == ReadRequest.of(asked | {"second": NO_SECOND}) == ReadRequest("x")
    assert ReadRequest.of(asked | {"second": "n", "kind": "Text"}) == ReadRequest("x", "", "n", ReadAs.TEXT)


async def test_the_tab_is_closed() -> None:
    """A reading ends in the engine with the reader, and the last reading stays."""
    assistant = reader(*WORDS, None)
    found = ReadRoute(shared(assistant))
    shown = begin(found)
    assert [(await anext(shown))["tokens"] for _ in range(2)] == [0, 3]
    await shown.aclose()
    assert assistant.readings[0].closed
    assert (await one(found, verb="open"))["result"] is None


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
    found = two(WORDS, items)
    before = await result(found)
    assert await read(found, text, model="large") == {"status": sentence, "wrong": True, "result": None}
    assert (await one(found, verb="open"))["result"] == before


async def test_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    """Details of a failure are only in the log, and the tokens so far are kept."""
    with caplog.at_level(logging.ERROR):
        last = await read(route(*WORDS, RuntimeError("the insides")), "one two three four")
    assert (last["status"], last["wrong"], last["result"]["tokens"]) == (UNEXPECTED, True, 3)
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
    """A reading is exported with all tokens, and without a reading the export is refused."""
    found = route(*WORDS)
    number = (await result(found))["number"]
    table, tree = [await one(found, verb="export", number=number, form=form) for form in ("csv", "json")]
    assert [row["token"] for row in csv.DictReader(io.StringIO(table["text"], newline=""))] == ["one", " two", " three"]
    assert [row["token"] for row in json.loads(tree["text"])["tokens"]] == ["one", " two", " three"]
    assert [file["name"] for file in (table, tree)] == ["reading.csv", "reading.json"]
    with pytest.raises(InvalidRequestError, match="not as 'exe'"):
        await one(found, verb="export", number=number, form="exe")
    with pytest.raises(NotFoundError, match="press Read to read the text again"):
        await one(found, verb="export", number=number - 1, form="csv")


def sent(name: object, content: bytes) -> dict[str, object]:
    """Return a file as sent by the script."""
    return {"name": name, "data": base64.b64encode(content).decode()}


def test_files() -> None:
    """A text file is opened, shown without its folder; other files are refused by name."""
    shown = opened(sent("words.rs", "é\r\nb".encode()))
    assert shown == {"text": "é\nb", "status": "words.rs is open: press Read.", "wrong": False}
    assert opened(sent("/etc/\ud800.txt", b"x"))["status"] == "_.txt is open: press Read."
    for content in (b"\x89PNG\0", b"x" * (MAX_TEXT_BYTES + 1)):
        shown = opened(sent("picture.png", content))
        assert shown["text"] is None
        assert shown["wrong"]
        assert "picture.png" in shown["status"]


NO_CONTENT = [{"name": "words.rs", "data": data} for data in ("not base64", "é", ["YQ=="])]


@pytest.mark.parametrize(
    "file", [None, "words.rs", [], {}, {"name": "words.rs"}, {"name": 1, "data": "YQ=="}, *NO_CONTENT]
)
def test_what_is_not_a_file(file: object) -> None:
    """Data without a name and content, for example a path, is refused in a sentence."""
    shown = opened(file)
    assert shown["text"] is None
    assert shown["wrong"]
    assert shown["status"].startswith("The page sent a file without a name or without base64 content")
