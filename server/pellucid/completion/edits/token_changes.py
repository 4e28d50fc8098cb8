"""Changed tokens of a line, and the like tokens of other lines.

Words around may differ, such as names of arguments; equal words in the new tokens are replaced
accordingly.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from pellucid.code.language_syntax import margin
from pellucid.completion.edits.candidate import Evidence
from pellucid.completion.edits.code_tokens import (
    Sign,
    code_tokens,
    depth,
    is_compound,
    is_name,
    is_telling,
    is_word,
    renamed,
)
from pellucid.completion.edits.code_view import CodeView, Role, role_of
from pellucid.completion.edits.edit_history import Edit

CONTEXT_TOKENS = 4

TRUTH = frozenset(["True", "False", "None", "true", "false", "null", "nil", "undefined"])

_FIXED = "self this super int str float bool string void char double long"
FIXED = TRUTH | frozenset(_FIXED.split())
"""Words that an edit replaces without renaming anything."""

QUOTES = ('"', "'", "`")

CONSTANT = 0.9
"""Least likeness of two places with the same string."""

MAX_GAP = 2
"""Changes with at most this many tokens between are joined."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """A change in a line: tokens ``old`` between ``left`` and ``right`` become text ``new``.

    ``left`` has the nearest token last. ``joins_left``: an insertion without a space before.
    ``role``: of the old tokens. ``is_alone``: the tokens next to the change stay.
    """

    left: tuple[str, ...]
    old: tuple[str, ...]
    right: tuple[str, ...]
    new: str
    joins_left: bool
    role: Role
    is_alone: bool

    @property
    def renamed(self) -> tuple[str, str] | None:
        """The old and the new name, if nothing but a name was replaced by a name."""
        if len(self.old) > 1 or not self.is_alone or self.role is not Role.CODE:
            return None
        is_rename = all(is_name(one) and one not in FIXED for one in (*self.old, self.new))
        return (self.old[0], self.new) if self.old and is_rename else None

    def fits(self, role: Role) -> bool:
        """Return whether the old tokens mean the same in code, in a string or in a comment."""
        return role is self.role or (self.role is Role.CODE and len(self.old) == 1 and is_compound(self.old[0]))

    @property
    def removes(self) -> bool:
        """True if a telling name is removed, so an edited line may contain the name again."""
        return self.is_telling and not set(self.old) & set(code_tokens(self.new))

    @property
    def subject(self) -> str:
        """The name before a changed number or truth value, which a place must have, too."""
        words = list(filter(is_word, self.old))
        if not words or not all(one[0].isdigit() or one in TRUTH for one in words):
            return ""
        return next(filter(is_name, reversed(self.left)), "")

    @property
    def is_constant(self) -> bool:
        """True if a string was replaced as a whole."""
        return self.role is Role.STRING and bool(self.left and self.right) and self.left[-1] == self.right[0] in QUOTES

    @property
    def names_elsewhere(self) -> set[str]:
        """The names that a line of a different document must all have."""
        return set(filter(is_telling, self.old if self.removes else (*self.left, *self.right)))

    @property
    def is_telling(self) -> bool:
        return any(map(is_telling, self.old))

    @property
    def clues(self) -> set[str]:
        """The names of which a line must have at least one."""
        return set(filter(is_telling, (*self.left, *self.old, *self.right)))


@dataclass(frozen=True, slots=True)
class Match:
    begin: int
    end: int
    text: str
    likeness: float
    evidence: Evidence = Evidence.ALIKE


def substituted(line: str, matches: Sequence[Match]) -> tuple[str, list[Match]]:
    """Return the line with the best non-overlapping matches made, and these matches, best first."""
    kept: list[Match] = []
    for match in sorted(matches, key=lambda one: -one.likeness):
        if all(match.end <= other.begin or match.begin >= other.end for other in kept) and not _is_done(line, match):
            kept.append(match)
    changed = line
    for match in sorted(kept, key=lambda one: -one.begin):
        changed = changed[: match.begin] + match.text + changed[match.end :]
    return changed, kept


def _is_done(line: str, match: Match) -> bool:
    """Return whether a line already has a match's new text, around or instead of the old."""
    old = line[match.begin : match.end]
    at = match.text.find(old)
    while at >= 0:
        begin = match.begin - at
        if begin >= 0 and line[begin : begin + len(match.text)] == match.text:
            return bool(match.text)
        at = match.text.find(old, at + 1) if old else -1
    return False


