"""Handles the methods of the Copilot language server about the account, the editor and the models.

There is no account to sign in to.
"""

from __future__ import annotations

from typing import Any

from pellucid_lsp.copilot.copilot_server import CopilotServer

Json = dict[str, Any]


def register(server: CopilotServer) -> None:
    """Add the handlers to a server."""

    @server.own_request("setEditorInfo")
    def set_editor_info(_: Any) -> str:
        """Confirm the request: the editor's name and version change nothing."""
        return "OK"

    @server.own_request("checkStatus")
    def check_status(_: Any) -> Json:
        """Return that the user is signed in, so that the client requests suggestions."""
        return {"status": "OK", "user": server.user}

    @server.own_request("signIn")
    def sign_in(_: Any) -> Json:
        """Return that no sign-in is needed. Without a code the client opens no browser."""
        return {"status": "AlreadySignedIn", "user": server.user}

    @server.own_request("signInInitiate")
    def sign_in_initiate(_: Any) -> Json:
        """Do as ``signIn``, for older clients."""
        return {"status": "AlreadySignedIn", "user": server.user}

    @server.own_request("signInConfirm")
    def sign_in_confirm(_: Any) -> Json:
        """Return that the user is signed in."""
        return {"status": "OK", "user": server.user}

    @server.own_request("signOut")
    def sign_out(_: Any) -> Json:
        """Confirm the request. Nothing changes."""
        return {"status": "NotSignedIn"}

    @server.own_request("getVersion")
    def get_version(_: Any) -> Json:
        """Return the version of Pellucid."""
        return {"version": server.version}

    @server.own_request("copilot/models")
    async def models(_: Any) -> list[Json]:
        """Return the model server's models."""
        chosen = server.settings.model
        names = [card.name for card in await server.cards()]
        default = chosen if chosen in names else next(iter(names), "")
        return [{"id": name, "modelName": name, "scopes": ["completion"], "default": name == default} for name in names]
