"""Edits by instruction: the model rewrites a selection, then each change's probability is read."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import exp, log
from pathlib import PurePosixPath
from typing import Protocol

from pellucid.client.assistant_protocol import Reader
from pellucid.code.language_syntax import find_syntax
from pellucid.completion.edits.by_instruction.answer_reader import AnswerReader
from pellucid.completion.edits.by_instruction.edit_prompt import EditPrompt
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.line_changes import LineChanges, line_changes
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines, select_lines
from pellucid.completion.edits.reading import text_log_odds
from pellucid.completion.shaping.branches import alternatives, force_alternative
from pellucid.errors import InvalidRequestError, NotSupportedError, PellucidError, QueueFullError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token

_WORD = re.compile(r"\w\w")

OTHER_BEGINNINGS = 3

LEAST_OTHER_PROBABILITY = 0.25
"""Less likely tokens are not tried: without likelier tokens, unchanged code was right."""

TOP = 4
"""Minimum number of alternatives: more tokens cannot have the least probability."""

READ_CHARACTERS = 6000
"""Maximum length of old and new lines read for an edit; further hunks have no log odds."""

UNCHANGED = "The model changed nothing: say more exactly what to change, or try another seed."
PROSE = "The model answered with prose instead of code: say more exactly what to change, or try another seed."
EMPTY = "The model wrote nothing: say more exactly what to change, or try another seed."
CUT_OFF = "The answer reached its limit of {} tokens, so nothing was changed: select less."
FULL = "The answer reached the end of the model's context, so nothing was changed: select less."
CUT_OFF_INSERTED = "The answer reached its limit of {} tokens, so nothing was inserted: ask for less."
REPLACED = "Another request replaced this one, so nothing was changed."
LATE = "The deadline passed before the answer was complete, so nothing was changed."


class Editor(Reader, Protocol):
    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]: ...


async def edit(assistant: Editor, query: EditQuery) -> AsyncGenerator[NewLines | InstructedEdit]:
    """Yield the new lines of a selection during generation, then the edit.

    Closing the generator cancels the edit.
    """
    # 1. Ask for the selection with the answer's fence opened, and yield the lines up to the closing
    # fence.
    language = query.language or PurePosixPath(query.path).suffix.removeprefix(".")
    selected = select_lines(query.prefix, query.selection, query.suffix, prose=find_syntax(language).prose)
    prompt = EditPrompt(query, selected)
    answer = _Answer(assistant, query, selected, prompt)
    async with aclosing(answer.lines()) as items:
        async for lines in items:
            yield NewLines(tuple(lines))
    # 2. Compare old and new lines. Because a change was requested, an answer without changes is
    # continued from its likeliest alternatives.
    usage, changes, reason = answer.usage, *answer.changes()
    for tokens in _other_beginnings(answer.reader.all_tokens) if reason == UNCHANGED else ():
        other = _Answer(assistant, query, selected, prompt, tokens)
        try:
            async with aclosing(other.lines()) as items:
                async for _ in items:  # Yielded lines cannot be taken back
                    pass
            found, why = other.changes()
        except UnavailableError:
            raise
        except PellucidError:  # Too long or too busy, for example: the first answer is complete
            break
        usage = _sum(usage, other.usage)
        if why is None:
            answer, changes, reason = other, found, None
            break
        if why in (REPLACED, LATE):
            reason = why
            break
    # 3. Read both versions of each hunk.
    read = await _read(
        assistant, query, selected, prompt, answer.reader.lines, zip(changes.hunks, changes.starts, strict=True)
    )
    yield InstructedEdit(selected.first, selected.text, changes.text, tuple(read), selected.newline, usage, reason)


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
        self.reader = AnswerReader(selected, prompt.fence, prompt.language)
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
                if self.reader.closed or self.reader.is_prose:
                    break

    def changes(self) -> tuple[LineChanges, str | None]:
        """Return the changes, and a sentence if there are no changes, else None.

        Raise PellucidError if the answer failed.
        """
        reason = _refusal(self._finish, self.reader, self._selected, self._prompt)
        if reason is not None:
            return LineChanges(self._selected.text), reason
        self.reader.drop(*_repeated(self._selected, self.reader.lines))
        changes = line_changes(self._selected, self.reader.lines, self._tokens)
        return changes, None if changes.hunks else UNCHANGED

    def _tokens(self, start: int, stop: int) -> tuple[Token, ...]:
        return tuple(_cut(token, self._query.top_logprobs) for token in self.reader.tokens(start, stop))

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
    if finish is not None and not answer.closed:
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


async def _read(
    assistant: Editor,
    query: EditQuery,
    selected: SelectedLines,
    prompt: EditPrompt,
    new: Sequence[str],
    hunks: Iterable[tuple[Hunk, int]],
) -> list[Hunk]:
    """Return the hunks with log odds, given their places in the new lines.

    Both versions are read up to the next line with text, or the closing fence.
    """
    written = [selected.as_read(line) for line in new]
    read: list[Hunk] = []
    characters = 0
    readable = True
    for hunk, at in hunks:
        end = at + len(hunk.new)
        follows = next((index + 1 for index in range(end, len(written)) if written[index].strip()), None)
        rest = written[end:follows] if follows else [*written[end:], prompt.fence]
        characters += sum(map(len, (*hunk.old, *hunk.new)))
        odds = None
        if readable and characters <= READ_CHARACTERS:
            continued = prompt.continued("".join(f"{line}\n" for line in written[:at]))
            old = [] if selected.inserted else [selected.as_read(line) for line in hunk.old]
            new_text, old_text = ["\n".join([*lines, *rest]) for lines in (written[at:end], old)]
            try:
                asked = ScoreQuery("", query.model, terms=query.terms, continued=continued)
                odds = await text_log_odds(assistant, asked, new_text, old_text)
            # Too long, too busy or not supported: the edit itself is complete.
            except (InvalidRequestError, QueueFullError, NotSupportedError):
                readable = False
        read.append(replace(hunk, log_odds=odds))
    return read
