"""Real vLLM servers are killed and cancelled under streams, without a lost or changed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.fleet import Fleet
from pellucid.serving.assemble_front import assemble_front, join_engines
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import SamplingParams
from support.fleet.numbered_answers import answer, numbered_request
from support.fleet.real_vllm import VLLM, start_vllm
from support.page.page_fixtures import SMALL

STREAMS = 6
TOKENS = 50
LONGEST_GAP = 10.0
"""Seconds without a token, while a second engine takes over an answer."""


@asynccontextmanager
async def fleet_over(folder: Path, *engines: VLLM) -> AsyncIterator[Fleet]:
    """Yield a fleet over engines of the small model."""
    settings = load_settings(models=(f"{SMALL}={folder}",), engines=tuple(engine.url for engine in engines))
    parts = await asyncio.to_thread(assemble_front, settings, Silent())
    await join_engines(parts)
    assert isinstance(parts.engine, Fleet)
    assert all(replica.takes_part for replica in parts.engine.replicas.values())
    yield parts.engine
    await parts.engine.replicas.disconnect()


@pytest.mark.timeout(900)
async def test_an_engine_is_killed(folders: dict[str, Path], engines: dict[str, VLLM], tmp_path: Path) -> None:
    """Streams of a killed engine end like undisturbed streams, and new requests are served."""
    doomed = start_vllm(folders[SMALL], SMALL, tmp_path)
    try:
        await asyncio.to_thread(doomed.wait)
        async with fleet_over(folders[SMALL], engines[SMALL], doomed) as fleet:
            undisturbed = [
                ids
                for ids, _, _ in await asyncio.gather(
                    *(answer(fleet, SMALL, number, TOKENS) for number in range(STREAMS))
                )
            ]
            started = [asyncio.Event() for _ in range(STREAMS)]
            streams = [
                asyncio.create_task(answer(fleet, SMALL, number, TOKENS, event)) for number, event in enumerate(started)
            ]
            await asyncio.gather(*(event.wait() for event in started))
            doomed.kill()
            found = await asyncio.gather(*streams)
            after = [
                ids
                for ids, _, _ in await asyncio.gather(
                    *(answer(fleet, SMALL, number, TOKENS) for number in range(STREAMS))
                )
            ]
    finally:
        doomed.kill()
    assert [ids for ids, _, _ in found] == undisturbed == after
    assert {end.reason for _, end, _ in found} == {FinishReason.LENGTH}
    moves = [end.usage.moves for _, end, _ in found]
    assert 0 < sum(moves) <= STREAMS
    longest = max(gap for _, _, gap in found)
    print(f"{sum(moves)} of {STREAMS} streams moved; the longest gap was {longest:.1f} s")
    assert longest < LONGEST_GAP


async def test_cancelling(folders: dict[str, Path], engines: dict[str, VLLM]) -> None:
    """A closed request no longer runs at the engine a second later."""
    async with fleet_over(folders[SMALL], engines[SMALL]) as fleet:
        async with aclosing(fleet.generate(SMALL, numbered_request(0, 2000))) as items:
            async for item in items:
                if isinstance(item, TokenScore):
                    break
        for _ in range(20):
            if not engines[SMALL].metric("num_requests_running"):
                return
            await asyncio.sleep(0.05)
    raise AssertionError("the engine still runs the request")


async def test_seeds(folders: dict[str, Path], engines: dict[str, VLLM]) -> None:
    """A seed gives the same tokens alone and next to other requests."""
    params = SamplingParams(max_tokens=12, temperature=1.0, seed=11, ignore_eos=True)
    drawn = Request([1604, 803, 24], params)
    async with fleet_over(folders[SMALL], engines[SMALL]) as fleet:

        async def draw() -> list[int]:
            return [item.id async for item in fleet.generate(SMALL, drawn) if isinstance(item, TokenScore)]

        alone = await draw()
        together, *_ = await asyncio.gather(draw(), *(answer(fleet, SMALL, number, TOKENS) for number in range(3)))
    assert together == alone
