"""Tests of questions, records and measures of evaluations."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from pellucid.learn.evaluate.benchmark_files import json_lines, rows
from pellucid.learn.evaluate.measures.token_calibration import BINS, calibration_errors, diagrams
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.suite_protocol import Better, FigureFormat, SuiteRecord, mean, share
from pellucid.learn.evaluate.suites import humaneval, perplexity, speed
from pellucid.learn.metrics import Bins, calibration_error, wilson
from pellucid.learn.review.command import read_prompts
from support.learn.scripted_model import ScriptedModel, subject

TEXTS = ["a\u2028b", "c\x85d", "e\x0cf"]


def test_json_lines(tmp_path: Path) -> None:
    """JSON allows line and paragraph separators in a string; a line may end in CRLF."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes("\r\n".join(json.dumps({"prompt": text}, ensure_ascii=False) for text in TEXTS).encode())
    assert [one["prompt"] for one in json_lines(path, ("prompt",))] == TEXTS


def test_rows(tmp_path: Path) -> None:
    """A quoted field may contain separators and line breaks."""
    path = tmp_path / "table.csv"
    path.write_bytes('more,less\r\n"a\u2028b",c\x85d\r\n"two\nlines",x\r\n'.encode())
    assert rows(path, ("more", "less")) == [{"more": "a\u2028b", "less": "c\x85d"}, {"more": "two\nlines", "less": "x"}]


def test_prompts(tmp_path: Path) -> None:
    """Prompts of a review may contain separators, too."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8"
    )
    assert read_prompts(path) == TEXTS


@pytest.mark.parametrize("by", ["width", "mass"])
def test_calibration_of_tokens(by: Bins) -> None:
    """The sums by record and bin have the same error as all tokens together."""
    draw = np.random.default_rng(1)
    facts = []
    for size in (3, 40, 1, 200):
        confidences = draw.uniform(0, 1, size)
        facts.append(
            {
                "confidences": confidences.tolist(),
                "ranks": np.where(draw.uniform(0, 1, size) < confidences**2, 1, 3).tolist(),
            }
        )
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    together = [np.concatenate([fact[name] for fact in facts]) for name in ("confidences", "ranks")]
    expected = calibration_error(together[0], together[1] == 1, BINS[by], by)

    found = calibration_errors()[list(BINS).index(by)].of(rows)

    assert found is not None
    assert found.interval.value == pytest.approx(expected)
    assert found.interval.low <= expected
    assert sum(one.count for one in diagrams(facts)[list(BINS).index(by)].bins) == 244


def test_perplexity_is_of_sums() -> None:
    """Perplexity and bits per byte are ratios of sums, never means of figures per window."""
    facts = [
        {"logprobs": [-1.0], "sizes": [4], "ranks": [1], "confidences": [0.5]},
        {"logprobs": [-3.0] * 3, "sizes": [1] * 3, "ranks": [9] * 3, "confidences": [0.5] * 3},
    ]
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    found = {measure.name: measure.of(rows) for measure in perplexity.measures(facts)}
    values = {name: metric.interval.value for name, metric in found.items() if metric is not None}
    assert values["perplexity"] == pytest.approx(math.exp(2.5))
    assert values["bits per byte"] == pytest.approx(10 / math.log(2) / 7)
    assert values["first choices"] == 0.25


def test_pass_at_k() -> None:
    """pass@k has a figure for each k with enough answers, and no figure without runs."""
    facts = [{"passed": [True] * 5 + [False] * 5}, {"passed": [False] * 10}]
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    found = [
        (measure.name, metric.interval.value)
        for measure in humaneval.measures(facts)
        if (metric := measure.of(rows)) is not None
    ]
    assert [name for name, _ in found] == ["pass@1", "pass@10"]
    assert [value for _, value in found] == pytest.approx([0.25, 0.5])
    assert humaneval.measures([{"answers": ["x"]}]) == []


async def test_speed() -> None:
    """Rates are tokens divided by the engine's own seconds; FLOPs are two per weight."""
    session = ModelSession(subject(ScriptedModel(lambda prefix, suffix: "x")))
    (question, *_) = await speed.Speed().questions(session, {})
    facts = await question.ask(session)
    rows = [SuiteRecord("0", "0", facts)]
    found = {
        measure.name: metric.interval.value
        for measure in speed.measures([facts])
        if (metric := measure.of(rows)) is not None
    }
    assert found["prefill"] == pytest.approx(facts["computed"] / 0.5)
    assert found["FLOPs per token"] == 2000
    assert math.isnan(found["decode"])  # A single token has no time to the next token.
    assert "weights" not in found


