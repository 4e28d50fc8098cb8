"""Logprobs of tokens in the shape of chat replies."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.api.schema.tokens import TokenLogprob, TopLogprob
from pellucid.client.token_json import clamped, record_of
from pellucid.vocabulary.token import Token


def token_logprobs(tokens: Sequence[Token]) -> list[TokenLogprob]:
    return [_entry(token) for token in tokens]


def _entry(token: Token) -> TokenLogprob:
    assert token.logprob is not None, "only the first token of a prompt has no logprob"
    return TokenLogprob(
        token=token.bytes.decode(errors="replace"),
        logprob=clamped(token.logprob),
        bytes=list(token.bytes),
        top_logprobs=[
            TopLogprob(token=one.text, logprob=clamped(one.logprob), bytes=list(one.bytes)) for one in token.top
        ],
        pellucid=record_of(token),
    )
