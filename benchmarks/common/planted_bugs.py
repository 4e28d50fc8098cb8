"""Plants a single-token bug into a Python file, such as a wrong operator or swapped arguments."""

from __future__ import annotations

import ast
import io
import random
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

OPERATORS = {
    "==": "!=",
    "!=": "==",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "+": "-",
    "-": "+",
    "and": "or",
    "or": "and",
}
OPERATORS |= {"True": "False", "False": "True", "+=": "-=", "-=": "+="}
"""The replacement of each operator or truth value."""

KINDS = ("operator", "arguments", "name", "off by one")

MIN_LINES, MAX_LINES = 40, 80
"""Files that are neither trivial nor slow to read."""

OTHER_FOLDERS = frozenset(
    {"test", "tests", "testing", "docs", "examples", "_vendor", "vendored", "bench", "benchmarks"}
)


@dataclass(frozen=True)
class Replacement:
    """A part of a text, by offsets, and the replacement."""

    begin: int
    end: int
    new: str


@dataclass(frozen=True)
class PlantedBug:
    """A file with a bug.

    ``spans`` are the places of the wrong tokens in ``text``: one place, or two places for swapped
    arguments.
    """

    package: str
    file: str
    kind: str
    original: str
    text: str
    spans: tuple[tuple[int, int], ...]

    @property
    def lines(self) -> frozenset[int]:
        """The lines with the bug, from 1 on."""
        return frozenset(self.text.count("\n", 0, begin) + 1 for begin, _ in self.spans)


def python_files(package: Path, dice: random.Random, count: int) -> list[Path]:
    """Return some files of a package's own code."""
    found = [
        path for path in sorted(package.rglob("*.py")) if not OTHER_FOLDERS & set(path.relative_to(package).parts[:-1])
    ]
    dice.shuffle(found)
    return [path for path in found if _is_suitable(path)][:count]


def plant(package: str, file: str, text: str, dice: random.Random) -> PlantedBug | None:
    """Return a file with a bug of a random kind at a random place, or None without a place."""
    sites = _sites(text)
    kinds = [kind for kind in KINDS if sites[kind]]
    if not kinds:
        return None
    kind = dice.choice(kinds)
    dice.shuffle(sites[kind])
    for parts in sites[kind]:
        changed, spans = _replaced(text, parts)
        if _compiles(changed) and ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)):
            return PlantedBug(package, file, kind, text, changed, spans)
    return None


def _is_suitable(path: Path) -> bool:
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return False
    return (
        text.isascii()
        and MIN_LINES <= text.count("\n") <= MAX_LINES
        and "\r" not in text
        and "\f" not in text
        and _compiles(text)
    )


def _compiles(text: str) -> bool:
    try:
        compile(text, "file.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _replaced(text: str, parts: Sequence[Replacement]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text with replacements, and the spans of the replacements."""
    spans, shift = [], 0
    for part in sorted(parts, key=lambda part: part.begin):
        text = text[: part.begin + shift] + part.new + text[part.end + shift :]
        spans.append((part.begin + shift, part.begin + shift + len(part.new)))
        shift += len(part.new) - (part.end - part.begin)
    return text, tuple(spans)


def _sites(text: str) -> dict[str, list[tuple[Replacement, ...]]]:
    """Return the possible places for each kind of bug."""
    starts = [0]
    for line in text.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    sites: dict[str, list[tuple[Replacement, ...]]] = {kind: [] for kind in KINDS}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin = starts[token.start[0] - 1] + token.start[1]
        end = begin + len(token.string)
        if token.string in OPERATORS and token.type in (tokenize.OP, tokenize.NAME):
            sites["operator"].append((Replacement(begin, end, OPERATORS[token.string]),))
        if token.type == tokenize.NUMBER and token.string.isdecimal():
            value = int(token.string)
            sites["off by one"] += [
                (Replacement(begin, end, str(other)),) for other in (value - 1, value + 1) if other >= 0
            ]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            sites["arguments"] += [tuple(pair) for pair in _swaps(node, text, starts)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            sites["name"] += [(one,) for one in _other_names(node, starts)]
    return sites


def _swaps(call: ast.Call, text: str, starts: Sequence[int]) -> Iterator[tuple[Replacement, Replacement]]:
    """Yield the swaps of two neighbouring arguments that are names or numbers."""
    for first, second in zip(call.args, call.args[1:], strict=False):
        if all(
            isinstance(one, ast.Name) or (isinstance(one, ast.Constant) and isinstance(one.value, int))
            for one in (first, second)
        ):
            (begin, end), (start, stop) = _place(first, starts), _place(second, starts)
            if text[begin:end] != text[start:stop]:
                yield Replacement(begin, end, text[start:stop]), Replacement(start, stop, text[begin:end])


def _other_names(function: ast.FunctionDef | ast.AsyncFunctionDef, starts: Sequence[int]) -> Iterator[Replacement]:
    """Yield the reads of a function's variables, each replaced by a different variable."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    parameters = [one.arg for one in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    variables = sorted({*parameters, *(node.id for node in names if isinstance(node.ctx, ast.Store))})
    for node in names:
        if isinstance(node.ctx, ast.Load) and node.id in variables:
            begin, end = _place(node, starts)
            yield from (Replacement(begin, end, other) for other in variables if other != node.id)


def _place(node: ast.expr, starts: Sequence[int]) -> tuple[int, int]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
