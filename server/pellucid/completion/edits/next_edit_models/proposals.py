"""Proposals of a next-edit model, and their probability relative to the present lines."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_history import joined
from pellucid.completion.edits.next_edit_models import sweep, zeta
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow, read_answer
from pellucid.completion.edits.reading import text_log_odds
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, SamplingParams, ScoreQuery, Terms

LEAST_TOKENS = 256
"""Minimum token limit of an answer, for windows of a few lines."""


@dataclass(frozen=True, slots=True)
class PromptForm:
    """A form of prompts and answers.

    ``answer_begin``: the first line the model writes. ``cursor``: a mark in the prompt, possibly
    repeated. ``prompt``: returns markers, each with the text after the marker. ``markers``: texts
    with a match cannot be sent. ``end`` and ``end_of_text``: two ends of an answer. ``none``: the
    answer without changes; without such an answer, a model repeats the window.
    """

    prompt: Callable[[EditWindow], Sequence[tuple[str, str]]]
    answer_begin: Callable[[EditWindow], int]
    cursor: str
    end: str
    end_of_text: str
    markers: re.Pattern[str]
    none: str | None = None


FORMS = {
    "sweep": PromptForm(
        sweep.prompt,
        sweep.answer_begin,
        sweep.CURSOR,
        sweep.FILE,
        "<|endoftext|>",
        re.compile(r"<\|\w+\|>|</?tool_call>"),
    ),
    "zeta-2": PromptForm(
        zeta.prompt,
        lambda window: window.first,
        zeta.CURSOR,
        zeta.END,
        "<[end▁of▁sentence]>",
        re.compile(r"<\[[^\s\]]+\]>|<\|user_cursor\|>|<filename>|^(?:<<<<<<< |=======$|>>>>>>> )", re.MULTILINE),
        zeta.NO_EDITS,
    ),
}
"""The forms by their names in the model catalog."""


async def propose(
    assistant: Assistant, card: ModelCard, window: EditWindow, terms: Terms
) -> AsyncGenerator[tuple[Candidate, float]]:
    """Yield a next-edit model's changes, each with log p(new) - log p(old) in nats.

    The model's own prompt is used. Each change is read with the earlier changes made. Nothing is
    yielded if the text to send contains a marker, or if the answer was cut short.
    """
    form = FORMS.get(card.next_edit or "")
    if form is None:
        return
    pieces, begin = form.prompt(window), form.answer_begin(window)
    rewritten = joined(window.lines[begin : window.end])
    if any(map(form.markers.search, (*(text for _, text in pieces), "".join(window.around_cursor())))):
        return
    prompt = "".join(marker + text for marker, text in pieces)
    # At least twice the tokens of most code.
    params = SamplingParams(max_tokens=max(LEAST_TOKENS, 64 + len(rewritten) // 2))
    query = CompletionQuery(prompt, params=params, model=card.name, stop=[form.end], terms=terms, special=True)
    answer, end = await _answer(assistant, query, form)
    if end is None or form.markers.search(answer) or answer.strip() == form.none:
        return
    for one in read_answer(window, begin, answer):
        # The last line above is read, too, because tokens may join its end with the next text.
        gap = CompletionQuery(prompt + joined(one.above[:-1]), special=True)
        around = [(*one.above[-1:], *lines, *one.below) for lines in (one.change.new, one.change.old)]
        new, old = [joined(lines) + (end if one.ends else "") for lines in around]
        odds = await text_log_odds(assistant, ScoreQuery("", card.name, terms=terms, gap=gap), new, old)
        if odds is None:
            return
        yield one.change, odds


async def _answer(assistant: Assistant, query: CompletionQuery, form: PromptForm) -> tuple[str, str | None]:
    """Return an answer without cursor marks, and its end, or None for an incomplete answer."""
    text, end = "", None
    async with aclosing(assistant.complete(query)) as items:
        async for item in items:
            if isinstance(item, Finish):
                end = (form.end if item.stop else form.end_of_text) if item.reason is FinishReason.STOP else None
            elif not item.text and _is_text(item.bytes):  # A marker has no text; nor has a part of a character
                end = form.end if item.bytes == form.end.encode() else None
                break
            else:
                text += item.text
    return text.replace(form.cursor, ""), end


def _is_text(data: bytes) -> bool:
    """Return whether bytes are whole characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
