"""Admits waiting requests and picks the tokens of each step: continuous batching, chunked prefill, three priorities."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pellucid.engine.cache import Match, SlotCache
from pellucid.engine.kv_snapshot import common_prefix
from pellucid.engine.sequence import Sequence
from pellucid.tokens import Priority

MAX_OVERTAKEN = 8
"""How often a waiting request may be overtaken before it goes first, so that nothing starves."""

LOWER_PRIORITY_SHARE = 8
"""While requests of a higher priority prefill, those of a lower one get 1/LOWER_PRIORITY_SHARE of a
step's prefill.
"""

PREFILL_SHARE = 4
"""While a completion decodes, prefill gets at most 1/PREFILL_SHARE of a step.

A user waits for the completion's end, which is near; whole steps of prefill would make it stall
visibly.
"""

TYPING_SECONDS = 10.0
"""For so long after a completion the next one is expected.
It has to wait for the step that runs when it arrives, so steps are short.
"""

GUESS_ROWS = 8
"""Rows up to which a step is filled with guessed tokens.
Code that is repeated is fast with them even where each row counts.
"""

BACKGROUND_STEPS = 16
"""While a completion runs, background work is in one step of BACKGROUND_STEPS, with one token of
its prefill.

Where each token counts, as on processors with AVX2 alone, more would slow the completion down to
less than half of its speed.
"""

MIN_SHARED_PREFIX_TOKENS = 32
"""A request waits for a running prefill that will give it at least so many tokens more than the
cache has.
"""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The next ``count`` tokens of a sequence, from ``start`` on, and the tokens guessed to follow them."""

    sequence: Sequence
    start: int
    count: int
    guess: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def ids(self) -> list[int]:
        """Tokens to compute, the guessed ones last."""
        return [*self.sequence.ids[self.start : self.end], *self.guess]

    @property
    def wanted(self) -> list[int]:
        """Positions whose hidden states are wanted; each guessed token is checked by the logits before it."""
        return [*self.sequence.wanted(self.start, self.end), *range(self.end, self.end + len(self.guess))]


class Scheduler:
    """The waiting and the running sequences of one model, and their slots.

    A step has up to ``chunk`` tokens, and up to ``short_chunk`` if all of them are background work,
    or no completion's while the user is typing. While a more urgent sequence decodes, prefill fills
    it up to ``cheap_rows`` rows.
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
        """True if any sequence waits or runs."""
        return bool(self.waiting or self.running)

    @property
    def urgency(self) -> Priority:
        """Highest priority that waits or runs."""
        return min(sequence.priority for sequence in (*self.running, *self.waiting))

    @property
    def _holds_back(self) -> bool:
        """True if a completion runs, and nothing that is more urgent than the background waits for a slot that the background has."""
        completing = any(sequence.priority == Priority.COMPLETION for sequence in self.running)
        return completing and all(sequence.priority == Priority.BACKGROUND for sequence in self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a new sequence for a slot."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a waiting or running sequence, and free its slot."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            assert sequence.slot is not None
            self.cache.release(sequence.slot)
            sequence.slot = None

    def note_typing(self, now: float) -> None:
        """Note that a completion runs, here or for another model, so that others are likely to follow."""
        self._typing_until = now + TYPING_SECONDS

    def schedule(self, now: float) -> list[PrefillChunk]:
        """Admit what fits, then pick the tokens for this step: at least one for the most urgent sequence if any can run.

        Sequences that decode get one each, but those in the background only in some steps while a
        completion runs.
        """
        self._admit(now)
        self._steps += 1
        if any(sequence.priority == Priority.COMPLETION for sequence in self.running):
            self.note_typing(now)
        running = self.running
        if self._holds_back and self._steps % BACKGROUND_STEPS:
            running = [sequence for sequence in running if sequence.priority < Priority.BACKGROUND]
        decoding = [sequence for sequence in running if not sequence.prefilling]
        prefilling = sorted((s for s in running if s.prefilling), key=lambda s: (s.priority, s.number))
        chunks = self._decode(decoding, min((sequence.priority for sequence in prefilling), default=None))
        if prefilling:
            chunks += self._prefill(prefilling, chunks, is_typing=now < self._typing_until)
        return chunks

    def _decode(self, sequences: list[Sequence], prefill: Priority | None) -> list[PrefillChunk]:
        """Return a chunk with the newest token of each sequence; those of the highest priority also get guessed tokens.

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
        """Return how many tokens may be guessed for each of the urgent sequences.

        With a prefill that is as urgent, reading the weights is not the bottleneck, and a guessed
        token costs as much as any other. Only a completion is worth it then: its steps are long,
        and it often repeats text that the prompt contains.
        """
        if prefill is None or prefill > urgent[0].priority:
            return (GUESS_ROWS - decoding) // len(urgent)
        return GUESS_ROWS - 1 if urgent[0].priority == Priority.COMPLETION else 0

    def _prefill(
        self, sequences: list[Sequence], decoding: list[PrefillChunk], *, is_typing: bool
    ) -> list[PrefillChunk]:
        """Share the tokens that ``decoding`` does not use: the highest priority first, then lower ones, which get a few at least.

        Those few are a share of the prefill of the highest priority, or as many as cost little.
        Background work gets one token during a completion.
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
                chunks.append(PrefillChunk(sequence, sequence.computed, count))
                room -= count
        return chunks

    def _admit(self, now: float) -> None:
        order = sorted(self.waiting, key=lambda s: (s.overtaken < MAX_OVERTAKEN, s.priority, s.number))
        for sequence in order:
            # The last free slot is kept for a completion, because a user is typing.
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
        """Return whether a running prefill will compute much more of this prompt than the cache has (``n`` > 1, say)."""
        return any(
            common_prefix(other.prompt, sequence.prompt[: sequence.reusable]) >= match.length + MIN_SHARED_PREFIX_TOKENS
            for other in self.running
            if other.computed < len(other.prompt) - 1
            and other.priority <= sequence.priority
            and other.request.cache_salt == sequence.request.cache_salt
        )

    def check(self) -> None:
        """Assert that slots and sequences agree."""
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
