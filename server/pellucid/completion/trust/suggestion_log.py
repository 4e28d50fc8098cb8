"""SQLite log of reactions to suggestions, on this machine and only if switched on.

The log holds numbers and outcomes, never text. ``pellucid calibrate --with-log`` learns P(right)
from the log. The acceptance rate is never maximised, because this would reward showing less, and
only the obvious.
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

APPLICATION_ID = 0x50454C43
"""Mark of a suggestion log: PELC."""

WAIT_SECONDS = 5.0

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
    ACCEPTED = "accepted"
    SHORTENED = "shortened"
    """A part of the suggestion was accepted."""
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A shown suggestion and the user's reaction.

    ``length`` and ``accepted`` are numbers of characters. ``features`` and ``accepted_features``
    are the ``features.NAMES`` of the shown text and of the accepted part.
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
    """SQLite file, created by the first write. Several editors may write at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, entry: LogEntry) -> None:
        """Write an entry, replacing an earlier entry of the same suggestion.

        A dismissal never replaces an entry: a user who takes a word and dismisses the rest has
        accepted a part.
        """
        row = {
            **{
                name: getattr(entry, name)
                for name in ("id", "model", "language", "level", "gate", "length", "accepted")
            },
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "outcome": str(entry.outcome),
            "features_version": VERSION,
            "features": json.dumps(entry.features),
            "accepted_features": None if entry.accepted_features is None else json.dumps(entry.accepted_features),
            "probabilities": json.dumps([round(p, 6) for p in entry.probabilities]),
        }
        marks = ", ".join(f":{name}" for name in _COLUMNS)
        conflict = "IGNORE" if entry.outcome is Reaction.DISMISSED else "REPLACE"
        with self._open() as database:
            database.execute(f"INSERT OR {conflict} INTO suggestions ({', '.join(_COLUMNS)}) VALUES ({marks})", row)  # noqa: S608 -- constants

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Yield all stored rows, oldest first."""
        if not self.path.exists():
            return
        with self._open() as database:
            # Not ordered by time: the clock may have been changed.
            for row in database.execute("SELECT * FROM suggestions ORDER BY rowid"):
                yield dict(zip(_COLUMNS, row, strict=True))

    def entries(self, model: str) -> list[LogEntry]:
        found = []
        for row in self.rows():
            if (row["model"], row["features_version"]) == (model, VERSION):
                values = {
                    name: row[name] for name in ("id", "model", "language", "level", "gate", "length", "accepted")
                }
                part = row["accepted_features"]
                found.append(
                    LogEntry(
                        **values,  # type: ignore[arg-type] # The types are as written by ``write``.
                        outcome=Reaction(str(row["outcome"])),
                        features=_numbers(row["features"]),
                        accepted_features=None if part is None else _numbers(part),
                        probabilities=_numbers(row["probabilities"]),
                    )
                )
        return found

    def delete(self) -> int:
        """Delete the log and return the number of deleted suggestions."""
        if not self.path.exists():
            return 0
        with self._open() as database:
            (count,) = database.execute("SELECT count(*) FROM suggestions").fetchone()
        try:
            for end in ("", "-journal"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The suggestion log {self.path} cannot be deleted ({error.strerror}): check its permissions."
            ) from None
        return int(count)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            # An existing folder may be shared.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(self.path)
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as database, database:
                (known,) = database.execute("PRAGMA application_id").fetchone()
                (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if tables and known != APPLICATION_ID:
                    raise ConfigError(f"{self.path} is not a suggestion log: move it elsewhere.")
                if not tables:
                    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    database.execute(_TABLE)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"The suggestion log {self.path} cannot be used ({error}): free some disk space, or move it elsewhere."
            ) from None


def _numbers(stored: object) -> tuple[float, ...]:
    return tuple(float(value) for value in json.loads(str(stored)))
