"""Untrusted text: no line of a file makes a regular expression of ours backtrack."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.brackets import is_balanced, opened_in
from pellucid_lsp.items import word_before
from pellucid_lsp.suggestion import Place
from pellucid_lsp.syntax import opens_block, scan, syntax_of

LONG = 1_000_000
BEFORE_BRACKETS = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\\n])*`)|(?P<quote>["'`])|(?P<bracket>[\[\](){}])"""
)
"""What brackets are by one expression, which takes quadratic time."""

FUNCTION = re.compile(r".*\bfunction\b[^()]*\([^()]*\)$")


@pytest.mark.parametrize(
    "program",
    [
        r"""from pellucid.brackets import opened_in; print(opened_in('\\"' * (LONG // 2), ")"))""",
        r"""from pellucid_lsp.items import *; from pellucid_lsp.suggestion import Place; word_before(Place("", "a" * LONG + "(", ""))""",
        r"""from pellucid_lsp.syntax import *; s = syntax_of("lua"); x = "function " * (LONG // 9); opens_block(x, scan(x, None, s), s)""",
        r"""from pellucid_lsp.syntax import *; s = syntax_of("javascript"); print(scan("`" + "\\`" * (LONG // 2), None, s).code)""",
        r"""from pellucid_lsp.scope import _DECLARES; print(_DECLARES.match("a(" + ")" * LONG))""",
        r"""from pellucid.learn.evaluate.infilling import identifiers; print(len(identifiers("\\'" * (LONG // 2))))""",
    ],
)
def test_time_is_bounded(program: str) -> None:
    """A line of a million characters is read while a process starts and ends, where quadratic time would take hours."""
    command = [sys.executable, "-c", f"LONG = {LONG}; {program}"]
    subprocess.run(command, timeout=60, check=True, capture_output=True)


@given(st.text("\"'`\\\na([{)]}", max_size=20))
def test_brackets_outside_of_strings(text: str) -> None:
    """Strings are found where one expression would find them, escaped quotes and strings without an end included."""
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
    """In Lua a block begins at the end of ``function NAME (...)``, wherever in its line."""
    syntax = syntax_of("lua")
    code = line.rstrip()
    found = scan(line, None, syntax)
    last_opens = bool(found.marks) and found.marks[-1].opens and found.marks[-1].at == len(code) - 1
    assert opens_block(line, found, syntax) == (last_opens or FUNCTION.match(code) is not None)


@given(st.text("a1_é (\n", max_size=12))
def test_the_word_before_the_cursor(before: str) -> None:
    """The word consists of the letters, digits and underscores at the end of the last line."""
    found = re.search(r"\w+\Z", before.rpartition("\n")[2])
    assert word_before(Place("", before, "")) == (found.group() if found else "")
