"""Two reports, row by row: then, now, and how many times as much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pellucid.bench.figures import FORMAT, KIND, Figure, Report, Unit
from pellucid.errors import InvalidRequestError

SLIGHT = 0.01
"""A change of so much is not worth a word, even of what has no noise."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row in two reports; None where one of them has no such row."""

    section: str
    name: str
    unit: Unit
    then: Figure | None
    now: Figure | None

    @property
    def ratio(self) -> float | None:
        """Now divided by then."""
        return None if self.then is None or self.now is None or not self.then.value else self.now.value / self.then.value

    @property
    def verdict(self) -> str:
        """What the change is, in a word; nothing where noise alone may be the difference.

        That is where the samples of the two overlap, or a time was taken once only, or it is less than :data:`SLIGHT`.
        """
        then, now = self.then, self.now
        if then is None or now is None:
            return "new" if then is None else "not measured"
        ratio = self.ratio
        if ratio is not None and abs(ratio - 1) < SLIGHT:
            return ""
        once = self.unit is not Unit.BYTES and 1 in (then.samples, now.samples)
        if once or (then.low <= now.high and now.low <= then.high):
            return ""
        return "better" if (now.value > then.value) == self.unit.more_is_better else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What has changed since a report, and in which circumstances (a sentence each) the two differ."""

    file: str
    date: str
    differences: tuple[str, ...]
    changes: tuple[Change, ...]


def read_report(path: Path) -> Report:
    """A saved report. Raises InvalidRequestError in one sentence for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # no UTF-8 or no JSON
        raise InvalidRequestError(f"{path} is not JSON ({error}): give a file that pellucid bench --json wrote.") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise InvalidRequestError(f"{path} is JSON of another kind: give a file that pellucid bench --json wrote.")
    if found.get("format") != FORMAT:
        raise InvalidRequestError(
            f"{path} has format {found.get('format')!r}, and this version of Pellucid writes and reads {FORMAT}: measure again with it."
        )
    found.pop("comparison", None)  # of that run with one before it
    try:
        return Report.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequestError(f"{path} is damaged: {where}: {first['msg'].lower()}.") from None


def compare(file: str, then: Report, now: Report) -> Comparison:
    """What has changed, in the order of the newer report."""
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
