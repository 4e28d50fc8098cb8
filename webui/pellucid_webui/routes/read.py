"""Readings of texts and diffs; the last of each tab survives a reload."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import NotFoundError, PellucidError
from pellucid_webui.conversations.attachments import content_of, text_of
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.browser_tab import Tab, tab_of
from pellucid_webui.routes.read_session import NO_SECOND, Reading, ReadRequest

MAX_KEPT_TOKENS = 250_000
"""Tokens of all tabs' last readings; the oldest readings are dropped first."""

MAX_TEXT_BYTES = 1_000_000
"""5,000 long lines fit."""

MODEL_HINT = "scores the text"


@dataclass(eq=False)
class ReadRoute:
    """The running and the last reading of each tab. Use only from the event loop."""

    assistant_for: AssistantFor
    max_tokens: int = MAX_KEPT_TOKENS
    _running: dict[Tab, Reading] = field(default_factory=dict)
    _kept: dict[Tab, Reading] = field(default_factory=dict)

    async def act(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield a reading's events, a part or export, a file's text, or menus and last reading."""
        tab = tab_of(owner, asked)
        match asked.get("verb"):
            case "read":
                async with aclosing(self._read(tab, Reading(ReadRequest.of(asked)))) as events:
                    async for event in events:
                        yield event
            case "stop":
                if tab in self._running:
                    self._running[tab].stop()
            case "part":
                reading = self._find(tab, asked)
                yield {"data": await in_page_thread(reading.part, asked.get("kind"), asked.get("start"))}
            case "export":
                yield await in_page_thread(self._find(tab, asked).export, asked.get("form"))
            case "file":
                yield await in_page_thread(opened, asked.get("file"))
            case _:
                yield await self._restored(tab)

    async def _read(self, tab: Tab, reading: Reading) -> AsyncGenerator[dict[str, Any]]:
        """Read; without any token, the last reading stays."""
        before = self._running.pop(tab, None)
        if before is not None:
            before.stop()
        self._running[tab] = reading
        try:
            async with aclosing(reading.run(self.assistant_for(tab[0]))) as events:
                async for event in events:
                    yield event
        finally:
            if self._running.get(tab) is reading:
                del self._running[tab]
            if reading.result is not None:
                self._keep(tab, reading)

    def _keep(self, tab: Tab, reading: Reading) -> None:
        self._kept.pop(tab, None)
        self._kept[tab] = reading
        for oldest in list(self._kept)[:-1]:
            if sum(kept.size for kept in self._kept.values()) <= self.max_tokens:
                return
            del self._kept[oldest]

    def _find(self, tab: Tab, asked: Mapping[str, Any]) -> Reading:
        for readings in (self._running, self._kept):
            if tab in readings and readings[tab].number == asked.get("number"):
                return readings[tab]
        raise NotFoundError("The server no longer has this reading: press Read to read the text again.")

    async def _restored(self, tab: Tab) -> dict[str, Any]:
        """Return the menus and the last reading. A missing model stays chosen, to be reported."""
        served, reading = await ServedModels.ask(self.assistant_for(tab[0])), self._kept.get(tab)
        first, second = ("", NO_SECOND) if reading is None else (reading.first.model, reading.asked["second"])
        names = dict.fromkeys([NO_SECOND, *served.names, second])
        return {
            "model": served.menu(MODEL_HINT, first),
            "second": {"choices": [[name, name] for name in names], "value": second},
            "asked": None if reading is None else reading.asked,
            "result": None if reading is None else reading.result,
        }


def opened(file: object) -> dict[str, Any]:
    """Return a file's text (None if not text), and a sentence."""
    try:
        name, content = content_of(file)
        text = text_of(name, content, MAX_TEXT_BYTES)
        return {"text": text, "status": f"{name} is open: press Read.", "wrong": False}
    except PellucidError as error:
        return {"text": None, "status": str(error), "wrong": True}
