"""LaTeX formulas as MathML, which needs no scripts or fonts.

The converter is native code, and formulas come from models. Formulas that could need much time or
stack are not converted, and only known elements and attributes are kept.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from html import escape
from html.parser import HTMLParser
from threading import Lock

from math_core import LatexError, LatexToMathML

MAX_CHARACTERS = 4_000

MAX_NESTING = 100
"""Each level takes some 4 KB of the thread's stack."""

MAX_WORK = 100_000
"""Maximum of length times 2 to the number of simultaneously open delimiters.

The converter reads the rest again for every unpaired delimiter.
"""

MAX_ELEMENTS_NESTED = 60
"""Browsers lay out deep trees slowly."""

MAX_MATHML_CHARACTERS = 80_000

MAX_EM = 5
"""Maximum length: larger lengths could push the page out of sight."""

ELEMENTS = frozenset({
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msub", "msup", "msubsup", "munder", "mover", "munderover",
    "mmultiscripts",
    "mprescripts", "mfrac", "msqrt", "mroot", "mtable", "mtr", "mtd", "mpadded", "mphantom", "mstyle", "b", "i",
})  # fmt: skip
"""These elements cannot load, run or link anything."""

VALUES = {
    "display": re.compile("block|inline"),
    "form": re.compile("prefix|infix|postfix"),
    "mathvariant": re.compile("normal"),
    "scriptlevel": re.compile(r"[+-]?[0-3]"),
    **dict.fromkeys(
        (
            "accent",
            "accentunder",
            "displaystyle",
            "fence",
            "largeop",
            "movablelimits",
            "separator",
            "stretchy",
            "symmetric",
        ),
        re.compile("true|false"),
    ),
}

LENGTHS = frozenset({"depth", "height", "linethickness", "lspace", "maxsize", "minsize", "rspace", "voffset", "width"})

_LENGTH = re.compile(r"(-?\d*\.?\d+)(em|ex|px|pt|%|)")
_EM = {"em": 1.0, "ex": 0.5, "px": 1 / 16, "pt": 1 / 12, "%": 1 / 20, "": 1.0}
_STYLES = {
    "text-align": re.compile("left|right|center"),
    "justify-items": re.compile("start|end|center"),
    "width": re.compile("50%|100%"),
    **{f"padding-{side}": re.compile(r"0|[01]?\.?\d{1,3}em") for side in ("left", "right", "top", "bottom")},
    **{f"margin-{side}": re.compile(r"-?0?\.\d{1,8}em") for side in ("left", "right")},
    **{
        f"border-{side}": re.compile("0.05em (?:solid|dashed) currentcolor")
        for side in ("left", "right", "top", "bottom")
    },
}
_COLOURS = frozenset({"color", "background-color"})
"""Left out: the colours might be unreadable in a theme."""

_PART = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_GROUPS = {"}": "{", "\\end": "\\begin", "\\right": "\\left"}
_PAIRS = _GROUPS | {")": "(", "]": "[", "\\}": "\\{"}
_OPENINGS = frozenset(_PAIRS.values())
_OPENING_COMMAND = re.compile(r"\\(?:l[A-Za-z]*|[ul]lcorner)")

_DEFINITION = re.compile(
    r"\\(?:[egx]?def|(?:re)?newcommand|providecommand|(?:future)?let|DeclareMathOperator)(?![A-Za-z])"
)
"""Commands with an expansion of unknown size."""

_CONVERTER = LatexToMathML(max_expansions=100, fancy_error=False)
_LOCK = Lock()


@lru_cache(maxsize=2_000)
def mathml(latex: str, display: bool) -> str | None:
    """Return a formula as MathML; None for unknown commands and exceeded limits."""
    latex = latex.strip().replace("{split}", "{aligned}")
    # The converter numbers equations only in an environment.
    if display and "\\tag" in latex and "\\begin" not in latex:
        latex = f"\\begin{{equation}}{latex}\\end{{equation}}"
    if len(latex) > MAX_CHARACTERS or _DEFINITION.search(latex) or not is_cheap(latex):
        return None
    try:
        with _LOCK:
            written = _CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError:
        return None
    return _cleaned(written) if len(written) <= MAX_MATHML_CHARACTERS else None


