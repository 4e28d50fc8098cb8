"""Checks docstrings, comments, strings and documents for the phrases in words_to_avoid.toml.

In docstrings and comments of Python files, pronouns are counted, too: a text with repeated nouns is
read once, a text full of pronouns must be solved.

Usage: python tools/plain_english.py [--counts | --pronouns] PATH...
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
TEXT_SUFFIXES = frozenset(
    {".md", ".js", ".mjs", ".ts", ".css", ".lua", ".el", ".c", ".h", ".toml", ".json", ".yml", ".yaml"}
)
SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "golden", "build", "out", "site", ".venv"})
SKIPPED_FILES = frozenset({"words_to_avoid.toml", "package-lock.json", "CODE_OF_CONDUCT.md"})

PRONOUNS = frozenset(
    {"another", "it", "its", "none", "one", "ones", "other", "others"}
    | {"such", "that", "them", "those", "what", "which", "whose"}
)
PRONOUN_SHARE = 0.05
"""Maximum share of pronouns in the words of a file; a single pronoun is always permitted."""

WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
CODE_SPAN = re.compile(r"``.*?``|`[^`]*`|https?://\S+", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """A pattern to avoid and the replacement words."""

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
    """Return the rules of the kind ``phrase`` or ``docstring_start``."""
    tables = tomllib.loads(RULES_FILE.read_text(encoding="utf-8"))[kind]
    return [
        Rule(re.compile(table["pattern"], re.IGNORECASE if kind == "phrase" else 0), table["instead"])
        for table in tables
    ]


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments and strings of a Python file with first lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield token.start[0], token.string


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of modules, classes and functions with lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module) and (
            text := ast.get_docstring(node)
        ):
            yield node.body[0].lineno, text


def findings(path: Path, phrases: list[Rule], starts: list[Rule]) -> Iterator[Finding]:
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


def docstrings_and_comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield all docstrings, attributes' included, and the comments of a Python file with lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


@dataclass(frozen=True, slots=True)
class Pronouns:
    """The number of words in a file's docstrings and comments, and the pronouns."""

    path: Path
    words: int
    lines: list[tuple[int, str]]
    """Each pronoun with its line."""

    @property
    def too_many(self) -> bool:
        return len(self.lines) > max(1, PRONOUN_SHARE * self.words)

    def __str__(self) -> str:
        return f"{self.path}: {len(self.lines)} pronouns in {self.words} words: repeat the noun (at most 5 in 100)"


def pronouns(path: Path) -> Pronouns:
    """Count the pronouns in a Python file's docstrings and comments, without code in backticks."""
    words, found = 0, []
    for first, text in docstrings_and_comments(path.read_text(encoding="utf-8")):
        plain = CODE_SPAN.sub(lambda span: "\n" * span.group().count("\n"), text)
        for match in WORD.finditer(plain):
            words += 1
            if match.group().lower() in PRONOUNS:
                found.append((first + plain.count("\n", 0, match.start()), match.group()))
    return Pronouns(path, words, found)


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files to check under some paths."""
    for path in paths:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in found:
            skipped = SKIPPED_FOLDERS & set(file.parts) or file.name in SKIPPED_FILES
            if file.is_file() and not skipped and (file.suffix == ".py" or file.suffix in TEXT_SUFFIXES):
                yield file


def main() -> int:
    """Print the findings, or with an option counts. Return 1 if there are findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--counts", action="store_true", help="print how often each phrase occurs")
    parser.add_argument(
        "--pronouns", action="store_true", help="print each file with too many pronouns, and their lines"
    )
    arguments = parser.parse_args()
    checked = list(files(arguments.paths))
    counted = [pronouns(path) for path in checked if path.suffix == ".py"]
    dense = [one for one in counted if one.too_many]
    if arguments.pronouns:
        for one in dense:
            print(one, *(f"  line {line}: {word}" for line, word in one.lines), sep="\n")
        words, found = sum(one.words for one in counted), sum(len(one.lines) for one in counted)
        summary = f"{found} pronouns in {words} words, {100 * found / max(words, 1):.1f} in 100"
        print(f"{summary}; {len(dense)} of {len(counted)} files have too many")
        return 1 if dense else 0
    phrases, starts = read_rules("phrase"), read_rules("docstring_start")
    found_phrases = [one for path in checked for one in findings(path, phrases, starts)]
    if arguments.counts:
        for phrase, count in Counter(" ".join(one.match.lower().split()) for one in found_phrases).most_common():
            print(f"{count:6} {phrase}")
        print(f"{len(found_phrases):6} in all")
    else:
        print(*found_phrases, *dense, sep="\n", end="\n" if found_phrases or dense else "")
    return 1 if found_phrases or dense else 0


if __name__ == "__main__":
    sys.exit(main())
