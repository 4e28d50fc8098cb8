"""Logprobs in the legacy shape of /v1/completions, and logprobs of a prompt in vLLM's shape."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.api.schema.common import Reply
from pellucid.api.schema.tokens import WrittenToken
from pellucid.client.token_json import clamped, record_of
from pellucid.vocabulary.token import Token


class LegacyLogprobs(Reply):
    r"""Logprobs in the shape of completions.

    Incomplete UTF-8 of a token is written as ``bytes:\xf0\x9f``.
    """

    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]
    pellucid: list[WrittenToken]


class PromptLogprob(Reply):
    """A token at a position of the prompt."""

    logprob: float
    rank: int | None
    decoded_token: str


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
        tokens=[_spelled(token.bytes) for token in tokens],
        top_logprobs=[_top(token, count) for token in tokens],
        pellucid=[record_of(token) for token in tokens],
    )


def prompt_logprobs(tokens: Sequence[Token], count: int) -> list[dict[str, PromptLogprob] | None]:
    """Return by id the logprobs of prompt tokens and alternatives. The first token has ``None``."""
    return [None if token.logprob is None else _ranked(token, token.logprob, count) for token in tokens]


def _spelled(data: bytes) -> str:
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
    top = {_spelled(alternative.bytes): clamped(alternative.logprob) for alternative in token.top[:count]}
    top.setdefault(_spelled(token.bytes), clamped(token.logprob))
    return top


def _ranked(token: Token, logprob: float, count: int) -> dict[str, PromptLogprob]:
    ranked = {
        str(alternative.id): PromptLogprob(
            logprob=clamped(alternative.logprob), rank=rank, decoded_token=alternative.text
        )
        for rank, alternative in enumerate(token.top[:count], 1)
    }
    own = PromptLogprob(logprob=clamped(logprob), rank=token.rank, decoded_token=token.bytes.decode(errors="replace"))
    ranked.setdefault(str(token.id), own)
    return ranked
