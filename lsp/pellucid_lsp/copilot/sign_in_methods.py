"""Handlers of the Copilot language server's methods about account, editor and models."""

from __future__ import annotations

from typing import Any

from pellucid_lsp.copilot.copilot_server import CopilotServer

Json = dict[str, Any]


def register(server: CopilotServer) -> None:
    """Add the handlers. There is no account to sign in to."""

    @server.own_request("setEditorInfo")
    def set_editor_info(_: Any) -> str:
        """Confirm only: the editor's name and version change nothing."""
        return "OK"

    @server.own_request("checkStatus")
    @server.own_request("signInConfirm")
    def check_status(_: Any) -> Json:
        """Report a signed-in user, so that the client requests suggestions."""
        return {"status": "OK", "user": server.user}

    @server.own_request("signIn")
    @server.own_request("signInInitiate")  # From older clients.
    def sign_in(_: Any) -> Json:
        """Report a signed-in user. Without a code the client opens no browser."""
        return {"status": "AlreadySignedIn", "user": server.user}

    @server.own_request("signOut")
    def sign_out(_: Any) -> Json:
        return {"status": "NotSignedIn"}

    @server.own_request("getVersion")
    def get_version(_: Any) -> Json:
        return {"version": server.version}

    @server.own_request("copilot/models")
    async def models(_: Any) -> list[Json]:
        chosen = server.settings.model
        names = [card.name for card in await server.cards()]
        default = chosen if chosen in names else next(iter(names), "")
        return [{"id": name, "modelName": name, "scopes": ["completion"], "default": name == default} for name in names]
