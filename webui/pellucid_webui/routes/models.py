"""The served models, for the header and the model menu."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid_webui.conversations.served_models import ServedModels

MODEL_HINT = "generates the answer"


@dataclass(frozen=True, slots=True)
class ModelsRoute:
    assistant_for: AssistantFor

    async def act(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the served models and a menu with the chosen model."""
        yield await models_payload(self.assistant_for(owner), owner, str(asked.get("model") or ""))


async def models_payload(assistant: Assistant, owner: str, chosen: str) -> dict[str, Any]:
    served = await ServedModels.ask(assistant)
    return {
        "owner": owner,
        "model": chosen or served.default,
        "problem": served.problem,
        "menu": served.menu(MODEL_HINT, chosen),
        "models": [
            {
                "name": card.name,
                "context": card.context,
                "bytes": card.weight_bytes,
                "description": card.description,
                "base": card.base if card.adapter else None,
            }
            for card in served.cards
        ],
    }
