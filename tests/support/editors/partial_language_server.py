"""A language server whose first reply is only the beginning of a suggestion, and the next one at the same position the whole.

Run as a script with the file to which it logs what it receives.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

WHOLE = "urn add(a, b)"
PART = "urn add("


def main() -> None:
    """Serve on stdin and stdout."""
    log = Path(sys.argv[1])
    server = LanguageServer("partial", "1")
    last: list[types.Position] = []

    def note(*entry: Any) -> None:
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        options: Any = params.initialization_options
        note("initialize", options["partialSuggestions"])

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    def complete(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        again = last == [params.position]
        last[:] = [params.position]
        note("request", params.context.trigger_kind.value, params.position.character)
        text, arguments = (WHOLE, ["whole"]) if again else (PART, ["part", "partial"])
        command = types.Command("accepted", "pellucid.accepted", arguments=arguments)
        return types.InlineCompletionList([types.InlineCompletionItem(text, command=command)])

    @server.feature("pellucid/didShow")
    def did_show(params: Any) -> None:
        note("shown", params.id)

    @server.feature("pellucid/didDismiss")
    def did_dismiss(params: Any) -> None:
        note("dismissed", params.id)

    server.start_io()


if __name__ == "__main__":
    main()
