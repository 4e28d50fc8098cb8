"""Search for places in a document where an edit can be repeated.

In other documents, more must be equal: a replaced name, or all code around the change.

A change of tokens is searched with the tokens around. Words around may differ, such as names of
arguments; equal words in the new tokens are replaced accordingly. Whole lines are inserted and
deleted next to similar lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pellucid.completion.context.uris import same_document
from pellucid.completion.edits.code_tokens import code_tokens, is_name, is_word
from pellucid.completion.edits.edit_history import Edit

MAX_EDIT_LINES = 30

MAX_EDIT_CHARACTERS = 4_000
"""Maximum number of characters before and after the edit, together."""

MAX_LINE_CHARACTERS = 1_000
"""Longer lines are data or generated; nothing is repeated there."""

MAX_INSERTED_LINES = 6

MAX_CANDIDATES = 32

CONTEXT_TOKENS = 4

MAX_GAP = 2
"""Changes with at most this many tokens between are joined."""

TELLING_LETTERS = 3
"""Minimum length of a name that identifies code without the text around."""

_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|#\s*include)\b")
"""Lines that a document has only once."""

_INDENTATION = re.compile(r"[ \t]*")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible next change: lines ``old`` from line ``first`` (from 0) become ``new``.

    ``likeness``: the equal share of the code around the edit, from 0 to 1.
    """

    uri: str
    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    likeness: float

    def overlaps(self, other: Candidate) -> bool:
        """Return whether both change the same lines, or insert lines at the same place."""
        if self.first == other.first and not self.old and not other.old:
            return True
        return self.first < other.first + len(other.old) and other.first < self.first + len(self.old)


@dataclass(frozen=True, slots=True)
class _Sign:
    """A token other than space, and its place in a line."""

    text: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class _Substitution:
    """A change in a line: tokens ``old`` between ``left`` and ``right`` become text ``new``.

    ``left`` has the nearest token last. ``joins_left``: an insertion without a space before.
    """

    left: tuple[str, ...]
    old: tuple[str, ...]
    right: tuple[str, ...]
    new: str
    joins_left: bool

    @property
    def removes(self) -> bool:
        """True if a telling name is removed, so an edited line may contain the name again."""
        return self.is_telling and not set(self.old) & set(code_tokens(self.new))

    @property
    def names_elsewhere(self) -> set[str]:
        """The names that a line of a different document must all have."""
        return set(filter(_is_telling, self.old if self.removes else (*self.left, *self.right)))

    @property
    def is_telling(self) -> bool:
        return any(map(_is_telling, self.old))

    @property
    def clues(self) -> set[str]:
        """The names of which a line must have at least one."""
        return set(filter(_is_telling, (*self.left, *self.old, *self.right)))


@dataclass(frozen=True, slots=True)
class _Match:
    begin: int
    end: int
    text: str
    likeness: float


def repeated_edits(
    edit: Edit, lines: Sequence[str], uri: str | None = None, near: int | None = None
) -> list[Candidate]:
    """Return the places where an edit can be repeated in a document, likeliest first.

    The default document is the edit's own. Of equally likely places, places near to ``near``
    (default: the edit) come first.
    """
    if _is_too_large(edit):
        return []
    here = uri is None or same_document(uri, edit.uri)
    name = edit.uri if uri is None else uri
    found: dict[tuple[int, int], Candidate] = {}
    for candidate in (*_within_lines(edit, lines, name, here), *_whole_lines(edit, lines, name, here)):
        place = candidate.first, len(candidate.old)
        if place not in found or found[place].likeness < candidate.likeness:
            found[place] = candidate
    kept: list[Candidate] = []
    middle = edit.first if near is None else near
    for candidate in sorted(found.values(), key=lambda one: (-one.likeness, abs(one.first - middle))):
        if not any(candidate.overlaps(other) for other in kept):
            kept.append(candidate)
        if len(kept) == MAX_CANDIDATES:
            break
    return kept


def names_to_search(edit: Edit) -> set[str]:
    """Return the names of which a different document must have at least one."""
    if _is_too_large(edit):
        return set()
    every = [one.names_elsewhere for one in _substitutions(edit)]
    every += [
        set(filter(_is_telling, code_tokens("\n".join(lines))))
        for lines in _deleted_blocks(edit)
        if not _IMPORT.match(lines[0])
    ]
    # A place has all names of a set, and the longest name is the rarest.
    return {max(names, key=len) for names in every if names}


def _is_too_large(edit: Edit) -> bool:
    return len(edit.old) + len(edit.new) > MAX_EDIT_LINES or sum(map(len, (*edit.old, *edit.new))) > MAX_EDIT_CHARACTERS


