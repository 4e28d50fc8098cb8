"""Requests made by hand, and cancelled when a document is closed or settings change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.sending_policy import SendingPolicy
from pellucid.errors import InvalidRequestError

ENDED = "The request was ended because the document was closed or a setting was changed: ask again."


class CancellableRequests:
    """The running requests by document or further key."""

    def __init__(self, models: ModelChoice, policy: SendingPolicy) -> None:
        self._models = models
        self._policy = policy
        self._running: dict[str, set[asyncio.Task[Any]]] = {}

    def cancel(self, key: str) -> None:
        running = self._running.pop(key, set())
        while running:
            running.pop().cancel()

    def cancel_all(self) -> None:
        for key in list(self._running):
            self.cancel(key)

    @contextmanager
    def _cancellable(self, key: str) -> Iterator[None]:
        """Raise InvalidRequestError, not CancelledError, if ``cancel`` ends the current task."""
        task = asyncio.current_task()
        assert task is not None
        running = self._running.setdefault(key, set())
        running.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in running:
                raise
            task.uncancel()
            raise InvalidRequestError(ENDED) from None
        finally:
            running.discard(task)
