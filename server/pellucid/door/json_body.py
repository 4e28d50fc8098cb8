"""Strict parsing of JSON request bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from math import isfinite
from typing import Any, NoReturn

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

_MAX_EXACT_INTEGER = 2**53
"""Limit up to which a float represents every integer."""

_SHOWN_DIGITS = 20

_MAX_DIGITS = 400
"""More digits than any float has."""

_MAX_KEYS = 1000
"""Maximum keys per object, because each unknown key is reported, which takes memory and time."""

_MAX_BIASES = 1 << 18
"""Maximum keys of ``logit_bias``: about the size of a large vocabulary."""


class JsonRequest(Request):
    """A request with a strictly parsed body. Raises HTTPException 400 with a sentence."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = parse(body)
            _check_keys(value)
            return value
        except UnicodeDecodeError:
            raise HTTPException(400, "The body is not UTF-8: encode it as UTF-8.") from None
        except json.JSONDecodeError as error:
            raise HTTPException(
                400, f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
            ) from None
        except ValueError as error:
            raise HTTPException(400, f"The body cannot be read: {error}.") from None
        except RecursionError:
            raise HTTPException(400, "The body cannot be read: it is nested too deeply.") from None


class JsonRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handler


def parse(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError for NaN, infinities and text that cannot be encoded. JSON has a single number
    type, so 40.0 is read as the integer 40.
    """
    value = json.loads(body.decode(), parse_constant=_no_number, parse_float=_number, parse_int=_integer)
    if b"\\ud" in body.lower() and not _is_encodable(value):
        raise ValueError("a \\u escape is half of a surrogate pair")
    return value


def _check_keys(value: object) -> None:
    pending = [("", value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            most = _MAX_BIASES if name == "logit_bias" else _MAX_KEYS
            if len(value) > most:
                raise ValueError(f"{name or 'the object'} has {len(value)} fields, but at most {most} are allowed")
            pending.extend((key, item) for key, item in value.items() if isinstance(item, dict | list))
        elif isinstance(value, list):
            pending.extend((name, item) for item in value if isinstance(item, dict | list))


def _number(text: str) -> float | int:
    value = float(text)
    if not isfinite(value):
        raise ValueError(f"the number {text[:_SHOWN_DIGITS]} is too large")
    return int(value) if value.is_integer() and abs(value) < _MAX_EXACT_INTEGER else value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits, but at most {_MAX_DIGITS} are allowed")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _is_encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
