"""Bounds on the divergence of two models' choices from known alternatives, and perplexities.

For a choice p, the server gives the probabilities of the alternatives (and of the token itself),
and the mass r of all remaining tokens. No remaining token is more likely than m, the last
alternative. At a temperature T, each probability is raised to a = 1/T and multiplied by a scale s,
so that the sum is 1. The sum over the remaining tokens is known only within bounds. For at most N
tokens:

    a > 1:  N (r / N)^a  <=  sum p_u^a  <=  r m^(a - 1)          a < 1: the same bounds, exchanged
    a = 1: r

so s lies between s_low and s_high. The same holds for q, with t. Let K be the alternatives of both
choices, A the alternatives of p alone, B the alternatives of q alone.

Lower bound. Merging tokens into classes can only lower the divergence (the log sum inequality,
Cover and Thomas, Elements of Information Theory, 2.7.1). With the tokens of K one by one, and all
remaining tokens in a single class,

    KL >= sum_K p log(p / q) + P log(P / Q),    P = 1 - sum_K p,    Q = 1 - sum_K q.

A token of A that is more likely under p than any unlisted token can be under q (q <= t m^a) is kept
out of that class as well, with this limit instead of q; the greater of the two bounds counts. Each
bound is a sum of x log(x / y) with x linear in s and y in t, and therefore convex. The tangent
plane in the middle of the box of (s, t) is below the sum: the least corner of the plane is a bound.

Upper bound. One assumption is necessary: no token is less likely than LEAST_PROBABILITY under q at
temperature 1, so q >= t f with f = LEAST_PROBABILITY^a. Then

    KL <= sum_K p log(p / q) + sum_A p log(p / (t f)) + R max(0, log(c / g)),

where R is the maximum mass of p's unlisted tokens, c the maximum probability of a single unlisted
token of p, and g the minimum probability of a token under q. The first two sums are convex in (s,
t), so the maximum is in a corner of the box. Models with different vocabularies have no upper
bound: q may be unable to produce the token at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import exp, inf, log

from pellucid.vocabulary.token import Token

LEAST_PROBABILITY = 1e-9
"""Assumed minimum probability at temperature 1."""

MAX_VOCABULARY = 2**19
"""Assumed maximum size of a vocabulary."""

ROUNDING = 1e-6
"""Precision of masses: smaller masses prove nothing."""

TINIEST = 1e-12

MAX_SURPRISAL_NATS = 700.0
"""Maximum for a finite perplexity."""

Key = int | bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    low: float
    high: float

    @property
    def middle(self) -> float:
        """The middle of the bounds; ``low`` if ``high`` is infinite."""
        return self.low if self.high == inf else (self.low + self.high) / 2


@dataclass(frozen=True, slots=True)
class KnownChoice:
    """The known part of a model's choice at one place, at a temperature.

    ``weights`` has the powers of the known probabilities as shares of the highest probability;
    ``scale`` bounds the factor that turns weights into probabilities. ``most`` and ``least`` are
    the powers of the highest and of the lowest possible share of any token without a weight.
    """

    weights: Mapping[Key, float]
    scale: Bounds
    most: float
    least: float
    greedy: bool = False

    @property
    def unlisted(self) -> float:
        """Maximum total probability of tokens without a weight."""
        return max(1 - self.scale.low * sum(self.weights.values()), 0.0)

    @property
    def most_unlisted(self) -> float:
        """Maximum probability of a single token without a weight."""
        return min(self.scale.high * self.most, self.unlisted)

    def probability(self, key: Key) -> Bounds:
        if key in self.weights:
            return Bounds(self.scale.low * self.weights[key], min(self.scale.high * self.weights[key], 1.0))
        return Bounds(0.0, self.most_unlisted)


def choice_of(token: Token, temperature: float = 1.0, *, by_id: bool = True) -> KnownChoice | None:
    """Return the known part of a token's choice at a temperature (0: greedy).

    Without ``by_id``, bytes identify tokens, for models with different tokenizers.
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
    top = token.top[0].logprob  # Unit of all probabilities: powers of small probabilities could underflow.
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
    """Return bounds of KL(p || q) in nats; only equal vocabularies have an upper bound."""
    if q.greedy:
        value = 0.0 if p.greedy and p.weights.keys() == q.weights.keys() else inf
        return Bounds(value, value)
    low = max(_lowest(p, q, ()), _lowest(p, q, _apart(p, q)), 0.0)
    return Bounds(low, max(_highest(p, q), low) if same_vocabulary else inf)


def _apart(p: KnownChoice, q: KnownChoice) -> list[Key]:
    return [
        key
        for key, weight in p.weights.items()
        if key not in q.weights and p.scale.low * weight > q.scale.high * max(q.most, ROUNDING)
    ]


def _lowest(p: KnownChoice, q: KnownChoice, apart: Iterable[Key]) -> float:
    """Return the lower bound with the tokens ``apart`` outside the merged class."""
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
    """Return the exponential of the mean surprisal per token."""
    known = [token.logprob for token in tokens if token.logprob is not None]
    return exp(min(-sum(known) / len(known), MAX_SURPRISAL_NATS)) if known else None
