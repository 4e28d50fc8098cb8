"""Servers for API tests on an ephemeral port, with a tiny random model or scripted answers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn
from fastapi import FastAPI

from pellucid.api import app as api_app
from pellucid.api.app import create_app
from pellucid.api.page_routing import MountedPage
from pellucid.api.server_state import ServerState
from pellucid.client.assistant_protocol import Reader
from pellucid.config import load_settings
from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.port import Engine
from pellucid.engine.status import SlotStatus, Totals, WorkerStatus
from pellucid.fleet.fleet import Fleet
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import InfillFormat
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.store import Store
from pellucid.models.tokenizers.tokenizer import Conventions, Tokenizer, Vocabulary
from pellucid.serving.adapter_loading import LoadedAdapters
from pellucid.serving.graceful_server import uvicorn_config
from pellucid.serving.listening_socket import listen
from pellucid.serving.model_loading import LoadedModels
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import prompt_text
from pellucid.text.served_models import ServedModels
from pellucid.text.stopping import EndingRule
from pellucid.vocabulary.finish import Finish, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from support.fleet import over_fleet
from support.fleet.over_fleet import StandInFleet
from support.models.loaded_models import loaded_model
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_models import tiny_llama, to_decoder
from support.scripted_answers import Asked, play
from support.servers.quick_shutdown_server import QuickShutdownServer

MARKERS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    "<|file_sep|>",
)
INFILL = InfillFormat("spm2", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", repo=None)
TINY = "tiny"
TINY_PLAIN = "tiny-plain"
"""The same model without infill tokens."""
ADAPTER = "my-project"
ENGINE_CONTEXT = 512
"""Minimum context of a remote engine, to fit the text for the check."""


TOOLS_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}"
    "\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
)
"""A chat template with a place for tools."""


def byte_tokenizer(markers: Sequence[str] = MARKERS, template: str | None = None) -> Tokenizer:
    """Return a tokenizer of bytes, with markers after the bytes."""
    special = {text: 256 + index for index, text in enumerate(markers)}
    pieces: list[bytes | None] = [bytes([value]) for value in range(256)]
    ends = frozenset(special[text] for text in ("<|endoftext|>", "<|im_end|>") if text in special)
    words = Vocabulary(lambda: pieces, 256 + len(MARKERS), special)
    return Tokenizer(
        lambda text: list(text.encode()), words, Conventions(eos_ids=ends, chat_template=template), byte_level=True
    )


def tiny_assistant(
    slots: int = 4,
    context: int = 256,
    queue: int = 64,
    calibration: CalibrationFile | None = None,
    *,
    alone: bool = False,
) -> tuple[LocalAssistant, LocalEngine | Fleet]:
    """Return an assistant of two tiny random models of bytes, TINY_PLAIN without infill tokens.

    With ``alone``, only the model TINY, with a place for tools in the chat template.
    """
    decoder = to_decoder(tiny_llama(vocab_size=256 + len(MARKERS), max_position_embeddings=2048))
    models = [
        loaded_model(TINY, decoder, byte_tokenizer(template=TOOLS_TEMPLATE if alone else None), INFILL, calibration),
        loaded_model(TINY_PLAIN, decoder, byte_tokenizer(MARKERS[:3])),
    ][: 1 if alone else 2]
    computing = {model.name: model.model for model in models}
    if over_fleet.is_on():
        local = LocalEngine(
            computing, EngineSettings(slots=slots, context=max(context, ENGINE_CONTEXT) + 1, chunk=64, queue=queue)
        )
        fleet = StandInFleet(local, models, context, slots, queue)
        return LocalAssistant(fleet, models), fleet
    engine = LocalEngine(computing, EngineSettings(slots=slots, context=context, chunk=64, queue=queue))
    return LocalAssistant(engine, models), engine


def tiny_adapters(assistant: LocalAssistant, engine: LocalEngine | Fleet, root: Path) -> LoadedAdapters:
    """Return the adapters of the store in this folder, with the single adapter :data:`ADAPTER`."""
    assert isinstance(engine, LocalEngine), "remote engines have other adapters"
    store = Store(root)
    model = engine.model(TINY)
    assert isinstance(model, Decoder)
    write_adapter(store.adapters / ADAPTER, random_adapter(model.config))
    return LoadedAdapters(LoadedModels(load_settings(cache=root, adapter_slots=2), engine, assistant, {}))


def spoken(text: str, position: int = 4, id: int = 7) -> Token:
    """Return a token of an answer with rank 1 of two alternatives."""
    data = text.encode()
    top = (Alternative(id, text, data, -0.25), Alternative(id + 1, "other", b"other", -1.75))
    return Token(id, text, data, position, -0.25, 1, 0.5, top, rest=0.05, sampled=1.0)


class ScriptedModels(ServedModels):
    """Models of bytes with these cards, and with scripted answers."""

    def __init__(self, cards: Sequence[ModelCard]) -> None:
        tokenizer = byte_tokenizer()
        facts = ModelFacts(tokenizer.vocab_size, 64, 1, "scripted")
        models = [ServedModel(card.name, tokenizer, INFILL, None, Path(card.name), facts) for card in cards]
        super().__init__(cast("Engine", ScriptedEngine()), models)
        self._cards = cards

    def cards(self) -> list[ModelCard]:
        return [*self._cards]


@dataclass
class ScriptedAssistant(Reader):
    """Answers every generation with a script's tokens, and records queries and closed answers.

    ``before`` is awaited before each item, so that a test can pause an answer. ``next_edit`` is the
    form of proposals, if any.
    """

    script: Sequence[Token | Finish | Exception] = (spoken("Hello"), spoken(" world", 5, 8))
    before: Callable[[int], Any] | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    next_edit: str | None = None

    @property
    def models(self) -> ServedModels:
        return ScriptedModels(self.scripted_cards())

    def scripted_cards(self) -> list[ModelCard]:
        return [ModelCard(name=TINY, context=64, description="scripted", files=True, next_edit=self.next_edit)]

    def complete(
        self, query: CompletionQuery, *, endings: Sequence[EndingRule] = (), on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        return self._answer("complete", query)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        if on_usage is not None:
            on_usage(Usage(cached=1, computed=3))
        return self._answer("chat", query)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._answer("score", query)

    async def infill_prompt(self, query: CompletionQuery) -> str:
        return prompt_text(self.models.find(TINY), query)

    async def cards(self) -> list[ModelCard]:
        return self.models.cards()

    async def _answer(
        self, verb: str, query: CompletionQuery | ChatQuery | ScoreQuery
    ) -> AsyncGenerator[Token | Finish]:
        self.calls.append({"verb": verb} | {one.name: getattr(query, one.name) for one in fields(query)})
        try:
            async with aclosing(play(self.script, Asked(query), before=self.before, usage_of=_usage)) as items:
                async for item in items:
                    yield item
        finally:
            self.closed.set()


def _usage(generated: int) -> Usage:
    return Usage(cached=1, computed=3, generated=generated, prefill=0.5, decode=0.25)


class ScriptedEngine:
    """An engine of scripted answers: an idle slot and room for 128 requests.

    ``failure`` is the fatal error.
    """

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def context(self, model: str) -> int:
        return 64

    def uses_predictions(self, model: str) -> bool:
        """Return False, because answers are scripted."""
        return False

    def status(self, model: str) -> WorkerStatus:
        return WorkerStatus((SlotStatus(0, 0, busy=False),), 0, 0, 128, 0, 1, 0, 0, Totals())


@cache
def _prepared(_: tuple[str, ...]) -> FastAPI:
    app = create_app(ServerState(models=(TINY,)))
    app.state.routes.include_all()
    return app


def application(state: ServerState, page: MountedPage | None = None) -> FastAPI:
    """Return a server's application with the routes of all applications of the tests.

    FastAPI prepares a route with the first request, which takes a twentieth of a second.
    """
    app, prepared = create_app(state, page), _prepared(tuple(api_app.ROUTES))
    app.router.routes[:], app.state.routes = prepared.router.routes, prepared.state.routes
    return app


@dataclass
class LiveServer:
    """A server on a separate port, and a client of the server."""

    url: str
    port: int
    state: ServerState
    server: uvicorn.Server
    http: httpx.Client

    def shut_down(self) -> None:
        """Shut down as on a signal."""
        self.server.should_exit = True


class _Server(QuickShutdownServer):
    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.leave()
        await super().shutdown(sockets)


@contextmanager
def live(state: ServerState, page: MountedPage | None = None, proxies: Sequence[str] = ()) -> Iterator[LiveServer]:
    """Run a server with this state, and optionally with a page."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    config = uvicorn_config(application(state, page), proxies, log_level="critical", timeout_graceful_shutdown=10)
    server = _Server(config, state)
    started = threading.Event()
    config.load()

    async def main() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        started.set()
        await serving

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="test-server")
    thread.start()
    started.wait()
    url = f"http://127.0.0.1:{port}"
    try:
        # Without certificates, which would take time.
        with httpx.Client(base_url=url, timeout=120, trust_env=False, verify=False) as http:
            yield LiveServer(url, port, state, server, http)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


