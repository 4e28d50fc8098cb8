"""The figures and the reports of the benchmarks."""

from __future__ import annotations

import json
import math

import httpx
import pytest
import torch

from common.divergence import Divergence
from common.other_clients import ask_continue, ask_tabby
from common.paired_answers import Paired
from common.quantiles import quantile
from common.race_row import BENCH, LOOKUP, OURS, RATES, THEIRS, TIMES, Bar, Row
from common.typed_lines import Kind
from keystroke_latency import OURS as OUR_SIDE
from keystroke_latency import THEIRS as THEIR_SIDE
from keystroke_latency import AskedKeystroke, Mode, ratio, report, shortfalls
from pellucid.completion.document_cursor import DocumentCursor
from replay_against_peers import Shown, draw_picture, overall

HALVES = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).log()


LEANING = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()


TARGETS = torch.tensor([0, 1])


def test_a_model_does_not_diverge_from_itself() -> None:
    """Perplexity follows from the actual tokens, and a model does not diverge from itself."""
    found = Divergence()
    found.add(LEANING, LEANING, TARGETS)

    assert found.perplexity == pytest.approx(1 / 0.75)
    assert (found.kl, found.same_first) == (0, 1)


def test_divergence_is_of_the_candidate_from_the_reference() -> None:
    """Log ratios are weighted by the reference's probabilities, so the order of models matters."""
    found, other = Divergence(), Divergence()
    found.add(LEANING, HALVES, TARGETS)
    other.add(HALVES, LEANING, TARGETS)

    assert found.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert other.kl == pytest.approx(0.5 * math.log(1 / 1.5) + 0.5 * math.log(2))
    assert found.perplexity == pytest.approx(2)
    assert found.same_first == 0.5


def test_sums_do_not_depend_on_blocks() -> None:
    """Rows added separately give the same sums as rows added together."""
    together, apart = Divergence(), Divergence()
    together.add(LEANING, HALVES, TARGETS)
    for row in range(2):
        apart.add(LEANING[row : row + 1], HALVES[row : row + 1], TARGETS[row : row + 1])

    assert apart.tokens == together.tokens == 2
    assert apart.kl == pytest.approx(together.kl)


def asked(side: str, kind: Kind, *milliseconds: float | None, computed: int = 1) -> list[AskedKeystroke]:
    return [
        AskedKeystroke(side, Mode.SETTLED, "a.py", kind, *((None,) * 4 if one is None else (one, computed, 500, 24)))
        for one in milliseconds
    ]


def test_keystrokes_are_held_to_their_bars() -> None:
    """Medians, slow keystrokes and tokens at appends are judged, tokens only for Pellucid."""
    theirs = asked(THEIR_SIDE, Kind.APPEND, *[1000.0] * 20, computed=254)

    assert shortfalls(asked(OUR_SIDE, Kind.APPEND, *[300.0] * 19, 400.0) + theirs) == []
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[301.0] * 20) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 18, 401.0, 401.0) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 20, computed=9) + theirs)) == 1


def test_keystrokes_without_an_answer_have_no_time() -> None:
    """Keystrokes without an answer are only counted, and have no ratio."""
    found = asked(OUR_SIDE, Kind.JUMP, 100.0, None) + asked(THEIR_SIDE, Kind.JUMP, None, None)
    lines = report(found).split("\n")

    assert lines[2].startswith(f"| {Kind.JUMP} | 2 | 1 | 100 / 100 / 100 | 1 (1) of 500 | 24 | 0 | ")
    assert lines[2].count("|") == lines[0].count("|")
    assert ratio(found[:1] + asked(THEIR_SIDE, Kind.JUMP, 400.0), 0.5) == 0.25


def test_tasks_are_compared_in_pairs() -> None:
    """Only tasks with different outcomes count, and p and the interval have textbook values."""
    reference = [True] * 90 + [False] * 10
    candidate = [True] * 84 + [False] * 6 + [True] * 2 + [False] * 8
    found = Paired.of(reference, candidate)

    assert (found.only_reference, found.only_candidate, found.tasks) == (6, 2, 100)
    assert found.difference == pytest.approx(-0.04)
    assert found.interval == pytest.approx((-0.0949, 0.0149), abs=1e-4)
    assert found.p == pytest.approx(2 * (1 + 8 + 28) / 256)


def test_the_same_answers_are_no_difference() -> None:
    """Two models with the same right tasks have no difference."""
    found = Paired.of([True, False], [True, False])

    assert (found.difference, found.interval, found.p) == (0, (0, 0), 1)


