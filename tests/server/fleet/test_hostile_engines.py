"""Wrong, endless and oversized answers of engines are never shown as right, and hold no memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import UnavailableError
from pellucid.fleet import replica
from pellucid.fleet.replicas import MAX_MOVES
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import SamplingParams
from support.fleet.fleet_servers import fleet_of
from support.fleet.stand_in_replica import StandInReplica, line
from support.servers.http_servers import TINY, byte_tokenizer

MANY = 20_000
"""Parts of a seemingly endless answer."""

DONE = "data: [DONE]\n\n"
TOKENS = 4

Lines = Callable[[], Iterator[str]]


class HostileReplica(StandInReplica):
    """Passes the check, and then answers with the given lines."""

    lines: Lines | None = None

    async def _read(self, model: str, ids: Sequence[int], sampling: dict[str, Any]) -> Response:
        if self.lines is None:
            return await super()._read(model, ids, sampling)
        return StreamingResponse(self._events(model, {}, None), media_type="application/json")

    async def _events(self, model: str, body: dict[str, Any], fault: Any) -> AsyncIterator[str]:
        if self.lines is None:
            async for event in super()._events(model, body, fault):
                yield event
        else:
            for part in self.lines():
                # The server can notice here that the front has closed the connection.
                await asyncio.sleep(0)
                yield part


def event(*ids: int, reason: str | None = None, stop: int | None = None) -> str:
    """Return an event with tokens."""
    scores = [
        {"token_id": id, "logprob": -0.5, "rank": 1, "top_logprobs": [{"token_id": id, "logprob": -0.5, "rank": 1}]}
        for id in ids
    ]
    choice = {
        "index": 0,
        "finish_reason": reason,
        "stop_reason": stop,
        "token_ids": list(ids),
        "logprobs": {"content": scores},
    }
    return line({"usage": None, "choices": [choice]})


def endless_line() -> Iterator[str]:
    yield from repeat("x" * 2**16, MANY)


def endless_tokens() -> Iterator[str]:
    yield from repeat(event(98), MANY)


HOSTILE: dict[str, tuple[Lines, int]] = {
    "more tokens than asked for": (lambda: iter([event(98, 98, 98, 98, 98, 98), DONE]), 0),
    "tokens without an end": (endless_tokens, TOKENS),
    "a line without an end": (endless_line, 0),
    "no token": (lambda: iter([event(reason="length"), DONE]), 0),
    "nothing": (lambda: iter([DONE]), 0),
    "another stop token": (lambda: iter([event(98, reason="stop", stop=77), DONE]), 0),
    "an answer that it ended": (lambda: iter([event(98), event(reason="abort"), DONE]), TOKENS),
    "an unknown token": (lambda: iter([event(9999), DONE]), 0),
    "deep nesting": (lambda: iter([f"data: {'[' * 100_000}\n\n", DONE]), 0),
    "two choices": (lambda: iter([line({"choices": [{}, {}]}), DONE]), 0),
    "a list": (lambda: iter(["data: []\n\n", DONE]), 0),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_answers_that_cannot_be(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A wrong answer counts as a lost engine, and after a few attempts the request ends."""
    monkeypatch.setattr(replica, "MAX_LINE_BYTES", 2**18)
    hostile = HostileReplica(engine, {TINY: byte_tokenizer()})
    lines, most = HOSTILE[name]
    async with fleet_of([hostile]) as standing:
        hostile.lines = lines
        items: list[Any] = []
        answer = standing.fleet.generate(TINY, Request(list(b"def"), SamplingParams(max_tokens=TOKENS)))
        if most:
            items = [item async for item in answer]
            assert items[-1].reason in (FinishReason.ERROR, FinishReason.LENGTH)
        else:
            with pytest.raises(UnavailableError, match="failed 4 times"):
                items = [item async for item in answer]
        assert len([item for item in items if isinstance(item, TokenScore)]) <= most
        assert len(hostile.bodies) <= MAX_MOVES + 1
        assert standing.fleet.status(TINY).running == 0


@pytest.mark.parametrize("part", [": wait\n\n", event(), " "], ids=["comments", "events", "a body"])
async def test_answers_that_never_begin(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """An engine that sends neither tokens nor scores is lost like a silent engine."""
    hostile = HostileReplica(engine, {TINY: byte_tokenizer()})
    async with fleet_of([hostile]) as standing:
        hostile.lines = lambda: repeat(part)
        monkeypatch.setattr(replica, "SILENT_SECONDS", 0.2)
        reads = part == " "
        request = Request(
            list(b"def"), SamplingParams(max_tokens=0 if reads else TOKENS), score_from=0 if reads else None
        )
        # A slow machine misses the time limit of the check between two attempts, too.
        with pytest.raises(UnavailableError, match=r"failed(:| 4 times)"):
            _ = [item async for item in standing.fleet.generate(TINY, request)]
        assert standing.fleet.status(TINY).running == 0


async def test_what_comes_after_the_end(engine: LocalEngine) -> None:
    """Nothing is read after the end of an answer, even from an open stream."""
    hostile = HostileReplica(engine, {TINY: byte_tokenizer()})

    def lines() -> Iterator[str]:
        yield event(98, 99, reason="length")
        yield from endless_tokens()

    async with fleet_of([hostile]) as standing:
        hostile.lines = lines
        request = Request(list(b"def"), SamplingParams(max_tokens=2))
        ids = [item.id async for item in standing.fleet.generate(TINY, request) if isinstance(item, TokenScore)]
    assert ids == [98, 99]
