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
        begin: Begins the reasoning; absent for channels.
        end: The answer begins after these ids, and after ``blank``.
        stop: Ends the reasoning at any place.
        blank: White space between the marks and the answer.
        headers: Begin a header; the last id of ``end`` ends a header.
    """

    begin: int | None
    end: tuple[int, ...]
    stop: tuple[int, ...]
    blank: tuple[int, ...] = ()
    headers: frozenset[int] = frozenset()


def reasoning_form(tokenizer: Tokenizer, template: str) -> ReasoningForm | None:
    """Return the marks of a chat template, if the marks are tokens of the model."""

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, special=True, continues=True))

    if HARMONY_TURN in template and len(ids("<|channel|>")) == 1:
        stop = ids("<|end|>" + HARMONY_TURN + HARMONY_ANSWER)
        return ReasoningForm(None, ids(HARMONY_ANSWER), stop, headers=frozenset((stop[1], ids("<|channel|>")[0])))
    for begin, end in MARKS:
        if end in template and len(ids(begin)) == len(ids(end)) == 1:
            return ReasoningForm(ids(begin)[0], ids(end), ids("\n" + end), ids("\n\n"))
    return None


class Place(Enum):
    """The place of a token. A mark and the white space around the reasoning have no text."""

    MARK = auto()
    REASONING = auto()
    ANSWER = auto()


class ReasoningPosition:
    """The position in an answer, advancing token by token from the end of the ``prompt``."""

    def __init__(self, form: ReasoningForm, tokenizer: Tokenizer, prompt: Sequence[int]) -> None:
        self.form = form
        self._tokenizer = tokenizer
        self._last = [id for id in prompt[-PROMPT_TOKENS:] if not self._is_blank(id)]
        self._in_header = bool(form.headers)
        answers = self._ends_with(form.end)
        self.is_reasoning = not answers and (self._in_header or self._ends_with((form.begin,)))
        self.may_begin = not answers and not self.is_reasoning
        self._is_blank_expected = answers

    def advance(self, id: int) -> Place:
        if self.is_reasoning:
            return self._reason(id)
        if self.may_begin and id == self.form.begin:
            self.is_reasoning, self.may_begin = True, False
            return Place.MARK
        if self._is_blank(id):
            return Place.MARK if self._is_blank_expected else Place.ANSWER
        self.may_begin = self._is_blank_expected = False
        return Place.ANSWER

    def _reason(self, id: int) -> Place:
        self._last = [*self._last[-PROMPT_TOKENS:], id]
        if self._ends_with(self.form.end):
            self.is_reasoning, self._is_blank_expected = False, True
            return Place.MARK
        self._in_header |= id in self.form.headers
        is_mark = self._in_header or self._tokenizer.is_special(id)
        self._in_header &= id != self.form.end[-1]
        return Place.MARK if is_mark else Place.REASONING

    def _ends_with(self, ids: Sequence[int | None]) -> bool:
        return self._last[-len(ids) :] == list(ids)

    def _is_blank(self, id: int) -> bool:
        return self._tokenizer.token_bytes(id).isspace()


class ReasoningReader:
    """A filter: tokens of the reasoning get no text, but ``reasoning``."""

    def __init__(self, position: ReasoningPosition) -> None:
        self._position = position
        self._has_answer = not position.is_reasoning

    def read(self, token: Token) -> Token:
        place = self._position.advance(token.id)
        if place is not Place.ANSWER:
            self._has_answer = False
            return replace(token, text="", reasoning=token.text if place is Place.REASONING else "")
        text = token.text if self._has_answer else token.text.lstrip("\n")
        self._has_answer = True
        return replace(token, text=text)


class ReasoningConstraint:
    """A constraint of the answer alone, and of the reasoning to at most ``most`` tokens.

    ``form`` constrains the answer.
    """

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
        if self._next or self._position.is_reasoning or self._position.may_begin or self._form is None:
            return list(self._next)
        return self._form.forced()

    def advance(self, id: int) -> None:
        was_reasoning = self._position.is_reasoning
        place = self._position.advance(id)
        if self._next:
            self._next.pop(0)
        elif place is Place.ANSWER and self._form is not None:
            self._form.advance(id)
        elif place is Place.REASONING and self._left is not None:
            self._left -= 1
        if was_reasoning and not self._position.is_reasoning and self._form is not None:
            self._next += self._position.form.blank
        self._limit()

    def _limit(self) -> None:
        if self._position.is_reasoning and self._left is not None and self._left <= 0 and not self._next:
            self._next += self._position.form.stop