def row(unit: str, bar: Bar | None = None, **reached: float) -> Row:
    names = {"ours": OURS, "lookup": LOOKUP, "theirs": THEIRS, "bench": BENCH}
    return Row("work", unit, bar, {names[name]: [value / 2, value, 3 * value] for name, value in reached.items()})


def test_a_ratio_is_to_the_best_of_the_peers() -> None:
    """The ratio is relative to the peer with the highest median rate or the lowest median time."""
    assert row(RATES, ours=100, theirs=40, bench=50).ratio(OURS) == 2
    assert row(TIMES, ours=100, theirs=400, bench=500).ratio(OURS) == 4
    assert row(RATES, ours=100).ratio(OURS) is None
    assert row(RATES, theirs=100).ratio(LOOKUP) is None


def test_a_bar_is_missed_below_it_and_where_nothing_was_measured() -> None:
    """A contestant misses a bar with a low ratio or without measurements."""
    assert not row(RATES, Bar(OURS, 2.0), ours=100, theirs=50).missed
    assert "1.99" in row(RATES, Bar(OURS, 2.0), ours=99.5, theirs=50).missed
    assert "not measured" in row(RATES, Bar(LOOKUP, 2.0), ours=100, theirs=50).missed
    assert not row(RATES, ours=1, theirs=50).missed


def shown(text: str, truth: str = "total + 1", client: str = "one", file: str = "python/a/b.py") -> Shown:
    return Shown(client, "python", file, 0, truth, text, 10.0)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "saved"),
    [
        ("total + 1", True, False, 8),
        ("total + 1  ", True, False, 8),
        ("total", False, False, 4),
        ("total + 2", False, True, 0),
        ("", False, False, 0),
    ],
)
def test_outcomes(text: str, right: bool, wrong: bool, saved: int) -> None:
    """A line is right as a whole, wrong unless a prefix of the truth, and saves keystrokes."""
    one = shown(text)
    assert (one.right, one.wrong, one.saved) == (right, wrong, saved)


def test_report_and_picture() -> None:
    """The table has the shares of all cursors, and the picture describes the shares in words."""
    suggestions = [
        shown("total + 1"),
        shown("total", file="python/a/c.py"),
        shown("x", file="python/a/d.py"),
        shown("", file="python/a/e.py"),
    ]
    row = overall(suggestions).splitlines()[2]
    assert [cell.split(" ")[0] for cell in row.strip("| ").split(" | ")] == [
        "one",
        "4",
        "25.0%",
        "25.0%",
        "66.7%",
        "33.3%",
        "10",
    ]
    assert "one: 25% right, 25% the beginning, right, 25% shown and wrong" in draw_picture(suggestions).file()


def at(before: str, after: str = "") -> DocumentCursor:
    return DocumentCursor("file:///a.py", before, after, "python")


def answering(content: str, asked: list[dict[str, object]]) -> httpx.AsyncClient:
    """Return a client of a server with this answer, streamed on request."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(body)
        if not body.get("stream"):
            return httpx.Response(200, json={"content": content})
        return httpx.Response(200, text="".join(f"data: {json.dumps({'content': part})}\n\n" for part in content))

    return httpx.AsyncClient(base_url="http://127.0.0.1", transport=httpx.MockTransport(answer))


async def test_tabby() -> None:
    """Tabby sends 20 lines on either side, and shows few lines before text on the cursor's line."""
    asked: list[dict[str, object]] = []
    before, after = "".join(f"line {number}\n" for number in range(30)), ")\n" * 30
    async with answering("a)\nb", asked) as client:
        assert await ask_tabby(client, at(f"{before}f(", after)) == "a"
        assert await ask_tabby(client, at(f"{before}f(", "]\n")) == ""
        assert await ask_tabby(client, at(f"{before}f(", "\n")) == "a)"
    above = "".join(f"line {number}\n" for number in range(11, 30))
    assert asked[0]["prompt"] == f"<|fim_prefix|>{above}f(<|fim_suffix|>{after[:40]}<|fim_middle|>"
    stop = asked[0]["stop"]
    assert isinstance(stop, list)
    assert "\ndef" in stop


async def test_continue() -> None:
    """Continue reads no further than the first line, and does not repeat the line above."""
    asked: list[dict[str, object]] = []
    async with answering(" 1\nrest", asked) as client:
        assert await ask_continue(client, at("x =")) == " 1"
        assert await ask_continue(client, at("x = ")) == "1"
        assert await ask_continue(client, at("1\n")) == ""


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (0.99, 4), (0.01, 1)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    """A quantile is the smallest value with at least the given share of values at or below."""
    assert quantile([4, 1, 3, 2], share) == value
