"""Makes cases of next edits: a file after a change, and the changes that follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from urllib.parse import quote

from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.code_tokens import code_tokens
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.edit_judge import READ
from pellucid.completion.edits.repeated_edits import MAX_EDIT_CHARACTERS, repeated_edits

MAX_BYTES = 100_000
MAX_LINES = 2500
MAX_HUNKS = 40
"""Files with more text or changes are generated or moved."""

KEYS_FOR_A_SUGGESTION = 2
"""Keys for jumping to a suggestion and for accepting."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """Consecutive versions. ``unit`` is the package or the commit."""

    unit: str
    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """Replaces the lines ``old`` from line ``first`` by ``new``."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def end(self) -> int:
        return self.first + len(self.old)


@dataclass(frozen=True)
class EditCase:
    id: str
    unit: str
    lines: tuple[str, ...]
    edit: Edit
    following: tuple[Hunk, ...]

    @cached_property
    def proposals(self) -> tuple[Candidate, ...]:
        """As many proposals as an editor would let the model score."""
        return tuple(repeated_edits(self.edit, self.lines)[:READ])

    def is_found(self, proposal: Candidate) -> bool:
        """Return True if the later version changes these lines or inserts lines there."""
        end = proposal.first + len(proposal.old)
        if not proposal.old:
            return any(hunk.first <= proposal.first <= hunk.end for hunk in self.following)
        return any(hunk.first < end and proposal.first < hunk.end for hunk in self.following)

    def is_right(self, proposal: Candidate) -> bool:
        size = len(proposal.new)
        for hunk in self.following:
            if not hunk.first <= proposal.first <= proposal.first + len(proposal.old) <= hunk.end:
                continue
            if size and any(hunk.new[at : at + size] == proposal.new for at in range(len(hunk.new) - size + 1)):
                return True
            if not size and not set(proposal.old) & set(hunk.new):
                return True
        return False

    def saved(self, proposal: Candidate) -> int:
        """Return the keys saved by a right proposal; may be negative."""
        return keystrokes(proposal.old, proposal.new) - KEYS_FOR_A_SUGGESTION

    @property
    def keystrokes(self) -> int:
        return sum(keystrokes(hunk.old, hunk.new) for hunk in self.following)


def cases(change: FileChange) -> Iterator[EditCase]:
    """Yield the file after each change, from top to bottom."""
    old, new = change.old.split("\n"), change.new.split("\n")
    if max(len(old), len(new)) > MAX_LINES:
        return
    hunks = list(hunks_between(old, new))
    if len(hunks) > MAX_HUNKS:
        return
    uri = f"file:///{quote(change.name)}"
    lines, shift = old, 0
    for index, hunk in enumerate(hunks):
        at = hunk.first + shift
        lines[at : at + len(hunk.old)] = hunk.new
        shift += len(hunk.new) - len(hunk.old)
        following = tuple(Hunk(one.first + shift, one.old, one.new) for one in hunks[index + 1 :])
        yield EditCase(
            f"{change.unit}/{change.name}/{index}",
            change.unit,
            tuple(lines),
            Edit(uri, at, hunk.old, hunk.new),
            following,
        )


def keystrokes(old: Sequence[str], new: Sequence[str]) -> int:
    """Return the keys for typing a change: the characters of new words, one key per deletion."""
    total = 0
    for kind, begin, end, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "delete":
            total += 1
        elif kind == "insert":
            total += sum(len(line) + 1 for line in new[start:stop])
        elif kind == "replace":
            total += _keystrokes_within("\n".join(old[begin:end]), "\n".join(new[start:stop]))
    return total


def _keystrokes_within(old: str, new: str) -> int:
    # Almost a complete rewrite.
    if len(old) + len(new) > MAX_EDIT_CHARACTERS:
        return len(new)
    before, after = code_tokens(old), code_tokens(new)
    opcodes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return sum(
        1 if kind == "delete" else len("".join(after[start:stop]))
        for kind, _, _, start, stop in opcodes
        if kind != "equal"
    )


def hunks_between(old: Sequence[str], new: Sequence[str]) -> Iterator[Hunk]:
    """Yield the changes between two texts. Changes with one line between are merged."""
    spans: list[tuple[int, int, int, int]] = []
    for kind, begin, end, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if spans and begin - spans[-1][1] <= 1:
            spans[-1] = (spans[-1][0], end, spans[-1][2], stop)
        else:
            spans.append((begin, end, start, stop))
    for begin, end, start, stop in spans:
        yield Hunk(begin, tuple(old[begin:end]), tuple(new[start:stop]))
