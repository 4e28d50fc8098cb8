"""Asks which models are served, for the menus of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import PellucidError
from pellucid.tokens import ModelCard


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The models that are served, the default one first.

    If they cannot be listed, ``problem`` is the reason in a sentence.
    """

    cards: Sequence[ModelCard] = ()
    problem: str = ""

    @classmethod
    async def ask(cls, assistant: Assistant) -> Self:
        """Return the models of an assistant."""
        try:
            return cls(await assistant.cards())
        except PellucidError as error:
            return cls(problem=str(error))

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return [card.name for card in self.cards]

    @property
    def default(self) -> str:
        """The name of the default model; empty if models cannot be listed."""
        return self.cards[0].name if self.cards else ""
