"""The changes from selected lines to new lines, as hunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher

from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines
from pellucid.vocabulary.token import Token

LineTokens = Callable[[int, int], tuple[Token, ...]]
"""Returns the tokens of a range of new lines."""


def _no_tokens(_start: int, _stop: int) -> tuple[Token, ...]:
    return ()


def line_changes(selected: SelectedLines, new: Sequence[str], tokens: LineTokens = _no_tokens) -> list[Hunk]:
    """Return the changes from selected lines to new lines.

    Models omit or add blank lines between functions, so changes of blank lines count only without
    any other change.
    """
    core = () if selected.inserted else selected.core
    hunks: list[Hunk] = []
    first = selected.first + (0 if selected.inserted else selected.leading)
    old = [line if line.strip() else "" for line in core]
    steps = [step for step in _steps(old, new) if step[0] != "equal"]
    is_blank = [not any(map(str.strip, (*old[begin:end], *new[start:stop]))) for _, begin, end, start, stop in steps]
    for blank, (_, begin, end, start, stop) in zip(is_blank, steps, strict=True):
        if not blank or all(is_blank):
            replaced = selected.lines if selected.inserted else core[begin:end]
            hunks.append(Hunk(first + begin, tuple(replaced), tuple(new[start:stop]), tokens(start, stop)))
    return hunks


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
