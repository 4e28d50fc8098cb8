"""A progress that records all calls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bar:
    """One piece of work, in bytes."""

    label: str
    total: int | None
    done: int = 0


@dataclass
class Following:
    """A progress that records all bars and notes, in order."""

    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def start(self, label: str, total: int | None) -> None:
        """Begin a bar."""
        self.bars.append(Bar(label, total))

    def advance(self, count: int) -> None:
        """Advance the last bar."""
        self.bars[-1].done += count

    def note(self, text: str) -> None:
        """Record a sentence."""
        self.notes.append(text)
