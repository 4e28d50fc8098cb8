"""Different settings for regenerating an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.turn_settings import TurnSettings


def other_settings(settings: TurnSettings, other: object) -> TurnSettings:
    """Return settings with the page's model and temperature."""
    model, temperature = (other.get("model"), other.get("temperature")) if isinstance(other, Mapping) else (None, None)
    if not isinstance(model, str) or not isinstance(temperature, int | float) or isinstance(temperature, bool):
        raise InvalidRequestError("The page sent no valid model and temperature: reload it.")
    return replace(settings, model=model, temperature=float(temperature))
