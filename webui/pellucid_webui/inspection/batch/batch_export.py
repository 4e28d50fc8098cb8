"""Export of a batch as CSV (a row per comparison) or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any

from pellucid_webui.inspection.batch.batch_summary import figures, sentences, table
from pellucid_webui.inspection.batch.comparison_batch import BatchRow, ComparisonBatch


def export(batch: ComparisonBatch, form: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    if kind == "csv":
        return "comparisons.csv", "text/csv", to_csv(batch)
    return "comparisons.json", "application/json", to_json(batch, form)


def to_csv(batch: ComparisonBatch) -> str:
    """Write infinity as inf, and unknown values as empty cells."""
    letters = [column.letter for column in batch.columns]
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    measured = figures(batch)
    answers = [f"answer_{letter}" for letter in letters]
    writer.writerow(
        [
            "row",
            "line",
            "prompt",
            *(f"seed_{one}" for one in letters),
            "status",
            *(one.key for one in measured),
            *answers,
        ]
    )
    for row in batch.rows:
        values = ["" if row.figures is None or (value := one.of(row.figures)) is None else value for one in measured]
        texts = _answers(row) or [""] * len(letters)
        writer.writerow(
            [row.number + 1, row.prompt.line or "", row.prompt.prompt, *row.seeds, _status(row), *values, *texts]
        )
    return out.getvalue()


def to_json(batch: ComparisonBatch, form: Mapping[str, Any]) -> str:
    """Write infinity and unknown numbers as null."""
    rows = [
        {
            "row": row.number + 1,
            "line": row.prompt.line or None,
            "messages": [{"role": one.role, "content": one.content} for one in row.prompt.history],
            "prompt": row.prompt.prompt,
            "reference": row.prompt.reference or batch.reference or None,
            "seeds": {column.letter: seed for column, seed in zip(batch.columns, row.seeds, strict=True)},
            "status": _status(row),
            "error": row.error or None,
            "figures": None if row.figures is None else _finite(asdict(row.figures)),
            "answers": dict(zip([column.letter for column in batch.columns], _answers(row), strict=False)),
        }
        for row in batch.rows
    ]
    return json.dumps(
        {"form": form, "file": batch.name or None, "summary": sentences(batch), "means": table(batch), "rows": rows},
        ensure_ascii=False,
    )


def _status(row: BatchRow) -> str:
    return "failed" if row.error else "done" if row.done else "not run"


def _answers(row: BatchRow) -> list[str]:
    return [] if row.compressed is None else row.compressed.answers


def _finite(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _finite(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    return None if isinstance(found, float) and not isfinite(found) else found
