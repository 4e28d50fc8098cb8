"""Ends of lines, blocks of code, comments and strings in an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from pellucid.code.brackets import CLOSING, OPENING, QUOTES
from pellucid.code.language_syntax import BracketMark, LineScan, indentation, opens_block, scan_line
from pellucid.code.line_rules import CONTINUING, is_worth_cutting
from pellucid.completion.shaping.ending_reasons import Ending, ScopeEnd
from pellucid.completion.shaping.parsed_cursor import Bracket, ParsedCursor

CLOSING_WORDS = frozenset(["end", "fi", "done", "esac"])

_WORD = re.compile(r"\w*")
_CLOSINGS = re.compile(r"\s*(?:[)\]}]+|</[\w:.-]+\s*>)[)\]};,]*")
_BETWEEN = " \t" + CLOSING + ",;"
_CONTINUES = re.compile(r"\s*[)\]}]+\s*(?:else|catch|finally)\b")
_MAY_CONTINUE = re.compile(r"[\s}]*(?:if|else|elif|for|while|try|do|except|catch|unless|match|case)\b|\s*[@#]")
_DECLARES = re.compile(
    r"\s*(?:@|(?:export|pub|public|private|protected|static|async|abstract|final|override|def|class|fn|func|fun|function|impl|struct"
    r"|enum|trait|interface|namespace|module)\b|(?!if|for|while|switch|catch|with|return)[\w$#]+\s*\([^;=]*\)[^;=()]*\{$)"
)


class Scope(Protocol):
    @property
    def blank_lines(self) -> int:
        """Maximum number of consecutive blank lines in the suggestion."""
        ...

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        """Return the end of the suggestion in the line, or None if the suggestion continues.

        The first line includes the text left of the cursor. Call this while a line grows, whenever
        the line is not blank, and once more for the ``whole`` line, blank or not.
        """
        ...


class LineReader:
    """Scanner for the lines of an answer. The first line continues the cursor's line."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self.inside = parsed.inside
        """Closing text of the comment or string around the next line's beginning, if any."""
        self.is_first = True

    @property
    def start(self) -> int:
        return len(self._parsed.left) if self.is_first else 0

    def scan(self, line: str) -> LineScan:
        return self._parsed.scan_on(line) if self.is_first else scan_line(line, self.inside, self._parsed.syntax)

    def advance(self, found: LineScan) -> None:
        self.inside, self.is_first = found.inside, False


class OpenBrackets:
    """Open brackets at the end of an answer, from before the cursor and from the answer."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._outer = list(parsed.brackets)
        self._own: list[str] = []
        # Line of the innermost bracket; all brackets of this line are closed together.
        self._line = parsed.brackets[-1].line if parsed.brackets else None

    @property
    def own(self) -> int:
        return len(self._own)

    @property
    def closed(self) -> bool:
        return self._line is not None and not any(bracket.line == self._line for bracket in self._outer)

    def settle(self) -> None:
        """From now on, allow the answer to close only its own brackets."""
        self._line = None

    def follow(self, line: str, marks: tuple[BracketMark, ...], *, keep: bool) -> BracketMark | None:
        """Return the first mark that closes a bracket the answer must not close, or None."""
        own, outer = list(self._own), list(self._outer)
        for mark in marks:
            if mark.opens:
                own.append(mark.closing)
            elif mark.closing == "/>":
                del (own or outer)[-1:]
            elif mark.closing in own:
                del own[len(own) - 1 - own[::-1].index(mark.closing) :]
            elif not self._may_close(outer, mark, alone=not line[: mark.at].strip(_BETWEEN)):
                return mark
        if keep:
            self._own, self._outer = own, outer
        return None

    def _may_close(self, outer: list[Bracket], mark: BracketMark, *, alone: bool) -> bool:
        """Return whether the answer may close the innermost bracket from before the cursor.

        A line of only closing brackets may close the brackets of a single line.
        """
        if not outer or outer[-1].closing != mark.closing or (alone and outer[-1].line != self._line):
            return False
        if self._parsed.is_closed(outer[-1]):
            return False
        outer.pop()
        return True


class LineScope:
    """The rest of a line or, after a block's opening line, the first line of the block."""

    blank_lines = 0

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._reader = LineReader(parsed)
        self._brackets = OpenBrackets(parsed)

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        start, right = self._reader.start, self._parsed.right
        found = self._reader.scan(line)
        if not line[start:].strip():
            if whole:
                self._reader.advance(found)
            return None
        if self._parsed.quoted and (at := _find_closing(line, start, right)) is not None:
            return ScopeEnd(at, Ending.SUFFIX)
        wrong = self._brackets.follow(line, _marks_from(found, start), keep=False)
        if wrong is not None:
            return ScopeEnd(_end_before_closing(line, wrong, right), _why(wrong, self._parsed))
        if not whole:
            return None
        repeated = _find_right(line, start, right)
        return ScopeEnd(len(line), Ending.LINE) if repeated is None else ScopeEnd(repeated, Ending.SUFFIX)


