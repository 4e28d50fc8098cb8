"""Progress of long work, for example a download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol


class Progress(Protocol):
    """Progress display: a bar at a time, with sentences between bars."""

    def start(self, label: str, total: int | None) -> None:
        """Begin a new piece of work and end the previous work; ``total`` is in bytes, if known."""
        ...

    def advance(self, count: int) -> None:
        """Add ``count`` finished bytes; negative if work must be repeated."""
        ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Work:
    activity: str
    done: int = 0
    total: int | None = None

    @property
    def percent(self) -> int | None:
        """The finished share, or None if the total is unknown."""
        return None if not self.total else min(100, max(0, 100 * self.done // self.total))


class Noted:
    """A progress that forwards to ``face``, and records the current work for further threads."""

    def __init__(self, face: Progress) -> None:
        self._face = face
        self._lock = Lock()
        self._bar: Work | None = None
        self._now: Work | None = None

    @property
    def now(self) -> Work | None:
        """Current work, or the latest sentence; None before the first work."""
        return self._now

    def start(self, label: str, total: int | None) -> None:
        with self._lock:
            self._bar = self._now = Work(label, 0, total)
        self._face.start(label, total)

    def advance(self, count: int) -> None:
        with self._lock:
            assert self._bar is not None, "work advances after its start"
            self._bar = self._now = replace(self._bar, done=self._bar.done + count)
        self._face.advance(count)

    def note(self, text: str) -> None:
        with self._lock:
            self._now = Work(text)
        self._face.note(text)


class Silent:
    """A progress that shows nothing."""

    def start(self, label: str, total: int | None) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
