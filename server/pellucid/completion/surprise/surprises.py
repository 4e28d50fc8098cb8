"""Marks for words that do not fit the text before and after, according to the model."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from io import StringIO
from itertools import pairwise
from math import exp, inf
from pathlib import Path

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.edits.reading import PREFIX_LINES, SUFFIX_LINES
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.surprise.alternatives import Replacement, alternatives
from pellucid.completion.surprise.changed_since_commit import changed_parts, committed_text
from pellucid.completion.surprise.code_lexer import CodeWord, Part, code_words
from pellucid.completion.surprise.word_readings import WordReading, word_readings
from pellucid.vocabulary.query import CompletionQuery, Priority, ScoreQuery, Terms
from pellucid.vocabulary.token import Token

MAX_CHARACTERS = 24_000
"""Maximum searched text, some 700 lines of code.

Reading this text takes a minute or more on a slow machine.
"""

CHARACTERS_BEFORE = 4_000
"""Number of characters read before a part, from the start of a line."""

MAX_REREAD_CHARACTERS = 2_000
"""Maximum length of lines read again, and of the text before and after: in minified code a line can
be a megabyte.
"""

REREAD_SHARE, MIN_REREAD = 0.05, 3
"""Number of words read again with alternatives: a share of the lines, and the minimum."""

LEAST_SCORE = 5.5
"""Minimum score of a marked word.

