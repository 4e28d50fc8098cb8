"""Whole lines that an edit inserted or deleted, to be inserted or deleted next to similar lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher

from pellucid.code.language_syntax import margin
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.code_tokens import (
    IMPORT,
    code_tokens,
    is_name,
    is_telling,
    is_word,
    lines_with,
    renamed,
    signs,
)
from pellucid.completion.edits.edit_history import Edit

MAX_INSERTED_LINES = 6


def whole_line_changes(edit: Edit, lines: Sequence[str], uri: str, here: bool) -> Iterator[Candidate]:
    at = edit.first
    for kind, _, _, start, stop in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        inserted = edit.new[start:stop]
        if kind == "insert" and here and _may_repeat(inserted, edit.old):
            yield from _insertions(inserted, at + start, lines, uri)
    for deleted in deleted_blocks(edit):
        yield from (one for one in _deletions(deleted, lines, uri) if here or one.old == deleted)


def deleted_blocks(edit: Edit) -> Iterator[tuple[str, ...]]:
    """Yield the deleted lines of an edit that may be deleted elsewhere, too."""
    for kind, begin, end, _, _ in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        if kind == "delete" and _may_repeat(edit.old[begin:end], edit.new):
            yield edit.old[begin:end]


def _may_repeat(block: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether lines are few, no import, and not just moved from or to ``others``."""
    is_moved = set(map(str.strip, block)) <= set(map(str.strip, others))
    return len(block) <= MAX_INSERTED_LINES and not IMPORT.match(block[0]) and not is_moved


def _insertions(inserted: Sequence[str], at: int, lines: Sequence[str], uri: str) -> Iterator[Candidate]:
    """Yield places for lines inserted at line ``at``.

    The places are below lines similar to the line above ``at``, or above lines similar to the line
    below.
    """
    end = at + len(inserted)
    for anchor, offset in ((at - 1, 1), (end, 0)):
        if not 0 <= anchor < len(lines) or not _is_telling_line(lines[anchor]):
            continue
        for index, line in lines_with(_names(lines[anchor]), lines):
            if index == anchor or at <= index < end:
                continue
            words = _same_shape(lines[anchor], line)
            if words is None:
                continue
            outer, inner = margin(lines[anchor]), margin(line)
            copied = [renamed(one, words) for one in inserted]
            new = tuple(inner + one.removeprefix(outer) if one.strip() else one for one in copied)
            place = index + offset
            nearby = lines[max(place - len(new), 0) : place + len(new)]
            if not all(one in nearby for one in new):
                yield Candidate(uri, place, (), new, _share(lines[anchor], words))
        return


def _deletions(deleted: Sequence[str], lines: Sequence[str], uri: str) -> Iterator[Candidate]:
    if not any(_is_telling_line(line) for line in deleted):
        return
    names = _names(deleted[0])
    starts = (index for index, _ in lines_with(names, lines)) if names else range(len(lines))
    for index in starts:
        words: dict[str, str] = {}
        there = tuple(lines[index : index + len(deleted)])
        if len(there) < len(deleted) or not any(map(str.strip, lines[index + len(deleted) :])):
            return  # Without lines below, the model cannot compare the text with and without the lines
        for line, other in zip(deleted, there, strict=True):
            differing = _same_shape(line, other)
            if differing is None or any(words.get(word, text) != text for word, text in differing.items()):
                break
            words |= differing
        else:
            yield Candidate(uri, index, there, (), _share("\n".join(deleted), words))


def _same_shape(line: str, other: str) -> dict[str, str] | None:
    """Return the differing words of two lines of the same shape, else None.

    All signs and at least half of the words must be equal.
    """
    one, two = [sign.text for sign in signs(line)], [sign.text for sign in signs(other)]
    if len(one) != len(two):
        return None
    words: dict[str, str] = {}
    same = names = 0
    for token, counterpart in zip(one, two, strict=True):
        if token == counterpart:
            same += is_word(token)
            names += is_name(token)
        elif is_word(token) and is_word(counterpart) and words.get(token, counterpart) == counterpart:
            words[token] = counterpart
        else:
            return None
    return words if names and same >= len(words) else None


def _share(line: str, words: Mapping[str, str]) -> float:
    all_words = [token for token in code_tokens(line) if is_word(token)]
    return sum(token not in words for token in all_words) / max(len(all_words), 1)


def _names(line: str) -> set[str]:
    return set(filter(is_name, code_tokens(line)))


def _is_telling_line(line: str) -> bool:
    return any(map(is_telling, code_tokens(line)))
