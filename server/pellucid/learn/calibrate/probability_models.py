"""Fits and ranks models of the probability that a suggestion is right."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from pellucid.completion.trust.calibration import MAX_LOGIT, CalibrationKind
from pellucid.completion.trust.threshold_gate import FLOOR
from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.training_rows import Bools, Floats, Table
from pellucid.learn.metrics import log_loss

FOLDS = 5

MIN_SUGGESTIONS = 60
"""With fewer suggestions, coefficients mostly reflect chance."""

MIN_PER_KIND = 10

MIN_FILES = 2

ISOTONIC_FROM = 1000
"""Minimum for isotonic regression without overfitting (Niculescu-Mizil and Caruana 2005)."""

STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Candidate inverse ridge penalties for standardized features."""

NEARLY_FREE = 1e4
"""Keeps the coefficients of Platt scaling finite for separable data."""


PRIOR_SCALE = 10.0
"""Scale of a prior's logit as a feature."""


@dataclass(frozen=True, slots=True)
class FittedModel:
    """``numbers`` are the coefficients of a calibration, ``held_out`` (n,) probabilities.

    ``strength`` is the inverse penalty, if any; ``loss`` is the log loss in nats on left-out files.
    """

    kind: CalibrationKind
    numbers: tuple[float, ...]
    strength: float | None
    loss: float
    held_out: Floats


def check(table: Table) -> None:
    right = table.right[table.whole]
    if len(right) < MIN_SUGGESTIONS:
        raise InvalidRequestError(
            f"There are {len(right)} suggestions to fit on, but {MIN_SUGGESTIONS} are needed: use more "
            "--cursors, or name a larger folder."
        )
    rare = min(int(right.sum()), len(right) - int(right.sum()))
    if rare < MIN_PER_KIND:
        which = "right" if right.sum() == rare else "wrong"
        raise InvalidRequestError(
            f"Only {rare} of the {len(right)} suggestions to fit on are {which}, but {MIN_PER_KIND} of each "
            "kind are needed to distinguish them: use more --cursors, or name another folder."
        )
    check_files(table, "to fit on")


def check_files(table: Table, purpose: str) -> None:
    if len(np.unique(table.files[table.whole])) < MIN_FILES:
        raise InvalidRequestError(
            f"All {int(table.whole.sum())} suggestions {purpose} are in one file, but {MIN_FILES} are needed: "
            "use more --cursors, or name a larger folder."
        )


def fit_all(table: Table, more: Table | None = None, prior: Sequence[float] | None = None) -> list[FittedModel]:
    """Fit every model that the data allow, and sort the models, best first.

    ``more`` is an editor's log, used only for fitting. ``prior`` are the coefficients of a logistic
    regression on other code. The prior is tried unchanged (with a ``strength`` of None), and with
    its logit as an additional feature. The unchanged prior comes first unless another model is
    clearly better on left-out files: a few hundred suggestions are weaker evidence than the
    thousands behind the prior.
    """
    check(table)
    candidates: list[tuple[CalibrationKind, float | None, Sequence[float] | None]]
    candidates = [(CalibrationKind.RAW, None, None), (CalibrationKind.PLATT, None, None)]
    candidates += [(CalibrationKind.LOGISTIC, strength, None) for strength in STRENGTHS]
    if prior is not None:
        candidates += [(CalibrationKind.LOGISTIC, strength, prior) for strength in (None, *STRENGTHS)]
    if table.whole.sum() >= ISOTONIC_FROM:
        candidates.append((CalibrationKind.ISOTONIC, None, None))
    fitted = [_judged(table, more, *candidate) for candidate in candidates]
    unchanged = next(
        (
            model
            for model, (_, strength, start) in zip(fitted, candidates, strict=True)
            if start is not None and strength is None
        ),
        None,
    )
    best: dict[CalibrationKind, FittedModel] = {}
    for found in sorted(
        fitted, key=lambda one: (one is not unchanged and not _is_clearly_better(table, one, unchanged), one.loss)
    ):
        best.setdefault(found.kind, found)
    return list(best.values())


def _is_clearly_better(table: Table, model: FittedModel, than: FittedModel | None) -> bool:
    """Return True if a model's loss on left-out files is lower by two standard errors, by file."""
    if than is None:
        return False
    whole = table.whole
    right = np.where(table.right[whole], 1.0, 0.0)
    ours, theirs = (np.clip(one.held_out[whole], FLOOR, 1 - FLOOR) for one in (model, than))
    gains = right * np.log(ours / theirs) + (1 - right) * np.log((1 - ours) / (1 - theirs))
    by_file = np.array([gains[table.files[whole] == number].sum() for number in np.unique(table.files[whole])])
    return bool(by_file.sum() > 2 * np.sqrt(len(by_file)) * by_file.std(ddof=1))


def predict(kind: CalibrationKind, numbers: Sequence[float], rows: Floats) -> Floats:
    """Return P(right) of rows (n, features), like ``Calibration.probability``."""
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


def _judged(
    table: Table, more: Table | None, kind: CalibrationKind, strength: float | None, prior: Sequence[float] | None
) -> FittedModel:
    held_out = np.empty(table.size)
    folds = GroupKFold(n_splits=min(FOLDS, len(np.unique(table.files))))
    for inside, outside in folds.split(table.numbers, table.right, table.files):
        numbers = _fit(_with(table.only(inside), more), kind, strength, prior)
        held_out[outside] = predict(kind, numbers, table.numbers[outside])
    loss = log_loss(held_out[table.whole], table.right[table.whole])
    return FittedModel(kind, _fit(_with(table, more), kind, strength, prior), strength, loss, held_out)


def _with(table: Table, more: Table | None) -> Table:
    return table if more is None else table.and_also(more)


def _fit(
    table: Table, kind: CalibrationKind, strength: float | None, prior: Sequence[float] | None = None
) -> tuple[float, ...]:
    if prior is not None and strength is None:
        return tuple(prior)
    if kind is not CalibrationKind.LOGISTIC:
        # A curve of the mean cannot distinguish parts, which are right more often than wholes.
        table = table.only(table.whole)
    if len(np.unique(table.right)) < 2:
        raise InvalidRequestError("All suggestions of some files are right, or all are wrong: use more --cursors.")
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
    # Avoid division by zero.
    scales[scales < FLOOR] = 1.0
    rows = (table.numbers - means) / scales
    if prior is None:
        bias, weights = _regress(rows, table.right, table.weights, strength)
        return (bias, *map(float, [*weights, *means, *scales]))
    # Convert the prior to the new means and scales.
    own_weights, own_means, own_scales = (np.array(part) for part in np.split(np.array(prior[1:]), 3))
    bias_before = float(prior[0] + ((means - own_means) / own_scales) @ own_weights)
    before = own_weights / own_scales * scales
    # The prior's logit is an additional feature, scaled so that ridge hardly shrinks the weight.
    logits = bias_before + rows @ before
    bias, weights = _regress(np.column_stack([rows, logits * PRIOR_SCALE]), table.right, table.weights, strength)
    slope = weights[-1] * PRIOR_SCALE
    return (float(bias + slope * bias_before), *map(float, [*(weights[:-1] + slope * before), *means, *scales]))


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
