"""The reasoning before an answer: where the reasoning begins and ends, and the limit.

Most models put marks around the reasoning. The answers of gpt-oss consist of channels with headers
(OpenAI's Harmony format): text outside of the channel ``final`` is reasoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import TokenMask, ids_in, pack_ids
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.vocabulary.token import Token

MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))

HARMONY_TURN, HARMONY_ANSWER = "<|start|>assistant", "<|channel|>final<|message|>"
"""The end of a prompt of gpt-oss, and the beginning of an answer without reasoning."""

PROMPT_TOKENS = 16
"""The number of tokens at the end of a prompt to search for marks."""


@dataclass(frozen=True, slots=True)
class ReasoningForm:
    """The token ids of a model's marks.

    Attributes:
        begin, end: The marks; absent for channels.
        stop: Ends the reasoning at any place.
        blank: White space between the marks and the answer.
        channel, message: Begin and end a header; absent for marks.
        start: Begins a message with a header.
        final: The beginning of the header of the answer.
    """

    begin: int | None
    end: int | None
    stop: tuple[int, ...]
    blank: tuple[int, ...] = ()
    channel: int | None = None
    message: int | None = None
    start: int | None = None
    final: tuple[int, ...] = ()


def reasoning_form(tokenizer: Tokenizer, template: str) -> ReasoningForm | None:
    """Return the marks of a chat template, if the marks are tokens of the model."""

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, special=True, continues=True))

    def single(*texts: str) -> list[int] | None:
        found = [ids(text) for text in texts]
        return [id for (id,) in found] if all(len(one) == 1 for one in found) else None

    if HARMONY_TURN in template and (marks := single("<|channel|>", "<|message|>", "<|start|>", "<|end|>")):
        channel, message, start, _ = marks
        stop = ids("<|end|>" + HARMONY_TURN + HARMONY_ANSWER)
        return ReasoningForm(None, None, stop, (), channel, message, start, ids("final"))
    for begin, end in MARKS:
        if end in template and (marks := single(begin, end)):
            return ReasoningForm(marks[0], marks[1], ids("\n" + end), ids("\n\n"))
    return None


def closed(text: str, template: str) -> str:
    """Return a prompt with the reasoning closed, if the template has opened the reasoning."""
    for begin, end in MARKS:
        if end in template and text.rstrip().endswith(begin):
            return f"{text.rstrip()}\n\n{end}\n\n"
    return text + HARMONY_ANSWER if text.endswith(HARMONY_TURN) else text


class Place(Enum):
    """The place of a token. A mark has no text, nor has the white space behind the marks.

    White space in front of the marks is OPEN until the next token.
    """

    OPEN = auto()
    MARK = auto()
    REASONING = auto()
    ANSWER = auto()


class ReasoningPosition:
    """The position in an answer, advancing token by token from the end of the ``prompt``.

    An answer with a form (``has_form``) begins exactly after the form's ``blank``.
    """

    def __init__(self, form: ReasoningForm, tokenizer: Tokenizer, prompt: Sequence[int], *, has_form: bool) -> None:
        self.form = form
        self._tokenizer = tokenizer
        self._has_form = has_form
        last = [id for id in prompt[-PROMPT_TOKENS:] if not self._text(id).isspace()]
        ends = last[-1:] == [form.message if form.begin is None else form.end]
        self.is_reasoning = not ends and (form.begin is None or last[-1:] == [form.begin])
        self.may_begin = not ends and not self.is_reasoning
        self._header: list[int] | None = [] if form.begin is None else None
        self._breaks: int | None = 0  # The number of following line breaks that are marks; None: all.

    @property
    def is_answer(self) -> bool:
        return not self.is_reasoning and not self.may_begin

    def advance(self, id: int) -> Place:
        if self.is_reasoning:
            return self._reason(id)
        if self.may_begin:
            return self._begin(id)
        if self._breaks != 0 and not self._text(id).strip(b"\n"):
            self._breaks = None if self._breaks is None else self._breaks - 1
            return Place.MARK
        self._breaks = 0
        return Place.ANSWER

    def _begin(self, id: int) -> Place:
        if not self._has_form and self._text(id).isspace():
            return Place.OPEN
        self.may_begin, self.is_reasoning = False, id == self.form.begin
        return Place.MARK if self.is_reasoning else Place.ANSWER

    def _reason(self, id: int) -> Place:
        form = self.form
        if form.begin is not None:
            self.is_reasoning = id != form.end
        elif id in (form.channel, form.start):
            self._header = []
        elif id == form.message:
            self.is_reasoning = tuple((self._header or [])[: len(form.final)]) != form.final
            self._header = None
            return self._mark()
        elif self._header is not None:
            self._header.append(id)
        is_mark = not self.is_reasoning or self._header is not None or self._tokenizer.is_special(id)
        return self._mark() if is_mark else Place.REASONING

    def _mark(self) -> Place:
        if not self.is_reasoning:
            self._breaks = len(self.form.blank) if self._has_form else None
        return Place.MARK

    def _text(self, id: int) -> bytes:
        return self._tokenizer.token_bytes(id)


class ReasoningReader:
    """A filter: tokens of the reasoning get no text, but ``reasoning``.

    A token of ``ends`` ends the answer, and ``ended`` is then set.
    """

    def __init__(self, position: ReasoningPosition, ends: frozenset[int] = frozenset()) -> None:
        self.ended = False
        self._position = position
        self._ends = ends
        self._open: list[Token] = []

    def read(self, token: Token) -> list[Token]:
        if self.ended:
            return []
        if self._position.is_answer and token.id in self._ends:
            self.ended = True
            return []
        place = self._position.advance(token.id)
        if place is Place.OPEN:
            self._open.append(token)
            return []
        held, self._open = self._open, []
        if place is Place.ANSWER:
            return [*held, token]
        reasoning = token.text if place is Place.REASONING else ""
        return [*(replace(one, text="", reasoning="") for one in held), replace(token, text="", reasoning=reasoning)]

    def finish(self) -> list[Token]:
        held, self._open = self._open, []
        return held


class ReasoningConstraint:
    """Applies ``form`` to the answer, and limits the reasoning to ``most`` tokens."""

    def __init__(self, position: ReasoningPosition, vocab: int, form: Constraint | None, most: int | None) -> None:
        self._position = position
        self._vocab = vocab
        self._form = form
        self._left = most
        self._next: list[int] = []
        self._limit()

    @property
    def hides_refused(self) -> bool:
        return False

    def allowed(self) -> TokenMask | None:
        if self._next:
            return pack_ids(self._next[:1], self._vocab)
        if self._position.is_reasoning or self._form is None:
            return None
        mask, begin = self._form.allowed(), self._position.form.begin
        if mask is None or begin is None or not self._position.may_begin:
            return mask
        return pack_ids([*ids_in(mask), begin], self._vocab)

    def forced(self) -> list[int]:
        if self._next or not self._position.is_answer or self._form is None:
            return list(self._next)
        return self._form.forced()

    def advance(self, id: int) -> None:
        was_reasoning = self._position.is_reasoning
        place = self._position.advance(id)
        if self._next:
            self._next.pop(0)
        elif place is Place.ANSWER and self._form is not None:
            self._form.advance(id)
        elif was_reasoning and self._left is not None:
            self._left -= 1
        if was_reasoning and not self._position.is_reasoning and self._form is not None:
            self._next += self._position.form.blank
        self._limit()

    def _limit(self) -> None:
        if self._position.is_reasoning and self._left is not None and self._left <= 0 and not self._next:
            self._next += self._position.form.stop
