"""Parameters of Pellucid's own methods, and conversion of errors into error responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from pellucid.errors import InvalidRequestError, PellucidError

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Params:
    """The parameters of a custom method; each field is checked when read.

    The readers return `None` for a missing field, and raise InvalidRequestError for a wrong type.
    """

    def __init__(self, given: object, method: str) -> None:
        self._given = given
        self._method = method

    def text(self, name: str) -> str | None:
        value: str | None = self._field(name, str, "a string")
        return value

    def number(self, name: str) -> int | None:
        """Return a whole number of 0 or more."""
        value: int | None = self._field(name, int, "a whole number of 0 or more")
        if value is not None and value < 0:
            raise self.wrong(name, "a whole number of 0 or more")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings. Raise InvalidRequestError also for a missing field."""
        value = self.required(name, getattr(self._given, name, None))
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of strings")
        return value

    def part(self, name: str) -> Params | None:
        value = getattr(self._given, name, None)
        return None if value is None else Params(value, f"{self._method}: {name}")

    def parts(self, name: str) -> list[Params]:
        """Return a list of objects. Raise InvalidRequestError also for a missing field."""
        value = self.required(name, getattr(self._given, name, None))
        if not isinstance(value, list):
            raise self.wrong(name, "a list of objects")
        return [Params(one, f"{self._method}: {name}") for one in value]

    def document(self) -> str:
        """Return the URI of the required ``textDocument``."""
        uri = self.required("textDocument", self.part("textDocument")).text("uri")
        return str(self.required("textDocument.uri", uri))

    def position(self, name: str) -> types.Position | None:
        part = self.part(name)
        return (
            None
            if part is None
            else types.Position(*(part.required(field, part.number(field)) for field in ("line", "character")))
        )

    def required(self, name: str, value: Any) -> Any:
        if value is None:
            raise InvalidRequestError(f"{self._method} needs {name}.", param=name)
        return value

    def wrong(self, name: str, rule: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"{self._method}: {name} should be {rule}, not {getattr(self._given, name)!r}.", param=name
        )

    def _field(self, name: str, kind: type[Any], rule: str) -> Any:
        value = getattr(self._given, name, None)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise self.wrong(name, rule)
        return value


def place_of(params: Params) -> tuple[str, types.Range]:
    """Return the required ``textDocument`` and ``range``."""
    document, range = (params.required(name, params.part(name)) for name in ("textDocument", "range"))
    start, end = (range.required(name, range.position(name)) for name in ("start", "end"))
    return document.required("uri", document.text("uri")), types.Range(start, end)


def result_token(given: Any, method: str) -> int | str | None:
    """Return the ``partialResultToken`` for progress, if any."""
    token = getattr(given, "partialResultToken", None)
    if token is not None and not isinstance(token, int | str):
        raise InvalidRequestError(
            f"{method}: partialResultToken should be a text or a number.", param="partialResultToken"
        )
    return token


def with_error_responses(handler: Handler) -> Handler:
    """Return a handler that raises PellucidErrors as errors of the protocol."""
    if asyncio.iscoroutinefunction(handler):

        @wraps(handler)
        async def answer_later(*arguments: Any) -> Any:
            try:
                return await handler(*arguments)
            except PellucidError as error:
                raise _error(error) from error

        return answer_later  # type: ignore[return-value]  # Same signature.

    @wraps(handler)
    def answer(*arguments: Any) -> Any:
        try:
            return handler(*arguments)
        except PellucidError as error:
            raise _error(error) from error

    return answer  # type: ignore[return-value]  # Same signature.


def _error(error: PellucidError) -> JsonRpcException:
    code = (
        types.ErrorCodes.InvalidParams if isinstance(error, InvalidRequestError) else types.LSPErrorCodes.RequestFailed
    )
    return JsonRpcException(message=str(error), code=code.value)
