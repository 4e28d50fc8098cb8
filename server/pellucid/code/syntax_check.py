"""Check of program text for syntax errors, by Python's own compiler or by tree-sitter.

tree-sitter's grammar of Python accepts wrong indentation, empty blocks and Python 2.
"""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

EXTRA = "pellucid[syntax]"
"""The extra with tree-sitter and the grammars. Imported at the first check of a language."""

MAX_CHARACTERS = 500_000
"""Longer texts are not checked: a check takes 0.1 to 0.5 ms per 1,000 characters."""

_PYTHON = frozenset({"python", "py"})
_GRAMMARS = {
    "c": "c",
    "cpp c++ cc cxx hpp": "cpp",
    "go golang": "go",
    "java": "java",
    "javascript js jsx mjs cjs javascriptreact": "javascript",
    "rust rs": "rust",
    "typescript ts mts cts": "typescript",
    "typescriptreact tsx": "tsx",
}
_GRAMMAR = {name: grammar for names, grammar in _GRAMMARS.items() for name in names.split()}


def parses(text: str, language: str) -> bool | None:
    """Return whether a text is without syntax errors, or ``None`` without a parser.

    The language is an id of the protocol or a file name's extension.
    """
    language = language.lower()
    if len(text) > MAX_CHARACTERS:
        return None
    if language in _PYTHON:
        return _compiles(text)
    parser = _parser(_GRAMMAR.get(language))
    return None if parser is None else not parser.parse(text.encode(errors="replace")).root_node.has_error


def lacks_grammar(language: str) -> bool:
    """Return whether the language can be checked once the extra is installed."""
    grammar = _GRAMMAR.get(language.lower())
    return grammar is not None and _parser(grammar) is None


def _compiles(text: str) -> bool | None:
    """Return whether Python compiles a text, or ``None`` for a too deeply nested text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Wrong escapes, for example
        try:
            compile(text, "<text>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):  # ValueError: null bytes
            return False
        except (RecursionError, MemoryError):
            return None
    return True


@cache
def _parser(grammar: str | None) -> Any | None:
    if grammar is None:
        return None
    package, function = (
        ("typescript", f"language_{grammar}") if grammar in ("typescript", "tsx") else (grammar, "language")
    )
    try:
        tree_sitter = importlib.import_module("tree_sitter")
        module = importlib.import_module(f"tree_sitter_{package}")
    except ModuleNotFoundError:
        return None
    return tree_sitter.Parser(tree_sitter.Language(getattr(module, function)()))
