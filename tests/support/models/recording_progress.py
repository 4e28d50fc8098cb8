"""A progress with recorded calls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Bar:
    """A bar of work, in bytes."""

    label: str
    total: int | None
    done: int = 0


@dataclass
class Following:
    """A progress with recorded bars and notes, in order."""

    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def start(self, label: str, total: int | None) -> None:
        self.bars.append(Bar(label, total))

    def advance(self, count: int) -> None:
        self.bars[-1].done += count

    def note(self, text: str) -> None:
        self.notes.append(text)
