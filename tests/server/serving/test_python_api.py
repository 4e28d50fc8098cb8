"""`pellucid.load`: the verbs in Python, sync and async, in this process and over HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, isclose, log
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.errors import ConfigError, InvalidRequestError, PellucidError, UnavailableError
from pellucid.serving.notebook_results import TokenTrace
from pellucid.serving.python_api import PythonModel
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Image, Message
from pellucid.vocabulary.query import Extra
from pellucid.vocabulary.token import Alternative, Token
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import tiny_llama
from support.servers.http_servers import ScriptedAssistant, live_scripted

TEXT = "def add(a, b):\n"
ENDS = Finish(FinishReason.STOP, Usage())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PythonModel]:
    """A tiny model with random weights, loaded in this process."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(vocab_size=320, max_position_embeddings=512).save_pretrained(folder)
    write_folder(folder, byte_level_bpe(320))
    cache = tmp_path_factory.mktemp("cache")
    with pellucid.load(str(folder), device="cpu", quant="none", cache=cache, context=256) as model:
        yield model


def test_import_is_light() -> None:
    """`import pellucid` imports no torch or pydantic, for a fast start of the language server."""
    code = "import sys, pellucid; print({'torch', 'pydantic', 'transformers'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout == "set()\n"


def test_unknown_attribute() -> None:
    """An unknown name of the package raises `AttributeError`."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pellucid.nothing


async def test_sync_and_async_agree(model: PythonModel) -> None:
    """A sync verb works inside a running event loop, and gives the tokens of the async verb."""
    assert_same(model.complete(TEXT, max_tokens=5).tokens, (await model.acomplete(TEXT, max_tokens=5)).tokens)
    assert model.chat("Hi", max_tokens=5).text == (await model.achat([Message("user", "Hi")], max_tokens=5)).text
    assert_same(model.score(TEXT).tokens, (await model.ascore(TEXT)).tokens)


def assert_same(some: Sequence[Token], others: Sequence[Token]) -> None:
    """Assert that tokens are the same.

    The last bits of the logprobs depend on the content of the cache.
    """
    assert [one.id for one in some] == [one.id for one in others]
    for one, other in zip(some, others, strict=True):
        assert one.logprob == (None if other.logprob is None else pytest.approx(other.logprob, abs=1e-4))


def test_messages_of_a_chat() -> None:
    """Messages may be dicts with role and content; other keys are refused with a sentence."""
    assistant = ScriptedAssistant()
    with PythonModel(assistant, None) as model:
        assert model.chat([{"role": "system", "content": "Be brief."}, Message("user", "Hi")]).text == "Hello world"
        with pytest.raises(InvalidRequestError, match=r"dicts with these two keys\.$"):
            model.chat([{"text": "Hi"}])

    assert assistant.calls[0]["messages"] == (Message("system", "Be brief."), Message("user", "Hi"))


def test_images_of_a_chat(tmp_path: Path) -> None:
    """The files of `images` precede the last message; a missing file is refused with a sentence."""
    path, assistant = tmp_path / "a.png", ScriptedAssistant()
    path.write_text("a")
    with PythonModel(assistant, None) as model:
        model.chat([Message("system", "Be brief."), Message("user", "Hi")], images=[path])
        with pytest.raises(InvalidRequestError, match=r"b\.png does not exist: name the file of a picture\.$"):
            model.chat("Hi", images=[path, str(tmp_path / "b.png")])

    picture = Image.of_base64("YQ==")
    assert assistant.calls[0]["messages"] == (Message("system", "Be brief."), Message("user", "Hi", images=(picture,)))


async def test_closing_ends_running_generations() -> None:
    """Closing the model raises an error in every waiting thread and task."""
    begun = threading.Barrier(3)

    async def hang(_: int) -> None:
        await asyncio.to_thread(begun.wait)
        await asyncio.Event().wait()

    model = PythonModel(ScriptedAssistant(before=hang), None)
    thread = asyncio.create_task(asyncio.to_thread(model.complete, "a"))
    task = asyncio.create_task(model.acomplete("a"))
    await asyncio.to_thread(begun.wait)
    await asyncio.to_thread(model.close)

    for waiting in (thread, task):
        with pytest.raises(UnavailableError, match="closed before its answer was complete"):
            await waiting


def test_score_reads_the_whole_text(model: PythonModel) -> None:
    """The tokens of a score join to the text, and the perplexity follows from the logprobs."""
    trace = model.score(TEXT, top_logprobs=3)
    assert trace.text == str(trace) == TEXT
    logprobs = [token.logprob for token in trace if token.logprob is not None]
    assert len(logprobs) == len(trace) - 1
    assert trace.perplexity is not None
    assert isclose(trace.perplexity, exp(-sum(logprobs) / len(logprobs)))
    assert all(len(token.top) == 3 for token in trace.tokens[1:])


def test_infill(model: PythonModel) -> None:
    """A suffix makes an infill; files are refused for a model without file markers."""
    assert model.complete(TEXT, "\n", max_tokens=3).finish.reason in (FinishReason.LENGTH, FinishReason.STOP)
    with pytest.raises(InvalidRequestError, match="has no marker for other files"):
        model.complete(TEXT, "\n", files=[Extra("other.py", "x = 1\n")], max_tokens=3)


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"temprature": 1}, r"^There is no sampling parameter 'temprature'\.$"),
        ({"temperature": -1}, r"^temperature must be 0 \(greedy\), or between 0\.0001 and 100, not -1\.$"),
    ],
)
def test_wrong_sampling(model: PythonModel, sampling: dict[str, Any], sentence: str) -> None:
    """The error for a wrong sampling parameter names the parameter."""
    with pytest.raises(InvalidRequestError, match=sentence):
        model.complete(TEXT, **sampling)


async def test_cancelling_ends_the_generation(model: PythonModel) -> None:
    """Cancelling an async call frees the model for the next call."""
    task = asyncio.create_task(model.acomplete(TEXT, max_tokens=200, ignore_eos=True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(model.complete(TEXT, max_tokens=2, ignore_eos=True)) == 2


def test_server_by_its_url() -> None:
    """A URL connects to a server with the same verbs; after `close` a call raises an error."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        remote = pellucid.load(server.url)
        assert remote.models() == ["tiny"]
        assert remote.chat("Hi").text == "Hello world"
        remote.close()
        remote.close()
        with pytest.raises(InvalidRequestError, match=r"^This model is closed: load it again\.$"):
            remote.chat("Hi")


