"""Logprobs of a prompt in vLLM's shape."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.api.schema.openai import PromptLogprob
from pellucid.client.token_json import clamped
from pellucid.vocabulary.token import Token


def prompt_logprobs(tokens: Sequence[Token], count: int) -> list[dict[str, PromptLogprob] | None]:
    """Return by id the logprobs of prompt tokens and alternatives. The first token has ``None``."""
    return [None if token.logprob is None else _ranked(token, token.logprob, count) for token in tokens]


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
