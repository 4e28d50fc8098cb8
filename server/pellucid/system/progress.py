"""How long work, such as a download, is followed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import Protocol


class Progress(Protocol):
    """What a face shows of long work: one bar at a time, and sentences between them."""

    def start(self, label: str, total: int | None) -> None:
        """A new piece of work begins; ``total`` is in bytes, None where it is not known. Ends the piece before it."""
        ...

    def advance(self, count: int) -> None:
        """``count`` more bytes are done (fewer, if negative: work that has to be done again)."""
        ...

    def note(self, text: str) -> None:
        """Say something in one sentence."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What is being done: ``done`` of ``total`` bytes, where they are known."""

    label: str
    done: int = 0
    total: int | None = None


class Noted:
    """A progress that passes everything on to a face, and notes what is being done for other threads to read."""

    def __init__(self, face: Progress) -> None:
        self._face = face
        self._lock = Lock()
        self._bar: Work | None = None
        self._now: Work | None = None

    @property
    def now(self) -> Work | None:
        """The piece of work in hand, or the sentence that was said since; None before the first."""
        return self._now

    def start(self, label: str, total: int | None) -> None:
        """Note the new piece of work."""
        with self._lock:
            self._bar = self._now = Work(label, 0, total)
        self._face.start(label, total)

    def advance(self, count: int) -> None:
        """Note how far it is."""
        with self._lock:
            assert self._bar is not None, "work advances after its start"
            self._bar = self._now = replace(self._bar, done=self._bar.done + count)
        self._face.advance(count)

    def note(self, text: str) -> None:
        """Note the sentence."""
        with self._lock:
            self._now = Work(text)
        self._face.note(text)


class Silent:
    """A progress that nobody follows."""

    def start(self, label: str, total: int | None) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