def _within_lines(edit: Edit, lines: Sequence[str], uri: str, here: bool) -> Iterator[Candidate]:
    substitutions = list(dict.fromkeys(_substitutions(edit)))
    for index, line in _lines_with(set[str]().union(*(one.clues for one in substitutions)), lines):
        edited = here and edit.first <= index < edit.end
        signs = _signs(line)
        is_import = _IMPORT.match(line) is not None
        matches = [
            match
            for one in substitutions
            if one.removes or not edited
            for match in _matches(one, signs)
            if here or one.removes or (match.likeness == 1.0 and not is_import)
        ]
        changed, likeness = _substituted(line, matches)
        if changed != line:
            yield Candidate(uri, index, (line,), (changed,), likeness)


def _lines_with(names: Collection[str], lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the indexed lines with any of the names, because only these need tokenization."""
    if names:
        pattern = re.compile("|".join(map(re.escape, names)))
        for index, line in enumerate(lines):
            if len(line) <= MAX_LINE_CHARACTERS and pattern.search(line):
                yield index, line


def _substituted(line: str, matches: Sequence[_Match]) -> tuple[str, float]:
    """Return the line with the best non-overlapping matches made, and the largest likeness."""
    kept: list[_Match] = []
    for match in sorted(matches, key=lambda one: -one.likeness):
        if all(match.end <= other.begin or match.begin >= other.end for other in kept) and not _is_done(line, match):
            kept.append(match)
    changed = line
    for match in sorted(kept, key=lambda one: -one.begin):
        changed = changed[: match.begin] + match.text + changed[match.end :]
    return changed, max((match.likeness for match in kept), default=0.0)


def _is_done(line: str, match: _Match) -> bool:
    """Return whether a line already has a match's new text, around or instead of the old."""
    old = line[match.begin : match.end]
    at = match.text.find(old)
    while at >= 0:
        begin = match.begin - at
        if begin >= 0 and line[begin : begin + len(match.text)] == match.text:
            return bool(match.text)
        at = match.text.find(old, at + 1) if old else -1
    return False


def _substitutions(edit: Edit) -> Iterator[_Substitution]:
    for old, new in _changed_blocks(edit):
        before, after = code_tokens("\n".join(old)), code_tokens("\n".join(new))
        for begin, end, start, stop in _changes(before, after):
            if "\n" in before[begin:end] or "\n" in after[start:stop]:
                continue
            replaced = tuple(token for token in before[begin:end] if not token.isspace())
            text = "".join(after[start:stop])
            # Skip a bracket with its counterpart on a different line.
            if not (replaced or text.strip()) or _depth("".join(replaced)) != _depth(text):
                continue
            if replaced:  # The spaces around the replaced tokens stay
                outer = "".join(before[begin:end])
                text = text.removeprefix(outer[: len(outer) - len(outer.lstrip())])
                text = text.removesuffix(outer[len(outer.rstrip()) :])
            left = _signs_of(before[:begin], reverse=True)
            right = _signs_of(before[end:], reverse=False)
            if replaced or left or right:
                yield _Substitution(
                    tuple(reversed(left)), replaced, tuple(right), text, begin > 0 and not before[begin - 1].isspace()
                )


def _changed_blocks(edit: Edit) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for kind, begin, end, start, stop in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        if kind == "replace":
            yield edit.old[begin:end], edit.new[start:stop]


def _changes(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Return the ranges of differing tokens.

    Ranges in a line are joined if only few tokens, or a pair of brackets, are between.
    """
    changes: list[tuple[int, int, int, int]] = []
    for kind, begin, end, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if changes:
            first, last, one, other = changes[-1]
            is_open = _depth("".join(before[first:last])) != _depth("".join(after[one:other]))
            if (is_open or begin - last <= MAX_GAP) and "\n" not in before[last:begin]:
                changes[-1] = (first, end, one, stop)
                continue
        changes.append((begin, end, start, stop))
    return changes


def _matches(substitution: _Substitution, signs: Sequence[_Sign]) -> Iterator[_Match]:
    texts = [sign.text for sign in signs]
    size = len(substitution.old)
    new = code_tokens(substitution.new)
    for at in range(len(signs) - size + 1 if size else len(signs) + 1):
        words = _others(substitution.old, texts[at : at + size], new)
        if words is None:
            continue
        is_other = bool(words)
        left = _alike(reversed(substitution.left), reversed(texts[max(at - CONTEXT_TOKENS, 0) : at]), words)
        right = _alike(substitution.right, texts[at + size : at + size + CONTEXT_TOKENS], words)
        is_certain = substitution.is_telling and not is_other
        if not is_certain and not _is_enough(substitution, left, right):
            continue
        around = len(substitution.left) + len(substitution.right)
        likeness = (len(left) + len(right)) / around if around else 1.0
        text = _renamed(substitution.new, words)
        if size:
            yield _Match(signs[at].begin, signs[at + size - 1].end, text, likeness)
        else:
            place = (
                signs[at - 1].end
                if at and (substitution.joins_left or at == len(signs))
                else signs[at].begin
                if signs
                else 0
            )
            if "".join(texts[at : at + len(new)]).startswith("".join(text.split())):
                continue  # The text is already there
            yield _Match(place, place, text, likeness)


def _others(old: Sequence[str], texts: Sequence[str], new: Collection[str]) -> dict[str, str] | None:
    """Return the differing words of the replaced tokens and ``texts``; None without a match.

    Only a word that is also in the new text may differ.
    """
    words: dict[str, str] = {}
    for expected, text in zip(old, texts, strict=True):
        if expected != text:
            if not (is_word(expected) and is_word(text) and expected in new and words.get(expected, text) == text):
                return None
            words[expected] = text
    return words


def _alike(
    expected: Sequence[str] | Iterator[str], texts: Sequence[str] | Iterator[str], words: dict[str, str]
) -> list[str]:
    """Return the equal tokens, nearest first, up to a dissimilar token.

    Differing words are added to ``words``.
    """
    same: list[str] = []
    for one, other in zip(expected, texts, strict=False):
        if one == other:
            same.append(one)
        elif is_word(one) and is_word(other):
            words.setdefault(one, other)
        else:
            break
    return same


def _is_enough(substitution: _Substitution, left: Sequence[str], right: Sequence[str]) -> bool:
    """Return whether the text around has an equal name, and half of the tokens are equal."""
    around = len(substitution.left) + len(substitution.right)
    same = [*left, *right]
    return any(map(_is_telling, same)) and 2 * len(same) >= around


def _renamed(text: str, words: Mapping[str, str]) -> str:
    return "".join(words.get(token, token) for token in code_tokens(text)) if words else text


def _whole_lines(edit: Edit, lines: Sequence[str], uri: str, here: bool) -> Iterator[Candidate]:
    at = edit.first
    for kind, _, _, start, stop in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        if kind == "insert" and stop - start <= MAX_INSERTED_LINES and here and not _IMPORT.match(edit.new[start]):
            yield from _insertions(edit.new[start:stop], at + start, lines, uri)
    for deleted in _deleted_blocks(edit):
        if here or not _IMPORT.match(deleted[0]):
            yield from (one for one in _deletions(deleted, lines, uri) if here or one.old == deleted)


def _deleted_blocks(edit: Edit) -> Iterator[tuple[str, ...]]:
    for kind, begin, end, _, _ in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        if kind == "delete" and end - begin <= MAX_INSERTED_LINES:
            yield edit.old[begin:end]


def _insertions(inserted: Sequence[str], at: int, lines: Sequence[str], uri: str) -> Iterator[Candidate]:
    """Yield places for lines inserted at line ``at``.

    The places are below lines similar to the line above ``at``, or above lines similar to the line
    below.
    """
    end = at + len(inserted)
    for anchor, offset in ((at - 1, 1), (end, 0)):
        if not 0 <= anchor < len(lines) or not _is_telling_line(lines[anchor]):
            continue
        for index, line in _lines_with(_names(lines[anchor]), lines):
            if index == anchor or at <= index < end:
                continue
            words = _same_shape(lines[anchor], line)
            if words is None:
                continue
            outer, inner = _indentation(lines[anchor]), _indentation(line)
            renamed = [_renamed(one, words) for one in inserted]
            new = tuple(inner + one.removeprefix(outer) if one.strip() else one for one in renamed)
            place = index + offset
            nearby = lines[max(place - len(new), 0) : place + len(new)]
            if not all(one in nearby for one in new):
                yield Candidate(uri, place, (), new, _share(lines[anchor], words))
        return


def _deletions(deleted: Sequence[str], lines: Sequence[str], uri: str) -> Iterator[Candidate]:
    if not any(_is_telling_line(line) for line in deleted):
        return
    names = _names(deleted[0])
    starts = (index for index, _ in _lines_with(names, lines)) if names else range(len(lines))
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
    one, two = [sign.text for sign in _signs(line)], [sign.text for sign in _signs(other)]
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
    return any(map(_is_telling, code_tokens(line)))


def _is_telling(token: str) -> bool:
    return is_name(token) and len(token) >= TELLING_LETTERS


def _indentation(line: str) -> str:
    found = _INDENTATION.match(line)
    return found[0] if found else ""


def _signs(line: str) -> list[_Sign]:
    signs, at = [], 0
    for token in code_tokens(line):
        if not token.isspace():
            signs.append(_Sign(token, at, at + len(token)))
        at += len(token)
    return signs


def _signs_of(tokens: Sequence[str], *, reverse: bool) -> list[str]:
    """Return the tokens next to a change, nearest first; ``reverse``: before the change."""
    nearest: list[str] = []
    for sign in reversed(tokens) if reverse else tokens:
        if sign == "\n" or len(nearest) == CONTEXT_TOKENS:
            break
        if not sign.isspace():
            nearest.append(sign)
    return nearest


def _depth(text: str) -> int:
    return sum((sign in "([{") - (sign in ")]}") for sign in text)
