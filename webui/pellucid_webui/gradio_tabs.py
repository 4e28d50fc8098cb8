"""Limits for each user of the page, so that the tabs and calls of one user never displace those of another."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradio.server_messages import ProcessCompletedMessage

from pellucid.errors import InvalidRequestError, NotFoundError, QueueFullError

if TYPE_CHECKING:
    import gradio as gr

MAX_TABS = 100
"""Tabs of one user whose state is kept. A forgotten tab reloads itself when it is used again."""

MAX_RUNNING = 64
"""Calls of one user that may run at the same time. A streamed answer is one call, a click another."""

MAX_STOPPING = 8
"""More calls that may run if they stop an answer."""

MAX_UNREAD = 1000
"""Messages of one tab that may be unread. A second of a streamed answer is at most 20."""

MAX_STREAMS = 2 * MAX_TABS
"""Connections of one user that may wait for events: an open tab has one, and a second one while it waits for results."""

HOLD_SECONDS = 1.0
"""A tab's stream of results stays open for one to two times as long after the last call and the last result."""

HOLD = "pellucid-hold"
"""The event that keeps it open."""


class Tabs:
    """Tracks the tabs of all users by the names of their Gradio sessions. Use it from the event loop only."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._queue = blocks._queue
        self._of: dict[str, OrderedDict[str, None]] = {}
        self._arriving: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._holds: dict[str, asyncio.TimerHandle] = {}

    def check_call(self, call: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError for a call that this page does not make: Gradio would fail at it, and log how."""
        function, data = call.get("fn_index"), call.get("data")
        known = self._blocks.fns.get(function) if type(function) is int else None
        if known is None or not isinstance(data, list) or len(data) != len(known.inputs):
            raise InvalidRequestError("This page makes no such call: load it again.")

    def check_results(self, tab: str) -> None:
        """Raise NotFoundError for a tab of which no results are expected."""
        if tab not in self._queue.pending_messages_per_session:
            raise NotFoundError("No results of this tab are expected: load the page again.")

    @contextmanager
    def calling(self, owner: str, tab: str, *, stops: bool = False) -> Iterator[None]:
        """Make room for a call of a tab, and count the call until Gradio has queued it. ``stops``: it stops an answer.

        Raises QueueFullError if too many calls of this owner are running, or if a running tab does not read its results.
        """
        tabs = self._of.setdefault(owner, OrderedDict())
        running = self._running()
        if sum(running[name] for name in tabs) >= MAX_RUNNING + MAX_STOPPING * stops:
            raise QueueFullError(f"You already have {MAX_RUNNING} requests running: stop one or close a tab, then try again.")
        unread = self._queue.pending_messages_per_session.get(tab)
        if unread is not None and unread.qsize() >= MAX_UNREAD:
            if running[tab]:
                raise QueueFullError("This tab does not read its results: load the page again.")
            self._forget(tab)
        tabs[tab] = None
        tabs.move_to_end(tab)
        while len(tabs) > MAX_TABS:
            idle = [name for name in tabs if name != tab and not running[name]]  # never empty: fewer tabs can run than are kept
            oldest = next((name for name in idle if self._is_closed(name)), idle[0])
            del tabs[oldest]
            self._forget(oldest)
        self._hold(tab)
        with _counted(self._arriving, tab):
            yield

    @contextmanager
    def streaming(self, owner: str, tab: str) -> Iterator[None]:
        """Count a connection that waits for events of a tab. Raises QueueFullError if this owner has too many."""
        if self._streams[owner] >= MAX_STREAMS:
            raise QueueFullError("You have too many tabs open: close one, then load this one again.")
        state = self._blocks.state_holder.session_data.get(tab)
        if state is not None:
            state.is_closed = False  # Gradio sets it when a connection ends, also one that comes back
        with _counted(self._streams, owner):
            yield

    def _running(self) -> Counter[str]:
        """Count the calls of each tab that are arriving, queued or running."""
        return self._arriving + Counter(event.session_hash for event in self._queue.event_ids_to_events.values())

    def _hold(self, tab: str) -> None:
        """Keep a tab's stream of results open for a while.

        Gradio closes the stream when no result is pending. Its script sends the calls of a page one after the other, and never reads
        the result of one that it sends between that moment and reading that the stream is closed: the page would stay empty.
        """
        self._queue.pending_event_ids_session.setdefault(tab, set()).add(HOLD)
        self._end_hold(tab)
        self._holds[tab] = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go, tab)

    def _let_go(self, tab: str, idle: bool = False) -> None:
        """Complete the event that keeps a stream open, so that its reader closes it, once the tab was ``idle`` twice in a row."""
        self._end_hold(tab)
        running = self._running()[tab] > 0
        if running or not idle:
            self._holds[tab] = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._let_go, tab, not running)
            return
        unread = self._queue.pending_messages_per_session.get(tab)
        if unread is not None:
            unread.put_nowait(ProcessCompletedMessage(event_id=HOLD, output={}, success=True))

    def _end_hold(self, tab: str) -> None:
        timer = self._holds.pop(tab, None)
        if timer is not None:
            timer.cancel()

    def _is_closed(self, tab: str) -> bool:
        state = self._blocks.state_holder.session_data.get(tab)
        return state is None or state.is_closed

    def _forget(self, tab: str) -> None:
        """Remove a tab's state and unread results from Gradio."""
        self._end_hold(tab)
        self._queue.pending_messages_per_session.pop(tab, None)
        self._queue.pending_event_ids_session.pop(tab, None)
        self._blocks.state_holder.session_data.pop(tab, None)
        self._blocks.state_holder.time_last_used.pop(tab, None)


@contextmanager
def _counted(counter: Counter[str], key: str) -> Iterator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
