"""An assistant over HTTP, without torch or transformers."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from pellucid.client import wire
from pellucid.client.server_health import OWNER, HealthStatus, ServerHealth, health_of, objection_in, problem_at
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
from pellucid.vocabulary.finish import Finish, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

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
        """Load or reload an adapter. Return the entry."""
        return await self._reply("POST", "/v1/adapters", {"name": name, "model": model})

    async def unload_adapter(self, id: str) -> dict[str, Any]:
        """Unload an adapter by id (``model:name``) or name. Return the former entry."""
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
        return self._answer("complete", query, on_usage)

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._answer("chat", query, on_usage)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._answer("score", query, None)

    async def logprob_sums(self, query: ScoreQuery, texts: Sequence[str]) -> list[float | None]:
        body = {"query": wire.to_json(query), "texts": list(texts)}
        return list((await self._reply("POST", f"{wire.ROOT}logprob_sums", body))["sums"])

    async def _answer(
        self, verb: str, query: CompletionQuery | ChatQuery | ScoreQuery, on_usage: OnUsage | None
    ) -> AsyncGenerator[Token | Finish]:
        """Send a query as it is, and yield the tokens and the Finish of the answer."""
        route = f"{wire.ROOT}{verb}" + ("" if on_usage is None else "?usage=true")
        async with aclosing(self._rows(route, wire.to_json(query))) as rows:
            async for row in rows:
                item = wire.item_of(row)
                if not isinstance(item, Usage):
                    yield item
                elif on_usage is not None:
                    on_usage(item)
                if isinstance(item, Finish):
                    return
        raise UnavailableError("The server closed the connection during the answer.")

    async def _reply(self, method: str, route: str, body: Json | None = None) -> dict[str, Any]:
        async with self._translated_errors():
            response = await self._http.request(method, route, json=body)
        _check(response.status_code, response.content, response.headers)
        return _object(response.content)

    async def _rows(self, route: str, body: Json) -> AsyncGenerator[dict[str, Any]]:
        """Yield the rows of a streamed reply. Raises the server's error, also in mid-stream."""
        async with self._translated_errors(), self._http.stream("POST", route, json=body) as response:
            if response.status_code != httpx.codes.OK:
                _check(response.status_code, await response.aread(), response.headers)
            async for line in response.aiter_lines():
                row = _object(line)
                if "error" in row:
                    raise _error(int(row["error"].get("code", 500)), line, {})
                yield row

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


def _refuse_window(query: CompletionQuery) -> None:
    if query.window is not None:
        raise NotSupportedError("The window of an infill is a setting of the server: omit window.")


def _named(model: str | None) -> dict[str, Any]:
    """Return the fields for exactly this model (no fields for the default model)."""
    return {} if model is None else {"model": model, "strict_model": True}


def _files(query: CompletionQuery) -> list[dict[str, str]]:
    return [{"filename": file.filename, "text": file.text} for file in query.extra]


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

    Raises UnavailableError for different replies: Pellucid servers always send an object.
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
