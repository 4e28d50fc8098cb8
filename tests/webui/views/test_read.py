"""Tests the Read tab, during a reading and afterwards."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import logging
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.tokens import Finish, FinishReason
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.inspection.reading_figures import ReadingFigures
from pellucid_webui.views.read import LINES_SHOWN, NOTHING, UNEXPECTED, ReadState, act, export, figures, lines_of, opened, read
from support.page.scripted_assistant import MODEL, Item, tokens, usage
from support.page.scripted_reader import ScriptedReader

WORDS = tokens("one", " two", " three")


def reader(*items: Item) -> ScriptedReader:
    """Return an assistant that scores every text as these items."""
    return ScriptedReader(reads=lambda _text, _model: items)


async def all_of(shown: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one async for one in shown]


async def test_read() -> None:
    """The payloads begin without tokens and end with all of them, the figures and the lines; the model is the server's first one."""
    assistant, kept = reader(*WORDS), ReadState()
    first, *_, last = await all_of(read(assistant, kept, "one two three", ""))
    assert (first["batches"], first["figures"], first["progress"]) == ([], [], {"share": 0.0, "words": ""})
    assert [token.text for token in unpack(last["batches"])] == ["one", " two", " three"]
    assert last["progress"] is None
    assert (last["status"], last["wrong"]) == ("", False)
    assert last["figures"] == figures(ReadingFigures(MODEL, tuple(WORDS)))
    assert [line["text"] for line in last["lines"]] == ["one two three"]
    assert kept.reading == ReadingFigures(MODEL, tuple(WORDS))
    assert [(request.text, request.model, request.closed) for request in assistant.read_requests] == [("one two three", MODEL, True)]


async def test_progress() -> None:
    """During a reading its tokens and its progress are shown, computed from the bytes so far."""
    hold = asyncio.Event()
    shown = read(reader(*tokens("é", "é"), hold, *tokens("éééé")), ReadState(), "éééééé", MODEL)
    await anext(shown)
    news = await anext(shown)
    assert news["progress"] == {"share": pytest.approx(1 / 3, abs=1e-4), "words": "2 of about 6 tokens"}
    assert len(unpack(news["batches"])) == 2
    hold.set()
    assert len(unpack((await all_of(shown))[-1]["batches"])) == 3


async def test_stop() -> None:
    """A stopped reading ends in the engine, and its tokens stay with their figures."""
    assistant, kept = reader(*WORDS, None), ReadState()
    shown = read(assistant, kept, "one two three four", MODEL)
    await anext(shown)
    await anext(shown)
    assert await act(kept, {"verb": "stop"}) is None
    last = (await all_of(shown))[-1]
    assert assistant.read_requests[0].closed
    assert last["status"] == "Stopped after 3 tokens."
    assert len(unpack(last["batches"])) == 3
    assert ("tokens", "3") in [(name, value) for name, value, _ in last["figures"]]
    assert last["progress"] is None


async def test_stop_before_a_token() -> None:
    """If a reading is stopped before its first token, the last one stays; a stop without a reading does nothing."""
    kept = ReadState()
    kept.stop()
    before = (await all_of(read(reader(*WORDS), kept, "one two three", MODEL)))[-1]
    shown = read(reader(None), kept, "else", MODEL)
    await anext(shown)
    kept.stop()
    assert (await all_of(shown))[-1] == before | {"status": "Stopped before a token was read."}
    assert kept.shown == before


async def test_the_tab_is_closed() -> None:
    """A reading ends in the engine when its reader is gone."""
    assistant = reader(*WORDS, None)
    shown = read(assistant, ReadState(), "one two three four", MODEL)
    await anext(shown)
    await anext(shown)
    await shown.aclose()
    assert assistant.read_requests[0].closed


@pytest.mark.parametrize(
    ("text", "items", "sentence"),
    [
        ("", (), "There is no text to read: paste one, or open a file."),
        ("long", (ContextLengthError(9000, 8192),), str(ContextLengthError(9000, 8192))),
        ("x", (Finish(FinishReason.CANCELLED, usage(0)),), "The server cancelled the reading: press Read to try again."),
        ("x", (Finish(FinishReason.ERROR, usage(0), error="It is out of memory."),), "It is out of memory."),
    ],
)
async def test_wrong(text: str, items: Sequence[Item], sentence: str) -> None:
    """A failed reading is reported in one sentence, and the last reading stays."""
    kept = ReadState()
    before = (await all_of(read(reader(*WORDS), kept, "one two three", MODEL)))[-1]
    last = (await all_of(read(reader(*items), kept, text, MODEL)))[-1]
    assert last == before | {"status": sentence, "wrong": True}
    assert kept.reading == ReadingFigures(MODEL, tuple(WORDS))


