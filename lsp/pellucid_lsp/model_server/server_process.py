"""The model server as a process: started so that it outlives the editor, on record so that any editor can stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pellucid.errors import UnavailableError
from pellucid.system.private_files import create_private

PROC = Path("/proc")
"""Where Linux tells of processes."""

LOG_TAIL = 8192
"""Bytes at the end of a log in which its last line is looked for."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server that an editor started: its process, and the command line by which it is known to be still that process."""

    pid: int
    command: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all. Raises UnavailableError where that cannot be done."""
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            with create_private(part) as file:
                file.write(json.dumps(asdict(self)).encode())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):  # of a disk that has become read-only
                part.unlink(missing_ok=True)
            raise UnavailableError(
                f"The model server cannot be put on record in {path} ({error.strerror}): free some space, or make the folder writable."
            ) from error

    @classmethod
    def load(cls, path: Path) -> ServerRecord | None:
        """The record in a file; None where there is none, or nothing that could be one."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            pid, command = found["pid"], tuple(found["command"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not isinstance(pid, int) or pid <= 1 or not command or not all(isinstance(word, str) for word in command):
            return None
        return cls(pid, command)

    def runs(self) -> bool:
        """Whether that process still is that server. A number may be another process's by now."""
        words = self.command[1:]  # the interpreter may name itself otherwise
        return command_line(self.pid).endswith(subprocess.list2cmdline(words) if sys.platform == "win32" else " ".join(words))

    def ask_to_leave(self) -> None:
        """Let it end what it answers and leave. On Windows, where it cannot be asked, it is ended."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.runs():
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it went in this moment, which is what was wanted
        except OSError as error:
            raise UnavailableError(
                f"The model server (process {self.pid}) cannot be stopped ({error.strerror}): stop it by hand."
            ) from error


class ServerProcess(subprocess.Popen[bytes]):
    """A process that belongs to nobody: it stays when this one ends, which is no mistake to warn of."""

    def __del__(self) -> None:
        """Leave it."""


def start(command: Sequence[str], variables: Mapping[str, str], folder: Path, log: Path) -> ServerProcess:
    """Start a server away from this process: no terminal, no pipes, its output in ``log``, which is begun anew.

    It runs in ``folder``: so it holds no folder of the user's, and imports no module that happens to lie there.
    Raises UnavailableError where it cannot be started.
    """
    try:
        with create_private(log) as output:
            if sys.platform == "win32":
                flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
                return ServerProcess(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables, cwd=folder, creationflags=flags
                )
            return ServerProcess(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=variables, cwd=folder, start_new_session=True
            )
    except OSError as error:
        raise UnavailableError(f"The model server cannot be started ({error.strerror}: {error.filename}).") from error


def last_line(log: Path) -> str:
    """The last line that says anything."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def command_line(pid: int) -> str:
    """The words of a process's command line with spaces between them; empty where there is no such process."""
    if (PROC / "self/cmdline").exists():
        try:
            return (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    if sys.platform == "win32":
        query = f"(Get-CimInstance Win32_Process -Filter 'ProcessId={pid}').CommandLine"
        asked = ["powershell", "-NoProfile", "-NonInteractive", "-Command", query]
    else:
        asked = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    try:
        shown = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout  # noqa: S603 - a number of ours
    except OSError:
        return ""
    return shown.decode(errors="replace").strip()
