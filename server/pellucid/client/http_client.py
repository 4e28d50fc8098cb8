"""An assistant over HTTP, without torch or transformers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Self
from urllib.parse import quote

import httpx

from pellucid.client import wire
from pellucid.client.assistant_protocol import ModelLoad
from pellucid.client.connection import CONNECT_SECONDS, Connection, Json, no_address
from pellucid.client.server_health import OWNER, HealthStatus, ServerHealth, fault_in, health_of, problem_at, step_of
from pellucid.errors import NotSupportedError, UnavailableError
from pellucid.vocabulary.finish import Finish, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.model_facts import ModelFacts
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

_CERTAIN = (HealthStatus.FOREIGN, HealthStatus.REFUSED, HealthStatus.FORBIDDEN, HealthStatus.LEAVING)


class Administration:
    """Adapters and remote engines of a running server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def adapters(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/adapters."""
        return list((await self._connection.reply("GET", "/v1/adapters"))["data"])

    async def load_adapter(self, name: str, model: str | None = None) -> dict[str, Any]:
        return await self._connection.reply("POST", "/v1/adapters", {"name": name, "model": model})

    async def unload_adapter(self, id: str) -> dict[str, Any]:
        """Unload an adapter by id (``model:name``) or name. Return the former entry."""
        return await self._connection.reply("DELETE", f"/v1/adapters/{quote(id)}")

    async def engines(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/engines."""
        return list((await self._connection.reply("GET", "/v1/engines"))["data"])


class RemoteModelLoads:
    """An implementation of ``ModelLoads`` over HTTP."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self) -> list[ModelLoad]:
        found = (await self._connection.reply("GET", "/models"))["data"]
        statuses = [(one["id"], one["status"]) for one in found]
        return [ModelLoad(name, one["value"], step_of(one), one.get("expires")) for name, one in statuses]

    async def facts(self) -> Sequence[ModelFacts]:
        return [ModelFacts(**one) for one in (await self._connection.reply("GET", "/models/catalog"))["data"]]

    async def load(self, name: str) -> None:
        await self._connection.reply("POST", "/models/load", {"model": name})

    async def unload(self, name: str) -> None:
        await self._connection.reply("POST", "/models/unload", {"model": name})


class Client:
    """An ``Assistant`` that sends each query to the server at ``url``.

    Errors of the server are raised as classes of ``pellucid.errors``. Closing a generator cancels
    the request. ``transport`` replaces the network in tests.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.connection = Connection(self.url, api_key, transport)
        self.administration = Administration(self.connection)
        self.model_loads = RemoteModelLoads(self.connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self.connection.http.aclose()

    async def server_health(self, *, verified: bool = True) -> ServerHealth:
        """Return the health of the server, ``verified`` by a request that needs the key.

        Raises InvalidRequestError if the URL is not an address.
        """
        try:
            response = await self.connection.http.get("/health", timeout=CONNECT_SECONDS)
            health = health_of(response)
            if not verified or health.status in _CERTAIN:
                return health
            # The listing requires the key and names the owner of the models.
            listing = await self.connection.http.get("/v1/models", timeout=CONNECT_SECONDS)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return ServerHealth(HealthStatus.ABSENT)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise no_address(self.url, error) from error
        except httpx.HTTPError as error:
            return ServerHealth(HealthStatus.SILENT, str(error) or type(error).__name__)
        return fault_in(listing) or health

    async def infill_prompt(self, query: CompletionQuery) -> str:
        """Return the prompt of an infill with markers, and have the server cache the prompt."""
        if query.window is not None:
            raise NotSupportedError("The window of an infill is a setting of the server: omit window.")
        body: dict[str, Any] = {
            "input_prefix": query.prefix,
            "input_suffix": query.suffix or "",
            "input_extra": [{"filename": file.filename, "text": file.text} for file in query.extra],
        }
        body |= {"n_predict": 0, "response_fields": ["prompt"], **_named(query.model)}
        return str((await self.connection.reply("POST", "/infill", body))["prompt"])

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """Return the token ids of a text, with a leading BOS if the model requires a BOS."""
        body = {"content": text, "add_special": True, "parse_special": False, **_named(model)}
        return list((await self.connection.reply("POST", "/tokenize", body))["tokens"])

    async def models(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/models."""
        return list((await self.connection.reply("GET", "/v1/models"))["data"])

    async def cards(self) -> list[ModelCard]:
        """Raise UnavailableError while the models load."""
        models = await self.models()
        if any(model.get("owned_by") != OWNER for model in models):
            raise UnavailableError(f"{problem_at(self.url, HealthStatus.FOREIGN)}: check the address.")
        if any(model["meta"]["state"] == "loading" for model in models):
            raise UnavailableError(f"The server at {self.url} is still loading its models: try again in a moment.")
        return [_card(model["id"], model["meta"]) for model in models]

    async def report_outcomes(self, model: str, *, shown: int, accepted: int, id: str) -> None:
        """Report the numbers of shown and accepted suggestions of a model.

        The server counts each random ``id`` once. Raises NotFoundError for older servers, which do
        not count suggestions.
        """
        await self.connection.reply(
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
        return list((await self.connection.reply("POST", f"{wire.ROOT}logprob_sums", body))["sums"])

    async def _answer(
        self, verb: str, query: CompletionQuery | ChatQuery | ScoreQuery, on_usage: OnUsage | None
    ) -> AsyncGenerator[Token | Finish]:
        route = f"{wire.ROOT}{verb}" + ("" if on_usage is None else "?usage=true")
        async with aclosing(self.connection.rows(route, wire.to_json(query))) as rows:
            async for row in rows:
                item = wire.item_of(row)
                if not isinstance(item, Usage):
                    yield item
                elif on_usage is not None:
                    on_usage(item)
                if isinstance(item, Finish):
                    return
        raise UnavailableError("The server closed the connection during the answer.")


def _named(model: str | None) -> dict[str, Any]:
    """Return the fields for exactly this model (no fields for the default model)."""
    return {} if model is None else {"model": model, "strict_model": True}


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
        experts=meta.get("experts", False),
        reasoning=meta.get("reasoning", False),
        images=meta.get("images", False),
    )
