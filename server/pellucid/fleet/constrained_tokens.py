"""Constraints on tokens from a remote engine, which accepts only lists of allowed ids."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from math import exp, fsum, log

import numpy as np

from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import TokenMask, fitted, ids_in
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.vllm_wire import WireToken
from pellucid.vocabulary.token import TINIEST, GrammarScore


class AllowedTokens:
    def __init__(self, mask: TokenMask, vocab: int, *, hides_refused: bool) -> None:
        self._hides_refused = hides_refused
        self._mask = fitted(mask, vocab).copy()  # The constraint overwrites the mask later.
        self._count = int(np.unpackbits(self._mask.view(np.uint8)).sum())

    @cached_property
    def ids(self) -> list[int]:
        return ids_in(self._mask)

    def __contains__(self, id: int) -> bool:
        return id // 32 < len(self._mask) and bool(int(self._mask[id // 32]) >> id % 32 & 1)

    def limited(self, score: TokenScore, token: WireToken, top_logprobs: int) -> TokenScore:
        """Return a token's score, with the effect of the constraint.

        The total probability of the allowed tokens is exact if the engine reported all allowed
        tokens, else an upper bound, so that no token looks more certain than in fact.
        """
        known = dict(token.top) | {token.id: token.logprob}
        mass = self._mass(known)
        among = min(token.logprob - log(max(mass, TINIEST)), 0.0)
        if not self._hides_refused:
            return replace(score, grammar=GrammarScore(mass, self._count, among))
        top = tuple((id, logprob) for id, logprob in sorted(known.items(), key=lambda one: -one[1]) if id in self)[
            :top_logprobs
        ]
        rest = max(1.0 - fsum(exp(logprob) for _, logprob in top), 0.0)
        return replace(score, top=top, rest=rest, allowed=mass)

    def _mass(self, known: Mapping[int, float]) -> float:
        inside = fsum(exp(logprob) for id, logprob in known.items() if id in self)
        if sum(id in self for id in known) == self._count:
            return min(inside, 1.0)
        return min(inside + max(1.0 - fsum(map(exp, known.values())), 0.0), 1.0)


async def allowed_tokens(constraint: Constraint | None, vocab: int) -> AllowedTokens | None:
    """Return the tokens that a constraint allows next, if limited. Raises ConstraintError.

    A grammar may take long, and runs in a thread.
    """
    if constraint is None:
        return None
    mask = constraint.allowed() if constraint.hides_refused else await asyncio.to_thread(constraint.allowed)
    return None if mask is None else AllowedTokens(mask, vocab, hides_refused=constraint.hides_refused)
