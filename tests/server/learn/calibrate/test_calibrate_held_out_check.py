"""Tests of the figures: measured on files that were not used for fitting."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from rich.console import Console

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibrated_gate import Candidate, decide
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.completion.trust.features import features
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate import held_out_check
from pellucid.learn.calibrate.gate_levels import COSTS, CURVE_COSTS, curve, outcome, shown, shown_by_thresholds
from pellucid.learn.calibrate.held_out_check import Findings, find
from pellucid.learn.calibrate.plot import picture
from pellucid.learn.calibrate.probability_models import fit_all
from pellucid.learn.calibrate.replay_records import SuggestionPart, SuggestionRecord
from pellucid.learn.calibrate.report import as_record, figures, show
from pellucid.learn.calibrate.training_rows import Table
from pellucid.learn.metrics import Interval
from pellucid.system.svg import write_picture
from support.editors.known_calibrations import RAW
from support.editors.token_factory import token
from support.learn.calibration_records import record, records

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ret", "\n\nx = 1\n", "python")

SIX = [
    record(0, 0.9, True, True),
    record(1, 0.9, False, True),
    record(2, 0.9, False, False),
    record(3, 0.3, True, True),
    record(4, 0.3, False, True),
    record(5, 0.3, False, False),
]
"""Right, wrong with a right part, and wrong throughout: first confident, then unsure."""


@pytest.fixture(scope="module")
def findings() -> Findings:
    fit = Table.of(records(600, prefix="fit-"))
    with pytest.MonkeyPatch.context() as few:
        few.setattr(held_out_check, "RESAMPLES", 50)
        found = find(fit, records(400, seed=1, prefix="test-"), fit_all(fit))
    return replace(found, calibration=replace(found.calibration, about={"model": "a<b"}))


def test_outcomes() -> None:
    """Suggestions are counted as hidden, cut to a right part, lost or shortened."""
    table = Table.of(SIX)
    parts = np.array([0.8, 0.9, 0.2, 0.9, 0.2, 0.9, 0.2, 0.9, 0.2, 0.2, 0.2, 0.2])

    rows = shown(table, parts, 1.0)
    found = outcome(table, rows)

    assert list(rows) == [0, 3, 5, 7, -1, -1]
    assert (found.wrong, found.hidden, found.cut) == (4, 2, 1)
    assert (found.right, found.lost, found.shortened) == (2, 0, 1)
    assert (found.gone, found.loss, found.kept) == (3 / 4, 1 / 8, 7 / 8)
    assert found.precision == 3 / 4


def test_thresholds_of_before() -> None:
    """The replay recorded the effect of the fixed thresholds."""
    table = Table.of(SIX)

    assert list(shown_by_thresholds(table, SIX, GateLevel.NORMAL)) == [0, 2, 4, -1, -1, -1]
    assert list(shown_by_thresholds(table, SIX, GateLevel.EAGER)) == [0, 2, 4, 6, 8, 10]


def test_costs() -> None:
    """A higher cost hides more wrong and loses more right suggestions, and levels have an order."""
    table = Table.of(records(1000))
    points = curve(table, np.exp(table.number("mean")))

    assert [point.cost for point in points] == list(CURVE_COSTS)
    gone, loss = ([getattr(point.outcome, name) for point in points] for name in ("gone", "loss"))
    assert gone == sorted(gone)
    assert loss == sorted(loss)
    assert COSTS[GateLevel.QUIET] > COSTS[GateLevel.NORMAL] > COSTS[GateLevel.EAGER] > 0


def test_the_editor_shows_the_same_part() -> None:
    """The replay chooses the same part in arrays as the language server's gate."""
    tokens = [
        token(text, p)
        for text, p in [("urn", 0.97), (" value", 0.95), (".", 0.9), ("name", 0.4), ("\n", 0.9), ("go", 0.2)]
    ]
    for cost in CURVE_COSTS:
        found = Candidate(
            ParsedCursor(HERE), tuple(tokens), Ending.LINE, replace(RAW, costs=dict.fromkeys(GateLevel, cost))
        )
        text, at = found.text, found.cursor_features
        lengths = [len(text), *found.part_ends]
        parts = [
            SuggestionPart(length, features(truncate(tokens, length), at, Ending.LINE, whole=length == len(text)), True)
            for length in lengths
        ]
        table = Table.of([SuggestionRecord("a.py", "mid-word", 0, True, "line", tuple(parts), {})])

        (row,) = shown(table, np.exp(table.number("mean")), cost)

        assert decide(found, GateLevel.NORMAL).length == (lengths[row] if row >= 0 else 0)


