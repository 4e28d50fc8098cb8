"""Where the rest of a line, or a block, ends: read line by line as an answer grows."""

from __future__ import annotations

import re
from typing import Protocol

from pellucid.completion.shaping.ending import Ending, ScopeEnd
from pellucid.completion.shaping.language_syntax import BracketMark, LineScan, indentation, opens_block, scan_line
from pellucid.completion.shaping.parsed_cursor import Bracket, ParsedCursor
from pellucid.text.brackets import CLOSING, OPENING, QUOTES
from pellucid.text.stopping import WORTH_CUTTING

CONTINUING = frozenset(["else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure"])
"""Words that go on with a compound statement."""

CLOSING_WORDS = frozenset(["end", "fi", "done", "esac"])

_WORD = re.compile(r"\w*")
_CLOSINGS = re.compile(r"\s*(?:[)\]}]+|</[\w:.-]+\s*>)[)\]};,]*")
_BETWEEN = " \t" + CLOSING + ",;"
_CONTINUES = re.compile(r"\s*[)\]}]+\s*(?:else|catch|finally)\b")
_MAY_GO_ON = re.compile(r"[\s}]*(?:if|else|elif|for|while|try|do|except|catch|unless|match|case)\b|\s*[@#]")
_DECLARES = re.compile(
    r"\s*(?:@|(?:export|pub|public|private|protected|static|async|abstract|final|override|def|class|fn|func|fun|function|impl|struct"
    r"|enum|trait|interface|namespace|module)\b|(?!if|for|while|switch|catch|with|return)[\w$#]+\s*\([^;=]*\)[^;=()]*\{$)"
)


class Scope(Protocol):
    """Where what is suggested ends."""

    @property
    def blanks(self) -> int:
        """How many blank lines in a row it may have."""
        ...

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        """Where a line ends it; None if it goes on. The first line has what is left of the cursor.

        A line is judged while it grows, whenever it is not blank, and once more when it is ``whole``: then it counts.
        """
        ...


class OpenBrackets:
    """The brackets that are open while an answer is written: those before the cursor, and its own."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._theirs = list(parsed.brackets)
        self._own: list[str] = []
        self.started = parsed.brackets[-1].line if parsed.brackets else None  # the line of the innermost; it closes as a whole

    @property
    def own(self) -> int:
        """How many of its own are open."""
        return len(self._own)

    @property
    def closed(self) -> bool:
        """Whether all is closed that the cursor's innermost line with a bracket had open."""
        return self.started is not None and not any(one.line == self.started for one in self._theirs)

    def settle(self) -> None:
        """From here on the answer may close nothing but its own."""
        self.started = None

    def follow(self, line: str, marks: tuple[BracketMark, ...], *, keep: bool) -> BracketMark | None:
        """The first mark that closes what the answer should not: what it did not open and what is closed after the cursor."""
        own, theirs = list(self._own), list(self._theirs)
        for mark in marks:
            if mark.opens:
                own.append(mark.closing)
            elif mark.closing == "/>":
                del (own or theirs)[-1:]
            elif mark.closing in own:
                del own[len(own) - 1 - own[::-1].index(mark.closing) :]
            elif not self._may_close(theirs, mark, alone=not line[: mark.at].strip(_BETWEEN)):
                return mark
        if keep:
            self._own, self._theirs = own, theirs
        return None

    def _may_close(self, theirs: list[Bracket], mark: BracketMark, *, alone: bool) -> bool:
        """Whether a bracket from before the cursor may be closed; on lines of their own only those of one line are."""
        if not theirs or theirs[-1].closing != mark.closing or (alone and theirs[-1].line != self.started):
            return False
        if self._parsed.is_closed(theirs[-1]):
            return False
        theirs.pop()
        return True


class LineScope:
    """The rest of a line, or the first line of a block where the cursor is at the end of the line that opens it."""

    blanks = 0

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._brackets = OpenBrackets(parsed)
        self._first = True

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        left = len(self._parsed.left) if self._first else 0
        found = self._parsed.scan_on(line) if self._first else scan_line(line, self._parsed.inside, self._parsed.syntax)
        if not line[left:].strip():
            self._first = self._first and not whole
            return None
        if self._parsed.quoted and (at := _closing_at(line, left, self._parsed.right)) is not None:
            return ScopeEnd(at, Ending.SUFFIX)
        wrong = self._brackets.follow(line, _after(found, left), keep=False)
        if wrong is not None:
            return ScopeEnd(_without_right(line, wrong, self._parsed.right), Ending.SUFFIX)
        if not whole:
            return None
        said = _right_in(line, left, self._parsed.right)
        return ScopeEnd(len(line), Ending.LINE) if said is None else ScopeEnd(said, Ending.SUFFIX)


