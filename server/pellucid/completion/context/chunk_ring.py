"""Chunks of other files for the prompt: queued candidates and the ring of sent chunks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

from pellucid.completion.context.uris import document_of
from pellucid.completion.settings import ContextSettings
from pellucid.vocabulary.query import Extra

CHARACTERS_PER_TOKEN = 3.3
"""Characters of code per token, to estimate sizes.

The default model has a median of 3.85 over 182 files in nine languages, and at least 3.3 in nine of
ten files, so budgets are seldom exceeded. SmolLM2 has a median of 3.2.
"""

MAX_CHUNK_LINES = 32

MIN_CHUNK_LINES = 3
"""Minimum number of lines with letters or digits, to be worth the tokens."""

CHUNKS_PER_BUDGET = 4
"""Maximum chunk size, as a fraction of the budget: there is room for several chunks."""

MAX_CANDIDATES = 16
"""Further candidates displace the least promising."""

NEAR_LINES = 32
"""Maximum distance of positions in the same place."""

DUPLICATE_SIMILARITY = 0.9
"""A chunk more similar to a present chunk is dropped."""

REVISION_SIMILARITY = 0.5
"""A chunk replaces a more similar earlier chunk of the same document."""

MAX_LOCAL_SHARE = 0.5
"""Maximum share of lines also around the cursor: the model would only repeat the chunk."""

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
    OPENED = 0
    RELATED = 1
    VISITED = 2
    EDITED = 3


@dataclass(frozen=True, slots=True, eq=False)
class ChunkCandidate:
    """A position in a document, with the text at the time; ``line`` counts from 0."""

    uri: str
    filename: str
    text: str
    line: int
    priority: ChunkPriority

    @property
    def document(self) -> str:
        """The document's URI, without the cell of a notebook."""
        return document_of(self.uri)


@dataclass(frozen=True, slots=True, eq=False)
class ContextChunk:
    """A sent piece of a document. ``lines`` are stripped and have letters or digits."""

    uri: str
    extra: Extra
    priority: ChunkPriority
    lines: frozenset[str] = field(repr=False)

    @property
    def document(self) -> str:
        return document_of(self.uri)

    @property
    def tokens(self) -> float:
        """The estimated number, including the file name."""
        return (len(self.extra.text) + len(self.extra.filename)) / CHARACTERS_PER_TOKEN


class ChunkRing:
    """The sent chunks of other files, and the queue of candidates.

    Chunks are sent oldest first and new chunks are appended, so the beginning of the prompt does
    not change and its KV cache stays valid. Dropping the oldest chunk invalidates the whole cached
    prompt, so this happens seldom and frees half of the budget at once.

    Noting a position on every keystroke is cheap: only a reference to the text is kept, and the
    text is cut when the candidate is promoted. The caller must not note secret or generated files
    (see ``privacy``). ``filename`` is the chunk's name in the prompt: the path in the workspace
    folder.

    ``may_send(uri, text)`` is called before a text becomes a chunk and whenever the chunks are
    checked, because a document may have been ignored since it was noted.
    """

    def __init__(
        self, settings: ContextSettings, may_send: Callable[[str, str], bool] = lambda uri, text: True
    ) -> None:
        self._budget = settings.files_tokens
        self._may_send = may_send
        self._queue: list[ChunkCandidate] = []
        self._chunks: list[ContextChunk] = []
        self._here: ChunkCandidate | None = None
        self._version = 0

    @property
    def version(self) -> int:
        return self._version

    def note_open(self, uri: str, filename: str, text: str) -> None:
        self._enqueue(ChunkCandidate(uri, filename, text, -1, ChunkPriority.OPENED))

    def note_edit(self, uri: str, filename: str, text: str, line: int) -> None:
        """Queue the neighbourhood of an edit. ``text`` is the document after the edit."""
        self._enqueue(ChunkCandidate(uri, filename, text, line, ChunkPriority.EDITED))

    def note_visit(self, uri: str, filename: str, text: str, line: int) -> None:
        """Note the cursor's position, and queue the last position unless it is near."""
        here = ChunkCandidate(uri, filename, text, line, ChunkPriority.VISITED)
        left, self._here = self._here, here
        if left is not None and not _near(left, here):
            self._enqueue(left)

    def note_related(self, pieces: Iterable[tuple[str, str, str, int]]) -> None:
        """Queue pieces of related files, best first, instead of the earlier related pieces.

        Visited and edited documents are skipped, because their chunks are newer than their files.
        """
        self._queue = [candidate for candidate in self._queue if candidate.priority is not ChunkPriority.RELATED]
        known: list[ChunkCandidate | ContextChunk] = [*self._queue, *self._chunks]
        better = {one.document for one in known if one.priority > ChunkPriority.RELATED}
        for uri, filename, text, line in reversed(list(pieces)):
            if document_of(uri) not in better:
                self._enqueue(ChunkCandidate(uri, filename, text, line, ChunkPriority.RELATED))

    def promote(self, uri: str) -> bool:
        """Make a candidate a chunk. Return whether the chunks have changed.

        Call this while idle, at most once a second. Candidates in the document ``uri`` wait,
        because chunks of a document are not sent with the document.
        """
        here = document_of(uri)
        for candidate in sorted(self._queue, key=lambda one: one.priority, reverse=True):
            if candidate.document == here:
                continue
            self._queue.remove(candidate)
            if self._may_send(candidate.uri, candidate.text) and self._admit(candidate):
                self._version += 1
                return True
        return False

    def chunks(self, around: str, exclude: str) -> tuple[Extra, ...]:
        """Return the chunks to send, oldest first, except chunks of ``exclude`` or in ``around``.

        Leaving out a chunk invalidates the KV cache of all later chunks. Call this when the cursor
        has jumped or the version has changed, not on each keystroke.
        """
        self.check()
        document, local = document_of(exclude), distinctive_lines(around)
        return tuple(
            chunk.extra
            for chunk in self._chunks
            if chunk.document != document and len(chunk.lines & local) <= MAX_LOCAL_SHARE * len(chunk.lines)
        )

    def check(self) -> None:
        """Drop the chunks that must no longer be sent. Call this before sending chunks again."""
        self._keep([chunk for chunk in self._chunks if self._may_send(chunk.uri, chunk.extra.text)])

    def forget(self, uri: str) -> None:
        document = document_of(uri)
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
        if len(self._queue) > MAX_CANDIDATES:
            least = min(reversed(self._queue), key=lambda one: one.priority)
            self._queue.remove(least)

    def _admit(self, candidate: ChunkCandidate) -> bool:
        most = int(self._budget / CHUNKS_PER_BUDGET * CHARACTERS_PER_TOKEN) - len(candidate.filename)
        text = cut(candidate.text, candidate.line, most)
        chunk = ContextChunk(
            candidate.uri, Extra(candidate.filename, text), candidate.priority, distinctive_lines(text)
        )
        if len(chunk.lines) < MIN_CHUNK_LINES or any(
            _similarity(chunk.lines, old.lines) > DUPLICATE_SIMILARITY for old in self._chunks
        ):
            return False
        others = [
            old
            for old in self._chunks
            if not (old.document == chunk.document and _similarity(chunk.lines, old.lines) > REVISION_SIMILARITY)
        ]
        if _tokens(others) + chunk.tokens > self._budget:
            # An opened document is not worth invalidating the cache of edited chunks.
            if chunk.priority is ChunkPriority.OPENED:
                return False
            displaced = ChunkPriority.RELATED if chunk.priority is ChunkPriority.RELATED else ChunkPriority.EDITED
            others = _evicted(others, self._budget / 2, displaced)
            if _tokens(others) + chunk.tokens > self._budget:
                return False
        self._chunks = [*others, chunk]
        return True

    def _keep(self, chunks: list[ContextChunk]) -> None:
        if len(chunks) != len(self._chunks):
            self._chunks = chunks
            self._version += 1


