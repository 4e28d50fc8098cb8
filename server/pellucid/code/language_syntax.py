"""Brackets, strings, comments and blocks of languages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from io import StringIO

from pellucid.code.brackets import CLOSING, OPENING

VOID_ELEMENTS = "area base br col embed hr img input link meta param source track wbr"
VOID = frozenset(VOID_ELEMENTS.split())
"""HTML elements without an end tag."""

TAB = 4
"""Columns of a tab in texts with both tabs and spaces."""

# Not every ' begins a character: Rust has lifetimes, and comments have apostrophes.
_CHARACTER = r"'(?:\\[^'\n]*|[^'\\\n])(?:'|$)"
_REGEX = (
    r"(?:(?<=[=(,:!&|?])|(?<=[=(,:!&|?] )|(?<=return ))/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*(?:\]|$)|[^/\\\[\n])*(?:/|$)"
)
_TAG = (
    r"</(?P<end>[A-Za-z][\w:.-]*)\s*>|"
    r"""<(?P<begin>[A-Za-z!][\w:.-]*)(?:"[^"]*"|'[^']*'|[^<>"'])*?(?P<empty>/?>|$)|^\s*(?P<late>/>)"""
)


@dataclass(frozen=True, slots=True)
class Syntax:
    """The syntax of a language.

    ``spans``: the begin and end marks of multi-line comments and strings. ``colon``: a colon at a
    line's end opens a block. ``words``: a word ends a block, as in Ruby. ``tags``: the language has
    elements instead of brackets.
    """

    comments: tuple[str, ...] = ()
    spans: tuple[tuple[str, str], ...] = ()
    strings: tuple[str, ...] = ()
    colon: bool = False
    words: bool = False
    tags: bool = False
    prose: bool = False


@dataclass(frozen=True, slots=True)
class BracketMark:
    """A bracket or tag at index ``at`` of a line. ``closing`` is the text of the closing mark."""

    at: int
    closing: str
    opens: bool


@dataclass(frozen=True, slots=True)
class LineScan:
    """The brackets and tags of a line, outside of strings and comments.

    ``inside``: the closing text of a string or comment that continues on the next line. ``left``:
    the end of the string or comment from the previous line. ``code``: where a comment begins, or
    the line's length.
    """

    marks: tuple[BracketMark, ...]
    inside: str | None
    left: int | None
    code: int
    quoted: bool
    """True if the line ends in an unfinished single-line string, as during typing."""


def _string(quote: str) -> str:
    return rf"{quote}(?:\\.|[^{quote}\\\n])*(?:{quote}|\\?$)"


_DOUBLE, _SINGLE = _string('"'), _string("'")
_BLOCK_COMMENT = (("/*", "*/"),)
_PYTHON = Syntax(("#",), (('"""', '"""'), ("'''", "'''")), (_DOUBLE, _SINGLE), colon=True)
_C = Syntax(("//",), _BLOCK_COMMENT, (_DOUBLE, _CHARACTER))
_SCRIPT = Syntax(("//",), (*_BLOCK_COMMENT, ("`", "`")), (_DOUBLE, _SINGLE, _REGEX))
_GO = Syntax(("//",), (*_BLOCK_COMMENT, ("`", "`")), (_DOUBLE, _CHARACTER))
_JAVA = Syntax(("//",), (*_BLOCK_COMMENT, ('"""', '"""')), (_DOUBLE, _CHARACTER))
_HASH = Syntax(("#",), (), (_DOUBLE, _SINGLE))
_WORDS = Syntax(("#",), (), (_DOUBLE, _SINGLE), words=True)
_LUA = Syntax(("--",), (("--[[", "]]"), ("[[", "]]")), (_DOUBLE, _SINGLE), words=True)
_SQL = Syntax(("--",), _BLOCK_COMMENT, (_DOUBLE, _SINGLE))
_HTML = Syntax((), (("<!--", "-->"),), (), tags=True)
_PROSE = Syntax(prose=True)
_OTHER = Syntax((), _BLOCK_COMMENT, (_DOUBLE, _CHARACTER))

_LANGUAGES = {
    "python py pyi python3 starlark gdscript": _PYTHON,
    "c h cc cpp hpp c++ objective-c objective-cpp cuda csharp cs rust rs scala zig dart": _C,
    "javascript js mjs cjs jsx javascriptreact typescript ts mts cts tsx typescriptreact": _SCRIPT,
    "go golang": _GO,
    "java kotlin kt swift groovy php": _JAVA,
    "yaml yml toml makefile dockerfile r perl nix ini conf properties": _HASH,
    "ruby rb elixir julia crystal shellscript sh bash zsh fish": _WORDS,
    "lua": _LUA,
    "sql haskell elm": _SQL,
    "html xml xhtml svg vue svelte": _HTML,
    "markdown md mdx plaintext text txt restructuredtext rst asciidoc adoc latex tex git-commit gitcommit": _PROSE,
}
_SYNTAX = {name: syntax for names, syntax in _LANGUAGES.items() for name in names.split()}


def find_syntax(language: str) -> Syntax:
    """Return the syntax for a language id of the protocol or a name in a Markdown fence."""
    return _SYNTAX.get(language.lower(), _OTHER)


def may_be_prose(language: str) -> bool:
    """Return whether the documents are prose, or may be, because the language is unknown."""
    return not language or find_syntax(language).prose


