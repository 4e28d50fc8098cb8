"""The served models, for the header and the model menu, and the models on the server's machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.client.assistant_protocol import Assistant, AssistantFor, ModelLoad, ModelLoads
from pellucid.client.model_table import COLUMNS, HERE, NOT_HERE, cells, notes
from pellucid_webui.conversations.served_models import ServedModels

MODEL_HINT = "generates the answer"
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ModelsRoute:
    assistant_for: AssistantFor

    async def act(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the served models and a menu with the chosen model."""
        yield await models_payload(self.assistant_for(owner), owner, str(asked.get("model") or ""))


@dataclass(frozen=True, slots=True)
class LoadsRoute:
    """Loads and unloads models; without ``loads``, there are no models."""

    loads: ModelLoads | None

    async def act(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the models on the server's machine until none is being loaded or unloaded.

        A ``verb`` load or unload changes the state of ``model`` before.
        """
        if self.loads is None:
            yield {"models": []}
            return
        change = asyncio.ensure_future(_change(self.loads, asked.get("verb"), str(asked.get("model") or "")))
        try:
            await asyncio.sleep(0)  # The change begins.
            while True:
                is_done, found = change.done(), await self.loads.list()
                yield {"models": [_load_payload(load) for load in found]}
                if is_done and not any(load.state in ("loading", "unloading") for load in found):
                    break
                await asyncio.sleep(POLL_SECONDS)
            await change
        finally:
            change.cancel()  # Of a closed page; the server continues.

    async def facts(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the table of ``pellucid models list``, with the names in the first column."""
        facts = () if self.loads is None else await self.loads.facts()
        yield {
            "titles": [HERE, NOT_HERE],
            "columns": COLUMNS,
            "rows": [cells(one) for one in facts],
            "notes": list(notes(facts)),
        }


async def _change(loads: ModelLoads, verb: object, name: str) -> None:
    if verb == "load":
        await loads.load(name)
    elif verb == "unload":
        await loads.unload(name)


def _load_payload(load: ModelLoad) -> dict[str, Any]:
    activity, percent = (load.step.activity, load.step.percent) if load.step else (None, None)
    return {"name": load.name, "state": load.state, "activity": activity, "percent": percent}


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
                "images": card.images,
            }
            for card in served.cards
        ],
    }
