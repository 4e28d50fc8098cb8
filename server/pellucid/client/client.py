"""An assistant at the other end of HTTP: the verbs and nouns of ``assistant.Assistant``, without its weight."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from pellucid.client.server_health import OWNER, HealthStatus, ServerHealth, condition_of, objection_in
from pellucid.client.token_json import token_of
from pellucid.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    PellucidError,
    PermissionDeniedError,
    QueueFullError,
    UnavailableError,
)
from pellucid.tokens import (
    BACKGROUND,
    CHAT,
    COMPLETION,
    GREEDY,
    Extra,
    Finish,
    FinishReason,
    Message,
    ModelCard,
    OnUsage,
    SamplingParams,
    Terms,
    Token,
    Usage,
)

CONNECT_SECONDS = 5.0
"""How long a connection may take, and an answer about the server's condition; other answers may take as long as they need."""

Json = Mapping[str, Any]


class Client:
    """Speaks to the server at ``url``. Errors of the server come as the classes of ``pellucid.errors``.

    Every verb is an async generator of tokens with a Finish as its last item; closing it closes the connection, which
    cancels the request. ``transport`` replaces the network, for tests.
    """

    def __init__(self, url: str, api_key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        # No proxy of the environment's: what is asked of this machine does not leave it.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def health(self) -> str | None:
        """What the server says of itself ("ok"), its reason why it is not ready yet, or None where no server answers."""
        try:
            response = await self._http.get("/health")
        except httpx.HTTPError:
            return None
        if response.status_code == httpx.codes.OK:
            return str(_object(response.content).get("status", ""))
        return str(_error(response.status_code, response.content, response.headers))

    async def condition(self) -> ServerHealth:
        """What is found at the address now, and whether it is ours; raises InvalidRequestError for what is no address."""
        try:
            response = await self._http.get("/health", timeout=CONNECT_SECONDS)
            found = condition_of(response)
            if found.standing in (HealthStatus.FOREIGN, HealthStatus.REFUSED, HealthStatus.FORBIDDEN, HealthStatus.LEAVING):
                return found
            listing = await self._http.get("/v1/models", timeout=CONNECT_SECONDS)  # which needs the key, and says whose server this is
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return ServerHealth(HealthStatus.ABSENT)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidRequestError(f"{self.url} is not the address of a server: {str(error).rstrip('.')}.") from error
        except httpx.HTTPError as error:
            return ServerHealth(HealthStatus.SILENT, str(error) or type(error).__name__)
        return objection_in(listing) or found

    async def infill_prompt(self, prefix: str, suffix: str, extra: Sequence[Extra] = (), *, model: str | None = None) -> str:
        """The prompt of an infill as the model reads it, its markers included; the server has it in its cache after that."""
        files = [{"filename": file.filename, "text": file.text} for file in extra]
        body = {"input_prefix": prefix, "input_suffix": suffix, "input_extra": files, "n_predict": 0, "response_fields": ["prompt"]}
        async with self._told():
            response = await self._http.post("/infill", json=body | ({} if model is None else {"model": model}))
        _check(response.status_code, response.content, response.headers)
        return str(_object(response.content)["prompt"])

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """The ids of a text, the BOS in front where the model wants one."""
        body = {"content": text, "add_special": True, "parse_special": False} | ({} if model is None else {"model": model})
        async with self._told():
            response = await self._http.post("/tokenize", json=body)
        _check(response.status_code, response.content, response.headers)
        return list(_object(response.content)["tokens"])

    async def models(self) -> list[dict[str, Any]]:
        """The models that are served, as /v1/models lists them."""
        async with self._told():
            response = await self._http.get("/v1/models")
        _check(response.status_code, response.content, response.headers)
        return list(_object(response.content)["data"])

    async def cards(self) -> list[ModelCard]:
        """What there is to know about the models that are served. Raises UnavailableError while they load."""
        models = await self.models()
        if any(model.get("owned_by") != OWNER for model in models):
            raise UnavailableError(f"What answers at {self.url} is not a Pellucid server.")
        if any(model["meta"]["state"] != "ready" for model in models):
            raise UnavailableError(f"The server at {self.url} is still loading its models.")
        return [_card(model["id"], model["meta"]) for model in models]

    async def adapters(self) -> list[dict[str, Any]]:
        """The adapters that the server has and could load, as /v1/adapters lists them."""
        async with self._told():
            response = await self._http.get("/v1/adapters")
        _check(response.status_code, response.content, response.headers)
        return list(_object(response.content)["data"])

    async def load_adapter(self, name: str, model: str | None = None) -> dict[str, Any]:
        """Load an adapter out of the server's folder, or load it again, and give it as /v1/adapters lists it."""
        async with self._told():
            response = await self._http.post("/v1/adapters", json={"name": name} | ({} if model is None else {"model": model}))
        _check(response.status_code, response.content, response.headers)
        return _object(response.content)

    async def unload_adapter(self, id: str) -> dict[str, Any]:
        """Unload an adapter by its id, ``model:name``, or its name, and give it as it was."""
        async with self._told():
            response = await self._http.delete(f"/v1/adapters/{quote(id)}")
        _check(response.status_code, response.content, response.headers)
        return _object(response.content)

    async def complete(
        self,
        prefix: str,
        suffix: str | None = None,
        extra: Sequence[Extra] = (),
        params: SamplingParams = GREEDY,
        *,
        model: str | None = None,
        stop: Sequence[str] = (),
        terms: Terms = COMPLETION,
        heal: bool | None = None,
        special: bool = False,
        on_usage: OnUsage | None = None,
    ) -> AsyncGenerator[Token | Finish]:
        """Continue a text or, with ``suffix``, fill the gap before it."""
        files = [{"filename": file.filename, "text": file.text} for file in extra] or None
        body = {"prompt": prefix, "suffix": suffix, "input_extra": files, "heal": heal, "parse_special": special}
        async with aclosing(self._completion(body, params, model, stop, terms, on_usage)) as items:
            async for item in items:
                yield item

    async def continue_ids(
        self,
        ids: Sequence[int],
        params: SamplingParams = GREEDY,
        *,
        model: str | None = None,
        stop: Sequence[str] = (),
        terms: Terms = COMPLETION,
        on_usage: OnUsage | None = None,
    ) -> AsyncGenerator[Token | Finish]:
        """Continue a prompt of token ids."""
        async with aclosing(self._completion({"prompt": list(ids)}, params, model, stop, terms, on_usage)) as items:
            async for item in items:
                yield item

    async def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams = GREEDY,
        *,
        model: str | None = None,
        stop: Sequence[str] = (),
        terms: Terms = CHAT,
        continue_last: bool = False,
        on_usage: OnUsage | None = None,
    ) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation or, with ``continue_last``, go on with its last message."""
        body = {
            "messages": [_message(message) for message in messages],
            "logprobs": True,
            "top_logprobs": params.top_logprobs,
            "continue_final_message": continue_last,
            "stream_options": _stream_options(on_usage),
            **_sampling(params, model, stop, terms),
        }
        async with aclosing(self._events("/v1/chat/completions", body)) as events:
            async for item in _answer(events, on_usage):
                yield item

    async def score(
        self,
        text: str | Sequence[int] | Sequence[Message],
        *,
        model: str | None = None,
        top_logprobs: int = 0,
        terms: Terms = BACKGROUND,
        special: bool = False,
    ) -> AsyncGenerator[Token | Finish]:
        """Read a text, token ids or a conversation: the tokens that are there, with their probabilities."""
        body: dict[str, Any] = {"model": model, "top_logprobs": top_logprobs, **_terms(terms)}
        if isinstance(text, str):
            body |= {"text": text, "parse_special": special}
        elif all(isinstance(item, int) for item in text):
            body["tokens"] = list(text)
        else:
            body["messages"] = [_message(item) for item in text if isinstance(item, Message)]
        async with aclosing(self._events("/v1/score", body)) as events:
            async for event in events:
                for record in event.get("tokens", ()):
                    yield token_of(record)
                if event.get("usage"):
                    yield Finish(FinishReason(event["pellucid"]["reason"]), _usage(event["usage"]))
                    return
        raise _broken_off()

    async def _completion(
        self,
        body: dict[str, Any],
        params: SamplingParams,
        model: str | None,
        stop: Sequence[str],
        terms: Terms,
        on_usage: OnUsage | None,
    ) -> AsyncGenerator[Token | Finish]:
        body |= {"logprobs": params.top_logprobs, "stream_options": _stream_options(on_usage), **_sampling(params, model, stop, terms)}
        async with aclosing(self._events("/v1/completions", body)) as events:
            async for item in _answer(events, on_usage):
                yield item

    async def _events(self, route: str, body: Json) -> AsyncGenerator[dict[str, Any]]:
        """The objects of a stream of server-sent events, up to its end or the first error."""
        given = {name: value for name, value in body.items() if value is not None} | {"stream": True}
        async with self._told(), self._http.stream("POST", route, json=given) as response:
            if response.status_code != httpx.codes.OK:
                _check(response.status_code, await response.aread(), response.headers)
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                event = _object(data)
                if "error" in event:
                    raise _error(int(event["error"].get("code", 500)), data, {})
                yield event

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Tell what goes wrong with the connection in our own words."""
        try:
            yield
        except httpx.ConnectError as error:
            raise UnavailableError(f"No server answers at {self.url}: start one with pellucid serve.") from error
        except httpx.InvalidURL as error:
            raise InvalidRequestError(f"{self.url} is not the address of a server: {str(error).rstrip('.')}.") from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"The connection to {self.url} failed: {error or type(error).__name__}.") from error


