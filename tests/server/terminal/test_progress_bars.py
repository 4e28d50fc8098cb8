"""Progress bars on a terminal, and lines without a terminal."""

from __future__ import annotations

import io

import pytest

from pellucid.terminal.bars_on_demand import BarsOnDemand
from pellucid.terminal.progress_bars import Bars, Steps


def test_bars_without_a_terminal() -> None:
    """Without a terminal each piece of work is a line, without the progress."""
    stream = io.StringIO()

    with Bars(stream) as bars:
        bars.start("model.gguf", 3_000_000)
        bars.advance(1_000_000)
        bars.note("Trying the next [source].")
        bars.start("packing", None)

    assert stream.getvalue() == "model.gguf (3.0 MB)\nTrying the next [source].\npacking\n"


def test_bars_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    """The context ends bars that began with the first work, and nothing without work."""
    with BarsOnDemand():
        pass
    with BarsOnDemand() as bars:
        bars.start("packing", 3_000_000)
        bars.advance(1_000_000)
        bars.note("Packed.")
        begun = bars._begun()

    assert capsys.readouterr().err == "packing (3.0 MB)\nPacked.\n"
    assert not begun._bars.live.is_started


@pytest.mark.parametrize(("total", "amount"), [(1, "1 step"), (12, "12 steps")])
def test_steps_without_a_terminal(total: int, amount: str) -> None:
    """Steps are counted, not bytes, and without a terminal the steps' labels are not shown."""
    stream = io.StringIO()

    with Steps(stream) as steps:
        steps.start("measuring", total)
        steps.describe("decode")
        steps.advance(1)

    assert stream.getvalue() == f"measuring ({amount})\n"


def test_steps_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows the next step and the number of finished steps."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    stream = io.StringIO()

    with Steps(stream) as steps:
        steps.start("measuring", 12)
        steps.advance(7)
        steps.describe("decode")

    assert " 7/12" in stream.getvalue().rsplit("decode", 1)[1]


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows the bar of the current work, and not of earlier work."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    stream = io.StringIO()

    with Bars(stream) as bars:
        bars.start("first", 10)
        bars.start("second", 3_000_000)
        bars.advance(1_000_000)

    last = stream.getvalue().rsplit("second", 1)[1]
    assert "1.0/3.0 MB" in last
    assert "first" not in last
