"""Effect of ``samplers``, a list of sampling steps from llama.cpp's clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import SamplingParams


def check_order(samplers: Sequence[str] | None) -> None:
    """Raise InvalidRequestError for an order of steps with a different distribution."""
    early = _before_temperature(samplers)
    if "top_p" in early or ("min_p" in early and "top_p" in (samplers or ())):
        name = next(name for name in early if name in ("top_p", "min_p"))
        raise InvalidRequestError(
            f"samplers: temperature comes after {name}: put it first, or omit samplers.", param="samplers"
        )


def keep_steps(params: SamplingParams, samplers: Sequence[str] | None, choice: int) -> SamplingParams:
    """Return the parameters with only the steps in ``samplers`` (``None``: all steps).

    Without the step temperature, an answer is sampled at temperature 1. With the step infill, the
    first of several answers is greedy. The step min_p may precede temperature.
    """
    if samplers is None:
        return params
    off: dict[str, Any] = {}
    if "temperature" not in samplers:
        off["temperature"] = 0.0 if "infill" in samplers and choice == 0 else 1.0
    if "penalties" not in samplers:
        off |= {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    off |= {name: neutral for name, neutral in (("top_k", 0), ("top_p", 1.0), ("min_p", 0.0)) if name not in samplers}
    kept = replace(params, **off)
    if "min_p" not in _before_temperature(samplers) or not kept.temperature:
        return kept
    # p / max >= m is equivalent to (p / max)^(1/T) >= m^(1/T), with the probabilities' ratio at
    # temperature T on the left.
    return replace(kept, min_p=kept.min_p ** (1 / kept.temperature))


def _before_temperature(samplers: Sequence[str] | None) -> Sequence[str]:
    return samplers[: samplers.index("temperature")] if samplers and "temperature" in samplers else ()
