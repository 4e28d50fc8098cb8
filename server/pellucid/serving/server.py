"""The server, imported while the models are loaded."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import shlex
import socket
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
from pellucid.serving.graceful_server import GracefulServer
from pellucid.serving.loading import Loading
from pellucid.serving.server_parts import ServerParts
from pellucid.system.atomic_files import human
from pellucid.system.memory import memory_fields
from pellucid.text.assistant import LocalAssistant

if TYPE_CHECKING:
    from pellucid.fleet.membership import Membership

logger = logging.getLogger(__name__)


class Server(GracefulServer):
    def __init__(self, settings: Settings, loading: Loading) -> None:
        self.failure: Exception | None = None
        self._settings = settings
        self._loading = loading
        self._loaded: asyncio.Future[ServerParts] | None = None
        self._engine: Engine | None = None
        self._membership: Membership | None = None
        self._watch: asyncio.Future[None] | None = None  # The watch of remote engines.
        self._away: list[str] = []  # Models without a remote engine.
        self._has_greeted = False
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
            progress=loading.progress,
        )
        app = create_app(self._state, page_of(settings, self._state) if settings.page else None)
        super().__init__(app, settings, self._state.leave, self._state.closing)

    @property
    def is_loading_a_model(self) -> bool:
        return self._state.loader is not None and self._state.loader.loading() is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loaded = asyncio.wrap_future(self._loading.parts)
        self._loaded.add_done_callback(self._end_loading)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._watch is not None:
            self._watch.cancel()
        if self._engine is not None:
            self._engine.close()
        if self._membership is not None:
            await self._membership.close()

    def _end_loading(self, loaded: asyncio.Future[ServerParts]) -> None:
        try:
            self._open(loaded.result())
        except Exception as error:
            # Unexpected errors end the process as well: endless loading would be worse.
            self.failure = error
            self.should_exit = True

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


def page_of(settings: Settings, state: ServerState) -> MountedPage:
    """Return the page for the assistant of this process; its requests count for the users."""
    from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks

    async def notice() -> PageNotice | None:
        return notice_of(state)

    def assistants() -> AssistantFor:
        return partial(UserAssistant, state.require_ready(), state.users)

    hooks = ServerHooks(assistants, lambda: state.loader, notice, lambda: about(state), state.departing, state.closing)
    page = Page(hooks, PageSettings(settings.data, state.keys, settings.max_body_bytes, state.login_rate_limit))
    state.idleness.overlook(page.watches)
    return page


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
