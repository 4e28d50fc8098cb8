"""Bounds the divergence of two models' choices from the alternatives that are known of each; computes perplexities.

Of a choice p the server gives the probabilities of its alternatives (and of the token itself), and
the mass r of all other tokens, none of which is more likely than m, the last alternative. At a
temperature T each probability is raised to a = 1/T and multiplied by a scale s, so that they sum to
1. The sum over the other tokens is known only within bounds. For at most N tokens:

    a > 1:  N (r / N)^a  <=  sum p_u^a  <=  r m^(a - 1)          a < 1: the same bounds, exchanged
    a = 1: r

so s lies between s_low and s_high. The same holds for q, with t. Let K be the alternatives of both,
A those of p alone, B those of q alone.

Lower bound. Merging tokens into classes can only lower the divergence (the log sum inequality,
Cover and Thomas, Elements of Information Theory, 2.7.1). With the tokens of K one by one, and all
others in one class,

    KL >= sum_K p log(p / q) + P log(P / Q),    P = 1 - sum_K p,    Q = 1 - sum_K q.

A token of A that is more likely under p than any unlisted token can be under q (q <= t m^a) is kept
out of that class as well, with this limit in place of q; the greater of the two bounds counts. Each
is a sum of x log(x / y) with x linear in s and y in t, so it is convex, and its tangent plane in
the middle of the box of (s, t) is below it: the least corner of the plane is a bound.

Upper bound. It needs one assumption: no token is less likely than LEAST_PROBABILITY under q at
temperature 1, so q >= t f with f = LEAST_PROBABILITY^a. Then

    KL <= sum_K p log(p / q) + sum_A p log(p / (t f)) + R max(0, log(c / g)),

where R is the most that p may leave for tokens that it does not list, c the most that one of them
can have, and g the least that q can give one. The first two sums are convex in (s, t), so their
maximum is in a corner of the box. Models with different vocabularies have no upper bound: q may be
unable to produce the token at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import exp, inf, log

from pellucid.tokens import Token

LEAST_PROBABILITY = 1e-9
"""No token is assumed to be less likely than this under a model at temperature 1."""

MAX_VOCABULARY = 2**19
"""No vocabulary is assumed to have more tokens."""

ROUNDING = 1e-6
"""Masses are known to about this precision: smaller ones prove nothing."""

TINIEST = 1e-12

MAX_SURPRISAL_NATS = 700.0
"""Largest mean surprisal per token whose perplexity is a finite float."""

Key = int | bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest value that a number can have."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the two; the finite one if the other is infinite."""
        return self.low if self.high == inf else (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class KnownChoice:
    """The known part of a model's choice at one place, at a temperature.

    ``weights`` are the powers of the known probabilities as shares of the highest one; ``scale``
    bounds the factor that makes them probabilities. ``most`` and ``least`` are the powers of the
    highest and of the lowest share of any other token.
    """

    weights: Mapping[Key, float]
    scale: Bounds
    most: float
    least: float
    greedy: bool = False

    @property
    def unlisted(self) -> float:
        """The most that all tokens without a weight can have together."""
        return max(1 - self.scale.low * sum(self.weights.values()), 0.0)

    @property
    def most_unlisted(self) -> float:
        """The most that one of them can have."""
        return min(self.scale.high * self.most, self.unlisted)

    def probability(self, key: Key) -> Bounds:
        """Return the probability of a token."""
        if key in self.weights:
            return Bounds(self.scale.low * self.weights[key], min(self.scale.high * self.weights[key], 1.0))
        return Bounds(0.0, self.most_unlisted)


def choice_of(token: Token, temperature: float = 1.0, *, by_id: bool = True) -> KnownChoice | None:
    """Return what is known of the choice that led to a token, at a temperature (0: greedy); None if it has no alternatives.

    With ``by_id`` tokens are distinguished by their ids, else by their bytes, for models with
    different tokenizers.
    """
    if not token.top:
        return None
    if temperature == 0:
        first = token.top[0]
        return KnownChoice({first.id if by_id else first.bytes: 1.0}, Bounds(1.0, 1.0), 0.0, 0.0, greedy=True)
    known = [(one.id if by_id else one.bytes, one.logprob) for one in token.top]
    rest = token.rest
    if token.logprob is not None and all(one.id != token.id for one in token.top):
        known.append((token.id if by_id else token.bytes, token.logprob))
        rest -= exp(token.logprob)
    power = 1 / temperature
    top = token.top[0].logprob  # all in units of the highest probability, whose power could be too small for a float
    weights: dict[Key, float] = {}
    for key, logprob in known:
        weights[key] = weights.get(key, 0.0) + exp((logprob - top) * power)
    rest = max(rest, 0.0) / exp(top)
    most = max(min(exp(token.top[-1].logprob - top), rest), TINIEST)
    spread = MAX_VOCABULARY * (rest / MAX_VOCABULARY) ** power
    low, high = sorted((rest * most ** (power - 1), spread)) if power != 1 else (rest, rest)
    listed = sum(weights.values())
    scale = Bounds(1 / max(listed + high, TINIEST), 1 / max(listed + low, TINIEST))
    return KnownChoice(weights, scale, most**power, (LEAST_PROBABILITY / exp(top)) ** power)


def divergence(p: KnownChoice, q: KnownChoice, *, same_vocabulary: bool = True) -> Bounds:
    """Return bounds of KL(p || q) in nats. Without ``same_vocabulary`` there is no upper bound."""
    if q.greedy:
        value = 0.0 if p.greedy and p.weights.keys() == q.weights.keys() else inf
        return Bounds(value, value)
    low = max(_lowest(p, q, ()), _lowest(p, q, _apart(p, q)), 0.0)
    return Bounds(low, max(_highest(p, q), low) if same_vocabulary else inf)


def _apart(p: KnownChoice, q: KnownChoice) -> list[Key]:
    """Return the tokens that are more likely under p than any unlisted token can be under q."""
    return [
        key
        for key, weight in p.weights.items()
        if key not in q.weights and p.scale.low * weight > q.scale.high * max(q.most, ROUNDING)
    ]


def _lowest(p: KnownChoice, q: KnownChoice, apart: Iterable[Key]) -> float:
    """Return the lower bound with the tokens ``apart`` kept out of the class of all others."""
    pairs = [(weight, q.weights[key]) for key, weight in p.weights.items() if key in q.weights]
    shared = sum(other for _, other in pairs)
    pairs += [(p.weights[key], max(q.most, ROUNDING)) for key in apart]
    s, t = p.scale.middle, q.scale.middle
    value = along_s = along_t = 0.0
    for weight, other in pairs:
        ratio = log(max(s * weight, TINIEST) / max(t * other, TINIEST))
        value += s * weight * ratio
        along_s += weight * (ratio + 1)
        along_t -= s * weight / t
    single = sum(weight for weight, _ in pairs)
    x, y = max(1 - s * single, TINIEST), max(1 - t * shared, ROUNDING)
    ratio = log(x / y)
    value += x * ratio
    along_s -= single * (ratio + 1)
    along_t += shared * x / y
    return value - abs(along_s) * (p.scale.high - p.scale.low) / 2 - abs(along_t) * (q.scale.high - q.scale.low) / 2


def _highest(p: KnownChoice, q: KnownChoice) -> float:
    pairs = [(weight, q.weights.get(key, q.least)) for key, weight in p.weights.items()]
    corners = product((p.scale.low, p.scale.high), (q.scale.low, q.scale.high))
    listed = max(
        sum(s * weight * log(max(s * weight, TINIEST) / max(t * other, TINIEST)) for weight, other in pairs)
        for s, t in corners
    )
    if p.unlisted <= TINIEST or p.most_unlisted <= 0:
        return listed
    least = q.scale.low * min([q.least, *(weight for key, weight in q.weights.items() if key not in p.weights)])
    return listed + p.unlisted * max(0.0, log(p.most_unlisted / max(least, TINIEST**2)))


def perplexity(tokens: Iterable[Token]) -> float | None:
    """Return the exponential of the mean surprisal per token; None if no token has a logprob."""
    known = [token.logprob for token in tokens if token.logprob is not None]
    return exp(min(-sum(known) / len(known), MAX_SURPRISAL_NATS)) if known else None
