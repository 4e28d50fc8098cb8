"""Reads the messages of clients of the Copilot language server, which stray from the protocol in four ways."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from pellucid_lsp.tolerant_protocol import Protocol

COMMAND_NOTIFICATION = "pellucid/executeCommand"
"""The name under which a command that was sent as a notification is handled: the protocol knows it
only as a request.
"""


class CopilotProtocol(Protocol):
    """Accepts null as parameters, commands sent as notifications, and UTF-16 positions whatever was negotiated.

    Unknown fields, such as the ``_`` that copilot.lua adds to all parameters, are ignored as
    always.
    """

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Return the message in a JSON object."""
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
    """Remove the encodings that a client offers: copilot.lua, for example, offers all, but always counts in UTF-16."""
    capabilities = params.get("capabilities") if isinstance(params, dict) else None
    general = capabilities.get("general") if isinstance(capabilities, dict) else None
    if isinstance(general, dict):
        general.pop("positionEncodings", None)
