"""Tables in Markdown, and the quantiles that stand in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their titles; a row may be shorter than the titles are."""
    filled = ([*cells, *[""] * (len(titles) - len(cells))] for cells in rows)
    return "\n".join([row(titles), "|---" * len(titles) + "|", *map(row, filled)])


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def quantile(values: Iterable[float], share: float) -> float:
    """The least of the values that so large a share of them do not exceed; there must be one."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
