"""Extends pygls' protocol: messages that it cannot read get an error response, and lone surrogates are replaced."""

from __future__ import annotations

import re
from typing import Any

from pygls.exceptions import JsonRpcException, JsonRpcInvalidParams
from pygls.protocol import LanguageServerProtocol

LONE_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character that takes two code units in UTF-16."""


class Protocol(LanguageServerProtocol):
    """Accepts messages of unknown methods without params, as JSON-RPC allows, and answers requests that it cannot read."""

    def structure_message(self, data: dict[str, Any]) -> Any:
        """Return the message in a JSON object.

        A request that cannot be read gets an error response, because its sender waits.
        """
        data = {_whole(name): _whole(value) for name, value in data.items()}
        if "jsonrpc" not in data:
            return data  # a nested object
        if "method" in data and "params" not in data and self.get_message_type(data["method"]) is None:
            data = {**data, "params": None}
        try:
            return super().structure_message(data)
        except JsonRpcException:
            if "id" in data and "method" in data:
                wrong = JsonRpcInvalidParams(
                    message=f"The parameters of {data['method']} do not follow the protocol: correct the client's request."
                )
                self._send_response(data["id"], error=wrong.to_response_error())
            raise


def _whole(value: Any) -> Any:
    r"""Replace lone surrogates, which JSON may contain as ``"\ud800"``: no file, model or client accepts them.

    The replacement character has the same width in UTF-16, so positions stay valid. Nested objects
    were read before.
    """
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) and not value.isascii() else value