class BlockScope:
    """A block of code: what the line above or left of the cursor opens, else the scope that the cursor stands in."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._syntax = parsed.syntax
        self._brackets = OpenBrackets(parsed)
        self._inside = parsed.inside
        self._in_text = parsed.inside is not None  # the block is a comment or a string
        self._opener = parsed.opener_indent  # what is indented no more than this is not in the block
        self._braced = parsed.opener_brackets
        self._indent: int | None = None  # of the block
        self._alone = False  # a single statement is wanted
        self._header = ""  # the last line at the block's indentation
        self._bodied = False  # something is indented below it
        self._blank = False  # the line before is blank
        self._first = True
        if parsed.left.strip() and self._opener is None:
            self._indent = indentation(parsed.left)
            self._alone = self._indent == 0 and not parsed.brackets

    @property
    def blanks(self) -> int:
        return 1 if self._inside is None else 1_000

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        left = len(self._parsed.left) if self._first else 0
        found = self._parsed.scan_on(line) if self._first else scan_line(line, self._inside, self._syntax)
        end = self._judge(line, found, left, whole=whole)
        if whole and end is None:
            self._inside = found.inside
            self._first = False
            self._blank = not line.strip()
        return end

    def _judge(self, line: str, found: LineScan, left: int, *, whole: bool) -> ScopeEnd | None:
        if self._in_text:
            return self._judge_text(line, found, whole=whole)
        if not line[left:].strip():  # the cursor's own line, which is complete, or a blank one
            return None
        starts = self._inside is None and not (self._first and self._parsed.left.strip())
        closes = _closes_first(line, found)
        if starts and not closes:
            end = self._judge_indentation(line, whole=whole)
            if end is not None:
                return end
        wrong = self._brackets.follow(line, _after(found, left), keep=whole)
        if wrong is not None:
            return ScopeEnd(wrong.at, Ending.SUFFIX if line[left : wrong.at].strip() else Ending.SCOPE)
        return self._judge_whole(line, found, starts=starts, closes=closes) if whole else None

    def _judge_text(self, line: str, found: LineScan, *, whole: bool) -> ScopeEnd | None:
        """A line of the comment or string that the cursor stands in: the block ends with it."""
        if found.left is None or self._inside is None:
            return None
        if _is_ended_below(self._parsed, self._inside):
            return ScopeEnd(found.left - len(self._inside), Ending.SUFFIX)
        return ScopeEnd(len(line), Ending.SCOPE) if whole else None

    def _judge_indentation(self, line: str, *, whole: bool) -> ScopeEnd | None:
        indent, text = indentation(line), line.strip()
        word = _first_word(text)
        if not whole and self._syntax.tags and "</".startswith(text[:2]) and ">" not in text:
            return None  # it may close something
        if not whole and word == text and any(known.startswith(word) for known in CONTINUING | CLOSING_WORDS):
            return None  # it may still become a word that goes on
        if self._syntax.words and word in CLOSING_WORDS:
            return self._judge_closing_word(line, indent, whole=whole)
        if self._indent is None:
            least = self._opener if self._opener is not None else indentation(self._parsed.left) - 1
            if indent < least or (indent == least and not self._braced):
                return ScopeEnd(0, Ending.SCOPE)
            if whole:
                self._indent = indent
                self._alone = self._alone or (indent == 0 and self._opener is None and not self._parsed.brackets)
            return None
        if self._syntax.comments == ("//",) and _is_marginal(text, whole=whole):
            return None
        if indent < self._indent:
            return ScopeEnd(0, Ending.SCOPE)
        if indent > self._indent or not self._header or _goes_on(text):
            return None
        return ScopeEnd(0, Ending.SCOPE) if self._is_over() else None

    def _is_over(self) -> bool:
        """Whether the statements at the block's indentation are a thought: at the margin, or a whole declaration."""
        if self._alone:
            return self._bodied or self._blank
        return self._bodied and self._blank and _DECLARES.match(self._header) is not None

    def _judge_closing_word(self, line: str, indent: int, *, whole: bool) -> ScopeEnd | None:
        """A line that begins with end, fi, done or esac."""
        if self._indent is not None and indent >= self._indent:
            return None
        if indent != self._opener or self._is_below(line, indent):
            return ScopeEnd(0, Ending.SCOPE)
        return ScopeEnd(len(line), Ending.SCOPE) if whole else None

    def _is_below(self, line: str, indent: int) -> bool:
        below = next((one for one in self._parsed.lines_below() if indentation(one) <= indent), "")
        return indentation(below) == indent and _first_word(below.strip()) == _first_word(line.strip())

    def _judge_whole(self, line: str, found: LineScan, *, starts: bool, closes: bool) -> ScopeEnd | None:
        opens = opens_block(line, found, self._syntax)
        indent = indentation(line)
        if self._brackets.closed:
            if not starts and opens:
                return self._begin_statement(line)
            if starts and (self._brackets.own or _CONTINUES.match(line)):
                cut = _CLOSINGS.match(line)
                return ScopeEnd(cut.end() if cut else len(line), Ending.SCOPE)
            return ScopeEnd(len(line), Ending.SCOPE)
        if not starts:
            if self._first:
                self._note(line)
            return None
        if self._indent is None:  # it begins by closing something
            self._indent = indent
        if indent > self._indent:
            self._bodied = True
        elif closes or (self._syntax.words and _first_word(line.strip()) in CLOSING_WORDS):
            if self._alone and not self._brackets.own and not opens and not _MAY_GO_ON.match(self._header):
                return ScopeEnd(len(line), Ending.SCOPE)
            self._bodied = True
        elif not _goes_on(line.strip()):
            self._note(line)
        return None

    def _begin_statement(self, line: str) -> ScopeEnd | None:
        """The cursor's line went on to open a block: that statement is wanted, and no more."""
        self._brackets.settle()
        self._indent, self._alone = indentation(line), True
        self._note(line)
        return None

    def _note(self, line: str) -> None:
        self._header, self._bodied = line, False


