"""What can go wrong through no fault of ours: each error says in one sentence what it is and what to do.

``status`` and ``type`` are the HTTP status and the error type (OpenAI's and llama.cpp's words) of the API.
"""

from __future__ import annotations


class PellucidError(Exception):
    """An error that is told to the user as it stands."""

    status = 500
    type = "server_error"


class InvalidRequestError(PellucidError):
    """A request that cannot be served as it is. ``param`` names the field at fault."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class AdapterError(InvalidRequestError):
    """An adapter that cannot be read, is of a kind that is not supported, or does not fit the model."""


_LARGER = ": shorten the prompt, or start the server with a larger --context."


class ContextLengthError(InvalidRequestError):
    """A prompt that does not fit the context; ``all_there_is`` where the model was not made for a larger one."""

    type = "exceed_context_size_error"

    def __init__(self, prompt_tokens: int, context: int, *, all_there_is: bool = False) -> None:
        remedy = ", which is all that the model has: shorten it." if all_there_is else _LARGER
        super().__init__(f"The prompt has {prompt_tokens} tokens and the context holds {context}{remedy}", param="prompt")
        self.prompt_tokens = prompt_tokens
        self.context = context
        self.all_there_is = all_there_is


class AuthenticationError(PellucidError):
    """A missing or wrong API key."""

    status = 401
    type = "authentication_error"


class PermissionDeniedError(PellucidError):
    """A request from where none may come (another site's page, say)."""

    status = 403
    type = "permission_error"


class NotFoundError(PellucidError):
    """Something named that is not there."""

    status = 404
    type = "not_found_error"


class QueueFullError(PellucidError):
    """More requests wait than the settings allow. ``retry_after`` is in seconds."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyAttemptsError(PellucidError):
    """More wrong API keys than are allowed. ``retry_after`` is in seconds."""

    status = 429
    type = "rate_limit_error"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotSupportedError(PellucidError):
    """Something that this model or server cannot do."""

    status = 501
    type = "not_supported_error"


class UnavailableError(PellucidError):
    """The server is loading or leaving."""

    status = 503
    type = "unavailable_error"


class ModelError(PellucidError):
    """A model that cannot be found, fetched, verified or read."""


class ConfigError(PellucidError):
    """A setting that is unknown or has the wrong type."""
