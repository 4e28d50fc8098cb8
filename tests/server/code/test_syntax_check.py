"""Tests of the check for syntax errors, by language."""

from __future__ import annotations

import sys
import warnings

import pytest

from pellucid.code import syntax_check
from pellucid.code.syntax_check import MAX_CHARACTERS, lacks_grammar, parses


@pytest.mark.parametrize(
    ("language", "right", "wrong"),
    [
        ("python", "def f(x):\n    return x\n", "def f(x):\n"),
        ("py", "x = 1\n", "x = 1\n    y = 2\n"),
        ("python", "def f(): return 1\n", "return 1\n"),
        ("c", "int f(void) { return 1; }\n", "int f(void) { return 1; \n"),
        ("cpp", "class A { int f() const; };\n", "class A { int f( const; };\n"),
        ("go", "package a\n\nfunc f() int { return 1 }\n", "package a\n\nfunc f() int { return 1\n"),
        ("java", "class A { int f() { return 1; } }\n", "class A { int f() { return 1 } }\n"),
        ("javascript", "const a = <b>{c}</b>;\n", "const a = (1;\n"),
        ("rust", "fn f<'a>(x: &'a str) -> usize { x.len() }\n", "fn f(x: &str) -> usize { x.len( }\n"),
        ("TypeScript", "const a: number = <number>b;\n", "const a: = 1;\n"),
        ("typescriptreact", "const a = <b c={1} />;\n", "const a = <b c={1};\n"),
    ],
)
def test_languages(language: str, right: str, wrong: str) -> None:
    """Each language tells right texts from wrong ones."""
    assert (parses(right, language), parses(wrong, language), lacks_grammar(language)) == (True, False, False)


def test_no_verdict() -> None:
    """Languages without a parser, and very long and very deeply nested texts have no verdict."""
    assert (parses("{{", "jinja"), lacks_grammar("jinja"), parses("", "")) == (None, False, None)
    assert parses("#" * (MAX_CHARACTERS + 1), "python") is None
    assert parses("-" * 100_000 + "1", "python") is None


def test_strange_characters() -> None:
    """A lone surrogate is text, a null byte is an error in Python, and no warning is shown."""
    assert parses('const a = "\ud800";\n', "javascript")
    assert parses("x = 1\0\n", "python") is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parses('x = "\\d"\n', "python")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tree-sitter, only Python is checked, and other known languages lack a grammar."""
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    syntax_check._parser.cache_clear()
    try:
        assert (parses("fn f() {", "rust"), lacks_grammar("rust")) == (None, True)
        assert (parses("x = (", "python"), lacks_grammar("python")) == (False, False)
    finally:
        syntax_check._parser.cache_clear()
