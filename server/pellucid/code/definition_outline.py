"""Outlines of definitions: the header, and the headers of the members without their bodies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid.code.brackets import is_closed
from pellucid.code.language_syntax import LineScan, Syntax, indentation, scan_line

MAX_HEADER_LINES = 12

MAX_MEMBER_LINES = 4
"""Maximum number of lines of a member's header."""

MAX_LINE = 160
"""Maximum number of characters of a line: longer lines are tables or literals."""

MAX_SCANNED_LINES = 2_000
"""Maximum number of lines in which members are looked for."""

MODIFIERS = r"""(?:(?:export|default|public|private|protected|internal|static|final|abstract|sealed|async|unsafe|extern
    |inline|virtual|override|declare|readonly|partial|data|open|const|let|var|pub(?:\([^)]*\))?)\s+)*"""

_CONTAINER = re.compile(
    rf"\s*{MODIFIERS}(?:class|interface|struct|enum|union|trait|impl|namespace|module|object|record|protocol"
    r"|extension)\b"
    rf"|\s*{MODIFIERS}(?:type\s+)?[\w$]+[^=(]*=\s*(?:Object\.freeze\()?\{{\s*$",
    re.VERBOSE,
)
"""The header of a definition with members."""

_TOP_LEVEL = re.compile(
    rf"{MODIFIERS}(?:def|class|function\*?|fn|func|interface|struct|enum|union|impl|trait|type|module|namespace"
    r"|object|record)\b"
    rf"|(?:export\s+)?(?:const|let|var)\s+\w+|[A-Z][A-Z0-9_]+\s*[:=]|[A-Za-z_][\w\s*&:<>,]*\([^;]*$",
    re.VERBOSE,
)
_NO_MEMBER = re.compile(
    r"\s*(?:[)\]}>]+|['\"`@]|r['\"]|//|/?\*|\#(?!define)|--|(?:pass|\.\.\.)\s*$|(?:return|if|for|else|elif|while|with|try|except)\b)"
)
_ATTRIBUTE = re.compile(r"\s*(?:self|this)\.(?P<name>[A-Za-z_$][\w$]*)\s*(?::|=(?!=))")
_MEMBER_NAME = re.compile(
    rf"\s*{MODIFIERS}(?:(?:get|set|def|function\*?|fn|func|class|interface|struct|enum|type|namespace|\#define)\s+)*"
    r"(?:[\w<>\[\],.?*&]+\s+)*?\**(?P<name>[\w$#]+)\s*(?=[(<:=;?,{!]|$)",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Member:
    header: str
    name: str

    @property
    def is_hidden(self) -> bool:
        return self.name.startswith(("_", "#")) or self.header.lstrip().startswith("private ")


def outline(lines: Sequence[str], line: int, syntax: Syntax, room: int) -> str:
    r"""Return the outline of the definition whose name is in a line, with ``\n`` line ends.

    Line -1 means the whole file: the headers of all definitions at the top. If not all members fit
    into ``room`` characters, hidden members are left out, and the last members have only names.
    """
    if line < 0:
        return _fit("", list(_top_level(lines, syntax)), syntax, room)
    if line >= len(lines) or not lines[line].strip():
        return ""
    header, end = _header(lines, line, syntax, MAX_HEADER_LINES)
    if not _CONTAINER.match(header):
        return _fit(header, [], syntax, room)
    return _fit(header, list(_members(lines, end, indentation(lines[line]), syntax)), syntax, room)


def _members(lines: Sequence[str], start: int, outer: int, syntax: Syntax) -> Iterator[_Member]:
    """Yield the headers of the members, and the attributes that methods assign."""
    inner: int | None = None
    known: set[str] = set()
    for number, text in _statements(lines, start, syntax):
        depth = indentation(text)
        if depth <= outer:
            return
        inner = depth if inner is None else inner
        attribute = _ATTRIBUTE.match(text) if depth > inner else None
        if attribute is not None and attribute["name"] not in known:
            known.add(attribute["name"])
            yield _Member(" " * inner + text.strip().partition(" = ")[0][:MAX_LINE], attribute["name"])
        elif depth <= inner and (name := _name(text)):
            known.add(name)
            yield _Member(_header(lines, number, syntax, MAX_MEMBER_LINES)[0], name)


def _top_level(lines: Sequence[str], syntax: Syntax) -> Iterator[_Member]:
    for number, text in _statements(lines, 0, syntax):
        if text[:1].strip() and _TOP_LEVEL.match(text) and (name := _name(text)):
            yield _Member(_header(lines, number, syntax, MAX_MEMBER_LINES)[0], name)


def _statements(lines: Sequence[str], start: int, syntax: Syntax) -> Iterator[tuple[int, str]]:
    """Yield the lines that begin outside of comments, strings and parentheses."""
    inside: str | None = None
    depth = 0
    for number in range(start, min(len(lines), start + MAX_SCANNED_LINES)):
        text = lines[number]
        scan = scan_line(text, inside, syntax)
        if inside is None and depth <= 0 and text.strip():
            depth = 0
            yield number, text
        inside = scan.inside
        depth += _depth(scan)


def _depth(scan: LineScan) -> int:
    return sum(1 if mark.opens else -1 for mark in scan.marks if mark.closing in (")", "]"))


def _name(line: str) -> str:
    if _NO_MEMBER.match(line):
        return ""
    name = _MEMBER_NAME.match(line[:MAX_LINE])
    return name["name"] if name is not None else ""


def _header(lines: Sequence[str], line: int, syntax: Syntax, most: int) -> tuple[str, int]:
    """Return the lines until parentheses are closed, as a line, and the next line's number."""
    header, depth = "", 0
    for number in range(line, min(len(lines), line + most)):
        scan = scan_line(lines[number], None, syntax)
        code = lines[number][: scan.code].rstrip()[:MAX_LINE]
        if header:
            code = code.lstrip()
            header = header.rstrip(",") if is_closed(code) else header + " " * header.endswith(",")
        header += code
        depth += _depth(scan)
        if depth <= 0:
            return header, number + 1
    return header, min(len(lines), line + most)


def _fit(header: str, members: list[_Member], syntax: Syntax, room: int) -> str:
    """Join a header and the members; the members that do not fit are a list of names."""
    head = header + "\n" if header else ""
    if len(head) + sum(len(one.header) + 1 for one in members) > room:
        members = [one for one in members if not one.is_hidden]
    for count in range(len(members), -1, -1):
        whole = "".join(one.header + "\n" for one in members[:count])
        rest = ", ".join(dict.fromkeys(one.name for one in members[count:]))
        mark = f"{syntax.comments[0]} " if syntax.comments else ""
        text = head + whole + (f"{mark}also: {rest}\n" if rest else "")
        if len(text) <= room:
            return text
    return text[: max(room - 1, 0)].rstrip() + "\n"
