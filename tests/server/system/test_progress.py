"""Progress is shown, and recorded for other threads."""

from __future__ import annotations

from functools import partial

import pytest

from pellucid.system.progress import Noted, Work


class Face:
    """Records all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def start(self, label: str, total: int | None) -> None:
        self.calls.append(("start", label, total))

    def advance(self, count: int) -> None:
        self.calls.append(("advance", count))

    def note(self, text: str) -> None:
        self.calls.append(("note", text))


def test_everything_is_passed_on_and_noted() -> None:
    """Every call is forwarded, and the current work can be read after each call."""
    face = Face()
    progress = Noted(face)
    assert progress.now is None

    seen: list[Work | None] = []
    for step in (
        *(partial(progress.start, "a", 10), partial(progress.advance, 4), partial(progress.advance, -1)),
        *(partial(progress.note, "Waiting."), partial(progress.advance, 7), partial(progress.start, "b", None)),
    ):
        step()
        seen.append(progress.now)

    assert seen == [
        *(Work("a", 0, 10), Work("a", 4, 10), Work("a", 3, 10), Work("Waiting."), Work("a", 10, 10), Work("b")),
    ]
    assert face.calls == [
        *(("start", "a", 10), ("advance", 4), ("advance", -1), ("note", "Waiting."), ("advance", 7)),
        ("start", "b", None),
    ]


def test_no_advance_before_a_start() -> None:
    """Advancing before a start is an assertion error."""
    with pytest.raises(AssertionError):
        Noted(Face()).advance(1)


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, None, None), (5, 0, None), (1, 3, 33), (3, 3, 100), (4, 3, 100), (-1, 3, 0)]
)
def test_percent(done: int, total: int | None, percent: int | None) -> None:
    """The percentage is known if the total is known and positive, and is from 0 to 100."""
    assert Work("x", done, total).percent == percent
