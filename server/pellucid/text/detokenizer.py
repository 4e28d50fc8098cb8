"""Incremental decoding of ids to text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import exp

from pellucid.engine.token_scores import TokenScore
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.vocabulary.token import Alternative, Token


class Detokenizer:
    """A decoder that assigns each token the characters that the token completes.

    Invalid bytes become U+FFFD at once, and an incomplete character at the end becomes U+FFFD in
    the last token. ``strip_space`` removes the space that the tokenizer added before the text.
    Markers have no text, except with ``show_markers``.

    ``typed`` are the bytes of the prompt that the first tokens repeat (see ``healing``). ``typed``
    is cut from tokens and alternatives, and tokens without further bytes are omitted.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, strip_space: bool = False, show_markers: bool = False, typed: bytes = b""
    ) -> None:
        self._tokenizer = tokenizer
        self._typed = typed
        self._strip_space = strip_space
        self._show_markers = show_markers
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: Token | None = None  # The last token, if the token ends inside a character.

    def feed(self, score: TokenScore) -> list[Token]:
        data = self._tokenizer.token_bytes(score.id)
        typed, self._typed = self._typed[: len(data)], self._typed[len(data) :]
        if typed and typed == data:
            return []
        if self._tokenizer.is_special(score.id):
            out = self.flush()
            text = data.decode(errors="replace") if self._show_markers else ""
            return [*out, self._token(score, text, typed)]
        text = self._decode(data.removeprefix(typed))
        out = [] if self._held is None else [self._held]
        token = self._token(score, text, typed)
        inside_character = bool(self._decoder.getstate()[0])
        self._held = token if inside_character else None
        return out if inside_character else [*out, token]

    def flush(self) -> list[Token]:
        rest = self._decoder.decode(b"", final=True)
        if self._held is None:
            return []
        held, self._held = self._held, None
        return [replace(held, text=held.text + rest)]

    def _decode(self, data: bytes) -> str:
        if self._strip_space:
            data = data.removeprefix(b" ")
            self._strip_space = False
        return self._decoder.decode(data)

    def _token(self, score: TokenScore, text: str, typed: bytes) -> Token:
        top = [self._alternative(id, logprob, typed) for id, logprob in score.top]
        # An alternative that repeats only a part of ``typed`` has no text, and counts in ``rest``.
        shown = tuple(one for one in top if one.bytes or not typed)
        hidden = sum(exp(one.logprob) for one in top if not one.bytes and typed)
        return Token(
            id=score.id,
            text=text,
            bytes=self._tokenizer.token_bytes(score.id).removeprefix(typed),
            position=score.position,
            logprob=score.logprob,
            rank=score.rank,
            entropy=score.entropy,
            top=shown,
            rest=min(score.rest + hidden, 1.0),
            sampled=score.sampled,
            allowed=score.allowed,
            grammar=score.grammar,
            entropy_range=score.entropy_range,
            experts=score.experts,
        )

    def _alternative(self, id: int, logprob: float, typed: bytes) -> Alternative:
        data = self._tokenizer.token_bytes(id)
        data = b"" if typed.startswith(data) else data.removeprefix(typed)
        return Alternative(id, data.decode(errors="replace"), data, logprob)


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of ids with markers, without the space that the tokenizer adds in front."""
    parts: list[str] = []
    strips_space = tokenizer.prefix_space
    for is_marker, group in groupby(ids, tokenizer.is_special):
        pieces = [tokenizer.token_bytes(id) for id in group]
        if is_marker:
            parts += [piece.decode(errors="replace") for piece in pieces]
            continue
        text = b"".join(pieces)
        parts.append((text.removeprefix(b" ") if strips_space else text).decode(errors="replace"))
        strips_space = False
    return "".join(parts)
