"""Served models by ollama's spelling: ``family:size`` or ``family:size-variant``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pellucid.api.server_state import ServerState
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.model_card import ModelCard

LATEST = ":latest"
"""The default tag."""

_SIZED = re.compile(r"(?P<family>.+?)-(?P<size>[0-9]+(?:\.[0-9]+)?[bm])(?:-(?P<variant>.+))?")
_DEFAULT_VARIANT = "instruct"
"""The variant that ollama means by a tag without a variant."""


def aliases(name: str) -> list[str]:
    """Return ollama's lower-case names for a served model, the shortest first."""
    _, _, bare = name.lower().rpartition("/")
    match = _SIZED.fullmatch(bare)
    if match is None or ":" in bare:  # a model with an adapter is named model:adapter
        return [bare]
    tag = f"{match['family']}:{match['size']}"
    if match["variant"] is None:
        return [tag]
    whole = f"{tag}-{match['variant']}"
    return [tag, whole] if match["variant"] == _DEFAULT_VARIANT else [whole]


def listed_name(name: str) -> str:
    """Return the name under which a served model is listed, always with a tag."""
    alias = aliases(name)[0]
    return alias if ":" in alias else alias + LATEST


def family(name: str) -> str:
    return aliases(name)[0].partition(":")[0]


def parameter_size(name: str) -> str:
    """Return the size in a model's name, for instance 0.5B, or ""."""
    match = _SIZED.fullmatch(name.lower().rpartition("/")[2])
    return "" if match is None else match["size"].upper()


def find_by_alias(wanted: str, names: Sequence[str]) -> str | None:
    """Return the served name that ``wanted`` means, if any.

    A family alone means its model, if only a single model of the family is served.
    """
    wanted = wanted.lower().removesuffix(LATEST)
    same = [name for name in names if name.lower() == wanted] or [name for name in names if wanted in aliases(name)]
    if same:
        return same[0]
    relatives = [name for name in names if family(name) == wanted]
    return relatives[0] if len(relatives) == 1 else None


async def find_by_ollama_name(state: ServerState, model: str | None) -> tuple[LocalAssistant, ModelCard]:
    """Return the assistant and the card of a model (default: the first), also by ollama's spelling.

    A single model answers to every name, unless the server is strict. Raises UnavailableError while
    no model is loaded, and NotFoundError with the list of names.
    """
    assistant = state.require_ready()
    if not model:
        return await state.find(None)
    name = find_by_alias(model, [card.name for card in assistant.models.cards()])
    if not name and state.loader:
        name = find_by_alias(model, [one.name for one in await state.loader.list()])
    return await state.find(name or model)
