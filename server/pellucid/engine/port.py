"""The engine protocol for the layers above. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.request import Admission, Request
from pellucid.engine.status import WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.vocabulary.finish import Finish

HiddenVector = NDArray[np.float64]

FAILED = "The engine has failed and no longer serves requests: see the server log, then restart the server."


class Engine(Protocol):
    """Serves any number of named models.

    Every method raises NotFoundError for an unknown name. All methods but ``close`` return at once
    and may be called from any thread; results belong to the caller's event loop.
    """

    @property
    def failure(self) -> Exception | None: ...

    def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """Yield an Admission, scores of requested prompt tokens, generated tokens, and a Finish.

        Closing the generator cancels the request. Raises NotFoundError, InvalidRequestError,
        ContextLengthError, QueueFullError or UnavailableError before the first item. ``pool`` must
        not be set.
        """
        ...

    async def sum_hidden(self, model: str, request: Request) -> tuple[HiddenVector, Finish]:
        """Return the sum (hidden,) of the last hidden states of a prompt's tokens, in float64.

        ``pool`` must be set. Raises the errors of ``generate`` and ``hidden_size``.
        """
        ...

    def hidden_size(self, model: str) -> int:
        """Return the length of hidden states.

        Raises NotSupportedError if a model has no hidden states.
        """
        ...

    def uses_predictions(self, model: str) -> bool:
        """Return whether a prediction of the answer saves time."""
        ...

    def context(self, model: str) -> int:
        """Return the maximum number of tokens per sequence."""
        ...

    def status(self, model: str) -> WorkerStatus: ...

    def remove_model(self, name: str) -> Future[None]:
        """Refuse new requests; the future is done after the last old request.

        Raises UnavailableError.
        """
        ...

    def close(self) -> None:
        """End all requests as cancelled, and free all resources. Blocks."""
        ...
