"""The results of an evaluation, as saved."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.suite_protocol import Better, Diagram, FigureFormat, Metric
from pellucid.models.load import find_device
from pellucid.system import atomic_files, machine
from pellucid.system.atomic_files import human
from pellucid.system.regular_files import read_bytes

KIND: Final = "pellucid-evaluation"
FORMAT: Final = 2
LARGEST_RESULTS = 256 << 20
"""All suites together have a few MB."""

FILE: Final = "results.json"


class _ResultPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricFigure(_ResultPart):
    """``low`` and ``high`` are None with too little data; ``value`` is None if undefined."""

    name: str
    group: str
    form: FigureFormat
    better: Better
    value: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    records: int
    units: int
    detail: bool

    @classmethod
    def of(cls, metric: Metric) -> Self:
        measure, interval = metric.measure, metric.interval
        return cls(
            name=measure.name,
            group=measure.group,
            form=measure.form,
            better=measure.better,
            value=finite(interval.value),
            low=finite(interval.low),
            high=finite(interval.high),
            records=metric.records,
            units=metric.units,
            detail=measure.detail,
        )

    @property
    def label(self) -> str:
        return f"{self.name}: {self.group}" if self.group else self.name

    def show(self) -> str:
        return "undefined" if self.value is None else show(self.value, self.form)

    def show_interval(self) -> str:
        if self.low is None or self.high is None or self.low == self.high:
            return ""
        return f"{show(self.low, self.form)} to {show(self.high, self.form)}"


class Bar(_ResultPart):
    """A bin of a reliability diagram."""

    count: int
    confidence: FiniteFloat
    accuracy: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class Reliability(_ResultPart):
    title: str
    bins: tuple[Bar, ...]

    @classmethod
    def of(cls, diagram: Diagram) -> Self:
        bars = [
            Bar(
                count=one.count,
                confidence=one.confidence,
                accuracy=one.accuracy.value,
                low=one.accuracy.low,
                high=one.accuracy.high,
            )
            for one in diagram.bins
        ]
        return cls(title=diagram.title, bins=tuple(bars))


class Circumstances(_ResultPart):
    """``date`` is ISO 8601 with time zone."""

    date: str
    versions: dict[str, str | int]
    machine: dict[str, str | int]

    @classmethod
    def now(cls) -> Self:
        date = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(date=date, versions=machine.versions(), machine=machine.machine(find_device("auto")))

    @property
    def place(self) -> dict[str, str | int]:
        return self.versions | self.machine


class SuiteResult(_ResultPart):
    """``left_out`` is the reason if the suite did not run; ``cost`` counts tokens and FLOPs.

    ``gate`` has the coefficients applied to the records. ``circumstances`` are from the last run
    that asked questions.
    """

    suite: str
    circumstances: Circumstances | None = None
    settings: dict[str, Any] = {}
    gate: dict[str, FiniteFloat] = {}
    asked: int = 0
    figures: tuple[MetricFigure, ...] = ()
    diagrams: tuple[Reliability, ...] = ()
    notes: tuple[str, ...] = ()
    cost: dict[str, int] = {}
    left_out: str | None = None


class ModelResult(_ResultPart):
    """``folder`` contains the records."""

    name: str
    description: str
    folder: str
    identity: dict[str, str | int]
    suites: tuple[SuiteResult, ...] = ()

    def find(self, suite: str) -> SuiteResult | None:
        return next((one for one in self.suites if one.suite == suite), None)

    def with_suite(self, result: SuiteResult) -> Self:
        kept = [one for one in self.suites if one.suite != result.suite]
        return self.model_copy(update={"suites": (*kept, result)})


class EvaluationResults(_ResultPart):
    """All models in a folder."""

    kind: Literal["pellucid-evaluation"] = KIND
    format: Literal[2] = FORMAT
    models: tuple[ModelResult, ...] = ()

    def find(self, name: str) -> ModelResult | None:
        return next((model for model in self.models if model.name == name), None)

    def with_model(self, result: ModelResult) -> Self:
        if self.find(result.name) is None:
            return self.model_copy(update={"models": (*self.models, result)})
        models = tuple(result if model.name == result.name else model for model in self.models)
        return self.model_copy(update={"models": models})

    @property
    def circumstances(self) -> list[Circumstances]:
        """The circumstances of all suites, oldest first."""
        found = [
            suite.circumstances for model in self.models for suite in model.suites if suite.circumstances is not None
        ]
        return sorted(found, key=lambda one: datetime.fromisoformat(one.date))

    @property
    def suites(self) -> list[str]:
        return list(dict.fromkeys(suite.suite for model in self.models for suite in model.suites))

    def save(self, folder: Path) -> None:
        with atomic_files.errors_explained(folder, atomic_files.OTHER_OUT):
            atomic_files.write_text(
                folder / FILE, json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
            )


def read_results(folder: Path) -> EvaluationResults:
    path = folder / FILE
    try:
        found = json.loads(read_bytes(path, LARGEST_RESULTS))
    except FileNotFoundError:
        raise InvalidRequestError(
            f"There is no {FILE} in {folder}: name a folder that pellucid evaluate wrote."
        ) from None
    except ValueError as error:
        raise InvalidRequestError(f"{path} cannot be read ({error}): delete it, or name another folder.") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise InvalidRequestError(f"{path} is not an evaluation: name another folder.")
    if found.get("format") != FORMAT:
        raise InvalidRequestError(f"{path} was written by another version of Pellucid: name another folder.")
    try:
        return EvaluationResults.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequestError(
            f"{path} is damaged at {where} ({first['msg']}): delete it, or name another folder."
        ) from None


def show(value: float, form: FigureFormat) -> str:
    match form:
        case FigureFormat.SHARE:
            return f"{100 * value:.1f} %"
        case FigureFormat.BYTES:
            return human(value)
        case FigureFormat.COUNT:
            return f"{value:.3g}" if value >= 1e6 else f"{value:g}"
        case FigureFormat.RATE:
            return f"{value:.1f} {form}"
        case FigureFormat.NUMBER:
            return f"{value:.4g}"


def figures(metrics: Iterable[Metric | None]) -> tuple[MetricFigure, ...]:
    return tuple(MetricFigure.of(metric) for metric in metrics if metric is not None)


def finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
