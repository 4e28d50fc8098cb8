"""Alignment of a text's tokens under two tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.system.common_prefix import common_prefix
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.continue_from_token import open_bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A minimal piece of a text between token borders of both tokenizers."""

    start: int
    text: str
    a: tuple[Token, ...]
    b: tuple[Token, ...]

    @property
    def logprobs(self) -> tuple[float, float] | None:
        """The logprobs under both models, or None if any token has no logprob."""
        a, b = _sum(self.a), _sum(self.b)
        return None if a is None or b is None else (a, b)

    @property
    def log_ratio(self) -> float | None:
        """The first model's logprob minus the second model's, in nats."""
        found = self.logprobs
        return None if found is None else found[0] - found[1]


def align(a: Sequence[Token], b: Sequence[Token]) -> list[Segment]:
    """Return the segments of a text. Raises ValueError if the texts differ."""
    text = _text(a)
    if text != _text(b):
        raise ValueError("the tokens of two different texts cannot be aligned")
    cuts_a, cuts_b = _last_cuts(a), _last_cuts(b)
    cuts_a[len(text)], cuts_b[len(text)] = len(a), len(b)  # The text may end inside a character.
    found: list[Segment] = []
    start = at_a = at_b = 0
    for end in sorted(cuts_a.keys() & cuts_b.keys()):
        if end > start:
            found.append(Segment(start, text[start:end], tuple(a[at_a : cuts_a[end]]), tuple(b[at_b : cuts_b[end]])))
            start, at_a, at_b = end, cuts_a[end], cuts_b[end]
    return found


def last_occurrence(tokens: Sequence[Token], text: str) -> list[Token] | None:
    whole = _text(tokens)
    firsts = dict(reversed(_cuts(tokens))) | {0: 0}
    lasts = {0: 0} | _last_cuts(tokens)
    start = whole.rfind(text)
    while start >= 0:
        end = start + len(text)
        if start in lasts and end in firsts:
            return list(tokens[lasts[start] : max(lasts[start], firsts[end])])
        start = whole.rfind(text, 0, end - 1) if end else -1
    return None


def message_tokens(tokens: Sequence[Token], text: str) -> list[Token] | None:
    """Return the tokens of a message in a prompt, or None.

    Chat templates may strip a message, and a token may hold the last character and a line end.
    Therefore the stripped text, and tokens with additional spaces, match too.
    """
    for spelling in dict.fromkeys((text, text.strip())):
        found = last_occurrence(tokens, spelling)
        if found:
            return found
    start = _text(tokens).rfind(text.strip())
    if start < 0 or not text.strip():
        return None
    end, at = start + len(text.strip()), 0
    held: list[Token] = []
    for token in tokens:
        if at + len(token.text) > start and at < end:
            held.append(token)
        at += len(token.text)
    spelled = _text(held)
    return held if not spelled.replace(text.strip(), "", 1).strip() else None


def first_difference(one: str, other: str) -> int | None:
    return None if one == other else common_prefix(one, other)


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)


def _cuts(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """Return token borders between whole characters: (character, tokens before)."""
    found: list[tuple[int, int]] = []
    at = 0
    for count, (token, rest) in enumerate(zip(tokens, open_bytes(tokens), strict=True), 1):
        at += len(token.text)
        if not rest:
            found.append((at, count))
    return found


def _last_cuts(tokens: Sequence[Token]) -> dict[int, int]:
    """Return the number of tokens before each border, including tokens without text."""
    return dict(_cuts(tokens))


def _sum(tokens: Sequence[Token]) -> float | None:
    known = [token.logprob for token in tokens if token.logprob is not None]
    return sum(known) if len(known) == len(tokens) else None