def test_probes_have_no_better_side() -> None:
    """A preference has no better direction."""
    from pellucid.learn.evaluate.suites import crows_pairs, winogender

    facts = [
        {"category": "age", "direction": "stereo", "more": -1.0, "less": -2.0, "more a token": -1, "less a token": -2}
    ]
    assert {measure.better for measure in crows_pairs.measures(facts)} == {Better.NEITHER}
    assert {
        measure.better
        for measure in winogender.measures([{"occupation": "baker", "meant": "the occupation", "gap": 1.0}])
    } == {Better.NEITHER}


def records(values: list[float], units: list[str] | None = None) -> list[SuiteRecord]:
    return [
        SuiteRecord(str(number), units[number] if units else str(number), {"value": value})
        for number, value in enumerate(values)
    ]


def test_share_of_independent_records() -> None:
    """A share has Wilson's interval, which is wide even if all records agree."""
    found = share("right", lambda one: bool(one["value"])).of(records([1, 1, 0, 1]))
    assert found is not None
    assert found.interval == wilson(3, 4)
    assert (found.records, found.units) == (4, 4)
    assert share("right", lambda one: bool(one["value"])).value(records([1, 1, 0, 1])) == found.interval.value
    assert share("right", lambda one: True, applies=lambda one: False).value(records([1])) is None


def test_units_are_drawn() -> None:
    """Ten records of a problem are a single unit in the interval."""
    values, units = [1.0] * 10 + [0.0] * 10, ["a"] * 10 + ["b"] * 10
    found = share("right", lambda one: bool(one["value"])).of(records(values, units))
    assert found is not None
    assert (found.interval.value, found.interval.low, found.interval.high) == (0.5, 0.0, 1.0)
    assert found.units == 2


def test_agreeing_units_are_not_sure() -> None:
    """If all units agree, the interval is Wilson's for as many trials as units."""
    found = share("right", lambda one: bool(one["value"])).of(records([1.0] * 6, ["a", "a", "b", "b", "c", "c"]))
    assert found is not None
    assert found.interval == wilson(3, 3)


def test_unequal_units() -> None:
    """A resample takes all records of a unit, and the mean is a ratio of sums."""
    values, units = [3.0, 1.0, 1.0, 1.0, 8.0], ["a", "b", "b", "b", "c"]
    found = mean("value", lambda one: one["value"], form=FigureFormat.NUMBER).of(records(values, units))
    assert found is not None
    assert found.interval.value == pytest.approx(14 / 5)
    # Resamples are between 1 and 8. For three units, the interval is widened by Student's t with
    # two degrees of freedom.
    assert found.interval.low == 0
    assert found.interval.high == pytest.approx(2.8 + (8 - 2.8) * 4.303 / 1.96 * math.sqrt(3 / 2), rel=1e-3)


def test_ratio_of_sums() -> None:
    """Weights make a ratio of sums; without any weight the figure is undefined."""
    facts = [{"n": 2.0, "d": 4.0}, {"n": 0.0, "d": 1.0}]
    rows = [SuiteRecord(str(number), str(number), fact) for number, fact in enumerate(facts)]
    found = mean("ratio", lambda one: one["n"], lambda one: one["d"]).of(rows)
    assert found is not None
    assert found.interval.value == pytest.approx(0.4)
    none = mean("ratio", lambda one: one["n"], lambda one: 0.0).of(rows)
    assert none is not None
    assert math.isnan(none.interval.value)
    assert mean("ratio", lambda one: one["n"], applies=lambda one: False).of(rows) is None


def test_difference_of_pairs() -> None:
    """Common difficulty of pairs cancels, so a small gain in each pair is significant."""
    before = list(np.random.default_rng(0).normal(10, 5, 50))
    after = [value + 0.1 for value in before]
    measure = mean("value", lambda one: one["value"], form=FigureFormat.NUMBER)
    found = measure.difference(records(before), records(after))
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert found.excludes_zero
    same = measure.difference(records(before), records(before))
    assert same is not None
    assert not same.excludes_zero


def test_weighted_share() -> None:
    """Records count by weight, and the interval is Wilson's for the effective number."""
    weights = [9.0, 1.0, 1.0, 1.0]
    rows = [SuiteRecord(str(n), str(n), {"weight": weight, "right": n == 0}) for n, weight in enumerate(weights)]
    found = share("right", lambda one: one["right"], weight=lambda one: one["weight"]).of(rows)
    assert found is not None
    effective = 12**2 / (81 + 3)
    assert found.interval == wilson(0.75 * effective, effective)

    together = [SuiteRecord(row.id, "a" if row.id == "0" else "b", {**row.facts, "right": True}) for row in rows]
    found = share("right", lambda one: one["right"], weight=lambda one: one["weight"]).of(together)
    assert found is not None
    effective = 12**2 / (9**2 + 3**2)  # The units weigh 9 and 3.
    assert found.interval == wilson(effective, effective)
