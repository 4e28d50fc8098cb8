"""Different answers after an alternative to a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.vocabulary.token import Token


def alternatives(tokens: Sequence[Token]) -> list[tuple[float, int, int]]:
    """Return (logprob, token index, alternative index) per alternative with a different text.

    The logprob is the sum up to and including the alternative.
    """
    found = []
    logprob = 0.0
    for index, token in enumerate(tokens):
        for number, alternative in enumerate(token.top):
            if (
                alternative.id != token.id
                and alternative.text.strip()
                and force_alternative([token], 0, number) is not None
            ):
                found.append((logprob + token.constrain(alternative.logprob), index, number))
        logprob += token.constrained_logprob or 0.0
    return found


def force_alternative(tokens: Sequence[Token], index: int, alternative: int) -> tuple[Token, ...] | None:
    """Replace the token at ``index`` by an alternative and drop the rest.

    Return None if the alternative does not exist, contradicts the token's text in the document, or
    does not end with a complete character.
    """
    if not (0 <= index < len(tokens) and 0 <= alternative < len(tokens[index].top)):
        return None
    token, other = tokens[index], tokens[index].top[alternative]
    data = token.text.encode()
    if not token.bytes.endswith(data):  # Cut at its end, or half a character
        data = b"" if not token.bytes.decode(errors="replace").startswith(token.text) else token.bytes
    typed = token.bytes[: len(token.bytes) - len(data)]
    if not other.bytes.startswith(typed):
        return None
    try:
        text = other.bytes[len(typed) :].decode()
    except UnicodeDecodeError:
        return None
    if not text:
        return None
    forced = replace(
        token, id=other.id, text=text, bytes=other.bytes, logprob=other.logprob, rank=alternative + 1, sampled=None
    )
    return (*tokens[:index], forced)
