"""Measure suggestions to repeat an edit elsewhere, with edits from consecutive releases of packages.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/next_edits.py --server http://127.0.0.1:8437 --folder FOLDER --cases 150

``--folder`` has one folder per package, and in it one per release, named by its version; Python files of the last two are compared. A case
is a file of the earlier release in which the first changes of the later one have been made. The last of these is the user's edit; all that
follow are right to suggest. Half of the cases that the model reads have a right proposal; both halves are weighted by how often such
cases occur.

A suggestion is right if the later release has its new lines instead of its old ones. "quiet" is the share of cases, with none that
is right to suggest, in which nothing is suggested. ``--without-diff`` leaves out the edit from what the model reads.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from pellucid.client.http_client import Client
from pellucid.completion.edits.edit_gate import LEAST, probability
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.next_edits import READ, as_diff
from pellucid.completion.edits.reading import log_odds
from pellucid.completion.edits.repeated_edits import Candidate, repeated_edits
from pellucid.learn.metrics import wilson

MAX_BYTES = 100_000
MAX_LINES = 2500
MAX_HUNKS = 40
"""Larger files, and those with more changes, are generated or moved."""

PER_PACKAGE = 30
"""Cases of one package at most."""


@dataclass(frozen=True)
class Hunk:
    """Lines ``old`` from line ``first`` on that the later release has as ``new``."""

    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A file after an edit, and the changes that follow in the later release."""

    package: str
    lines: tuple[str, ...]
    edit: Edit
    following: tuple[Hunk, ...]

    def is_right(self, proposal: Candidate) -> bool:
        """Return whether the later release makes this change."""
        size = len(proposal.new)
        for hunk in self.following:
            if not hunk.first <= proposal.first <= proposal.first + len(proposal.old) <= hunk.first + len(hunk.old):
                continue
            if size and any(hunk.new[at : at + size] == proposal.new for at in range(len(hunk.new) - size + 1)):
                return True
            if not size and not set(proposal.old) & set(hunk.new):
                return True
        return False

    def proposals(self) -> list[Candidate]:
        return repeated_edits(self.edit, self.lines)[:READ]


@dataclass(frozen=True)
class Read:
    """A case whose proposals the model has read: their probabilities, and whether each is right. ``weight``: cases that it represents."""

    probabilities: tuple[float, ...]
    right: tuple[bool, ...]
    seconds: float
    weight: float

    def best(self, least: float) -> bool | None:
        """Return whether the most probable suggestion is right; None if there is none."""
        shown = [pair for pair in zip(self.probabilities, self.right, strict=True) if pair[0] >= least]
        return max(shown)[1] if shown else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--folder", type=Path, required=True, help="FOLDER/PACKAGE/VERSION/ with two versions or more")
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-diff", action="store_true", help="let the model read the places without the edit")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    drawn = list(cases(options.folder, dice))
    able = [case for case in drawn if any(map(case.is_right, case.proposals()))]
    unable = [case for case in drawn if case.proposals() and case not in able]
    half = min(options.cases // 2, len(able), len(unable))
    sample = [(case, len(able) / half) for case in dice.sample(able, half)]
    sample += [(case, len(unable) / half) for case in dice.sample(unable, half)]
    dice.shuffle(sample)
    print(about())
    followed = sum(bool(case.following) for case in drawn)
    print(f"{len({case.package for case in drawn})} packages, {len(drawn)} edits, {followed} with more to change in the same file")
    print(f"proposals for {len(able) + len(unable)} edits, right ones among the first {READ} for {len(able)}\n")
    found = asyncio.run(read_all(sample, options.server, with_diff=not options.without_diff))
    print(report(found))


def cases(folder: Path, dice: random.Random) -> Iterator[Case]:
    """Yield the cases of all packages."""
    for package in sorted(path for path in folder.iterdir() if path.is_dir()):
        releases = sorted((path for path in package.iterdir() if path.is_dir()), key=_version)[-2:]
        if len(releases) == 2:
            found = [case for pair in _files(*releases) for case in _cases(package.name, *pair)]
            yield from dice.sample(found, min(PER_PACKAGE, len(found)))


def _files(earlier: Path, later: Path) -> Iterator[tuple[list[str], list[str]]]:
    for path in sorted(later.rglob("*.py")):
        former = earlier / path.relative_to(later)
        if not former.exists() or path.stat().st_size > MAX_BYTES:
            continue
        try:
            old, new = former.read_text().split("\n"), path.read_text().split("\n")
        except UnicodeDecodeError:
            continue
        if old != new and len(old) <= MAX_LINES:
            yield old, new


def _cases(package: str, old: Sequence[str], new: Sequence[str]) -> Iterator[Case]:
    """Yield the file after each of its changes, made from the top to the bottom."""
    hunks = _hunks(old, new)
    if len(hunks) > MAX_HUNKS:
        return
    lines, shift = list(old), 0
    for index, hunk in enumerate(hunks):
        at = hunk.first + shift
        lines[at : at + len(hunk.old)] = hunk.new
        shift += len(hunk.new) - len(hunk.old)
        following = tuple(Hunk(one.first + shift, one.old, one.new) for one in hunks[index + 1 :])
        yield Case(package, tuple(lines), Edit("file:///file.py", at, hunk.old, hunk.new), following)


def _hunks(old: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    """Return the changes between two texts. Changes with only one line between them are one."""
    spans: list[tuple[int, int, int, int]] = []
    for kind, begin, end, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if spans and begin - spans[-1][1] <= 1:
            spans[-1] = (spans[-1][0], end, spans[-1][2], stop)
        else:
            spans.append((begin, end, start, stop))
    return [Hunk(begin, tuple(old[begin:end]), tuple(new[start:stop])) for begin, end, start, stop in spans]


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in path.name.split("."))


async def read_all(sample: Sequence[tuple[Case, float]], url: str, *, with_diff: bool) -> list[Read]:
    """Let the model read the proposals of all cases."""
    found: list[Read] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    async with Client(url) as client:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for case, weight in progress.track(sample, description="cases"):
                begun = time.perf_counter()
                extra = as_diff(case.edit) if with_diff else ()
                proposals = case.proposals()
                odds = [await log_odds(client, one, case.lines, extra=extra) for one in proposals]
                right = tuple(map(case.is_right, proposals))
                found.append(Read(tuple(map(probability, odds)), right, time.perf_counter() - begun, weight))
    return found


def report(found: Sequence[Read]) -> str:
    """Return the table of all levels, and how long the reading took."""
    able = [one for one in found if any(one.right)]
    unable = [one for one in found if not any(one.right)]
    rows = []
    for level, least in LEAST.items():
        right = wilson(sum(one.best(least) is True for one in able), len(able))
        quiet = wilson(sum(one.best(least) is None for one in unable), len(unable))
        shown = [one for one in found if one.best(least) is not None]
        share = sum(one.weight for one in shown if one.best(least)) / max(sum(one.weight for one in shown), 1e-9)
        cells = [f"{one.value:.0%} ({one.low:.0%} to {one.high:.0%})" for one in (right, quiet)]
        rows.append([str(level), *cells, f"{share:.0%}"])
    times = [one.seconds for one in found]
    titles = ("level", f"right one first, of {len(able)} (95 %)", f"quiet, of {len(unable)} (95 %)", "right, of those suggested")
    return f"{table(titles, rows)}\n\nreading: p50 {quantile(times, 0.5):.2f} s, p95 {quantile(times, 0.95):.2f} s"


if __name__ == "__main__":
    main()
