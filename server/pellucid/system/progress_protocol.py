"""Reports the progress of long work, such as a download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol


class Progress(Protocol):
    """Shows long work to the user: one bar at a time, and sentences between them."""

    def start(self, label: str, total: int | None) -> None:
        """Begin a new piece of work, which ends the one before.

        ``total`` is in bytes, None if it is not known.
        """
        ...

    def advance(self, count: int) -> None:
        """Report that ``count`` more bytes are done; negative if work has to be done again."""
        ...

    def note(self, text: str) -> None:
        """Show one sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work: ``done`` of ``total`` bytes, if they are known."""

    label: str
    done: int = 0
    total: int | None = None


class Noted:
    """A progress that forwards everything to another one, and records the current work for other threads to read."""

    def __init__(self, face: Progress) -> None:
        self._face = face
        self._lock = Lock()
        self._bar: Work | None = None
        self._now: Work | None = None

    @property
    def now(self) -> Work | None:
        """Current piece of work, or the sentence shown since it began; None before the first."""
        return self._now

    def start(self, label: str, total: int | None) -> None:
        """Record the new piece of work."""
        with self._lock:
            self._bar = self._now = Work(label, 0, total)
        self._face.start(label, total)

    def advance(self, count: int) -> None:
        """Record the progress."""
        with self._lock:
            assert self._bar is not None, "work advances after its start"
            self._bar = self._now = replace(self._bar, done=self._bar.done + count)
        self._face.advance(count)

    def note(self, text: str) -> None:
        """Record the sentence."""
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
