"""Edits by instruction: the model rewrites a selection, then each change's probability is read."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from math import exp, log
from pathlib import PurePosixPath
from typing import Protocol

from pellucid.client.assistant_protocol import Reader
from pellucid.code.language_syntax import find_syntax
from pellucid.completion.edits.by_instruction.answer_reader import AnswerReader
from pellucid.completion.edits.by_instruction.edit_prompt import EditPrompt
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk, InstructedEdit, NewLines
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


@dataclass(frozen=True, slots=True)
class _Changes:
    """The new text of a selection, its hunks, and the answer's lines where the hunks begin."""

    text: str
    hunks: Sequence[Hunk] = ()
    starts: Sequence[int] = ()


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

    def changes(self) -> tuple[_Changes, str | None]:
        """Return the changes, and a sentence if there are no changes, else None.

        Raise PellucidError if the answer failed.
        """
        reason = _refusal(self._finish, self.reader, self._selected, self._prompt)
        if reason is not None:
            return _Changes(self._selected.text), reason
        self.reader.drop(*_repeated(self._selected, self.reader.lines))
        changes = _changes(self._selected, self.reader, self._query.top_logprobs)
        return changes, None if changes.hunks else UNCHANGED

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


def _changes(selected: SelectedLines, answer: AnswerReader, top: int) -> _Changes:
    """Return an answer's changes, with ``top`` alternatives per token.

    Unchanged lines keep their line ends. Models omit or add blank lines between functions, so
    changes of blank lines count only without any other change.
    """
    core = () if selected.inserted else selected.core
    kept = selected.raw[selected.leading : selected.leading + len(core)]
    raw: list[str] = [] if selected.inserted else list(selected.raw[: selected.leading])
    hunks: list[Hunk] = []
    starts: list[int] = []
    first = selected.first + (0 if selected.inserted else selected.leading)
    old, new = [line if line.strip() else "" for line in core], answer.lines
    steps = list(_steps(old, new))
    is_blank = [not any(map(str.strip, (*old[begin:end], *new[start:stop]))) for _, begin, end, start, stop in steps]
    only_blank = all(blank for blank, step in zip(is_blank, steps, strict=True) if step[0] != "equal")
    for blank, (kind, begin, end, start, stop) in zip(is_blank, steps, strict=True):
        if kind == "equal" or (blank and not only_blank):
            raw += kept[begin:end]
        else:
            # The last line of a document, with new lines below.
            if raw and stop > start and not raw[-1].endswith(("\n", "\r")):
                raw[-1] += selected.newline
            raw += [line + selected.newline for line in new[start:stop]]
            replaced = selected.lines if selected.inserted else core[begin:end]
            tokens = tuple(_cut(token, top) for token in answer.tokens(start, stop))
            hunks.append(Hunk(first + begin, tuple(replaced), tuple(new[start:stop]), tokens))
            starts.append(start)
    raw += [] if selected.inserted else selected.raw[len(selected.raw) - selected.trailing :]
    text = "".join(raw)
    if selected.raw and not selected.raw[-1].endswith(("\n", "\r")):
        text = text.removesuffix(selected.newline)
    elif selected.raw and not text.endswith(("\n", "\r")) and text:
        text += selected.newline
    return _Changes(text, hunks, starts)


def _steps(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield difflib's steps from old to new lines, with separate steps for outer blank lines."""
    for kind, begin, end, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "replace" or not any(map(str.strip, old[begin:end])) or not any(map(str.strip, new[start:stop])):
            yield kind, begin, end, start, stop
            continue
        first, last = _trimmed(old, begin, end)
        one, other = _trimmed(new, start, stop)
        yield from (
            ("replace", begin, first, start, one),
            ("replace", first, last, one, other),
            ("replace", last, end, other, stop),
        )


def _trimmed(lines: Sequence[str], begin: int, end: int) -> tuple[int, int]:
    """Return a range of lines without its outer blank lines. One line must have text."""
    while not lines[begin].strip():
        begin += 1
    while not lines[end - 1].strip():
        end -= 1
    return begin, end


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
