"""Batches of the Compare tab."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.attachments import content_of, text_of
from pellucid_webui.conversations.storage.blind_reviews import Reviews
from pellucid_webui.inspection.batch.batch_export import export
from pellucid_webui.inspection.batch.batch_review import check_sides, review_of
from pellucid_webui.inspection.batch.batch_summary import figures, most_different, sentences, table
from pellucid_webui.inspection.batch.comparison_batch import TICK_SECONDS, BatchRow, ComparisonBatch
from pellucid_webui.inspection.batch.prompt_file import MAX_FILE_BYTES, PromptFile, read_prompts
from pellucid_webui.inspection.comparison import UNEXPECTED, Comparison
from pellucid_webui.inspection.comparison_payload import INFINITE_NATS
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.browser_tab import Tab, tab_of
from pellucid_webui.routes.comparison_form import batch_of, form_of_batch

logger = logging.getLogger(__name__)

MAX_KEPT_TOKENS = 2_000_000
"""At about 100 bytes each, for all batches; the newest batch is always kept."""

MAX_CHOSEN_FILES = 20
"""For all tabs; the oldest file is dropped first."""

EXPORTS = ("csv", "json")

MAX_PROMPT_CHARACTERS = 200

NO_BATCH: Mapping[str, Any] = {
    "number": 0,
    "name": "",
    "running": False,
    "heads": [],
    "rows": [],
    "total": 0,
    "left": 0,
    "summary": None,
    "form": None,
}

_ORDERS = count(1)
"""Streams of a tab overlap: the page ignores the older payload."""


@dataclass(eq=False)
class _Kept:
    """A tab's batch, and the rows for the page: a string per group of finished rows."""

    batch: ComparisonBatch
    rows: list[str] = field(default_factory=list)
    packed: int = 0
    summary: dict[str, Any] | None = None
    summed_up: tuple[int, bool] | None = None

    def sum_up(self) -> dict[str, Any]:
        """Return the summary, computed again only after changes."""
        state = (self.packed, self.batch.running)
        if self.summary is None or self.summed_up != state:
            self.summed_up = state
            self.summary = {
                "sentences": sentences(self.batch),
                "table": table(self.batch),
                "most": most_different(self.batch),
            }
        return self.summary


@dataclass(eq=False)
class KeptBatches:
    """The last batch of each tab, and the chosen prompt file."""

    max_tokens: int = MAX_KEPT_TOKENS
    chosen: dict[Tab, PromptFile] = field(default_factory=dict)
    _kept: dict[Tab, _Kept] = field(default_factory=dict)

    def choose(self, tab: Tab, file: PromptFile) -> None:
        self.chosen.pop(tab, None)
        self.chosen[tab] = file
        while len(self.chosen) > MAX_CHOSEN_FILES:
            del self.chosen[next(iter(self.chosen))]

    def file(self, tab: Tab, name: object) -> PromptFile | None:
        """Return the file shown on the page. Raises InvalidRequestError if dropped."""
        if name is None:
            return None
        found = self.chosen.get(tab)
        if found is None or found.name != name:
            raise InvalidRequestError(
                f"The server no longer has the file {str(name)[:MAX_PROMPT_CHARACTERS]}: choose it again."
            )
        return found

    def keep(self, tab: Tab, batch: ComparisonBatch) -> None:
        """Keep a batch; stop and replace the tab's last batch."""
        before = self._kept.pop(tab, None)
        if before is not None:
            before.batch.stop()
        self._kept[tab] = _Kept(batch)

    def find(self, tab: Tab) -> _Kept | None:
        return self._kept.get(tab)

    def forget(self) -> None:
        for tab in list(self._kept)[:-1]:
            if sum(kept.batch.size for kept in self._kept.values()) <= self.max_tokens:
                return
            if not self._kept[tab].batch.running:
                del self._kept[tab]

    def comparison(self, tab: Tab, row: object) -> tuple[int, Comparison]:
        """Return the batch's number, and the finished comparison of a row."""
        kept = self._kept.get(tab)
        if kept is None:
            raise InvalidRequestError("The server no longer has this batch: run it again, then open the row.")
        rows = kept.batch.rows
        compressed = rows[row].compressed if isinstance(row, int) and 0 <= row < len(rows) else None
        if compressed is None:
            raise InvalidRequestError("This row has not been run yet: press Resume.")
        return kept.batch.number, compressed.open()


