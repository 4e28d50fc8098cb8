"""Handler of the request for a commit message."""

from __future__ import annotations

from typing import Any

from pellucid.completion.commit_message.commit_messages import MAX_MESSAGES
from pellucid.completion.context.uris import file_path
from pellucid.errors import InvalidRequestError
from pellucid_lsp.inspection_json import Json, tokens_report
from pellucid_lsp.request_params import Params
from pellucid_lsp.server import Pellucid


def register(server: Pellucid) -> None:
    @server.own_request("pellucid/commitMessage")
    async def commit_message(given: Any) -> Json:
        """Return messages for the staged changes of the repository around a folder or file."""
        params = Params(given, "pellucid/commitMessage")
        uri, count = params.required("uri", params.text("uri")), params.number("alternatives")
        if count is not None and not 1 <= count <= MAX_MESSAGES:
            raise params.wrong("alternatives", f"between 1 and {MAX_MESSAGES}")
        path = file_path(uri)
        if path is None:
            raise InvalidRequestError(f"{uri} is not on this machine, so git cannot read it.", param="uri")
        await server.settings_known.wait()
        folder = path if path.is_dir() else path.parent
        model, messages, notes = await server.session.commits.messages(
            folder, 1 if count is None else count, server.settings.context.exclude
        )
        codec = server.documents.position_codec
        return {
            "messages": [
                {"text": one.text, "probability": one.probability, "tokens": tokens_report(one.tokens, None, codec)}
                for one in messages
            ],
            "model": model,
            "notes": list(notes),
        }
