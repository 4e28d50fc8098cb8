"""What of a model's answer becomes ghost text: where the thought ends, and what says nothing new."""

from __future__ import annotations

import re

from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.block_scope import BlockScope, LineScope, Scope
from pellucid.completion.shaping.ending import Ending, ScopeEnd
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.prose import FencedScope, ParagraphScope, find_fenced_block
from pellucid.completion.shaping.repetition import Repetition, goes_in_circles
from pellucid.completion.suggestion import DocumentCursor, TrimmedAnswer, truncate
from pellucid.text.brackets import CLOSING
from pellucid.tokens import Token

LEADING_BLANKS = 2
"""Blank lines that an answer may begin with: what is left between two functions."""

DEEPEST = 40
"""Characters of white space by which a line may stand deeper than the cursor's: a model with nothing to say may go on so for ever."""

_PUNCTUATION = re.compile(r"""(?:[\s)\]}>;:,"'`]|\*/|-->|</[\w:.-]+>)*""")
_LAST_BREAK = re.compile(r"\r?\n[ \t]*")


def choose_shape(cursor: DocumentCursor, wanted: SuggestionShape = SuggestionShape.AUTO, *, invoked: bool = False) -> SuggestionShape:
    """Whether a line or a block is suggested here: LINE or BLOCK.

    What is wanted, if that is not AUTO. Else a line, where something other than closing punctuation is right of the
    cursor, in comments and strings and in prose; a block where one has just been opened, or a comment or string over
    several lines, where something new begins at the margin below a blank line, and where it was asked for by hand.
    """
    if wanted is not SuggestionShape.AUTO:
        return wanted
    block = find_fenced_block(cursor)
    return _shape_of(ParsedCursor(block.cursor if block else cursor), invoked=invoked)


def _shape_of(parsed: ParsedCursor, *, invoked: bool) -> SuggestionShape:
    if not _PUNCTUATION.fullmatch(parsed.right):
        return SuggestionShape.LINE
    if invoked:
        return SuggestionShape.BLOCK
    if parsed.in_text or parsed.syntax.prose:
        return SuggestionShape.BLOCK if parsed.begins_text else SuggestionShape.LINE
    if parsed.right.strip():  # brackets that an editor has closed: `{|}` is a block, `f(|)` and `<p>|</p>` are lines
        return SuggestionShape.BLOCK if parsed.opener == parsed.number and parsed.left.rstrip().endswith("{") else SuggestionShape.LINE
    return SuggestionShape.BLOCK if parsed.opener is not None or parsed.begins_anew else SuggestionShape.LINE


