"""What a completer needs of the way to a model: who completes, and how to say that they went away."""

from __future__ import annotations

from typing import Protocol

from pellucid.client.protocol import Assistant


class ModelProvider(Protocol):
    """Leads to a speaker, wherever that is."""

    async def client(self) -> Assistant:
        """Whom to ask now. Raises UnavailableError where there is nobody."""
        ...

    def lost(self, client: Assistant | None) -> None:
        """This one did not answer."""
        ...


class FixedProvider:
    """The way to a speaker that is here already."""

    def __init__(self, speaker: Assistant) -> None:
        self._speaker = speaker

    async def client(self) -> Assistant:
        return self._speaker

    def lost(self, client: Assistant | None) -> None:
        """Nothing can be done about it from here: who asks again is told."""
