"""The parts that a server gets once its models can be used, and the function that builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.engine.port import Engine
from pellucid.fleet.membership import Membership
from pellucid.system.progress_protocol import Progress
from pellucid.text.adapters import Adapters
from pellucid.text.assistant import LocalAssistant


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The engine, which the server closes when it exits, and the assistant over it.

    Without ``adapters`` none can be loaded.

    ``membership`` is that of the engines elsewhere, if these compute the models.
    """

    engine: Engine
    assistant: LocalAssistant
    adapters: Adapters | None = None
    membership: Membership | None = None


BuildParts = Callable[[Progress], ServerParts]
"""Builds the parts in a thread of the server's, and reports its progress.
Its errors end the server.
"""
