"""Token healing: the last tokens of a prompt are dropped, and the answer must repeat their bytes.

A model never saw "return" split into "retu" and "rn", and would not continue "retu" with "rn".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from pellucid.engine.token_mask import TokenMask, pack_ids
from pellucid.models.tokenizers.tokenizer import Tokenizer

MAX_STEPS = 8
"""Maximum number of dropped tokens: no word in a program has more tokens."""


class Healer:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        words = tokenizer.vocabulary()
        special = frozenset(tokenizer.special.values())
        ids = np.array([id for id, word in enumerate(words) if word and id not in special], dtype=np.int64)
        # Sorting first by eight bytes, as a number, takes a quarter of the time.
        beginnings = np.array([words[id] for id in ids.tolist()], dtype="S8").view(">u8")
        order = ids[np.argsort(beginnings.astype(np.uint64), kind="stable")].tolist()
        order.sort(key=words.__getitem__)
        self._words = [words[id] for id in order]
        self._ids = np.array(order, dtype=np.int64)

    def heal(self, ids: Sequence[int], *, keep: int = 0) -> tuple[list[int], Healing | None]:
        """Return the ids without the dropped tokens, and the constraint, or None without healing.

        Drops as many tokens as together begin a longer token (at most MAX_STEPS; at least ``keep``
        stay). The first dropped token may match with only the space at its end: "    ret" becomes "
        " and " return". A marker, a token that ends a line, and tokens before the last line's first
        token are never dropped.
        """
        typed, healed, steps = b"", b"", 0
        for step in range(1, min(MAX_STEPS, len(ids) - keep) + 1):
            word = self._tokenizer.token_bytes(ids[-step])
            if self._tokenizer.is_special(ids[-step]) or word.endswith(b"\n"):
                break
            after_indent = b" " + typed if word.endswith(b" ") else b""
            typed = word + typed
            if self.extends(typed) or (after_indent and self.extends(after_indent)):
                healed, steps = typed, step
            if b"\n" in word:
                break
        if not steps:
            return list(ids), None
        return list(ids[:-steps]), Healing(self, healed, steps)

    def extends(self, piece: bytes) -> bool:
        index = bisect_left(self._words, piece + b"\0")
        return index < len(self._words) and self._words[index].startswith(piece)

    def matching(self, typed: bytes) -> TokenMask:
        """Return the tokens that begin with ``typed`` (not empty), or that ``typed`` begins with.

        After a token of the second kind, further tokens must be able to repeat the remaining bytes.
        """
        shorter = [self._equal(typed[:length]) for length in range(1, len(typed)) if self._repeatable(typed[length:])]
        ids = np.concatenate([self._ids[span] for span in (*shorter, self._beginning(typed))])
        return pack_ids(ids, self._tokenizer.vocab_size)

    def advance(self, typed: bytes, id: int) -> bytes:
        return typed[len(self._tokenizer.token_bytes(id)) :]

    def _repeatable(self, rest: bytes) -> bool:
        if _count(self._beginning(rest)):
            return True
        return any(
            _count(self._equal(rest[:length])) and self._repeatable(rest[length:]) for length in range(1, len(rest))
        )

    def _equal(self, word: bytes) -> slice:
        return slice(bisect_left(self._words, word), bisect_left(self._words, word + b"\0"))

    def _beginning(self, piece: bytes) -> slice:
        begin = bisect_left(self._words, piece)
        end = bisect_left(self._words, True, lo=begin, key=lambda word: not word.startswith(piece))
        return slice(begin, end)


class Healing:
    """A constraint to tokens that repeat ``typed``; ``steps`` is the number of dropped tokens."""

    def __init__(self, healer: Healer, typed: bytes, steps: int) -> None:
        self._healer = healer
        self.typed = typed
        self.steps = steps
        self._left = typed

    @property
    def hides_refused(self) -> bool:
        """True: a token that does not repeat the prompt is no alternative."""
        return True

    def allowed(self) -> TokenMask | None:
        return self._healer.matching(self._left) if self._left else None

    def forced(self) -> list[int]:
        """Return no tokens: few steps are healed."""
        return []

    def advance(self, id: int) -> None:
        self._left = self._healer.advance(self._left, id)


def _count(span: slice) -> int:
    return int(span.stop - span.start)
