"""Stores suggestions as JSON lines, appended immediately: an interrupted run can resume."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_text

FORMAT = "pellucid replay 1"

LARGEST_RECORDS = 256 << 20
"""A cursor takes about 1 kB."""


@dataclass(frozen=True, slots=True)
class SuggestionPart:
    length: int
    numbers: tuple[float, ...]
    right: bool


@dataclass(frozen=True, slots=True)
class SuggestionRecord:
    """A suggestion without text: the whole, then parts that can be shown alone, longest first.

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


class SuggestionRecordFile:
    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._head = {"format": FORMAT, "about": dict(about)}

    def read(self) -> list[SuggestionRecord]:
        """Read the records, and remove a truncated last line."""
        try:
            text = read_text(self.path, LARGEST_RECORDS)
        except FileNotFoundError:
            return []
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{str(error).rstrip('.')}, with --records.") from None
        whole = text[: text.rfind("\n") + 1]
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
            records = [_record(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidRequestError(
                f"{self.path} contains no records of a replay ({error}): name another file with --records."
            ) from None
        if head is not None and head != self._head:
            raise InvalidRequestError(
                f"{self.path} contains the records of another run: name another file with --records, or delete it."
            )
        if whole != text:
            self._write("r+", whole)
        return records

    def append(self, records: Sequence[SuggestionRecord]) -> None:
        lines = [] if self.path.exists() and self.path.stat().st_size else [self._head]
        self._write("a", "".join(json.dumps(line) + "\n" for line in [*lines, *map(asdict, records)]))

    def _write(self, mode: str, text: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open(mode, encoding="utf-8") as file:
                file.write(text)
                file.truncate()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = (
                "the disk is full: free some space"
                if full
                else f"{error.strerror or error}: name another file with --records"
            )
            raise InvalidRequestError(
                f"The records cannot be written to {self.path}, {why}; the records so far are kept."
            ) from None


def _record(line: Mapping[str, Any]) -> SuggestionRecord:
    parts = tuple(SuggestionPart(part["length"], tuple(part["numbers"]), part["right"]) for part in line["parts"])
    return SuggestionRecord(**{**line, "parts": parts})
