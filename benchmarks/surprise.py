"""Measure marks of surprising code on planted bugs of a single token, in recent packages.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/surprise.py --server http://127.0.0.1:8437 --folder FOLDER
        --packages odd --pyflakes pyflakes --cache CACHE

``--folder`` has a subfolder for each package, newer than the model, with a subfolder for each
release, named by the version. Short Python files of the last release get a bug each. The scores
were chosen with the packages at even places of the list (``--packages even``) and are reported for
the packages at odd places.

Each way to score ranks the words of all files; the number of marks is limited per 1,000 lines. A
mark is right if the mark is on the bug: precision is the share of right marks, and recall the share
of files with a marked bug. A find of a linter counts if the find is on the bug's line and does not
occur without the bug. The area under the curve is the probability that a word with a bug is ranked
above a correct word.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import pickle
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.machine import about
from common.markdown_tables import table
from common.planted_bugs import KINDS, PlantedBug, plant, python_files
from pellucid.client.http_client import Client
from pellucid.completion.edits.reading import PREFIX_LINES, SUFFIX_LINES
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.surprise.alternatives import MAX_ALTERNATIVES
from pellucid.completion.surprise.code_lexer import code_words
from pellucid.completion.surprise.surprises import (
    ALTERNATIVES_OF_A_TOKEN,
    CHARACTERS_BEFORE,
    LEAST_SCORE,
    MAX_REREAD_CHARACTERS,
    MIN_REREAD,
    REREAD_SHARE,
    Mark,
    doubtful,
    read_again,
    read_words,
)
from pellucid.completion.surprise.word_readings import WordReading
from pellucid.learn.metrics import wilson
from pellucid.vocabulary.query import BACKGROUND

MARKS_PER_LINE = 0.01
CURVE = (0.0025, 0.005, 0.01, 0.02, 0.04)
NEVER = -1e9

PER_PACKAGE = 8
"""Maximum number of files from a package."""

Score = Callable[["Scored"], float]


@dataclass(frozen=True)
class Scored:
    """A word of a file with a bug, as read by the model.

    ``mark`` is the result of the second reading, for the most surprising words.
    """

    file: int
    reading: WordReading
    mark: Mark | None
    is_bug: bool


def _surprisal(one: Scored) -> float:
    return -(one.reading.token.logprob or 0.0)


def _known(score: Score) -> Score:
    return lambda one: NEVER if one.reading.is_new else score(one)


SCORES: dict[str, Score] = {
    "surprisal of the whole word": lambda one: -one.reading.logprob,
    "surprisal of its least probable token": _surprisal,
    "the same, without new names": _known(_surprisal),
    "surprisal - entropy, without new names": _known(lambda one: one.reading.surprise),
    "log odds, read with the text after it": lambda one: (
        NEVER + one.reading.surprise if one.mark is None else one.mark.log_odds
    ),
    "the lower of the last two": lambda one: NEVER + one.reading.surprise if one.mark is None else one.mark.score,
}
"""The ways to score: from the first reading, from the second reading, and last from both readings,
as in editors.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--folder", type=Path, required=True, help="FOLDER/PACKAGE/VERSION/")
    parser.add_argument(
        "--packages", choices=("even", "odd"), default="odd", help="even: those that the scores were chosen with"
    )
    parser.add_argument("--files", type=int, default=110, help="at most so many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps what the model read")
    parser.add_argument("--pyflakes", metavar="COMMAND", help="pyflakes, to compare with")
    options = parser.parse_args()
    bugs = sample(options.folder, options.packages, options.files, options.seed)
    words = asyncio.run(read_all(bugs, options.server, options.cache))
    print(about())
    kinds = Counter(bug.kind for bug in bugs)
    print(f"{len({bug.package for bug in bugs})} packages, {len(bugs)} files with a bug, {_lines(bugs)} lines")
    print(", ".join(f"{kinds[kind]} {kind}" for kind in KINDS), end="\n\n")
    print(report(bugs, words, options.pyflakes))


