"""The changes from selected lines to new lines, as hunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines
from pellucid.vocabulary.token import Token

LineTokens = Callable[[int, int], tuple[Token, ...]]
"""Returns the tokens of a range of new lines."""


@dataclass(frozen=True, slots=True)
class LineChanges:
    """The new text of a selection, its hunks, and the answer's lines where the hunks begin."""

    text: str
    hunks: Sequence[Hunk] = ()
    starts: Sequence[int] = ()


def _no_tokens(_start: int, _stop: int) -> tuple[Token, ...]:
    return ()


def line_changes(selected: SelectedLines, new: list[str], tokens: LineTokens = _no_tokens) -> LineChanges:
    """Return the changes from selected lines to new lines.

    Unchanged lines keep their line ends. Models omit or add blank lines between functions, so
    changes of blank lines count only without any other change.
    """
    core = () if selected.inserted else selected.core
    kept = selected.raw[selected.leading : selected.leading + len(core)]
    raw: list[str] = [] if selected.inserted else list(selected.raw[: selected.leading])
    hunks: list[Hunk] = []
    starts: list[int] = []
    first = selected.first + (0 if selected.inserted else selected.leading)
    old = [line if line.strip() else "" for line in core]
    steps = list(_steps(old, new))
    is_blank = [not any(map(str.strip, (*old[begin:end], *new[start:stop]))) for _, begin, end, start, stop in steps]
    only_blank = all(blank for blank, step in zip(is_blank, steps, strict=True) if step[0] != "equal")
    for blank, (kind, begin, end, start, stop) in zip(is_blank, steps, strict=True):
        if kind == "equal" or (blank and not only_blank):
            raw += kept[begin:end]
        else:
            # The last line of a document, with new lines below.
            if raw and stop > start and not raw[-1].endswith(("\n", "\r")):
                raw[-1] += selected.newline
            raw += [line + selected.newline for line in new[start:stop]]
            replaced = selected.lines if selected.inserted else core[begin:end]
            hunks.append(Hunk(first + begin, tuple(replaced), tuple(new[start:stop]), tokens(start, stop)))
            starts.append(start)
    raw += [] if selected.inserted else selected.raw[len(selected.raw) - selected.trailing :]
    text = "".join(raw)
    if selected.raw and not selected.raw[-1].endswith(("\n", "\r")):
        text = text.removesuffix(selected.newline)
    elif selected.raw and not text.endswith(("\n", "\r")) and text:
        text += selected.newline
    return LineChanges(text, hunks, starts)


def _steps(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield difflib's steps from old to new lines, with separate steps for outer blank lines."""
    for kind, begin, end, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "replace" or not any(map(str.strip, old[begin:end])) or not any(map(str.strip, new[start:stop])):
            yield kind, begin, end, start, stop
            continue
        first, last = _trimmed(old, begin, end)
        one, other = _trimmed(new, start, stop)
        yield from (
            ("replace", begin, first, start, one),
            ("replace", first, last, one, other),
            ("replace", last, end, other, stop),
        )


def _trimmed(lines: Sequence[str], begin: int, end: int) -> tuple[int, int]:
    """Return a range of lines without its outer blank lines. One line must have text."""
    while not lines[begin].strip():
        begin += 1
    while not lines[end - 1].strip():
        end -= 1
    return begin, end
