"""The state of a remote engine, for the API and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The state of a remote engine.

    ``problem`` is the reason for being away; ``lost`` counts the requests lost with the engine.
    """

    url: str
    state: Literal["ready", "draining", "away"]
    problem: str | None
    version: str
    models: tuple[str, ...]
    adapter_problems: Mapping[str, str]
    running: int
    waiting: int
    lost: int
