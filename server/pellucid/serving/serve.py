"""The server process."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shlex
import socket
import sys
import threading
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from pellucid.api.app import create_app
from pellucid.api.page_routing import MountedPage
from pellucid.api.routes.info import about, notice_of
from pellucid.api.server_state import ServerState
from pellucid.client.assistant_protocol import AssistantFor
from pellucid.config import Settings
from pellucid.door.plain_page import PageNotice
from pellucid.door.user_assistant import UserAssistant
from pellucid.door.users import Users
from pellucid.engine.port import Engine
from pellucid.errors import ConfigError
from pellucid.serving.graceful_server import GracefulServer
from pellucid.serving.listening_socket import listen
from pellucid.serving.server_parts import BuildParts, ServerParts
from pellucid.system.atomic_files import human
from pellucid.system.installed_version import installed_version
from pellucid.system.memory import memory_fields
from pellucid.system.progress import Noted
from pellucid.terminal.bars_on_demand import BarsOnDemand
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams

if TYPE_CHECKING:
    from pellucid.fleet.membership import Membership

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until a signal arrives. Raises a PellucidError."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings.check_user_limits()
    build = front_parts(settings) if settings.has_engines_elsewhere else local_parts(settings)
    with listen(settings.host, settings.port) as listener:
        server = Server(settings, build)
        typer.echo(f"Pellucid {installed_version()} listens at {settings.url}; Ctrl-C stops it.")
        server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    if server.loading:
        # The loader's native code cannot be interrupted, and would crash during a normal exit.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def local_parts(settings: Settings) -> BuildParts:
    from pellucid.serving import assemble  # Imports torch, which takes seconds.

    assemble.check_names(settings)
    return partial(assemble.assemble_server, settings)


def front_parts(settings: Settings) -> BuildParts:
    from pellucid.serving import assemble_front  # Imports HTTP clients.

    assemble_front.check_front(settings)
    return partial(assemble_front.assemble_front, settings)


class Server(GracefulServer):
    def __init__(self, settings: Settings, build: BuildParts) -> None:
        self.failure: Exception | None = None
        self._settings = settings
        self._build = build
        self._engine: Engine | None = None
        self._membership: Membership | None = None
        self._watch: asyncio.Future[None] | None = None  # The watch of remote engines.
        self._away: list[str] = []  # Models without a remote engine.
        self._has_greeted = False
        self._bars = BarsOnDemand()
        # A daemon, so that a download does not delay shutdown; the download resumes at the next
        # start.
        self._loader = threading.Thread(target=self._load, name="pellucid-load", daemon=True)
        self._state = ServerState(
            models=settings.models,
            host=settings.host,
            keys=settings.server_keys(),
            allowed_origins=settings.allowed_origins,
            allowed_hosts=settings.allowed_hosts,
            max_body_bytes=settings.max_body_bytes,
            grace=settings.grace,
            infill_window=settings.infill_window or None,
            strict_model=settings.strict_model,
            users=Users(settings.user_limits, share_prefixes=settings.share_prefixes),
            progress=Noted(self._bars),
        )
        app = create_app(self._state, page_of(settings, self._state) if settings.page else None)
        super().__init__(app, settings, self._state.leave, self._state.closing)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loader.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._watch is not None:
            self._watch.cancel()
        if self._engine is not None:
            self._engine.close()
        if self._membership is not None:
            await self._membership.close()

    @property
    def loading(self) -> bool:
        return self._loader.is_alive()

    def _load(self) -> None:
        loop = self._loop
        assert loop is not None, "startup runs in the loop"
        try:
            with self._bars:
                parts = self._build(self._state.progress)
            if parts.membership is None:  # Remote engines were warmed by their check.
                asyncio.run(warm_up(parts.assistant))
            loop.call_soon_threadsafe(self._open, parts)
        except Exception as error:
            # Unexpected errors end the process as well: endless loading would be worse.
            loop.call_soon_threadsafe(self._give_up, error)

    def _open(self, parts: ServerParts) -> None:
        self._engine = parts.engine
        gc.collect()
        gc.freeze()  # Loaded objects stay: a collection over them would stop all answers for a tenth of a second.
        self._state.open(parts.assistant, parts.engine, parts.adapters, parts.membership)
        self._membership = parts.membership
        if parts.membership is None:
            typer.echo(greeting(self._settings, parts.assistant))
        else:
            parts.membership.on_update.append(partial(self._report_engines, parts.assistant))
            self._watch = asyncio.ensure_future(parts.membership.watch())
        if self._settings.idle_exit:
            self._watch_idleness()

    async def _report_engines(self, assistant: LocalAssistant) -> None:
        away = self._state.models_away()
        if away and away != self._away:
            addresses = ", ".join(one.url for one in self._state.engines()) or "none is listed"
            logger.warning("Waiting for an engine of %s: %s.", ", ".join(away), addresses)
        self._away = away
        bases = {card.name for card in assistant.models.cards() if card.base is None}
        if not self._has_greeted and bases - set(away):
            self._has_greeted = True
            typer.echo(greeting(self._settings, assistant))

    def _watch_idleness(self) -> None:
        assert self._loop is not None
        self._state.idleness.watch(self._settings.idle_exit, self._leave_idle, self._loop.call_later)

    def _leave_idle(self) -> None:
        if any(status.running or status.waiting for status in self._state.statuses().values()):
            self._state.idleness.restart()  # An answer on the page continues without an open request.
            self._watch_idleness()
            return
        typer.echo(f"No request for {self._settings.idle_exit} seconds: exiting (--idle-exit).")
        self._state.leave()  # Immediately, so that no request arrives in between.
        self.should_exit = True

    def _give_up(self, error: Exception) -> None:
        self.failure = error
        self.should_exit = True


def page_of(settings: Settings, state: ServerState) -> MountedPage:
    """Return the page for the assistant of this process; its requests count for the users."""
    try:
        from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'The page needs {error.name}: run pip install "pellucid[webui]", or serve without the page (--no-page).'
        ) from error

    async def notice() -> PageNotice | None:
        return notice_of(state)

    def assistants() -> AssistantFor:
        return partial(UserAssistant, state.require_ready(), state.users)

    hooks = ServerHooks(assistants, notice, lambda: about(state), state.departing, state.closing)
    page = Page(hooks, PageSettings(settings.data, state.keys, settings.max_body_bytes, state.login_rate_limit))
    state.idleness.overlook(page.watches)
    return page


async def warm_up(assistant: LocalAssistant) -> None:
    """Generate a token with each model, to bring the weights into memory.

    An infill also builds the token healing index.
    """
    for card in assistant.models.cards():
        suffix = "" if card.infill else None
        async with aclosing(
            assistant.complete(CompletionQuery("a", suffix, params=SamplingParams(max_tokens=1), model=card.name))
        ) as items:
            async for _ in items:
                pass


def greeting(settings: Settings, assistant: LocalAssistant) -> str:
    cards = assistant.models.cards()
    lines = [f"model   {card.name}: {card.description}" for card in cards]
    lines.append(f"state   {memory_at_rest()}")
    lines.append(f"open    {settings.url}/")
    chat = {
        "messages": [{"role": "user", "content": "Reverse a string in Python."}],
        "stream": True,
        "logprobs": True,
        "top_logprobs": 5,
    }
    infill = {
        "input_prefix": "def add(a, b):\n    ",
        "input_suffix": "\n",
        "n_predict": 32,
        "n_probs": 3,
        "stream": True,
    }
    text = {"prompt": "Once upon a time", "max_tokens": 32, "stream": True, "logprobs": 3}
    tries = [curl(settings, "/infill", infill)] if cards[0].infill else []
    tries += [curl(settings, "/v1/chat/completions", chat)] if cards[0].chat else []
    lines += [
        f"{'' if number else 'try':8}{line}"
        for number, line in enumerate(tries or [curl(settings, "/v1/completions", text)])
    ]
    return "\n".join(lines)


def curl(settings: Settings, route: str, body: dict[str, Any]) -> str:
    """Return a curl command for a route; the key stays a shell variable."""
    key = ' -H "Authorization: Bearer $PELLUCID_API_KEY"' if settings.key else ""
    return f"curl -N {settings.url}{route}{key} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"


def memory_at_rest() -> str:
    fields = memory_fields()
    if not fields:
        return "memory at rest: not reported by this system"
    return f"memory at rest: {human(fields['VmRSS'])}, of which {human(fields['RssFile'])} is mapped from files"
