"""Progress bars, begun with the first piece of work: a start with stored models has no bars."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.terminal.progress_bars import Bars


class BarsOnDemand(ExitStack):
    """A ``Progress`` and a context like ``Bars``, without importing the drawing library."""

    _bars: Bars | None = None

    def start(self, label: str, total: int | None) -> None:
        self._begun().start(label, total)

    def advance(self, count: int) -> None:
        self._begun().advance(count)

    def note(self, text: str) -> None:
        self._begun().note(text)

    def _begun(self) -> Bars:
        if self._bars is None:
            from pellucid.terminal.progress_bars import Bars

            self._bars = self.enter_context(Bars())
        return self._bars
