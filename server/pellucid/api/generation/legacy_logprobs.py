"""Logprobs in the legacy shape of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.api.schema.openai import LegacyLogprobs
from pellucid.client.token_json import clamped, record_of
from pellucid.vocabulary.token import Token


def legacy_logprobs(tokens: Sequence[Token], offset: int, count: int) -> LegacyLogprobs:
    """Return the logprobs of tokens, each with ``count`` alternatives and the token itself.

    The text begins at character ``offset``.
    """
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return LegacyLogprobs(
        text_offset=offsets,
        token_logprobs=[None if token.logprob is None else clamped(token.logprob) for token in tokens],
        tokens=[spelled(token.bytes) for token in tokens],
        top_logprobs=[_top(token, count) for token in tokens],
        pellucid=[record_of(token) for token in tokens],
    )


def spelled(data: bytes) -> str:
    r"""Return a token as text.

    Incomplete UTF-8 is written as ``bytes:\xf0\x9f``, so that no two tokens look alike.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _top(token: Token, count: int) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    top = {spelled(alternative.bytes): clamped(alternative.logprob) for alternative in token.top[:count]}
    top.setdefault(spelled(token.bytes), clamped(token.logprob))
    return top
