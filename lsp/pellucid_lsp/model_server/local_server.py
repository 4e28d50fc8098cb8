"""The model server on this machine that editors start and stop, one editor at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus
from pellucid.errors import UnavailableError
from pellucid.system.private_files import make_private_folder
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server import server_process
from pellucid_lsp.model_server.launcher_dependencies import LauncherDependencies
from pellucid_lsp.model_server.restart_backoff import Backoff
from pellucid_lsp.model_server.server_address import ServerAddress
from pellucid_lsp.model_server.server_process import ServerProcess, ServerRecord

START_SECONDS = 120.0
"""Time limit for a started server to listen."""

EXIT_SECONDS = 15.0
"""Time limit for a server to exit, then the server is killed. Running answers get 10 seconds."""


class LocalServer:
    """The server at an address, during one attempt to connect.

    ``process``: set if the attempt starts the server. ``on_begin`` is called with a sentence before
    the server is started or stopped.
    """

    def __init__(
        self,
        address: ServerAddress,
        client: Client,
        settings: ServerSettings,
        model: str,
        environment: LauncherDependencies,
        backoff: Backoff,
        on_begin: Callable[[str], None],
    ) -> None:
        self.may_start = settings.start and address.here
        self.process: ServerProcess | None = None
        self._address = address
        self._client = client
        self._environment = environment
        self._backoff = backoff
        self._on_begin = on_begin
        idle = str(settings.idle_minutes * 60)
        options = ("serve", "--host", address.host, "--port", str(address.port), "--idle-exit", idle)
        self._command = (*environment.command, *options, *(("--model", model) if model else ()))
        self._record = environment.records / f"{address.port}.json"
        self._log = environment.logs / f"serve-{address.port}.log"

    async def start(self) -> None:
        """Start the server and wait until listening, unless another editor starts the server."""
        self._on_begin("The model server is starting.")
        lock = self._lock()
        if not _acquire(lock):
            return
        try:
            if self._backoff.seconds:
                await self._environment.sleep(self._backoff.seconds)
            if not await self._listens() and await self._await_exit():
                self._backoff.started()
                await self._start_process()
        finally:
            lock.release()

    async def stop(self) -> bool:
        """Stop a server started by an editor. Return whether such a server was running."""
        if not self.may_start:
            return False
        async with self._locked():
            record = ServerRecord.load(self._record)
            if record is None or not record.runs():
                return False
            self._on_begin("The model server is restarting.")
            record.ask_to_exit()
            async with aclosing(self._environment.check_times()) as checks:
                async for elapsed in checks:
                    if not record.runs():
                        break
                    if elapsed > EXIT_SECONDS:
                        record.kill()
        return True

    def check_ended(self) -> None:
        """Raise UnavailableError with the log's last line if the started process has exited."""
        if self.process is None or self.process.poll() is None:
            return
        reason = server_process.last_line(self._log).removeprefix("pellucid: ").rstrip(".")
        reason = reason or f"it exited with code {self.process.returncode}"
        raise UnavailableError(f"The model server could not be started: {reason}. Its log is {self._log}.")

    async def _start_process(self) -> None:
        variables = dict(self._environment.variables)
        if self._address.key is not None:  # Every user of the machine can read command lines.
            variables.pop("PELLUCID_API_KEY_FILE", None)
            variables["PELLUCID_API_KEY"] = self._address.key
        process = server_process.start(self._command, variables, _made(self._environment.logs), self._log)
        self.process = process
        try:
            ServerRecord(process.pid, self._command).save(self._record)
        except UnavailableError:
            process.kill()  # Without a record, no editor could stop the server later.
            raise
        async with aclosing(self._environment.check_times()) as checks:
            async for elapsed in checks:
                if await self._listens() or process.poll() is not None:
                    return
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server is not listening {elapsed:.0f} seconds after its start: "
                        f"see its log, {self._log}."
                    )

    async def _await_exit(self) -> bool:
        """Wait until a recorded server listens or exits. Return whether the server has exited."""
        record = ServerRecord.load(self._record)
        async with aclosing(self._environment.check_times()) as checks:
            async for elapsed in checks:
                if record is None or not record.runs():
                    return True
                if await self._listens():
                    return False
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server (process {record.pid}) is running but not listening: "
                        f"see its log, {self._log}."
                    )
        raise AssertionError("health checks do not end")

    async def _listens(self) -> bool:
        return (await self._client.server_health()).status is not HealthStatus.ABSENT

    def _lock(self) -> FileLock:
        return FileLock(_made(self._environment.records) / f"{self._address.port}.lock")

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the lock: only one editor at a time starts or stops the server."""
        lock = self._lock()
        async with aclosing(self._environment.check_times()) as checks:
            async for elapsed in checks:
                if _acquire(lock):
                    break
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        "Another editor has taken too long to start the model server: "
                        "close that editor, then restart the server."
                    )
        try:
            yield
        finally:
            lock.release()


def _made(folder: Path) -> Path:
    try:
        make_private_folder(folder)
    except OSError as error:
        raise UnavailableError(
            f"The folder {folder} cannot be created ({error.strerror}), but the model server needs it: "
            "make its parent writable."
        ) from error
    return folder


def _acquire(lock: FileLock) -> bool:
    """Return whether the lock was free and is now held.

    Raise UnavailableError if the file cannot be written.
    """
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise UnavailableError(
            f"The file {lock.lock_file} cannot be locked ({error.strerror}): make its folder writable."
        ) from error
    return True
