"""Draws the edits to measure; each represents several edits of the same kind."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.next_edits.edit_cases import EditCase, FileChange, cases
from pellucid.learn.next_edits.git_history import commit_changes, is_repository
from pellucid.learn.next_edits.release_folders import release_changes
from pellucid.system.progress import Progress

PER_UNIT = 30

READ_EDITS = 140
"""An edit takes seconds on a CPU."""

FREE = 300
"""Maximum edits without a proposal, per kind; these edits need no scoring."""


class EditKind(StrEnum):
    """Kinds of edits, by the proposals and by further changes in the later version."""

    ABLE = "a right proposal"
    UNABLE = "wrong proposals only, more to change"
    UNABLE_LAST = "wrong proposals only, nothing more to change"
    NONE = "no proposal, more to change"
    NONE_LAST = "no proposal, nothing more to change"

    @property
    def is_read(self) -> bool:
        return self not in (EditKind.NONE, EditKind.NONE_LAST)


@dataclass(frozen=True, slots=True)
class EditSample:
    """``totals`` is the number of all edits by kind, ``units`` the number of packages or commits.

    ``digest`` identifies all edits with their proposals.
    """

    cases: tuple[tuple[EditCase, EditKind], ...]
    totals: Mapping[EditKind, int]
    units: int
    digest: str

    @property
    def has_more_right_ones(self) -> bool:
        """True if a larger limit would draw more edits with a right proposal."""
        return sum(kind is EditKind.ABLE for _, kind in self.cases) < self.totals[EditKind.ABLE]

    def __str__(self) -> str:
        every = sum(self.totals.values())
        followed = every - self.totals[EditKind.UNABLE_LAST] - self.totals[EditKind.NONE_LAST]
        proposals = sum(total for kind, total in self.totals.items() if kind.is_read)
        read = sum(kind.is_read for _, kind in self.cases)
        drawn = {kind for _, kind in self.cases}
        missing = "; ".join(kind for kind, total in self.totals.items() if total and kind not in drawn)
        warning = (
            f" None was drawn of these kinds, so the figures lack them: {missing}. Use a larger --limit."
            if missing
            else ""
        )
        return (
            f"{every:,} edits in {self.units:,} packages or commits, {followed:,} with more to change in the "
            f"same file. {proposals:,} have proposals, {self.totals[EditKind.ABLE]:,} a right one. Measured "
            f"are {read:,} of them, and each represents others of its kind.{warning}"
        )


def draw_edits(path: Path, limit: int | None, progress: Progress) -> EditSample:
    """Draw edits from a git repository's last commits or from folders of releases."""
    found = list(_units(commit_changes(path, progress) if is_repository(path) else release_changes(path, progress)))
    every = [case for unit in found for case in unit]
    progress.start("looking for proposals", len(every))
    kinds: dict[EditKind, list[EditCase]] = {kind: [] for kind in EditKind}
    for case in every:
        kinds[_kind(case)].append(case)
        progress.advance(1)
    if not any(kinds[kind] for kind in EditKind if kind.is_read):
        raise InvalidRequestError(
            f"After none of the {len(every):,} edits in {path} is the same change possible elsewhere in the "
            "file: name a longer history."
        )
    totals = {kind: len(some) for kind, some in kinds.items()}
    most = _shares(totals, READ_EDITS if limit is None else limit) | {EditKind.NONE: FREE, EditKind.NONE_LAST: FREE}
    drawn = [(case, kind) for kind, some in kinds.items() for case in sorted(some, key=_by_hash)[: most[kind]]]
    return EditSample(tuple(drawn), totals, len(found), _digest(every))


def _shares(totals: Mapping[EditKind, int], limit: int) -> dict[EditKind, int]:
    """Divide scored edits among kinds: half with a right proposal, a quarter of each wrong kind.

    Unused places go to the other kinds. A larger limit never reduces a share.
    """
    shares = {kind: 0 for kind in EditKind if kind.is_read}
    for place in range(min(limit, sum(totals[kind] for kind in shares))):
        unable = [kind for kind in (EditKind.UNABLE, EditKind.UNABLE_LAST) if shares[kind] < totals[kind]]
        is_able = shares[EditKind.ABLE] < totals[EditKind.ABLE] and (place % 2 == 0 or not unable)
        shares[EditKind.ABLE if is_able else min(unable, key=shares.__getitem__)] += 1
    return shares


def _units(changes: Iterable[FileChange]) -> Iterator[list[EditCase]]:
    for _, files in groupby(changes, lambda change: change.unit):
        found = [case for change in files for case in cases(change)]
        if found:
            yield sorted(found, key=_by_hash)[:PER_UNIT]


def _kind(case: EditCase) -> EditKind:
    if not case.proposals:
        return EditKind.NONE if case.following else EditKind.NONE_LAST
    if any(map(case.is_right, case.proposals)):
        return EditKind.ABLE
    return EditKind.UNABLE if case.following else EditKind.UNABLE_LAST


def _by_hash(case: EditCase) -> str:
    """Return a key for a fixed random order, in which a larger sample extends a smaller sample."""
    return hashlib.sha256(case.id.encode(errors="replace")).hexdigest()


def _digest(every: Iterable[EditCase]) -> str:
    found = hashlib.sha256()
    for case in every:
        found.update(repr((case.id, case.lines, case.edit, case.following, case.proposals)).encode(errors="replace"))
    return found.hexdigest()[:16]


def weights(drawn: Iterable[tuple[str, int]]) -> dict[str, float]:
    """Return the number of edits represented by a drawn edit, by kind.

    ``drawn`` has the kind of each drawn edit, with the total of the kind.
    """
    pairs = list(drawn)
    counts = Counter(kind for kind, _ in pairs)
    return {kind: total / counts[kind] for kind, total in pairs}
