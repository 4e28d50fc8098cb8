"""The lines of a diff with a model's readings before and after the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import log
from typing import Any

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.reading_figures import ReadingFigures, ReadTokens
from pellucid_webui.inspection.unified_diff import DiffLine, Hunk

EQUAL_BITS = 0.005
"""Smaller differences in bits per byte count as equal."""


@dataclass(frozen=True, slots=True)
class ScoredLine(ReadTokens):
    line: DiffLine
    tokens: tuple[Token, ...]


@dataclass(eq=False)
class HunkReading:
    """A hunk, and the tokens of the old and the new text read so far."""

    hunk: Hunk
    old: list[Token] = field(default_factory=list)
    new: list[Token] = field(default_factory=list)

    def sides(self) -> list[tuple[str, list[Token]]]:
        """Return the non-empty texts to read, each with the list for the tokens."""
        both = ((self.hunk.old, self.old), (self.hunk.new, self.new))
        return [(text_of(self.hunk, lines), tokens) for lines, tokens in both if lines]

    def lines(self) -> tuple[list[ScoredLine], list[ScoredLine]]:
        return _scored_lines(self.hunk, self.hunk.old, self.old), _scored_lines(self.hunk, self.hunk.new, self.new)

    def rows(self) -> list[tuple[ScoredLine | None, ScoredLine | None]]:
        """Return the lines side by side, with removed next to added lines."""
        old, new = (iter(lines) for lines in self.lines())
        found: list[tuple[ScoredLine | None, ScoredLine | None]] = []
        removed: list[ScoredLine] = []
        added: list[ScoredLine] = []
        for line in self.hunk.lines:
            if line.kind == "-":
                removed.append(next(old))
            elif line.kind == "+":
                added.append(next(new))
            else:
                found += zip_longest(removed, added)
                removed, added = [], []
                found.append((next(old), next(new)))
        return [*found, *zip_longest(removed, added)]


def text_of(hunk: Hunk, lines: Sequence[DiffLine]) -> str:
    """Return the section's line, if known, and the lines of one side."""
    section = f"{hunk.section}\n" if hunk.section else ""
    return section + "".join(f"{line.text}\n" for line in lines)


def summary(readings: Sequence[HunkReading], model: str) -> str:
    removed, added = changed(readings)
    parts = [f"Removed: {_amount(removed)}. Added: {_amount(added)}."]
    old, new = _per_byte(removed), _per_byte(added)
    if old is not None and new is not None:
        saved = old - new
        verdict = (
            "as surprising as the old ones"
            if abs(saved) < EQUAL_BITS
            else f"{'less' if saved > 0 else 'more'} surprising"
        )
        by = "" if abs(saved) < EQUAL_BITS else f", by {abs(saved):.2f} bits per byte"
        parts.append(f"{model} finds the new lines {verdict}{by}.")
    if added:
        most = max(added, key=lambda one: one.bits)
        parts.append(f"The most surprising new line is line {most.line.new} ({most.bits:.1f} bits).")
    return " ".join(parts)


def changed(readings: Sequence[HunkReading]) -> tuple[list[ScoredLine], list[ScoredLine]]:
    sides = [reading.lines() for reading in readings]
    removed = [one for old, _ in sides for one in old if one.line.kind == "-" and one.tokens]
    return removed, [one for _, new in sides for one in new if one.line.kind == "+" and one.tokens]


def diff_json(readings: Sequence[HunkReading]) -> list[dict[str, Any]]:
    """Return rows of old and new lines: [kind, number, bits, [[text, bits], …]] or null."""
    return [
        {
            "file": reading.hunk.file,
            "section": reading.hunk.section,
            "rows": [[_side(old, is_new=False), _side(new, is_new=True)] for old, new in reading.rows()],
        }
        for reading in readings
    ]


def _scored_lines(hunk: Hunk, lines: Sequence[DiffLine], tokens: Sequence[Token]) -> list[ScoredLine]:
    offset = 1 if hunk.section else 0
    groups: list[list[Token]] = [[] for _ in lines]
    for token, number in zip(tokens, ReadingFigures("", tuple(tokens)).line_numbers(), strict=True):
        if 0 <= number - 1 - offset < len(lines):
            groups[number - 1 - offset].append(token)
    return [ScoredLine(line, tuple(group)) for line, group in zip(lines, groups, strict=True)]


def _side(one: ScoredLine | None, *, is_new: bool) -> list[Any] | None:
    if one is None:
        return None
    pieces = [
        [token.text.strip("\r\n"), None if token.logprob is None else round(-token.logprob / log(2), 2)]
        for token in one.tokens
    ]
    if not pieces:  # Not read yet, or a blank line inside another line's token.
        pieces = [[one.line.text, None]]
    return [one.line.kind, one.line.new if is_new else one.line.old, round(one.bits, 2) if one.tokens else None, pieces]


def _amount(lines: Sequence[ScoredLine]) -> str:
    if not lines:
        return "nothing"
    per_byte = _per_byte(lines)
    each = "" if per_byte is None else f", {per_byte:.2f} per byte"
    return f"{len(lines)} {'line' if len(lines) == 1 else 'lines'} with {sum(one.bits for one in lines):.1f} bits{each}"


def _per_byte(lines: Sequence[ScoredLine]) -> float | None:
    size = sum(one.bytes for one in lines)
    return sum(one.bits for one in lines) / size if size else None
