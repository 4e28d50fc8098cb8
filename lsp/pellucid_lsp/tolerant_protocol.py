"""A pygls protocol that answers unreadable requests with errors and replaces lone surrogates."""

from __future__ import annotations

import re
from typing import Any

from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.protocol import LanguageServerProtocol

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character with two UTF-16 code units."""


class Protocol(LanguageServerProtocol):
    """A protocol that accepts unknown methods without params, as JSON-RPC allows."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Return a message; an unreadable request gets an error, because the sender waits."""
        data = {_whole(name): _whole(value) for name, value in data.items()}
        if "jsonrpc" not in data:
            return data  # A nested object.
        if "method" in data and "params" not in data and self.get_message_type(data["method"]) is None:
            data = {**data, "params": None}
        try:
            return super().structure_message(data)
        except JsonRpcException:
            if "id" in data and "method" in data:
                wrong = JsonRpcInvalidParams(
                    message=(
                        f"The parameters of {data['method']} do not follow the protocol: correct the client's request."
                    )
                )
                self._send_response(data["id"], error=wrong.to_response_error())
            raise


def _whole(value: Any) -> Any:
    r"""Replace lone surrogates, which no file, model or client accepts.

    JSON may contain ``"\ud800"``. The replacement has the same UTF-16 width, so positions stay
    valid. Nested objects were processed before.
    """
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value
