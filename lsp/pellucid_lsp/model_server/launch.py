"""Connection to the model server: start the server if necessary, and explain failures."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_config_path, user_log_path, user_state_path

from pellucid.client.address_settings import APPLICATION, CONFIG_FILE
from pellucid.client.assistant_protocol import Assistant
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.errors import ConfigError, InvalidRequestError, UnavailableError
from pellucid.system.private_files import make_private_folder
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server import server_process
from pellucid_lsp.model_server.restart_backoff import Backoff
from pellucid_lsp.model_server.server_address import ServerAddress, find_address
from pellucid_lsp.model_server.server_process import ServerProcess, ServerRecord

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.5
"""The first and the longest pause between health checks of a server that is not ready."""

START_SECONDS = 120.0
"""Time limit for a started server to listen."""

SILENCE_SECONDS = 10.0
"""Time limit for a server that accepts connections but does not answer."""

MAX_RETIRED_CLIENTS = 4
"""Maximum number of former clients kept for requests that still read answers."""

EXIT_SECONDS = 15.0
"""Time limit for a server to exit, then the server is killed. Running answers get 10 seconds."""


class LauncherState(StrEnum):
    IDLE = "idle"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LauncherStatus:
    """The state, a sentence, and the percentage of a download or of loading."""

    state: LauncherState
    message: str
    url: str
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class LaunchEnvironment:
    """The environment of a launcher, replaced in tests.

    Editors use ``records`` to agree on the editor that starts a server.
    """

    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    config_file: Path = field(default_factory=lambda: user_config_path(APPLICATION) / CONFIG_FILE)
    records: Path = field(default_factory=lambda: user_state_path(APPLICATION) / "servers")
    logs: Path = field(default_factory=lambda: user_log_path(APPLICATION))
    command: tuple[str, ...] = (sys.executable, "-m", "pellucid")
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Launcher:
    """The connection of one editor to the model server shared by all editors.

    ``on_change`` is called whenever the status changes.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: str,
        on_change: Callable[[LauncherStatus], None],
        environment: LaunchEnvironment | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._on_change = on_change
        self._environment = environment or LaunchEnvironment()
        self._backoff = Backoff(self._environment.clock)
        self._client: Client | None = None
        self._retired: list[Client] = []
        self._attempt: asyncio.Task[Client] | None = None
        self._cancelled_attempts: set[asyncio.Task[Client]] = set()
        self._process: ServerProcess | None = None
        self._closed = False
        self.status = LauncherStatus(LauncherState.IDLE, "No model server has been asked yet.", self._known_url())

    async def client(self) -> Client:
        """Return a client of the ready server, started if necessary, or raise UnavailableError.

        All callers share one connection attempt, which continues if some callers are cancelled.
        """
        while not self._closed:
            if self._client is not None:
                return self._client
            attempt = self._attempt
            if attempt is None or attempt.done():
                attempt = self._begin(self._connect(restart=False))
            try:
                return await asyncio.shield(attempt)
            except asyncio.CancelledError:
                waiter = asyncio.current_task()
                if not attempt.cancelled() or (waiter is not None and waiter.cancelling()):
                    raise
                # A restart has replaced this attempt.
        raise UnavailableError("The language server is shutting down.")

    def lost(self, client: Assistant | None) -> None:
        """Discard the current client after a missing answer; ignore former clients."""
        if self._client is not None and client is self._client:
            self._retired.append(self._client)  # Other requests may still read answers.
            self._client = None
            self._backoff.lost()

    @property
    def connected(self) -> Client | None:
        """The client, if connected. Neither starts a server nor waits for a server."""
        return self._client

    async def restart(self) -> None:
        """Restart a server started by an editor, or else reconnect."""
        self.lost(self._client)
        self._backoff.reset()
        self._cancel_attempt()
        self._begin(self._connect(restart=True))
        await self.client()

    async def aclose(self) -> None:
        """Disconnect from the server, which keeps running."""
        self._closed = True
        self._cancel_attempt()
        await self._wait_for_cancelled()
        self.lost(self._client)
        await self._close_retired(keep=0)

    def _begin(self, work: Coroutine[Any, Any, Client]) -> asyncio.Task[Client]:
        self._attempt = asyncio.create_task(work)
        self._attempt.add_done_callback(_retrieve_exception)
        return self._attempt

    def _cancel_attempt(self) -> None:
        if self._attempt is not None and self._attempt.cancel():
            self._cancelled_attempts.add(self._attempt)
            self._attempt.add_done_callback(self._cancelled_attempts.discard)

    async def _wait_for_cancelled(self) -> None:
        """Wait until cancelled attempts have released locks and clients."""
        if self._cancelled_attempts:
            await asyncio.wait(self._cancelled_attempts)

    async def _connect(self, *, restart: bool) -> Client:
        await self._wait_for_cancelled()
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        try:
            address = find_address(self._settings, self._environment.variables, self._environment.config_file)
            client = Client(address.url, address.key)
            try:
                stopped = restart and await self._stop(address)
                started = await self._wait(address, client)
            except BaseException:
                await client.aclose()
                raise
        except (UnavailableError, ConfigError, InvalidRequestError) as error:
            self._set_status(LauncherState.FAILED, str(error), self._known_url())
            raise UnavailableError(str(error)) from error
        self._client = client
        self._backoff.ready()
        self._set_status(
            LauncherState.READY,
            _ready_message(address, reconnected=restart and not stopped and not started),
            address.url,
        )
        await self._close_retired(keep=MAX_RETIRED_CLIENTS)
        return client

    async def _wait(self, address: ServerAddress, client: Client) -> bool:
        """Wait until the server is ready. Return whether the server was started."""
        started: ServerProcess | None = None
        silent: float | None = None
        async with aclosing(self._check_times()) as checks:
            async for elapsed in checks:
                health = await client.server_health()
                silent = None if health.status is not HealthStatus.SILENT else elapsed if silent is None else silent
                match health.status:
                    case HealthStatus.READY | HealthStatus.AWAY:  # AWAY still answers for other models.
                        return started is not None
                    case HealthStatus.LOADING:
                        self._set_status(LauncherState.LOADING, _loading_message(health), address.url, health.percent)
                    case HealthStatus.LEAVING:
                        self._set_status(
                            LauncherState.STARTING,
                            "The model server is shutting down. Another one will be started then.",
                            address.url,
                        )
                    case HealthStatus.ABSENT:
                        self._check_ended(started, address)
                        started = await self._start(address, client) or started
                    case HealthStatus.FAILED:
                        if not self._may_start(address) or not await self._stop(address):
                            raise UnavailableError(f"The model server at {address.url} failed: {health.message}")
                    case HealthStatus.SILENT if silent is not None and elapsed - silent < SILENCE_SECONDS:
                        pass
                    case _:
                        raise UnavailableError(_refusal_message(address, health))
        raise AssertionError("health checks do not end")

    async def _start(self, address: ServerAddress, client: Client) -> ServerProcess | None:
        """Start the server and wait until listening; `None` if another editor starts the server."""
        if not self._may_start(address):
            raise UnavailableError(_absent_message(address))
        self._set_status(LauncherState.STARTING, "The model server is starting.", address.url)
        lock = self._lock(address)
        if not _acquire(lock):
            return None  # The lock's owner starts the server.
        try:
            return await self._start_locked(address, client)
        finally:
            lock.release()

    async def _start_locked(self, address: ServerAddress, client: Client) -> ServerProcess | None:
        if self._backoff.seconds:
            await self._environment.sleep(self._backoff.seconds)
        if await self._listens(client) or not await self._await_exit(address, client):
            return None
        self._backoff.started()
        command = self._command(address)
        variables = dict(self._environment.variables)
        if address.key is not None:  # Every user of the machine can read command lines.
            variables.pop("PELLUCID_API_KEY_FILE", None)
            variables["PELLUCID_API_KEY"] = address.key
        process = server_process.start(command, variables, self._folder(self._environment.logs), self._log(address))
        self._process = process
        try:
            ServerRecord(process.pid, command).save(self._record(address))
        except UnavailableError:
            process.kill()  # Without a record, no editor could stop the server later.
            raise
        async with aclosing(self._check_times()) as checks:
            async for elapsed in checks:
                if await self._listens(client) or process.poll() is not None:
                    return process
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server is not listening {elapsed:.0f} seconds after its start: "
                        f"see its log, {self._log(address)}."
                    )
        raise AssertionError("health checks do not end")

    async def _await_exit(self, address: ServerAddress, client: Client) -> bool:
        """Wait until a recorded server listens or exits. Return whether the server has exited."""
        record = ServerRecord.load(self._record(address))
        async with aclosing(self._check_times()) as checks:
            async for elapsed in checks:
                if record is None or not record.runs():
                    return True
                if await self._listens(client):
                    return False
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server (process {record.pid}) is running but not listening: "
                        f"see its log, {self._log(address)}."
                    )
        raise AssertionError("health checks do not end")

    async def _stop(self, address: ServerAddress) -> bool:
        """Stop a server started by an editor. Return whether such a server was running."""
        if not self._may_start(address):
            return False
        async with self._locked(address):
            record = ServerRecord.load(self._record(address))
            if record is None or not record.runs():
                return False
            self._set_status(LauncherState.STARTING, "The model server is restarting.", address.url)
            record.ask_to_exit()
            async with aclosing(self._check_times()) as checks:
                async for elapsed in checks:
                    if not record.runs():
                        break
                    if elapsed > EXIT_SECONDS:
                        record.kill()
        return True

    def _check_ended(self, process: ServerProcess | None, address: ServerAddress) -> None:
        """Raise UnavailableError with the log's last line if the process has exited."""
        if process is None or process.poll() is None:
            return
        reason = server_process.last_line(self._log(address)).removeprefix("pellucid: ").rstrip(".")
        reason = reason or f"it exited with code {process.returncode}"
        raise UnavailableError(f"The model server could not be started: {reason}. Its log is {self._log(address)}.")

    async def _listens(self, client: Client) -> bool:
        return (await client.server_health()).status is not HealthStatus.ABSENT

    async def _check_times(self) -> AsyncGenerator[float]:
        """Yield the elapsed seconds at each health check, with growing pauses."""
        begun, pause = self._environment.clock(), FIRST_PAUSE_SECONDS
        while True:
            yield self._environment.clock() - begun
            await self._environment.sleep(pause)
            pause = min(pause * 1.5, MAX_PAUSE_SECONDS)

    @asynccontextmanager
    async def _locked(self, address: ServerAddress) -> AsyncIterator[None]:
        """Hold the lock: only one editor at a time starts or stops the server."""
        lock = self._lock(address)
        async with aclosing(self._check_times()) as checks:
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

    def _may_start(self, address: ServerAddress) -> bool:
        return self._settings.start and address.here

    def _command(self, address: ServerAddress) -> tuple[str, ...]:
        idle = str(self._settings.idle_minutes * 60)
        options = ("serve", "--host", address.host, "--port", str(address.port), "--idle-exit", idle)
        return (*self._environment.command, *options, *(("--model", self._model) if self._model else ()))

    def _lock(self, address: ServerAddress) -> FileLock:
        return FileLock(self._folder(self._environment.records) / f"{address.port}.lock")

    def _record(self, address: ServerAddress) -> Path:
        return self._environment.records / f"{address.port}.json"

    def _log(self, address: ServerAddress) -> Path:
        return self._environment.logs / f"serve-{address.port}.log"

    def _folder(self, path: Path) -> Path:
        try:
            make_private_folder(path)
        except OSError as error:
            raise UnavailableError(
                f"The folder {path} cannot be created ({error.strerror}), but the model server needs it: "
                "make its parent writable."
            ) from error
        return path

    def _known_url(self) -> str:
        try:
            return find_address(self._settings, self._environment.variables, self._environment.config_file).url
        except ConfigError:
            return self._settings.url

    def _set_status(self, state: LauncherState, message: str, url: str, percent: int | None = None) -> None:
        status = LauncherStatus(state, message, url, percent)
        if status != self.status:
            self.status = status
            self._on_change(status)

    async def _close_retired(self, keep: int) -> None:
        while len(self._retired) > keep:
            await self._retired.pop(0).aclose()


