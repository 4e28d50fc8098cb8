"""Measure suggestions to repeat an edit in other files, with edits from consecutive releases.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/next_edits_elsewhere.py --server http://127.0.0.1:8437 --edits FOLDER
        --cases 80

``--edits`` has a subfolder for each package, with a subfolder for each release, named by the
version. A file of the earlier release has the changes of the later release up to the user's edit;
the rest of the files are in the earlier version. A place is right if the later release makes
exactly this change there. Only edits without a place in the edited file are used; editors also
search other files if the gate hides all places of the edited file. Half of the edits with read
places have a right place elsewhere, if there are so many, and each edit represents all edits of the
same kind. No time limit ends the search for places or the reading.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from common.machine import about
from common.markdown_tables import table
from pellucid.client.http_client import Client
from pellucid.completion.context.repository_index import RepositoryIndex
from pellucid.completion.context.search_budget import SearchBudget
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_gate import LEAST
from pellucid.completion.edits.edit_history import Edit, EditHistory
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.edits.places_elsewhere import find_elsewhere
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import GateLevel
from pellucid.errors import InvalidRequestError
from pellucid.learn.metrics import Interval, mean_of_units
from pellucid.learn.next_edits.edit_cases import EditCase, FileChange, cases, hunks_between
from pellucid.learn.next_edits.release_folders import last_releases, release_changes
from pellucid.terminal.progress_bars import Steps

PER_PACKAGE = 20
"""Maximum number of edits from a package."""


@dataclass(frozen=True, slots=True)
class Question:
    """An edit, the repeating places in different files, and the right places."""

    case: EditCase
    texts: Mapping[str, str]
    """The files with places, by URI."""
    places: tuple[Candidate, ...]
    right: frozenset[Candidate]

    @property
    def kind(self) -> str:
        """The kind of an edit: with a right place, with wrong places only, or without places."""
        return "right" if self.right else "wrong" if self.places else "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, the number of represented edits, and the probability of each read place."""

    question: Question
    weight: float
    probabilities: dict[Candidate, float]

    def shown(self, least: float) -> list[Candidate]:
        """Return the places above a probability, the most probable first."""
        return sorted(
            (place for place, sure in self.probabilities.items() if sure >= least),
            key=lambda one: -self.probabilities[one],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--edits", type=Path, required=True, help="FOLDER/PACKAGE/VERSION/ with two versions or more")
    parser.add_argument("--cases", type=int, default=80, help="edits whose places are read")
    options = parser.parse_args()
    print(about())
    with Steps() as steps:
        try:
            questions = asyncio.run(ask_all(options.edits.resolve(), steps))
        except InvalidRequestError as error:
            parser.error(str(error))
        answers = asyncio.run(read(options.server, questions, options.cases, steps))
    print(summary(questions), report(answers), sep="\n\n")


async def ask_all(folder: Path, steps: Steps) -> list[Question]:
    """Return some edits of each package, with the places in different files."""
    questions = []
    for package, files in groupby(release_changes(folder, steps), lambda change: change.unit):
        earlier, _ = last_releases(folder / package)
        changes = list(files)
        index = RepositoryIndex([earlier], lambda uri, text: True)
        index.walk()
        index.read()
        later = {(earlier / change.name).as_uri(): _whole(change) for change in changes}
        asked = [(change, case) for change in changes for case in cases(change) if not case.proposals]
        for change, case in sorted(asked, key=lambda pair: _by_hash(pair[1]))[:PER_PACKAGE]:
            uri = (earlier / change.name).as_uri()
            edit = Edit(uri, case.edit.first, case.edit.old, case.edit.new)
            found = (await find_elsewhere(edit, uri, partial(_files_with, index), seconds=math.inf)).places
            texts = {place.change.uri: "\n".join(place.lines) for place in found}
            places = tuple(place.change for place in found)
            right = frozenset(place for place in places if place.uri in later and later[place.uri].is_right(place))
            questions.append(Question(case, texts, places, right))
        index.close()
    return questions


def _files_with(index: RepositoryIndex, names: Collection[str], budget: SearchBudget) -> Iterator[tuple[str, str]]:
    return ((path.as_uri(), text) for path, text in index.files_with(names, budget))


def _whole(change: FileChange) -> EditCase:
    """Return a file in the earlier version, with all changes to follow."""
    lines = tuple(change.old.split("\n"))
    following = tuple(hunks_between(lines, change.new.split("\n")))
    return EditCase(change.name, change.unit, lines, Edit(change.name, 0, (), ()), following)


async def read(url: str, questions: Sequence[Question], count: int, steps: Steps) -> list[Answer]:
    """Let the server's first model read the places of some edits."""
    kinds = {
        kind: sorted((one for one in questions if one.kind == kind), key=lambda one: _by_hash(one.case))
        for kind in ("right", "wrong")
    }
    right = kinds["right"][: count // 2]
    drawn = {"right": right, "wrong": kinds["wrong"][: count - len(right)]}
    answers = [Answer(one, 1.0, {}) for one in questions if one.kind == "none"]
    steps.start("edits", sum(map(len, drawn.values())))
    async with Client(url) as client:
        for kind, chosen in drawn.items():
            for question in chosen:
                answers.append(Answer(question, len(kinds[kind]) / len(chosen), await _probabilities(client, question)))
                steps.advance(1)
    return answers


async def _probabilities(client: Client, question: Question) -> dict[Candidate, float]:
    history, case = EditHistory(), question.case
    before = [*case.lines[: case.edit.first], *case.edit.old, *case.lines[case.edit.end :]]
    for lines in (before, case.lines):
        history.note(case.edit.uri, "\n".join(lines))
    edits = NextEdits(history, ModelChoice(FixedProvider(client)), clock=lambda: 0.0)
    await edits.suggest_elsewhere(case.edit.uri, lambda names, budget: question.texts.items(), GateLevel.EAGER)
    explanation = edits.memory.explanation(case.edit.uri, elsewhere=True)
    assert explanation is not None
    return {one.change: one.probability for one in explanation.changes if one.probability is not None}


def summary(questions: Sequence[Question]) -> str:
    """Return the numbers of edits of each kind, in a sentence."""
    count = {kind: sum(one.kind == kind for one in questions) for kind in ("right", "wrong", "none")}
    packages = len({one.case.unit for one in questions})
    return (
        f"{len(questions)} edits of {packages} packages: {count['right']} have a right place in another file, "
        f"{count['wrong']} wrong ones only, {count['none']} none."
    )


def report(answers: Sequence[Answer]) -> str:
    """Return the table of all levels."""
    able = [one for one in answers if one.question.right]
    unable = [one for one in answers if not one.question.right]
    rows = []
    for level, least in LEAST.items():
        shown = [(one, places) for one in answers if (places := one.shown(least))]
        every = [(one, place) for one, places in shown for place in places]
        rows.append(
            [
                str(level),
                _share(able, [not one.question.right.isdisjoint(one.shown(least)) for one in able]),
                _share([one for one, _ in shown], [places[0] in one.question.right for one, places in shown]),
                _share([one for one, _ in every], [place in one.question.right for one, place in every]),
                _share(unable, [not one.shown(least) for one in unable]),
            ]
        )
    return table(
        (
            "level",
            "a right place shown, if there is one",
            "right, of the first shown",
            "right, of all shown",
            "quiet where none is right",
        ),
        rows,
    )


def _share(answers: Sequence[Answer], holds: Sequence[bool]) -> str:
    if not answers:
        return "none"
    found: Interval = mean_of_units(holds, [one.weight for one in answers], [one.question.case.unit for one in answers])
    return f"{found.value:.0%} ({max(found.low, 0):.0%} to {min(found.high, 1):.0%}), of {len(answers)}"


def _by_hash(case: EditCase) -> str:
    return hashlib.sha256(case.id.encode(errors="replace")).hexdigest()


if __name__ == "__main__":
    main()
