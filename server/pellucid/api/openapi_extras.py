"""Streams, errors and keys in the OpenAPI description that FastAPI generates."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from pellucid.api.schema.common import ErrorReply
from pellucid.api.schema.info import UnreadyReply

Responses = dict[int | str, dict[str, Any]]


def _error(description: str) -> dict[str, Any]:
    return {"model": ErrorReply, "description": description}


FRONT_ERRORS: Responses = {
    401: _error("The API key is missing or wrong."),
    403: _error("The Host or Origin header is not allowed."),
    408: _error("The request arrived too slowly."),
    413: _error("The body is larger than the size limit."),
    429: _error("Too many wrong API keys; Retry-After is the time to wait, in seconds."),
    500: _error("Internal server error."),
}
"""Errors of every route."""

MODEL_ERRORS: Responses = {
    400: _error("The request cannot be served as it is; `param` names the field."),
    404: _error("No such model."),
    501: _error("The model does not support this."),
    503: _error("The models are loading, or the server is shutting down."),
}
"""Errors of routes that need a model."""

ADAPTER_ERRORS: Responses = {
    400: _error("The request or the adapter cannot be served as it is, or does not fit the model."),
    404: _error("The adapter or the model does not exist."),
    501: _error("The model does not support adapters."),
    503: _error(
        "The models are loading, the server is shutting down, or there is not enough memory for another cache."
    ),
}
"""Errors of routes that load or unload an adapter."""

NOT_READY: Responses = {
    503: {
        "model": UnreadyReply,
        "description": "The models are loading (with the current step), the server is shutting down, the server has "
        "failed, or no remote engine computes one of the models now.",
    },
}
"""The error of /health."""

TEXT_ERRORS: Responses = MODEL_ERRORS | {
    429: _error("The model's tokenizer or chat template is busy; Retry-After is the time to wait, in seconds."),
}
"""Errors of routes that convert between text and token ids."""

GENERATION_ERRORS: Responses = MODEL_ERRORS | {
    429: _error(
        "Too many requests are waiting, a limit of the user is reached, or too many API keys were wrong; Retry-After "
        "is the time to wait, in seconds."
    ),
}
"""Errors of routes that generate."""


def in_shape(model: object, errors: Responses) -> Responses:
    return {status: response | {"model": model} for status, response in (FRONT_ERRORS | errors).items()}


def lines_or(reply: object) -> dict[str, Any]:
    """Return the response of a route with lines of this type, or with a single reply."""
    return {
        "model": reply,
        "description": "Lines of JSON in this shape, or with `stream: false` one of them with the whole answer; "
        "an error in a stream is "
        'a line `{"error": "..."}`, as is a shutdown of the server.',
        "content": {"application/x-ndjson": {}},
    }


def stream_or(reply: object) -> dict[str, Any]:
    """Return the response of a route with a reply of this type, or with server-sent events."""
    return {
        "model": reply,
        "description": "The reply, or with `stream: true` server-sent events: `data: {...}` lines; "
        "an error during a stream is "
        'an event `{"error": ...}`, as is a shutdown of the server.',
        # OpenAPI 3.1 cannot describe events: readers apply a schema to each event or to the text.
        "content": {"text/event-stream": {}},
    }


def named_stream_or(reply: object) -> dict[str, Any]:
    """Return the response of a route with a reply of this type, or with named events."""
    return {
        "model": reply,
        "description": "The reply, or with `stream: true` server-sent events with names (`event: ...`), as the API "
        "that this route is from sends them; an error during a stream is an event, too, as is a shutdown of the "
        "server.",
        "content": {"text/event-stream": {}},
    }


def describe(app: FastAPI) -> None:
    """Correct /openapi.json: validation errors are 400 in our shape, and keys are described."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.state.routes.include_all()
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                separate_input_output_schemas=False,
            )
            app.openapi_schema = _corrected(schema)
        return app.openapi_schema

    # FastAPI's documented way to change the description.
    app.openapi = openapi  # type: ignore[method-assign]


def _corrected(schema: dict[str, Any]) -> dict[str, Any]:
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    components = schema["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    }
    schema["security"] = [{}, {"bearer": []}, {"header": []}]
    return schema
