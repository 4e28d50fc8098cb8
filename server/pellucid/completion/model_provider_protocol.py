"""Defines how a completer reaches a model, wherever that runs."""

from __future__ import annotations

from typing import Protocol

from pellucid.client.assistant_protocol import Assistant


class ModelProvider(Protocol):
    """Provides the assistant that completes."""

    @property
    def connected(self) -> Assistant | None:
        """The assistant, if it can be asked without starting a server or waiting for one; else None."""
        ...

    async def client(self) -> Assistant:
        """Return the assistant to ask now. Raise UnavailableError if there is none."""
        ...

    def lost(self, client: Assistant | None) -> None:
        """Report that an assistant did not answer."""
        ...


class FixedProvider:
    """Provides an assistant that exists already."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    @property
    def connected(self) -> Assistant:
        """The assistant."""
        return self._assistant

    async def client(self) -> Assistant:
        """Return the assistant."""
        return self._assistant

    def lost(self, client: Assistant | None) -> None:
        """No-op: the next call reports the failure."""
