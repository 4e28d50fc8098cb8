"""Stores records as JSON lines, appended immediately: a killed run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.system import atomic_files

KIND: Final = "pellucid-evaluation-records"
FORMAT: Final = 1

SYNCED: Final = 16
"""Records between syncs to disk. The system keeps records even of a killed process."""


ELSEWHERE: Final = "name another folder with --out"


class SuiteRecordFile:
    """The records of a suite and a model, identified by the first line.

    Raises InvalidRequestError for the records of another run, and for damage, except for a
    truncated last line; ModelError for write errors. ``start_over`` discards the records of this
    run. ``elsewhere`` is the remedy in error messages.
    """

    def __init__(
        self,
        path: Path,
        suite: str,
        model: Mapping[str, Any],
        settings: Mapping[str, Any],
        *,
        start_over: bool = False,
        elsewhere: str = ELSEWHERE,
    ) -> None:
        self.path = path
        self._elsewhere = elsewhere
        self.records: dict[str, SuiteRecord] = {}
        header = {"kind": KIND, "format": FORMAT, "suite": suite, "model": dict(model), "settings": dict(settings)}
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
        whole = _whole_lines(path)
        if whole:
            _check_header(path, json.loads(json.dumps(header)), _parse(path, 1, whole[0]), elsewhere)
            whole = whole[:1] if start_over else whole
            self.records = {record.id: record for record in _records(path, whole[1:])}
        with self._explained():
            self._file = path.open("ab")
            self._file.truncate(sum(len(line) + 1 for line in whole))
        self._unsynced = 0
        if not whole:
            self._write(header)
            self._sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sync()
        finally:
            # A failed write leaves data in the buffer.
            with suppress(OSError):
                self._file.close()

    def append(self, record: SuiteRecord) -> None:
        self._write(asdict(record))
        self.records[record.id] = record
        self._unsynced += 1
        if self._unsynced == SYNCED:
            self._sync()

    def _write(self, line: Mapping[str, Any]) -> None:
        with self._explained():
            self._file.write(json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")
            self._file.flush()

    def _sync(self) -> None:
        with self._explained():
            os.fsync(self._file.fileno())
        self._unsynced = 0

    def _explained(self) -> AbstractContextManager[None]:
        return atomic_files.errors_explained(self.path.parent, self._elsewhere)


def read_records(path: Path) -> list[SuiteRecord]:
    """Return the last record of each question, in the order of first records."""
    lines = _whole_lines(path)
    if not lines or _parse(path, 1, lines[0]).get("kind") != KIND:
        raise InvalidRequestError(
            f"{path} contains no records of an evaluation: name a folder that pellucid evaluate wrote."
        )
    return list({record.id: record for record in _records(path, lines[1:])}.values())


def _whole_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror or error}.") from None


def _records(path: Path, lines: Sequence[bytes]) -> list[SuiteRecord]:
    found = []
    for number, line in enumerate(lines, 2):
        fields = _parse(path, number, line)
        try:
            found.append(SuiteRecord(**fields))
        except TypeError:
            raise _damaged(path, number) from None
    return found


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _damaged(path, number)
    return found


def _damaged(path: Path, number: int) -> InvalidRequestError:
    return InvalidRequestError(f"Line {number} of {path} is damaged: delete the file to ask its questions again.")


def _check_header(path: Path, wanted: Mapping[str, Any], found: Mapping[str, Any], elsewhere: str) -> None:
    for part in wanted:
        then, now = found.get(part), wanted[part]
        if then == now:
            continue
        if isinstance(then, dict) and isinstance(now, dict):
            name = next(name for name in [*now, *then] if then.get(name) != now.get(name))
            part, then, now = f"{part}, {name}", then.get(name), now.get(name)
        raise InvalidRequestError(
            f"{path} contains the records of another run ({part}: {_shown(then)} there, {_shown(now)} here): "
            f"{elsewhere}, or delete that file."
        )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "nothing"
