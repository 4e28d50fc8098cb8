"""Finds the model server, starts it where there is none, and says what is wrong where there can be none."""

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

from pellucid.client.client import Client
from pellucid.client.protocol import Assistant
from pellucid.client.server_address import APPLICATION, CONFIG_FILE
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.errors import ConfigError, InvalidRequestError, UnavailableError
from pellucid.system.private_files import make_private_folder
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server import server_process
from pellucid_lsp.model_server.backoff import Backoff
from pellucid_lsp.model_server.server_address import ServerAddress, find
from pellucid_lsp.model_server.server_process import ServerProcess, ServerRecord

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two looks at a server that is not ready: they grow from the one to the other."""

START_SECONDS = 120.0
"""After this time a server that was started, and does not even listen, is given up."""

SILENCE_SECONDS = 10.0
"""After this time what takes connections and does not answer is given up."""

RETIRED = 4
"""Clients of former servers that are kept, for requests which still listen to them."""

LEAVE_SECONDS = 15.0
"""After this time a server that was asked to leave, and is still there, is killed: it gives its running answers 10 seconds."""


class LauncherState(StrEnum):
    """How far the way to the server is."""

    IDLE = "idle"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LauncherStatus:
    """What a launcher tells: one sentence, and how much of what is being fetched or loaded is there."""

    state: LauncherState
    message: str
    url: str
    percent: int | None = None


@dataclass(frozen=True, slots=True)
class LaunchEnvironment:
    """What a launcher finds around it: tests put their own in its place. ``records`` is where editors agree on servers."""

    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    config_file: Path = field(default_factory=lambda: user_config_path(APPLICATION) / CONFIG_FILE)
    records: Path = field(default_factory=lambda: user_state_path(APPLICATION) / "servers")
    logs: Path = field(default_factory=lambda: user_log_path(APPLICATION))
    command: tuple[str, ...] = (sys.executable, "-m", "pellucid")
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Launcher:
    """The way to the one model server of all editors. ``tell`` is called whenever the condition changes."""

    def __init__(
        self, settings: ServerSettings, model: str, tell: Callable[[LauncherStatus], None], surroundings: LaunchEnvironment | None = None
    ) -> None:
        self._settings = settings
        self._model = model
        self._tell = tell
        self._around = surroundings or LaunchEnvironment()
        self._backoff = Backoff(self._around.clock)
        self._client: Client | None = None
        self._retired: list[Client] = []
        self._look: asyncio.Task[Client] | None = None
        self._ending: set[asyncio.Task[Client]] = set()
        self._process: ServerProcess | None = None
        self._closed = False
        self.status = LauncherStatus(LauncherState.IDLE, "No model server has been asked yet.", self._known_url())

    async def client(self) -> Client:
        """A client of the server, once that is ready; it is started where there is none. Raises UnavailableError.

        All who wait wait for the same start, which goes on when some of them are cancelled.
        """
        while not self._closed:
            if self._client is not None:
                return self._client
            look = self._look
            if look is None or look.done():
                look = self._begin(self._reach(anew=False))
            try:
                return await asyncio.shield(look)
            except asyncio.CancelledError:
                waiter = asyncio.current_task()
                if not look.cancelled() or (waiter is not None and waiter.cancelling()):
                    raise
                # A restart took the place of this look.
        raise UnavailableError("The language server is leaving.")

    def lost(self, client: Assistant | None) -> None:
        """The server did not answer this client: look for it at the next ``client``. Nothing, if that has been done already."""
        if self._client is not None and client is self._client:
            self._retired.append(self._client)  # other requests may still have their streams
            self._client = None
            self._backoff.lost()

    async def restart(self) -> None:
        """Stop the server, if an editor started it, and start anew; to any other connect anew. Raises UnavailableError."""
        self.lost(self._client)
        self._backoff.reset()
        self._end_look()
        self._begin(self._reach(anew=True))
        await self.client()

    async def aclose(self) -> None:
        """Let go of the server, which goes on."""
        self._closed = True
        self._end_look()
        await self._ended()
        self.lost(self._client)
        await self._close_retired(keep=0)

    def _begin(self, way: Coroutine[Any, Any, Client]) -> asyncio.Task[Client]:
        self._look = asyncio.create_task(way)
        self._look.add_done_callback(_retrieve)
        return self._look

    def _end_look(self) -> None:
        if self._look is not None and self._look.cancel():
            self._ending.add(self._look)
            self._look.add_done_callback(self._ending.discard)

    async def _ended(self) -> None:
        """Wait for looks that were cancelled to let go of what they hold."""
        if self._ending:
            await asyncio.wait(self._ending)

    async def _reach(self, *, anew: bool) -> Client:
        """Go all the way to a server that is ready, and tell of it."""
        await self._ended()
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        try:
            where = find(self._settings, self._around.variables, self._around.config_file)
            client = Client(where.url, where.key)
            try:
                stopped = anew and await self._stop(where)
                started = await self._wait(where, client)
            except BaseException:
                await client.aclose()
                raise
        except (UnavailableError, ConfigError, InvalidRequestError) as error:
            self._say(LauncherState.FAILED, str(error), self._known_url())
            raise UnavailableError(str(error)) from error
        self._client = client
        self._backoff.ready()
        self._say(LauncherState.READY, _greeting(where, left=anew and not stopped and not started), where.url)
        await self._close_retired(keep=RETIRED)
        return client

    async def _wait(self, where: ServerAddress, client: Client) -> bool:
        """Wait until the server is ready, starting it where need be; whether that was so."""
        started: ServerProcess | None = None
        silent: float | None = None
        async with aclosing(self._looks()) as looks:
            async for elapsed in looks:
                found = await client.condition()
                silent = None if found.standing is not HealthStatus.SILENT else elapsed if silent is None else silent
                match found.standing:
                    case HealthStatus.READY:
                        return started is not None
                    case HealthStatus.LOADING:
                        self._say(LauncherState.LOADING, _loading(found), where.url, found.percent)
                    case HealthStatus.LEAVING:
                        self._say(
                            LauncherState.STARTING, "The model server is shutting down: another one is started after that.", where.url
                        )
                    case HealthStatus.ABSENT:
                        self._check_ended(started, where)
                        started = await self._start(where, client) or started
                    case HealthStatus.FAILED:
                        if not self._may_start(where) or not await self._stop(where):
                            raise UnavailableError(f"The model server at {where.url} says: {found.message}")
                    case HealthStatus.SILENT if silent is not None and elapsed - silent < SILENCE_SECONDS:
                        pass
                    case _:
                        raise UnavailableError(_objection(where, found))
        raise AssertionError("looks do not end")

    async def _start(self, where: ServerAddress, client: Client) -> ServerProcess | None:
        """Start the server and wait until it listens, unless another editor is at it."""
        if not self._may_start(where):
            raise UnavailableError(_nobody(where))
        self._say(LauncherState.STARTING, "The model server is being started.", where.url)
        lock = self._lock(where)
        if not _taken(lock):
            return None  # whoever has it starts the server
        try:
            return await self._start_alone(where, client)
        finally:
            lock.release()

    async def _start_alone(self, where: ServerAddress, client: Client) -> ServerProcess | None:
        if self._backoff.seconds:
            await self._around.sleep(self._backoff.seconds)
        if await self._listens(client) or not await self._gone_or_there(where, client):
            return None
        self._backoff.started()
        command = self._command(where)
        variables = dict(self._around.variables)
        if where.key is not None:  # never on the command line, which every user of the machine can read
            variables.pop("PELLUCID_API_KEY_FILE", None)
            variables["PELLUCID_API_KEY"] = where.key
        process = server_process.start(command, variables, self._folder(self._around.logs), self._log(where))
        self._process = process
        try:
            ServerRecord(process.pid, command).save(self._record(where))
        except UnavailableError:
            process.kill()  # no editor could stop it later
            raise
        async with aclosing(self._looks()) as looks:
            async for elapsed in looks:
                if await self._listens(client) or process.poll() is not None:
                    return process
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server does not listen {elapsed:.0f} seconds after its start; its log is {self._log(where)}."
                    )
        raise AssertionError("looks do not end")

    async def _gone_or_there(self, where: ServerAddress, client: Client) -> bool:
        """Wait for a server on record that does not listen, yet or any more; whether it has gone."""
        record = ServerRecord.load(self._record(where))
        async with aclosing(self._looks()) as looks:
            async for elapsed in looks:
                if record is None or not record.runs():
                    return True
                if await self._listens(client):
                    return False
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        f"The model server (process {record.pid}) runs but does not listen; its log is {self._log(where)}."
                    )
        raise AssertionError("looks do not end")

    async def _stop(self, where: ServerAddress) -> bool:
        """Stop the server that an editor started, and wait until it has gone; whether there was one."""
        if not self._may_start(where):
            return False
        async with self._alone(where):
            record = ServerRecord.load(self._record(where))
            if record is None or not record.runs():
                return False
            self._say(LauncherState.STARTING, "The model server is being stopped, to be started anew.", where.url)
            record.ask_to_leave()
            async with aclosing(self._looks()) as looks:
                async for elapsed in looks:
                    if not record.runs():
                        break
                    if elapsed > LEAVE_SECONDS:
                        record.kill()
        return True

    def _check_ended(self, process: ServerProcess | None, where: ServerAddress) -> None:
        """Raise UnavailableError with its last words where the process has ended instead of serving."""
        if process is None or process.poll() is None:
            return
        said = server_process.last_line(self._log(where)).removeprefix("pellucid: ").rstrip(".")
        why = said or f"it ended with code {process.returncode}"
        raise UnavailableError(f"The model server could not be started: {why}. Its log is {self._log(where)}.")

    async def _listens(self, client: Client) -> bool:
        return (await client.condition()).standing is not HealthStatus.ABSENT

    async def _looks(self) -> AsyncGenerator[float]:
        """Moments at which to look again, ever less often, as the seconds since the first of them."""
        begun, pause = self._around.clock(), FIRST_PAUSE
        while True:
            yield self._around.clock() - begun
            await self._around.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    @asynccontextmanager
    async def _alone(self, where: ServerAddress) -> AsyncIterator[None]:
        """While no other editor starts or stops the server."""
        lock = self._lock(where)
        async with aclosing(self._looks()) as looks:
            async for elapsed in looks:
                if _taken(lock):
                    break
                if elapsed > START_SECONDS:
                    raise UnavailableError(
                        "Another editor has been starting the model server for too long: close it, and restart the server."
                    )
        try:
            yield
        finally:
            lock.release()

    def _may_start(self, where: ServerAddress) -> bool:
        return self._settings.start and where.here

    def _command(self, where: ServerAddress) -> tuple[str, ...]:
        idle = str(self._settings.idle_minutes * 60)
        options = ("serve", "--host", where.host, "--port", str(where.port), "--idle-exit", idle)
        return (*self._around.command, *options, *(("--model", self._model) if self._model else ()))

    def _lock(self, where: ServerAddress) -> FileLock:
        return FileLock(self._folder(self._around.records) / f"{where.port}.lock")

    def _record(self, where: ServerAddress) -> Path:
        return self._around.records / f"{where.port}.json"

    def _log(self, where: ServerAddress) -> Path:
        return self._around.logs / f"serve-{where.port}.log"

    def _folder(self, path: Path) -> Path:
        try:
            make_private_folder(path)
        except OSError as error:
            raise UnavailableError(
                f"The folder {path} cannot be made ({error.strerror}), and the model server needs it to be started."
            ) from error
        return path

    def _known_url(self) -> str:
        """The address as far as it can be told."""
        try:
            return find(self._settings, self._around.variables, self._around.config_file).url
        except ConfigError:
            return self._settings.url

    def _say(self, state: LauncherState, message: str, url: str, percent: int | None = None) -> None:
        status = LauncherStatus(state, message, url, percent)
        if status != self.status:
            self.status = status
            self._tell(status)

    async def _close_retired(self, keep: int) -> None:
        while len(self._retired) > keep:
            await self._retired.pop(0).aclose()


def _loading(found: ServerHealth) -> str:
    return f"The model server is loading: {(found.activity or 'its model').rstrip('.')}."


def _greeting(where: ServerAddress, *, left: bool) -> str:
    if left:
        return f"The model server at {where.url} was not started by an editor, so it was left as it is, and connected to anew."
    return f"The model server at {where.url} is ready. {where.withheld}".rstrip()


def _nobody(where: ServerAddress) -> str:
    if where.here:
        return f"No server answers at {where.url}: start one with pellucid serve, or allow pellucid.server.start."
    return f"No server answers at {where.url}: start one there, or set pellucid.server.url."


def _objection(where: ServerAddress, found: ServerHealth) -> str:
    why = found.message.rstrip(".") or "it says no more"
    if found.standing is HealthStatus.REFUSED:
        return f"The model server at {where.url} refuses this editor ({why}): {where.withheld or 'set pellucid.server.apiKey.'}"
    if found.standing is HealthStatus.FORBIDDEN:
        return f"The model server at {where.url} refuses this editor ({why}): set pellucid.server.url to another name of it."
    return f"What answers at {where.url} is not Pellucid: stop it, or set pellucid.server.url to another port."


def _taken(lock: FileLock) -> bool:
    """Whether the lock could be had; it is ours then. Raises UnavailableError where it cannot be written."""
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError as error:
        raise UnavailableError(f"The lock {lock.lock_file} cannot be taken ({error.strerror}): make its folder writable.") from error
    return True


def _retrieve(task: asyncio.Task[Client]) -> None:
    """Take what went wrong: those who waited have been told, and there may be none."""
    if not task.cancelled():
        task.exception()
