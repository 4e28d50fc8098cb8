"""Comparisons: a prompt, answered in two to four columns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.inspection.comparison import TICK_SECONDS, Comparison
from pellucid_webui.inspection.comparison_export import export
from pellucid_webui.inspection.comparison_payload import payload
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.browser_tab import Tab, tab_of
from pellucid_webui.routes.chat_comparison import ChatAnswers
from pellucid_webui.routes.compare_batch import KeptBatches
from pellucid_webui.routes.comparison_form import comparison_of, default_form, form_of

MAX_KEPT_TOKENS = 60_000
"""Tokens of all kept comparisons together; the newest comparison is always kept."""

EXPORTS = ("csv", "json", "html")

NOTHING: Mapping[str, Any] = {
    "number": 0,
    "status": "",
    "wrong": False,
    "running": False,
    "columns": [],
    "summary": None,
    "analysis": None,
    "models": [],
    "form": None,
}


@dataclass
class _Kept:
    comparison: Comparison
    shown: dict[str, Any]


@dataclass(eq=False)
class CompareRoute:
    """All tabs' comparisons; the last of each tab survives a reload."""

    assistant_for: AssistantFor
    chats: ChatAnswers | None = None
    """Source of chat answers, if the page has chats."""
    max_tokens: int = MAX_KEPT_TOKENS
    batches: KeptBatches = field(default_factory=KeptBatches)
    _kept: dict[Tab, _Kept] = field(default_factory=dict)

    async def act(self, owner: str, data: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        tab = tab_of(owner, data)
        kept = self._kept.get(tab)
        if data.get("verb") == "stop":
            if kept is not None:
                kept.comparison.stop()
            return
        if data.get("verb") == "chat" and self.chats is not None:
            yield {"form": await self.chats.form(owner, data)}
            return
        shown = dict(NOTHING) if kept is None else kept.shown
        try:
            match data.get("verb"):
                case "compare":
                    async with aclosing(self._compare(tab, data.get("form"))) as payloads:
                        async for shown in payloads:
                            yield shown
                case "row":
                    yield await self._open_row(tab, data.get("row"))
                case "export":
                    yield shown | {"file": await in_page_thread(_file, kept, str(data.get("kind")))}
                case _:
                    while kept is not None and kept.shown["running"]:
                        yield kept.shown
                        await asyncio.sleep(TICK_SECONDS)
                    shown = shown if kept is None else kept.shown
                    yield shown | await self.opened(owner, shown["form"])
        except PellucidError as error:
            yield shown | {"status": str(error), "wrong": True, "models": await self._models(owner)}

    async def opened(self, owner: str, form: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the models and the initial form."""
        cards = await self.assistant_for(owner).cards()
        return {"models": [card.name for card in cards], "form": form or default_form(cards)}

    async def _models(self, owner: str) -> list[str]:
        try:
            return [card.name for card in await self.assistant_for(owner).cards()]
        except PellucidError:
            return []

    async def _compare(self, tab: Tab, form: object) -> AsyncGenerator[dict[str, Any]]:
        assistant = self.assistant_for(tab[0])
        cards = await assistant.cards()
        comparison = comparison_of(form, cards)
        if self.chats is not None and isinstance(form, Mapping):
            await self.chats.fill(tab[0], comparison, form)
        before = self._kept.pop(tab, None)
        if before is not None:
            before.comparison.stop()
        constant = {"models": [card.name for card in cards], "form": form_of(comparison)}
        kept = self._kept[tab] = _Kept(comparison, dict(NOTHING) | payload(comparison) | constant)
        try:
            async with aclosing(comparison.run(assistant)) as ticks:
                async for _ in ticks:
                    kept.shown = payload(comparison) | constant
                    yield kept.shown
        finally:
            kept.shown = await in_page_thread(payload, comparison) | constant
            self._forget()
        yield kept.shown

    async def _open_row(self, tab: Tab, row: object) -> dict[str, Any]:
        """Show a finished comparison of the tab's batch."""
        batch, comparison = await in_page_thread(self.batches.comparison, tab, row)
        before = self._kept.pop(tab, None)
        if before is not None:
            before.comparison.stop()
        constant = {
            "models": await self._models(tab[0]),
            "form": form_of(comparison),
            "row": {"batch": batch, "number": row},
        }
        shown = await in_page_thread(payload, comparison) | constant
        self._kept[tab] = _Kept(comparison, shown)
        self._forget()
        return shown

    def _forget(self) -> None:
        for tab in list(self._kept)[:-1]:
            if sum(kept.comparison.size for kept in self._kept.values()) <= self.max_tokens:
                return
            if self._kept[tab].comparison.ended:
                del self._kept[tab]


def _file(kept: _Kept | None, kind: str) -> dict[str, Any]:
    """Return a comparison as a file for the browser to save."""
    if kind not in EXPORTS:
        raise InvalidRequestError(f"Comparisons are exported as {', '.join(EXPORTS)}, not as {kind!r}.")
    if kept is None or not kept.comparison.ended:
        raise InvalidRequestError("The server no longer has this comparison: compare again, then export.")
    name, media, text = export(kept.comparison, form_of(kept.comparison), kind)
    return {"name": name, "type": media, "text": text}
