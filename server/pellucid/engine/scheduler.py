"""The scheduler: continuous batching, chunked prefill, three priorities."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pellucid.engine.embedded_run import unsplit
from pellucid.engine.kv_cache.kv_snapshot import common_prefix
from pellucid.engine.kv_cache.slot_cache import Match, SlotCache
from pellucid.engine.sequence import Sequence
from pellucid.vocabulary.query import Priority

MAX_OVERTAKEN = 8
"""Number of times a waiting request may be overtaken, so no request starves."""

LOWER_PRIORITY_SHARE = 8
"""While a higher priority prefills, lower priorities get 1/LOWER_PRIORITY_SHARE of the prefill."""

PREFILL_SHARE = 4
"""While a completion decodes, prefill gets at most 1/PREFILL_SHARE of a step.

Whole steps of prefill would visibly stall the completion.
"""

TYPING_SECONDS = 10.0
"""Time after a completion in which the next completion is expected.

Steps are short during this time, because a completion waits for the running step.
"""

GUESS_ROWS = 8
"""Rows up to which guessed tokens fill a step; repeated code gains even if each row costs time."""

BACKGROUND_STEPS = 16
"""While a completion runs, background work joins one of BACKGROUND_STEPS steps.

Its prefill then gets one token. With AVX2 alone, each token counts: more background work would slow
the completion to less than half of its speed.
"""

MIN_SHARED_PREFIX_TOKENS = 32
"""Minimum gain for which a request waits for a running prefill with a common prefix."""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The next ``count`` tokens of a sequence from ``start``, and guessed further tokens."""

    sequence: Sequence
    start: int
    count: int
    guess: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def last(self) -> int:
        """The end of the guessed tokens."""
        return self.end + len(self.guess)

    @property
    def ids(self) -> list[int]:
        return [*self.sequence.ids[self.start : self.end], *self.guess]

    @property
    def wanted(self) -> list[int]:
        return [*self.sequence.wanted(self.start, self.end), *range(self.end, self.last)]


