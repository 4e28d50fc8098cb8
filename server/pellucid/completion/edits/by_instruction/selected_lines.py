"""Whole lines of a selection, converted between the document and the model.

The model reads lines without the common indentation and without outer blank lines, because small
models easily lose both. The new lines get both back, with the document's tabs or spaces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.system.common_prefix import common_prefix

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_INDENTATION = re.compile(r"[ \t]*")
_REST_OF_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)?")

_OPENINGS = (":", "{", "(", "[")
_CLOSINGS = ("}", ")", "]")
_COMMENTS = ("#", "//", "*", "/*", "--")

SPACES = 4
"""Spaces for a tab if the text does not show the number."""


@dataclass(frozen=True, slots=True)
class SelectedLines:
    """Whole lines of a document, with the text before and after.

    ``leading`` and ``trailing``: numbers of blank lines hidden from the model. ``margin``:
    indentation hidden from the model. ``opening``: extra indentation of the first line.
    ``inserted``: there are no old lines to show.
    """

    before: str
    raw: tuple[str, ...]
    after: str
    newline: str
    leading: int
    trailing: int
    margin: str
    opening: str
    inserted: bool

    @property
    def first(self) -> int:
        """The number of the first line in the document, from 0."""
        return len(split_lines(self.before))

    @property
    def text(self) -> str:
        return "".join(self.raw)

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(without_end, self.raw))

    @property
    def core(self) -> tuple[str, ...]:
        return self.lines[self.leading : len(self.raw) - self.trailing]

    @property
    def shown(self) -> list[str]:
        """The lines in the model's form."""
        return [line.removeprefix(self.margin) if line.strip() else "" for line in self.core]


def select_lines(prefix: str, selection: str, suffix: str, *, prose: bool = False) -> SelectedLines:
    """Return the whole lines of a selection. In ``prose``, a colon does not open a block."""
    left = prefix[max(prefix.rfind("\n"), prefix.rfind("\r")) + 1 :]
    before, after = prefix[: len(prefix) - len(left)], suffix
    if selection or not (left + _match(_REST_OF_LINE, suffix)).strip():
        text = left + selection
        if not text.endswith(("\n", "\r")) or not selection:
            rest = _match(_REST_OF_LINE, suffix)
            text, after = text + rest, suffix[len(rest) :]
        margin = ""
    else:
        text, after = "", left + suffix
        margin = _match(_INDENTATION, after)
    raw = tuple(split_lines(text))
    newline = "\r\n" if "\r\n" in before + text + after else "\n"
    filled = [index for index, line in enumerate(raw) if line.strip()]
    if not filled:
        margin = (
            margin or _match(_INDENTATION, raw[0] if raw else "") or ("" if prose else _margin_between(before, after))
        )
        return SelectedLines(before, raw, after, newline, len(raw), 0, margin, "", inserted=True)
    indentations = [_match(_INDENTATION, raw[index]) for index in filled]
    least, most = min(indentations), max(indentations)  # Their common beginning is that of all.
    margin = least[: common_prefix(least, most)]
    opening = indentations[0].removeprefix(margin)
    return SelectedLines(
        before, raw, after, newline, filled[0], len(raw) - 1 - filled[-1], margin, opening, inserted=False
    )


def _margin_between(before: str, after: str) -> str:
    """Return the indentation of lines between two pieces of code.

    The next line's, the last line's if the next line closes a block, or deeper if the last line
    opens a block.
    """
    above = next((line for line in reversed(before.splitlines()) if line.strip()), "")
    below = next((line for line in after.splitlines() if line.strip()), "")
    outer, inner = _indentation(above), _indentation(below)
    is_comment = above.lstrip().startswith(_COMMENTS) and above.rstrip().endswith(":")
    if len(inner) > len(outer) or not above.rstrip().endswith(_OPENINGS) or is_comment:
        return outer if below.lstrip().startswith(_CLOSINGS) else inner
    found = [
        indentation
        for line in (*before.splitlines()[-200:], *after.splitlines()[:200])
        if (indentation := _indentation(line))
    ]
    return outer + ("\t" if any("\t" in one for one in found) else " " * _least_size(found))


class Indentation:
    """Restorer of the indentation of an answer's lines, in order."""

    def __init__(self, selected: SelectedLines) -> None:
        self._selected = selected
        around = [*selected.lines, *split_lines(selected.before)[-200:], *split_lines(selected.after)[:200]]
        found = [indentation for indentation in map(_indentation, around) if indentation]
        self._tabs = any("\t" in one for one in found)
        self._spaces = any("  " in one for one in found)  # A single space belongs to a comment: /**, then " * text"
        self._size = _least_size(found)
        self._answer_size = 0
        self._extra: str | None = None

    def restore(self, line: str) -> str:
        if not line.strip():
            return ""
        indentation, text = _indentation(line), line.lstrip(" \t")
        # A model that adds indentation to the first line adds it to all lines.
        if self._extra is None:
            opening = self._selected.opening
            self._extra = indentation.removesuffix(opening) if indentation.endswith(opening) else ""
            if self._extra == " " and not text.startswith(
                "*"
            ):  # From a model with a first token that begins with a space
                self._extra, indentation = "", opening
        indentation = indentation.removeprefix(self._extra)
        if self._tabs and not self._spaces and " " in indentation:
            spaces = len(indentation.expandtabs(SPACES))
            if not self._answer_size:
                self._answer_size = spaces if spaces in (2, 3) else SPACES
            tabs, rest = divmod(spaces, self._answer_size)
            indentation = "\t" * tabs + " " * rest
        elif self._spaces and not self._tabs:
            indentation = indentation.replace("\t", " " * self._size)
        return self._selected.margin + indentation + text


def without_end(line: str) -> str:
    return line.rstrip("\r\n")


def _least_size(indentations: Sequence[str]) -> int:
    sizes = [len(one) for one in indentations if "\t" not in one]
    return min((size for size in sizes if size > 1), default=SPACES)


def split_lines(text: str) -> list[str]:
    return _LINE.findall(text)


def _indentation(line: str) -> str:
    return _match(_INDENTATION, line)


def _match(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return found[0] if found else ""
