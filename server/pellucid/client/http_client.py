"""An assistant over HTTP, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from pellucid.client.server_health import OWNER, HealthStatus, ServerHealth, health_of, objection_in, problem_at
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
    ChatQuery,
    CompletionQuery,
    Finish,
    FinishReason,
    Grammar,
    JsonField,
    Message,
    ModelCard,
    NamedTool,
    OnUsage,
    OtherValue,
    ScoreQuery,
    Terms,
    Token,
    Usage,
)

CONNECT_SECONDS = 5.0
"""Time limit for connecting and for health replies. Other replies have no limit."""

Json = Mapping[str, Any]


class Client:
    """An ``Assistant`` that sends each query to the server at ``url``.

    Errors of the server are raised as classes of ``pellucid.errors``. Closing a generator cancels
    the request. ``transport`` replaces the network in tests.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        # Ignore proxies of the environment: requests to this machine must stay on this machine.
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def health(self) -> str | None:
        """Return the status ("ok") or why the server is not ready; `None` if no server answers."""
        try:
            response = await self._http.get("/health")
        except httpx.HTTPError:
            return None
        if response.status_code == httpx.codes.OK:
            return str(_object(response.content).get("status", ""))
        return str(_error(response.status_code, response.content, response.headers))

    async def server_health(self) -> ServerHealth:
        """Return the health of the server.

        Raises InvalidRequestError if the URL is not an address.
        """
        try:
            response = await self._http.get("/health", timeout=CONNECT_SECONDS)
            health = health_of(response)
            if health.status in (
                HealthStatus.FOREIGN,
                HealthStatus.REFUSED,
                HealthStatus.FORBIDDEN,
                HealthStatus.LEAVING,
            ):
                return health
            # The listing requires the key and names the owner of the models.
            listing = await self._http.get("/v1/models", timeout=CONNECT_SECONDS)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return ServerHealth(HealthStatus.ABSENT)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InvalidRequestError(
                f"{self.url} is not the address of a server ({str(error).rstrip('.')}): "
                "use one like http://127.0.0.1:8437."
            ) from error
        except httpx.HTTPError as error:
            return ServerHealth(HealthStatus.SILENT, str(error) or type(error).__name__)
        return objection_in(listing) or health

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return the prompt of an infill with markers, and have the server cache the prompt."""
        _refuse_window(query)
        body: dict[str, Any] = {
            "input_prefix": query.prefix,
            "input_suffix": query.suffix or "",
            "input_extra": _files(query),
        }
        body |= {"n_predict": 0, "response_fields": ["prompt"], **_named(query.model)}
        return str((await self._reply("POST", "/infill", body))["prompt"])

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """Return the token ids of a text, with a leading BOS if the model requires a BOS."""
        body = {"content": text, "add_special": True, "parse_special": False, **_named(model)}
        return list((await self._reply("POST", "/tokenize", body))["tokens"])

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/models."""
        return list((await self._reply("GET", "/v1/models"))["data"])

    async def cards(self) -> list[ModelCard]:
        """Return the models of the server, with the default model first.

        Raises UnavailableError while the models load.
        """
        models = await self.models()
        if any(model.get("owned_by") != OWNER for model in models):
            raise UnavailableError(f"{problem_at(self.url, HealthStatus.FOREIGN)}: check the address.")
        if any(model["meta"]["state"] != "ready" for model in models):
            raise UnavailableError(f"The server at {self.url} is still loading its models: try again in a moment.")
        return [_card(model["id"], model["meta"]) for model in models]

    async def adapters(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/adapters."""
        return list((await self._reply("GET", "/v1/adapters"))["data"])

    async def load_adapter(self, name: str, model: str | None = None) -> dict[str, Any]:
        """Load or reload an adapter. Return its entry."""
        return await self._reply("POST", "/v1/adapters", {"name": name, "model": model})

    async def unload_adapter(self, id: str) -> dict[str, Any]:
        """Unload an adapter by id (``model:name``) or name. Return its former entry."""
        return await self._reply("DELETE", f"/v1/adapters/{quote(id)}")

    async def engines(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/engines."""
        return list((await self._reply("GET", "/v1/engines"))["data"])

    async def report_outcomes(self, model: str, *, shown: int, accepted: int, id: str) -> None:
        """Report the numbers of shown and accepted suggestions of a model.

        The server counts each random ``id`` once. Raises NotFoundError for older servers, which do
        not count suggestions.
        """
        await self._reply(
            "POST", "/v1/suggestions/outcomes", {"model": model, "shown": shown, "accepted": accepted, "id": id}
        )

    def complete(self, query: CompletionQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Continue a text or token ids or, given a suffix, fill the gap before the suffix."""
        return self._generate("/v1/completions", partial(_completion_body, query), on_usage)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        """Answer a conversation or, with ``continue_last``, continue the last message."""
        return self._generate("/v1/chat/completions", partial(_chat_body, query), on_usage)

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        text = query.text
        if query.tools:
            raise NotSupportedError("A server cannot score a conversation with tools: leave them out.")
        body: dict[str, Any] = {**_named(query.model), "top_logprobs": query.top_logprobs, **_terms(query.terms)}
        if isinstance(text, str):
            body |= {"text": text, "parse_special": query.special}
        elif all(isinstance(item, int) for item in text):
            body["tokens"] = list(text)
        else:
            body["messages"] = [_message(item) for item in text if isinstance(item, Message)]
            if query.continue_last:  # Older servers do not know the field.
                body["continue_final_message"] = True
        if query.windows:  # Older servers do not know this field, either.
            body["windows"] = True
        if query.continued:
            body |= {"messages": [_message(message) for message in query.continued], "continue_final_message": True}
        if query.gap is not None and query.gap.special:
            body |= {"input_prefix": query.gap.prefix, "parse_special": True}
        elif query.gap is not None:
            body |= {
                "input_prefix": query.gap.prefix,
                "input_suffix": query.gap.suffix,
                "input_extra": _files(query.gap),
            }
        async with aclosing(self._events("/v1/score", body)) as events:
            async for event in events:
                for record in event.get("tokens", ()):
                    yield token_of(record)
                if event.get("usage"):
                    yield Finish(FinishReason(event["pellucid"]["reason"]), _usage(event["usage"]))
                    return
        raise _broken_off()

    async def _generate(
        self, route: str, make_body: Callable[[], dict[str, Any]], on_usage: OnUsage | None
    ) -> AsyncGenerator[Token | Finish]:
        """Yield tokens, then the Finish: reason from the last choice, usage from the next event."""
        body = make_body() | {"stream_options": {"include_usage": True, "continuous_usage_stats": on_usage is not None}}
        end: Json | None = None
        async with aclosing(self._events(route, body)) as events:
            async for event in events:
                if event["choices"] and event.get("usage") and on_usage is not None:
                    on_usage(_usage(event["usage"]))
                for choice in event["choices"]:
                    for record in _records(choice.get("logprobs")):
                        yield token_of(record)
                    end = choice.get("pellucid") or end
                if event.get("usage") and end and not event["choices"]:
                    difference = event["usage"]["pellucid"].get("first_difference")  # Absent in older servers.
                    yield Finish(
                        FinishReason(end["reason"]),
                        _usage(event["usage"]),
                        stop=end.get("stop"),
                        complete=end.get("complete"),
                        first_difference=difference,
                        loose_functions=tuple(end.get("loose_functions") or ()),
                        fields=None if end.get("fields") is None else tuple(_field(one) for one in end["fields"]),
                    )
                    return
        raise _broken_off()

    async def _reply(self, method: str, route: str, body: Json | None = None) -> dict[str, Any]:
        async with self._translated_errors():
            response = await self._http.request(method, route, json=body)
        _check(response.status_code, response.content, response.headers)
        return _object(response.content)

    async def _events(self, route: str, body: Json) -> AsyncGenerator[dict[str, Any]]:
        given = {name: value for name, value in body.items() if value is not None} | {"stream": True}
        async with self._translated_errors(), self._http.stream("POST", route, json=given) as response:
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
    async def _translated_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise UnavailableError(f"No server answers at {self.url}: start one with pellucid serve.") from error
        except httpx.InvalidURL as error:
            raise InvalidRequestError(
                f"{self.url} is not the address of a server ({str(error).rstrip('.')}): "
                "use one like http://127.0.0.1:8437."
            ) from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"The connection to {self.url} failed: {error or type(error).__name__}.") from error


def _completion_body(query: CompletionQuery) -> dict[str, Any]:
    _refuse_window(query)
    return {
        "prompt": query.prefix if isinstance(query.prefix, str) else list(query.prefix),
        "suffix": query.suffix,
        "input_extra": _files(query) or None,
        "heal": query.heal,
        "parse_special": query.special,
        "logprobs": query.params.top_logprobs,
        **_sampling(query),
    }


def _chat_body(query: ChatQuery) -> dict[str, Any]:
    return {
        "messages": [_message(message) for message in query.messages],
        "logprobs": True,
        "top_logprobs": query.params.top_logprobs,
        "continue_final_message": query.continue_last,
        **({"prediction": {"type": "content", "content": query.prediction}} if query.prediction else {}),
        **_tools(query),
        **_sampling(query),
    }


def _refuse_window(query: CompletionQuery) -> None:
    if query.window is not None:
        raise NotSupportedError("The window of an infill is a setting of the server: omit window.")


def _named(model: str | None) -> dict[str, Any]:
    """Return the fields that require exactly this model (no fields for the default model)."""
    return {} if model is None else {"model": model, "strict_model": True}


def _sampling(query: CompletionQuery | ChatQuery) -> dict[str, Any]:
    """Return all sampling fields, so that no default of the server takes effect."""
    params = query.params
    return {
        **_named(query.model),
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
        "stop": list(query.stop),
        "structured_outputs": _structured_outputs(query.grammar),
        **_terms(query.terms),
    }


def _structured_outputs(grammar: Grammar | None) -> dict[str, Any] | None:
    """Return the field for a grammar in vLLM's format, which supports all kinds of grammar."""
    if grammar is None:
        return None
    white: dict[str, Any] = {} if grammar.whitespace is None else {"whitespace_pattern": grammar.whitespace}
    if grammar.whitespace == "":
        white = {"disable_any_whitespace": True}
    match grammar.kind:
        case "json_schema":
            return {"json": grammar.text, **white}
        case "json_object":
            return {"json_object": True, **white}
        case "choice":
            try:
                return {"choice": json.loads(grammar.text)}
            except ValueError as error:
                raise InvalidRequestError(f"The choices are not a JSON list: {error}.", param=grammar.field) from None
        case _:
            return {grammar.kind: grammar.text}


def _files(query: CompletionQuery) -> list[dict[str, str]]:
    return [{"filename": file.filename, "text": file.text} for file in query.extra]


def _terms(terms: Terms) -> dict[str, Any]:
    return {"priority": terms.priority.name.lower(), "supersede": terms.key, "deadline": terms.deadline}


def _records(logprobs: Json | None) -> Iterable[Json]:
    if logprobs is None:
        return ()
    return [entry["pellucid"] for entry in logprobs["content"]] if "content" in logprobs else logprobs["pellucid"]


def _usage(usage: Json) -> Usage:
    """Return the usage, without a newer server's unknown fields; missing fields are 0."""
    details = usage["pellucid"]
    return Usage(**{field.name: details[field.name] for field in fields(Usage) if field.name in details})


def _field(record: Json) -> JsonField:
    other = record.get("other")
    return JsonField(
        path=record["path"],
        value=record["value"],
        probability=record["probability"],
        mass=record["mass"],
        decided=record["decided"],
        other=None if other is None else OtherValue(other["value"], other["probability"]),
    )


def _tools(query: ChatQuery) -> dict[str, Any]:
    """Return the tool fields, empty without tools so that older servers accept the query."""
    choice = query.tool_choice
    named = {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice
    if not query.tools and named == "auto":
        return {}
    several = {} if query.parallel_tool_calls is None else {"parallel_tool_calls": query.parallel_tool_calls}
    return {"tools": list(query.tools), "tool_choice": named, **several}


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    optional = {"tool_calls": calls or None, "tool_call_id": message.tool_call_id, "name": message.name}
    return {"role": message.role, "content": message.content} | {
        key: value for key, value in optional.items() if value is not None
    }


def _card(name: str, meta: Json) -> ModelCard:
    """Return a model of /v1/models; some fields are missing in older servers."""
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
        edit_calibration=meta.get("edit_calibration"),
        edit_calibration_note=meta.get("edit_calibration_note"),
        next_edit=meta.get("next_edit"),
    )


def _object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object.

    Raises UnavailableError for other replies, which no Pellucid server sends.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UnavailableError("The server is not a Pellucid server: its reply is not a JSON object.")
    return value


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
    detail = _object(content).get("error") or {}
    message = str(detail.get("message") or f"The server answered with status {status}.")
    if detail.get("type") == ContextLengthError.type and "n_ctx" in detail:
        return ContextLengthError(
            detail["n_prompt_tokens"],
            detail["n_ctx"],
            all_there_is=detail.get("n_ctx_is_all", False),
            is_least=detail.get("n_prompt_tokens_is_least", False),
        )
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return QueueFullError(message, int(headers.get("retry-after", 1)))
    if status in _BY_STATUS:
        return _BY_STATUS[status](message)
    return InvalidRequestError(message, detail.get("param")) if 400 <= status < 500 else PellucidError(message)


def _broken_off() -> UnavailableError:
    return UnavailableError("The server closed the connection during the answer: try again.")
