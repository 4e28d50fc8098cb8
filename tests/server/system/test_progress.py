"""Long work is followed by a face and by whoever asks, alike."""

from __future__ import annotations

from functools import partial

import pytest

from pellucid.system.progress import Noted, Work


class Face:
    """Remembers what it was told to show."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def start(self, label: str, total: int | None) -> None:
        self.told.append(("start", label, total))

    def advance(self, count: int) -> None:
        self.told.append(("advance", count))

    def note(self, text: str) -> None:
        self.told.append(("note", text))


def test_everything_is_passed_on_and_noted() -> None:
    """The face sees every step, and at each of them the work in hand can be asked for."""
    face = Face()
    progress = Noted(face)
    assert progress.now is None

    seen: list[Work | None] = []
    for step in (
        partial(progress.start, "a", 10),
        partial(progress.advance, 4),
        partial(progress.advance, -1),
        partial(progress.note, "Waiting."),
        partial(progress.advance, 7),
        partial(progress.start, "b", None),
    ):
        step()
        seen.append(progress.now)

    assert seen == [Work("a", 0, 10), Work("a", 4, 10), Work("a", 3, 10), Work("Waiting."), Work("a", 10, 10), Work("b")]
    assert face.told == [("start", "a", 10), ("advance", 4), ("advance", -1), ("note", "Waiting."), ("advance", 7), ("start", "b", None)]


def test_no_advance_before_a_start() -> None:
    """Steps of no work are a mistake of ours."""
    with pytest.raises(AssertionError):
        Noted(Face()).advance(1)
