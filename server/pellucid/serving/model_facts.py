"""The facts about the models of the catalog and on this machine."""

from __future__ import annotations

from dataclasses import replace

from pellucid.config import Settings
from pellucid.models.store import ModelRecord, Store
from pellucid.serving.saved_speeds import Speed, read_speeds
from pellucid.vocabulary.model_facts import ModelFacts

SCHEMES = {"none": "bfloat16", "int4": "int4-native"}
"""The likely form of the weights for a setting ``quant``; else the file's own form."""


def text_tokens(settings: Settings) -> int:
    """Return the tokens of the text in the memory estimate: for auto, the usual number."""
    default: int = Settings.model_fields["context"].default
    return default if settings.context == "auto" else settings.context


def model_facts(settings: Settings) -> list[ModelFacts]:
    """Return the models of the catalog, then the further models on this machine."""
    speeds = read_speeds(settings)
    return [_facts(record, speeds.get(record.name), settings) for record in Store(settings.cache).list()]


def _facts(record: ModelRecord, speed: Speed | None, settings: Settings) -> ModelFacts:
    entry = record.entry
    facts = ModelFacts(
        name=record.name,
        here=record.installed,
        size=record.size,
        size_is_estimated=record.size_is_estimated,
        text_tokens=text_tokens(settings),
        keystroke=None if speed is None else speed.keystroke,
        first_keystroke=None if speed is None else speed.first,
        keystroke_is_estimated=speed is not None and speed.estimated,
        licence=record.licence,
    )
    if entry is None:
        return facts
    scheme = SCHEMES.get(settings.quant, "int8-native")
    weights = entry.weight_bytes(scheme) if speed is None else speed.weights
    return replace(
        facts,
        memory=weights + entry.cache_bytes(facts.text_tokens),
        commercial=entry.commercial,
        context=entry.context,
        infill=entry.infill is not None,
        next_edit=entry.next_edit is not None,
        tried=entry.tried,
    )
