"""Tests for the selected code, below the code: the question, and a check of the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pellucid.code.language_syntax import find_syntax
from pellucid.code.syntax_check import parses
from pellucid.completion.edits.by_instruction.added_imports import blank_lines
from pellucid.completion.edits.by_instruction.edit_prompt import EditPrompt
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines, select_lines, split_lines

INSTRUCTION = "Write tests for this."

NOTHING_TO_TEST = "Tests are written for functions and classes that are not indented: select a whole one."
NO_TESTS = "The model wrote no tests of {}: select a single function, or try another seed."

_DEFINITION = re.compile(
    r"^(?:(?:export|default|async|pub|public|static)[ \t]+)*"
    r"(?:(?:def|class|function|func|fn|fun)[ \t]+(\w+)|(?:const|let)[ \t]+(\w+)[ \t]*=[^\n]*=>)",
    re.MULTILINE,
)
_ASSERTION = re.compile(r"assert|expect|raises|should|\bt\.(?:Error|Fatal)", re.IGNORECASE)


def names_to_test(selection: str) -> list[str]:
    """Return the functions and classes that a text defines at the margin."""
    return [found[1] or found[2] for found in _DEFINITION.finditer(selection)]


def tests_below(
    query: EditQuery, selected: SelectedLines, names: Sequence[str], language: str
) -> tuple[SelectedLines, EditPrompt]:
    """Return the place below the selection, and a prompt with the selection as the only code.

    With the code around the selection, the default model tested other classes. Without the
    beginning of an answer, it repeated the code.
    """
    before = selected.before + selected.text
    place = select_lines(before if before.endswith(("\n", "\r")) else before + selected.newline, "", selected.after)
    asked = replace(query, instruction=f"Write tests for {' and '.join(f'`{name}`' for name in names)}.")
    begun = {
        find_syntax("python"): f"def test_{names[0].strip('_').lower()}",
        find_syntax("javascript"): f'test("{names[0]}',
    }.get(find_syntax(language), "")
    return replace(place, before=before), EditPrompt(asked, replace(place, before=selected.text, after=""), begun)


def complete_lines(lines: Sequence[str], language: str) -> int:
    """Count the lines of cut tests up to the last line with which the tests parse.

    A line that repeats the line above is cut off.
    """
    last = len(lines) - (lines[-1:] == lines[-2:-1])
    counts = range(last, 0, -1)
    ends = (count for count in counts if lines[count - 1].strip())
    return next((count for count in ends if parses("\n".join([*lines[:count], ""]), language) is not False), 0)


def check_tests(hunks: Sequence[Hunk], names: Sequence[str], selected: SelectedLines) -> tuple[list[Hunk], str | None]:
    """Return the hunks, with blank lines around the tests, or a sentence if there are no tests."""
    text = "\n".join(line for hunk in hunks for line in hunk.new)
    tested = [name for name in names if re.search(rf"(?<![\"'`])\b{name}\b", text)]
    if not tested or not _ASSERTION.search(text) or set(names) & set(names_to_test(text)):
        return [], NO_TESTS.format(" and ".join(names))
    document = split_lines(selected.before) + list(selected.raw) + split_lines(selected.after)
    *others, tests = hunks
    apart = 2 if tests.new[0].startswith(("def ", "class ", "@")) else 1
    above = max(apart - blank_lines(reversed(document[: tests.first])), 0)
    after = document[tests.first + len(tests.old) :]
    below = max(apart - blank_lines(after), 0) if "".join(after).strip() else 0
    return [*others, replace(tests, new=("",) * above + tests.new + ("",) * below)], None
