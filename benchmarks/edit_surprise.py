"""Measure whether surprise predicts the place of the next edit.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/edit_surprise.py --server http://127.0.0.1:8437 --edits FOLDER --cases 45

The question is whether later changes touch the lines that an edit made more surprising. ``--edits``
is as for ``next_edits.py``. The lines below an edit are read before and after the edit, and ranked
by the rise of surprisal. A line is right if a later change of the same commit or release touches
the line. Only edits with such a line are used, three for each package or commit. By chance, a line
is right as often as the line's rank in a random order.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

from common.machine import about
from common.markdown_tables import table
from pellucid.client.http_client import Client
from pellucid.errors import InvalidRequestError
from pellucid.learn.metrics import wilson
from pellucid.learn.next_edits.edit_cases import EditCase, cases
from pellucid.learn.next_edits.git_history import commit_changes, is_repository
from pellucid.learn.next_edits.release_folders import release_changes
from pellucid.terminal.progress_bars import Steps
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import ScoreQuery

LINES_ABOVE, LINES_BELOW = 15, 70
PER_UNIT = 3
FIRST = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """Surprisals in nats of the non-blank lines below an edit, before and after the edit, and marks
    of lines touched by a later change.
    """

    before: list[float]
    after: list[float]
    touched: list[bool]
    has_proposals: bool


RULES: dict[str, Callable[[Reading], list[float]]] = {
    "rise of the surprisal": lambda one: [new - old for new, old in zip(one.after, one.before, strict=True)],
    "rise or fall": lambda one: [abs(new - old) for new, old in zip(one.after, one.before, strict=True)],
    "surprisal after the edit": lambda one: one.after,
    "nearest first": lambda one: [-float(index) for index in range(len(one.after))],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument(
        "--edits",
        type=Path,
        required=True,
        help="a git repository, or FOLDER/PACKAGE/VERSION/ with two versions or more",
    )
    parser.add_argument("--cases", type=int, default=45)
    options = parser.parse_args()
    print(about())
    with Steps() as steps:
        try:
            chosen = list(choose(options.edits, options.cases, steps))
        except InvalidRequestError as error:
            parser.error(str(error))
        if not chosen:
            parser.error(
                f"no edit in {options.edits} is followed by a change in the {LINES_BELOW} lines below it: "
                "name a longer history"
            )
        readings = asyncio.run(read_all(options.server, chosen, steps))
    print(report(readings))


def choose(path: Path, count: int, steps: Steps) -> Iterator[EditCase]:
    """Yield edits with a later change in the lines below, in a fixed random order."""
    changes = commit_changes(path, steps) if is_repository(path) else release_changes(path, steps)
    found: list[EditCase] = []
    for _, files in groupby(changes, lambda change: change.unit):
        able = [case for change in files for case in cases(change) if any(touched(case))]
        found += sorted(able, key=_by_hash)[:PER_UNIT]
    yield from sorted(found, key=_by_hash)[:count]


def touched(case: EditCase) -> list[bool]:
    """Return for each line below the edit whether a later change touches the line."""
    lines = case.lines[case.edit.end : case.edit.end + LINES_BELOW]
    spans = [(hunk.first - case.edit.end, max(hunk.end, hunk.first + 1) - case.edit.end) for hunk in case.following]
    return [
        bool(line.strip()) and any(begin <= index < end for begin, end in spans) for index, line in enumerate(lines)
    ]


async def read_all(url: str, chosen: Sequence[EditCase], steps: Steps) -> list[Reading]:
    """Let the server's first model read the lines around each edit, before and after the edit."""
    readings = []
    steps.start("edits", len(chosen))
    async with Client(url) as client:
        for case in chosen:
            edit = case.edit
            above = case.lines[max(edit.first - LINES_ABOVE, 0) : edit.first]
            below = case.lines[edit.end : edit.end + LINES_BELOW]
            after, before = [
                (await surprisals(client, [*above, *changed, *below]))[-len(below) :]
                for changed in (edit.new, edit.old)
            ]
            kept = [index for index, line in enumerate(below) if line.strip()]
            old, new, hit = ([column[index] for index in kept] for column in (before, after, touched(case)))
            readings.append(Reading(old, new, [bool(one) for one in hit], bool(case.proposals)))
            steps.advance(1)
    return readings


async def surprisals(client: Client, lines: Sequence[str]) -> list[float]:
    """Return the surprisal of each line in nats."""
    ends = list(accumulate(len(line) + 1 for line in lines))
    found, at = [0.0] * len(lines), 0
    async with aclosing(client.score(ScoreQuery("".join(line + "\n" for line in lines)))) as items:
        async for item in items:
            if not isinstance(item, Finish):
                found[min(bisect_right(ends, at), len(lines) - 1)] -= item.logprob or 0.0
                at += len(item.text)
    return found


def report(readings: Sequence[Reading]) -> str:
    """Return the table: by each rule, how often the first line, or a line of the first three, is
    right.
    """
    rows = []
    groups = {"all": readings, "nothing to repeat": [one for one in readings if not one.has_proposals]}
    for group, own in groups.items():
        if not own:
            continue
        for name, rule in RULES.items():
            ranked = [sorted(zip(rule(one), one.touched, strict=True), key=lambda pair: -pair[0]) for one in own]
            rights = [[right for _, right in pairs] for pairs in ranked]
            shares = [wilson(sum(any(right[:count]) for right in rights), len(own)) for count in (1, FIRST)]
            rows.append(
                [group, name, str(len(own)), *(f"{one.value:.0%} ({one.low:.0%} to {one.high:.0%})" for one in shares)]
            )
        by_chance = [sum(_chance(one, count) for one in own) / len(own) for count in (1, FIRST)]
        rows.append([group, "by chance", str(len(own)), *(f"{share:.0%}" for share in by_chance)])
    return table(
        ("edits", "lines ranked by", "number", "first right (95 %)", f"one of the first {FIRST} right (95 %)"), rows
    )


def _chance(one: Reading, count: int) -> float:
    """Return the probability that at least one of ``count`` random lines is right."""
    lines, right = len(one.touched), sum(one.touched)
    return 1 - math.comb(lines - right, count) / math.comb(lines, count) if lines >= count else 1.0


def _by_hash(case: EditCase) -> str:
    return hashlib.sha256(case.id.encode(errors="replace")).hexdigest()


if __name__ == "__main__":
    main()