def test_improves(findings: Findings) -> None:
    """The calibration improves every figure on unseen files, and keeps the order."""
    before, after = findings.scores[CalibrationKind.RAW], findings.scores[findings.calibration.kind]

    assert after.width.value < 0.1 < before.width.value
    assert after.brier.value < before.brier.value
    assert after.loss.value < before.loss.value
    assert after.skill.value > 0 > before.skill.value
    assert abs(findings.scores[CalibrationKind.PLATT].auroc.value - before.auroc.value) < 1e-9
    assert after.width.low <= after.width.value
    # The error by chance alone is not zero for 400 suggestions.
    assert 0.01 < findings.scores[CalibrationKind.PLATT].chance < 0.06
    # Groups of suggestions are checked separately, as are parts that may be shown alone.
    checks = {check.name: check for check in findings.checks}
    for name in ("with text after the cursor", "11 to 40 characters", "parts that may be shown alone"):
        assert checks[name].count == 400
    assert checks["parts that may be shown alone"].right.value > checks["code"].right.value


def test_one_kind_of_outcome() -> None:
    """Test files with only one kind of outcome are an error."""
    fit = Table.of(records(200))
    models = fit_all(fit)

    for others in ([record(number, 0.5, True) for number in range(50)], []):
        with pytest.raises(InvalidRequestError, match="suggestions to measure on are all right, all wrong or absent"):
            find(fit, others, models)


def test_one_file() -> None:
    """Test suggestions from a single file are an error, because an interval needs two files."""
    fit = Table.of(records(200))
    others = [replace(one, parts=()) if one.document != "3.py" else one for one in records(1200)]

    with pytest.raises(
        InvalidRequestError, match="All 100 suggestions to measure on are in one file, but 2 are needed"
    ):
        find(fit, others, fit_all(fit))


def test_nothing_infinite(findings: Findings) -> None:
    """JSON has null for infinite ends of intervals."""
    score = findings.scores[CalibrationKind.RAW]
    endless = replace(score, skill=Interval(0.5, -math.inf, math.inf))
    saved = as_record(replace(findings, scores={**findings.scores, CalibrationKind.RAW: endless}))

    assert saved["about"]["figures"]["ways"]["raw"]["skill"] == {"value": 0.5, "low": None, "high": None}
    json.dumps(saved, allow_nan=False)


def test_shown(findings: Findings) -> None:
    """The tables have counts, intervals, gates and curve, and JSON is a valid calibration."""
    console = Console(width=100, record=True, file=io.StringIO())
    show(findings, console)
    text = console.export_text()

    assert "…" not in text  # A terminal of a hundred columns shows all figures and words whole.
    for phrase in ("Fitted on 600 suggestions in 12 files", "normal, calibrated", "normal, thresholds"):
        assert phrase in text
    saved = json.loads(json.dumps(as_record(findings)))
    assert Calibration.read(saved).kind is findings.calibration.kind
    assert sum(bar["count"] for bar in saved["about"]["figures"]["reliability"]["raw"]) == 400
    assert len(json.dumps(saved)) < 10_000
    assert len(figures(findings)["curve"]) == len(CURVE_COSTS)


def test_picture(findings: Findings, tmp_path: Path) -> None:
    """The picture is well-formed with counts and two colour schemes, and a bad path is an error."""
    path = tmp_path / "a.svg"
    write_picture(path, picture(findings))

    root = ElementTree.fromstring(path.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert "How far suggestions of a<b can be trusted" in texts
    for bar in findings.bars[CalibrationKind.RAW]:
        assert str(bar.count) in texts
    assert "prefers-color-scheme: dark" in picture(findings).file()
    with pytest.raises(InvalidRequestError, match="The chart cannot be written to"):
        write_picture(tmp_path, picture(findings))