class TextScope:
    blank_lines = 1_000

    def __init__(self, parsed: ParsedCursor) -> None:
        assert parsed.inside is not None, "the cursor is in a comment or string"
        self._parsed = parsed
        self._reader = LineReader(parsed)
        self._closing = parsed.inside

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        found = self._reader.scan(line)
        if found.left is None:
            if whole:
                self._reader.advance(found)
            return None
        if _is_closed_below(self._parsed, self._closing):
            return ScopeEnd(found.left - len(self._closing), Ending.SUFFIX)
        return ScopeEnd(len(line), Ending.SCOPE) if whole else None


@dataclass(slots=True)
class _Statement:
    """The last statement at a block's indentation: first line, and whether a body follows."""

    header: str = ""
    has_body: bool = False


class BlockScope:
    """A block opened by the cursor's line or the line above, else the block around the cursor."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._reader = LineReader(parsed)
        self._brackets = OpenBrackets(parsed)
        self._statement = _Statement()
        self._after_blank = False
        self._indent: int | None = None
        self._single = False
        if parsed.left.strip() and parsed.opener is None:
            self._indent = indentation(parsed.left)
            self._single = self._indent == 0 and not parsed.brackets

    @property
    def blank_lines(self) -> int:
        return 1 if self._reader.inside is None else 1_000

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        found = self._reader.scan(line)
        end = self._judge(line, found, whole=whole)
        if whole and end is None:
            self._reader.advance(found)
            self._after_blank = not line.strip()
        return end

    def _judge(self, line: str, found: LineScan, *, whole: bool) -> ScopeEnd | None:
        start = self._reader.start
        if not line[start:].strip():
            return None
        starts_line = self._reader.inside is None and not (self._reader.is_first and self._parsed.left.strip())
        closes = bool(found.marks) and not found.marks[0].opens and not line[: found.marks[0].at].strip()
        if starts_line and not closes:
            end = self._judge_indentation(line, whole=whole)
            if end is not None:
                return end
        wrong = self._brackets.follow(line, _marks_from(found, start), keep=whole)
        if wrong is not None:
            return ScopeEnd(wrong.at, _why(wrong, self._parsed) if line[start : wrong.at].strip() else Ending.SCOPE)
        return self._judge_whole(line, found, starts_line=starts_line, closes=closes) if whole else None

    def _judge_indentation(self, line: str, *, whole: bool) -> ScopeEnd | None:
        indent, text = indentation(line), line.strip()
        word = _first_word(text)
        syntax, opener = self._parsed.syntax, self._parsed.opener_indent
        if not whole and syntax.tags and "</".startswith(text[:2]) and ">" not in text:
            return None  # May become a closing tag
        if not whole and word == text and any(known.startswith(word) for known in CONTINUING | CLOSING_WORDS):
            return None  # May become a continuing word
        if syntax.words and word in CLOSING_WORDS:
            return self._judge_closing_word(line, indent, whole=whole)
        if self._indent is None:
            least = opener if opener is not None else indentation(self._parsed.left) - 1
            if indent < least or (indent == least and not self._parsed.opener_brackets):
                return ScopeEnd(0, Ending.SCOPE)
            if whole:
                self._indent = indent
                self._single = self._single or (indent == 0 and opener is None and not self._parsed.brackets)
            return None
        if syntax.comments == ("//",) and _is_marginal(text, whole=whole):
            return None
        if indent < self._indent:
            return ScopeEnd(0, Ending.SCOPE)
        if indent > self._indent or not self._statement.header or _continues_statement(text):
            return None
        return ScopeEnd(0, Ending.SCOPE) if self._is_complete() else None

    def _is_complete(self) -> bool:
        has_body = self._statement.has_body
        if self._single:
            return has_body or self._after_blank
        return has_body and self._after_blank and _DECLARES.match(self._statement.header) is not None

    def _judge_closing_word(self, line: str, indent: int, *, whole: bool) -> ScopeEnd | None:
        """Judge a line that begins with end, fi, done or esac."""
        if self._indent is not None and indent >= self._indent:
            return None
        if indent != self._parsed.opener_indent or self._is_closed_below(line, indent):
            return ScopeEnd(0, Ending.SCOPE)
        return ScopeEnd(len(line), Ending.SCOPE) if whole else None

    def _is_closed_below(self, line: str, indent: int) -> bool:
        below = next((other for other in self._parsed.lines_below() if indentation(other) <= indent), "")
        return indentation(below) == indent and _first_word(below.strip()) == _first_word(line.strip())

    def _judge_whole(self, line: str, found: LineScan, *, starts_line: bool, closes: bool) -> ScopeEnd | None:
        syntax = self._parsed.syntax
        opens = opens_block(line, found, syntax)
        indent = indentation(line)
        if self._brackets.closed:
            if not starts_line and opens:
                self._begin_statement(line)
                return None
            if starts_line and (self._brackets.own or _CONTINUES.match(line)):
                cut = _CLOSINGS.match(line)
                return ScopeEnd(cut.end() if cut else len(line), Ending.SCOPE)
            return ScopeEnd(len(line), Ending.SCOPE)
        if not starts_line:
            if self._reader.is_first:
                self._statement = _Statement(line)
            return None
        if self._indent is None:
            self._indent = indent
        if indent > self._indent:
            self._statement.has_body = True
        elif closes or (syntax.words and _first_word(line.strip()) in CLOSING_WORDS):
            if (
                self._single
                and not self._brackets.own
                and not opens
                and not _MAY_CONTINUE.match(self._statement.header)
            ):
                return ScopeEnd(len(line), Ending.SCOPE)
            self._statement.has_body = True
        elif not _continues_statement(line.strip()):
            self._statement = _Statement(line)
        return None

    def _begin_statement(self, line: str) -> None:
        """Want only the cursor line's statement: the answer made the line open a block."""
        self._brackets.settle()
        self._indent, self._single = indentation(line), True
        self._statement = _Statement(line)


