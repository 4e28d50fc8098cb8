"""Formats Markdown tables and computes quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under their titles; a row may be shorter than the titles."""
    filled = ([*cells, *[""] * (len(titles) - len(cells))] for cells in rows)
    return "\n".join([row(titles), "|---" * len(titles) + "|", *map(row, filled)])


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that a share of the values does not exceed. Needs a value."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
