"""Limits for each user's tabs and calls, so that no user displaces another user's tabs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pellucid.errors import InvalidRequestError, NotFoundError, QueueFullError

if TYPE_CHECKING:
    import gradio as gr

MAX_TABS = 100
"""Tabs of a user with state in memory; a tab without state reloads when used."""

MAX_RUNNING_CALLS = 64
"""Running calls of a user; a streamed answer and a click are a call each."""

MAX_STOP_CALLS = 8
"""Additional calls that stop an answer."""

MAX_UNREAD_MESSAGES = 1000
"""A streamed answer has at most 20 messages per second."""

MAX_STREAMS = 2 * MAX_TABS
"""Each tab has a stream, and a second stream while waiting for results."""


class TabLimits:
    """The tabs of all users, by Gradio session. Use only from the event loop."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._queue = blocks._queue
        self._tabs_of: dict[str, OrderedDict[str, None]] = {}
        self._arriving: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._readers: Counter[str] = Counter()

    def check_call(self, call: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError for an unknown call: Gradio would log a traceback."""
        function, data = call.get("fn_index"), call.get("data")
        called = self._blocks.fns.get(function) if type(function) is int else None
        if called is None or not isinstance(data, list) or len(data) != len(called.inputs):
            raise InvalidRequestError("The page has no such call: reload it.")

    @contextmanager
    def calling(self, owner: str, tab: str, *, stops: bool = False) -> Iterator[None]:
        """Make room for a call, and count the call until Gradio has queued the call.

        Raises QueueFullError for too many calls, or if the tab does not read results.
        """
        tabs = self._tabs_of.setdefault(owner, OrderedDict())
        running = self._running()
        if sum(running[name] for name in tabs) >= MAX_RUNNING_CALLS + MAX_STOP_CALLS * stops:
            raise QueueFullError(
                f"You already have {MAX_RUNNING_CALLS} requests running: stop one or close a tab, then try again."
            )
        unread = self._queue.pending_messages_per_session.get(tab)
        if unread is not None and unread.qsize() >= MAX_UNREAD_MESSAGES:
            if running[tab]:
                raise QueueFullError("This tab does not read its results: reload the page.")
            self._forget(tab)
        tabs[tab] = None
        tabs.move_to_end(tab)
        while len(tabs) > MAX_TABS:
            # Never empty: MAX_TABS exceeds the number of tabs that can run.
            idle = [name for name in tabs if name != tab and not running[name]]
            oldest = next((name for name in idle if self._is_closed(name)), idle[0])
            del tabs[oldest]
            self._forget(oldest)
        with _counted(self._arriving, tab):
            yield

    @contextmanager
    def streaming(self, owner: str, tab: str) -> Iterator[None]:
        if self._streams[owner] >= MAX_STREAMS:
            raise QueueFullError("You have too many tabs open: close one, then reload this one.")
        state = self._blocks.state_holder.session_data.get(tab)
        if state is not None:
            state.is_closed = False  # Gradio sets is_closed when a connection ends, even if the tab reconnects.
        with _counted(self._streams, owner):
            yield

    @contextmanager
    def reading(self, owner: str, tab: str) -> Iterator[None]:
        """Count a connection that waits for a tab's results.

        Raises NotFoundError for a tab without calls.
        """
        if tab not in self._queue.pending_messages_per_session:
            raise NotFoundError("No results are expected for this tab: reload the page.")
        with self.streaming(owner, tab), _counted(self._readers, tab):
            yield

    def is_read(self, tab: str) -> bool:
        return self._readers[tab] > 0

    async def end_calls(self, tab: str) -> None:
        """End the calls of a tab whose connection has ended.

        Gradio does so only for a connection that ends between two messages, not while it sends.
        """
        await self._queue.clean_events(session_hash=tab)

    def _running(self) -> Counter[str]:
        return self._arriving + Counter(event.session_hash for event in self._queue.event_ids_to_events.values())

    def _is_closed(self, tab: str) -> bool:
        state = self._blocks.state_holder.session_data.get(tab)
        return state is None or state.is_closed

    def _forget(self, tab: str) -> None:
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
