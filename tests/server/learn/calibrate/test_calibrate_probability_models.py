"""Tests of fitted models of P(right): known curves, and equal results in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.logged_suggestions import MAX_WEIGHT, logged_table
from pellucid.learn.calibrate.probability_models import (
    ISOTONIC_FROM,
    MIN_SUGGESTIONS,
    FittedModel,
    check,
    fit_all,
    predict,
)
from pellucid.learn.calibrate.training_rows import Table
from pellucid.learn.metrics import calibration_error, log_loss
from support.learn.calibration_records import FILES, records

COSTS = dict.fromkeys(GateLevel, 1.0)
MANY = Table.of(records(ISOTONIC_FROM, prefix="fit-"))


def fitted(
    kind: CalibrationKind, table: Table, log: Table | None = None, prior: Sequence[float] | None = None
) -> FittedModel:
    (found,) = [model for model in fit_all(table, log, prior) if model.kind is kind]
    return found


@pytest.fixture(scope="module")
def prior() -> FittedModel:
    return fitted(CalibrationKind.LOGISTIC, MANY)


def test_rows() -> None:
    """Each part is a row, parts together weigh as much as the whole, and nothing has no row."""
    table = Table.of([*records(2), replace(records(3)[2], parts=())])

    assert (table.size, list(table.whole), list(table.suggestions)) == (4, [True, False] * 2, [0, 0, 1, 1])
    assert list(table.weights) == [1.0] * 4
    assert list(table.characters) == [20, 15, 20, 15]
    assert Table.of([]).size == 0


def test_every_way() -> None:
    """With enough suggestions every model is tried, sorted by loss on left-out files."""
    models = fit_all(MANY)

    assert {model.kind for model in models} == set(CalibrationKind)
    assert [model.loss for model in models] == sorted(model.loss for model in models)
    assert models[-1].kind is CalibrationKind.RAW


def test_isotonic_needs_many() -> None:
    """Isotonic regression needs many suggestions."""
    models = fit_all(Table.of(records(ISOTONIC_FROM - 1)))

    assert {model.kind for model in models} == set(CalibrationKind) - {CalibrationKind.ISOTONIC}


def test_found_again() -> None:
    """The curve that generated the suggestions is recovered, and holds for new suggestions."""
    table = MANY.only(MANY.whole)
    platt = fitted(CalibrationKind.PLATT, table)
    others = Table.of(records(2000, seed=1))
    others = others.only(others.whole)

    bias, slope = platt.numbers

    assert abs(bias - -1.0) < 0.2
    assert abs(slope - 0.5) < 0.15
    probabilities = predict(CalibrationKind.PLATT, platt.numbers, others.numbers)
    assert (
        calibration_error(probabilities, others.right)
        < 0.05
        < calibration_error(np.exp(others.number("mean")), others.right)
    )


def test_a_prior_helps_where_data_are_few(prior: FittedModel) -> None:
    """A fit on few suggestions is better with a prior from different code than without."""
    few, others = Table.of(records(MIN_SUGGESTIONS + 20, seed=5)), Table.of(records(3000, seed=6))

    losses = []
    for given in (None, prior.numbers):
        found = fitted(CalibrationKind.LOGISTIC, few, prior=given)
        probabilities = predict(found.kind, found.numbers, others.numbers[others.whole])
        losses.append(log_loss(probabilities, others.right[others.whole]))

    assert losses[1] < losses[0]


def test_a_prior_stays_as_it_is_where_nothing_is_clearly_better(prior: FittedModel) -> None:
    """A prior is replaced by a clearly better model only."""
    first, *_ = fit_all(Table.of(records(300, seed=8)), prior=prior.numbers)
    assert first.numbers == prior.numbers
    first, *_ = fit_all(Table.of(records(2000, bias=2.0, seed=9)), prior=prior.numbers)
    assert first.numbers != prior.numbers


def test_a_wrong_prior_is_corrected() -> None:
    """A prior of different code hardly worsens the fit."""
    prior = fitted(CalibrationKind.LOGISTIC, Table.of(records(2000, bias=3.0, slope=0.1)))
    table = Table.of(records(2000, seed=7))

    best = [min(model.loss for model in fit_all(table, prior=given)) for given in (None, prior.numbers)]

    assert best[1] < best[0] + 0.005


def test_the_editor_computes_the_same() -> None:
    """Every model has the same probabilities in arrays and in the server's plain Python."""
    for model in fit_all(MANY):
        calibration = Calibration.read(Calibration(model.kind, model.numbers, COSTS, {}).record)
        probabilities = predict(model.kind, model.numbers, MANY.numbers[:50])
        assert np.allclose(
            probabilities, [calibration.probability(tuple(row)) for row in MANY.numbers[:50]], atol=1e-12
        )


