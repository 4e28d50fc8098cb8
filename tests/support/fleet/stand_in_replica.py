"""A vLLM server without vLLM: Pellucid's engine with vLLM's routes, traps and faults."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.request import Request
from pellucid.engine.token_mask import TokenMask, pack_ids
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.vllm_wire import ENTROPY_ID
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.serving.listening_socket import listen
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from pellucid.vocabulary.token import MAX_ALTERNATIVES
from support.servers.quick_shutdown_server import QuickShutdownServer

MAX_LOGPROBS = 200

FaultKind = Literal["cut", "error event", "refusal", "status", "garbage"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of an answer after ``tokens`` tokens; a ``status`` replaces the answer."""

    kind: FaultKind
    tokens: int = 0
    status: int = 500


@dataclass(frozen=True)
class OnlyThese:
    """A constraint to a list of ids, as in ``allowed_token_ids``."""

    mask: TokenMask

    @property
    def hides_refused(self) -> bool:
        return False

    def allowed(self) -> TokenMask:
        return self.mask

    def forced(self) -> list[int]:
        return []

    def advance(self, id: int) -> None:
        pass


@dataclass
class StandInReplica:
    """Serves the models of an engine by vLLM's routes.

    ``chunk`` tokens come in an event, as with speculation. ``faults`` apply to the next answers,
    one fault each, and move to ``fired``. ``before_token`` is awaited before each token of an
    answer. ``bodies`` and ``sessions`` have the values of all requests, ``running`` counts running
    answers, and ``is_well`` is the state of health. ``adapters`` maps a name to the computing model
    of the engine. With ``loads_adapters`` there are routes to load the adapters in ``folders``, a
    map from paths to models; ``commands`` has the requests for these routes.
    """

    engine: LocalEngine
    tokenizers: dict[str, Tokenizer]
    chunk: int = 1
    context: int = 1024
    version: str = "0.32.0"
    key: str | None = None
    # The models of adapters.
    parents: dict[str, str] = field(default_factory=dict)
    adapters: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)
    loads_adapters: bool = False
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    before_token: Any = None
    shift: float = 0.0
    # As the plugin in deploy/vllm_entropy does.
    reports_entropy: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[str | None] = field(default_factory=list)
    running: int = 0
    fired: list[Fault] = field(default_factory=list)
    is_well: bool = True

    @property
    def app(self) -> Starlette:
        """The server."""
        loading = [
            Route("/v1/load_lora_adapter", self._load_adapter, methods=["POST"]),
            Route("/v1/unload_lora_adapter", self._unload_adapter, methods=["POST"]),
        ]
        return Starlette(
            routes=[
                *(loading if self.loads_adapters else ()),
                Route("/version", self._version),
                Route("/health", self._health),
                Route("/v1/models", self._models),
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/inference/v1/generate", self._generate, methods=["POST"]),
            ]
        )

    async def _version(self, _: HttpRequest) -> Response:
        return JSONResponse({"version": self.version})

    async def _health(self, _: HttpRequest) -> Response:
        return Response(status_code=200 if self.is_well else 503)

    async def _models(self, _: HttpRequest) -> Response:
        cards = [self._card(name, None) for name in self.tokenizers] + [
            self._card(name, parent) for name, parent in self.parents.items()
        ]
        return JSONResponse({"object": "list", "data": cards})

    def _card(self, name: str, parent: str | None) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "owned_by": "vllm",
            "parent": parent,
            "max_model_len": None if parent else self.context,
        }

    async def _tokenize(self, request: HttpRequest) -> Response:
        body = await request.json()
        ids = self.tokenizers[body["model"]].encode(body["prompt"])
        return JSONResponse({"count": len(ids), "max_model_len": 64, "tokens": ids, "token_strs": None})

    async def _load_adapter(self, request: HttpRequest) -> Response:
        body = await request.json()
        self.commands.append(("load", body))
        name, path = body["lora_name"], body["lora_path"]
        if name in self.adapters and not body.get("load_inplace"):
            return refusal(400, f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput")
        if path not in self.folders:
            return refusal(404, f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError")
        self.adapters[name], self.parents[name] = self.folders[path], next(iter(self.tokenizers))
        return Response(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload_adapter(self, request: HttpRequest) -> Response:
        body = await request.json()
        self.commands.append(("unload", body))
        name = body["lora_name"]
        if name not in self.adapters:
            return refusal(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        del self.adapters[name], self.parents[name]
        return Response(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _generate(self, http: HttpRequest) -> Response:
        body = await http.json()
        self.bodies.append(body)
        self.sessions.append(http.headers.get("x-session-id"))
        if self.key is not None and http.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        sampling, ids = body["sampling_params"], body["token_ids"]
        model = body["model"]
        if model not in self.tokenizers and model not in self.adapters:
            return refusal(404, f"The model `{model}` does not exist.", "NotFoundError")
        tokenizer = self.tokenizers[model if model in self.tokenizers else self.parents[model]]
        model = model if model in self.tokenizers else self.adapters[model]
        wrong = next((id for id in ids if id >= tokenizer.vocab_size), None)
        if wrong is not None:
            return refusal(400, f"Token id {wrong} is out of vocabulary")
        if sampling.get("temperature", 1.0) > 2:
            return refusal(400, f"temperature must be in [0, 2], got {sampling['temperature']}.")
        if (sampling.get("logprobs") or 0) > MAX_LOGPROBS:
            return refusal(
                400,
                f"Requested sample logprobs of {sampling['logprobs']}, "
                f"which is greater than max allowed: {MAX_LOGPROBS}",
            )
        if len(ids) + 1 > self.context:
            return refusal(400, f"This model's maximum context length is {self.context} tokens.")
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and (fault.kind == "status" or not body.get("stream")):
            self.fired.append(fault)
        if fault is not None and fault.kind == "status":
            return refusal(fault.status, "EngineCore encountered an issue.", "InternalServerError")
        if not body.get("stream"):
            return JSONResponse({"choices": []}) if fault is not None else await self._read(model, ids, sampling)
        return StreamingResponse(self._events(model, body, fault), media_type="text/event-stream")

    async def _read(self, model: str, ids: Sequence[int], sampling: dict[str, Any]) -> Response:
        k = sampling.get("prompt_logprobs")
        request = Request(ids, SamplingParams(max_tokens=1, top_logprobs=min(k or 0, MAX_ALTERNATIVES)), score_from=0)
        async with aclosing(self.engine.generate(model, request)) as items:
            scores = [item async for item in items if isinstance(item, TokenScore) and item.position < len(ids)]
        rows = [None if score.logprob is None else self._row(score) for score in scores]
        usage = {"prompt_tokens": len(ids), "prompt_tokens_details": {"cached_tokens": 0}}
        choice = {"index": 0, "finish_reason": "length", "stop_reason": None, "token_ids": [0], "logprobs": None}
        return JSONResponse({"prompt_logprobs": None if k is None else rows, "usage": usage, "choices": [choice]})

    def _row(self, score: TokenScore) -> dict[str, Any]:
        content = self._content(score, MAX_LOGPROBS)
        return {str(one.pop("token_id")): one | {"decoded_token": None} for one in content["top_logprobs"]}

    async def _events(self, model: str, body: dict[str, Any], fault: Fault | None) -> AsyncIterator[str]:
        sampling, ids = body["sampling_params"], body["token_ids"]
        stops, sent, cached, held = set(sampling.get("stop_token_ids") or []), 0, 0, []
        reason: str | None = "length"
        stop: int | None = None
        self.running += 1
        try:
            async with aclosing(
                self.engine.generate(model, self._request(ids, sampling, body["priority"], body.get("cache_salt", "")))
            ) as items:
                async for item in items:
                    if isinstance(item, Finish):
                        cached = item.usage.cached
                        reason = "length" if item.reason is FinishReason.LENGTH else "abort"
                    if not isinstance(item, TokenScore):
                        continue
                    if self.before_token is not None:
                        await self.before_token(sent)
                    if fault is not None and sent == fault.tokens:
                        self.fired.append(fault)
                        if fault.kind == "error event":
                            yield error_line("EngineCore encountered an issue.", "InternalServerError", 500)
                            yield "data: [DONE]\n\n"
                        elif fault.kind == "refusal":
                            yield error_line("min_p is not supported.", "BadRequestError", 400)
                        elif fault.kind == "garbage":
                            yield "data: {nonsense\n\n"
                        if fault.kind == "cut":
                            raise ConnectionError("the replica was killed")
                        return
                    held.append(item)
                    sent += 1
                    if item.id in stops:
                        reason, stop = "stop", item.id
                        break
                    if len(held) == self.chunk:
                        yield self._event(held, None, None, sampling)
                        held = []
            yield self._event(held, reason, stop, sampling)
            usage = {
                "prompt_tokens": len(ids),
                "completion_tokens": sent,
                "prompt_tokens_details": {"cached_tokens": cached},
            }
            yield line({"request_id": "generate-tokens-1", "usage": usage, "output_mode": "tokens", "choices": []})
            yield "data: [DONE]\n\n"
        finally:
            self.running -= 1

    def _request(self, ids: Sequence[int], sampling: dict[str, Any], priority: int, salt: str) -> Request:
        names = (
            "max_tokens",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "repetition_penalty",
            "presence_penalty",
            "frequency_penalty",
            "seed",
        )
        params = SamplingParams(
            **{name: sampling[name] for name in names if name in sampling},
            logit_bias={int(id): bias for id, bias in sampling.get("logit_bias", {}).items()},
            top_logprobs=MAX_ALTERNATIVES,
        )
        allowed = sampling.get("allowed_token_ids")
        constraint = None if allowed is None else OnlyThese(pack_ids(allowed, max(allowed) + 1))
        return Request(ids, params, Terms(Priority(priority)), constraint=constraint, cache_salt=salt)

    def _event(
        self, scores: Sequence[TokenScore], reason: str | None, stop: int | None, sampling: dict[str, Any]
    ) -> str:
        choice = {
            "index": 0,
            "finish_reason": reason,
            "stop_reason": stop,
            "token_ids": [score.id for score in scores],
            "logprobs": {"content": [self._content(score, sampling["logprobs"]) for score in scores]},
        }
        return line({"request_id": "generate-tokens-1", "usage": None, "output_mode": "tokens", "choices": [choice]})

    def _content(self, score: TokenScore, wanted: int) -> dict[str, Any]:
        """Return a token's scores: the token, then the most probable alternatives that fit."""
        assert score.logprob is not None
        assert score.rank is not None
        before = 1 if self.reports_entropy else 0
        own = {"token_id": score.id, "logprob": score.logprob + self.shift, "rank": score.rank + before}
        others = [
            {"token_id": id, "logprob": logprob + self.shift, "rank": rank + before}
            for rank, (id, logprob) in enumerate(score.top, 1)
            if id != score.id
        ]
        if self.reports_entropy and score.entropy is not None:
            others.insert(0, {"token_id": ENTROPY_ID, "logprob": -score.entropy, "rank": 1})
        return own | {"top_logprobs": [dict(one) for one in [own, *others][:wanted]]}


def line(data: dict[str, Any]) -> str:
    """Return an event of a stream."""
    return f"data: {json.dumps(data)}\n\n"


def error_line(message: str, kind: str, code: int) -> str:
    return line({"error": {"message": message, "type": kind, "code": code}})


def refusal(status: int, message: str, kind: str = "BadRequestError") -> Response:
    """Return an error as vLLM does."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": status}}, status)


@contextmanager
def listening(replica: StandInReplica, port: int = 0) -> Iterator[str]:
    """Serve a replica in a thread, by default at a free port, and yield the address."""
    listener = listen("127.0.0.1", port)
    server = QuickShutdownServer(uvicorn.Config(replica.app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), name="stand-in-replica")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
