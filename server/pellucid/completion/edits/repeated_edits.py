"""Search for places in a document where an edit can be repeated.

In other documents, more must be equal: a replaced name, or all code around the change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pellucid.completion.context.uris import same_document
from pellucid.completion.edits.argument_changes import argument_changes
from pellucid.completion.edits.bindings import bindings
from pellucid.completion.edits.candidate import NEUTRAL, Candidate, Evidence
from pellucid.completion.edits.code_tokens import IMPORT, code_tokens, is_telling, lines_with, signs
from pellucid.completion.edits.code_view import CodeView
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.renames import foreign, uses
from pellucid.completion.edits.token_changes import Match, Substitution, matches, substituted, substitutions
from pellucid.completion.edits.whole_line_changes import deleted_blocks, whole_line_changes

MAX_EDIT_LINES = 30

MAX_EDIT_CHARACTERS = 4_000
"""Maximum number of characters before and after the edit, together."""

MAX_CANDIDATES = 32


def repeated_edits(
    edit: Edit,
    lines: Sequence[str],
    uri: str | None = None,
    near: int | None = None,
    earlier: Sequence[Edit] = (),
) -> list[Candidate]:
    """Return the places where an edit can be repeated in a document, likeliest first.

    The default document is the edit's own. Of equally likely places, places near to ``near``
    (default: the edit) come first. ``earlier``: the edits before.
    """
    if _is_too_large(edit):
        return []
    here = uri is None or same_document(uri, edit.uri)
    name = edit.uri if uri is None else uri
    view = CodeView(lines, name)
    found: dict[tuple[int, int], Candidate] = {}
    repeats = _is_repeated(edit, earlier)
    for candidate in (
        *argument_changes(edit, view, name, here),
        *_within_lines(edit, view, name, here),
        *whole_line_changes(edit, lines, name, here),
    ):
        if repeats and candidate.evidence is Evidence.ALIKE:
            candidate = replace(candidate, evidence=Evidence.REPEATED)
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
    every = [one.names_elsewhere for one in substitutions(edit)]
    every += [set(filter(is_telling, code_tokens("\n".join(lines)))) for lines in deleted_blocks(edit)]
    # A place has all names of a set, and the longest name is the rarest.
    return {max(names, key=len) for names in every if names}


def _is_repeated(edit: Edit, earlier: Sequence[Edit]) -> bool:
    """Return whether an earlier edit, or a further line of the edit, has the same change."""
    made = [(one.old, one.new) for one in substitutions(edit)]
    if len(made) > len(set(made)) == 1:
        return True
    return bool(made) and any(set(made) == {(one.old, one.new) for one in substitutions(before)} for before in earlier)


def _is_too_large(edit: Edit) -> bool:
    return len(edit.old) + len(edit.new) > MAX_EDIT_LINES or sum(map(len, (*edit.old, *edit.new))) > MAX_EDIT_CHARACTERS


def _within_lines(edit: Edit, view: CodeView, uri: str, here: bool) -> Iterator[Candidate]:
    every = list(dict.fromkeys(substitutions(edit, view.lines if here else ())))
    renamed, places = _renamed(edit, view, every) if here else (set[Substitution](), dict[int, list[Match]]())
    left = [one for one in every if one not in renamed]
    shadows = [] if here else [(one, list(foreign(view, one.old[0]))) for one in left if one.renamed is not None]
    found = dict(lines_with(set[str]().union(*(one.clues for one in left)), view.lines))
    for index in sorted({*found, *places}):
        line = view.lines[index]
        edited = here and edit.first <= index < edit.end
        is_import = IMPORT.match(line) is not None
        shadowed = [one for one, ranges in shadows if any(index in lines for lines in ranges)]
        alike = [
            match if here or not _imports_renamed(edit, one, line) else replace(match, evidence=Evidence.UNDEFINED)
            for one in left
            if index in found and (one.removes or not edited) and one not in shadowed
            for match in matches(one, signs(line), view.code[index])
            if here or one.removes or (match.likeness == 1.0 and not is_import)
        ]
        changed, made = substituted(line, [*places.get(index, ()), *alike])
        if changed != line:
            yield Candidate(uri, index, (line,), (changed,), made[0].likeness, made[0].evidence)


def _imports_renamed(edit: Edit, one: Substitution, line: str) -> bool:
    """Return whether a line imports a name whose definition in the edited document was renamed."""
    module = PurePosixPath(edit.uri).stem
    if one.renamed is None or not IMPORT.match(line) or re.search(rf"\b{re.escape(module)}\b", line) is None:
        return False
    return any(bindings(CodeView(edit.new, edit.uri), one.renamed[1]))


def _renamed(
    edit: Edit, view: CodeView, every: Sequence[Substitution]
) -> tuple[set[Substitution], dict[int, list[Match]]]:
    """Return the substitutions that rename something of this document, and the uses by line."""
    renamed: set[Substitution] = set()
    places: dict[int, list[Match]] = {}
    for one in every:
        if one.renamed is None:
            continue
        old, new = one.renamed
        found = uses(view, old, new, range(edit.first, max(edit.end, edit.first + 1)))
        if found is None:
            continue
        renamed.add(one)
        for use in found:
            evidence = Evidence.UNDEFINED if use.is_sure else Evidence.ALIKE
            likeness = 1.0 if use.is_sure else NEUTRAL
            match = Match(use.column, use.column + len(old), new, likeness, evidence)
            if match not in places.setdefault(use.line, []):
                places[use.line].append(match)
    return renamed, places
