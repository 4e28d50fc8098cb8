"""Data of a finished reading for the Read tab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pellucid_webui.inspection.compressed_reading import as_json, numbers
from pellucid_webui.inspection.diff_reading import HunkReading, changed, diff_json, summary
from pellucid_webui.inspection.histograms import histograms
from pellucid_webui.inspection.reading_difference import ReadingDifference
from pellucid_webui.inspection.reading_figures import ReadingFigures


def figures(reading: ReadingFigures) -> list[tuple[str, str, str]]:
    found = [("Tokens", str(len(reading.tokens)), "The pieces into which this model's tokenizer splits the text.")]
    if reading.perplexity is not None:
        hint = (
            "The number of equally likely tokens that would surprise the model as much, on average; "
            "it depends on the tokenizer."
        )
        found.append(("Perplexity", f"{reading.perplexity:.3f}", hint))
    if reading.bits_per_byte is not None:
        hint = "The surprisal per byte of text, which can be compared between models with different tokenizers."
        found.append(("Bits per byte", f"{reading.bits_per_byte:.4f}", hint))
    return [
        *found,
        (
            "Total bits",
            f"{reading.bits:.1f}",
            "The surprisal of the whole text: the sum of -log2 of each token's probability.",
        ),
    ]


def windows_note(tokens: Mapping[str, int], contexts: Mapping[str, int]) -> str:
    """Describe readings longer than the context; ``tokens`` has the longest texts."""
    long = {model: contexts[model] for model, count in tokens.items() if count > contexts.get(model, count)}
    if len(tokens) > 1 and len(long) == len(tokens) and len(set(long.values())) == 1:
        found = [(" of both models,", next(iter(long.values())))]
    else:
        found = [(f" of {model}," if len(tokens) > 1 else " of", context) for model, context in long.items()]
    return " ".join(
        f"The text is longer than the context{whose} {context:,} tokens: "
        f"each token was read with at least the {context // 2:,} before it."
        for whose, context in found
    )


def diff_figures(readings: Sequence[HunkReading]) -> list[tuple[str, str, str]]:
    removed, added = changed(readings)
    return [
        ("Hunks", str(len(readings)), "The changed places of the diff, each read before and after the change."),
        (
            "Removed",
            f"{sum(one.bits for one in removed):.1f} bits",
            "The surprisal of all removed lines, each read in its old text.",
        ),
        (
            "Added",
            f"{sum(one.bits for one in added):.1f} bits",
            "The surprisal of all added lines, each read in its new text.",
        ),
    ]


def line_columns(reading: ReadingFigures, difference: ReadingDifference | None = None) -> str:
    """Return the lines as JSON columns, with ``saved`` for a second model."""
    lines = reading.lines()
    columns: dict[str, Any] = {
        "number": [line.number for line in lines],
        "first": [line.first for line in lines],
        "tokens": [line.tokens for line in lines],
        "peak": [line.peak for line in lines],
        "bits": numbers([line.bits for line in lines]),
        "most": numbers([line.most for line in lines]),
    }
    if difference is not None:
        columns["saved"] = numbers([difference.lines.get(line.number, 0.0) for line in lines])
    return as_json(columns)


def text_result(reading: ReadingFigures, difference: ReadingDifference | None) -> dict[str, Any]:
    return {
        "model": reading.model,
        "second": "" if difference is None else difference.second.model,
        "tokens": len(reading.tokens),
        "summary": "" if difference is None else difference.summary(),
        "figures": figures(reading),
        "lines": line_columns(reading, difference),
        "charts": [asdict(one) for one in histograms(reading)],
        "diff": None,
    }


def diff_result(readings: Sequence[HunkReading], model: str) -> dict[str, Any]:
    return {
        "model": model,
        "second": "",
        "tokens": 0,
        "summary": summary(readings, model),
        "figures": diff_figures(readings),
        "lines": None,
        "charts": [],
        "diff": as_json(diff_json(readings)),
    }
