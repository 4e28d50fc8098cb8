"""Errors as HTTP responses, in the shape of OpenAI, ollama or Anthropic, depending on the path."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from pellucid.errors import (
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    PellucidError,
    PermissionDeniedError,
    QueueFullError,
    TooManyAttemptsError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

UNEXPECTED = PellucidError("Internal server error; see the server log. Other requests are unaffected.")
_NAME_CHARACTERS = 80
_OLLAMA_PATHS = "/api/"
_ANTHROPIC_PATH = "/v1/messages"


class ClientGoneError(PellucidError):
    type = "client_closed_request"


class MethodError(InvalidRequestError):
    """The route has no such method."""


class BodyTooLargeError(InvalidRequestError):
    """The body is larger than the limit."""


class RequestTimeoutError(InvalidRequestError):
    """The request did not arrive in time."""


_STATUS: dict[type[PellucidError], int] = {
    PellucidError: 500,
    InvalidRequestError: 400,
    AuthenticationError: 401,
    PermissionDeniedError: 403,
    NotFoundError: 404,
    MethodError: 405,
    RequestTimeoutError: 408,
    BodyTooLargeError: 413,
    QueueFullError: 429,
    TooManyAttemptsError: 429,
    ClientGoneError: 499,
    NotSupportedError: 501,
    UnavailableError: 503,
}
"""The HTTP status of each error class. Unlisted classes have the status of their base class."""


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    501: "invalid_request_error",
    503: "overloaded_error",
}
"""Anthropic's type of error by HTTP status."""


def status_of(error: PellucidError) -> int:
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def error_body(error: PellucidError, status: int | None = None) -> dict[str, Any]:
    """Return the error as JSON, with OpenAI's and llama.cpp's fields.

    ``status`` replaces the status of the error's class.
    """
    param = getattr(error, "param", None)
    detail: dict[str, Any] = {
        "message": printable(str(error)),
        "type": error.type,
        "param": param,
        "code": status or status_of(error),
    }
    if isinstance(error, ContextLengthError):
        detail |= {"n_prompt_tokens": error.prompt_tokens, "n_ctx": error.context, "n_ctx_is_all": error.all_there_is}
        detail |= {"n_prompt_tokens_is_least": True} if error.is_least else {}
    return {"error": detail}


def error_sentence(error: PellucidError) -> dict[str, Any]:
    return {"error": printable(str(error))}


def anthropic_error(error: PellucidError, status: int | None = None) -> dict[str, Any]:
    message = printable(str(error))
    # Claude Code compacts the conversation after this message.
    if isinstance(error, ContextLengthError):
        message = f"prompt is too long: {error.prompt_tokens} tokens > {error.context} maximum. {message}"
    detail: dict[str, Any] = {"type": _ANTHROPIC_TYPES.get(status or status_of(error), "api_error"), "message": message}
    # The anthropic package then sends whole conversations, as nothing is stored here.
    if getattr(error, "param", None) == "thread":
        detail["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    return {"type": "error", "error": detail}


def error_response(error: PellucidError, path: str = "", status: int | None = None) -> JSONResponse:
    headers = {}
    status = status or status_of(error)
    if isinstance(error, QueueFullError | TooManyAttemptsError):
        headers["retry-after"] = str(error.retry_after)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, RequestTimeoutError):
        headers["connection"] = "close"
    return JSONResponse(_body_for(path, error, status), status, headers)


def _body_for(path: str, error: PellucidError, status: int) -> dict[str, Any]:
    if path.startswith(_OLLAMA_PATHS):
        return error_sentence(error)
    if path == _ANTHROPIC_PATH or path.startswith(f"{_ANTHROPIC_PATH}/"):
        return anthropic_error(error, status)
    return error_body(error, status)


def printable(text: str) -> str:
    """Return the text without lone surrogates, which cannot be encoded."""
    return text.encode("utf-8", "replace").decode("utf-8")


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(PellucidError, _known)
    app.add_exception_handler(RequestValidationError, invalid_response)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PellucidError)
    if status_of(error) == 500:
        logger.error("%s %s failed: %s", request.method, request.url.path, error)
    return error_response(error, request.url.path)


async def invalid_response(request: Request, error: Exception) -> JSONResponse:
    """Reply to a request with wrong fields by a sentence about the first wrong field."""
    assert isinstance(error, RequestValidationError)
    path = request.url.path
    if isinstance(error.body, bytes):
        return error_response(
            InvalidRequestError("The body is not JSON: send it with the header Content-Type: application/json."), path
        )
    return error_response(_explain(error.errors(), error.body, path), path)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    known: PellucidError
    match error.status_code:
        case 404:
            known = NotFoundError(f"There is no {path} here: /openapi.json lists all routes.")
        case 405:
            known = MethodError(f"{path} does not support {method}: /openapi.json lists its methods.")
        case _:
            known = InvalidRequestError(str(error.detail))
    response = error_response(known, path, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    response = error_response(UNEXPECTED, request.url.path)
    # Starlette raises the error again, and Uvicorn closes the connection.
    response.headers["connection"] = "close"
    return response


def _explain(errors: Sequence[Any], body: object, route: str) -> InvalidRequestError:
    places = [_place(error["loc"], body) for error in errors]
    # Of a field's possible types, the client most likely meant the type with the deepest match.
    deepest = max((i for i in range(len(errors)) if places[i][:1] == places[0][:1]), key=lambda i: len(places[i]))
    error, place = errors[deepest], places[deepest]
    name = printable(".".join(map(str, place)))[:_NAME_CHARACTERS]
    match error["type"]:
        case "extra_forbidden":
            message = f"{name} is not supported by {route}: omit it."
        case "missing":
            message = f"{name} is required." if name else "The body is empty: send a JSON object."
        case _ if not name:
            message = 'The body is not a JSON object: send {"field": value, ...}.'
        case _:
            rules = list(dict.fromkeys(_rule(e) for e, p in zip(errors, places, strict=True) if p == place))
            message = f"{name}: {', or '.join(rules)}."
    return InvalidRequestError(message, param=name or None)


def _rule(error: Any) -> str:
    rule = str(error["msg"]).removeprefix("Value error, ").rstrip(".")
    given = error["input"]
    return (
        f"{rule}, not {printable(given)[:_NAME_CHARACTERS]!r}"
        if error["type"] == "literal_error" and isinstance(given, str)
        else rule
    )


def _place(loc: Sequence[Any], body: object) -> list[str | int]:
    """Return the path of the wrong field in the body.

    ``loc`` also names branches of unions, which mean nothing to the user.
    """
    if loc and loc[0] != "body":
        return list(loc[1:])
    place: list[str | int] = []
    here = body
    for step in loc[1:]:
        if (isinstance(here, dict) and step in here) or (
            isinstance(here, list) and isinstance(step, int) and step < len(here)
        ):
            here = here[step]
        elif not isinstance(here, dict) or step != loc[-1]:  # A missing field is not in the body.
            continue
        place.append(step)
    return place