def sample(folder: Path, packages: str, files: int, seed: int) -> list[PlantedBug]:
    """Return planted bugs in random order."""
    dice = random.Random(seed)
    found: dict[str, list[PlantedBug]] = {}
    for package in sorted(path for path in folder.iterdir() if path.is_dir() and any(path.iterdir())):
        release = max((path for path in package.iterdir() if path.is_dir()), key=_version)
        paths = python_files(release, dice, PER_PACKAGE)
        planted = (plant(package.name, path.relative_to(release).as_posix(), path.read_text(), dice) for path in paths)
        if bugs := [bug for bug in planted if bug is not None]:
            found[package.name] = bugs
    dice = random.Random(seed + 1)
    halves = {
        half: [bug for name in list(found)[index::2] for bug in found[name]]
        for index, half in enumerate(("even", "odd"))
    }
    for half in halves.values():
        dice.shuffle(half)
    return halves[packages][:files]


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in path.name.split("."))


async def read_all(bugs: Sequence[PlantedBug], url: str, cache: Path | None) -> list[Scored]:
    """Let the model read all files, and the most surprising words of each file once more."""
    found: list[Scored] = []
    reading = (ALTERNATIVES_OF_A_TOKEN, CHARACTERS_BEFORE, MAX_REREAD_CHARACTERS, REREAD_SHARE, MIN_REREAD)
    trying = (MAX_ALTERNATIVES, PREFIX_LINES, SUFFIX_LINES, LEAST_SCORE)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    async with Client(url) as client:
        model = (await ModelChoice(FixedProvider(client)).find(client)).name
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for number, bug in enumerate(progress.track(bugs, description="files")):
                key = hashlib.sha256(repr((model, reading, trying, bug.text)).encode()).hexdigest()[:24]
                kept = None if cache is None else cache / key
                if kept is not None and kept.exists():
                    readings, marks = pickle.loads(kept.read_bytes())
                else:
                    readings, marks = await _read(client, model, bug)
                    if kept is not None:
                        kept.parent.mkdir(parents=True, exist_ok=True)
                        kept.write_bytes(pickle.dumps((readings, marks)))
                for reading in readings:
                    is_bug = any(reading.word.begin < end and begin < reading.word.end for begin, end in bug.spans)
                    found.append(Scored(number, reading, marks.get(reading.word.begin), is_bug))
    return found


async def _read(client: Client, model: str, bug: PlantedBug) -> tuple[list[WordReading], dict[int, Mark]]:
    words = list(code_words(bug.text, "python"))
    names = Counter(word.text for word in words)
    readings = await read_words(client, bug.text, words, (0, len(bug.text)), model, BACKGROUND)
    doubts = doubtful(readings, bug.text.count("\n"))
    marks = [await read_again(client, one, bug.text, names, model, BACKGROUND) for one in doubts]
    return readings, {mark.begin: mark for mark in marks if mark is not None}


def report(bugs: Sequence[PlantedBug], words: Sequence[Scored], pyflakes: str | None) -> str:
    """Return the tables: all ways to score, and the curve and kinds of the last way."""
    allowed = round(MARKS_PER_LINE * _lines(bugs))
    rows = [_chance(words, bugs, allowed)]
    for name, score in SCORES.items():
        ranked = sorted(words, key=score, reverse=True)
        rows.append([name, *_cells(ranked[:allowed], bugs), f"{area_under_curve(ranked):.3f}"])
    for name, command in linters(pyflakes):
        rows.append([name, *_linted(bugs, command)])
    titles = (
        "marks",
        "per 1,000 lines",
        "precision (95 %)",
        f"recall of {len(bugs)} bugs (95 %)",
        "area under the curve",
    )
    tables = [table(titles, rows)]
    *_, (name, last) = SCORES.items()
    ranked = sorted(words, key=last, reverse=True)
    curve = [_cells(ranked[: round(share * _lines(bugs))], bugs) for share in CURVE]
    tables += [f"{name}:", table(titles[1:4], curve)]
    kinds = []
    for kind in KINDS:
        numbers = {number for number, bug in enumerate(bugs) if bug.kind == kind}
        cells = (
            [_recall({one.file for one in ranked[:allowed] if one.is_bug} & numbers, len(numbers))] if numbers else []
        )
        read = len({one.file for one in words if one.is_bug and one.mark is not None} & numbers)
        fixed = sum(_is_fixed(one, bugs[one.file]) for one in ranked[:allowed] if one.is_bug and one.file in numbers)
        kinds.append([kind, str(len(numbers)), *cells, str(read), str(fixed)])
    tables.append(table(("kind", "bugs", "marked (95 %)", "read twice", "first alternative is the original"), kinds))
    scores = [one.mark.score for one in ranked[:allowed] if one.mark is not None]
    shown = [one for one in ranked if one.mark is not None and one.mark.score >= LEAST_SCORE]
    tables += [
        f"as editors show them (score {LEAST_SCORE} or more; "
        f"the {allowed} best have {min(scores, default=0.0):.2f} or more):"
    ]
    return "\n\n".join([*tables, table(titles[1:4], [_cells(shown, bugs)])])


