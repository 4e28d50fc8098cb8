"""Tables without lines, for commands' output."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table


def plain_console(width: int | None = None) -> Console:
    """Return a console for stdout, without markup and highlighting."""
    return Console(width=width, highlight=False, markup=False, emoji=False)


def plain_table(
    left: Sequence[str],
    right: Sequence[str] = (),
    last: Sequence[str] = (),
    *,
    title: str | None = None,
    whole_names: bool = False,
) -> Table:
    """Return a table with columns of words, of figures aligned to the right, and of words.

    ``whole_names``: the first column is not wrapped.
    """
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", show_header=any((*left, *right, *last)))
    columns: list[tuple[JustifyMethod, Sequence[str]]] = [("left", left), ("right", right), ("left", last)]
    for justify, names in columns:
        for name in names:
            table.add_column(name, justify=justify, no_wrap=whole_names and not table.columns)
    return table
