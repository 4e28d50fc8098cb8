"""Scenarios of next edits: a document, the user's edits, and the edits that are right to follow."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_history import Edit, EditHistory
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import GateLevel
from pellucid.learn.next_edits.edit_cases import EditCase, hunks_between

FOLDER = Path(__file__).parents[2] / "server/completion/edits/scenarios"


@dataclass(frozen=True, slots=True)
class Scenario:
    """``texts``: the document before and after each edit of the user. ``after``: in the end.

    ``may``: ``after`` with further changes that are right, but not expected.
    """

    name: str
    uri: str
    texts: tuple[str, ...]
    after: str
    may: str

    @property
    def is_quiet(self) -> bool:
        return self.texts[-1] == self.after

    def is_right(self, change: Candidate) -> bool:
        """Return whether a change leads to the final document."""
        return any(self._case(after).is_right(change) for after in (self.after, self.may))

    def _case(self, after: str) -> EditCase:
        now = self.texts[-1].split("\n")
        hunks = tuple(hunks_between(now, after.split("\n")))
        return EditCase(self.name, self.name, tuple(now), Edit(self.uri, 0, (), ()), hunks)


def scenarios(name: str) -> Iterator[Scenario]:
    """Yield the scenarios of a file."""
    for record in tomllib.loads((FOLDER / f"{name}.toml").read_text())["scenario"]:
        texts = [record["text"].removeprefix("\n")]
        for old, new in record["made"]:
            texts.append(texts[-1].replace(old, new, 1))
        after = texts[-1]
        for old, new in record["then"]:
            after = after.replace(old, new)
        may = after
        for old, new in record.get("may", ()):
            may = may.replace(old, new)
        yield Scenario(record["name"], f"file:///project/{record['path']}", tuple(texts), after, may)


async def suggested(scenario: Scenario, assistant: Assistant, level: GateLevel) -> NextEdits:
    """Return the next edits of an editor after the scenario's edits, and the last request's."""
    history = EditHistory()
    for text in scenario.texts:
        history.note(scenario.uri, text)
    edits = NextEdits(history, ModelChoice(FixedProvider(assistant)), clock=lambda: 0.0)
    await edits.suggest(scenario.uri, scenario.texts[-1], level)
    return edits
