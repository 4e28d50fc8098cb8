"""Tests of the first difference: the place where a prompt left the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.servers.http_servers import TINY, live, tiny_assistant

HEADER = "You are helpful. The time is 12:00. "
RULES = "Answer shortly, and never make anything up. " * 3
ONE = SamplingParams(max_tokens=1)


@pytest.fixture
def assistant() -> Iterator[LocalAssistant]:
    assistant, engine = tiny_assistant()
    yield assistant
    engine.close()


async def end(items: AsyncIterator[Token | Finish]) -> Finish:
    *_, finish = [item async for item in items]
    assert isinstance(finish, Finish)
    return finish


async def test_changed_header(assistant: LocalAssistant) -> None:
    """A changed system message is shown from the first changed token on, but no continuation."""
    messages = [Message("system", HEADER + RULES), Message("user", "hi")]
    first = await end(assistant.chat(ChatQuery(messages, ONE)))
    same = await end(assistant.chat(ChatQuery(messages, ONE)))
    changed = [Message("system", HEADER.replace("12:00", "12:34") + RULES), messages[1]]
    other = await end(assistant.chat(ChatQuery(changed, ONE)))
    assert first.first_difference is not None
    assert first.first_difference.startswith("<|im_start|>")
    assert same.first_difference is None
    assert other.first_difference == f"34. {RULES}"[:80]


@pytest.mark.parametrize(("length", "shown"), [(64, False), (65, True)])
async def test_few_tokens(assistant: LocalAssistant, length: int, shown: bool) -> None:
    """Up to 64 computed tokens are a new turn or line, and no difference."""
    finish = await end(assistant.complete(CompletionQuery("x" * length, params=ONE)))
    assert finish.first_difference == ("x" * length if shown else None)


async def test_infill_shows_markers(assistant: LocalAssistant) -> None:
    """The difference is the text of the prompt that the model reads, with markers."""
    finish = await end(assistant.complete(CompletionQuery("a" * 50, suffix="b" * 50, params=ONE)))
    assert finish.first_difference == ("<|fim_prefix|><|fim_suffix|>" + "b" * 50 + "<|fim_middle|>" + "a" * 50)[:80]


async def test_scoring_shows_nothing(assistant: LocalAssistant) -> None:
    """A scored text has no first difference, as all of a scored text is computed."""
    assert (await end(assistant.score(ScoreQuery("x" * 100)))).first_difference is None


def test_reply() -> None:
    """``usage.pellucid`` has the first difference of the prompts, whole or streamed, or null."""
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server, httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        usages = [
            http.post("/v1/completions", json={"prompt": prompt, "max_tokens": 1}).json()["usage"]
            for prompt in ("x" * 70, "x" * 70, ["x" * 70, "y" * 70])
        ]
        body = {"prompt": "z" * 70, "max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}}
        streamed = http.post("/v1/completions", json=body).text
    engine.close()
    assert [usage["pellucid"]["first_difference"] for usage in usages] == ["x" * 70, None, "y" * 70]
    assert f'"first_difference":"{"z" * 70}"' in streamed
