"""Imports that an answer adds: out of the answer, into a hunk of the file's import block.

Small models write imports above the selected code, also imports that the file has already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from pellucid.code.language_syntax import Syntax, find_syntax, scan_line
from pellucid.completion.edits.by_instruction.answer_reader import AnswerReader
from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines, split_lines, without_end

_PYTHON = re.compile(
    r"(?P<head>from[ \t]+(?P<module>[.\w]+)[ \t]+import[ \t]*)(?:\((?P<many>[^()]*)\)|(?P<few>[\w*][^\n#;\\(]*))"
    r"[ \t]*(?:#.*)?$|(?P<plain>import[ \t]+)(?P<modules>\w[^\n#;\\(]*)(?:#.*)?$",
    re.MULTILINE,
)
_SCRIPT = re.compile(
    r"(?P<head>import(?:[ \t]+type)?\s*)\{(?P<many>[^{}]*)\}(?P<tail>\s*from\s*(?P<module>'[^'\n]*'|\"[^\"\n]*\");?)"
    r"[ \t]*$|"
    r"(?:import\b[^\n{}(]*|(?:const|let|var)[ \t][^\n=;]+=[ \t]*require\()(?:'[^'\n]*'|\"[^\"\n]*\")\)?;?[ \t]*$",
    re.MULTILINE,
)
_PYTHON_HEADER = re.compile(
    r"(?:[ \t]*(?:#.*)?\n)*[rRuU]?(\"{3}|'{3})(?:.|\n)*?\1[ \t]*\n|(?:#.*\n)+(?=[ \t]*\n)|#!.*\n", re.MULTILINE
)
_SCRIPT_HEADER = re.compile(
    r"(?:#!.*\n)?(?:(?:/\*(?:.|\n)*?\*/[ \t]*\n|(?://.*\n)+)(?=[ \t]*\n))?(?:[ \t]*\n)*(?:[\"']use \w+[\"'];?[ \t]*\n)*"
)
_DEFINITION = re.compile(r"(?:async |export |default )*(?:def|class|function)\b|@")


@dataclass(frozen=True, slots=True)
class Import:
    """A statement in lines ``begin`` to ``end``: ``names`` between ``head`` and ``tail``.

    A statement that cannot be divided has its text as ``head``, and a single name.
    """

    begin: int
    end: int
    module: str
    head: str
    names: tuple[str, ...]
    tail: str
    divisible: bool = True

    def missing(self, known: frozenset[tuple[str, str]]) -> str:
        """Return the statement without names that the file has, or an empty string."""
        names = [name for name in self.names if (self.module, name) not in known]
        return f"{self.head}{', '.join(names) * self.divisible}{self.tail}" if names else ""


def take_imports(selected: SelectedLines, answer: AnswerReader, language: str) -> Hunk | None:
    """Take added imports out of the answer, and return a hunk with those that the file lacks.

    The place is below the last import above all functions and classes, or below the file's header.
    Imports stay where the selection has imports, or begins above the place.
    """
    syntax = find_syntax(language)
    grammar = {find_syntax("python"): _PYTHON, find_syntax("javascript"): _SCRIPT}.get(syntax)
    margin = selected.margin
    own = () if selected.inserted else tuple(line.removeprefix(margin) for line in selected.core)
    written = [line.removeprefix(margin) for line in answer.lines]
    if grammar is None or any(_imports(own, grammar, syntax)):
        return None
    found = list(_imports(written, grammar, syntax))
    document = [without_end(line) for line in split_lines(selected.before + selected.text + selected.after)]
    present = list(_imports(document, grammar, syntax))
    first = next((number for number, line in enumerate(document) if _DEFINITION.match(line)), len(document))
    block = [one.end for one in present if one.end <= first]
    place = max(block) if block else _header_lines(document, grammar)
    if not found or place > selected.first:
        return None
    known = frozenset((one.module, name) for one in present for name in one.names)
    new = list(dict.fromkeys(statement for one in found if (statement := one.missing(known))))
    tokens = tuple(token for one in found if one.missing(known) for token in answer.tokens(one.begin, one.end))
    answer.remove(_with_blanks(written, found))
    if not new:
        return None
    if not block:
        new = _set_apart(document, place, new, grammar)
    return Hunk(place, (), tuple(line for statement in new for line in statement.split("\n")), tokens)


def _imports(lines: Sequence[str], grammar: re.Pattern[str], syntax: Syntax) -> Iterator[Import]:
    """Yield the imports without indentation, outside of strings and comments."""
    text, at, skip = "\n".join(lines), 0, 0
    inside: str | None = None
    for number, line in enumerate(lines):
        found = grammar.match(text, at) if inside is None and number >= skip else None
        if found is not None:
            skip = number + found.group().count("\n") + 1
            yield _read(found, number, skip)
        inside = scan_line(line, inside, syntax).inside
        at += len(line) + 1


def _read(found: re.Match[str], begin: int, end: int) -> Import:
    part = found.groupdict(default="")
    many = re.sub(r"#.*", "", part["many"] or part.get("few", "") or part.get("modules", ""))
    names = tuple(" ".join(name.split()) for name in many.split(",") if name.strip())
    if not names:
        text = found.group().rstrip()
        return Import(begin, end, "", text, (text.rstrip(";").replace('"', "'"),), "", divisible=False)
    if part.get("tail"):
        return Import(
            begin, end, part["module"].strip("'\""), f"{part['head'].rstrip()} {{ ", names, f" }}{part['tail']}"
        )
    return Import(begin, end, part["module"], part["head"] or part["plain"], names, "")


def _header_lines(document: Sequence[str], grammar: re.Pattern[str]) -> int:
    """Return the number of lines with the interpreter, a licence, a docstring or directives."""
    header = _PYTHON_HEADER if grammar is _PYTHON else _SCRIPT_HEADER
    found = header.match("\n".join([*document, ""]))
    return found.group().count("\n") if found else 0


def _set_apart(document: Sequence[str], place: int, new: list[str], grammar: re.Pattern[str]) -> list[str]:
    """Return the first imports of a file with blank lines around them."""
    above = [""] if place and document[place - 1].strip() else []
    follows = document[place] if place < len(document) else ""
    below = [""] * (1 + (grammar is _PYTHON and _DEFINITION.match(follows) is not None)) if follows.strip() else []
    return [*above, *new, *below]


def blank_lines(lines: Iterable[str]) -> int:
    """Count the blank lines at the beginning."""
    return sum(1 for _ in takewhile(lambda line: not line.strip(), lines))


def _with_blanks(lines: Sequence[str], found: Sequence[Import]) -> set[int]:
    """Return the numbers of the imports' lines and of the blank lines below."""
    numbers: set[int] = set()
    for one in found:
        end = one.end
        while end < len(lines) and not lines[end].strip():
            end += 1
        numbers.update(range(one.begin, end))
    return numbers
