"""Loading of a server's models in a thread, up to the first token."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import aclosing

from pellucid.serving.server_parts import BuildParts, ServerParts
from pellucid.system.daemon_threads import in_daemon_thread
from pellucid.system.progress import Noted
from pellucid.terminal.bars_on_demand import BarsOnDemand
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams


class Loading:
    """``parts`` is done when the models are loaded, or has the exception of a failed loading."""

    parts: Future[ServerParts]

    def __init__(self, build: BuildParts) -> None:
        self._build = build
        self._bars = BarsOnDemand()
        self.progress = Noted(self._bars)

    def start(self) -> None:
        self.parts = in_daemon_thread(self._load, "pellucid-load")

    def _load(self) -> ServerParts:
        with self._bars:
            parts = self._build(self.progress)
        if parts.membership is None:  # Remote engines were warmed by their check.
            asyncio.run(warm_up(parts.assistant))
        return parts


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
