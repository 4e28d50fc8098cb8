"""Tests of the measures of single suites."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.learn.evaluate.measures.token_calibration import BINS, calibration_errors, diagrams
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.suite_protocol import Better, SuiteRecord
from pellucid.learn.evaluate.suites import humaneval, perplexity, speed
from pellucid.learn.metrics import Bins, calibration_error
from support.learn.scripted_model import ScriptedModel, subject


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
