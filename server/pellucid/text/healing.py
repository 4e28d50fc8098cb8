"""Heals a prompt that ends inside a token: its last tokens are dropped, and the answer must repeat their bytes.

A model never saw "return" split into "retu" and "rn", so that it would not continue "retu" with
"rn".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from pellucid.engine.token_mask import TokenMask, pack_ids
from pellucid.models.tokenizers.tokenizer import Tokenizer

MAX_STEPS = 8
"""The most tokens that are dropped: no word in a program is split into more."""


class Healer:
    """Holds the vocabulary of one tokenizer sorted by bytes, to find the tokens that may continue a piece of one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        words = sorted((word, id) for id, word in enumerate(tokenizer.vocabulary()) if not tokenizer.is_special(id))
        self._words = [word for word, _ in words]
        self._ids = np.array([id for _, id in words], dtype=np.int64)

    def heal(self, ids: Sequence[int], *, keep: int = 0) -> tuple[list[int], Healing | None]:
        """Return the ids without the last ones, if the text may end inside a token, and the constraint that repeats their bytes.

        Drops the most tokens (at most MAX_STEPS, and at least ``keep`` stay) that together begin
        some longer token, the first of them perhaps only with the space at its end: "    ret" is to
        become "   " and " return". Never drops a marker or a token that ends a line, nor a token
        before the one that begins the last line.
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
        """Return whether some longer token begins with these bytes."""
        index = bisect_left(self._words, piece + b"\0")
        return index < len(self._words) and self._words[index].startswith(piece)

    def matching(self, typed: bytes) -> TokenMask:
        """Return the set of tokens that begin with ``typed``, which is not empty, or that ``typed`` begins with.

        Of the latter only those after which the remaining bytes can be repeated too.
        """
        shorter = [self._equal(typed[:length]) for length in range(1, len(typed)) if self._repeatable(typed[length:])]
        ids = np.concatenate([self._ids[span] for span in (*shorter, self._beginning(typed))])
        return pack_ids(ids, self._tokenizer.vocab_size)

    def advance(self, typed: bytes, id: int) -> bytes:
        """Return the bytes of ``typed`` that are still to be repeated after a token."""
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
    """Constrains the engine to tokens that repeat ``typed``, until all of it is repeated.

    ``steps`` is the number of tokens that were dropped from the prompt.
    """

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
        """Return the set of tokens that may come next, or None once all is repeated."""
        return self._healer.matching(self._left) if self._left else None

    def forced(self) -> list[int]:
        """Return no tokens: few steps are healed."""
        return []

    def advance(self, id: int) -> None:
        """Note the token that was chosen."""
        self._left = self._healer.advance(self._left, id)


def _count(span: slice) -> int:
    return int(span.stop - span.start)
