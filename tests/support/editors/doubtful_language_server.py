"""A language server with a doubtful rest in the suggestion, even after the sure beginning.

Run as a script, with a log file for received messages as the argument.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

SURE = "urn add(a, b)"
REST = " + tax(c)"
LINE = f"    ret{SURE}{REST}"


def main() -> None:
    log = Path(sys.argv[1])
    server = LanguageServer("doubtful", "1")

    def note(*entry: Any) -> None:
        with log.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        options: Any = params.initialization_options
        note("initialize", options["doubtfulRests"])

    @server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
    def complete(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        at = params.position.character
        text = LINE[at:]
        sure = max(len(LINE) - len(REST) - at, 0)
        command = types.Command("accepted", "pellucid.accepted", arguments=[f"at {at}", "doubtful", sure])
        return types.InlineCompletionList([types.InlineCompletionItem(text, command=command)] if text else [])

    @server.feature("pellucid/didPartiallyAccept")
    def did_partially_accept(params: Any) -> None:
        note("part", params.id, params.acceptedLength)

    @server.command("pellucid.accepted")
    def accepted(*arguments: Any) -> None:
        note("accepted", *arguments)

    server.start_io()


if __name__ == "__main__":
    main()
