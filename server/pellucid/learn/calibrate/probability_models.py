"""Ways to say how probable it is that a suggestion is right: fitted on some files, and chosen by their log-loss on others of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from pellucid.completion.trust.calibration import MAX_LOGIT, CalibrationKind
from pellucid.completion.trust.threshold_gate import FLOOR
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.table import Bools, Floats, Ints, Table
from pellucid.learn.metrics import log_loss

FOLDS = 5

LEAST_SUGGESTIONS = 60
"""Suggestions to fit on below which coefficients say more of chance than of the model."""

LEAST_OF_A_KIND = 10
"""As many of them have to be right, and as many wrong."""

LEAST_FILES = 2
"""Files with suggestions below which nothing can be left out, and no interval be told by drawing files."""

ISOTONIC_FROM = 1000
"""Suggestions from which on a rising function follows the model rather than chance (Niculescu-Mizil and Caruana 2005)."""

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverses of the ridge penalties that logistic regression is tried with, on standardised numbers."""

NEARLY_FREE = 1e4
"""The same for two coefficients, which hundreds of suggestions hold: only so that they stay finite where a score parts all."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A way with its coefficients; ``numbers`` are those of :class:`pellucid.completion.trust.calibration.Calibration`.

    ``strength`` is the penalty's inverse, where there is one; ``loss`` the log-loss in nats on files that were left out, and
    ``held_out`` (n,) what was said of each row while its file was.
    """

    kind: CalibrationKind
    numbers: tuple[float, ...]
    strength: float | None
    loss: float
    held_out: Floats


def check(table: Table) -> None:
    """Raise InvalidRequestError where there is too little to fit on."""
    right = table.right[table.whole]
    if len(right) < LEAST_SUGGESTIONS:
        raise InvalidRequestError(
            f"There are {len(right)} suggestions to fit on, and it takes {LEAST_SUGGESTIONS}: "
            "ask for more --cursors, or name a larger folder."
        )
    rare = min(int(right.sum()), len(right) - int(right.sum()))
    if rare < LEAST_OF_A_KIND:
        which = "right" if right.sum() == rare else "wrong"
        raise InvalidRequestError(
            f"Only {rare} of the {len(right)} suggestions to fit on are {which}, and it takes {LEAST_OF_A_KIND} of each kind "
            "to tell them apart: ask for more --cursors, or name another folder."
        )
    check_files(table, "to fit on")


def check_files(table: Table, purpose: str) -> None:
    """Raise InvalidRequestError where the suggestions, of which there are some, are of too few files."""
    if len(np.unique(table.files[table.whole])) < LEAST_FILES:
        raise InvalidRequestError(
            f"All {int(table.whole.sum())} suggestions {purpose} are in one file, and it takes {LEAST_FILES}: "
            "ask for more --cursors, or name a larger folder."
        )


def fit_all(table: Table, more: Table | None = None) -> list[FittedModel]:
    """Every way that the data allow, the best first. ``more`` is fitted on besides, and judges nobody: the log of an editor."""
    check(table)
    ways: list[tuple[CalibrationKind, float | None]] = [(CalibrationKind.RAW, None), (CalibrationKind.PLATT, None)]
    ways += [(CalibrationKind.LOGISTIC, strength) for strength in STRENGTHS]
    if table.whole.sum() >= ISOTONIC_FROM:
        ways.append((CalibrationKind.ISOTONIC, None))
    best: dict[CalibrationKind, FittedModel] = {}
    for kind, strength in ways:
        found = _judged(table, more, kind, strength)
        if kind not in best or found.loss < best[kind].loss:
            best[kind] = found
    return sorted(best.values(), key=lambda one: one.loss)


def predict(kind: CalibrationKind, numbers: Sequence[float], rows: Floats) -> Floats:
    """P(right) of rows (n, features): what ``Calibration.probability`` says of each."""
    mean = np.exp(rows[:, 0])
    if kind is CalibrationKind.RAW:
        return mean
    if kind is CalibrationKind.ISOTONIC:
        half = len(numbers) // 2
        return np.interp(mean, numbers[:half], numbers[half:])
    if kind is CalibrationKind.PLATT:
        return _logistic(numbers[0] + numbers[1] * _logit(mean))
    size = rows.shape[1]
    weights, means, scales = (np.array(numbers[1 + size * part : 1 + size * (part + 1)]) for part in range(3))
    return _logistic(numbers[0] + ((rows - means) / scales) @ weights)


def _judged(table: Table, more: Table | None, kind: CalibrationKind, strength: float | None) -> FittedModel:
    """A way fitted on all, with what it says of files that it was not fitted on."""
    held_out = np.empty(table.size)
    for inside, outside in _folds(table):
        numbers = _fit(_with(table.only(inside), more), kind, strength)
        held_out[outside] = predict(kind, numbers, table.numbers[outside])
    loss = log_loss(held_out[table.whole], table.right[table.whole])
    return FittedModel(kind, _fit(_with(table, more), kind, strength), strength, loss, held_out)


def _folds(table: Table) -> Iterator[tuple[Ints, Ints]]:
    """Rows to fit on and rows to judge by, no file in both."""
    folds = GroupKFold(n_splits=min(FOLDS, len(np.unique(table.files))))
    return iter(folds.split(table.numbers, table.right, table.files))


def _with(table: Table, more: Table | None) -> Table:
    return table if more is None else table.and_also(more)


def _fit(table: Table, kind: CalibrationKind, strength: float | None) -> tuple[float, ...]:
    if kind is not CalibrationKind.LOGISTIC:
        table = table.only(table.whole)  # a curve of the mean alone cannot tell a part from a whole, which is right less often
    if len(np.unique(table.right)) < 2:
        raise InvalidRequestError("All suggestions of some files are of one kind, right or wrong: ask for more --cursors.")
    if kind is CalibrationKind.RAW:
        return ()
    mean = np.exp(table.numbers[:, 0])
    if kind is CalibrationKind.PLATT:
        bias, weights = _regress(_logit(mean)[:, None], table.right, table.weights, NEARLY_FREE)
        return (bias, float(weights[0]))
    if kind is CalibrationKind.ISOTONIC:
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(mean, table.right, table.weights)
        return (*map(float, fitted.X_thresholds_), *map(float, fitted.y_thresholds_))
    assert strength is not None, "a ridge penalty has a strength"
    means, scales = table.numbers.mean(axis=0), table.numbers.std(axis=0)
    scales[scales < FLOOR] = 1.0  # what is the same everywhere says nothing, and is not to be divided by nothing
    bias, weights = _regress((table.numbers - means) / scales, table.right, table.weights, strength)
    return (bias, *map(float, [*weights, *means, *scales]))


def _regress(rows: Floats, right: Bools, weights: Floats, strength: float) -> tuple[float, Floats]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fitted = LogisticRegression(C=strength, solver="newton-cholesky").fit(rows, right, weights)
    return float(fitted.intercept_[0]), fitted.coef_[0]


def _logistic(values: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(values, -MAX_LOGIT, MAX_LOGIT)))
    return found


def _logit(probabilities: Floats) -> Floats:
    p = np.clip(probabilities, FLOOR, 1 - FLOOR)
    found: Floats = np.log(p / (1 - p))
    return found
