"""The Language Server Protocol as pygls speaks it, but for messages that it would trip over."""

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
"""Half of a character that is two in UTF-16."""


class Protocol(LanguageServerProtocol):
    """Takes messages of unknown methods that come without params, as JSON-RPC allows, and answers what it cannot understand."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """The message that the object is. A request that cannot be understood is answered so: its sender waits."""
        data = {_whole(name): _whole(value) for name, value in data.items()}
        if "jsonrpc" not in data:
            return data  # a part of a message
        if "method" in data and "params" not in data and self.get_message_type(data["method"]) is None:
            data = {**data, "params": None}
        try:
            return super().structure_message(data)
        except JsonRpcException:
            if "id" in data and "method" in data:
                wrong = JsonRpcInvalidParams(message=f"The parameters of {data['method']} are not those of the protocol.")
                self._send_response(data["id"], error=wrong.to_response_error())
            raise


def _whole(value: Any) -> Any:
    r"""Replace lone surrogates, which JSON may hold as ``"\ud800"``: no file, model or client can be given one.

    A replacement character is as wide in UTF-16, so that positions stay what they are. Objects within were read before.
    """
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value


class Params:
    """The params of a request of our own, whose fields may be missing or of any type."""

    def __init__(self, given: object, method: str) -> None:
        self._given = given
        self._method = method

    def text(self, name: str) -> str | None:
        """A text, or None where there is none; raises InvalidRequestError for anything else."""
        value: str | None = self._field(name, str, "a text")
        return value

    def number(self, name: str) -> int | None:
        """A whole number of 0 or more, or None."""
        value: int | None = self._field(name, int, "a whole number of 0 or more")
        if value is not None and value < 0:
            raise self.wrong(name, "a whole number of 0 or more")
        return value

    def part(self, name: str) -> Params | None:
        """An object, or None."""
        value = getattr(self._given, name, None)
        return None if value is None else Params(value, f"{self._method}: {name}")

    def required(self, name: str, value: Any) -> Any:
        """The value; raises InvalidRequestError where there is none."""
        if value is None:
            raise InvalidRequestError(f"{self._method} needs {name}.", param=name)
        return value

    def wrong(self, name: str, rule: str) -> InvalidRequestError:
        """The error for a field that breaks a rule."""
        return InvalidRequestError(f"{self._method}: {name} should be {rule}, not {getattr(self._given, name)!r}.", param=name)

    def _field(self, name: str, kind: type[Any], rule: str) -> Any:
        value = getattr(self._given, name, None)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise self.wrong(name, rule)
        return value


def answering(handler: Handler) -> Handler:
    """The handler, whose PellucidErrors become errors of the protocol that say the same."""
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
