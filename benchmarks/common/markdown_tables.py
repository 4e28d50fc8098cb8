"""Formats Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under their titles; a row may be shorter than the titles."""
    filled = ([*cells, *[""] * (len(titles) - len(cells))] for cells in rows)
    return "\n".join([row(titles), "|---" * len(titles) + "|", *map(row, filled)])


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
