"""Places where something gets a name, recognized by common forms of many languages.

A place that only looks like a definition makes a rename less certain, so the forms are wide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pellucid.completion.edits.code_tokens import depth
from pellucid.completion.edits.code_view import CodeView

_KEYWORDS = (
    "return in not and or is if else elif case await new delete throw throws yield raise del global nonlocal assert "
    "typeof instanceof of goto when then do while until unless select from where by on join set into values order "
    "group having limit as with using desc asc like between null print echo defer go extends implements package out "
    "ref import export default print"
)
NO_KEYWORD = rf"(?!(?i:{'|'.join(_KEYWORDS.split())})\b)"

_FUNCTION = re.compile(
    r"\b(?:def|fn|func|function|fun|constructor|sub|lambda)\b|=>|\)[^(){};=]*\{\s*$|\)[^(){};=]*=>|\w\s*->"
)
_CONTROL = re.compile(r"\W*(?:else\s+)?(?:if|for|while|switch|catch|with|elif|match|when|until|return)\b")

ASSIGNED = "assigned"

_ONLY_IN = {"first": ("go", "sql"), "closure": ("rs", "rb")}
"""Forms of certain languages: a name directly before the type, and parameters between bars."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A name at a line and a column, and the lines where the name may be used.

    ``is_member``: of a class or structure. ``form``: how the name is given.
    ``is_called``: the name of a function.
    """

    line: int
    column: int
    scope: range
    is_member: bool
    is_local: bool
    form: str
    is_called: bool


def bindings(view: CodeView, name: str) -> Iterator[Binding]:
    for index, code in enumerate(view.code):
        if name in code:
            found: dict[int, str] = {}
            for form, pattern in _forms(name):
                if view.language not in _ONLY_IN.get(form, (view.language,)):
                    continue
                for match in pattern.finditer(code):
                    column = match.start("name")
                    outer = depth(code[:column])
                    if form == ASSIGNED and outer > 0:
                        continue
                    if form in ("parameter", "annotated in brackets") and not (outer > 0 and _is_header(view, index)):
                        continue
                    found.setdefault(column, form)
            yield from (_binding(view, index, column, len(name), form) for column, form in found.items())


def _binding(view: CodeView, line: int, column: int, size: int, form: str) -> Binding:
    code = view.code[line]
    called = code[column + size :].lstrip().startswith("(")
    everywhere = range(len(view.lines))

    def made(scope: range, *, member: bool = False, local: bool = False) -> Binding:
        return Binding(line, column, scope, member, local, form, called)

    if form == "own":
        return made(everywhere, member=True)
    if form in ("arrow", "lambda", "closure") or (depth(code[:column]) > 0 and _is_header(view, line)):
        header = line if _is_header_line(view, line) else view.enclosing(line)
        return made(view.block(line if header is None else header), local=True)
    outer = view.enclosing(line)
    if outer is None:
        return made(everywhere)
    if view.is_class(outer):
        return made(everywhere, member=True)
    return made(view.block(outer), local=True)


def _is_header(view: CodeView, line: int) -> bool:
    """Return whether a line is the header of a function, or a line of a longer header."""
    if _is_header_line(view, line):
        return True
    outer = view.enclosing(line)
    if outer is None or not _is_header_line(view, outer):
        return False
    return view.code[outer].count("(") > view.code[outer].count(")")


def _is_header_line(view: CodeView, line: int) -> bool:
    code = view.code[line]
    if _CONTROL.match(code):
        return False
    if _FUNCTION.search(code):
        return True
    following = view.code[line + 1].strip() if line + 1 < len(view.code) else ""
    return code.rstrip().endswith(")") and following == "{"


@cache
def _forms(name: str) -> list[tuple[str, re.Pattern[str]]]:
    """Return patterns with a group ``name``, by the forms' names."""
    this = rf"(?P<name>{re.escape(name)})(?!\w)"
    rest = r"\s*(?:[;,)\[({:]|=(?![=>])|$)"
    forms = {
        "own": rf"(?:\b(?:self|this)\s*(?:\.|->)\s*|(?<!\w)@|\$this->){this}\s*(?::[^=]+)?=(?![=>~])",
        "named": r"\b(?:def|class|fn|func|function|fun|sub|let|const|var|val|mut|struct|enum|interface|trait|type|mod|"
        r"module|namespace|union|record|define|as|TABLE|VIEW|INDEX|(?:for(?:\s*\(\s*(?:const|let|var))?))\s+"
        rf"(?:mut\s+)?[*&]*{this}",
        "method of a receiver": rf"\bfunc\s*\([^)]*\)\s*{this}",
        "method": rf"^\s*{this}\s*\([^()]*\)\s*(?::[^{{]+)?\{{\s*$",
        ASSIGNED: rf"(?<![.\w]){this}(?:\s*,\s*\w+)*\s*(?::=|(?::[^=,()]+)?=(?![=>~]))",
        "loop": rf"\bfor\b[^:;{{]*?(?<![.\w]){this}(?=[\w\s,)]*\s(?:in|of)\b)",
        "typed": rf"(?:(?<![.\w]){NO_KEYWORD}[A-Za-z_]\w*[?*&]?|[>\]])\s+[*&]*{this}{rest}",
        "first": rf"(?:^|[(,])\s*(?:\w+\s*,\s*)*{this}(?:\s*,\s*\w+)*\s+[\[\]*]*{NO_KEYWORD}[A-Za-z_]",
        "annotated": rf"(?:^\s*|\b(?:pub|public|private|protected|readonly|static)\s+){this}\s*\??\s*:(?![:=])",
        "annotated in brackets": rf"[(,|]\s*(?:\.\.\.|\*\*?)?{this}\s*\??\s*:(?!:)",
        "parameter": rf"[(,]\s*(?:\*\*?|&(?:mut\s+)?|\.\.\.)?{this}\s*(?=[,)=]|$)",
        "arrow": rf"(?<![.\w]){this}(?:\s*=>|\s+->\s)",
        "lambda": rf"\blambda\b[^:]*?(?<!\w){this}[^:]*:",
        "closure": rf"\|[^|]*?(?<!\w){this}[^|]*\|",
        "imported": rf"^\s*(?:import|from|use|using|require)\b.*(?<!\w){this}",
    }
    return [(form, re.compile(pattern)) for form, pattern in forms.items()]
