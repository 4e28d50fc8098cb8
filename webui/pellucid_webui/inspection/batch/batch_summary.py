"""Summary of a batch with 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf, isfinite
from statistics import fmean, median

from pellucid_webui.inspection.batch.comparison_batch import BatchRow, ComparisonBatch
from pellucid_webui.inspection.batch.mean_interval import Interval, mean_interval, share_interval
from pellucid_webui.inspection.batch.row_figures import RowFigures

MOST_DIFFERENT_SHOWN = 5

Measure = Callable[[RowFigures], float | None]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of each row; ``kind`` is token, bits, share or count."""

    key: str
    name: str
    hint: str
    kind: str
    of: Measure
    most: float = inf


def figures(batch: ComparisonBatch) -> list[Figure]:
    letters = [column.letter for column in batch.columns]
    same_reader = len({column.reader for column in batch.columns}) == 1
    found = [one for at in range(1, len(letters)) for one in _pair_figures(letters, at, same_reader=same_reader)]
    found += [
        Figure(
            f"mean_surprisal_bits_{letter}",
            f"{letter}: bits per token",
            f"Mean surprisal of {letter}'s answer under {letter}.",
            "bits",
            _surprisal(at),
        )
        for at, letter in enumerate(letters)
    ]
    if any(row.prompt.reference or batch.reference for row in batch.rows[:: batch.seeds]):
        found += [
            Figure(
                f"reference_bits_per_byte_{letter}",
                f"reference under {letter}",
                "Bits per byte of the reference text.",
                "bits",
                _reference(at),
            )
            for at, letter in enumerate(letters)
        ]
    return found + [
        Figure(f"tokens_{letter}", f"{letter}: tokens", f"Length of {letter}'s answer.", "count", _tokens(at))
        for at, letter in enumerate(letters)
    ]


def _pair_figures(letters: Sequence[str], at: int, *, same_reader: bool) -> Iterator[Figure]:
    a, b = letters[0], letters[at]
    name, hint = f"{a}, {b}: first difference", f"The number of {a}'s token at which {b}'s answer differs first."
    yield Figure(f"difference_place_{a}{b}", name, hint, "token", lambda row: row.pairs[at - 1].difference_place)
    hint = f"Mean KL divergence from {a} to {b} at the tokens of {a}'s answer, in bits per token: the lower bound."
    yield Figure(f"kl_bits_low_{a}{b}", f"KL({a}‖{b})", hint, "bits", lambda row: row.pairs[at - 1].kl_bits_low)
    hint = f"The share of the tokens of {a} and {b} that both answers have at the same place."
    yield Figure(
        f"same_tokens_{a}{b}", f"{a}, {b}: same tokens", hint, "share", lambda row: row.pairs[at - 1].same_tokens, 1.0
    )
    if not same_reader:
        hint = f"At how many of {a}'s tokens {b} has the same first choice."
        yield Figure(
            f"same_choice_{a}{b}",
            f"{a}, {b}: same first choice",
            hint,
            "share",
            lambda row: row.pairs[at - 1].same_choice,
            1.0,
        )


def _surprisal(at: int) -> Measure:
    return lambda row: row.columns[at].mean_surprisal_bits


def _reference(at: int) -> Measure:
    return lambda row: row.columns[at].reference_bits_per_byte


def _tokens(at: int) -> Measure:
    return lambda row: row.columns[at].tokens


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of sampling: prompts (each a mean over seeds), or a prompt's seeds."""

    name: str
    groups: Sequence[Sequence[RowFigures]]

    def means(self, measure: Measure) -> list[float]:
        values = [
            [value for row in group if (value := measure(row)) is not None and isfinite(value)] for group in self.groups
        ]
        return [fmean(one) for one in values if one]


