"""Stores the records of a run as JSON lines, appended immediately: a killed run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Self, TypeVar

from pellucid.errors import InvalidRequestError
from pellucid.system import atomic_files
from pellucid.system.regular_files import read_bytes

SYNCED: Final = 16
"""Records between syncs to disk. The system keeps records even of a killed process."""

LARGEST: Final = 1 << 30

Record = TypeVar("Record")
Read = Callable[[dict[str, Any]], Record]
"""Makes a record of a line's fields, or raises a KeyError, TypeError or ValueError."""


class RecordFile(Generic[Record]):
    """A header, then records (dataclasses); ``records`` has the records so far.

    The header's first field is the kind of file, the other fields identify the run. A truncated
    last line is dropped. Nothing is written before the first record.

    Args:
        path: The file.
        header: The first line.
        read: Make a record of a line.
        what: The source of records in error messages, "an evaluation".
        remedy: The end of error messages: where else to write.
        start_over: Discard the records of this run.
        replace_other: Discard the records of another run, foreign content and damaged lines.

    Raises:
        InvalidRequestError: The file has records of another run, other content, or damage.
        ModelError: The file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        read: Read[Record],
        *,
        what: str,
        remedy: str,
        start_over: bool = False,
        replace_other: bool = False,
    ) -> None:
        self.path = path
        self.records: list[Record] = []
        self._header = _line(header)
        self._remedy = remedy
        self._file: BinaryIO | None = None
        self._unsynced = 0
        try:
            lines = _whole_lines(path, self._header, what, remedy)
            if lines:
                _check_header(path, json.loads(self._header), _head(path, lines, header, what, remedy), remedy)
        except InvalidRequestError:
            if not replace_other:
                raise
            lines = []
        lines = lines[:1] if start_over else lines
        for number, line in enumerate(lines[1:], 2):
            try:
                self.records.append(_record(path, number, line, read))
            except InvalidRequestError:
                if not replace_other:
                    raise
                del lines[number - 1 :]
                break
        self._kept = sum(len(line) + 1 for line in lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        try:
            self._sync(self._file)
        finally:
            # A failed write leaves data in the buffer.
            with suppress(OSError):
                self._file.close()

    def append(self, record: Record) -> None:
        file = self._open() if self._file is None else self._file
        self._write(file, _line(asdict(record)))  # type: ignore[call-overload]  # Record is a dataclass.
        self.records.append(record)
        self._unsynced += 1
        if self._unsynced == SYNCED:
            self._sync(file)

    def _open(self) -> BinaryIO:
        """Open the file for writing, with the header and the records so far."""
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            self._file.truncate(self._kept)
        if not self._kept:
            self._write(self._file, self._header)
        return self._file

    def _write(self, file: BinaryIO, line: bytes) -> None:
        with self._explained():
            file.write(line)
            file.flush()

    def _sync(self, file: BinaryIO) -> None:
        with self._explained():
            os.fsync(file.fileno())
        self._unsynced = 0

    def _explained(self) -> AbstractContextManager[None]:
        return atomic_files.errors_explained(self.path, self._remedy)


def read_records(path: Path, header: Mapping[str, Any], read: Read[Record], what: str, remedy: str) -> list[Record]:
    """Return the records of any run; ``header`` has the kind of file."""
    lines = _whole_lines(path, b"", what, remedy)
    _head(path, lines, header, what, remedy)
    return [_record(path, number, line, read) for number, line in enumerate(lines[1:], 2)]


def _line(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _whole_lines(path: Path, header: bytes, what: str, remedy: str) -> list[bytes]:
    try:
        *lines, rest = read_bytes(path, LARGEST).split(b"\n")
    except FileNotFoundError:
        return []
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{str(error).rstrip('.')} ({remedy}).") from None
    if not lines and not header.startswith(rest):  # Neither empty nor a truncated header.
        raise _foreign(path, what, remedy)
    return lines


def _head(path: Path, lines: list[bytes], header: Mapping[str, Any], what: str, remedy: str) -> dict[str, Any]:
    kind = next(iter(header))
    found = _fields(lines[0]) if lines else None
    if found is None or found.get(kind) != header[kind]:
        raise _foreign(path, what, remedy)
    return found


def _foreign(path: Path, what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(f"{path} contains no records of {what}: {remedy}.")


def _record(path: Path, number: int, line: bytes, read: Read[Record]) -> Record:
    fields = _fields(line)
    try:
        if fields is not None:
            return read(fields)
    except (KeyError, TypeError, ValueError):
        pass
    raise InvalidRequestError(f"Line {number} of {path} is damaged: delete the file to start over.")


def _fields(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _check_header(path: Path, wanted: Mapping[str, Any], found: Mapping[str, Any], remedy: str) -> None:
    for part, now in wanted.items():
        then = found.get(part)
        if then == now:
            continue
        if isinstance(then, dict) and isinstance(now, dict):
            name = next(name for name in {**now, **then} if then.get(name, ...) != now.get(name, ...))
            part, then, now = f"{part}, {name}", then.get(name), now.get(name)
        raise InvalidRequestError(
            f"{path} contains the records of another run ({part}: {_shown(then)} there, {_shown(now)} here): "
            f"{remedy}, or delete that file."
        )


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "nothing"
