"""Search for the hunks that break the syntax of a file: parse the file with and without hunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from pellucid.code.syntax_check import EXTRA, lacks_grammar, parses
from pellucid.completion.edits.by_instruction.edit_query import Hunk

MAX_PARSED = 2_000_000
"""Maximum characters parsed to find the hunks to blame. For a longer search, all are blamed."""

BROKEN = "The answer does not parse: it brings a syntax error into the file."
UNCHECKED = f'The syntax was not checked: run pip install "{EXTRA}".'


def apply_hunks(lines: Sequence[str], hunks: Sequence[Hunk], newline: str, first: int = 0) -> str:
    """Return lines with hunks applied. ``lines`` have their ends and begin at line ``first``."""
    made: list[str] = []
    at = 0
    for hunk in hunks:
        made += lines[at : hunk.first - first]
        # The last line of a document, with new lines below
        if made and hunk.new and not made[-1].endswith(("\n", "\r")):
            made[-1] += newline
        made += [line + newline for line in hunk.new]
        at = hunk.first - first + len(hunk.old)
    text = "".join([*made, *lines[at:]])
    return text if not lines or lines[-1].endswith(("\n", "\r")) else text.removesuffix(newline)


def check_hunks(
    document: Sequence[str], hunks: Sequence[Hunk], newline: str, language: str
) -> tuple[list[Hunk], str | None]:
    """Return the hunks with ``breaks_syntax``, and a sentence to show, if any.

    Nothing is known of a file with a syntax error before the edit, or without a parser.
    """

    def parse(chosen: Sequence[Hunk]) -> bool | None:
        return parses(apply_hunks(document, chosen, newline), language)

    if not hunks or lacks_grammar(language):
        return list(hunks), UNCHECKED if hunks else None
    if not parse(()) or (whole := parse(hunks)) is None:
        return list(hunks), None
    if whole:
        return [replace(hunk, breaks_syntax=False) for hunk in hunks], None
    broken: Collection[int] = range(len(hunks))
    if 2 * len(hunks) * sum(map(len, document)) <= MAX_PARSED:
        broken = _blamed(hunks, parse)
    return [replace(hunk, breaks_syntax=number in broken) for number, hunk in enumerate(hunks)], BROKEN


def _blamed(hunks: Sequence[Hunk], parse: Callable[[Sequence[Hunk]], bool | None]) -> set[int]:
    """Return the numbers of hunks without which the file parses.

    A single hunk is blamed if possible: two hunks may open and close a bracket. Otherwise each hunk
    is added to the hunks above, and blamed if the file no longer parses.
    """
    for number in range(len(hunks)):
        if len(hunks) > 1 and parse([*hunks[:number], *hunks[number + 1 :]]):
            return {number}
    kept: list[int] = []
    for number in range(len(hunks)):
        if parse([hunks[one] for one in (*kept, number)]):
            kept.append(number)
    return set(range(len(hunks))) - set(kept)
