"""An overlong text costs little, delays no other text, and the memory is returned."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.text.assistant import LocalAssistant
from pellucid.text.prompts import HUGE_TEXT_CHARACTERS, MAX_TEXT_CHARACTERS
from pellucid.text.text_model import LONG_TEXT_CHARACTERS
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from support.models.model_files import byte_level_bpe, write_folder
from support.servers import memory_after_large_bodies
from support.servers.http_servers import TINY, LiveServer, live, tiny_assistant
from support.servers.scripted_engine import ScriptedEngine, byte_tokenizer, scripted_assistant

LONG = "a" * 5_000_000
MESSAGES = [{"role": "user", "content": LONG}]
REFUSED: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": LONG},
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": LONG},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4, "model": TINY},
    "/completion": {"prompt": LONG},
    "/api/generate": {"model": TINY, "prompt": LONG, "stream": False},
    "/api/chat": {"model": TINY, "messages": MESSAGES, "stream": False},
    "/v1/score": {"text": LONG},
    "/v1/edits": {"selection": LONG, "instruction": "b"},
    "/v1/embeddings": {"input": LONG},
}
TOO_HUGE: dict[str, dict[str, Any]] = {
    "/tokenize": {"content": LONG},
    "/v1/score": {"text": LONG, "windows": True},
    "/api/embed": {"model": TINY, "input": LONG, "truncate": True},
    "/v1/messages/count_tokens": {"messages": MESSAGES, "model": TINY},
}


@pytest.fixture(scope="module")
def tokenized() -> list[int]:
    """The lengths of all tokenized texts."""
    return []


@pytest.fixture(scope="module")
def server(tokenized: list[int]) -> Iterator[LiveServer]:
    assistant, engine = tiny_assistant(alone=True)
    for served in assistant.models.all():
        tokenizer = served.tokenizer
        encode = tokenizer.encode_text

        def counting(text: str) -> list[int]:
            tokenized.append(len(text))
            return encode(text)  # noqa: B023 - there is one model

        object.__setattr__(tokenizer, "encode_text", counting)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as running:
        yield running
    engine.close()


@pytest.mark.parametrize("route", REFUSED)
def test_what_cannot_fit_is_not_tokenized(server: LiveServer, tokenized: list[int], route: str) -> None:
    """A text beyond the context is refused in a sentence, before the tokenizer runs."""
    tokenized.clear()
    reply = server.http.post(route, json=REFUSED[route])
    assert reply.status_code == 400, reply.text[:300]
    assert "The prompt has at least " in reply.text
    assert "tokens and the context holds 256: shorten it." in reply.text
    assert sum(tokenized) < 10_000


@pytest.mark.parametrize("route", TOO_HUGE)
def test_a_limit_where_the_context_is_none(server: LiveServer, tokenized: list[int], route: str) -> None:
    """Routes without a context limit have a limit of characters."""
    tokenized.clear()
    reply = server.http.post(route, json=TOO_HUGE[route])
    assert reply.status_code == 400, reply.text[:300]
    sentence = (
        f"The text has 500000[04] characters, and at most {MAX_TEXT_CHARACTERS} are tokenized at once: "
        "send it in parts."
    )
    assert re.search(sentence, reply.text), reply.text[:300]
    assert sum(tokenized) < 10_000


def test_an_infill_is_trimmed(server: LiveServer, tokenized: list[int]) -> None:
    """Around a cursor a long file is no error: only the nearby text is tokenized."""
    tokenized.clear()
    reply = server.http.post("/infill", json={"input_prefix": LONG, "input_suffix": LONG[:2_000_000], "n_predict": 1})
    assert reply.status_code == 200, reply.text[:300]
    assert sum(tokenized) < 10_000


def test_tokens_of_a_long_text(server: LiveServer) -> None:
    """A text of the largest size is tokenized, and the ids make the same text."""
    text = "a日" * (MAX_TEXT_CHARACTERS // 8)
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http:
        ids = http.post("/tokenize", json={"content": text}).json()["tokens"]
        assert ids == list(text.encode())
        pieces = http.post("/tokenize", json={"content": text[:1000], "with_pieces": True}).json()["tokens"]
        assert pieces[:2] == [{"id": 97, "piece": "a"}, {"id": 0xE6, "piece": [0xE6]}]
        assert [piece["id"] for piece in pieces] == ids[: len(pieces)]
        assert (
            http.post("/detokenize", json={"tokens": ids[:100_000]}).json()["content"]
            == text.encode()[:100_000].decode()
        )


@pytest.fixture
async def held() -> AsyncIterator[tuple[LocalAssistant, threading.Event]]:
    """Return an assistant whose tokenizer holds huge texts until an event, with two threads."""
    release = threading.Event()
    plain = byte_tokenizer()

    def encode(text: str) -> list[int]:
        if len(text) > HUGE_TEXT_CHARACTERS:
            assert release.wait(60)
        return plain.encode_text(text[:10])

    pool = ThreadPoolExecutor(2)
    asyncio.get_running_loop().set_default_executor(pool)
    yield scripted_assistant(ScriptedEngine([ord("b")]), tokenizer=replace(plain, encode_text=encode)), release
    release.set()
    # Other tests use this loop, too.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
    pool.shutdown()


async def test_huge_texts_delay_no_others(held: tuple[LocalAssistant, threading.Event]) -> None:
    """Huge texts do not delay the tokenizing of shorter texts."""
    assistant, release = held

    async def answer(size: int) -> int:
        query = CompletionQuery("x" * size, params=SamplingParams(max_tokens=1))
        return len([item async for item in assistant.complete(query)])

    huge = [asyncio.create_task(answer(HUGE_TEXT_CHARACTERS + 1)) for _ in range(8)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        assert await answer(LONG_TEXT_CHARACTERS + 1) > 0
        assert await answer(5) > 0
    assert not any(task.done() for task in huge)
    release.set()
    assert all(await asyncio.gather(*huge))


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the memory of a process in /proc")
def test_memory_is_returned(tmp_path: Path) -> None:
    """After many large bodies a server's memory returns to the earlier size."""
    folder = write_folder(tmp_path / "tokenizer", byte_level_bpe())
    command = [sys.executable, memory_after_large_bodies.__file__, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True, timeout=300).stdout
    figures = json.loads(output.splitlines()[-1])
    growth = [after - figures["before"] for after in figures["after"]]
    assert figures["peak"] - figures["before"] > 300, figures
    assert growth[-1] < 200, figures