def test_failed_generation() -> None:
    """A stream with an error at the end raises the error."""
    assistant = ScriptedAssistant(script=(Finish(FinishReason.ERROR, Usage(), error="The model failed."),))
    with (
        live_scripted(assistant) as server,
        pellucid.load(server.url) as remote,
        pytest.raises(PellucidError, match="model"),
    ):
        remote.complete(TEXT)


def test_options_that_do_not_fit() -> None:
    """Settings of a running server and a key for a local model are refused by name."""
    with pytest.raises(InvalidRequestError, match=r"^device cannot be set for a server that is already running"):
        pellucid.load("http://127.0.0.1:9", device="cpu")
    with pytest.raises(InvalidRequestError, match=r"^api_key is for a server"):
        pellucid.load("tiny", api_key="secret")


def token(text: str, logprob: float | None, position: int = 0) -> Token:
    """Return a token with an alternative, except for the first token."""
    top = () if logprob is None else (Alternative(7, "<b>", b"<b>", log(0.5)),)
    return Token(3, text, text.encode(), position, logprob, None if logprob is None else 2, 0.5, top)


class TestTrace:
    """Traces as heat maps and tables."""

    TRACE = TokenTrace((token("a<script>", None), token("é\n", log(0.25), 1)), ENDS, "m<odel")

    def test_heat_map_is_safe(self) -> None:
        """All text is escaped, and the heat map loads and runs nothing."""
        html = self.TRACE._repr_html_()
        assert "a&lt;script&gt;" in html
        assert "m&lt;odel" in html
        assert not any(part in html for part in ("<script", "http", "url(", "<b>"))

    def test_heat_map_shows_the_numbers(self) -> None:
        """A token's tooltip has probability, rank, entropy in bits and alternatives."""
        html = self.TRACE._repr_html_()
        assert "p = 0.2500, rank 2, entropy 0.72 bits" in html
        assert "0.5000 &#x27;&lt;b&gt;&#x27;" in html

    def test_table(self) -> None:
        """A row per token; a token without a probability has NaN."""
        table = self.TRACE.to_dataframe()
        assert list(table["text"]) == ["a<script>", "é\n"]
        assert table["logprob"].isna().tolist() == [True, False]
        assert isclose(table["probability"][1], 0.25)
        assert table["alternatives"][1] == [("<b>", log(0.5))]

    def test_a_range_of_entropies(self) -> None:
        """The tooltip and the table show the bounds of an inexact entropy."""
        ranged = replace(token("a", log(0.25)), entropy=None, entropy_range=(log(2), 2 * log(2)))
        trace = TokenTrace((ranged, token("b", log(0.25))), ENDS, "m")
        assert "rank 2, entropy 1.00 to 2.00 bits" in trace._repr_html_()
        table = trace.to_dataframe()
        assert table["entropy"].isna().tolist() == [True, False]
        assert (table["entropy_low"][0], table["entropy_high"][0]) == (log(2), 2 * log(2))
        assert table["entropy_low"].isna().tolist() == table["entropy_high"].isna().tolist() == [False, True]

    def test_table_without_pandas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without pandas the remedy is named."""
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ConfigError, match=r"^to_dataframe needs pandas: run pip install pandas\.$"):
            self.TRACE.to_dataframe()

    def test_bits(self) -> None:
        """Three bytes with probability 1/4 have two bits; the first token does not count."""
        assert isclose(self.TRACE.surprisal_bits, 2.0)
        assert self.TRACE.bits_per_byte is not None
        assert isclose(self.TRACE.bits_per_byte, 2 / 3)

    def test_empty(self) -> None:
        """A text without probabilities has neither perplexity nor bits per byte."""
        trace = TokenTrace((), ENDS, "m")
        assert (trace.perplexity, trace.bits_per_byte, trace.text) == (None, None, "")
        assert "0 tokens, stop" in trace._repr_html_()
