"""Code actions: alternatives to marked words, and edits by ready-made instructions."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types

from pellucid_lsp.methods import instructed_edits, surprise_methods
from pellucid_lsp.server import Pellucid

KINDS = [types.CodeActionKind.QuickFix, types.CodeActionKind.RefactorRewrite]


def register(server: Pellucid) -> None:
    @server.feature(types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(KINDS))
    async def code_actions(params: types.CodeActionParams) -> list[types.CodeAction]:
        await server.settings_known.wait()
        found = [*surprise_methods.actions(server, params), *instructed_edits.actions(server, params)]
        return [one for one in found if _is_wanted(one.kind, params.context.only)]


def _is_wanted(kind: str | None, only: Sequence[str] | None) -> bool:
    return only is None or any(kind == one or one == "" or (kind or "").startswith(f"{one}.") for one in only)
