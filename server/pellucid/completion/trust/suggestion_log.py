"""The log of what became of suggestions, on this machine and only where it is asked for: numbers and outcomes, no text at all.

It says what was accepted, which is not what was right. ``pellucid calibrate --with-log`` learns from it how probable a
suggestion is; how much is accepted is never what is made as large as possible, for that rewards showing less, and only what
everybody would have typed anyway.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pellucid.completion.trust.features import VERSION
from pellucid.errors import ConfigError
from pellucid.system.private_files import make_private

FILE = "suggestions.sqlite"
"""Its name in the data folder."""

APPLICATION_ID = 0x50454C43
"""By which the database is told from other programs' (SQLite's ``application_id``): PELC."""

WAIT_SECONDS = 5.0
"""How long another editor's entry is waited for."""

_TABLE = """
CREATE TABLE IF NOT EXISTS suggestions (
    id TEXT PRIMARY KEY, at TEXT NOT NULL, model TEXT NOT NULL, language TEXT NOT NULL, level TEXT, gate TEXT NOT NULL,
    outcome TEXT NOT NULL, length INTEGER NOT NULL, accepted INTEGER NOT NULL,
    features_version INTEGER NOT NULL, features TEXT NOT NULL, accepted_features TEXT, probabilities TEXT NOT NULL
)
"""

_COLUMNS = (
    "id", "at", "model", "language", "level", "gate", "outcome", "length", "accepted", "features_version", "features",
    "accepted_features", "probabilities",
)  # fmt: skip


class Reaction(StrEnum):
    """What became of a suggestion that was shown."""

    ACCEPTED = "accepted"
    SHORTENED = "shortened"
    """A part of it was accepted."""
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A suggestion that was shown, and what became of it.

    ``length`` and ``accepted`` are characters, of it and of the part that was taken. ``features`` are the numbers of
    ``features.NAMES`` of what was shown, ``accepted_features`` those of the part; ``probabilities`` are the tokens'.
    """

    id: str
    model: str
    language: str
    level: str | None
    gate: str
    outcome: Reaction
    length: int
    accepted: int
    features: tuple[float, ...]
    accepted_features: tuple[float, ...] | None
    probabilities: tuple[float, ...]


class SuggestionLog:
    """One SQLite file, which several editors may write to. It is made when something is first written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: LogEntry) -> None:
        """Note an outcome, in the stead of an earlier one of the same suggestion. Raises ConfigError where that cannot be done.

        Who takes a word and dismisses the rest has accepted a part: a dismissal takes the place of nothing.
        """
        row = {
            **{name: getattr(entry, name) for name in ("id", "model", "language", "level", "gate", "length", "accepted")},
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "outcome": str(entry.outcome),
            "features_version": VERSION,
            "features": json.dumps(entry.features),
            "accepted_features": None if entry.accepted_features is None else json.dumps(entry.accepted_features),
            "probabilities": json.dumps([round(p, 6) for p in entry.probabilities]),
        }
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        known = "IGNORE" if entry.outcome is Reaction.DISMISSED else "REPLACE"
        with self._open() as database:
            database.execute(f"INSERT OR {known} INTO suggestions ({', '.join(_COLUMNS)}) VALUES ({marks})", row)  # noqa: S608 -- our own words

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Everything, the oldest first, as it is stored. Raises ConfigError for a file that is no log of ours."""
        if not self.path.exists():
            return
        with self._open() as database:
            for row in database.execute("SELECT * FROM suggestions ORDER BY rowid"):  # not by time: the clock may have been set back
                yield dict(zip(_COLUMNS, row, strict=True))

    def entries(self, model: str) -> list[LogEntry]:
        """What is known of a model's suggestions, by the numbers of this version."""
        found = []
        for row in self.rows():
            if (row["model"], row["features_version"]) == (model, VERSION):
                values = {name: row[name] for name in ("id", "model", "language", "level", "gate", "length", "accepted")}
                part = row["accepted_features"]
                found.append(
                    LogEntry(
                        **values,  # type: ignore[arg-type]  # as they were written
                        outcome=Reaction(str(row["outcome"])),
                        features=_numbers(row["features"]),
                        accepted_features=None if part is None else _numbers(part),
                        probabilities=_numbers(row["probabilities"]),
                    )
                )
        return found

    def delete(self) -> int:
        """Delete all of it: how many suggestions were in it. Raises ConfigError for a file that is no log of ours."""
        if not self.path.exists():
            return 0
        with self._open() as database:
            (count,) = database.execute("SELECT count(*) FROM suggestions").fetchone()
        try:
            for end in ("", "-journal"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"The log of suggestions {self.path} cannot be deleted ({error.strerror}).") from None
        return int(count)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # one that is there may be shared
            make_private(self.path)
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as database, database:
                (known,) = database.execute("PRAGMA application_id").fetchone()
                (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if tables and known != APPLICATION_ID:
                    raise ConfigError(f"{self.path} is no log of suggestions: move it away.")
                if not tables:
                    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    database.execute(_TABLE)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"The log of suggestions {self.path} cannot be used ({error}): make room for it, or move it away.") from None


def _numbers(stored: object) -> tuple[float, ...]:
    return tuple(float(value) for value in json.loads(str(stored)))