async def test_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    """The details of a failure are in the log and not on the page; the tokens so far are kept."""
    with caplog.at_level(logging.ERROR):
        last = (await all_of(read(reader(*WORDS, RuntimeError("the insides")), ReadState(), "one two three four", MODEL)))[-1]
    assert (last["status"], last["wrong"]) == (UNEXPECTED, True)
    assert len(unpack(last["batches"])) == 3
    assert "the insides" in caplog.text


def test_figures() -> None:
    """The figures are named; those that a text does not have are omitted."""
    found = {name: value for name, value, _ in figures(ReadingFigures("m", tuple(WORDS)))}
    assert found == {
        "tokens": "3",
        "perplexity": f"{math.exp(0.25):.3f}",
        "bits per byte": f"{0.75 / math.log(2) / 13:.4f}",
        "total bits": f"{0.75 / math.log(2):.1f}",
    }
    assert [name for name, _, _ in figures(ReadingFigures("m", (replace(WORDS[0], logprob=None),)))] == ["tokens", "total bits"]


def test_lines() -> None:
    """The most surprising lines come first, up to a limit, each with its first token."""
    words = [replace(token, logprob=-float(index % 7)) for index, token in enumerate(tokens(*(f"w{n}\n" for n in range(30))))]
    found = lines_of(ReadingFigures("m", tuple(words)))
    assert [line["mean"] for line in found] == sorted((-(token.logprob or 0) / math.log(2) for token in words), reverse=True)[:LINES_SHOWN]
    assert all(words[line["token"]].text == line["text"] + "\n" for line in found)


async def test_export() -> None:
    """A reading is exported with all its tokens, each time as another file."""
    kept = ReadState()
    await all_of(read(reader(*WORDS), kept, "one two three", MODEL))
    table, tree = [await act(kept, {"verb": "export", "form": form}) for form in ("csv", "json")]
    assert table is not None
    assert tree is not None
    assert [row["token"] for row in csv.DictReader(io.StringIO(table["file"]["text"], newline=""))] == ["one", " two", " three"]
    assert [one["t"] for one in json.loads(tree["file"]["text"])["tokens"]] == ["one", " two", " three"]
    assert table["file"]["n"] != tree["file"]["n"]
    assert table["batches"] == kept.shown["batches"]


async def test_nothing_to_export() -> None:
    """Without a reading an export is refused, in a payload that the script can draw."""
    assert await act(ReadState(), {"verb": "export", "form": "csv"}) == dict(NOTHING) | {
        "status": "There is no reading to export yet: read a text first.",
        "wrong": True,
    }
    with pytest.raises(InvalidRequestError, match="not as 'exe'"):
        export(ReadState(ReadingFigures("m", tuple(WORDS))), "exe")


def sent(name: object, content: bytes) -> dict[str, object]:
    """Return a file as the script sends it."""
    return {"name": name, "data": base64.b64encode(content).decode()}


def test_files() -> None:
    """A text file is opened; for any other the text in the field stays, and one sentence names the file."""
    text, shown = opened(ReadState(), sent("words.rs", "é\r\nb".encode()))
    assert text == "é\nb"
    assert shown["status"] == "words.rs is open: press Read."
    assert not shown["wrong"]
    for bad in (sent("picture.png", b"\x89PNG\0"), sent("picture.png", b"x" * (MAX_FILE_BYTES + 1))):
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
    """Data that is not a name with content opens nothing and is reported in one sentence, in particular a path."""
    text, shown = opened(ReadState(), file)
    assert text is None
    assert shown["wrong"]
    assert shown["status"].startswith("The page sent a file without a name or without base64 content")


def test_name_of_a_file() -> None:
    """A name is shown without folders, and without characters that cannot be sent back."""
    assert opened(ReadState(), sent("/etc/\ud800.txt", b"x"))[1]["status"] == "_.txt is open: press Read."
