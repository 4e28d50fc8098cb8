"""Access of a completer to a local or remote model."""

from __future__ import annotations

from typing import Protocol

from pellucid.client.assistant_protocol import Assistant


class ModelProvider(Protocol):
    @property
    def connected(self) -> Assistant | None:
        """The assistant, or None if a server must first be started or awaited."""
        ...

    async def client(self) -> Assistant:
        """Return the assistant to ask now. Raise UnavailableError without an assistant."""
        ...

    def lost(self, client: Assistant | None) -> None: ...


class FixedProvider:
    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant

    @property
    def connected(self) -> Assistant:
        return self._assistant

    async def client(self) -> Assistant:
        return self._assistant

    def lost(self, client: Assistant | None) -> None:
        """Do nothing: the next call reports the failure."""
