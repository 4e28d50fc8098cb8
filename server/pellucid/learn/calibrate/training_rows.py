"""Converts records to arrays: a row for each part of a suggestion, including the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import expm1
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.completion.trust.features import NAMES
from pellucid.learn.calibrate.replay_records import SuggestionRecord

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

PART_WEIGHT = 1.0
"""Total weight of a suggestion's parts, relative to the whole."""


@dataclass(frozen=True, slots=True)
class Table:
    """Shapes: ``numbers`` (n, features), the rest (n,).

    ``suggestions`` and ``files`` number the suggestions and the files.
    """

    numbers: Floats
    right: Bools
    weights: Floats
    whole: Bools
    suggestions: Ints
    files: Ints

    @classmethod
    def of(cls, records: Sequence[SuggestionRecord]) -> Self:
        """Return the rows of records. A record without a suggestion has no rows."""
        names = {name: number for number, name in enumerate(sorted({record.document for record in records}))}
        rows = [
            (
                part.numbers,
                part.right,
                1.0 if not at else PART_WEIGHT / (len(record.parts) - 1),
                at == 0,
                number,
                names[record.document],
            )
            for number, record in enumerate(records)
            for at, part in enumerate(record.parts)
        ]
        columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * len(fields(cls))
        return cls(
            np.array(columns[0], dtype=np.float64).reshape(len(rows), len(NAMES)),
            np.array(columns[1], dtype=np.bool_),
            np.array(columns[2], dtype=np.float64),
            np.array(columns[3], dtype=np.bool_),
            np.array(columns[4], dtype=np.int64),
            np.array(columns[5], dtype=np.int64),
        )

    @property
    def size(self) -> int:
        return len(self.right)

    def only(self, chosen: Bools | Ints) -> Table:
        return Table(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def and_also(self, other: Table) -> Table:
        """Return the rows of both tables, with separate suggestions and files."""
        columns = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in fields(self)
        }
        for name in ("suggestions", "files"):
            mine = getattr(self, name)
            columns[name][len(mine) :] += mine.max(initial=-1) + 1
        return Table(**columns)

    def number(self, name: str) -> Floats:
        column: Floats = self.numbers[:, NAMES.index(name)]
        return column

    @property
    def characters(self) -> Floats:
        return expm1_of(self.number("characters"))


def expm1_of(logarithms: Floats) -> Floats:
    """Invert log(1 + x), rounded to integers."""
    return np.array([round(expm1(value)) for value in logarithms], dtype=np.float64)
