"""Start of several requests in the same step of the engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from pellucid.engine.port import Engine
from pellucid.engine.request import Request
from pellucid.engine.token_mask import TokenMask
from pellucid.vocabulary.query import COMPLETION, SamplingParams

T = TypeVar("T")


async def together(
    questions: Sequence[Callable[[], Coroutine[Any, Any, T]]], engine: Engine, model: str, prompt: Sequence[int]
) -> list[T]:
    """Run all questions and return their results.

    Each question must submit its request before its first wait. A request with ``prompt`` blocks
    the engine meanwhile: otherwise the first request would be steps ahead of the last request.
    """
    signal = _StartSignal()
    holder = asyncio.create_task(_hold(engine, model, prompt, signal))
    try:
        await asyncio.wait((holder, signal.loaded), return_when=asyncio.FIRST_COMPLETED)
        if holder.done():
            holder.result()  # Rejected request
        tasks = [asyncio.create_task(question()) for question in questions]
        await asyncio.sleep(0)  # The questions submit their requests.
    finally:
        signal.fire()
    await holder
    return await asyncio.gather(*tasks)


async def _hold(engine: Engine, model: str, prompt: Sequence[int], signal: _StartSignal) -> None:
    request = Request(prompt, SamplingParams(max_tokens=1), COMPLETION, constraint=signal)
    async with aclosing(engine.generate(model, request)) as items:
        async for _ in items:
            pass


class _StartSignal:
    """A constraint that allows every token, but blocks the engine's thread until ``fire``."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.loaded = self._loop.create_future()
        self._fired = threading.Event()

    def fire(self) -> None:
        self._fired.set()

    @property
    def hides_refused(self) -> bool:
        return False

    def forced(self) -> list[int]:
        return []

    def allowed(self) -> TokenMask | None:
        self._loop.call_soon_threadsafe(self._load)
        self._fired.wait()
        return None

    def advance(self, id: int) -> None:
        """Accept any token."""

    def _load(self) -> None:
        if not self.loaded.done():
            self.loaded.set_result(None)
