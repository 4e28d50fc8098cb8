"""The served models, for menus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import PellucidError
from pellucid.vocabulary.model_card import ModelCard


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models, default first; ``problem`` is the reason if they cannot be listed."""

    cards: Sequence[ModelCard] = ()
    problem: str = ""

    @classmethod
    async def ask(cls, assistant: Assistant) -> Self:
        try:
            return cls(await assistant.cards())
        except PellucidError as error:
            return cls(problem=str(error))

    @property
    def names(self) -> list[str]:
        return [card.name for card in self.cards]

    @property
    def default(self) -> str:
        return self.cards[0].name if self.cards else ""
