"""Reports of shown and accepted suggestions to the model server: only numbers, no text."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from pellucid.errors import NotFoundError, PellucidError
from pellucid.vocabulary.query import MAX_OUTCOMES

if TYPE_CHECKING:
    from pellucid.client.http_client import Client
    from pellucid.completion.off_switch import Switch
    from pellucid_lsp.model_server.launch import Launcher

PAUSE_SECONDS = 10.0
"""Time between two reports."""

REPLY_SECONDS = 5.0
"""Time limit for a report. Editors wait for the last report at exit."""


@dataclass(frozen=True, slots=True)
class OutcomeReport:
    """Numbers of shown and accepted suggestions; the server counts each random ``id`` once."""

    model: str
    shown: int
    accepted: int
    id: str


class OutcomeReports:
    """A counter of suggestions with joint reports; numbers of a failed report are kept.

    No report starts a server or waits for a server, and nothing is reported while suggestions are
    off.
    """

    def __init__(self, launcher: Launcher, switch: Switch) -> None:
        self._launcher = launcher
        self._switch = switch
        self._shown: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._unconfirmed: OutcomeReport | None = None
        self._older: Client | None = None
        self._task: asyncio.Task[None] | None = None

    def note(self, model: str, *, shown: int = 0, accepted: int = 0) -> None:
        self._shown += Counter({model: shown})  # Drops counts of 0.
        self._accepted += Counter({model: accepted})
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Report now, because the client is about to close; without a client, only stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if (client := self._client()) is not None:
            await self.report(client)

    async def report(self, client: Client) -> bool:
        """Report all remaining numbers. Return whether the report succeeded.

        Older servers do not count suggestions: the numbers are then discarded.
        """
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                while (report := self._next()) is not None:
                    if client is not self._older:
                        await client.report_outcomes(
                            report.model, shown=report.shown, accepted=report.accepted, id=report.id
                        )
                    self._unconfirmed = None
        except NotFoundError:
            self._older = client
            return await self.report(client)
        except (PellucidError, TimeoutError):
            return False
        return True

    async def _run(self) -> None:
        """Report after each pause until finished or failed; later calls try again."""
        while self._unconfirmed or self._shown or self._accepted:
            await asyncio.sleep(PAUSE_SECONDS)
            client = self._client()
            if client is None or not await self.report(client):
                return

    def _client(self) -> Client | None:
        return self._launcher.connected if self._switch.is_on else None

    def _next(self) -> OutcomeReport | None:
        """Return the unconfirmed report, or else a new report."""
        if self._unconfirmed is None:
            model = next(iter(self._shown | self._accepted), None)
            if model is None:
                return None
            shown, accepted = (min(counts[model], MAX_OUTCOMES) for counts in (self._shown, self._accepted))
            self._shown -= Counter({model: shown})
            self._accepted -= Counter({model: accepted})
            self._unconfirmed = OutcomeReport(model, shown, accepted, uuid4().hex)
        return self._unconfirmed
