"""The model server's process, which outlives the editor, and the record for other editors."""

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

LOG_TAIL_BYTES = 8192


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """A server started by an editor; the command line shows whether ``pid`` was reused."""

    pid: int
    command: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write the record atomically, or raise UnavailableError."""
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            with create_private(part) as file:
                file.write(json.dumps(asdict(self)).encode())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):  # The disk may have become read-only.
                part.unlink(missing_ok=True)
            raise UnavailableError(
                f"The model server cannot be recorded in {path} ({error.strerror}): "
                "free some space, or make the folder writable."
            ) from error

    @classmethod
    def load(cls, path: Path) -> ServerRecord | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            pid, command = found["pid"], tuple(found["command"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if not isinstance(pid, int) or pid <= 1 or not command or not all(isinstance(word, str) for word in command):
            return None
        return cls(pid, command)

    def runs(self) -> bool:
        """Return whether ``pid`` is still the server."""
        words = self.command[1:]  # The interpreter may have another name.
        return command_line(self.pid).endswith(
            subprocess.list2cmdline(words) if sys.platform == "win32" else " ".join(words)
        )

    def ask_to_exit(self) -> None:
        """Ask the server to finish answers and exit. Windows can only terminate the server."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.runs():
            return
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # The process has just exited.
        except OSError as error:
            raise UnavailableError(
                f"The model server (process {self.pid}) cannot be stopped ({error.strerror}): end the process yourself."
            ) from error


class ServerProcess(subprocess.Popen[bytes]):
    """A process that outlives this process."""

    def __del__(self) -> None:
        """Suppress Popen's warning about the running process."""


def start(command: Sequence[str], variables: Mapping[str, str], folder: Path, log: Path) -> ServerProcess:
    """Start a server without terminal or pipes, with output in ``log`` (overwritten).

    The working directory is ``folder``, so that no user's folder is locked or a source of imports.
    """
    flags = 0
    if sys.platform == "win32":  # Where start_new_session has no effect.
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    try:
        with create_private(log) as output:
            return ServerProcess(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                cwd=folder,
                start_new_session=True,
                creationflags=flags,
            )
    except OSError as error:
        raise UnavailableError(
            f"The model server cannot be started ({error.strerror}: {error.filename}): reinstall Pellucid."
        ) from error


def last_line(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def command_line(pid: int) -> str:
    """Return the words of a process's command line, separated by spaces, or an empty string."""
    if (PROC / "self/cmdline").exists():
        try:
            return (
                (PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            return ""
    if sys.platform == "win32":
        query = f"(Get-CimInstance Win32_Process -Filter 'ProcessId={pid}').CommandLine"
        command = ["powershell", "-NoProfile", "-NonInteractive", "-Command", query]
    else:
        command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    try:
        output = subprocess.run(  # noqa: S603 - The only variable is a number.
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        ).stdout
    except OSError:
        return ""
    return output.decode(errors="replace").strip()
