"""The work of ``pellucid suggestions``: show, export and delete the log."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from pellucid.completion.trust.suggestion_log import FILE, Reaction, SuggestionLog
from pellucid.config import load_settings
from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.system.atomic_files import write_output


def show(data: Path | None) -> None:
    """Print a row for each model, the model with the most suggestions first."""
    rows = _rows(_log(data))
    table = Table("model", "suggestions", "accepted", "in part", "dismissed", "characters accepted", "of a suggestion")
    for model, _ in Counter(str(row["model"]) for row in rows).most_common():
        table.add_row(model, *_cells([row for row in rows if row["model"] == model]))
    Console().print(table)


def _cells(rows: Sequence[Mapping[str, object]]) -> list[str]:
    outcomes = Counter(row["outcome"] for row in rows)
    accepted = [int(str(row["accepted"])) for row in rows]
    # Of a mean: 1.96 standard errors.
    half = f" ± {1.96 * stdev(accepted) / len(accepted) ** 0.5:.1f}" if len(accepted) > 1 else ""
    counts = [len(rows), *(outcomes[outcome] for outcome in Reaction), sum(accepted)]
    return [*(f"{count:,}" for count in counts), f"{mean(accepted):.1f}{half}"]


def export(file: Path, data: Path | None) -> None:
    rows = _rows(_log(data))
    try:
        write_output(file, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise InvalidRequestError(f"The log cannot be written to {file}: {error.strerror or error}.") from None
    sys.stdout.write(f"Wrote {len(rows):,} suggestions to {file}.\n")


def delete(data: Path | None) -> None:
    log = _log(data)
    count = log.delete()
    sys.stdout.write(f"Deleted {count:,} suggestions.\n" if count else "The log is empty.\n")


def _rows(log: SuggestionLog) -> list[Mapping[str, object]]:
    rows = list(log.rows())
    if not rows:
        raise NotFoundError(
            f"There is no suggestion log at {log.path}: editors write one if pellucid.completion.log is on."
        )
    return rows


def _log(data: Path | None) -> SuggestionLog:
    return SuggestionLog(load_settings(data=data).data / FILE)
