"""Limits the tabs and calls of each user, so that one user never displaces those of another."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pellucid.errors import InvalidRequestError, NotFoundError, QueueFullError

if TYPE_CHECKING:
    import gradio as gr

MAX_TABS = 100
"""Tabs of one user whose state is kept.
A tab whose state was dropped reloads itself when it is used again.
"""

MAX_RUNNING_CALLS = 64
"""Calls of one user that may run at the same time.
A streamed answer is one call, a click another.
"""

MAX_STOP_CALLS = 8
"""Additional calls that may run if they stop an answer."""

MAX_UNREAD_MESSAGES = 1000
"""Unread messages of one tab. A streamed answer has at most 20 per second."""

MAX_STREAMS = 2 * MAX_TABS
"""Connections of one user that may wait for events: a tab has one, and a second one while it waits
for results.
"""


class TabLimits:
    """Tracks the tabs of all users by the names of their Gradio sessions.

    Use it from the event loop only.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        self._blocks = blocks
        self._queue = blocks._queue
        self._tabs_of: dict[str, OrderedDict[str, None]] = {}
        self._arriving: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._readers: Counter[str] = Counter()

    def check_call(self, call: Mapping[str, Any]) -> None:
        """Raise InvalidRequestError for a call that this page does not make: Gradio would fail and log a traceback."""
        function, data = call.get("fn_index"), call.get("data")
        called = self._blocks.fns.get(function) if type(function) is int else None
        if called is None or not isinstance(data, list) or len(data) != len(called.inputs):
            raise InvalidRequestError("The page has no such call: reload it.")

    @contextmanager
    def calling(self, owner: str, tab: str, *, stops: bool = False) -> Iterator[None]:
        """Make room for a call of a tab, and count the call until Gradio has queued it.

        ``stops``: the call stops an answer.

        Raises QueueFullError if too many calls of this owner are running, or if a running tab does
        not read its results.
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
            idle = [
                name for name in tabs if name != tab and not running[name]
            ]  # never empty: fewer tabs can run than are kept
            oldest = next((name for name in idle if self._is_closed(name)), idle[0])
            del tabs[oldest]
            self._forget(oldest)
        with _counted(self._arriving, tab):
            yield

    @contextmanager
    def streaming(self, owner: str, tab: str) -> Iterator[None]:
        """Count a connection that waits for events of a tab.

        Raises QueueFullError if this owner has too many.
        """
        if self._streams[owner] >= MAX_STREAMS:
            raise QueueFullError("You have too many tabs open: close one, then reload this one.")
        state = self._blocks.state_holder.session_data.get(tab)
        if state is not None:
            state.is_closed = False  # Gradio sets it when a connection ends, even if the tab reconnects
        with _counted(self._streams, owner):
            yield

    @contextmanager
    def reading(self, owner: str, tab: str) -> Iterator[None]:
        """Count a connection that waits for a tab's results.

        Raises NotFoundError for a tab without calls, and QueueFullError as ``streaming`` does.
        """
        if tab not in self._queue.pending_messages_per_session:
            raise NotFoundError("No results are expected for this tab: reload the page.")
        with self.streaming(owner, tab), _counted(self._readers, tab):
            yield

    def is_read(self, tab: str) -> bool:
        """Return whether a connection waits for the tab's results."""
        return self._readers[tab] > 0

    def _running(self) -> Counter[str]:
        """Count the calls of each tab that are arriving, queued or running."""
        return self._arriving + Counter(event.session_hash for event in self._queue.event_ids_to_events.values())

    def _is_closed(self, tab: str) -> bool:
        state = self._blocks.state_holder.session_data.get(tab)
        return state is None or state.is_closed

    def _forget(self, tab: str) -> None:
        """Remove a tab's state and unread results from Gradio."""
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
