"""Data of a comparison for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.inspection.compared_places import SAMPLED, ComparedPlace, ComparedPlaces
from pellucid_webui.inspection.comparison import Column, Comparison
from pellucid_webui.inspection.comparison_summary import default_view, figures, jumps, matrix, sentences

INFINITE_NATS = 999.0
"""Replaces infinity, which JSON lacks."""

DIGITS = 5


def payload(comparison: Comparison) -> dict[str, Any]:
    for column in comparison.columns:
        column.pack()
    shown: dict[str, Any] = {
        "number": comparison.number,
        "status": comparison.status,
        "wrong": False,
        "running": not comparison.ended,
        "reads": comparison.reads_only,
        "columns": [column_payload(column, reads=comparison.reads_only) for column in comparison.columns],
        "summary": None,
        "analysis": None,
    }
    if not comparison.ended:
        return shown
    places = ComparedPlaces(comparison)
    summary = {
        "sentences": sentences(places),
        "matrix": matrix(comparison),
        "figures": figures(places),
        "jumps": [asdict(jump) for jump in jumps(places)],
    }
    return shown | {"summary": summary, "analysis": json.dumps(analysis(places), separators=(",", ":"))}


def column_payload(column: Column, *, reads: bool = False) -> dict[str, Any]:
    return {
        "letter": column.letter,
        "model": column.settings.model,
        "temperature": column.settings.temperature,
        "about": f"reads the text{'' if column.pictures else ', without pictures'}" if reads else about(column),
        "batches": list(column.batches),
        "note": column.error or _note(column),
        "wrong": column.error is not None,
    }


def about(column: Column) -> str:
    settings = column.settings
    parts = ["stored answer"] if column.stored is not None else []
    parts.append(f"temperature {settings.temperature:g}" if settings.temperature else "greedy")
    if settings.temperature:
        parts += [f"top-p {settings.top_p:g}"] if settings.top_p < 1 else []
        parts += [f"min-p {settings.min_p:g}"] if settings.min_p else []
        parts += [f"top-k {settings.top_k}"] if settings.top_k else []
        parts += [f"seed {settings.seed}"] if settings.seed is not None else []
    parts += [f"at most {settings.max_tokens} tokens"] if settings.max_tokens and column.stored is None else []
    if settings.system.strip():
        parts.append(f"system prompt “{' '.join(settings.system.split())}”")
    parts += [] if column.pictures else ["without pictures"]
    return ", ".join(parts)


def analysis(places: ComparedPlaces) -> dict[str, Any]:
    """Return how each column reads each answer, and how answers correspond.

    ``readings[i][j]``: the tokens of answer i under column j; ``links[i][j]``: the places of answer
    i for column j; ``ranges[i][j]``: the tokens of answer j at each token of answer i;
    ``sampled[i][j]``: the scales at column j's temperature.
    """
    numbers = range(len(places.columns))
    return {
        "view": default_view(places.comparison),
        "readings": [[_reading(places, i, j) for j in numbers] for i in numbers],
        "links": [[[] if i == j else [_place(one) for one in places.links(i, j)] for j in numbers] for i in numbers],
        "ranges": [[[] if i == j else places.linked_ranges(i, j) for j in numbers] for i in numbers],
        "sampled": [[_scales(places, j, _tokens(places, i, j)) for j in numbers] for i in numbers],
        "apart": [places.apart(i) for i in numbers],
        "upper": [[(i, j) in places.same_vocabulary for j in numbers] for i in numbers],
    }


def _tokens(places: ComparedPlaces, text: int, column: int) -> Sequence[Token]:
    return places.comparison.texts[text].tokens.get(column, []) if places.comparison.texts else []


def _reading(places: ComparedPlaces, text: int, column: int) -> str | None:
    tokens = _tokens(places, text, column)
    return None if text == column or not tokens else pack(tokens)


def _place(place: ComparedPlace) -> list[float | None]:
    """Return [token or -1, segment, then per view: ratio low, high, KL low, high]."""
    row: list[float | None] = [-1 if place.token is None else place.token, *place.segment]
    for view in place.views.values():
        for bounds in (view.ratio, view.kl):
            row += [None, None] if bounds is None else [_number(bounds.low), _number(bounds.high)]
    return row


def _scales(places: ComparedPlaces, column: int, tokens: Sequence[Token]) -> list[list[float] | None]:
    """Return for each token [scale low, scale high, most_unlisted, unlisted]."""
    found: list[list[float] | None] = []
    for token in tokens:
        choice = places.choice(column, token, SAMPLED)
        if choice is None:
            found.append(None)
        else:
            found.append(
                [_digits(one) for one in (choice.scale.low, choice.scale.high, choice.most_unlisted, choice.unlisted)]
            )
    return found


def _number(nats: float) -> float:
    return _digits(max(-INFINITE_NATS, min(INFINITE_NATS, nats)))


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _note(column: Column) -> str:
    speed = ""
    usage = column.usage
    if usage is not None and column.took is not None and usage.decode and usage.generated > 1:
        speed = f"{usage.generated} tokens in {column.took:.1f} s, {(usage.generated - 1) / usage.decode:.1f} tokens/s"
    if column.end is FinishReason.LENGTH:
        limit = column.settings.max_tokens
        speed += (
            f"{'. ' if speed else ''}"
            f"{f'Stopped at the limit of {limit} tokens.' if limit else 'Stopped: the context is full.'}"
        )
    return speed
