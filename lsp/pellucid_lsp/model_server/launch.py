"""Connection to the model server: start the server if necessary, and explain failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.errors import ConfigError, NotFoundError, NotSupportedError, PellucidError, UnavailableError
from pellucid.system.progress import Work
from pellucid_lsp.editor_settings import ServerSettings
from pellucid_lsp.model_server.launcher_dependencies import LauncherDependencies
from pellucid_lsp.model_server.local_server import LocalServer
from pellucid_lsp.model_server.restart_backoff import Backoff
from pellucid_lsp.model_server.server_address import ServerAddress, find_address
from pellucid_lsp.model_server.server_process import ServerProcess

SILENCE_SECONDS = 10.0
"""Time limit for a server that accepts connections but does not answer."""

LEAVING = "The model server is shutting down. Another one will be started then."

SLOW_SECONDS = 0.5
"""Time without an answer before the server is asked whether a model is being loaded."""

MAX_RETIRED_CLIENTS = 4
"""Maximum number of former clients kept for requests that still read answers."""


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


class Launcher:
    """The connection of an editor to the model server shared by all editors.

    ``on_change`` is called whenever the status changes.
    """

    def __init__(
        self,
        settings: ServerSettings,
        model: str,
        on_change: Callable[[], None],
        environment: LauncherDependencies | None = None,
    ) -> None:
        self._settings = settings
        self._model = model
        self._on_change = on_change
        self._environment = environment or LauncherDependencies()
        self._backoff = Backoff(self._environment.clock)
        self._client: Client | None = None
        self._address: ServerAddress | None = None
        self._retired: list[Client] = []
        self._attempt: asyncio.Task[Client] | None = None
        self._cancelled_attempts: set[asyncio.Task[Client]] = set()
        self._process: ServerProcess | None = None
        self._closed = False
        self._ready_message = ""
        self._waiting = 0
        self._watch: asyncio.Task[None] | None = None
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

    async def address(self) -> ServerAddress:
        """Return the address of a server that answers now, started if necessary."""
        client = await self.client()
        if (await client.server_health(verified=False)).status is HealthStatus.ABSENT:
            self.lost(client)
            await self.client()
        assert self._address is not None, "a connected client has an address"
        return self._address

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

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Show in the status if the server loads a model before it answers."""
        self._waiting += 1
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._watch_loading())
        try:
            yield
        finally:
            self._waiting -= 1

    async def _watch_loading(self) -> None:
        while self._waiting or self.status.state is LauncherState.LOADING:
            await asyncio.sleep(SLOW_SECONDS)
            client = self._client
            health = await client.server_health(verified=False) if client is not None else None
            if health is None or client is not self._client:
                return  # The connection attempt shows its own status.
            if health.status is HealthStatus.READY and health.step is not None:
                self._set_loading(health, self.status.url)
            elif self.status.state is LauncherState.LOADING:
                self._set_status(LauncherState.READY, self.status.url, self._ready_message)

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
        if self._watch is not None:
            self._watch.cancel()
        await self._wait_for_cancelled()
        self.lost(self._client)
        await self._close_retired(keep=0)

    def _begin(self, work: Coroutine[Any, Any, Client]) -> asyncio.Task[Client]:
        self._attempt = asyncio.create_task(work)
        # Read the exception, so that asyncio logs nothing.
        self._attempt.add_done_callback(lambda task: task.cancelled() or task.exception())
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
            begin = partial(self._set_status, LauncherState.STARTING, address.url)
            server = LocalServer(address, client, self._settings, self._model, self._environment, self._backoff, begin)
            try:
                stopped = restart and await server.stop()
                await self._wait(address, client, server)
                await self._load_model(address, client)
            except BaseException:
                await client.aclose()
                raise
            finally:
                self._process = server.process or self._process
        except PellucidError as error:
            self._set_status(LauncherState.FAILED, self._known_url(), str(error))
            raise UnavailableError(str(error)) from error
        self._client, self._address = client, address
        self._backoff.ready()
        reconnected = restart and not stopped and server.process is None
        self._ready_message = _ready_message(address, reconnected=reconnected)
        self._set_status(LauncherState.READY, address.url, self._ready_message)
        await self._close_retired(keep=MAX_RETIRED_CLIENTS)
        return client

    async def _wait(self, address: ServerAddress, client: Client, server: LocalServer) -> None:
        silent: float | None = None
        async with aclosing(self._environment.check_times()) as checks:
            async for elapsed in checks:
                health = await client.server_health()
                silent = None if health.status is not HealthStatus.SILENT else elapsed if silent is None else silent
                match health.status:
                    case HealthStatus.READY | HealthStatus.AWAY:  # AWAY still answers for other models.
                        return
                    case HealthStatus.LOADING:
                        self._set_loading(health, address.url)
                    case HealthStatus.LEAVING:
                        self._set_status(LauncherState.STARTING, address.url, LEAVING)
                    case HealthStatus.ABSENT:
                        server.check_ended()
                        if not server.may_start:
                            raise UnavailableError(_absent_message(address))
                        await server.start()
                    case HealthStatus.FAILED:
                        if not await server.stop():
                            raise UnavailableError(f"The model server at {address.url} failed: {health.message}")
                    case HealthStatus.SILENT if silent is not None and elapsed - silent < SILENCE_SECONDS:
                        pass
                    case _:
                        raise UnavailableError(_refusal_message(address, health))

    async def _load_model(self, address: ServerAddress, client: Client) -> None:
        """Have the server load the model of the settings, if the model is not loaded."""
        if not self._model:
            return
        loading = asyncio.create_task(client.model_loads.load(self._model))
        try:
            while not (await asyncio.wait([loading], timeout=SLOW_SECONDS))[0]:
                health = await client.server_health(verified=False)
                if health.step is not None:
                    self._set_loading(health, address.url)
            await loading
        except (NotFoundError, NotSupportedError):
            return  # A request will report the models of the server.
        finally:
            loading.cancel()

    def _known_url(self) -> str:
        try:
            return find_address(self._settings, self._environment.variables, self._environment.config_file).url
        except ConfigError:
            return self._settings.url

    def _set_status(self, state: LauncherState, url: str, message: str, percent: int | None = None) -> None:
        status = LauncherStatus(state, message, url, percent)
        if status != self.status:
            self.status = status
            self._on_change()

    def _set_loading(self, health: ServerHealth, url: str) -> None:
        step = health.step or Work("its model")
        message = f"The model server is loading: {step.activity.rstrip('.')}."
        self._set_status(LauncherState.LOADING, url, message, step.percent)

    async def _close_retired(self, keep: int) -> None:
        while len(self._retired) > keep:
            await self._retired.pop(0).aclose()


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
