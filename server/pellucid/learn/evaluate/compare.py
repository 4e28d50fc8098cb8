"""Compares two folders of results, figure by figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.registry import KINDS
from pellucid.learn.evaluate.results import EvaluationResults, ModelResult, finite, read_results, show
from pellucid.learn.evaluate.run_suite import records_path
from pellucid.learn.evaluate.suite_protocol import Better, FigureFormat, Measure, SuiteRecord
from pellucid.learn.evaluate.suite_records import read_records
from pellucid.learn.metrics import Interval


@dataclass(frozen=True, slots=True)
class ResultChange:
    """``pairs`` is the number of common questions; ``difference`` is after minus before."""

    suite: str
    label: str
    form: FigureFormat
    better: Better
    before: float
    after: float
    difference: Interval
    pairs: int

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``differs``; empty if the interval contains 0."""
        if not self.difference.excludes_zero:
            return ""
        if self.better is Better.NEITHER:
            return "differs"
        return "better" if (self.difference.value > 0) == (self.better is Better.HIGHER) else "worse"

    def show_difference(self) -> str:
        low, high = self.difference.low, self.difference.high
        if not math.isfinite(low + high):
            return f"{_signed(self.difference.value, self.form)} (too few pairs)"
        return f"{_signed(self.difference.value, self.form)} ({_signed(low, self.form)} to {_signed(high, self.form)})"

    def as_json(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "figure": self.label,
            "before": self.before,
            "after": self.after,
            "difference": self.difference.value,
            "low": finite(self.difference.low),
            "high": finite(self.difference.high),
            "pairs": self.pairs,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class ResultComparison:
    """``left_out`` has a sentence for each incomparable suite."""

    before: str
    after: str
    changes: tuple[ResultChange, ...]
    left_out: tuple[str, ...]


def compare(first: Path, second: Path) -> list[ResultComparison]:
    """Compare the models of two folders by name, or the only model of each folder."""
    then, now = read_results(first), read_results(second)
    pairs = list(_pairs(then, now))
    if not pairs:
        names = ", ".join(sorted(model.name for results in (then, now) for model in results.models)) or "none"
        raise InvalidRequestError(
            f"{first} and {second} have no model in common ({names}) and not exactly one each: evaluate the "
            "same model in both."
        )
    return [_compare(first, before, second, after) for before, after in pairs]


def _pairs(then: EvaluationResults, now: EvaluationResults) -> Iterator[tuple[ModelResult, ModelResult]]:
    if len(then.models) == 1 and len(now.models) == 1:
        yield then.models[0], now.models[0]
        return
    for before in then.models:
        after = now.find(before.name)
        if after is not None:
            yield before, after


def _compare(first: Path, before: ModelResult, second: Path, after: ModelResult) -> ResultComparison:
    changes: list[ResultChange] = []
    left_out: list[str] = []
    for then in before.suites:
        now = after.find(then.suite)
        if now is None or not then.asked or not now.asked:
            left_out.append(f"{then.suite}: only one of them ran it.")
        elif then.settings != now.settings:
            name = next(
                name for name in [*then.settings, *now.settings] if then.settings.get(name) != now.settings.get(name)
            )
            left_out.append(f"{then.suite}: the settings differ ({name}).")
        else:
            paths = records_path(first, before.folder, then.suite), records_path(second, after.folder, then.suite)
            kind = KINDS[then.suite]
            judged = (
                kind.judge(read_records(path), result.gate) for path, result in zip(paths, (then, now), strict=True)
            )
            records = _paired(*judged)
            if all(kind.is_pair(a.facts, b.facts) for a, b in zip(*records, strict=True)):
                changes += _changes(then.suite, *records)
            else:
                left_out.append(f"{then.suite}: the tokenizers differ; compare the intervals of bits per byte.")
    both = {suite.suite for suite in before.suites}
    left_out += [f"{suite.suite}: only one of them ran it." for suite in after.suites if suite.suite not in both]
    return ResultComparison(f"{before.name} in {first}", f"{after.name} in {second}", tuple(changes), tuple(left_out))


def _paired(before: list[SuiteRecord], after: list[SuiteRecord]) -> tuple[list[SuiteRecord], list[SuiteRecord]]:
    later = {record.id: record for record in after}
    first = [record for record in before if record.id in later]
    return first, [later[record.id] for record in first]


def _changes(suite: str, before: list[SuiteRecord], after: list[SuiteRecord]) -> Iterator[ResultChange]:
    for measure in KINDS[suite].measures([record.facts for record in before]):
        found = _change(suite, measure, before, after)
        if found is not None:
            yield found


def _change(suite: str, measure: Measure, before: list[SuiteRecord], after: list[SuiteRecord]) -> ResultChange | None:
    if measure.form in (FigureFormat.BYTES, FigureFormat.COUNT):
        return None
    pairs = [
        (a, b) for a, b in zip(before, after, strict=True) if measure.applies(a.facts) and measure.applies(b.facts)
    ]
    difference = measure.difference(before, after)
    one, other = (measure.value([pair[side] for pair in pairs]) for side in (0, 1))
    if difference is None or one is None or other is None:
        return None
    label = f"{measure.name}: {measure.group}" if measure.group else measure.name
    return ResultChange(suite, label, measure.form, measure.better, one, other, difference, len(pairs))


def _signed(value: float, form: FigureFormat) -> str:
    sign = "+" if value >= 0 else "-"
    return sign + show(abs(value), form).replace(" %", "")
