"""Reads the tasks of the Berkeley Function-Calling Leaderboard from the wheel, and judges calls as
the leaderboard's checker of syntax trees does.
"""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATEGORIES = {"simple": "simple_python", "multiple": "multiple", "parallel": "parallel", "irrelevance": "irrelevance"}
"""The categories, and their names in the wheel."""

TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""The leaderboard's names of types, and JSON schema's."""

Call = tuple[str, Mapping[str, Any]]
"""The name of a function, and the arguments."""

_SPACE_AND_PUNCTUATION = re.compile(r"[ ,./\-_*^'\"]")


@dataclass(frozen=True, slots=True)
class CallTask:
    """A question, the offered functions, and the right calls.

    ``truth`` has all right values of each argument, with "" for an optional argument.
    """

    id: str
    messages: list[dict[str, str]]
    functions: list[dict[str, Any]]
    truth: list[dict[str, dict[str, list[Any]]]]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The functions in OpenAI's shape, with names without dots."""
        return [
            {
                "type": "function",
                "function": {
                    "name": _plain(one["name"]),
                    "description": one["description"],
                    "parameters": _schema(one["parameters"]),
                },
            }
            for one in self.functions
        ]

    def is_right(self, calls: Sequence[Call]) -> bool:
        """Return whether the calls are right, in any order; without a fitting function no call is
        right.
        """
        if len(calls) != len(self.truth):
            return False
        left = [next(iter(one.items())) for one in self.truth]
        for name, arguments in calls:
            match = next((one for one in left if _plain(one[0]) == name and _agrees(arguments, one[1])), None)
            if match is None:
                return False
            left.remove(match)
        return True


def read_tasks(wheel: Path, category: str, count: int, seed: int) -> list[CallTask]:
    """Return some tasks of a category, drawn by a seed, from the wheel ``bfcl-eval``."""
    name = CATEGORIES[category]
    with zipfile.ZipFile(wheel) as archive:
        rows = list(_rows(archive, f"BFCL_v4_{name}.json"))
        answers = (
            {}
            if category == "irrelevance"
            else {row["id"]: row for row in _rows(archive, f"possible_answer/BFCL_v4_{name}.json")}
        )
    drawn = random.Random(seed).sample(rows, min(count, len(rows)))
    return [
        CallTask(row["id"], row["question"][0], row["function"], answers[row["id"]]["ground_truth"] if answers else [])
        for row in drawn
    ]


def _rows(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    for line in archive.read(f"bfcl_eval/data/{name}").decode().splitlines():
        yield json.loads(line)


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _schema(value: Any) -> Any:
    """Return a schema with JSON schema's names of types."""
    if isinstance(value, list):
        return [_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("type")
    return {name: _schema(item) for name, item in value.items()} | (
        {"type": TYPES.get(kind, kind)} if isinstance(kind, str) else {}
    )


def _agrees(given: Mapping[str, Any], truth: Mapping[str, list[Any]]) -> bool:
    if any(name not in truth for name in given):
        return False
    return all(
        any(_same(given[name], value) for value in values) if name in given else "" in values
        for name, values in truth.items()
    )


def _same(given: Any, wanted: Any) -> bool:
    """Return whether two values are equal, ignoring case, spaces and punctuation of texts.

    An object may list several values.
    """
    if isinstance(given, str) and isinstance(wanted, str):
        return _bare(given) == _bare(wanted)
    if isinstance(given, bool) or isinstance(wanted, bool):
        return given is wanted
    if isinstance(given, list) and isinstance(wanted, list):
        return len(given) == len(wanted) and all(map(_same, given, wanted))
    if isinstance(given, dict) and isinstance(wanted, dict):
        return _agrees(
            given, {name: values if isinstance(values, list) else [values] for name, values in wanted.items()}
        )
    return bool(given == wanted)


def _bare(text: str) -> str:
    return _SPACE_AND_PUNCTUATION.sub("", text).lower()
