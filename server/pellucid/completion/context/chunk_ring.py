"""Pieces of other files that the model gets to read: a queue of candidates, and the ring of chunks that are sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from pellucid.completion.settings import ContextSettings
from pellucid.tokens import Extra

CHARACTERS_PER_TOKEN = 3.3
"""Characters of code that make one token.

The default model reads 3.85 of them as one token in the median of 182 files of nine languages and 3.3 or more in nine of
ten files, so that budgets are seldom exceeded; SmolLM2 reads 3.2 in the median.
"""

MOST_LINES = 32
"""The most lines of a chunk."""

LEAST_LINES = 3
"""A chunk with fewer lines that say something is not worth its tokens."""

CHUNKS_AT_LEAST = 4
"""No chunk takes more than this part of the budget, so that there are always several."""

MOST_CANDIDATES = 16
"""How many candidates wait; more drop the least promising."""

FAR = 32
"""A cursor that moved more lines than this left a place."""

SAME = 0.9
"""From here on two chunks say the same, and the newer one is dropped."""

OLDER = 0.5
"""From here on an earlier chunk of the same document is an older state of the newer one, which takes over."""

COPIED = 0.5
"""A chunk of which a larger part stands around the cursor already is left out: the model would only repeat it."""

_DEFINITION = re.compile(
    r"""\s*(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|unsafe|extern|inline|virtual|override
        |declare|local|pub(?:\([^)]*\))?)\s+)*
    (?:def|class|function|fn|func|interface|struct|enum|union|impl|trait|type|module|namespace|object|record|sub|proc|template)\b
    |\#+\ \S                           # a heading
    |\(def\w*\b                        # a Lisp
    |[A-Za-z_][\w\s*&:<>,]*\([^;]*$    # a function of C""",
    re.VERBOSE,
)
_DECORATION = re.compile(r"\s*(?:@|#[\[\s]|//|/\*|\*|--)")


class ChunkPriority(IntEnum):
    """How much a place is likely to help: what was worked on more than what was only opened."""

    OPENED = 0
    VISITED = 1
    EDITED = 2


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCandidate:
    """A place that may become a chunk: the text of its document as it was then, and the line, counted from 0."""

    uri: str
    filename: str
    text: str
    line: int
    priority: ChunkPriority

    @property
    def document(self) -> str:
        """What it is a place of: all cells of a notebook are one document."""
        return _document(self.uri)


@dataclass(frozen=True, slots=True, eq=False)
class ContextChunk:
    """A piece of a document as it is sent. ``said`` are its lines that say something, without their indentation."""

    uri: str
    extra: Extra
    priority: ChunkPriority
    said: frozenset[str] = field(repr=False)

    @property
    def document(self) -> str:
        """What it is a piece of."""
        return _document(self.uri)

    @property
    def tokens(self) -> float:
        """About how many tokens it takes, its name included."""
        return (len(self.extra.text) + len(self.extra.filename)) / CHARACTERS_PER_TOKEN


class ChunkRing:
    """Pieces of other files, the ones that helped last: a queue of candidates, and the chunks that are sent.

    Chunks are sent oldest first and new ones go behind them, so that the beginning of the prompt stays what it was and
    its KV cache stays valid. To drop the oldest one changes everything after it: the whole cached prompt. So that is
    done seldom, and to half the budget at once, rather than with each new chunk.

    Noting a place is cheap, as it is done on every keystroke: it keeps a reference to the text and cuts it only when the
    place is promoted. Secret and worthless files are not to be noted at all (see ``privacy``). ``filename`` is what the
    model reads as the chunk's name: the path from the workspace's folder. Cells of a notebook count as one document.

    ``may_send`` is asked, with the address of a document and a text of it, before the text becomes a chunk and whenever
    the chunks are checked: what was harmless when it was noted may be ignored since.
    """

    def __init__(self, settings: ContextSettings, may_send: Callable[[str, str], bool] = lambda uri, text: True) -> None:
        self._budget = settings.files_tokens
        self._may_send = may_send
        self._queue: list[ChunkCandidate] = []
        self._chunks: list[ContextChunk] = []
        self._here: ChunkCandidate | None = None
        self._version = 0

    @property
    def version(self) -> int:
        """A number that changes whenever the chunks do."""
        return self._version

    def note_open(self, uri: str, filename: str, text: str) -> None:
        """A document was opened: its first definition may help."""
        self._enqueue(ChunkCandidate(uri, filename, text, -1, ChunkPriority.OPENED))

    def note_edit(self, uri: str, filename: str, text: str, line: int) -> None:
        """A document was edited at a line; ``text`` is what it says now."""
        self._enqueue(ChunkCandidate(uri, filename, text, line, ChunkPriority.EDITED))

    def note_visit(self, uri: str, filename: str, text: str, line: int) -> None:
        """The cursor stands here now. The place that it left by that, in another document or far away in this one, may help."""
        here = ChunkCandidate(uri, filename, text, line, ChunkPriority.VISITED)
        left, self._here = self._here, here
        if left is not None and not _near(left, here):
            self._enqueue(left)

    def promote(self) -> bool:
        """Makes one candidate a chunk; True if what is sent has changed by that. To be called while idle, once a second at most.

        Those of the document where the cursor stands wait until it is left: they would not be sent with it.
        """
        here = self._here.document if self._here else None
        for candidate in sorted(self._queue, key=lambda one: one.priority, reverse=True):
            if candidate.document == here:
                continue
            self._queue.remove(candidate)
            if self._may_send(candidate.uri, candidate.text) and self._admit(candidate):
                self._version += 1
                return True
        return False

    def chunks(self, around: str, but_not: str) -> tuple[Extra, ...]:
        """What is sent to complete in the document ``but_not``, oldest first, without what the text ``around`` the cursor says already.

        Leaving out a chunk invalidates the cache of those after it. So this is to be asked when the cursor jumped or the
        version changed, not on each keystroke. They are checked before.
        """
        self.check()
        document, local = _document(but_not), _said(around)
        return tuple(chunk.extra for chunk in self._chunks if chunk.document != document and _share(chunk.said, local) <= COPIED)

    def check(self) -> None:
        """Drops the chunks that may not be sent any more, for good. To be called before any are sent again."""
        self._keep([chunk for chunk in self._chunks if self._may_send(chunk.uri, chunk.extra.text)])

    def forget(self, uri: str) -> None:
        """Nothing of this document is sent any more: it has become secret, say, or is gone."""
        document = _document(uri)
        self._queue = [candidate for candidate in self._queue if candidate.document != document]
        if self._here is not None and self._here.document == document:
            self._here = None
        self._keep([chunk for chunk in self._chunks if chunk.document != document])

    def _enqueue(self, new: ChunkCandidate) -> None:
        if not self._budget:
            return
        replaced = [old for old in self._queue if _near(old, new)]
        priority = max([new.priority, *(old.priority for old in replaced)])
        self._queue = [replace(new, priority=priority), *(old for old in self._queue if old not in replaced)]
        if len(self._queue) > MOST_CANDIDATES:
            least = min(reversed(self._queue), key=lambda one: one.priority)
            self._queue.remove(least)

    def _admit(self, candidate: ChunkCandidate) -> bool:
        """Puts a candidate into the ring, if it says something new and there is room for it."""
        most = int(self._budget / CHUNKS_AT_LEAST * CHARACTERS_PER_TOKEN) - len(candidate.filename)
        text = cut(candidate.text, candidate.line, most)
        chunk = ContextChunk(candidate.uri, Extra(candidate.filename, text), candidate.priority, _said(text))
        if len(chunk.said) < LEAST_LINES or any(_similarity(chunk.said, old.said) > SAME for old in self._chunks):
            return False
        others = [old for old in self._chunks if not (old.document == chunk.document and _similarity(chunk.said, old.said) > OLDER)]
        if _tokens(others) + chunk.tokens > self._budget:
            if chunk.priority is ChunkPriority.OPENED:  # not worth the cache of what was worked on
                return False
            others = _evicted(others, self._budget / 2)
        self._chunks = [*others, chunk]
        return True

    def _keep(self, chunks: list[ContextChunk]) -> None:
        if len(chunks) != len(self._chunks):
            self._chunks = chunks
            self._version += 1


def cut(text: str, line: int, most_characters: int) -> str:
    r"""The piece of a text around a line: at most MOST_LINES, from one sensible border to another, with ``\n`` at each end of line.

    A line of -1 means the first definition.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    if line < 0:
        line = next((index for index, one in enumerate(lines) if _DEFINITION.match(one)), 0)
    line = min(line, len(lines) - 1)
    start = _begin(lines, line)
    while start < line and sum(len(one) + 1 for one in lines[start : line + 1]) > most_characters * 2 // 3:
        start += 1
    end, room = start, most_characters
    while end < min(len(lines), start + MOST_LINES) and (room := room - len(lines[end]) - 1) >= 0:
        end += 1
    if end == start:  # one line is too long by itself
        return lines[start][: max(most_characters - 1, 0)] + "\n"
    if end < len(lines):
        end = next((border for border in range(end, max(line, (start + end) // 2), -1) if _is_border(lines, border)), end)
    return "\n".join(lines[start:end]).strip("\n") + "\n"


def _begin(lines: Sequence[str], line: int) -> int:
    """Where a chunk around a line begins: at the definition that it is in, else after a blank line, within half of MOST_LINES."""
    first = max(line - MOST_LINES // 2, 0)
    definition = next((index for index in range(line, first - 1, -1) if _DEFINITION.match(lines[index])), None)
    if definition is None:
        return next((index for index in range(first, line) if _is_border(lines, index)), first)
    while definition > first and _DECORATION.match(lines[definition - 1]):
        definition -= 1
    return definition


def _is_border(lines: Sequence[str], index: int) -> bool:
    """Whether something begins at this line."""
    return index == 0 or not lines[index - 1].strip() or _DEFINITION.match(lines[index]) is not None


def _evicted(chunks: Sequence[ContextChunk], budget: float) -> list[ContextChunk]:
    """What stays when the oldest go until the rest fits; those that were only opened go before the others."""
    kept = list(chunks)
    for chunk in sorted(chunks, key=lambda one: one.priority is not ChunkPriority.OPENED):
        if _tokens(kept) <= budget:
            break
        kept.remove(chunk)
    return kept


def _near(one: ChunkCandidate, other: ChunkCandidate) -> bool:
    return one.document == other.document and abs(one.line - other.line) <= FAR


def _document(uri: str) -> str:
    """What the cells of a notebook have in common: their addresses differ after ``#``, which files have as ``%23``."""
    return uri.partition("#")[0]


def _said(text: str) -> frozenset[str]:
    """The lines that say something, without their indentation."""
    return frozenset(line for line in map(str.strip, text.split("\n")) if any(map(str.isalnum, line)))


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index of two sets of lines: 1 where they are the same."""
    return len(one & other) / len(one | other) if one or other else 1.0


def _share(part: frozenset[str], whole: frozenset[str]) -> float:
    return len(part & whole) / len(part) if part else 0.0


def _tokens(chunks: Sequence[ContextChunk]) -> float:
    return sum(chunk.tokens for chunk in chunks)
