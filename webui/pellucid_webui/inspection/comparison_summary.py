"""Summary of a comparison in words and numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from math import exp, inf, log

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.alignment import first_difference
from pellucid_webui.inspection.compared_places import OWN, SAMPLED, ComparedPlaces
from pellucid_webui.inspection.comparison import REFERENCE, Column, Comparison
from pellucid_webui.inspection.model_divergence import Bounds, perplexity
from pellucid_webui.inspection.word_diff import TextDifference

LARGEST_SHOWN = 5

EQUAL_BITS = 0.05
"""Smaller differences are not visible with one decimal."""


LEAST_RATIO_NATS = log(1.5)
"""Minimum log ratio of a token among the largest differences."""

EQUAL_NATS = 0.03
"""Smaller log ratios count as equal."""

MAX_QUOTED_CHARACTERS = 40

LARGE = 1000

MANY = 1_000_000


@dataclass(frozen=True, slots=True)
class Jump:
    """A token to jump to; ``kind`` is first, difference or large."""

    kind: str
    text: int
    token: int
    words: str


def default_view(comparison: Comparison) -> str:
    """Return SAMPLED if only the temperatures differ, otherwise OWN."""
    return SAMPLED if comparison.same_reader and not comparison.same_temperature else OWN


def sentences(places: ComparedPlaces) -> list[str]:
    comparison = places.comparison
    found = []
    if comparison.stopped:
        found.append("Stopped before all answers were complete and scored.")
    failed = [column.letter for column in comparison.columns if column.error]
    if failed:
        found.append(f"{_joined(failed)} failed; see the message in the column.")
    if comparison.reads_only:
        return found + (_with_and_without(comparison) if comparison.rereads else _surest(comparison))
    with_text = [column for column in comparison.columns if column.text]
    found += [difference_sentence(places, with_text[0], other) for other in with_text[1:]]
    if comparison.same_reader:
        found.append(_same_reader(comparison))
    else:
        found += _likelihoods(comparison)
    return found


def _with_and_without(comparison: Comparison) -> list[str]:
    """Say how the pictures change the likelihood of an answer, read with and without pictures."""
    seeing = next((one for one in comparison.columns if one.pictures and one.tokens), None)
    blind = next((one for one in comparison.columns if not one.pictures and one.tokens), None)
    if seeing is None or blind is None:
        return []
    ratio = _sum(seeing.tokens) - _sum(blind.tokens)
    change = f"{abs(ratio) / log(2):.1f} bits"
    than = f"as with the pictures ({seeing.letter})" if ratio < 0 else f"as without pictures ({blind.letter})"
    where = f"with the pictures ({seeing.letter})" if ratio >= 0 else f"without pictures ({blind.letter})"
    if abs(ratio) < EQUAL_NATS:
        return [f"The answer is equally likely with the pictures ({seeing.letter}) and without ({blind.letter})."]
    return [f"The answer is {times(abs(ratio))} as likely {where} {than}: a difference of {change}."]


def _surest(comparison: Comparison) -> list[str]:
    """Compare the columns' surprisals of the common text.

    Only the part predicted by all columns counts: some models do not predict the first token.
    """
    read = [
        column
        for column in comparison.columns
        if column.error is None and any(one.logprob is not None for one in column.tokens)
    ]
    if len(read) < 2:
        return []
    first = max(_predicted_from(column.tokens) for column in read)
    found = []
    for column in read:
        begins = accumulate((len(token.text) for token in column.tokens), initial=0)
        predicted = [token for token, begin in zip(column.tokens, begins, strict=False) if begin >= first]
        found.append((-_sum(predicted) / log(2), column))
    (least, surest), *others = sorted(found, key=lambda one: one[0])
    if others[-1][0] - least < EQUAL_BITS:
        return [
            f"{_joined([column.letter for column in read])} are equally sure of the text: "
            f"{least:.1f} bits of surprisal."
        ]
    rest = ", ".join(f"{column.letter} with {bits:.1f}" for bits, column in others)
    return [
        f"{surest.letter} ({surest.settings.model}) is the surest of the text, "
        f"with {least:.1f} bits of surprisal; {rest}."
    ]


def _predicted_from(tokens: Sequence[Token]) -> int:
    return sum(len(token.text) for token in takewhile(lambda token: token.logprob is None, tokens))


def difference_sentence(places: ComparedPlaces, a: Column, b: Column) -> str:
    at = first_difference(a.text, b.text)
    both = f"{a.letter} and {b.letter}"
    if at is None:
        return f"{both} write the same answer ({len(a.tokens)} {'token' if len(a.tokens) == 1 else 'tokens'})."
    here, there = token_index(a.tokens, at), token_index(b.tokens, at)
    if here == there == 0:
        start = f"The answers of {both} differ from the first token"
    elif here == there:
        first = "token" if here == 1 else f"{here} tokens"
        start = f"{both} write the same first {first}, then differ at token {here + 1}"
    else:
        start = f"{both} agree up to token {here} of {a.letter} and token {there} of {b.letter}"
    return f"{start}: {_next(places, a, here)}, {_next(places, b, there)}."


def matrix(comparison: Comparison) -> list[list[str]]:
    """Return the perplexity and total bits of each text under each column."""
    rows = [["", *[f"under {column.letter}" for column in comparison.columns]]]
    for text in comparison.texts:
        name = text.name if text.name == REFERENCE else f"{text.name}'s answer"
        if comparison.reads_only:
            if text is not comparison.texts[0]:
                continue  # All columns read the same text.
            name = "the text"
        rows.append([name, *[_cell(text.tokens.get(at)) for at in range(len(comparison.columns))]])
    return rows


def figures(places: ComparedPlaces) -> list[list[str]]:
    columns = places.columns
    view = default_view(places.comparison)
    rows = [["", *[f"{column.letter}'s answer" for column in columns]]]
    for other, column in enumerate(columns):
        cells = [
            "–" if at == other else _divergence_words(mean_divergence(places, at, other, view))
            for at in range(len(columns))
        ]
        rows.append([f"KL divergence to {column.letter}, bits per token", *cells])
    for other, column in enumerate(columns if not places.comparison.same_reader else []):
        shares = [None if at == other else agreement(places, at, other) for at in range(len(columns))]
        cells = ["–" if share is None else f"{100 * share:.1f} %" for share in shares]
        rows.append([f"same first choice as {column.letter}", *cells])
    rows.append(["tokens", *[str(len(column.tokens)) for column in columns]])
    rows.append(["seconds", *["–" if column.took is None else f"{column.took:.1f}" for column in columns]])
    return rows


def jumps(places: ComparedPlaces) -> list[Jump]:
    """Return the first difference, further differences, and the largest ratios."""
    return [*_text_differences(places), *largest(places)]


def largest(places: ComparedPlaces) -> list[Jump]:
    view = default_view(places.comparison)
    found: dict[tuple[int, tuple[int, int]], tuple[float, Jump]] = {}
    reads = places.comparison.reads_only
    for at, column in enumerate(places.columns):
        whose = "Token" if reads else f"{column.letter}'s token"
        for other, against in enumerate(places.columns):
            if other == at or (reads and at):  # All columns have the same text: a single column is enough.
                continue
            for index, place in enumerate(places.links(at, other)):
                ratio = place.views[view].ratio
                if ratio is None or index != place.segment[0] or abs(ratio.middle) < LEAST_RATIO_NATS:
                    continue
                key = (at, place.segment)
                if key not in found or abs(ratio.middle) > found[key][0]:
                    tokens = column.tokens[slice(*place.segment)]
                    words = f"{whose} {index + 1}: {_compared(column, against, tokens, ratio)}"
                    found[key] = abs(ratio.middle), Jump("large", at, index, words)
    ranked = sorted(found.values(), key=lambda one: (-one[0], one[1].text, one[1].token))
    return [jump for _, jump in ranked[:LARGEST_SHOWN]]


def quoted(text: str) -> str:
    shown = text if len(text) <= MAX_QUOTED_CHARACTERS else text[: MAX_QUOTED_CHARACTERS - 1] + "…"
    return f"“{shown}”".replace("\n", "↵")


def percent(probability: float) -> str:
    value = 100 * probability
    if value >= 99.95:
        return f"{value:.4g} %" if value < 99.9995 else "100 %"
    if value >= 10:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if value >= 0.001 or not value else "under 0.001 %"


def times(nats: float) -> str:
    """Return a log ratio as a factor, such as "3.5 times"."""
    ratio = exp(min(nats, 700.0))
    if ratio >= MANY:
        return "over a million times"
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"


def _text_differences(places: ComparedPlaces) -> list[Jump]:
    columns = places.columns
    found: dict[tuple[int, int], Jump] = {}
    for b in range(1, len(columns)):
        for number, one in enumerate(places.differences(0, b)):
            in_a = one.a[0] < one.a[1]
            text, at = (0, one.a[0]) if in_a else (b, one.b[0])
            if columns[text].tokens:
                jump = Jump(
                    "difference",
                    text,
                    token_index(columns[text].tokens, at),
                    _described(places, (columns[0], columns[b]), one, first=not number),
                )
                found.setdefault((text, jump.token), jump)
    ordered = sorted(found.values(), key=lambda jump: (jump.token, jump.text))
    return [Jump("first", one.text, one.token, one.words) if not n else one for n, one in enumerate(ordered)]


def _described(
    places: ComparedPlaces, columns: tuple[Column, Column], difference: TextDifference, *, first: bool
) -> str:
    a, b = columns
    text_a, text_b = a.text[slice(*difference.a)], b.text[slice(*difference.b)]
    if first and text_a and text_b:
        here, there = token_index(a.tokens, difference.a[0]), token_index(b.tokens, difference.b[0])
        return f"token {here + 1}: {_next(places, a, here)}, {_next(places, b, there)}"
    if text_a and text_b:
        return f"{a.letter} has {quoted(text_a)}, {b.letter} has {quoted(text_b)}"
    return f"only {a.letter if text_a else b.letter} has {quoted(text_a or text_b)}"


def _compared(column: Column, against: Column, tokens: Sequence[Token], ratio: Bounds) -> str:
    text = quoted("".join(token.text for token in tokens))
    if ratio.middle == inf:
        return f"{column.letter} can take {text}, {against.letter} never does"
    if ratio.middle == -inf:
        return f"{against.letter} can take {text}, {column.letter} never does"
    more, less = (column, against) if ratio.middle > 0 else (against, column)
    about = "about " if ratio.high - ratio.low > 0.01 else ""
    return f"{more.letter} finds {text} {about}{times(abs(ratio.middle))} as likely as {less.letter} does"


def _same_reader(comparison: Comparison) -> str:
    same = "All columns have the same model and system prompt, so the model finds every text equally likely"
    if comparison.same_temperature:
        return f"{same}: they differ only in the tokens that were drawn."
    return (
        f"{same}. What differs is the temperature, so probabilities are shown as sampled: "
        "each to the power of 1 / temperature, scaled to a sum of 1."
    )


def _likelihoods(comparison: Comparison) -> list[str]:
    """Return sentences on each answer's likelihood, or only on the most divergent answer."""
    found = []
    for at, column in enumerate(comparison.columns):
        for other, against in enumerate(comparison.columns):
            tokens = comparison.texts[at].tokens if comparison.texts else {}
            if other == at or column.reader == against.reader or other not in tokens:
                continue
            ratio = _sum(tokens[at]) - _sum(tokens[other])
            found.append((ratio / max(len(tokens[at]), 1), column, against))
    if len(comparison.columns) > 2:
        found = sorted(found, key=lambda one: -abs(one[0]))[:1]
    return [_likelihood(*one) for one in found]