def _marks_from(found: LineScan, start: int) -> tuple[BracketMark, ...]:
    return tuple(mark for mark in found.marks if mark.at >= start)


def _find_closing(line: str, start: int, right: str) -> int | None:
    """Return where an answer in a string repeats the bracket or quote right of the cursor."""
    closing = right[:1]
    if not closing or closing not in CLOSING + QUOTES:
        return None
    depth = 0
    for at in range(start, len(line)):
        if line[at] == closing and depth == 0 and line[at - 1] != "\\":
            return at
        if closing in CLOSING:
            depth += (line[at] == OPENING[CLOSING.index(closing)]) - (line[at] == closing)
    return None


def _why(closing: BracketMark, parsed: ParsedCursor) -> Ending:
    return Ending.SUFFIX if closing.closing in parsed.cursor.after else Ending.BRACKET


def _end_before_closing(line: str, closing: BracketMark, right: str) -> int:
    between = right[: max(right.find(closing.closing), 0)].rstrip()
    before = line[: closing.at].rstrip()
    return len(before) - len(between) if between and before.endswith(between) else closing.at


def _find_right(line: str, start: int, right: str) -> int | None:
    """Return where the answer repeats the text right of the cursor, if too long for chance."""
    right = right.strip()
    if not is_worth_cutting(right):
        return None
    match = re.search(rf"(?<!\w){re.escape(right)}" if right[0].isalnum() else re.escape(right), line[start:])
    return None if match is None else start + match.start()


def _continues_statement(text: str) -> bool:
    return _first_word(text) in CONTINUING or text.startswith(("{", "("))


def _is_marginal(text: str, *, whole: bool) -> bool:
    """Return whether C may have the line at a block's margin: a preprocessor line or a label."""
    word = _first_word(text)
    label = word and text in (word, word + ":") and word != "default"
    return text.startswith("#") or bool(label and (text != word or not whole))


def _first_word(text: str) -> str:
    match = _WORD.match(text)
    return match.group() if match else ""


def _is_closed_below(parsed: ParsedCursor, closing: str) -> bool:
    after = parsed.cursor.after
    begin = {"*/": "/*", "-->": "<!--", "]]": "[["}.get(closing)
    if begin is None:
        return after.count(closing) % 2 == 1
    end = after.find(closing)
    return end >= 0 and begin not in after[:end]
