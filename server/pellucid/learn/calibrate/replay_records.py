"""Stores the suggestions of a replay for resumption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.learn.record_file import RecordFile

FORMAT = "pellucid replay 1"


@dataclass(frozen=True, slots=True)
class SuggestionPart:
    length: int
    numbers: tuple[float, ...]
    right: bool


@dataclass(frozen=True, slots=True)
class SuggestionRecord:
    """A suggestion without text: the whole, then parts to show alone, longest first.

    ``shown`` is the number of characters that pass the thresholds of each level.
    """

    document: str
    kind: str
    at: int
    suffix: bool
    ending: str
    parts: tuple[SuggestionPart, ...] = ()
    shown: Mapping[str, int] | None = None

    @property
    def key(self) -> tuple[str, str, int, bool]:
        return self.document, self.kind, self.at, self.suffix

    @property
    def whole(self) -> SuggestionPart:
        return self.parts[0]


def open_records(path: Path, about: Mapping[str, Any]) -> RecordFile[SuggestionRecord]:
    header = {"format": FORMAT, "about": dict(about)}
    return RecordFile(path, header, _read, what="a replay", remedy="name another file with --records")


def _read(fields: dict[str, Any]) -> SuggestionRecord:
    parts = tuple(SuggestionPart(part["length"], tuple(part["numbers"]), part["right"]) for part in fields["parts"])
    return SuggestionRecord(**{**fields, "parts": parts})