def test_judged_on_files_left_out() -> None:
    """Held-out probabilities of a file come from a fit without the file."""
    platt = fitted(CalibrationKind.PLATT, MANY)
    flipped = replace(MANY, right=np.where(MANY.files == 0, ~MANY.right, MANY.right))
    other = fitted(CalibrationKind.PLATT, flipped)

    own = MANY.files == 0
    assert np.allclose(platt.held_out[own], other.held_out[own])
    assert not np.allclose(platt.held_out[~own], other.held_out[~own])


def test_too_few() -> None:
    """Too few suggestions are an error with a remedy."""
    with pytest.raises(
        InvalidRequestError, match=rf"There are 59 suggestions to fit on, but {MIN_SUGGESTIONS} are needed: use more"
    ):
        check(Table.of(records(MIN_SUGGESTIONS - 1)))


@pytest.mark.parametrize(("bias", "which"), [(100.0, "wrong"), (-100.0, "right")])
def test_one_kind(bias: float, which: str) -> None:
    """Only right or only wrong suggestions are an error."""
    with pytest.raises(
        InvalidRequestError,
        match=f"Only 0 of the 200 suggestions to fit on are {which}, but 10 of each kind are needed",
    ):
        fit_all(Table.of(records(200, bias=bias)))


def test_one_file() -> None:
    """Suggestions of a single file are an error with a remedy."""
    silent = [replace(one, parts=()) if one.document != "3.py" else one for one in records(1200)]

    with pytest.raises(
        InvalidRequestError, match="All 100 suggestions to fit on are in one file, but 2 are needed: use more --cursors"
    ):
        check(Table.of(silent))


def entry(number: int, outcome: Reaction, *, whole: bool = True) -> LogEntry:
    numbers = tuple(MANY.only(MANY.whole == whole).numbers[number])
    part = numbers if outcome is Reaction.SHORTENED else None
    return LogEntry(
        f"s{number % 3}-{number}", "m", "python", "normal", "thresholds", outcome, 20, 10, numbers, part, (0.5,)
    )


def test_log() -> None:
    """Accepted suggestions and parts are right, dismissed and shortened suggestions wrong."""
    table = logged_table([entry(0, Reaction.ACCEPTED), entry(1, Reaction.DISMISSED), entry(2, Reaction.SHORTENED)], 100)

    assert table is not None
    assert list(zip(table.right, table.whole, strict=True)) == [
        (True, True),
        (False, True),
        (False, True),
        (True, False),
    ]
    assert len(set(table.files)) == 3
    assert logged_table([], 100) is None


def test_log_of_what_the_gate_shortened() -> None:
    """A suggestion that the gate had shortened is not a whole suggestion in the fit."""
    table = logged_table([entry(0, Reaction.ACCEPTED, whole=False), entry(1, Reaction.DISMISSED)], 100)

    assert table is not None
    assert list(zip(table.right, table.whole, strict=True)) == [(True, False), (False, True)]
    assert list(table.whole) == list(table.number("whole") == 1)


def test_log_does_not_outvote() -> None:
    """A log of any length weighs at most a part of the replay."""
    table = logged_table([entry(number, Reaction.DISMISSED) for number in range(500)], 100)

    assert table is not None
    assert table.weights.sum() <= MAX_WEIGHT * 100 + 1e-9


def test_log_moves_the_fit_only() -> None:
    """A log changes the fitted probabilities, but models are judged on the replay alone."""
    more = logged_table([entry(number, Reaction.DISMISSED) for number in range(500)], 400.0)
    table = Table.of(records(400))
    before = fitted(CalibrationKind.PLATT, table)
    after = fitted(CalibrationKind.PLATT, table, more)

    probabilities = [predict(CalibrationKind.PLATT, model.numbers, table.numbers).mean() for model in (before, after)]

    assert probabilities[1] < probabilities[0] - 0.02
    assert len(after.held_out) == table.size
    assert len(set(table.files)) == FILES
