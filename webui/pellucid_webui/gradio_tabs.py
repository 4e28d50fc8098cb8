"""Limits for each user of the page, so that the tabs and calls of one user never displace those of another."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pellucid.errors import QueueFullError

if TYPE_CHECKING:
    import gradio as gr

TABS = 100
"""Tabs of one user whose state is kept. A forgotten tab reloads itself when it is used again."""

RUNNING = 32
"""Calls of one user that may run at the same time. A streamed answer is one call, a click another."""

UNREAD = 64
"""Calls of one tab that may have unread results. Beyond that the tab is forgotten, with its results."""

ALL_TABS = 2**31
"""Capacity of Gradio's own stores. They know no users and drop the least recently used tab of all, so they must never be full."""

ALL_RUNNING = 4096
"""Handlers that Gradio may run at the same time. Its default of 40 protects a thread pool, which our handlers do not use."""


class Tabs:
    """Tracks the tabs of all users by the names of their Gradio sessions. Use it from the event loop only."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._queue = blocks._queue
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._arriving: Counter[str] = Counter()

    @contextmanager
    def calling(self, owner: str, tab: str) -> Iterator[None]:
        """Make room for a call of a tab, and count the call until Gradio has queued it.

        Raises QueueFullError while RUNNING calls of this owner are running.
        """
        tabs = self._of.setdefault(owner, OrderedDict())
        running = self._running()
        if sum(running[name] for name in tabs) >= RUNNING:
            raise QueueFullError(f"{RUNNING} of your requests are still running: stop an answer or close a tab, then try again.")
        if len(self._queue.pending_event_ids_session.get(tab, ())) >= UNREAD and not running[tab]:
            self._forget(tab)
        tabs[tab] = None
        tabs.move_to_end(tab)
        while len(tabs) > TABS:
            oldest = next(name for name in tabs if name != tab and not running[name])  # exists, because RUNNING is less than TABS
            del tabs[oldest]
            self._forget(oldest)
        self._arriving[tab] += 1
        try:
            yield
        finally:
            self._arriving[tab] -= 1
            if not self._arriving[tab]:
                del self._arriving[tab]

    def _running(self) -> Counter[str]:
        """Count the calls of each tab that are arriving, queued or running."""
        return self._arriving + Counter(event.session_hash for event in self._queue.event_ids_to_events.values())

    def _forget(self, tab: str) -> None:
        """Remove a tab's state and unread results from Gradio."""
        self._queue.pending_messages_per_session.pop(tab, None)
        self._queue.pending_event_ids_session.pop(tab, None)
        self._blocks.state_holder.session_data.pop(tab, None)
        self._blocks.state_holder.time_last_used.pop(tab, None)
