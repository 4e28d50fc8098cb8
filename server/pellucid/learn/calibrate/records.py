"""What was suggested at cursors, as numbers: a line of JSON each, appended at once, so that a run that was broken off goes on."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import InvalidRequestError

FORMAT = "pellucid replay 1"


@dataclass(frozen=True, slots=True)
class SuggestionPart:
    """A beginning of a suggestion that a gate may show: its length in characters, its numbers, and whether it is right."""

    length: int
    numbers: tuple[float, ...]
    right: bool


@dataclass(frozen=True, slots=True)
class SuggestionRecord:
    """What was suggested at a cursor: all of it, then the parts that can stand alone, the longest first; nothing of it as text.

    ``ending`` says why it ends, ``shown`` how many characters the thresholds of each level let through.
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
        """What tells it from others of its run."""
        return self.document, self.kind, self.at, self.suffix

    @property
    def whole(self) -> SuggestionPart:
        """All of it. Needs a suggestion."""
        return self.parts[0]


class SuggestionRecordFile:
    """The records of one run. ``about`` says of what: a file of another run is refused."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path = path
        self._head = {"format": FORMAT, "about": dict(about)}

    def read(self) -> list[SuggestionRecord]:
        """What there is of the run; a line that was being written when it was broken off is cut away.

        Raises InvalidRequestError for the file of another run, and for one that cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequestError(f"The records in {self.path} cannot be read ({error}): name another file with --records.") from None
        whole = text[: text.rfind("\n") + 1]
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
            records = [_record(line) for line in lines]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidRequestError(f"{self.path} holds no records of a replay ({error}): name another file with --records.") from None
        if head is not None and head != self._head:
            raise InvalidRequestError(f"{self.path} holds the records of another run: name another file with --records, or remove it.")
        if whole != text:
            self._write("r+", whole)
        return records

    def append(self, records: Sequence[SuggestionRecord]) -> None:
        """Add records at the end. Raises InvalidRequestError where the disk refuses."""
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
            why = "the disk is full: free some space" if full else f"{error.strerror or error}: name another file with --records"
            raise InvalidRequestError(f"The records cannot be written to {self.path}, {why}; what there is of them is kept.") from None


def _record(line: Mapping[str, Any]) -> SuggestionRecord:
    parts = tuple(SuggestionPart(part["length"], tuple(part["numbers"]), part["right"]) for part in line["parts"])
    return SuggestionRecord(**{**line, "parts": parts})
