"""The message format of Copilot clients, with four deviations from the protocol."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from pellucid_lsp.tolerant_protocol import Protocol

COMMAND_NOTIFICATION = "pellucid/executeCommand"
"""The internal name of a command sent as a notification; the protocol has only a request."""


class CopilotProtocol(Protocol):
    """A protocol that accepts null as parameters, and commands as notifications.

    Positions are always in UTF-16, whatever was negotiated. Unknown fields, for example the ``_``
    from copilot.lua, are ignored.
    """

    def structure_message(self, data: dict[str, Any]) -> Any:
        if "jsonrpc" in data and "method" in data:
            data = dict(data)
            if data.get("params") is None and self.get_message_type(data["method"]) is not None:
                data["params"] = None if data["method"] in (types.SHUTDOWN, types.EXIT) else {}
            if data["method"] == types.WORKSPACE_EXECUTE_COMMAND and "id" not in data:
                data["method"] = COMMAND_NOTIFICATION
            if data["method"] == types.INITIALIZE:
                _count_in_utf16(data["params"])
        return super().structure_message(data)


def _count_in_utf16(params: Any) -> None:
    """Remove the offered encodings: copilot.lua, for example, offers all but always uses UTF-16."""
    capabilities = params.get("capabilities") if isinstance(params, dict) else None
    general = capabilities.get("general") if isinstance(capabilities, dict) else None
    if isinstance(general, dict):
        general.pop("positionEncodings", None)
