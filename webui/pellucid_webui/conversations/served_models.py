"""The served models, for menus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

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

    def menu(self, info: str, chosen: str = "") -> dict[str, Any]:
        """Return choices, value and hint of a model menu.

        A chosen model that is not served stays, marked as missing. The hint has the reason if
        models cannot be listed.
        """
        choices = [[name, name] for name in self.names]
        if self.problem:
            return {"choices": [[chosen, chosen]] if chosen else [], "value": chosen or None, "info": self.problem}
        if chosen and chosen not in self.names:
            missing = f"{chosen} is not served any more: choose another model."
            return {"choices": [*choices, [f"{chosen} (missing)", chosen]], "value": chosen, "info": missing}
        return {"choices": choices, "value": chosen or self.default, "info": info}