@dataclass(eq=False)
class BatchRoute:
    assistant_for: AssistantFor
    reviews: Reviews
    batches: KeptBatches = field(default_factory=KeptBatches)

    async def act(self, owner: str, data: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        tab = tab_of(owner, data)
        kept = self.batches.find(tab)
        try:
            match data.get("verb"):
                case "stop":
                    if kept is not None:
                        kept.batch.stop()
                    return
                case "choose":
                    self.batches.choose(tab, await in_page_thread(_prompts_of, data.get("file")))
                case "remove":
                    self.batches.chosen.pop(tab, None)
                case "start":
                    chosen = self.batches.file(tab, data.get("file"))
                    batch = batch_of(data.get("form"), await self.assistant_for(owner).cards(), chosen)
                    if data.get("review") is not None:
                        self.reviews.check_free(str(data["review"]))
                        check_sides(batch.columns)
                    self.batches.keep(tab, batch)
                    async with aclosing(self._run(tab)) as payloads:
                        async for shown in payloads:
                            yield shown
                    return
                case "resume":
                    if kept is None:
                        raise InvalidRequestError("The server no longer has this batch: run it again.")
                    if not kept.batch.running:
                        async with aclosing(self._run(tab)) as payloads:
                            async for shown in payloads:
                                yield shown
                    return
                case "review":
                    name = str(data.get("review"))
                    await in_page_thread(self._review, kept, name)
                    yield self.payload(tab) | {"review": name}
                    return
                case "export":
                    file = await in_page_thread(_file, kept, str(data.get("kind")))
                    yield self.payload(tab) | {"file": file}
                    return
                case _:
                    while kept is not None and kept.batch.running:
                        yield self.payload(tab)
                        await asyncio.sleep(TICK_SECONDS)
            yield self.payload(tab)
        except PellucidError as error:
            yield self.payload(tab, str(error), wrong=True)

    def payload(self, tab: Tab, status: str = "", *, wrong: bool = False) -> dict[str, Any]:
        chosen = self.batches.chosen.get(tab)
        shown = {"order": next(_ORDERS), "status": status, "wrong": wrong, "limit": MAX_FILE_BYTES}
        shown["chosen"] = None if chosen is None else {"name": chosen.name, "count": len(chosen.prompts)}
        kept = self.batches.find(tab)
        return dict(NO_BATCH) | shown if kept is None else _payload(kept) | shown

    def _review(self, kept: _Kept | None, name: str) -> None:
        if kept is None:
            raise InvalidRequestError("The server no longer has this batch: run it again, then rate its answers.")
        self.reviews.create(review_of(kept.batch, name))

    async def _run(self, tab: Tab) -> AsyncGenerator[dict[str, Any]]:
        kept = self.batches.find(tab)
        assert kept is not None, "the batch was kept before"
        status = ""
        try:
            async with aclosing(kept.batch.run(partial(self.assistant_for, tab[0]))) as ticks:
                async for _ in ticks:
                    if self.batches.find(tab) is not kept:
                        return  # A newer batch has replaced this batch.
                    yield self.payload(tab)
        except PellucidError:
            raise
        except Exception as error:
            logger.error("A batch of comparisons failed.", exc_info=error)
            status = UNEXPECTED
        finally:
            self.batches.forget()
        if self.batches.find(tab) is kept:
            yield self.payload(tab, status, wrong=bool(status))


def _payload(kept: _Kept) -> dict[str, Any]:
    batch = kept.batch
    measured = figures(batch)
    fresh = batch.finished[kept.packed :]
    if fresh:
        kept.rows.append(
            json.dumps([_row(row, [one.of(row.figures) if row.figures else None for one in measured]) for row in fresh])
        )
        kept.packed += len(fresh)
    return {
        "number": batch.number,
        "name": batch.name,
        "running": batch.running,
        "heads": [{"key": one.key, "name": one.name, "hint": one.hint, "kind": one.kind} for one in measured],
        "rows": list(kept.rows),
        "total": len(batch.rows),
        "left": len(batch.left),
        "summary": kept.sum_up(),
        "form": form_of_batch(batch),
    }


def _row(row: BatchRow, values: Sequence[float | None]) -> list[Any]:
    words = " ".join(row.prompt.prompt.split())
    shown = words if len(words) <= MAX_PROMPT_CHARACTERS else words[: MAX_PROMPT_CHARACTERS - 1] + "…"
    numbers = [None if value is None else min(round(value, 5), INFINITE_NATS) for value in values]
    return [row.number, shown, list(row.seeds), row.error, *numbers]


def _prompts_of(file: object) -> PromptFile:
    name, content = content_of(file)
    return PromptFile(name, read_prompts(name, text_of(name, content, MAX_FILE_BYTES)))


def _file(kept: _Kept | None, kind: str) -> dict[str, Any]:
    """Return a batch as a file for the browser to save."""
    if kind not in EXPORTS:
        raise InvalidRequestError(f"Batches are exported as {', '.join(EXPORTS)}, not as {kind!r}.")
    if kept is None:
        raise InvalidRequestError("The server no longer has this batch: run it again, then export.")
    name, media, text = export(kept.batch, form_of_batch(kept.batch), kind)
    return {"name": name, "type": media, "text": text}
