"""How long work, such as a download, is followed."""

from __future__ import annotations

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


class Silent:
    """A progress that nobody follows."""

    def start(self, label: str, total: int | None) -> None:
        """Show nothing."""

    def advance(self, count: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""
