"""A private SQLite file for any thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pellucid.errors import ConfigError, PellucidError

BUSY_SECONDS = 10.0


class SqliteFile:
    """An SQLite file, created if missing.

    ``contents`` and ``remedy`` are for error messages. ``prepare`` creates or checks the tables, in
    one transaction. Raises ConfigError if the file cannot be opened, and later a PellucidError if
    the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        contents: str,
        prepare: Callable[[sqlite3.Connection], None],
        *,
        pragmas: Sequence[str] = (),
        remedy: str = "check the file and the free space on its disk",
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._path = path
        self._contents = contents
        self._remedy = remedy
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
            )
            try:
                self._connection.row_factory = sqlite3.Row
                with _transaction(self._connection, "IMMEDIATE"):
                    prepare(self._connection)
                _write_ahead(self._connection, busy_seconds)
                for pragma in pragmas:
                    self._connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"The {contents} in {path} cannot be opened ({error}): repair the file, or move it elsewhere."
            ) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[sqlite3.Connection]:
        with self.autocommit() as run, _transaction(run, kind):
            yield run

    @contextmanager
    def autocommit(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise PellucidError(
                    f"The {self._contents} in {self._path} cannot be read or written ({error}): {self._remedy}."
                ) from error


@contextmanager
def _transaction(run: sqlite3.Connection, kind: str) -> Iterator[None]:
    run.execute(f"BEGIN {kind}")
    try:
        yield
        run.execute("COMMIT")
    except BaseException:
        if run.in_transaction:  # A full disk, for example, has ended the transaction already.
            run.execute("ROLLBACK")
        raise


def _write_ahead(run: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch to write-ahead logging: readers and a writer do not wait for each other.

    Repeats the statement while a different process opens the file, because SQLite does not wait
    here.
    """
    end = time.monotonic() + busy_seconds
    while True:
        try:
            run.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
