"""Prints results as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from pellucid.learn.evaluate.compare import ResultComparison
from pellucid.learn.evaluate.results import EvaluationResults
from pellucid.terminal.coloured_tokens import harmless
from pellucid.terminal.plain_tables import plain_console, plain_table

STYLES = {"better": "green", "worse": "red"}


def show_results(results: EvaluationResults) -> None:
    console = plain_console()
    for suite in results.suites:
        table = plain_table(("figure", "model"), ("value", "95 % interval", "of"), title=suite)
        table.title_style = "bold"
        notes: dict[str, list[str]] = {}
        rows: dict[str, list[list[str]]] = {}
        for model in results.models:
            found = model.find(suite)
            if found is None:
                continue
            if found.left_out is not None:
                notes.setdefault(f"skipped: {found.left_out}", []).append(model.name)
            for note in found.notes:
                notes.setdefault(note, []).append(model.name)
            for figure in found.figures:
                if not figure.detail:
                    cells = [model.name, figure.show(), figure.show_interval(), f"{figure.records:,}"]
                    rows.setdefault(figure.label, []).append(cells)
        for label, group in rows.items():
            for number, cells in enumerate(group):
                table.add_row(label if not number else "", *map(harmless, cells))
        console.print(table if rows else Text(suite, "bold"))
        asked = sum(model.find(suite) is not None for model in results.models)
        for note, models in notes.items():
            whose = "" if len(models) == asked else f"{', '.join(models)}: "
            console.print(Text(harmless(f"  {whose}{note}"), "dim"), soft_wrap=True)
        console.print()


def show_comparisons(comparisons: Sequence[ResultComparison]) -> None:
    console = plain_console()
    for comparison in comparisons:
        console.print(Text(harmless(f"{comparison.before}, then {comparison.after}"), "bold"), soft_wrap=True)
        table = plain_table(("suite", "figure"), ("difference (95 % interval)", "pairs"), ("",))
        for change in comparison.changes:
            verdict = Text(change.verdict, STYLES.get(change.verdict, ""))
            table.add_row(change.suite, change.label, change.show_difference(), str(change.pairs), verdict)
        console.print(table)
        for sentence in comparison.left_out:
            console.print(f"skipped: {harmless(sentence)}", soft_wrap=True)
    console.print(
        Text(
            (
                "The difference is the second minus the first, over pairs. It is called better or worse if its "
                "interval excludes 0."
            ),
            "dim",
        )
    )
