"""Marks of surprising words, and their representations for clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lsprotocol import types
from pygls.workspace import PositionCodec

from pellucid.completion.surprise.surprises import LikelierText, Mark, rounded
from pellucid.system.common_prefix import common_prefix
from pellucid_lsp.inspection_json import OWN_SOURCE, range_json

CODE = "surprise"
"""The code of the diagnostics."""

LEAST_PROBABILITY = 0.01
"""Minimum probability of an alternative in a code action."""


@dataclass(frozen=True, slots=True)
class MarkedText:
    r"""The marks in a text with ``\n`` line endings, and their ranges in a client's units."""

    text: str
    marks: tuple[Mark, ...]
    codec: PositionCodec

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "range": range_json(self.range_of(mark.begin, mark.end)),
                "text": mark.text,
                "probability": mark.probability,
                "rank": mark.rank,
                "typical": mark.typical,
                "logOdds": mark.log_odds,
                "surprise": mark.surprise,
                "alternatives": [self._alternative(one) for one in mark.alternatives],
                "reason": mark.reason,
            }
            for mark in self.marks
        ]

    def diagnostics(self) -> list[types.Diagnostic]:
        return [self._diagnostic(mark) for mark in self.marks]

    def actions(self, uri: str, selected: types.Range) -> list[types.CodeAction]:
        return [
            types.CodeAction(
                title=f"Replace `{one.written}` with `{one.replacement.text}` "
                f"(p {rounded(one.probability)} instead of {rounded(mark.probability)})",
                kind=types.CodeActionKind.QuickFix,
                diagnostics=[self._diagnostic(mark)],
                edit=types.WorkspaceEdit({uri: [types.TextEdit(self._part_of(one), one.replacement.text)]}),
            )
            for mark in self.marks
            if self._position(mark.begin) <= selected.end and selected.start <= self._position(mark.end)
            for one in mark.alternatives
            if one.probability >= LEAST_PROBABILITY
        ]

    def range_of(self, begin: int, end: int) -> types.Range:
        return types.Range(self._position(begin), self._position(end))

    def changed(self, text: str) -> MarkedText:
        """Keep the marks on lines that are unchanged, for the word and all alternatives."""
        old, new = self.text.split("\n"), text.split("\n")
        same = common_prefix(old, new)
        tail = common_prefix(old[same:][::-1], new[same:][::-1])
        left: list[Mark] = []
        for mark in self.marks:
            first = min(mark.begin, *(one.replacement.begin for one in mark.alternatives))
            last = max(mark.end, *(one.replacement.end for one in mark.alternatives))
            if self.text.count("\n", 0, last) < same:
                left.append(mark)
            elif self.text.count("\n", 0, first) >= len(old) - tail:
                left.append(mark.moved(len(text) - len(self.text)))
        return MarkedText(text, tuple(left), self.codec)

    def _diagnostic(self, mark: Mark) -> types.Diagnostic:
        where = self.range_of(mark.begin, mark.end)
        return types.Diagnostic(where, mark.reason, types.DiagnosticSeverity.Hint, code=CODE, source=OWN_SOURCE)

    def _alternative(self, one: LikelierText) -> dict[str, Any]:
        return {"range": range_json(self._part_of(one)), "text": one.replacement.text, "probability": one.probability}

    def _part_of(self, one: LikelierText) -> types.Range:
        return self.range_of(one.replacement.begin, one.replacement.end)

    def _position(self, offset: int) -> types.Position:
        line_start = self.text.rfind("\n", 0, offset) + 1
        return types.Position(
            self.text.count("\n", 0, offset), self.codec.client_num_units(self.text[line_start:offset])
        )
