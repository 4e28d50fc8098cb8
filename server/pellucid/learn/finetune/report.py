"""Shows the cost and the value of an adapter."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from pellucid.learn.finetune.before_after import ComparisonRow
from pellucid.learn.finetune.estimate import Estimate
from pellucid.learn.finetune.pipeline import FinetuneResult
from pellucid.learn.finetune.repository_files import Dataset
from pellucid.system.atomic_files import human
from pellucid.terminal.plain_tables import plain_console, plain_table

COLUMNS = ("before", "after", "difference (95 % interval)", "files")
WIDE = 130
"""Width of a table in a pipe."""

STYLES = {"better": "green", "worse": "red", "no difference shown": "dim"}
PREFIX_ONLY = (
    "This model has no infill markers: it is trained from left to right and gets only the text before the cursor."
)


def as_json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def tuned_record(tuned: FinetuneResult) -> dict[str, Any]:
    return {**tuned.card, "folder": str(tuned.folder), "peak_memory": tuned.memory}


def left_out(dataset: Dataset) -> list[str]:
    """Describe the files that were skipped or are not evaluated, and secrets by kind only."""
    lines = [f"skipped: {count:,} {reason}" for reason, count in sorted(dataset.skipped.items())]
    lines += [f"skipped: {name}, which seems to contain a secret ({kind})" for name, kind in dataset.secrets]
    test, judged = len(dataset.test), len(dataset.judged)
    return lines + (
        [f"evaluated: {judged} of the {test:,} test files, the first by the hash of their names"]
        if judged < test
        else []
    )


def show_estimate(found: Estimate, dataset: Dataset) -> None:
    console = _console()
    table = plain_table(("", ""), whole_names=True)
    memory = "not reported by this system" if found.memory is None else human(found.memory)
    for name, value in (
        (
            "files",
            (
                f"{len(dataset.train)} for training, {len(dataset.validation)} for early stopping, "
                f"{len(dataset.test)} for the test"
            ),
        ),
        ("tokens for training", f"{found.tokens:,}"),
        ("samples per pass", f"{found.samples:,}"),
        ("steps", f"{found.steps:,} ({found.passes:.1f} passes)"),
        ("a step", f"{found.seconds_per_step:.1f} s"),
        ("training", duration(found.training)),
        ("evaluation, before and after", duration(found.judging)),
        ("in all", duration(found.total)),
        ("memory", memory),
    ):
        table.add_row(name, value)
    console.print(f"Tuning {found.model} would take:", soft_wrap=True)
    console.print(table)
    for line in [*left_out(dataset), *([PREFIX_ONLY] if found.prefix_only else [])]:
        console.print(line, soft_wrap=True)
    console.print("No adapter was made.")


def show_tuned(tuned: FinetuneResult) -> None:
    console = _console()
    outcome = tuned.outcome
    table = plain_table(("held-out files",), COLUMNS, ("",), whole_names=True)
    for row in tuned.rows:
        words = row.verdict if row.verdict != "no difference shown" else "no difference shown by these files"
        figures = (_figure(row, row.before), _figure(row, row.after), _difference(row), str(row.units))
        table.add_row(row.name, *figures, Text(words, STYLES[row.verdict]))
    console.print(table)
    kept = f"the weights after step {outcome.best.step} were kept"
    memory = "" if tuned.memory is None else f", {human(tuned.memory)} of memory at its peak"
    console.print(f"{outcome.steps} steps in {duration(outcome.seconds)}, of which {kept}{memory}.", soft_wrap=True)
    console.print(f"The adapter {tuned.card['name']} for {tuned.card['base']} is in {tuned.folder}.", soft_wrap=True)


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _figure(row: ComparisonRow, value: float) -> str:
    return f"{value:.1%}" if row.share else f"{value:.3f}"


def _difference(row: ComparisonRow) -> str:
    scale, digits = (100, 1) if row.share else (1, 3)
    value, low, high = (
        f"{scale * end:+.{digits}f}" for end in (row.difference.value, row.difference.low, row.difference.high)
    )
    return f"{value} ({low} to {high})"


def _console() -> Console:
    return plain_console(None if sys.stdout.isatty() else WIDE)