def area_under_curve(ranked: Sequence[Scored]) -> float:
    """Return the probability that a bug is ranked above a correct word."""
    above, right, total = 0, 0, 0
    for one in ranked:
        if one.is_bug:
            total += 1
            right += above
        else:
            above += 1
    return 1 - right / (above * total)


def _is_fixed(one: Scored, bug: PlantedBug) -> bool:
    """Return whether the best alternative restores the original file."""
    assert one.mark is not None
    best = one.mark.alternatives[0].replacement
    return bug.text[: best.begin] + best.text + bug.text[best.end :] == bug.original


def _chance(words: Sequence[Scored], bugs: Sequence[PlantedBug], allowed: int) -> list[str]:
    """Return the average result of marks on random words."""
    share = sum(one.is_bug for one in words) / len(words)
    found = allowed * share / len(bugs)
    return ["words by chance", _rate(allowed, bugs), f"{share:.1%}", f"{found:.1%}", "0.500"]


def _cells(marks: Sequence[Scored], bugs: Sequence[PlantedBug]) -> list[str]:
    right = sum(one.is_bug for one in marks)
    return [
        _rate(len(marks), bugs),
        _share(right, len(marks)),
        _recall({one.file for one in marks if one.is_bug}, len(bugs)),
    ]


def _recall(files: set[int], count: int) -> str:
    return _share(len(files), count)


def _share(count: int, total: int) -> str:
    if not total:
        return "-"
    one = wilson(count, total)
    return f"{one.value:.0%} ({one.low:.0%} to {one.high:.0%})"


def _rate(marks: int, bugs: Sequence[PlantedBug]) -> str:
    return f"{1000 * marks / _lines(bugs):.1f}"


def _lines(bugs: Sequence[PlantedBug]) -> int:
    return sum(bug.text.count("\n") for bug in bugs)


def linters(pyflakes: str | None) -> Iterator[tuple[str, Callable[[Path], Counter[tuple[str, int, str]]]]]:
    """Yield functions that return the finds in a folder: file, line and message."""
    yield "ruff, its own rules", lambda folder: _ruff(folder)
    yield "ruff, all rules", lambda folder: _ruff(folder, "--select", "ALL")
    if pyflakes is not None:
        yield "pyflakes", lambda folder: _pyflakes(folder, pyflakes)


def _linted(bugs: Sequence[PlantedBug], command: Callable[[Path], Counter[tuple[str, int, str]]]) -> list[str]:
    """Return the finds per 1,000 lines, the share of bugs in the finds, and the share of found
    bugs.
    """
    with tempfile.TemporaryDirectory() as name:
        found = []
        for part in ("before", "after"):
            folder = Path(name) / part
            folder.mkdir()
            for number, bug in enumerate(bugs):
                (folder / f"file_{number:04}.py").write_text(bug.text if part == "after" else bug.original)
            found.append(command(folder))
    before, after = found
    new = [(file, line) for (file, line, _), count in (after - before).items() for _ in range(count)]
    right = [int(file[5:9]) for file, line in new if line in bugs[int(file[5:9])].lines]
    total = sum(after.values())
    return [_rate(total, bugs), _share(len(right), total), _recall(set(right), len(bugs))]


def _ruff(folder: Path, *options: str) -> Counter[tuple[str, int, str]]:
    ruff = str(Path(sys.executable).with_name("ruff"))
    command = [ruff, "check", "--isolated", "--no-cache", "--output-format=json", *options, str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True).stdout
    return Counter(
        (Path(one["filename"]).name, one["location"]["row"], f"{one['code']} {one['message']}")
        for one in json.loads(printed)
    )


def _pyflakes(folder: Path, command: str) -> Counter[tuple[str, int, str]]:
    printed = subprocess.run([command, str(folder)], capture_output=True, text=True).stdout
    parts = (line.split(":", 3) for line in printed.splitlines() if line.count(":") >= 3)
    return Counter((Path(file).name, int(line), message) for file, line, _, message in parts)


if __name__ == "__main__":
    main()
