"""Checks docstrings, comments, strings and documents for the phrases in words_to_avoid.toml.

Usage: python tools/plain_english.py [--counts] PATH...
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RULES_FILE = Path(__file__).with_name("words_to_avoid.toml")
ALLOWED = "plain-english: allow"
TEXT_SUFFIXES = frozenset({".md", ".js", ".mjs", ".ts", ".css", ".lua", ".el", ".c", ".h", ".toml", ".json", ".yml", ".yaml"})
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "golden", "build", "out", "site", ".venv"})
SKIPPED_FILES = frozenset({"words_to_avoid.toml", "package-lock.json", "CODE_OF_CONDUCT.md"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern to avoid and the words to use instead."""

    pattern: re.Pattern[str]
    instead: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A match of a rule in a file; lines count from 1."""

    path: Path
    line: int
    match: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: avoid {self.match!r}: {self.instead}"


def read_rules(kind: str) -> list[Rule]:
    """Return the rules of one kind: ``phrase`` or ``docstring_start``."""
    tables = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))[kind]
    return [Rule(re.compile(table["pattern"], re.IGNORECASE if kind == "phrase" else 0), table["instead"]) for table in tables]


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments and strings of a Python file with the lines that they start on."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of functions and classes with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
            yield node.body[0].lineno, text


def findings(path: Path, phrases: list[Rule], starts: list[Rule]) -> Iterator[Finding]:
    """Yield all matches in a file."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    is_python = path.suffix == ".py"
    for first, text in python_prose(source) if is_python else enumerate(lines, 1):
        for rule in phrases:
            for match in rule.pattern.finditer(text):
                line = first + text.count("\n", 0, match.start())
                if ALLOWED not in lines[line - 1]:
                    yield Finding(path, line, match.group(), rule.instead)
    for line, text in docstrings(source) if is_python else ():
        for rule in starts:
            if (start := rule.pattern.match(text)) and ALLOWED not in lines[line - 1]:
                yield Finding(path, line, f"{start.group()} … (start of a docstring)", rule.instead)


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files to check under some paths."""
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            skipped = SKIPPED_FOLDERS & set(file.parts) or file.name in SKIPPED_FILES
            if file.is_file() and not skipped and (file.suffix == ".py" or file.suffix in TEXT_SUFFIXES):
                yield file


def main() -> int:
    """Print the findings, or with ``--counts`` how often each phrase occurs. Return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--counts", action="store_true", help="print how often each phrase occurs")
    arguments = parser.parse_args()
    phrases, starts = read_rules("phrase"), read_rules("docstring_start")
    found = [one for path in files(arguments.paths) for one in findings(path, phrases, starts)]
    if arguments.counts:
        for phrase, count in Counter(" ".join(one.match.lower().split()) for one in found).most_common():
            print(f"{count:6} {phrase}")
        print(f"{len(found):6} in all")
    else:
        print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
