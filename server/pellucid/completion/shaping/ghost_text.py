"""Choice of the part of an answer that becomes ghost text.

All decisions are made here, in a fixed order for each line. ``block_scope`` and ``prose`` find the
end of a line, block or paragraph, ``repetition`` finds repeated text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pellucid.code.brackets import CLOSING
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.block_scope import BlockScope, LineScope, Scope, TextScope
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import part_ends
from pellucid.completion.shaping.prose import FencedScope, ParagraphScope
from pellucid.completion.shaping.repetition import Repetition, ends_in_loop
from pellucid.completion.shaping.right_of_cursor import CLOSING_PUNCTUATION, RightOfCursor
from pellucid.completion.suggestion import TrimmedAnswer, truncate
from pellucid.vocabulary.token import Token

LEADING_BLANK_LINES = 2
"""Maximum number of blank lines at an answer's beginning, as between two functions."""

MAX_EXTRA_INDENT = 40
"""Maximum blank characters on a line, beyond the cursor's column.

A model with nothing to add may generate spaces forever.
"""

_LAST_BREAK = re.compile(r"\r?\n[ \t]*")


def choose_shape(
    parsed: ParsedCursor, wanted: SuggestionShape = SuggestionShape.AUTO, *, invoked: bool = False
) -> SuggestionShape:
    """Return LINE or BLOCK: how much to suggest at a cursor.

    LINE if text other than closing punctuation is right of the cursor; otherwise ``wanted``. AUTO
    means LINE in comments, strings and prose. AUTO means BLOCK after the beginning of a block or a
    multi-line comment or string, at the margin below a blank line, and if the user asked
    (``invoked``).
    """
    if not CLOSING_PUNCTUATION.fullmatch(parsed.right):
        return SuggestionShape.LINE
    if wanted is not SuggestionShape.AUTO:
        return wanted
    if invoked:
        return SuggestionShape.BLOCK
    if parsed.in_text or parsed.syntax.prose:
        return SuggestionShape.BLOCK if parsed.begins_text else SuggestionShape.LINE
    if parsed.right.strip():  # Brackets closed by an editor: `{|}` is a block, `f(|)` and `<p>|</p>` are lines
        return (
            SuggestionShape.BLOCK
            if parsed.opener == parsed.number and parsed.left.rstrip().endswith("{")
            else SuggestionShape.LINE
        )
    return SuggestionShape.BLOCK if parsed.opener is not None or parsed.begins_section else SuggestionShape.LINE


def trim_answer(
    parsed: ParsedCursor,
    shape: SuggestionShape,
    tokens: Iterable[Token],
    *,
    max_lines: int,
    complete: bool,
    cut_off: bool,
) -> TrimmedAnswer | None:
    """Return the suggested part, or None if the model has to generate more of the answer.

    ``complete``: the model has ended its answer. ``cut_off``: the token limit ended the answer.
    """
    ghost = GhostText(parsed, shape, max_lines=max_lines)
    return ghost.finish(cut_off=cut_off) if ghost.feed_all(tokens) or complete else None


