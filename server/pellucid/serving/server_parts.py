"""The parts of a server with loaded models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.engine.port import Engine
from pellucid.system.progress import Progress
from pellucid.text.assistant import LocalAssistant
from pellucid.text.loading_protocols import Adapters

if TYPE_CHECKING:
    from pellucid.fleet.membership import Membership


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The engine, which the server closes at exit, and the assistant.

    ``adapters`` is None if no adapter can be loaded. ``membership`` is for remote engines.
    """

    engine: Engine
    assistant: LocalAssistant
    adapters: Adapters | None = None
    membership: Membership | None = None


BuildParts = Callable[[Progress], ServerParts]
"""A builder, called in a thread of the server. An error ends the server."""
