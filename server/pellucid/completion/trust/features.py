"""Features for a calibration: numbers about the suggestion and the code around the cursor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from pellucid.code.brackets import is_balanced
from pellucid.code.language_syntax import indentation
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.trust.threshold_gate import FLOOR
from pellucid.system.common_prefix import common_prefix
from pellucid.vocabulary.token import Token

VERSION = 4
"""A calibration for a different version is not used."""

MIN_SUM = -30.0
"""Lower limit in nats: any smaller sum of logprobs means a wrong suggestion."""

MAX_INDENT = 40

LOOKBACK_CHARACTERS = 4_000
"""Number of characters before and after the cursor searched for lines and names."""

MIN_LETTERS = 4
"""Minimum number of letters and digits in a line ``seen before``."""

MAX_VOCABULARY = 2**19
"""Upper bound for any vocabulary."""

MAX_NAME = 100

NAMES = (
    "mean",
    "least",
    "first",
    "last",
    "sum",
    "first entropy",
    "worst entropy",
    "all entropy",
    "first margin",
    "worst margin",
    "characters",
    "tokens",
    "lines",
    "whole",
    "stopped",
    "cut off",
    "balanced",
    "no suffix",
    "mid-word",
    "line start",
    "in text",
    "indentation",
    "like above",
    "seen before",
    "unknown names",
)
"""Logprobs are in nats, lengths and counts are logarithms, and flags are 1 or 0."""


_NAME = re.compile(r"[^\W\d]\w{2,}")
"""A name of at least three characters: shorter names are too common to be informative."""


@dataclass(frozen=True, slots=True)
class CursorFeatures:
    """Properties of a cursor, shared by all suggestions at the cursor.

    ``lines`` are stripped and precede the cursor; ``names`` precede or follow the cursor.
    """

    left: str
    suffix: bool
    in_text: bool
    above: str
    lines: frozenset[str]
    names: frozenset[str]

    @classmethod
    def read(cls, parsed: ParsedCursor) -> CursorFeatures:
        """Read the properties; a fenced block of Markdown is read as a part of its document."""
        if parsed.fenced_block is not None:
            parsed = ParsedCursor(parsed.document, fences=False)
        cursor = parsed.cursor
        before, after = cursor.before[-LOOKBACK_CHARACTERS:], cursor.after[:LOOKBACK_CHARACTERS]
        lines = frozenset(line.strip() for line in before.split("\n")[:-1])
        names = frozenset(_NAME.findall(before)) | frozenset(_NAME.findall(after))
        return cls(cursor.left, bool(after.strip()), parsed.in_text, (parsed.above or "").strip(), lines, names)


def features(tokens: Sequence[Token], at: CursorFeatures, ending: str, *, whole: bool) -> tuple[float, ...]:
    """Return the features in the order of ``NAMES``.

    ``whole``: the tokens are the whole suggestion. At least one token must have text.
    """
    text = "".join(token.text for token in tokens)
    scored = [token for token in tokens if token.text and token.logprob is not None]
    logprobs = [max(token.constrained_logprob or 0.0, log(FLOOR)) for token in scored] or [0.0]
    worst = min(range(len(logprobs)), key=logprobs.__getitem__)
    line = (at.left + text.partition("\n")[0]).strip()
    begun = re.search(r"\w*$", at.left[-MAX_NAME:])  # The first name may begin left of the cursor.
    names = _NAME.findall((begun.group() if begun else "") + text)
    values = (
        sum(logprobs) / len(logprobs),
        logprobs[worst],
        logprobs[0],
        logprobs[-1],
        max(sum(logprobs), MIN_SUM),
        _entropy(scored, 0),
        _entropy(scored, worst),
        log(1 + sum(max(judged_entropy(token), 0.0) for token in scored)),
        _margin(scored, 0),
        _margin(scored, worst),
        log(1 + len(text)),
        log(1 + len(logprobs)),
        log(1 + text.count("\n")),
        float(whole),
        float(whole and ending == Ending.STOP),
        # TIME is excluded: a replay has no time budget, so no calibration has learnt from TIME.
        float(whole and ending == Ending.LIMIT),
        float(is_balanced(text)),
        float(not at.suffix),
        float(re.search(r"\w$", at.left) is not None and re.match(r"\w", text) is not None),
        float(not at.left.strip()),
        float(at.in_text),
        min(indentation(at.left), MAX_INDENT) / MAX_INDENT,
        _common_prefix_share(line, at.above),
        float(sum(map(str.isalnum, line)) >= MIN_LETTERS and line in at.lines),
        log(1 + sum(name not in at.names for name in names)),
    )
    assert len(values) == len(NAMES), "each number has its name"
    return values


def geometric_mean(values: Sequence[float]) -> float:
    return exp(values[0])


def judged_entropy(token: Token) -> float:
    """Return a token's entropy in nats: exact if known, else the middle of its range.

    Only a calibration fitted on such middles should judge them; the model's ``revision`` ensures
    this.
    """
    if token.entropy_estimate is not None:
        return token.entropy_estimate
    # Only the token's probability is known. The largest consistent entropy (all remaining tokens
    # equally likely) never overstates certainty: an unknown entropy can only hide a suggestion. A
    # token with a probability close to 1 still counts as nearly certain.
    assert token.logprob is not None, "the caller dropped tokens without one"
    own = min(exp(token.logprob), 1.0)
    return _surprisal_share(own) + _surprisal_share(1 - own) + (1 - own) * log(MAX_VOCABULARY)


def _surprisal_share(probability: float) -> float:
    return -probability * log(probability) if probability > 0 else 0.0


def _entropy(tokens: Sequence[Token], index: int) -> float:
    """Return an entropy in nats; without tokens, the maximum."""
    return judged_entropy(tokens[index]) if tokens else log(MAX_VOCABULARY)


def _margin(tokens: Sequence[Token], index: int) -> float:
    """Return a token's logprob minus the best alternative's, limited to ±``log(FLOOR)``.

    A token under a constraint has only the allowed alternatives.
    """
    if not tokens:
        return -log(FLOOR)
    token = tokens[index]
    assert token.logprob is not None, "the caller dropped tokens without one"
    others = [alternative.logprob for alternative in token.top if alternative.id != token.id]
    # Without alternatives, take all remaining tokens together.
    best = max(others) if others else log(max(token.allowed - exp(token.logprob), FLOOR))
    return min(max(token.logprob - best, log(FLOOR)), -log(FLOOR))


def _common_prefix_share(line: str, above: str) -> float:
    shorter = min(len(line), len(above))
    return common_prefix(line, above) / shorter if shorter else 0.0