class GhostText:
    """Reader of an answer, token by token, that finds the end of the suggestion.

    A LINE is the rest of the cursor's line. At the end of a line that opens a block, if the answer
    begins a new line, the LINE is the block's first line. On a blank line, the answer may begin
    with blank lines.

    A BLOCK ends at lower indentation, after a complete statement at the margin, at a second blank
    line, after a paragraph or list item, or at a bracket or element closed but not opened by the
    answer. The closing line is included if the document does not close the innermost bracket before
    the cursor.

    Both end where the answer repeats the text right of the cursor, a line above or below, or
    itself. White space at the end is dropped. The split of the text into tokens does not change the
    result.
    """

    def __init__(self, parsed: ParsedCursor, shape: SuggestionShape, *, max_lines: int = 12) -> None:
        assert shape is not SuggestionShape.AUTO, "choose_shape returns the shape"
        self._parsed = parsed
        self._scope = _scope(parsed, shape)
        self._right = RightOfCursor(parsed)
        self._repetition = Repetition(parsed)
        self._max_lines = max_lines
        self._tokens: list[Token] = []
        self._text = ""
        self._read = 0
        self._line_start = 0
        self._line_ends: list[int] = []  # Without blank lines
        self._line_count = 0  # From the first line with text
        self._blank_lines = 0
        self._cut_off = False
        self._end: tuple[int, Ending] | None = None

    @property
    def ended(self) -> bool:
        """True if further tokens will not change the suggestion."""
        return self._end is not None

    def feed_all(self, tokens: Iterable[Token]) -> bool:
        for token in tokens:
            self.feed(token)
            if self.ended:
                break
        return self.ended

    def feed(self, token: Token) -> None:
        if self.ended:
            return
        self._tokens.append(token)
        self._text += token.text
        while self._read < len(self._text) and not self.ended:
            self._read += 1
            if self._text[self._read - 1] == "\n":
                self._judge_whole_line(self._read - 1)
                self._line_start = self._read
            else:
                self._judge_growing_line()

    def finish(self, *, cut_off: bool = False) -> TrimmedAnswer:
        """Return the final suggestion.

        If the token limit ``cut_off`` the answer, drop an incomplete last line, unless it is the
        only line.
        """
        if not self.ended:
            self._cut_off = cut_off
            if cut_off and self._line_ends:
                self._stop(self._kept, Ending.LIMIT)
            else:
                self._judge_last_line()
        assert self._end is not None
        return self._trimmed(*self._end)

    def so_far(self) -> TrimmedAnswer | None:
        """Return the complete lines, if any, after the time budget."""
        if self.ended:
            return self.finish()
        return self._trimmed(self._line_ends[-1], Ending.TIME) if self._line_ends else None

    def first_line_so_far(self) -> TrimmedAnswer | None:
        """Return the beginning of the first line that every longer answer keeps, or None.

        The beginning ends where a reader would stop. None while the answer may still repeat a line
        above or below, or the text right of the cursor.
        """
        if self.ended or self._right.joins or not self._text.strip():
            return None
        if self._line_ends:
            return self._trimmed(self._line_ends[0], Ending.PART)
        line = self._line(len(self._text))
        if self._repetition.may_be_above(line) or self._repetition.may_be_below(line):
            return None
        right = self._parsed.right.strip()
        kept = self._text.partition(right[0])[0] if right else self._text
        end = next(part_ends(self._parsed, kept), None)
        return None if end is None else self._trimmed(end, Ending.PART)

    def _judge_growing_line(self) -> None:
        text = self._text[self._line_start : self._read]
        if not text.strip():
            if len(text) > MAX_EXTRA_INDENT + len(self._parsed.left):
                self._stop(self._kept, Ending.BLANK)
        elif text.lstrip().startswith("```") and self._parsed.fenced_block is None and not self._parsed.syntax.prose:
            self._stop(self._kept, Ending.SCOPE)  # Code in a chat answer: an explanation follows
        elif ends_in_loop(text):
            self._stop(self._kept, Ending.REPETITION)
        else:
            self._judge_scope(self._read, whole=False)

    def _judge_whole_line(self, end: int) -> None:
        line = self._line(end)
        if not self._text[self._line_start : end].strip():
            self._judge_blank_line(line)
        elif not self._line_ends and self._repetition.is_above(line):
            self._stop(0, Ending.ABOVE)
        elif self._repetition.is_below(line):
            self._stop(self._kept, Ending.SUFFIX)
        elif not self._judge_scope(end, whole=True):
            self._keep_line(line, end)

    def _judge_blank_line(self, line: str) -> None:
        on_cursor_line = self._line_start == 0 and bool(self._parsed.left.strip())
        if on_cursor_line and not self._may_break:
            self._stop(0, Ending.BLANK)
            return
        self._blank_lines += not on_cursor_line
        if self._blank_lines > (self._scope.blank_lines if self._line_ends else LEADING_BLANK_LINES):
            self._stop(self._kept, Ending.SCOPE if self._line_ends else Ending.BLANK)
            return
        self._judge_scope(self._offset_of(len(line)), whole=True)

    def _judge_last_line(self) -> None:
        if self._text[self._line_start :].strip():
            if self._line_start > 0 and self._repetition.may_be_below(self._line(len(self._text))):
                self._stop(self._kept, Ending.SUFFIX)
            else:
                self._judge_whole_line(len(self._text))
        if self._end is None or self._end[1] is Ending.LINE:
            self._stop(len(self._text), Ending.STOP)

    def _judge_scope(self, end: int, *, whole: bool) -> bool:
        scope_end = self._scope.judge(self._line(end), whole=whole)
        if scope_end is not None:
            at, why = max(self._offset_of(scope_end.at), self._line_start), scope_end.why
            if self._right.joins and self._line_start == 0:
                self._stop(
                    *self._right.join(
                        self._text[:end], at, why, ended=whole and end == len(self._text) and not self._cut_off
                    )
                )
            else:
                self._stop(at, why)
        return scope_end is not None

    def _keep_line(self, line: str, end: int) -> None:
        self._line_count += 1 + (self._blank_lines if self._line_ends else 0)
        self._blank_lines = 0
        self._line_ends.append(end)
        repeated = self._repetition.add(line)
        if repeated:
            self._stop(self._line_ends[-repeated - 1] if len(self._line_ends) > repeated else 0, Ending.REPETITION)
        elif self._line_count >= self._max_lines:
            self._stop(end, Ending.LIMIT)

    @property
    def _may_break(self) -> bool:
        if self._right.joins or (isinstance(self._scope, LineScope) and self._parsed.opener != self._parsed.number):
            return False
        return self._parsed.opener is not None or self._parsed.begins_text or not self._parsed.right.strip()

    def _line(self, end: int) -> str:
        line = self._text[self._line_start : end].rstrip("\r")
        return self._parsed.left + line if self._line_start == 0 else line

    def _offset_of(self, at: int) -> int:
        return self._line_start + at - (len(self._parsed.left) if self._line_start == 0 else 0)

    @property
    def _kept(self) -> int:
        return self._line_ends[-1] if self._line_ends else 0

    def _stop(self, end: int, why: Ending) -> None:
        self._end = end, why

    def _trimmed(self, end: int, why: Ending) -> TrimmedAnswer:
        text = self._text[:end].rstrip()
        if not text:
            return TrimmedAnswer("", (), Ending.BLANK if why in (Ending.LINE, Ending.STOP) else why)
        text += self._break_before_closing(text, end) or (
            self._right.space(self._text[:end]) if "\n" not in text else ""
        )
        return TrimmedAnswer(text, truncate(self._tokens, len(text)), why)

    def _break_before_closing(self, text: str, end: int) -> str:
        """Return the line break between an answer's last line and a bracket right of the cursor."""
        right = self._parsed.right.lstrip()
        if "\n" not in text or not right.startswith((*CLOSING, self._parsed.inside or "</")):
            return ""
        space = self._text[len(text) : end]
        return space if _LAST_BREAK.fullmatch(space) else ""


def _scope(parsed: ParsedCursor, shape: SuggestionShape) -> Scope:
    scope = _unfenced_scope(parsed, shape)
    return scope if parsed.fenced_block is None else FencedScope(scope, parsed.fenced_block)


def _unfenced_scope(parsed: ParsedCursor, shape: SuggestionShape) -> Scope:
    if shape is SuggestionShape.LINE:
        return LineScope(parsed)
    if parsed.syntax.prose:
        return ParagraphScope(parsed)
    return BlockScope(parsed) if parsed.inside is None else TextScope(parsed)