def _sampling(params: SamplingParams, model: str | None, stop: Sequence[str], terms: Terms) -> dict[str, Any]:
    """Every field of the request that says how to sample, so that no default of the server's shows."""
    return {
        "model": model,
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "logit_bias": {str(id): bias for id, bias in params.logit_bias.items()},
        "seed": params.seed,
        "ignore_eos": params.ignore_eos,
        "stop": list(stop),
        **_terms(terms),
    }


def _terms(terms: Terms) -> dict[str, Any]:
    return {"priority": terms.priority.name.lower(), "supersede": terms.key, "deadline": terms.deadline}


def _stream_options(on_usage: OnUsage | None) -> Json:
    return {"include_usage": True, "continuous_usage_stats": on_usage is not None}


async def _answer(events: AsyncIterator[dict[str, Any]], on_usage: OnUsage | None) -> AsyncGenerator[Token | Finish]:
    """Tokens of a streamed answer, then how it ended: the last choice says why, the event after it what it cost."""
    end: Json | None = None
    async for event in events:
        if event["choices"] and event.get("usage") and on_usage is not None:
            on_usage(_usage(event["usage"]))
        for choice in event["choices"]:
            for record in _records(choice.get("logprobs")):
                yield token_of(record)
            end = choice.get("pellucid") or end
        if event.get("usage") and end and not event["choices"]:
            yield Finish(FinishReason(end["reason"]), _usage(event["usage"]), end.get("stop"))
            return
    raise _broken_off()


