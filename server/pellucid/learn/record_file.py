"""Stores the records of a run as JSON lines, appended immediately: a killed run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeVar

from pellucid.errors import InvalidRequestError
from pellucid.system import atomic_files
from pellucid.system.regular_files import read_bytes

SYNCED: Final = 16
"""Records between syncs to disk. The system keeps records even of a killed process."""

LARGEST: Final = 1 << 30

Record = TypeVar("Record")


class RecordFile(Generic[Record]):
    """A header, then records; ``records`` has the records so far.

    The header's first field is the kind of file, the other fields identify the run. A truncated
    last line is dropped.

    Args:
        path: The file, created with its folder.
        header: The first line.
        read: Make a record (a dataclass) of a line's fields, or raise a KeyError, TypeError or
            ValueError.
        remedy: The end of error messages: where else to write.
        start_over: Discard the records of this run.
        replace_other: Discard the records of another run, and any other content.

    Raises:
        InvalidRequestError: The file has records of another run, or is damaged.
        ModelError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        read: Callable[[dict[str, Any]], Record],
        *,
        remedy: str,
        start_over: bool = False,
        replace_other: bool = False,
    ) -> None:
        self.path = path
        self.records: list[Record] = []
        self._remedy = remedy
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(path)
        wanted = json.loads(json.dumps(header))
        if lines and replace_other and _fields(lines[0]) != wanted:
            lines = []
        if lines:
            difference = _difference(wanted, _head(path, lines, header, remedy))
            if difference is not None:
                raise InvalidRequestError(
                    f"{path} contains the records of another run ({difference}): {remedy}, or delete that file."
                )
            lines = lines[:1] if start_over else lines
            self.records = list(_records(path, lines, read))
        with self._explained():
            self._file = path.open("ab")
            self._file.truncate(sum(len(line) + 1 for line in lines))
        self._unsynced = 0
        if not lines:
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

    def append(self, record: Record) -> None:
        self._write(asdict(record))  # type: ignore[call-overload]  # typeshed has no public name for a dataclass
        self.records.append(record)
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
        return atomic_files.errors_explained(self.path.parent, self._remedy)


def read_records(
    path: Path, header: Mapping[str, Any], read: Callable[[dict[str, Any]], Record], remedy: str
) -> list[Record]:
    """Return the records of any run; ``header`` has the kind of file."""
    lines = _whole_lines(path)
    _head(path, lines, header, remedy)
    return list(_records(path, lines, read))


def _whole_lines(path: Path) -> list[bytes]:
    try:
        return read_bytes(path, LARGEST).split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _head(path: Path, lines: Sequence[bytes], header: Mapping[str, Any], remedy: str) -> dict[str, Any]:
    kind = next(iter(header))
    found = _fields(lines[0]) if lines else None
    if found is None or found.get(kind) != header[kind]:
        raise InvalidRequestError(f"{path} has no records of this kind ({kind}: {header[kind]}): {remedy}.")
    return found


def _records(path: Path, lines: Sequence[bytes], read: Callable[[dict[str, Any]], Record]) -> Iterator[Record]:
    for number, line in enumerate(lines[1:], 2):
        fields = _fields(line)
        if fields is None:
            _refuse_damage(path, number)
        try:
            yield read(fields)
        except (KeyError, TypeError, ValueError):
            _refuse_damage(path, number)


def _fields(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refuse_damage(path: Path, number: int) -> NoReturn:
    raise InvalidRequestError(f"Line {number} of {path} is damaged: delete the file to start over.") from None


def _difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    for part in wanted:
        then, now = found.get(part), wanted[part]
        if then == now:
            continue
        if isinstance(then, dict) and isinstance(now, dict):
            name = next(name for name in [*now, *then] if then.get(name) != now.get(name))
            part, then, now = f"{part}, {name}", then.get(name), now.get(name)
        return f"{part}: {_shown(then)} there, {_shown(now)} here"
    return None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "nothing"
