"""The connection to a Pellucid server: JSON replies, streamed rows, and errors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

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

CONNECT_SECONDS = 5.0
"""Time limit for connecting and for health replies. Other replies have no limit."""

Json = Mapping[str, Any]


class Connection:
    """``transport`` replaces the network in tests."""

    def __init__(self, url: str, api_key: str | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self.url = url
        # Ignore proxies of the environment: requests to this machine must stay on this machine.
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=False,
        )

    async def reply(self, method: str, route: str, body: Json | None = None) -> dict[str, Any]:
        async with self._translated_errors():
            response = await self.http.request(method, route, json=body)
        _check(response.status_code, response.content, response.headers)
        return json_object(response.content)

    async def rows(self, route: str, body: Json) -> AsyncGenerator[dict[str, Any]]:
        """Yield the rows of a streamed reply. Raises the server's error, also in mid-stream."""
        async with self._translated_errors(), self.http.stream("POST", route, json=body) as response:
            if response.status_code != httpx.codes.OK:
                _check(response.status_code, await response.aread(), response.headers)
            async for line in response.aiter_lines():
                row = json_object(line)
                if "error" in row:
                    raise error_of(int(row["error"].get("code", 500)), line, {})
                yield row

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise UnavailableError(f"No server answers at {self.url}: start one with pellucid serve.") from error
        except httpx.InvalidURL as error:
            raise no_address(self.url, error) from error
        except httpx.HTTPError as error:
            raise UnavailableError(f"The connection to {self.url} failed: {error or type(error).__name__}.") from error


def no_address(url: str, error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"{url} is not the address of a server ({str(error).rstrip('.')}): use one like http://127.0.0.1:8437."
    )


def json_object(text: str | bytes) -> dict[str, Any]:
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
        raise error_of(status, content, headers)


_BY_STATUS: dict[int, type[PellucidError]] = {
    httpx.codes.UNAUTHORIZED: AuthenticationError,
    httpx.codes.FORBIDDEN: PermissionDeniedError,
    httpx.codes.NOT_FOUND: NotFoundError,
    httpx.codes.NOT_IMPLEMENTED: NotSupportedError,
    httpx.codes.SERVICE_UNAVAILABLE: UnavailableError,
}


def error_of(status: int, content: str | bytes, headers: Mapping[str, str]) -> PellucidError:
    detail = json_object(content).get("error") or {}
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
