"""Comparison of two reports, row by row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pellucid.bench.report import FORMAT, KIND, Figure, Report, Unit
from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_bytes

SMALLEST_CHANGE = 0.01
"""Smallest relative change that is reported, even for figures without noise."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of two reports. ``then`` or ``now`` is ``None`` if a report lacks the row."""

    section: str
    name: str
    unit: Unit
    then: Figure | None
    now: Figure | None

    @property
    def ratio(self) -> float | None:
        return (
            None if self.then is None or self.now is None or not self.then.value else self.now.value / self.then.value
        )

    @property
    def verdict(self) -> str:
        """The change in a word, or "" if the change may be noise."""
        then, now = self.then, self.now
        if then is None or now is None:
            return "new" if then is None else "not measured"
        ratio = self.ratio
        if ratio is not None and abs(ratio - 1) < SMALLEST_CHANGE:
            return ""
        once = self.unit is not Unit.BYTES and 1 in (then.samples, now.samples)
        if once or (then.low <= now.high and now.low <= then.high):
            return ""
        return "better" if (now.value > then.value) == self.unit.more_is_better else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes since an earlier report, and sentences about differing circumstances."""

    file: str
    date: str
    differences: tuple[str, ...]
    changes: tuple[Change, ...]


def read_report(path: Path) -> Report:
    try:
        found = json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # not UTF-8 or not JSON
        raise InvalidRequestError(
            f"{path} is not JSON ({error}): give a file that pellucid bench --json wrote."
        ) from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise InvalidRequestError(
            f"{path} is not a result of pellucid bench: give a file that pellucid bench --json wrote."
        )
    if found.get("format") != FORMAT:
        raise InvalidRequestError(
            f"{path} has format {found.get('format')!r}, but this version of Pellucid reads {FORMAT}: "
            "measure again with this version."
        )
    found.pop("comparison", None)  # Of the earlier run
    try:
        return Report.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequestError(f"{path} is damaged: {where}: {first['msg'].lower()}.") from None


def compare(file: str, then: Report, now: Report) -> Comparison:
    pairs = [(now_figure, then.find(now_figure.section, now_figure.name)) for now_figure in now.figures]
    changes = [Change(figure.section, figure.name, figure.unit, earlier, figure) for figure, earlier in pairs]
    gone = [figure for figure in then.figures if now.find(figure.section, figure.name) is None]
    changes += [Change(figure.section, figure.name, figure.unit, figure, None) for figure in gone]
    return Comparison(file, then.date, tuple(_differences(then, now)), tuple(changes))


def _differences(then: Report, now: Report) -> Iterator[str]:
    groups = (
        ("machine", then.machine, now.machine),
        ("model", then.model, now.model),
        ("setup", then.setup, now.setup),
        ("versions", then.versions, now.versions),
    )
    for group, before, after in groups:
        for fact in before | after:
            old, new = before.get(fact, "unknown"), after.get(fact, "unknown")
            if old != new:
                yield f"{group}, {fact}: {old} then, {new} now"
