"""Output of a report as tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.bench.compare import Comparison
from pellucid.bench.report import Figure, Report
from pellucid.terminal.plain_tables import plain_console, plain_table

EXPLANATION = (
    "Medians over the rounds; for the machine's own rates, the best. "
    "The limit follows from the machine's rates and the model's weights."
)
LOOKS = {"better": "green", "worse": "red"}


def as_json(report: Report, comparison: Comparison | None) -> str:
    record: dict[str, Any] = report.model_dump(mode="json")
    if comparison is not None:
        record["comparison"] = {
            "file": comparison.file,
            "date": comparison.date,
            "differences": comparison.differences,
            "rows": [
                {
                    "section": change.section,
                    "name": change.name,
                    "unit": change.unit,
                    "then": change.then and change.then.value,
                    "now": change.now and change.now.value,
                    "ratio": change.ratio,
                    "verdict": change.verdict,
                }
                for change in comparison.changes
            ],
        }
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def show(report: Report, comparison: Comparison | None, console: Console | None = None) -> None:
    console = console or plain_console()
    for line in heading(report):
        console.print(line, soft_wrap=True)
    console.print()
    console.print(_figures(report.figures))
    console.print(Text(EXPLANATION, "dim"), soft_wrap=True)
    for sentence in report.left_out:
        console.print(f"skipped: {sentence}", soft_wrap=True)
    for sentence in report.notes:
        console.print(f"note: {sentence}", soft_wrap=True)
    if comparison is not None:
        console.print()
        console.print(f"Compared with {comparison.file}, measured {comparison.date}:", soft_wrap=True)
        for difference in comparison.differences:
            console.print(f"differs: {difference}", soft_wrap=True)
        console.print(_changes(comparison))
        console.print(
            Text("The ratio is now / then. A row is better or worse only if the samples do not overlap.", "dim"),
            soft_wrap=True,
        )


def heading(report: Report) -> list[str]:
    facts, count = report.machine, report.setup["threads"]
    threads = "1 thread" if count == 1 else f"{count} threads"
    return [
        f"{report.model['name']}: {report.model['description']}",
        f"{facts['processor']}, {facts['processors']} processors, computing on {facts['device']} with {threads}",
        f"context {report.setup['context']}, {report.setup['slots']} slots, chunks of {report.setup['chunk']}; "
        f"{report.date}",
        "; ".join(f"{name} {version}" for name, version in report.versions.items()),
    ]


def _figures(figures: Sequence[Figure]) -> Table:
    table = plain_table(("",), ("figure", "spread", "limit", "reached"), whole_names=True)
    for section in dict.fromkeys(figure.section for figure in figures):
        table.add_row(Text(section, "bold"))
        for row in (figure for figure in figures if figure.section == section):
            limit = "" if row.limit is None else row.unit.show(row.limit)
            reached = "" if row.reached is None else f"{row.reached:.0%}"
            table.add_row(
                f"  {row.name}", row.unit.show(row.value), row.unit.show_between(row.low, row.high), limit, reached
            )
    return table


def _changes(comparison: Comparison) -> Table:
    table = plain_table(("",), ("then", "now", "ratio"), ("",), whole_names=True)
    for change in comparison.changes:
        then, now = ("" if figure is None else change.unit.show(figure.value) for figure in (change.then, change.now))
        ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
        table.add_row(
            f"{change.section}, {change.name}", then, now, ratio, Text(change.verdict, LOOKS.get(change.verdict, ""))
        )
    return table