Script = Sequence[Token | Finish | Exception]


def scripted_state(
    assistant: ScriptedAssistant | Script | None = None, failure: Exception | None = None, **settings: Any
) -> ServerState:
    """Return a state with scripted answers, and with ``failure`` as the engine's fatal error."""
    state = ServerState(models=(TINY,), grace=settings.pop("grace", 0.0), **settings)
    if assistant is None or isinstance(assistant, Sequence):
        assistant = ScriptedAssistant() if assistant is None else ScriptedAssistant(assistant)
    state.open(cast("LocalAssistant", assistant), cast("Engine", ScriptedEngine(failure)))
    return state


@contextmanager
def live_scripted(
    assistant: ScriptedAssistant | Script | None = None, failure: Exception | None = None, **settings: Any
) -> Iterator[LiveServer]:
    """Run a server with scripted answers."""
    with live(scripted_state(assistant, failure, **settings)) as server:
        yield server


@contextmanager
def live_tiny(adapters: Path | None = None, state: ServerState | None = None, **settings: Any) -> Iterator[LiveServer]:
    """Run a server of tiny models, and optionally of an adapter in a store in a folder."""
    assistant, engine = tiny_assistant(**settings)
    state = state or ServerState(models=(TINY,), grace=0.0)
    stored = adapters is not None and isinstance(engine, LocalEngine)
    state.open(assistant, engine, tiny_adapters(assistant, engine, adapters) if adapters and stored else None)
    try:
        with live(state) as server:
            yield server
    finally:
        engine.close()


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the events of a stream, and check the events' names."""
    events = []
    for block in answer.text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events