def _likelihood(ratio: float, column: Column, against: Column) -> str:
    if abs(ratio) < EQUAL_NATS:
        return f"{column.letter} and {against.letter} find {column.letter}'s answer equally likely."
    if ratio > 0:
        return f"{column.letter} finds its own answer {times(ratio)} as likely per token as {against.letter} does."
    return (
        f"{against.letter} finds {column.letter}'s answer {times(-ratio)} as likely per token as {column.letter} does."
    )


def mean_divergence(places: ComparedPlaces, text: int, other: int, view: str) -> Bounds | None:
    """Return another column's mean KL divergence at an answer's tokens, in bits."""
    known = [kl for place in places.links(text, other) if (kl := place.views[view].kl) is not None]
    if not known:
        return None
    return Bounds(
        *(sum(values) / len(known) / log(2) for values in ([one.low for one in known], [one.high for one in known]))
    )


def agreement(places: ComparedPlaces, text: int, other: int) -> float | None:
    """Return the share of tokens at which another column has the same first choice."""
    tokens = places.columns[text].tokens
    read = places.comparison.texts[text].tokens.get(other, []) if places.comparison.texts else []
    linked = [
        (token, read[place.token])
        for token, place in zip(tokens, places.links(text, other), strict=False)
        if place.token is not None
    ]
    both = [(one.top[0].bytes == two.top[0].bytes) for one, two in linked if one.top and two.top]
    return sum(both) / len(both) if both else None