def substitutions(edit: Edit, lines: Sequence[str] = ()) -> Iterator[Substitution]:
    """Yield the changed tokens of an edit. ``lines``: the edited document, if at hand."""
    view = CodeView((*lines[: edit.first], *edit.old, *lines[edit.end :]), edit.uri)
    for first, old, new in changed_blocks(edit):
        at = edit.first + first if lines else first
        code = "\n".join(view.code[at : at + len(old)])
        written = "\n".join(CodeView(new, edit.uri).code)
        before, after = code_tokens("\n".join(old)), code_tokens("\n".join(new))
        for begin, end, start, stop in _changes(before, after):
            if "\n" in before[begin:end] or "\n" in after[start:stop]:
                continue
            replaced = tuple(token for token in before[begin:end] if not token.isspace())
            text = "".join(after[start:stop])
            # Skip a bracket with its counterpart on a different line.
            if not (replaced or text.strip()) or depth("".join(replaced)) != depth(text):
                continue
            if not replaced and role_of(written[len("".join(after[:start])) :].lstrip()[:1]) is Role.COMMENT:
                continue
            outer = "".join(before[begin:end])
            if replaced:  # The spaces around the replaced tokens stay
                text = text.removeprefix(margin(outer))
                text = text.removesuffix(outer[len(outer.rstrip()) :])
            left = _signs_of(before[:begin], reverse=True)
            right = _signs_of(before[end:], reverse=False)
            if replaced or left or right:
                place = len("".join(before[:begin])) + len(outer) - len(outer.lstrip())
                around = _signs_of(after[:start], reverse=True)[:2], _signs_of(after[stop:], reverse=False)[:2]
                yield Substitution(
                    tuple(reversed(left)),
                    replaced,
                    tuple(right),
                    text,
                    begin > 0 and not before[begin - 1].isspace(),
                    role_of(code[place : place + 1]) if replaced else Role.CODE,
                    (left[:2], right[:2]) == around,
                )


def changed_blocks(edit: Edit) -> Iterator[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Yield the index of replaced lines in the edit's old lines, and the old and new lines."""
    for kind, begin, end, start, stop in SequenceMatcher(None, edit.old, edit.new, autojunk=False).get_opcodes():
        if kind == "replace":
            yield begin, edit.old[begin:end], edit.new[start:stop]


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
            is_open = depth("".join(before[first:last])) != depth("".join(after[one:other]))
            if (is_open or begin - last <= MAX_GAP) and "\n" not in before[last:begin]:
                changes[-1] = (first, end, one, stop)
                continue
        changes.append((begin, end, start, stop))
    return changes


def matches(substitution: Substitution, signs: Sequence[Sign], code: str) -> Iterator[Match]:
    """Yield the places of a line for a substitution. ``code``: the line with strings masked."""
    texts = [sign.text for sign in signs]
    size = len(substitution.old)
    new = code_tokens(substitution.new)
    for at in range(len(signs) - size + 1 if size else len(signs) + 1):
        words = _others(substitution.old, texts[at : at + size], new)
        if words is None:
            continue
        if size and not substitution.fits(role_of(code[signs[at].begin : signs[at].begin + 1])):
            continue
        differing = sum(token in words for token in substitution.old)
        before, after = texts[max(at - CONTEXT_TOKENS, 0) : at], texts[at + size : at + size + CONTEXT_TOKENS]
        if substitution.subject and next(filter(is_name, reversed(before)), "") != substitution.subject:
            continue
        left = _alike(reversed(substitution.left), reversed(before), words)
        right = _alike(substitution.right, after, words)
        is_certain = substitution.is_telling and not differing
        same = [*left, *right, *(token for token in substitution.old if token not in words)]
        if not is_certain and not _is_enough(substitution, len(left) + len(right), same):
            continue
        around = len(substitution.left) + len(substitution.right) + size
        around -= _numbers(reversed(substitution.left), reversed(before)) + _numbers(substitution.right, after)
        likeness = (len(left) + len(right) + size - differing) / around if around else 1.0
        if substitution.is_constant and _is_constant(texts, at, size):
            likeness = max(likeness, CONSTANT)
        text = renamed(substitution.new, words)
        if size:
            yield Match(signs[at].begin, signs[at + size - 1].end, text, likeness)
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
            yield Match(place, place, text, likeness)


def _is_constant(texts: Sequence[str], at: int, size: int) -> bool:
    return at > 0 and at + size < len(texts) and texts[at - 1] == texts[at + size] in QUOTES


def _numbers(expected: Iterable[str], texts: Iterable[str]) -> int:
    """Return how many pairs are different numbers, which make code no less alike."""
    pairs = zip(expected, texts, strict=False)
    return sum(one != other and one[0].isdigit() and other[0].isdigit() for one, other in pairs)


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


def _is_enough(substitution: Substitution, alike: int, same: Sequence[str]) -> bool:
    """Return whether there is an equal name, and half of the tokens around are equal."""
    return any(map(is_telling, same)) and 2 * alike >= len(substitution.left) + len(substitution.right)


def _signs_of(tokens: Sequence[str], *, reverse: bool) -> list[str]:
    """Return the tokens next to a change, nearest first; ``reverse``: before the change."""
    nearest: list[str] = []
    for sign in reversed(tokens) if reverse else tokens:
        if sign == "\n" or len(nearest) == CONTEXT_TOKENS:
            break
        if not sign.isspace():
            nearest.append(sign)
    return nearest