def unit_of(batch: ComparisonBatch) -> Unit:
    done = [row for row in batch.rows if row.figures is not None]
    if len(batch.prompts) == 1:
        return Unit("seeds", [[_figures(row)] for row in done])
    groups = groupby(done, lambda row: row.number // batch.seeds)
    return Unit("prompts", [[_figures(row) for row in group] for _, group in groups])


def _figures(row: BatchRow) -> RowFigures:
    assert row.figures is not None, "the row is done"
    return row.figures


def sentences(batch: ComparisonBatch) -> list[str]:
    """Return the summary; only the progress while no row has figures."""
    unit = unit_of(batch)
    found = [_progress(batch)]
    if not unit.groups:
        return found
    rows = [row for group in unit.groups for row in group]
    for at in range(1, len(batch.columns)):
        a, b = batch.columns[0].letter, batch.columns[at].letter
        found.append(_equal(rows, at, f"{a} and {b}"))
        found += _divergence(unit, rows, at, (a, b))
        found += _surer(unit, at, (a, b))
    if len(batch.prompts) > 1 and batch.seeds > 1:
        found.append(
            f"Each prompt counts once, with the mean of its {batch.seeds} seeds, "
            "as answers to one prompt are not independent."
        )
    return found


def table(batch: ComparisonBatch) -> list[list[str]]:
    unit = unit_of(batch)
    rows = [["", "mean", "95 % interval", unit.name]]
    for figure in figures(batch):
        found = mean_interval(unit.means(figure.of), 0.0, figure.most)
        if found is not None:
            name = f"{figure.name} (at least)" if figure.key.startswith("kl_") else figure.name
            rows.append([name, number(found.value, figure.kind), _between(found, figure.kind), str(found.count)])
    return rows


def most_different(batch: ComparisonBatch) -> list[int]:
    ranked = [
        (max((one for pair in row.figures.pairs if (one := pair.kl_bits_low) is not None), default=0.0), -row.number)
        for row in batch.rows
        if row.figures is not None
    ]
    return [-at for kl, at in sorted(ranked, reverse=True)[:MOST_DIFFERENT_SHOWN] if kl > 0]


def number(value: float, kind: str) -> str:
    if kind == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if kind == "bits" else f"{value:,.1f}"


def _between(found: Interval, kind: str) -> str:
    if found.count == 1 or not isfinite(found.high):
        return "needs two or more"
    return f"{number(found.low, kind)} to {number(found.high, kind)}"


def _progress(batch: ComparisonBatch) -> str:
    done = sum(row.figures is not None for row in batch.rows)
    failed = sum(row.done and row.figures is None for row in batch.rows)
    several = len(batch.prompts) > 1
    seeds = f", {batch.seeds} seeds{' each' if several else ''}" if batch.seeds > 1 else ""
    words = f"{len(batch.prompts)} prompts" if several else "One prompt"
    words += f"{seeds}: {done} of {len(batch.rows)} done{f', {failed} failed' if failed else ''}."
    if batch.running or done + failed == len(batch.rows):
        return words
    return f"{words} Stopped: the summary is of those that are done."


def _equal(rows: Sequence[RowFigures], at: int, both: str) -> str:
    differences = [row.pairs[at - 1].difference_place for row in rows]
    known = [one for one in differences if one is not None]
    same = len(differences) - len(known)
    if not known:
        return f"{both} write the same answer in all {len(rows)} comparisons."
    share = share_interval(same, len(differences))
    start = f"{both} write the same answer in {same} of {len(rows)} comparisons ({100 * share.value:.0f} %"
    start += f", 95 % interval {100 * share.low:.0f} % to {100 * share.high:.0f} %)" if len(rows) > 1 else ")"
    return (
        f"{start}. Where they differ, the median first difference is at token {median(known):g} of {both[0]}'s answer."
    )


def _divergence(unit: Unit, rows: Sequence[RowFigures], at: int, letters: tuple[str, str]) -> list[str]:
    a, b = letters
    infinite = sum(row.pairs[at - 1].kl_bits_low == inf for row in rows)
    if infinite:
        return [
            f"KL({a}‖{b}) is infinite in {infinite} of {len(rows)} comparisons: {a} takes tokens that {b} never takes."
        ]
    found = mean_interval(unit.means(lambda row: row.pairs[at - 1].kl_bits_low), 0.0)
    if found is None:
        return []
    return [
        f"KL({a}‖{b}) is at least {found.value:.3f} bits per token "
        f"on average over {a}'s answers{_interval(unit, found)}."
    ]


def _surer(unit: Unit, at: int, letters: tuple[str, str]) -> list[str]:
    def gap(row: RowFigures) -> float | None:
        one, other = row.columns[0].mean_surprisal_bits, row.columns[at].mean_surprisal_bits
        return None if one is None or other is None else other - one

    found = mean_interval(unit.means(gap))
    if found is None:
        return []
    a, b = letters
    if found.count == 1 or found.low <= 0 <= found.high:
        return [
            f"There is no clear difference in how sure {a} and {b} are of their own answers"
            f"{_interval(unit, found, signed=True)}."
        ]
    surer, other = (a, b) if found.value > 0 else (b, a)
    flipped = found if found.value > 0 else Interval(-found.value, -found.high, -found.low, found.count)
    words = f"{surer} is surer of its own answers than {other}, by {flipped.value:.3f} bits per token"
    return [f"{words}{_interval(unit, flipped)}."]


def _interval(unit: Unit, found: Interval, *, signed: bool = False) -> str:
    if found.count == 1 or not isfinite(found.high):
        return f" (one of the {unit.name} is too few for an interval)"
    ends = f"{_signed(found.low)} to {_signed(found.high)}" if signed else f"{found.low:.3f} to {found.high:.3f}"
    start = "bits per token, " if signed else ""
    return f" ({start}95 % interval {ends} over {found.count} {unit.name})"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # Adding 0.0 makes -0.0 positive.