def _after(found: LineScan, left: int) -> tuple[BracketMark, ...]:
    return tuple(mark for mark in found.marks if mark.at >= left)


def _closing_at(line: str, left: int, right: str) -> int | None:
    """Where an answer within a string says the bracket or quote that stands right of the cursor."""
    closing = right[:1]
    if not closing or closing not in CLOSING + QUOTES:
        return None
    depth = 0
    for at in range(left, len(line)):
        if line[at] == closing and depth == 0 and line[at - 1] != "\\":
            return at
        if closing in CLOSING:
            depth += (line[at] == OPENING[CLOSING.index(closing)]) - (line[at] == closing)
    return None


def _without_right(line: str, closing: BracketMark, right: str) -> int:
    """Where a line ends before a closing bracket, and before what stands between the cursor and that bracket already."""
    between = right[: max(right.find(closing.closing), 0)].rstrip()
    said = line[: closing.at].rstrip()
    return len(said) - len(between) if between and said.endswith(between) else closing.at


def _right_in(line: str, left: int, right: str) -> int | None:
    """Where the answer says what stands right of the cursor, if that is worth looking for."""
    right = right.strip()
    if sum(map(str.isalnum, right)) < WORTH_CUTTING:
        return None
    match = re.search(rf"(?<!\w){re.escape(right)}" if right[0].isalnum() else re.escape(right), line[left:])
    return None if match is None else left + match.start()


def _closes_first(line: str, found: LineScan) -> bool:
    return bool(found.marks) and not found.marks[0].opens and not line[: found.marks[0].at].strip()


def _goes_on(text: str) -> bool:
    """Whether a line goes on with the statement above it."""
    return _first_word(text) in CONTINUING or text.startswith(("{", "("))


def _is_marginal(text: str, *, whole: bool) -> bool:
    """Whether it is, or may become, what C has at the margin of a block: a line of the preprocessor, or a label."""
    word = _first_word(text)
    label = word and text in (word, word + ":") and word != "default"
    return text.startswith("#") or bool(label and (text != word or not whole))


def _first_word(text: str) -> str:
    match = _WORD.match(text)
    return match.group() if match else ""


def _is_ended_below(parsed: ParsedCursor, closing: str) -> bool:
    """Whether the comment or string that the cursor stands in is ended after it."""
    after = parsed.cursor.after
    begin = {"*/": "/*", "-->": "<!--", "]]": "[["}.get(closing)
    if begin is None:
        return after.count(closing) % 2 == 1
    end = after.find(closing)
    return end >= 0 and begin not in after[:end]
