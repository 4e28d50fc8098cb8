"""The errors for users: each message says in one sentence the problem and the remedy.

``type`` names the kind of error for programs, in the words of OpenAI and llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable


class PellucidError(Exception):
    """An error with a message for the user."""

    type = "server_error"


class InvalidRequestError(PellucidError):
    """A request that cannot be served. ``param`` names the wrong field."""

    type = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class AdapterError(InvalidRequestError):
    """An adapter that is unreadable, of an unsupported kind, or for a different model."""


_LARGER = ": shorten the prompt, or start the server with a larger context."


class ContextLengthError(InvalidRequestError):
    """A prompt that does not fit the context.

    ``all_there_is``: the model supports no larger context. ``is_least``: the prompt was too long to
    be tokenized, and may have more than ``prompt_tokens``.
    """

    type = "exceed_context_size_error"

    def __init__(self, prompt_tokens: int, context: int, *, all_there_is: bool = False, is_least: bool = False) -> None:
        remedy = (
            ": shorten it." if is_least else ", which is the model's limit: shorten it." if all_there_is else _LARGER
        )
        least = "at least " if is_least else ""
        super().__init__(
            f"The prompt has {least}{prompt_tokens} tokens and the context holds {context}{remedy}", param="prompt"
        )
        self.prompt_tokens = prompt_tokens
        self.context = context
        self.all_there_is = all_there_is
        self.is_least = is_least


class AuthenticationError(PellucidError):
    """A missing or wrong API key."""

    type = "authentication_error"


class PermissionDeniedError(PellucidError):
    """A request from a forbidden origin, for example a different site's page."""

    type = "permission_error"


class NotFoundError(PellucidError):
    """An unknown name."""

    type = "not_found_error"


def unknown_model(model: str, known: Iterable[str], where: str = "here") -> NotFoundError:
    """Return the error for an unknown model; ``known`` are the model names at ``where``."""
    names = ", ".join(known)
    remedy = f"use one of: {names}" if names else "no model is served"
    return NotFoundError(f"There is no model {model!r} {where}; {remedy}.")


class QueueFullError(PellucidError):
    """More waiting requests than the settings allow. ``retry_after`` is in seconds."""

    type = "rate_limit_error"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyAttemptsError(PellucidError):
    """More wrong API keys than are allowed. ``retry_after`` is in seconds."""

    type = "rate_limit_error"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotSupportedError(PellucidError):
    """A request for a missing feature of the model or server."""

    type = "not_supported_error"


class UnavailableError(PellucidError):
    """The server is loading or shutting down."""

    type = "unavailable_error"


class ModelError(PellucidError):
    """A model that cannot be found, downloaded, verified or read."""


class ConfigError(PellucidError):
    """A setting that is unknown or has the wrong type."""