def _divergence_words(found: Bounds | None) -> str:
    if found is None:
        return "–"
    if found.low == inf:
        return "infinite"
    if found.high == inf:
        return f"at least {found.low:.3f}"
    return f"{found.low:.3f}" if found.high - found.low < 0.0005 else f"{found.low:.3f} to {found.high:.3f}"


def _cell(tokens: Sequence[Token] | None) -> str:
    if tokens is None or (found := perplexity(tokens)) is None:
        return "–"
    short = f"{found:.3f}" if found < LARGE else f"{found:,.0f}" if found < MANY else f"{found:.1e}"
    return f"{short} ({-_sum(tokens) / log(2):,.1f} bits)"


def _sum(tokens: Iterable[Token]) -> float:
    return sum(token.logprob for token in tokens if token.logprob is not None)


def _next(places: ComparedPlaces, column: Column, index: int) -> str:
    if index >= len(column.tokens):
        return f"{column.letter} ends"
    token = column.tokens[index]
    if token.logprob is None:
        return f"{column.letter} has {quoted(token.text)}"
    probability = exp(token.logprob)
    if (
        default_view(places.comparison) == SAMPLED
        and (choice := places.choice(places.columns.index(column), token, SAMPLED)) is not None
    ):
        probability = choice.probability(token.id).middle
    return f"{column.letter} has {quoted(token.text)} ({percent(probability)})"


def token_index(tokens: Sequence[Token], character: int) -> int:
    """Return the index of the token at a character."""
    return bisect_right(list(accumulate(len(token.text) for token in tokens)), character)


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
