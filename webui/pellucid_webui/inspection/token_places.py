"""Places of tokens in rendered answers, and the tokens marked as unsure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import exp
from typing import Any

from pellucid_webui.conversations.compact_tokens import records_in
from pellucid_webui.inspection.markdown_places import Formula, RenderedBlock, Run, rendered_blocks

UNSURE_BELOW = 0.3

UNSURE_SHARE = 0.1
"""Maximum share to mark: readers learn to ignore too many marks."""

STEPS = 8

Marks = dict[str, Any]


def marks_of(text: str, batches: Sequence[str], before: str = "") -> Marks | None:
    """Return the places of an answer's tokens, or None if the text ends differently.

    ``lengths``: UTF-16 units of each block. ``places``: five numbers for each piece of a token
    (token, block, start and end unit, colour step); all tokens of a formula share a piece.
    ``unsure``: marked tokens. ``least``: the least probable visible token. ``before``: Markdown
    before the text.
    """
    records = [record for batch in batches for record in records_in(batch)]
    spelled = "".join(record["t"] for record in records)
    if not spelled or not text.endswith(spelled):
        return None
    blocks = rendered_blocks(before + text)
    first = len(before) + len(text) - len(spelled)
    ends = list(accumulate((len(record["t"]) for record in records), initial=first))
    steps = [round((1 - _probability(record)) * STEPS) for record in records]
    places: list[int] = []
    lengths: list[int] = []
    shown = [0] * len(records)  # visible characters of each token
    for number, block in enumerate(blocks):
        units = _Units(block.text)
        for token, begin, end, share in _pieces(block, ends):
            places += (token, number, units(begin), units(end), steps[token])
            shown[token] += (
                max(1, len(block.text[begin:end].strip()) // share) if share > 1 else len(block.text[begin:end].strip())
            )
        lengths.append(units(len(block.text)))
    ranked = sorted((_probability(record), index) for index, record in enumerate(records) if shown[index])
    return {
        "lengths": lengths,
        "places": places,
        "unsure": _unsure(ranked, shown),
        "least": ranked[0][1] if ranked else None,
        "count": len(records),
    }


def _pieces(block: RenderedBlock, ends: Sequence[int]) -> Iterable[tuple[int, int, int, int]]:
    """Yield pieces (token, start, end, number of tokens that share the piece)."""
    token = 0
    shown: list[Run | Formula] = [*block.runs, *block.formulas]
    for run in sorted(shown, key=lambda one: one.text):
        if isinstance(run, Formula):
            inside = range(bisect_right(ends, run.source) - 1, bisect_left(ends, run.source_end))
            held = [one for one in inside if 0 <= one < len(ends) - 1]
            yield from ((one, run.text, run.text_end, len(held)) for one in held)
            continue
        at, end = max(run.source, ends[0]), run.source + run.length
        if token and ends[token] > at:
            token = 0  # A run that is not in the order of the source.
        while at < end and token < len(ends) - 1:
            if ends[token + 1] <= at:
                token += 1
                continue
            stop = min(end, ends[token + 1])
            yield token, at - run.source + run.text, stop - run.source + run.text, 1
            at = stop


def _unsure(ranked: Sequence[tuple[float, int]], shown: Sequence[int]) -> list[int]:
    budget = UNSURE_SHARE * sum(shown)
    found: list[int] = []
    for probability, index in ranked:
        budget -= shown[index]
        if probability >= UNSURE_BELOW or budget < 0:
            break
        found.append(index)
    return sorted(found)


def _probability(record: Mapping[str, Any]) -> float:
    """Return the probability among all allowed tokens; 1 if unknown."""
    logprob = record["l"]
    return 1.0 if logprob is None else min(1.0, exp(logprob) / (record.get("c") or 1.0))


class _Units:
    """Converts character indices to UTF-16 units, in which a browser counts."""

    def __init__(self, text: str) -> None:
        self._before = (
            list(accumulate((ord(character) > 0xFFFF for character in text), initial=0)) if not text.isascii() else None
        )

    def __call__(self, index: int) -> int:
        return index if self._before is None else index + self._before[index]
