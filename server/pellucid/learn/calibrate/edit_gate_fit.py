"""Fits the gate of next edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from pellucid.completion.edits.edit_gate import EditGate
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.probability_models import FOLDS, MIN_PER_KIND, MIN_SUGGESTIONS, NEARLY_FREE
from pellucid.learn.calibrate.training_rows import Bools, Floats, Ints
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suites.next_edit import total_odds
from pellucid.learn.metrics import Interval, auroc, bootstrap, calibration_error, log_loss, log_losses, mean_of_units
from pellucid.learn.next_edits.edit_sample import weights

MIN_UNITS = 5
"""With fewer units, the spread between units cannot be estimated."""


@dataclass(frozen=True, slots=True)
class ReadProposals:
    """Proposals with log odds, those of the evidence included. Units are packages or commits."""

    odds: Floats
    right: Bools
    weights: Floats
    units: Ints

    @classmethod
    def of(cls, records: Sequence[SuiteRecord]) -> Self:
        represents = weights((record.facts["kind"], record.facts["of kind"]) for record in records)
        rows = [
            (total_odds(proposal), proposal["right"], represents[record.facts["kind"]], record.unit)
            for record in records
            for proposal in record.facts["proposals"]
            if proposal["log odds"] is not None
        ]
        _, units = np.unique([row[3] for row in rows], return_inverse=True)
        odds, right, counted = np.array([row[:3] for row in rows], dtype=np.float64).reshape(-1, 3).T
        return cls(odds, right == 1, counted, units)

    @property
    def unit_count(self) -> int:
        return len(np.unique(self.units))


@dataclass(frozen=True, slots=True)
class GateScore:
    """Weighted metrics with intervals by resampling units."""

    auroc: Interval
    calibration_error: Interval
    loss: Interval


@dataclass(frozen=True, slots=True)
class FittedGate:
    """A gate fitted on all proposals.

    ``held_out`` and ``score`` are from gates fitted without the unit to predict. ``default`` is the
    score of the default model's gate, which was fitted on different edits.
    """

    gate: EditGate
    table: ReadProposals
    held_out: Floats
    score: GateScore
    default: GateScore

    def lead_over(self, gate: EditGate) -> Interval:
        """Return how much lower the log loss is than with another gate, in nats."""
        right = self.table.right
        gains = log_losses(_probabilities(gate, self.table.odds), right) - log_losses(self.held_out, right)
        return mean_of_units(gains, self.table.weights, self.table.units)


def fit_gate(table: ReadProposals, default: EditGate, *, has_more: bool) -> FittedGate:
    """Fit a gate, and score both this gate and the default gate.

    ``has_more`` is True if a larger limit would give more right proposals.
    """
    remedy = "use a larger --limit, or name a longer history" if has_more else "name a longer history"
    _check(table, remedy)
    held_out = np.empty(len(table.odds))
    folds = GroupKFold(n_splits=min(FOLDS, table.unit_count))
    for inside, outside in folds.split(table.odds, table.right, table.units):
        if len(np.unique(table.right[inside])) < 2:
            raise InvalidRequestError(f"All right proposals are in a few packages or commits: {remedy}.")
        held_out[outside] = _probabilities(_fitted(table, inside), table.odds[outside])
    gate = _fitted(table, np.arange(len(table.odds)))
    if gate.slope <= 0:
        raise InvalidRequestError(
            "This model's reading does not tell right proposals from wrong ones, so nothing can be calibrated: "
            "use another model."
        )
    return FittedGate(
        gate, table, held_out, _score(table, held_out), _score(table, _probabilities(default, table.odds))
    )


def _check(table: ReadProposals, remedy: str) -> None:
    count, right = len(table.odds), int(table.right.sum())
    if count < MIN_SUGGESTIONS:
        raise InvalidRequestError(f"{count} proposals could be read, but {MIN_SUGGESTIONS} are needed: {remedy}.")
    rare, which = min((right, "right"), (count - right, "wrong"))
    if rare < MIN_PER_KIND:
        raise InvalidRequestError(
            f"Only {rare} of the {count} proposals are {which}, but {MIN_PER_KIND} of each kind are needed to "
            f"distinguish them: {remedy}."
        )
    if table.unit_count < MIN_UNITS:
        raise InvalidRequestError(
            f"The number of packages or commits with proposals is {table.unit_count}, but {MIN_UNITS} are "
            f"needed: {remedy}."
        )


def _fitted(table: ReadProposals, rows: Ints) -> EditGate:
    curve = LogisticRegression(C=NEARLY_FREE).fit(table.odds[rows, None], table.right[rows], table.weights[rows])
    return EditGate(float(curve.intercept_[0]), float(curve.coef_[0, 0]))


def _probabilities(gate: EditGate, odds: Floats) -> Floats:
    return np.array([gate.probability(float(one)) for one in odds])


def _score(table: ReadProposals, probabilities: Floats) -> GateScore:
    right = table.right.astype(np.float64)
    of_units = [np.flatnonzero(table.units == number) for number in np.unique(table.units)]

    def interval(statistic: Callable[[Floats, Floats, Floats], float], most: float = np.inf) -> Interval:
        def of_drawn(units: Floats) -> float:
            rows = np.concatenate([of_units[int(number)] for number in units])
            return statistic(probabilities[rows], right[rows], table.weights[rows])

        return bootstrap([np.arange(len(of_units))], of_drawn, bounds=(0.0, most))

    return GateScore(
        interval(auroc, 1.0),
        interval(lambda p, y, w: calibration_error(p, y, weights=w), 1.0),
        interval(lambda p, y, w: log_loss(p, y, weights=w)),
    )
