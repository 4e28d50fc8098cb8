"""Tests of regular expressions: no line of a file causes backtracking."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.code.brackets import is_balanced, opened_in
from pellucid.code.language_syntax import find_syntax, opens_block, scan_line
from pellucid.completion.document_cursor import DocumentCursor
from pellucid_lsp.suggestion_items import word_before

LONG = 1_000_000
BEFORE_BRACKETS = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\\n])*`)|(?P<quote>["'`])|(?P<bracket>[\[\](){}])"""
)
"""Brackets outside of strings, by an expression that takes quadratic time."""

FUNCTION = re.compile(r".*\bfunction\b[^()]*\([^()]*\)$")


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "program"),
    [
        ("code.brackets", r"""print(opened_in('\\"' * (LONG // 2), ")"))"""),
        (
            "code.language_syntax",
            r"""s, x = find_syntax("lua"), "function " * (LONG // 9); opens_block(x, scan_line(x, None, s), s)""",
        ),
        (
            "code.language_syntax",
            r"""print(scan_line("`" + "\\`" * (LONG // 2), None, find_syntax("javascript")).code)""",
        ),
        ("completion.shaping.block_scope", r"""print(block_scope._DECLARES.match("a(" + ")" * LONG))"""),
        ("learn.evaluate.suites.infilling", r"""print(len(identifiers("\\'" * (LONG // 2))))"""),
    ],
)
def test_time_is_bounded(module: str, program: str) -> None:
    """A line of a million characters is read in seconds, where quadratic time would take hours."""
    package, _, name = f"pellucid.{module}".rpartition(".")
    imports = f"from {package} import {name}; from {package}.{name} import *"
    command = [sys.executable, "-c", f"{imports}; LONG = {LONG}; {program}"]
    subprocess.run(command, timeout=60, check=True, capture_output=True)


def test_time_of_items_is_bounded() -> None:
    """The word before a cursor is found in a line of a million characters in seconds."""
    imports = (
        "from pellucid_lsp.suggestion_items import *; from pellucid.completion.document_cursor import DocumentCursor"
    )
    command = [sys.executable, "-c", f"""{imports}; word_before(DocumentCursor("", "a" * {LONG} + "(", ""))"""]
    subprocess.run(command, timeout=60, check=True, capture_output=True)


@given(st.text("\"'`\\\na([{)]}", max_size=20))
def test_brackets_outside_of_strings(text: str) -> None:
    """Brackets in strings are ignored, also with escaped quotes and in unterminated strings."""
    tokens = [match for match in BEFORE_BRACKETS.finditer(text) if not match["string"]]
    depth, balanced, opened = 0, True, 0
    for match in tokens:
        balanced &= not match["quote"]
        if match["bracket"]:
            step = 1 if match.group() in "([{" else -1
            depth, opened = depth + step, max(opened + step, 0)
            balanced &= depth >= 0
    assert is_balanced(text) == (balanced and depth == 0)
    assert opened_in(text, ")") == (opened > 0)


@given(st.lists(st.sampled_from(["function", " ", "a", "(", ")", "function f(a)", "(a)"]), max_size=8).map("".join))
def test_functions_without_a_word_before_them(line: str) -> None:
    """A block in Lua begins at the end of ``function NAME (...)``, wherever in the line."""
    syntax = find_syntax("lua")
    code = line.rstrip()
    found = scan_line(line, None, syntax)
    last_opens = bool(found.marks) and found.marks[-1].opens and found.marks[-1].at == len(code) - 1
    assert opens_block(line, found, syntax) == (last_opens or FUNCTION.match(code) is not None)


@given(st.text("a1_é (\n", max_size=12))
def test_the_word_before_the_cursor(before: str) -> None:
    """The word consists of the letters, digits and underscores at the end of the last line."""
    found = re.search(r"\w+\Z", before.rpartition("\n")[2])
    assert word_before(DocumentCursor("", before, "")) == (found.group() if found else "")