class Scheduler:
    """The waiting and running sequences of one model, and their slots.

    A step has up to ``chunk`` tokens. The limit is ``short_chunk`` for background work, and while
    the user is typing but no completion runs. Prefill extends a more urgent decode step to
    ``cheap_rows`` rows.
    """

    def __init__(self, cache: SlotCache, chunk: int, short_chunk: int, cheap_rows: int, *, lookup: bool) -> None:
        self.cache = cache
        self.chunk = chunk
        self.short_chunk = short_chunk
        self.cheap_rows = cheap_rows
        self.lookup = lookup
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._steps = 0
        self._typing_until = -inf

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.running)

    @property
    def urgency(self) -> Priority:
        return min(sequence.priority for sequence in (*self.running, *self.waiting))

    @property
    def _holds_back(self) -> bool:
        """True if a completion runs and no chat waits for a slot held by background work."""
        completing = any(sequence.priority == Priority.COMPLETION for sequence in self.running)
        return completing and all(sequence.priority == Priority.BACKGROUND for sequence in self.waiting)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            assert sequence.slot is not None
            self.cache.release(sequence.slot)
            sequence.slot = None

    def note_typing(self, now: float) -> None:
        """Record a running completion of any model: more are likely to follow."""
        self._typing_until = now + TYPING_SECONDS

    def schedule(self, now: float) -> list[PrefillChunk]:
        """Admit waiting requests, then pick the tokens for this step.

        The most urgent sequence gets at least one token. Each decoding sequence gets one token, but
        in the background only in some steps while a completion runs.
        """
        self._admit(now)
        self._steps += 1
        if any(sequence.priority == Priority.COMPLETION for sequence in self.running):
            self.note_typing(now)
        running = self.running
        if self._holds_back and self._steps % BACKGROUND_STEPS:
            running = [sequence for sequence in running if sequence.priority < Priority.BACKGROUND]
        decoding = [sequence for sequence in running if not sequence.prefilling]
        prefilling = sorted((s for s in running if s.prefilling), key=lambda s: (s.priority, not s.generated, s.number))
        chunks = self._decode(decoding, min((sequence.priority for sequence in prefilling), default=None))
        if prefilling:
            chunks += self._prefill(prefilling, chunks, is_typing=now < self._typing_until)
        return chunks

    def _decode(self, sequences: list[Sequence], prefill: Priority | None) -> list[PrefillChunk]:
        """Return a chunk with each sequence's newest token, and guesses for the highest priority.

        ``prefill`` is the highest priority of a prefill in the same step.
        """
        top = min((sequence.priority for sequence in sequences), default=None)
        urgent = [sequence for sequence in sequences if sequence.priority == top]
        spare = self._spare(len(sequences), urgent, prefill) if self.lookup and urgent else 0
        return [
            PrefillChunk(
                sequence, sequence.computed, 1, tuple(sequence.guess(spare)) if spare > 0 and sequence in urgent else ()
            )
            for sequence in sequences
        ]

    def _spare(self, decoding: int, urgent: list[Sequence], prefill: Priority | None) -> int:
        """Return the number of tokens to guess for each urgent sequence.

        With an equally urgent prefill, reading weights is not the bottleneck, and a guess costs as
        much as any token. Only a completion, which often repeats the prompt, justifies the cost.
        """
        if prefill is None or prefill > urgent[0].priority:
            return (GUESS_ROWS - decoding) // len(urgent)
        return GUESS_ROWS - 1 if urgent[0].priority == Priority.COMPLETION else 0

    def _prefill(
        self, sequences: list[Sequence], decoding: list[PrefillChunk], *, is_typing: bool
    ) -> list[PrefillChunk]:
        """Share the tokens not used by ``decoding``: most for the highest priority.

        Lower priorities get a share, or as many rows as cost little. Background work gets one token
        during a completion.
        """
        top = min(sequence.priority for sequence in self.running)
        high = [sequence for sequence in sequences if sequence.priority == top]
        low = [sequence for sequence in sequences if sequence.priority > top]
        completing = any(chunk.sequence.priority == Priority.COMPLETION for chunk in decoding)
        is_short = top == Priority.BACKGROUND or (is_typing and top != Priority.COMPLETION)
        step = self.chunk // PREFILL_SHARE if completing else self.short_chunk if is_short else self.chunk
        room = max(step - len(decoding), 1)
        chunks = self._share(high, max(room - max(room // LOWER_PRIORITY_SHARE, 1), 1) if low else room)
        taken = sum(chunk.count for chunk in chunks)
        rows = taken + sum(1 + len(chunk.guess) for chunk in decoding)
        reserve = max(min(max(taken // (LOWER_PRIORITY_SHARE - 1), self.cheap_rows - rows), room - taken), 1)
        if self._holds_back:
            chats = [sequence for sequence in low if sequence.priority < Priority.BACKGROUND]
            return chunks + self._share(chats, reserve) + self._share(low[len(chats) :], 1)
        return chunks + self._share(low, reserve)

    def _share(self, sequences: list[Sequence], room: int) -> list[PrefillChunk]:
        chunks = []
        for sequence in sequences:
            count = min(len(sequence.ids) - sequence.computed, room)
            if count > 0:
                count = unsplit(sequence.request.embedded, sequence.computed + count) - sequence.computed
                chunks.append(PrefillChunk(sequence, sequence.computed, count))
                room -= count
        return chunks

    def _admit(self, now: float) -> None:
        order = sorted(self.waiting, key=lambda s: (s.overtaken < MAX_OVERTAKEN, s.priority, s.number))
        for sequence in order:
            # The last free slot is reserved for a completion, because a user is typing.
            urgent = sequence.priority == Priority.COMPLETION or sequence.overtaken >= MAX_OVERTAKEN
            spare = 0 if urgent or self.cache.slots == 1 else 1
            if self.cache.free <= spare:
                continue
            match = self.cache.match(sequence.prompt[: sequence.reusable], sequence.request.cache_salt)
            if self._computed_soon(sequence, match):
                continue
            self._start(sequence, match, now)

    def _start(self, sequence: Sequence, match: Match, now: float) -> None:
        for other in self.waiting:
            if other.number < sequence.number:
                other.overtaken += 1
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.admit(self.cache.acquire(match), match.length, now)

    def _computed_soon(self, sequence: Sequence, match: Match) -> bool:
        """Return whether a running prefill will compute much more of the prompt than is cached."""
        return any(
            max(match.length + MIN_SHARED_PREFIX_TOKENS, other.computed + 1)
            <= self.cache.reusable(common_prefix(other.prompt, sequence.prompt[: sequence.reusable]), len(other.prompt))
            for other in self.running
            if other.computed < len(other.prompt) - 1
            and other.priority <= sequence.priority
            and other.request.cache_salt == sequence.request.cache_salt
        )

    def check(self) -> None:
        self.cache.check([sequence.slot for sequence in self.running if sequence.slot is not None])
        for sequence in self.running:
            assert sequence.slot is not None, f"sequence {sequence.number} runs without a slot"
            assert self.cache.length(sequence.slot) == sequence.computed, (
                f"sequence {sequence.number} and its slot disagree"
            )
            assert self.cache.cache_salt(sequence.slot) == sequence.request.cache_salt, (
                f"slot {sequence.slot} has another salt"
            )
            sequence.check()
        assert all(sequence.slot is None for sequence in self.waiting), "a waiting sequence holds a slot"