def is_cheap(latex: str) -> bool:
    """Return whether the converter needs little stack and time."""
    groups: list[tuple[str, int]] = []
    chain = nesting = delimiters = 0  # Each command in a chain may be the argument of the previous command.
    for part in _PART.findall(latex):
        if part.isspace():
            continue
        if part in _PAIRS:
            while groups and _closes(part, groups):
                opening, size = groups.pop()
                nesting -= size
                delimiters -= opening not in _GROUPS.values()
                if opening == _PAIRS[part]:
                    break
            chain = 0
        elif _opens(part):
            groups.append((part, chain + 1))
            nesting += chain + 1
            chain = 0
            delimiters += part not in _GROUPS.values()
        else:
            chain = chain + 1 if part in "^_" or part[1:2].isalpha() else 0
        if nesting + chain > MAX_NESTING or len(latex) << delimiters > MAX_WORK:
            return False
    return True


def _closes(part: str, groups: list[tuple[str, int]]) -> bool:
    return groups[-1][0] == _PAIRS[part] or (part == "}" and any(opening == "{" for opening, _ in groups))


def _opens(part: str) -> bool:
    is_bracket = len(part) == 1 and unicodedata.category(part) == "Ps"
    return part in _OPENINGS or is_bracket or _OPENING_COMMAND.fullmatch(part) is not None


def _cleaned(written: str) -> str | None:
    """Return MathML with allowed attributes only, or None if any part is unknown."""
    cleaner = _Cleaner()
    cleaner.feed(written)
    cleaner.close()
    return "".join(cleaner.parts) if cleaner.is_known else None


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.is_known = True
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_box = tag == "menclose" and attrs == [("notation", "box")]
        self._open.append("mrow" if is_box else tag)
        kept = [' class="pl-boxed"'] if is_box else [self._attribute(name, value or "") for name, value in attrs]
        self.is_known = self.is_known and self._open[-1] in ELEMENTS and len(self._open) <= MAX_ELEMENTS_NESTED
        self.parts.append(f"<{self._open[-1]}{''.join(kept)}>")

    def handle_endtag(self, tag: str) -> None:
        if self._open:
            self.parts.append(f"</{self._open.pop()}>")
        else:
            self.is_known = False

    def handle_data(self, data: str) -> None:
        self.is_known = self.is_known and bool(self._open)
        self.parts.append(escape(data))

    def handle_comment(self, data: str) -> None:
        self.is_known = False

    def handle_decl(self, decl: str) -> None:
        self.is_known = False

    def handle_pi(self, data: str) -> None:
        self.is_known = False

    def unknown_decl(self, data: str) -> None:
        self.is_known = False

    def _attribute(self, name: str, value: str) -> str:
        if name == "style":
            return self._style(value)
        length = _LENGTH.fullmatch(value) if name in LENGTHS else None
        is_small = length is not None and abs(float(length[1])) * _EM[length[2]] <= MAX_EM
        known = VALUES.get(name)
        if is_small or (known is not None and known.fullmatch(value)):
            return f' {name}="{value}"'
        self.is_known = False
        return ""

    def _style(self, value: str) -> str:
        kept = []
        for declaration in filter(None, map(str.strip, value.split(";"))):
            name, _, what = (part.strip() for part in declaration.partition(":"))
            if name in _COLOURS:
                continue
            known = _STYLES.get(name)
            if known is None or known.fullmatch(what) is None:
                self.is_known = False
                return ""
            kept.append(f"{name}:{what}")
        return f' style="{";".join(kept)}"' if kept else ""
