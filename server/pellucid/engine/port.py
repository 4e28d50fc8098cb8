"""The protocol of an engine: what the layers above need of it, wherever it computes.

Token ids go in; token ids with probabilities come out. Importing this file, and the others that it
imports, is cheap: none of them needs torch.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.request import Admission, Request
from pellucid.engine.status import WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.tokens import Finish

HiddenVector = NDArray[np.float64]
"""A vector as long as a model's hidden states."""

FAILED = "The engine has failed and no longer serves requests: see the server log, then restart the server."


class Engine(Protocol):
    """Serves requests of any number of models, each known by its name.

    Every method raises NotFoundError for a name that it does not serve. All methods but ``close``
    return at once and may be called from any thread; what they return belongs to the caller's event
    loop.
    """

    @property
    def failure(self) -> Exception | None:
        """The error after which the engine serves no more requests; None while it serves."""
        ...

    def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """Yield an Admission, the scores of the requested prompt tokens, those of the generated tokens, and a Finish.

        Closing the generator cancels the request. Raises NotFoundError, InvalidRequestError,
        ContextLengthError, QueueFullError or UnavailableError before the first item. ``request``
        has no ``pool`` set.
        """
        ...

    async def sum_hidden(self, model: str, request: Request) -> tuple[HiddenVector, Finish]:
        """Return the sum (hidden,) of the last hidden states of a prompt's tokens.

        ``request`` has ``pool`` set.

        Raises NotSupportedError for a model without hidden states, and the errors of ``generate``.
        """
        ...

    def hidden_size(self, model: str) -> int:
        """Return the length of a model's hidden states.

        Raises NotSupportedError for a model that has none to give.
        """
        ...

    def uses_predictions(self, model: str) -> bool:
        """Return whether tokens are guessed, so that a prediction of an answer saves time."""
        ...

    def context(self, model: str) -> int:
        """Return how many tokens a sequence of this model may have."""
        ...

    def status(self, model: str) -> WorkerStatus:
        """Return the current state of a model."""
        ...

    def remove_model(self, name: str) -> Future[None]:
        """Take no new requests for a model. The future is done once those that it has are served.

        Raises UnavailableError.
        """
        ...

    def close(self) -> None:
        """End all requests (they finish as cancelled), and free what the engine holds. Blocks."""
        ...