def cut(text: str, line: int, most_characters: int) -> str:
    r"""Return at most MAX_CHUNK_LINES lines around a line, with ``\n`` line ends.

    Line -1 means the first definition. The chunk begins and ends at sensible borders.
    """
    lines = re.split(r"\r\n|\r|\n", text)
    if line < 0:
        line = next((index for index, one in enumerate(lines) if _DEFINITION.match(one)), 0)
    line = min(line, len(lines) - 1)
    start = _begin(lines, line)
    while start < line and sum(len(one) + 1 for one in lines[start : line + 1]) > most_characters * 2 // 3:
        start += 1
    end, room = start, most_characters
    while end < min(len(lines), start + MAX_CHUNK_LINES) and (room := room - len(lines[end]) - 1) >= 0:
        end += 1
    if end == start:
        return lines[start][: max(most_characters - 1, 0)] + "\n"
    if end < len(lines):
        end = next(
            (border for border in range(end, max(line, (start + end) // 2), -1) if _is_border(lines, border)), end
        )
    return "\n".join(lines[start:end]).strip("\n") + "\n"


def _begin(lines: Sequence[str], line: int) -> int:
    """Return the beginning of a chunk: a definition, else the line after a blank line.

    At most half of MAX_CHUNK_LINES is searched.
    """
    first = max(line - MAX_CHUNK_LINES // 2, 0)
    definition = next((index for index in range(line, first - 1, -1) if _DEFINITION.match(lines[index])), None)
    if definition is None:
        return next((index for index in range(first, line) if _is_border(lines, index)), first)
    while definition > first and _DECORATION.match(lines[definition - 1]):
        definition -= 1
    return definition


def _is_border(lines: Sequence[str], index: int) -> bool:
    return index == 0 or not lines[index - 1].strip() or _DEFINITION.match(lines[index]) is not None


def _evicted(chunks: Sequence[ContextChunk], budget: float, displaced: ChunkPriority) -> list[ContextChunk]:
    """Drop chunks to fit a budget, opened documents first, then the oldest.

    Chunks of a priority above ``displaced`` stay, even if they exceed the budget.
    """
    kept = list(chunks)
    for chunk in sorted(chunks, key=lambda one: one.priority is not ChunkPriority.OPENED):
        if _tokens(kept) <= budget:
            break
        if chunk.priority <= displaced:
            kept.remove(chunk)
    return kept


def _near(one: ChunkCandidate, other: ChunkCandidate) -> bool:
    return one.document == other.document and abs(one.line - other.line) <= NEAR_LINES


def distinctive_lines(text: str) -> frozenset[str]:
    return frozenset(line for line in map(str.strip, text.split("\n")) if any(map(str.isalnum, line)))


def _similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the Jaccard index of two sets of lines."""
    return len(one & other) / len(one | other) if one or other else 1.0


def _tokens(chunks: Sequence[ContextChunk]) -> float:
    return sum(chunk.tokens for chunk in chunks)
