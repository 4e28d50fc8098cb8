"""Edits by instruction: the model rewrites a selection, and the changes become hunks."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import exp, log
from pathlib import PurePosixPath
from typing import Protocol

from pellucid.code.language_syntax import find_syntax
from pellucid.completion.edits.by_instruction.added_imports import take_imports
from pellucid.completion.edits.by_instruction.answer_reader import AnswerReader
from pellucid.completion.edits.by_instruction.edit_prompt import EditPrompt
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.hunk_syntax import apply_hunks, check_hunks
from pellucid.completion.edits.by_instruction.line_changes import line_changes
from pellucid.completion.edits.by_instruction.requested_tests import INSTRUCTION as TESTS
from pellucid.completion.edits.by_instruction.requested_tests import (
    NOTHING_TO_TEST,
    check_tests,
    complete_lines,
    names_to_test,
    tests_below,
)
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines, select_lines, split_lines
from pellucid.completion.shaping.branches import alternatives, force_alternative
from pellucid.errors import PellucidError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Alternative, Token

_WORD = re.compile(r"\w\w")

OTHER_BEGINNINGS = 3

LEAST_OTHER_PROBABILITY = 0.25
"""Less likely tokens are not tried: without likelier tokens, unchanged code was right."""

TOP = 4
"""Minimum number of alternatives: more tokens cannot have the least probability."""

UNCHANGED = "The model changed nothing: say more exactly what to change, or try another seed."
PROSE = "The model answered with prose instead of code: say more exactly what to change, or try another seed."
EMPTY = "The model wrote nothing: say more exactly what to change, or try another seed."
CUT_OFF = "The answer reached its limit of {} tokens, so nothing was changed: select less."
FULL = "The answer reached the end of the model's context, so nothing was changed: select less."
CUT_OFF_INSERTED = "The answer reached its limit of {} tokens, so nothing was inserted: ask for less."
REPLACED = "Another request replaced this one, so nothing was changed."
LATE = "The deadline passed before the answer was complete, so nothing was changed."


class Editor(Protocol):
    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]: ...


async def edit(assistant: Editor, query: EditQuery) -> AsyncGenerator[NewLines | InstructedEdit]:
    """Yield the new lines of a selection during generation, then the edit.

    Closing the generator cancels the edit.
    """
    # 1. Ask for the selection with the answer's fence opened, and yield the lines up to the closing
    # fence.
    language = query.language or PurePosixPath(query.path).suffix.removeprefix(".")
    selected = select_lines(query.prefix, query.selection, query.suffix, prose=find_syntax(language).prose)
    names, prompt = None, None
    if query.instruction == TESTS:
        names = names_to_test(selected.text)
        if not names:
            yield InstructedEdit(selected.first, selected.text, selected.text, (), Usage(), NOTHING_TO_TEST)
            return
        selected, prompt = tests_below(query, selected, names, language)
    prompt = prompt or EditPrompt(query, selected)
    answer = _Answer(assistant, query, selected, prompt)
    async with aclosing(answer.lines()) as items:
        async for lines in items:
            yield NewLines(tuple(lines))
    # 2. Compare old and new lines. Because a change was requested, an answer without changes is
    # continued from its likeliest alternatives.
    usage, hunks, reason = answer.usage, *answer.hunks()
    for tokens in _other_beginnings(answer.reader.all_tokens) if reason == UNCHANGED else ():
        other = _Answer(assistant, query, selected, prompt, tokens)
        try:
            async with aclosing(other.lines()) as items:
                async for _ in items:  # Yielded lines cannot be taken back
                    pass
            found, why = other.hunks()
        except UnavailableError:
            raise
        except PellucidError:  # Too long or too busy, for example: the first answer is complete
            break
        usage = _sum(usage, other.usage)
        if why is None:
            hunks, reason = found, None
            break
        if why in (REPLACED, LATE):
            reason = why
            break
    if names and hunks:
        hunks, reason = check_tests(hunks, names, selected)
    # 3. Parse the file with the hunks.
    before, below = split_lines(selected.before), split_lines(selected.after)
    hunks, note = check_hunks([*before, *selected.raw, *below], hunks, selected.newline, language)
    first = min([selected.first, *(hunk.first for hunk in hunks)])
    if before and not before[-1].endswith(("\n", "\r")):  # The last line gets an end
        first = min(first, len(before) - 1)
    old = [*before[first:], *selected.raw]
    text = apply_hunks(old, hunks, selected.newline, first)
    yield InstructedEdit(first, "".join(old), text, tuple(hunks), usage, reason, note)


class _Answer:
    """A full answer, or a continuation after tokens of an earlier answer."""

    def __init__(
        self,
        assistant: Editor,
        query: EditQuery,
        selected: SelectedLines,
        prompt: EditPrompt,
        begun: Sequence[Token] = (),
    ) -> None:
        self._assistant, self._query, self._selected, self._prompt, self._begun = (
            assistant,
            query,
            selected,
            prompt,
            begun,
        )
        self.reader = AnswerReader(selected, prompt.fence, prompt.language, prompt.begun)
        self.usage = Usage()
        self._finish: Finish | None = None

    async def lines(self) -> AsyncGenerator[list[str]]:
        """Yield whole lines during generation. Closing the generator cancels the answer."""
        for token in self._begun:
            self.reader.feed(token)
        messages = self._prompt.continued("".join(token.text for token in self._begun))
        params, query = self._query.params(self._prompt.max_tokens), self._query
        params = replace(params, top_logprobs=max(TOP, params.top_logprobs))
        question = ChatQuery(messages, params, query.model, terms=query.terms, continue_last=True)
        async with aclosing(self._assistant.chat(question, on_usage=self._note)) as items:
            async for item in items:
                if isinstance(item, Finish):
                    self._finish, self.usage = item, item.usage
                    lines = self.reader.finish() if item.reason is FinishReason.STOP else []
                else:
                    lines = self.reader.feed(item)
                if lines:
                    yield lines
                if self.reader.closed or self.reader.is_prose or (self._prompt.tests and self.reader.repeats):
                    break

    def hunks(self) -> tuple[list[Hunk], str | None]:
        """Return the changes, and a sentence if there are no changes, else None.

        Raise PellucidError if the answer failed.
        """
        reason = _refusal(self._finish, self.reader, self._selected, self._prompt)
        if reason is not None:
            return [], reason
        first, last = _repeated(self._selected, self.reader.lines)
        count = len(self.reader.lines)
        self.reader.remove({*range(first), *range(count - last, count)})
        imports = take_imports(self._selected, self.reader, self._prompt.language)
        found = [] if imports is None else [imports]
        if self.reader.lines or not count:  # An answer of imports only leaves the selection as it is.
            found += line_changes(self._selected, self.reader.lines, self.reader.tokens)
        top = self._query.top_logprobs
        return [_with_alternatives(hunk, top) for hunk in found], None if found else UNCHANGED

    def _note(self, so_far: Usage) -> None:
        self.usage = so_far


def _other_beginnings(tokens: Sequence[Token]) -> list[tuple[Token, ...]]:
    """Return an answer's likeliest different beginnings, each ending in an alternative token.

    On CanItEdit, the default model left 42 programs unchanged. Continued from these beginnings, the
    model changed nearly all programs, 3 correctly. A different seed, or a second turn, corrected no
    program in ten.
    """
    found = [one for one in alternatives(tokens) if _is_other(tokens[one[1]].top[one[2]])]
    forced = (
        force_alternative(tokens, index, number) for _, index, number in sorted(found, reverse=True)[:OTHER_BEGINNINGS]
    )
    return [one for one in forced if one is not None]


def _is_other(one: Alternative) -> bool:
    """Return whether an alternative is likely enough and more than a different fence."""
    return one.logprob >= log(LEAST_OTHER_PROBABILITY) and not one.text.strip().startswith("`")


def _with_alternatives(hunk: Hunk, count: int) -> Hunk:
    """Return a hunk with ``count`` alternatives per token."""
    return replace(hunk, tokens=tuple(_cut(token, count) for token in hunk.tokens))


def _cut(token: Token, count: int) -> Token:
    return replace(token, top=token.top[:count], rest=token.rest + sum(exp(one.logprob) for one in token.top[count:]))


def _sum(one: Usage, other: Usage) -> Usage:
    """Return the usage of both answers; the second prompt is in the cache."""
    return replace(
        one,
        computed=one.computed + other.computed,
        generated=one.generated + other.generated,
        decode=one.decode + other.decode,
    )


def _refusal(finish: Finish | None, answer: AnswerReader, selected: SelectedLines, prompt: EditPrompt) -> str | None:
    if answer.is_prose:
        return PROSE
    is_cut = answer.repeats or (finish is not None and finish.reason is FinishReason.LENGTH)
    if prompt.tests and is_cut and answer.lines:
        answer.remove(range(complete_lines(answer.lines, prompt.language), len(answer.lines)))
    elif finish is not None and not answer.closed:
        if finish.reason is FinishReason.ERROR:
            raise PellucidError(finish.error or "The model failed at this answer; see the server log.")
        is_full = finish.usage.generated < prompt.max_tokens
        ends = {
            FinishReason.LENGTH: FULL
            if is_full
            else (CUT_OFF_INSERTED if selected.inserted else CUT_OFF).format(prompt.max_tokens),
            FinishReason.DEADLINE: LATE,
            FinishReason.STOP: None,
        }
        ending = ends.get(finish.reason, REPLACED)
        if ending is not None:
            return ending
    return EMPTY if not answer.lines and (selected.inserted or not answer.closed) else None


def _repeated(selected: SelectedLines, new: list[str]) -> tuple[int, int]:
    """Count the answer's lines that repeat the lines above and below the selection.

    Small models continue into the lines below. Lines also repeated in the old text are kept, and at
    least one line of the answer.
    """
    old = [] if selected.inserted else list(selected.core)
    above, below = ([line.rstrip() for line in text.splitlines()] for text in (selected.before, selected.after))
    first = _shared(new, above, old)
    return first, _shared(new[first:][::-1], below[::-1], old[::-1])


def _shared(new: list[str], above: list[str], old: list[str]) -> int:
    """Return how many first lines of ``new``, but not of ``old``, are the last ``above``."""
    for count in range(min(len(new) - 1, len(above)), 0, -1):
        near = above[-count:]
        if new[:count] == near != old[:count] and any(map(_WORD.search, near)):
            return count
    return 0
