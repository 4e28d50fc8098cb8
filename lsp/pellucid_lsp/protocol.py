"""Extends pygls' protocol: accepts messages that it cannot read, and reads the parameters of our own methods."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.protocol import LanguageServerProtocol

from pellucid.errors import InvalidRequestError, PellucidError

Handler = TypeVar("Handler", bound=Callable[..., Any])

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character that takes two code units in UTF-16."""


class Protocol(LanguageServerProtocol):
    """Accepts messages of unknown methods without params, as JSON-RPC allows, and answers requests that it cannot read."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Return the message in a JSON object. A request that cannot be read gets an error response, because its sender waits."""
        data = {_whole(name): _whole(value) for name, value in data.items()}
        if "jsonrpc" not in data:
            return data  # a nested object
        if "method" in data and "params" not in data and self.get_message_type(data["method"]) is None:
            data = {**data, "params": None}
        try:
            return super().structure_message(data)
        except JsonRpcException:
            if "id" in data and "method" in data:
                wrong = JsonRpcInvalidParams(
                    message=f"The parameters of {data['method']} do not follow the protocol: correct the client's request."
                )
                self._send_response(data["id"], error=wrong.to_response_error())
            raise


def _whole(value: Any) -> Any:
    r"""Replace lone surrogates, which JSON may contain as ``"\ud800"``: no file, model or client accepts them.

    The replacement character has the same width in UTF-16, so positions stay valid. Nested objects were read before.
    """
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value


class Params:
    """The parameters of one of our own methods. Fields may be missing or of any type until they are read."""

    def __init__(self, given: object, method: str) -> None:
        self._given = given
        self._method = method

    def text(self, name: str) -> str | None:
        """Return a string, or None if the field is missing. Raise InvalidRequestError for another type."""
        value: str | None = self._field(name, str, "a string")
        return value

    def number(self, name: str) -> int | None:
        """Return a whole number of 0 or more, or None if the field is missing. Raise InvalidRequestError for anything else."""
        value: int | None = self._field(name, int, "a whole number of 0 or more")
        if value is not None and value < 0:
            raise self.wrong(name, "a whole number of 0 or more")
        return value

    def part(self, name: str) -> Params | None:
        """Return an object, or None if the field is missing."""
        value = getattr(self._given, name, None)
        return None if value is None else Params(value, f"{self._method}: {name}")

    def required(self, name: str, value: Any) -> Any:
        """Return a value that was read. Raise InvalidRequestError if it is None."""
        if value is None:
            raise InvalidRequestError(f"{self._method} needs {name}.", param=name)
        return value

    def wrong(self, name: str, rule: str) -> InvalidRequestError:
        """Return the error for a field that breaks a rule."""
        return InvalidRequestError(f"{self._method}: {name} should be {rule}, not {getattr(self._given, name)!r}.", param=name)

    def _field(self, name: str, kind: type[Any], rule: str) -> Any:
        value = getattr(self._given, name, None)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise self.wrong(name, rule)
        return value


def with_error_responses(handler: Handler) -> Handler:
    """Return a handler whose PellucidErrors become errors of the protocol with the same message."""
    if asyncio.iscoroutinefunction(handler):

        @wraps(handler)
        async def answer_later(*arguments: Any) -> Any:
            try:
                return await handler(*arguments)
            except PellucidError as error:
                raise _error(error) from error

        return answer_later  # type: ignore[return-value]  # of the same signature

    @wraps(handler)
    def answer(*arguments: Any) -> Any:
        try:
            return handler(*arguments)
        except PellucidError as error:
            raise _error(error) from error

    return answer  # type: ignore[return-value]  # of the same signature


def _error(error: PellucidError) -> JsonRpcException:
    code = types.ErrorCodes.InvalidParams if isinstance(error, InvalidRequestError) else types.LSPErrorCodes.RequestFailed
    return JsonRpcException(message=str(error), code=code.value)