def _loading_message(health: ServerHealth) -> str:
    return f"The model server is loading: {(health.activity or 'its model').rstrip('.')}."


def _ready_message(address: ServerAddress, *, reconnected: bool) -> str:
    if reconnected:
        return (
            f"The model server at {address.url} was started outside the editor, so it was not restarted; reconnected."
        )
    return f"The model server at {address.url} is ready. {address.withheld}".rstrip()


def _absent_message(address: ServerAddress) -> str:
    if address.here:
        return f"No server answers at {address.url}: run `pellucid serve`, or set pellucid.server.start to true."
    return (
        f"No server answers at {address.url}: start a Pellucid server there, "
        "or set pellucid.server.url to another address."
    )


def _refusal_message(address: ServerAddress, health: ServerHealth) -> str:
    reason = health.message.partition(": ")[0].rstrip(".") or "without a reason"  # Omits the server's remedy.
    if health.status is HealthStatus.REFUSED:
        return (
            f"The model server at {address.url} refuses this editor ({reason}): "
            f"{address.withheld or 'set pellucid.server.apiKey.'}"
        )
    if health.status is HealthStatus.FORBIDDEN:
        return (
            f"The model server at {address.url} refuses this editor ({reason}): "
            "set pellucid.server.url to the server's IP address."
        )
    return f"The server at {address.url} is not Pellucid: stop it, or set pellucid.server.url to another port."


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


def _retrieve_exception(task: asyncio.Task[Client]) -> None:
    """Retrieve a task's exception, so that asyncio does not log the exception."""
    if not task.cancelled():
        task.exception()
