"""A language server that answers first with a suggestion's beginning, and then with the whole.

Run as a script, with a log file for received messages as the argument.
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
