"""Who gets a slot, and which tokens run next: continuous batching with chunked prefill and three priorities."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.engine.cache import Match, SlotCache
from pellucid.engine.kv_snapshot import common_prefix
from pellucid.engine.sequence import Sequence
from pellucid.tokens import Priority

MOST_OVERTAKEN = 8
"""How often a waiting request may be overtaken before it goes first: nothing starves."""

RESERVE = 8
"""One part in so many of a step's tokens is kept for prefill of lower priority while higher ones are served."""

SMOOTH = 4
"""One part in so many of a step is all the prefill there is beside a completion that is being said.

Somebody waits for its end, which is near; in whole steps it would seem to stand still.
"""

ROWS = 8
"""Tokens of a step up to which more are welcome, guessed or of lower priority: so many cost well below twice what one costs."""

SHARE = 32
"""Tokens of common prefix for which a request waits while another one computes them."""


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """The next ``count`` tokens of a sequence, from ``start`` on, and a guess of those that follow."""

    sequence: Sequence
    start: int
    count: int
    guess: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + self.count

    @property
    def ids(self) -> list[int]:
        """The tokens to compute, those guessed last."""
        return [*self.sequence.ids[self.start : self.end], *self.guess]

    @property
    def wanted(self) -> list[int]:
        """The positions whose logits are wanted: each guessed token is checked by those before it."""
        return [*self.sequence.wanted(self.start, self.end), *range(self.end, self.end + len(self.guess))]


class Scheduler:
    """The waiting and the running sequences of one model, and the slots that they work in."""

    def __init__(self, cache: SlotCache, chunk: int, *, lookup: bool) -> None:
        self.cache = cache
        self.chunk = chunk
        self.lookup = lookup
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.running)

    @property
    def urgency(self) -> Priority:
        """The highest priority that waits or runs."""
        return min(sequence.priority for sequence in (*self.running, *self.waiting))

    def add(self, sequence: Sequence) -> None:
        """Let a new sequence wait for a slot."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and let its slot go."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        else:
            self.running.remove(sequence)
            assert sequence.slot is not None
            self.cache.release(sequence.slot)
            sequence.slot = None

    def schedule(self, now: float) -> list[PrefillChunk]:
        """Admit what fits, then give each running sequence its tokens of this step; at least one if any sequence can run."""
        self._admit(now)
        decoding = [sequence for sequence in self.running if not sequence.prefilling]
        prefilling = sorted((s for s in self.running if s.prefilling), key=lambda s: (s.priority, s.number))
        chunks = self._decode(decoding, min((sequence.priority for sequence in prefilling), default=None))
        if prefilling:
            chunks += self._prefill(prefilling, chunks)
        return chunks

    def _decode(self, sequences: list[Sequence], beside: Priority | None) -> list[PrefillChunk]:
        """The newest token of each, and a guess of what may follow it: for those of the highest priority alone, first come.

        ``beside`` is the highest priority of a prefill in the same step.
        """
        top = min((sequence.priority for sequence in sequences), default=None)
        urgent = [sequence for sequence in sequences if sequence.priority == top]
        spare = self._spare(len(sequences), urgent, beside) if self.lookup and urgent else 0
        return [
            PrefillChunk(sequence, sequence.computed, 1, tuple(sequence.guess(spare)) if spare > 0 and sequence in urgent else ())
            for sequence in sequences
        ]

    def _spare(self, decoding: int, urgent: list[Sequence], beside: Priority | None) -> int:
        """How many tokens may be guessed for each of the urgent ones.

        Beside a prefill as urgent nothing waits for the weights, and a guessed token costs as much as any other: there only a
        completion is worth it, whose steps are long, and which says nothing while it repeats what the text says already.
        """
        if beside is None or beside > urgent[0].priority:
            return (ROWS - decoding) // len(urgent)
        return ROWS - 1 if urgent[0].priority == Priority.COMPLETION else 0

    def _prefill(self, sequences: list[Sequence], decoding: list[PrefillChunk]) -> list[PrefillChunk]:
        """Share the tokens that ``decoding`` leaves: the highest priority first, but a part stays for what stands lower.

        Beside a prefill that is some part of all; beside decoding alone, which more tokens would slow down, what costs little.
        """
        top = min(sequence.priority for sequence in self.running)
        high = [sequence for sequence in sequences if sequence.priority == top]
        low = [sequence for sequence in sequences if sequence.priority > top]
        said = any(chunk.sequence.priority == Priority.COMPLETION for chunk in decoding)
        step = self.chunk // SMOOTH if said else self.chunk
        rows = sum(1 + len(chunk.guess) for chunk in decoding)
        room = max(step - len(decoding), 1)
        reserve = min(max(step // RESERVE if high else ROWS - rows, 1), room)
        return self._share(high, max(room - reserve, 1) if low else room) + self._share(low, reserve)

    def _share(self, sequences: list[Sequence], room: int) -> list[PrefillChunk]:
        chunks = []
        for sequence in sequences:
            count = min(len(sequence.ids) - sequence.computed, room)
            if count > 0:
                chunks.append(PrefillChunk(sequence, sequence.computed, count))
                room -= count
        return chunks

    def _admit(self, now: float) -> None:
        order = sorted(self.waiting, key=lambda s: (s.overtaken < MOST_OVERTAKEN, s.priority, s.number))
        for sequence in order:
            # The last free slot is kept for a completion: somebody is typing.
            urgent = sequence.priority == Priority.COMPLETION or sequence.overtaken >= MOST_OVERTAKEN
            spare = 0 if urgent or self.cache.slots == 1 else 1
            if self.cache.free <= spare:
                continue
            match = self.cache.match(sequence.prompt[: sequence.reusable])
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
        """Whether a running prefill is about to compute much more of this prompt than the cache has (``n`` > 1, say)."""
        return any(
            common_prefix(other.prompt, sequence.prompt[: sequence.reusable]) >= match.length + SHARE
            for other in self.running
            if other.computed < len(other.prompt) - 1 and other.priority <= sequence.priority
        )

    def check(self) -> None:
        """Assert that slots and sequences agree."""
        self.cache.check([sequence.slot for sequence in self.running if sequence.slot is not None])
        for sequence in self.running:
            assert sequence.slot is not None, f"sequence {sequence.number} runs without a slot"
            assert self.cache.length(sequence.slot) == sequence.computed, f"sequence {sequence.number} and its slot disagree"
            sequence.check()
        assert all(sequence.slot is None for sequence in self.waiting), "a waiting sequence holds a slot"