Chosen with the default model on 60 files of 21 Python packages with a planted bug per file: 37 % of
the bugs are marked. There are ten marks per 1,000 lines, of which 64 % are bugs.
"""

ALTERNATIVES_OF_A_TOKEN = 10


@dataclass(frozen=True, slots=True)
class LikelierText:
    """An alternative, the written text, and the alternative's probability among all these texts."""

    replacement: Replacement
    written: str
    probability: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A word that does not fit.

    ``probability``: the written text's, among the text and its ``alternatives`` (likeliest first).
    ``rank``: of the word's least probable token. ``typical``: the token probability expected from
    the text before. ``log_odds``: the best alternative's, in nats. ``surprise``: the excess of the
    token's surprisal over the entropy, in nats.
    """

    begin: int
    end: int
    text: str
    probability: float
    rank: int
    typical: float
    log_odds: float
    surprise: float
    alternatives: tuple[LikelierText, ...]

    @property
    def score(self) -> float:
        """The measure for marking: both readings must find the word wrong.

        Each reading alone is right less often.
        """
        return min(self.log_odds, self.surprise)

    @property
    def reason(self) -> str:
        best = self.alternatives[0]
        return (
            f"{best.replacement.text} fits better than {best.written} between the lines around it: "
            f"probability {rounded(best.probability)} instead of {rounded(self.probability)}."
        )

    def moved(self, by: int) -> Mark:
        others = tuple(
            replace(
                one, replacement=Replacement(one.replacement.begin + by, one.replacement.end + by, one.replacement.text)
            )
            for one in self.alternatives
        )
        return replace(self, begin=self.begin + by, end=self.end + by, alternatives=others)


@dataclass(frozen=True, slots=True)
class Findings:
    marks: tuple[Mark, ...]
    wanted: tuple[Part, ...]
    searched: tuple[Part, ...]


class Surprises:
    """Search for words that do not fit.

    Cancelling ``find`` also cancels the reading in the model server.
    """

    def __init__(self, models: ModelChoice) -> None:
        self._models = models

    async def find(
        self,
        uri: str,
        text: str,
        language: str,
        parts: Sequence[Part] | None = None,
        near: int = 0,
        file: Path | None = None,
    ) -> Findings:
        """Return the marks in parts of a text, by default the whole text.

        A text that is too long is searched around ``near``. ``file``: search only the lines that
        differ from the last commit of this file.
        """
        wanted = [(0, len(text))] if parts is None else parts
        if file is not None:
            changed = await asyncio.to_thread(changed_parts, await committed_text(file), text)
            both = [(max(begin, first), min(end, last)) for begin, end in changed for first, last in wanted]
            wanted = [(begin, end) for begin, end in both if begin < end]
        searched = _nearest(text, wanted, near)
        words = list(code_words(text, language))
        names = Counter(word.text for word in words)
        if not any(begin <= word.begin < end for word in words for begin, end in searched):
            return Findings((), tuple(wanted), searched)
        async with self._models.asked() as (client, card):
            terms = Terms(Priority.BACKGROUND, key=f"lsp-{os.getpid()}:surprise:{uri}")
            marks: list[Mark] = []
            for group in _read_together(searched):
                read = await read_words(client, text, words, (group[0][0], group[-1][1]), card.name, terms)
                inside = [one for one in read if any(begin <= one.word.begin < end for begin, end in group)]
                for reading in doubtful(inside, sum(text.count("\n", begin, end) for begin, end in group)):
                    mark = await read_again(client, reading, text, names, card.name, terms)
                    if mark is not None and mark.score >= LEAST_SCORE:
                        marks.append(mark)
        return Findings(tuple(sorted(marks, key=lambda mark: mark.begin)), tuple(wanted), searched)


async def read_words(
    assistant: Assistant, text: str, words: Sequence[CodeWord], part: Part, model: str | None, terms: Terms
) -> list[WordReading]:
    line = text.rfind("\n", 0, max(part[0] - CHARACTERS_BEFORE, 0)) + 1
    start = max(line, part[0] - 2 * CHARACTERS_BEFORE)
    query = ScoreQuery(text[start : part[1]], model, ALTERNATIVES_OF_A_TOKEN, terms, windows=True)
    async with aclosing(assistant.score(query)) as items:
        tokens = [item async for item in items if isinstance(item, Token)]
    return [one for one in word_readings(words, tokens, start) if part[0] <= one.word.begin and one.word.end <= part[1]]


def rounded(probability: float) -> str:
    """Return a probability with two digits, or "under 0.01" or "over 0.99".

    A probability between two texts is never 0 or 1.
    """
    if probability < 0.01:
        return "under 0.01"
    return "over 0.99" if probability > 0.99 else f"{probability:.2f}"


def doubtful(readings: Sequence[WordReading], lines: int) -> list[WordReading]:
    """Return the most surprising words, to read again.

    New names are always surprising, so excluded.
    """
    known = [one for one in readings if not one.is_new and (one.token.rank or 1) > 1]
    return sorted(known, key=lambda one: -one.surprise)[: max(MIN_REREAD, round(REREAD_SHARE * lines))]


async def read_again(
    assistant: Assistant, reading: WordReading, text: str, names: Mapping[str, int], model: str | None, terms: Terms
) -> Mark | None:
    """Read a word's lines as written and with each alternative, between the lines around.

    Return None without alternatives or if the lines are too long.
    """
    word, others = reading.word, alternatives(reading, text, names)
    if not others:
        return None
    first = text.rfind("\n", 0, min(one.begin for one in others)) + 1
    last = text.find("\n", max(one.end for one in others))
    last = len(text) if last < 0 else last + 1
    if last - first > MAX_REREAD_CHARACTERS:
        return None
    before = StringIO(text[max(0, first - MAX_REREAD_CHARACTERS) : first]).readlines()
    after = StringIO(text[last : last + MAX_REREAD_CHARACTERS]).readlines()
    gap = CompletionQuery("".join(before[-PREFIX_LINES:]), "".join(after[:SUFFIX_LINES]))
    texts = [text[first:last], *(text[first : one.begin] + one.text + text[one.end : last] for one in others)]
    logprobs = await assistant.logprob_sums(ScoreQuery("", model, terms=terms, gap=gap), texts)
    written, *read = [-inf if logprob is None else logprob for logprob in logprobs]
    if written == -inf or max(read) == -inf:
        return None
    total = sum(exp(logprob - max(written, *read)) for logprob in (written, *read))
    shares = [exp(logprob - max(written, *read)) / total for logprob in (written, *read)]
    likelier = [
        LikelierText(one, text[one.begin : one.end], share) for one, share in zip(others, shares[1:], strict=True)
    ]
    token = reading.token
    return Mark(
        word.begin,
        word.end,
        word.text,
        shares[0],
        token.rank or 1,
        exp(-(token.entropy_estimate or 0.0)),
        max(read) - written,
        reading.surprise,
        tuple(sorted(likelier, key=lambda one: -one.probability)),
    )


def _read_together(parts: Sequence[Part]) -> list[list[Part]]:
    """Group parts with no more text between than read before a part anyway, in order."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and part[0] - groups[-1][-1][1] <= CHARACTERS_BEFORE:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _nearest(text: str, parts: Sequence[Part], near: int) -> tuple[Part, ...]:
    """Return parts of whole lines, nearest to an offset.

    At most MAX_CHARACTERS are read, including the text between the parts.
    """
    found: list[Part] = []
    left = MAX_CHARACTERS
    parts = sorted(part for part in parts if part[0] < part[1])
    between = {after: min(after[0] - before[1], CHARACTERS_BEFORE) for before, after in pairwise(parts)}
    for part in sorted(parts, key=lambda part: max(part[0] - near, near - part[1], 0)):
        begin, end = part
        left -= between.get(part, 0)
        if left <= 0:
            break
        if end - begin > left:
            first = max(begin, min(near - left // 2, end - left))
            begin = begin if first == begin else text.find("\n", first, end) + 1 or first
            end = end if begin + left >= end else text.rfind("\n", begin, begin + left) + 1 or begin + left
        if begin < end:
            found.append((begin, end))
            left -= end - begin
    return tuple(sorted(found))
