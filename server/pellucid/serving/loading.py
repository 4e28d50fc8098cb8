"""Loading of a server's models in a thread, up to the first token."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import aclosing

from pellucid.serving.server_parts import BuildParts, ServerParts
from pellucid.system.progress import Noted
from pellucid.terminal.bars_on_demand import BarsOnDemand
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams


class Loading:
    """``parts`` is done when the models are loaded, or has the exception of a failed loading."""

    def __init__(self, build: BuildParts) -> None:
        self._build = build
        self._bars = BarsOnDemand()
        self.progress = Noted(self._bars)
        self.parts: Future[ServerParts] = Future()
        # A daemon, so that a download does not delay shutdown; the download resumes at the next
        # start.
        self._thread = threading.Thread(target=self._load, name="pellucid-load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _load(self) -> None:
        try:
            with self._bars:
                parts = self._build(self.progress)
            if parts.membership is None:  # Remote engines were warmed by their check.
                asyncio.run(warm_up(parts.assistant))
        except Exception as error:
            self.parts.set_exception(error)
        else:
            self.parts.set_result(parts)


async def warm_up(assistant: LocalAssistant) -> None:
    """Generate a token with each model, to bring the weights into memory.

    An infill also builds the token healing index.
    """
    for card in assistant.models.cards():
        suffix = "" if card.infill else None
        async with aclosing(
            assistant.complete(CompletionQuery("a", suffix, params=SamplingParams(max_tokens=1), model=card.name))
        ) as items:
            async for _ in items:
                pass