def _records(logprobs: Json | None) -> Iterable[Json]:
    if logprobs is None:
        return ()
    return [entry["pellucid"] for entry in logprobs["content"]] if "content" in logprobs else logprobs["pellucid"]


def _usage(usage: Json) -> Usage:
    """What a request cost; a newer server may tell more than is known here."""
    told = usage["pellucid"]
    return Usage(**{field.name: told[field.name] for field in fields(Usage)})


def _message(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _card(name: str, meta: Json) -> ModelCard:
    """A model as /v1/models tells of it; an older server tells no chat template, revision and calibration."""
    return ModelCard(
        name=name,
        context=meta["n_ctx"],
        infill=meta["infill"],
        chat=meta["chat"],
        weight_bytes=meta["memory"]["weights"],
        description=meta["description"],
        licence=meta["licence"],
        chat_template=meta.get("chat_template"),
        files=meta["files"],
        base=meta.get("base"),
        adapter=meta.get("adapter"),
        revision=meta.get("revision"),
        calibration=meta.get("calibration"),
        calibration_note=meta.get("calibration_note"),
    )


def _object(text: str | bytes) -> dict[str, Any]:
    """The JSON object; a server that sends anything else is not Pellucid's."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnavailableError("What answers there is not a Pellucid server: its reply is not a JSON object.")
    return found


def _check(status: int, content: bytes, headers: Mapping[str, str]) -> None:
    if status != httpx.codes.OK:
        raise _error(status, content, headers)


_BY_STATUS: dict[int, type[PellucidError]] = {
    httpx.codes.UNAUTHORIZED: AuthenticationError,
    httpx.codes.FORBIDDEN: PermissionDeniedError,
    httpx.codes.NOT_FOUND: NotFoundError,
    httpx.codes.NOT_IMPLEMENTED: NotSupportedError,
    httpx.codes.SERVICE_UNAVAILABLE: UnavailableError,
}


def _error(status: int, content: str | bytes, headers: Mapping[str, str]) -> PellucidError:
    """The server's error as an exception of ours, by its status."""
    detail = _object(content).get("error") or {}
    message = str(detail.get("message") or f"The server answered with status {status}.")
    if detail.get("type") == ContextLengthError.type and "n_ctx" in detail:
        return ContextLengthError(detail["n_prompt_tokens"], detail["n_ctx"], all_there_is=detail.get("n_ctx_is_all", False))
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return QueueFullError(message, int(headers.get("retry-after", 1)))
    if status in _BY_STATUS:
        return _BY_STATUS[status](message)
    return InvalidRequestError(message, detail.get("param")) if 400 <= status < 500 else PellucidError(message)


def _broken_off() -> UnavailableError:
    return UnavailableError("The server ended the connection in the middle of the answer.")