def scan_line(line: str, inside: str | None, syntax: Syntax) -> LineScan:
    """Scan a line. ``inside`` closes the string or comment from the previous line, if any."""
    marks: list[BracketMark] = []
    at, left = 0, None
    pattern, closings = _pattern(syntax)
    began_inside = inside is not None
    while True:
        if inside is not None:
            end = _find(line, inside, at)
            if end < 0:
                return LineScan(tuple(marks), inside, left, len(line), quoted=False)
            at = end + len(inside)
            if began_inside and left is None:
                left = at
            inside = None
        match = pattern.search(line, at)
        if match is None:
            return LineScan(tuple(marks), None, left, len(line), quoted=False)
        if match.lastgroup == "span":
            inside = closings[match.group()]
        elif match.lastgroup == "comment":
            return LineScan(tuple(marks), None, left, match.start(), quoted=False)
        elif match.lastgroup == "string":
            if match.end() == len(line) and not _is_ended(match.group()):
                return LineScan(tuple(marks), None, left, len(line), quoted=True)
        else:
            marks += _marks(match)
        at = match.end()


def code_parts(text: str, syntax: Syntax) -> Iterator[tuple[int, int]]:
    pattern, closings = _pattern(syntax)
    inside: str | None = None
    begin = 0
    for line in StringIO(text):  # str.splitlines would end a comment at a form feed, too
        at = 0
        while at < len(line):
            if inside is not None:
                end = _find(line, inside, at)
                if end < 0:
                    break
                at, inside = end + len(inside), None
            match = pattern.search(line, at)
            while match is not None and match.lastgroup not in ("span", "comment", "string"):
                match = pattern.search(line, match.end())
            yield begin + at, begin + (len(line) if match is None else match.start())
            if match is None or match.lastgroup == "comment":
                break
            if match.lastgroup == "span":
                inside = closings[match.group()]
            at = match.end()
        begin += len(line)


def with_masked_text(text: str, syntax: Syntax, mask: Callable[[int, int], str]) -> str:
    """Return code with ``mask(begin, end)`` instead of each string and comment."""
    pieces, at = [], 0
    for begin, end in (*code_parts(text, syntax), (len(text), len(text))):
        pieces += [mask(at, begin), text[begin:end]]
        at = end
    return "".join(pieces)


def _is_ended(string: str) -> bool:
    escaped = (len(string) - 1 - len(string[:-1].rstrip("\\"))) % 2
    return len(string) > 1 and string[-1] == string[0] and not escaped


def _marks(match: re.Match[str]) -> list[BracketMark]:
    groups = match.groupdict()
    if bracket := groups.get("bracket"):
        opens = bracket in OPENING
        return [BracketMark(match.start(), CLOSING[OPENING.index(bracket)] if opens else bracket, opens)]
    if name := groups.get("end"):
        return [BracketMark(match.start(), f"</{name}>", opens=False)]
    if groups.get("late"):
        return [BracketMark(match.start("late"), "/>", opens=False)]
    name = groups["begin"]
    if name.lower() in VOID or name.startswith("!") or groups["empty"] == "/>":
        return []
    return [BracketMark(match.start(), f"</{name}>", opens=True)]


def _find(line: str, closing: str, at: int) -> int:
    """Return where a string or comment ends, or -1. A backslash escapes a string's end."""
    while (end := line.find(closing, at)) >= 0:
        escaped = closing not in ("*/", "-->", "]]") and _backslashes(line, end) % 2
        if not escaped:
            return end
        at = end + 1
    return -1


def _backslashes(line: str, end: int) -> int:
    begin = end
    while begin and line[begin - 1] == "\\":
        begin -= 1
    return end - begin


@cache
def _pattern(syntax: Syntax) -> tuple[re.Pattern[str], dict[str, str]]:
    spans = sorted((begin for begin, _ in syntax.spans), key=len, reverse=True)
    kinds = {
        "span": [re.escape(begin) for begin in spans],
        "comment": [(r"(?<![\w$\{&])" if one == "#" else "") + re.escape(one) for one in syntax.comments],
        "string": list(syntax.strings),
    }
    parts = [rf"(?P<{kind}>{'|'.join(patterns)})" for kind, patterns in kinds.items() if patterns]
    if syntax.tags:
        parts.append(_TAG)
    elif not syntax.prose:
        parts.append(r"(?P<bracket>[\[\](){}])")
    return re.compile("|".join(parts) or r"(?!)"), dict(syntax.spans)


_CASE = re.compile(r"\s*(?:case\b.*|(?:default|public|private|protected)\s*):$")
_OPENING_WORD = re.compile(r"(?:=>|->|\b(?:do|then|else|begin|try|where|repeat)|\|[\w, ]+\|)$")
_BLOCK_WORD = re.compile(r"\s*(?:def|class|module|if|unless|while|until|case|for|begin)\b(?!.*\bend$)")
_FUNCTION = re.compile(r"\bfunction\b")


def opens_block(line: str, found: LineScan, syntax: Syntax) -> bool:
    code = line[: found.code].rstrip()
    if not code or found.inside is not None or found.quoted:
        return False
    last = found.marks[-1] if found.marks else None
    if last is not None and last.opens and (syntax.tags or last.at == len(code) - 1):
        return not syntax.tags or (code.endswith(">") and line.rfind("<") == last.at)
    if syntax.tags or syntax.prose:
        return False
    if code.endswith(":"):
        return syntax.colon or _CASE.match(code) is not None
    return _OPENING_WORD.search(code) is not None or (
        syntax.words and (_BLOCK_WORD.match(code) is not None or _ends_with_function(code))
    )


def _ends_with_function(code: str) -> bool:
    """Return whether a line ends with ``function NAME (...)``, without inner parentheses."""
    begin = code.rfind("(")
    if not code.endswith(")") or code.find(")", begin) < len(code) - 1:
        return False
    name = max(code.rfind("(", 0, begin), code.rfind(")", 0, begin)) + 1
    return _FUNCTION.search(code, name, begin) is not None


def margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def indentation(line: str) -> int:
    return len(margin(line).expandtabs(TAB))