class GhostText:
    """Fed the tokens of an answer, it says when the thought has ended, and what of it is suggested.

    A LINE is the rest of the cursor's line. Where that line opens a block and has nothing right of the cursor, and the
    answer begins a new line, it is the block's first line; on a blank line the answer may leave blank lines first.
    A BLOCK ends where its scope ends: where the text is indented less, where a bracket or element is closed that the
    answer did not open (with that line, if the innermost one before the cursor is closed nowhere), after a whole
    statement at the margin, at a second blank line, with a paragraph or list item.
    Both end where the answer says what is below the cursor, or the line above it, or goes round in circles; white
    space at the end is cut. The result does not depend on how the text is cut into tokens.
    """

    def __init__(self, cursor: DocumentCursor, shape: SuggestionShape, *, max_lines: int = 12) -> None:
        assert shape is not SuggestionShape.AUTO, "shape_of says which"
        block = find_fenced_block(cursor)
        self.ended = False
        self._parsed = ParsedCursor(block.cursor if block else cursor)
        self._scope = _scope(self._parsed, shape)
        if block is not None:
            self._scope = FencedScope(self._scope, block.fence, is_closed=block.cursor.after != cursor.after)
        self._repetition = Repetition(self._parsed)
        self._fences = block is not None or self._parsed.syntax.prose  # whether a fence may be meant
        self._left = self._parsed.left
        self._max_lines = max_lines
        self._tokens: list[Token] = []
        self._text = ""
        self._read = 0
        self._begin = 0  # of the last line
        self._ends: list[int] = []  # of the lines that are not blank
        self._lines = 0  # from the first that is not blank
        self._blanks = 0  # at the end
        self._end: tuple[int, Ending] | None = None

    def feed(self, token: Token) -> None:
        """Take the next token. What comes after the end is not looked at."""
        if self.ended:
            return
        self._tokens.append(token)
        self._text += token.text
        while self._read < len(self._text) and not self.ended:
            self._read += 1
            if self._text[self._read - 1] == "\n":
                self._take_line(self._read - 1)
                self._begin = self._read
            else:
                self._look()

    def finish(self, *, cut_off: bool = False) -> TrimmedAnswer:
        """All that is suggested, now that the thought has ended or no more comes.

        Where the model was ``cut_off`` by a limit of tokens, the line that it was in is left out, if there is one before.
        """
        if not self.ended:
            if cut_off and self._ends:
                self._stop(self._kept, Ending.LIMIT)
            else:
                self._take_last()
        assert self._end is not None
        return self._trimmed(*self._end)

    def so_far(self) -> TrimmedAnswer | None:
        """The lines that are whole, now that time is up; None if there is none yet."""
        if self.ended:
            return self.finish()
        return self._trimmed(self._ends[-1], Ending.TIME) if self._ends else None

    def _take_last(self) -> None:
        """Judge the line that the answer breaks off in."""
        if self._text[self._begin :].strip():
            line = self._line(len(self._text))
            if self._begin > 0 and self._repetition.may_be_below(line):
                self._stop(self._kept, Ending.SUFFIX)
            else:
                self._take_line(len(self._text))
        if self._end is None or self._end[1] is Ending.LINE:
            self._stop(len(self._text), Ending.STOP)

    def _look(self) -> None:
        """See whether the line that grows ends the thought already."""
        said = self._text[self._begin : self._read]
        if not said.strip():
            if len(said) > DEEPEST + len(self._left):
                self._stop(self._kept, Ending.BLANK)
            return
        if said.lstrip().startswith("```") and not self._fences:
            self._stop(self._kept, Ending.SCOPE)  # code of a chat: what follows it is talk
        elif goes_in_circles(said):
            self._stop(self._kept, Ending.REPETITION)
        else:
            self._judge(self._read, whole=False)

    def _take_line(self, end: int) -> None:
        """Judge a line that is whole."""
        line = self._line(end)
        if not self._text[self._begin : end].strip():
            self._take_blank(line)
            return
        if not self._ends and self._repetition.is_above(line):
            self._stop(0, Ending.ABOVE)
        elif self._repetition.is_below(line):
            self._stop(self._kept, Ending.SUFFIX)
        elif not self._judge(end, whole=True):
            self._keep(line, end)

    def _keep(self, line: str, end: int) -> None:
        self._lines += 1 + (self._blanks if self._ends else 0)
        self._blanks = 0
        self._ends.append(end)
        repeated = self._repetition.add(line)
        if repeated:
            self._stop(self._ends[-repeated - 1] if len(self._ends) > repeated else 0, Ending.REPETITION)
        elif self._lines >= self._max_lines:
            self._stop(end, Ending.LIMIT)

    def _take_blank(self, line: str) -> None:
        own = self._begin == 0 and bool(self._left.strip())
        if own and not self._may_break:
            self._stop(0, Ending.BLANK)
            return
        self._blanks += not own
        if self._blanks > (self._scope.blanks if self._ends else LEADING_BLANKS):
            self._stop(self._kept, Ending.SCOPE if self._ends else Ending.BLANK)
            return
        self._judge(self._begin + len(line) - (len(self._left) if self._begin == 0 else 0), whole=True)

    @property
    def _may_break(self) -> bool:
        """Whether the answer may leave the cursor's line as it is."""
        if isinstance(self._scope, LineScope) and self._parsed.opener != self._parsed.number:
            return False
        return self._parsed.opener is not None or self._parsed.begins_text or not self._parsed.right.strip()

    def _judge(self, end: int, *, whole: bool) -> bool:
        verdict = self._scope.judge(self._line(end), whole=whole)
        if verdict is not None:
            self._stop(self._offset_of(verdict), verdict.why)
        return verdict is not None

    def _offset_of(self, verdict: ScopeEnd) -> int:
        return self._begin + max(verdict.at - (len(self._left) if self._begin == 0 else 0), 0)

    def _line(self, end: int) -> str:
        """The last line up to ``end``; the first has what is left of the cursor."""
        line = self._text[self._begin : end].rstrip("\r")
        return self._left + line if self._begin == 0 else line

    @property
    def _kept(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _stop(self, end: int, why: Ending) -> None:
        self.ended = True
        self._end = end, why

    def _trimmed(self, end: int, why: Ending) -> TrimmedAnswer:
        text = self._text[:end].rstrip()
        if not text:
            return TrimmedAnswer("", (), Ending.BLANK if why in (Ending.LINE, Ending.STOP) else why)
        text += self._break_before_closing(text, end)
        return TrimmedAnswer(text, truncate(self._tokens, len(text)), why)

    def _break_before_closing(self, text: str, end: int) -> str:
        """The line end that belongs before a bracket right of the cursor, where the answer put its own on a new line."""
        right = self._parsed.right.lstrip()
        if "\n" not in text or not right.startswith((*CLOSING, self._parsed.inside or "</")):
            return ""
        space = self._text[len(text) : end]
        return space if _LAST_BREAK.fullmatch(space) else ""


def _scope(parsed: ParsedCursor, shape: SuggestionShape) -> Scope:
    if shape is SuggestionShape.LINE:
        return LineScope(parsed)
    return ParagraphScope(parsed) if parsed.syntax.prose else BlockScope(parsed)
