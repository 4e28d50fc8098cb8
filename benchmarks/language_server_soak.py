"""Check that a language server answers many requests, cancels and edits in time, without errors.

    python benchmarks/language_server_soak.py --requests 20000
    pellucid serve --port 8437 &
    python benchmarks/language_server_soak.py --requests 2000 --server http://127.0.0.1:8437

Without ``--server`` a tiny random model with the real engine answers, which takes minutes instead
of hours. An editor types in several files, moves, deletes, closes and reopens files, requests
automatically and by hand, cancels, accepts and dismisses. A cancelled request must be answered with
the error for cancellations. The script fails if a request takes longer than ``--limit`` seconds,
and ``--json`` saves the actions before the failure.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.quantiles import quantile
from common.stdlib_cursors import STDLIB, python_files, source
from pellucid.api.server_state import ServerState

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.editors.lsp_client import Editor, homes, id_of, start
from support.servers.http_servers import live, tiny_assistant

FILES = 5
KEEP_LINES = 120
"""Number of lines taken from a standard library file, so that a growing file stays quick to send.
"""

TRAIL = 40
"""Number of printed actions before an unanswered request."""


@dataclass
class Document:
    """An open document in the editor's state."""

    uri: str
    lines: list[str]
    line: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class Outcomes:
    """The outcomes of the requests: seconds by kind, errors, and unanswered requests."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    unanswered: list[dict[str, Any]] = field(default_factory=list)


class Typist:
    """An editor with several documents; each step is an action of a user."""

    def __init__(self, editor: Editor, dice: random.Random, outcomes: Outcomes, limit: float) -> None:
        self._editor = editor
        self._dice = dice
        self._outcomes = outcomes
        self._limit = limit
        self._trail: collections.deque[str] = collections.deque(maxlen=TRAIL)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._sources = [
            Document(f"file:///project/{path.stem}.py", source(path).split("\n")[:KEEP_LINES]) for path in self._drawn()
        ]
        self._shown: list[Any] = []
        self.asked = 0
        self._document = self._open(self._sources[0])

    def _drawn(self) -> list[Path]:
        paths = [path for path in python_files(STDLIB) if path.stat().st_size > 4000]
        return self._dice.sample(paths, FILES)

    def _open(self, origin: Document) -> Document:
        document = Document(origin.uri, list(origin.lines))
        self._editor.open(document.uri, document.text)
        self._trail.append(f"open {document.uri}")
        return document

    async def step(self) -> None:
        """Do an action, and usually ask for a suggestion afterwards."""
        action = self._dice.choices(
            (self._type, self._delete, self._jump, self._switch, self._take, self._reject), (60, 8, 12, 3, 12, 5)
        )[0]
        action()
        if self._dice.random() < 0.3:
            self._cancel()
        self._ask(invoked=self._dice.random() < 0.1)
        pause = self._dice.choices((0.0, 0.005, 0.05, 0.3), (40, 40, 18, 2))[0]
        await asyncio.sleep(pause)

    async def finish(self) -> None:
        """Wait for the last answers."""
        await asyncio.gather(*self._running.values())

    def _type(self) -> None:
        document, text = (
            self._document,
            self._dice.choice(("r", "e", "self", ".", "(", ")", " ", "\n", "import ", "x = ", "", "é", "🐍")),
        )
        self._change(document.line, document.column, document.line, document.column, text)

    def _delete(self) -> None:
        document = self._document
        if document.column:
            self._change(document.line, document.column - 1, document.line, document.column, "")

    def _change(self, line: int, column: int, end_line: int, end_column: int, text: str) -> None:
        document = self._document
        begin, end = (
            types.Position(line, _units(document.lines[line][:column])),
            types.Position(end_line, _units(document.lines[end_line][:end_column])),
        )
        self._editor.replace(document.uri, types.Range(begin, end), text)
        joined = document.lines[line][:column] + text + document.lines[end_line][end_column:]
        document.lines[line : end_line + 1] = joined.split("\n")
        document.line = line + text.count("\n")
        document.column = len(text.rpartition("\n")[2]) + (0 if "\n" in text else column)
        self._trail.append(f"change {line}:{column}-{end_line}:{end_column} {text!r}")

    def _jump(self) -> None:
        document = self._document
        document.line = self._dice.randrange(len(document.lines))
        document.column = self._dice.choice(
            (0, len(document.lines[document.line]), self._dice.randint(0, len(document.lines[document.line])))
        )
        self._trail.append(f"jump {document.line}:{document.column}")

    def _switch(self) -> None:
        self._editor.close(self._document.uri)
        self._trail.append(f"close {self._document.uri}")
        self._document = self._open(self._dice.choice(self._sources))

    def _take(self) -> None:
        if not self._shown:
            return
        item, version = self._shown[-1]
        self._shown.clear()
        document = self._document
        if version == (document.uri, document.text, document.line, document.column) and item.insert_text:
            self._change(document.line, document.column, document.line, document.column, str(item.insert_text))
            self._editor.client.protocol.send_request(
                "workspace/executeCommand", types.ExecuteCommandParams("pellucid.accepted", [id_of(item)])
            )

    def _reject(self) -> None:
        if self._shown:
            item, _ = self._shown.pop()
            self._editor.notify("textDocument/didDismiss", {"item": {"command": {"arguments": [id_of(item)]}}})
            self._trail.append("dismiss")

    def _cancel(self) -> None:
        if self._running:
            id = self._dice.choice(list(self._running))
            self._editor.notify("$/cancelRequest", types.CancelParams(id))
            self._trail.append(f"cancel {id}")

    def _ask(self, *, invoked: bool) -> None:
        self.asked += 1
        id, document = f"ask-{self.asked}", self._document
        character = _units(document.lines[document.line][: document.column])
        self._trail.append(f"{id} {document.uri} {document.line}:{character} invoked={invoked}")
        future = self._editor.ask(document.uri, document.line, character, invoked=invoked, id=id)
        where = (document.uri, document.text, document.line, document.column)
        self._running[id] = asyncio.create_task(self._receive(id, future, list(self._trail), where, invoked=invoked))

    async def _receive(
        self, id: str, future: asyncio.Future[Any], trail: list[str], where: object, *, invoked: bool
    ) -> None:
        begun = time.monotonic()
        kind = "by hand" if invoked else "by itself"
        try:
            answer = await asyncio.wait_for(asyncio.shield(future), self._limit)
            self._shown += [(item, where) for item in answer.items[:1]]
        except TimeoutError:
            self._outcomes.unanswered.append({"id": id, "kind": kind, "before": trail, "after": list(self._trail)})
        except (JsonRpcException, asyncio.CancelledError) as error:
            kind = "cancelled"
            if not isinstance(error, asyncio.CancelledError) and "ancel" not in str(error):
                self._outcomes.errors[str(error)] += 1
        finally:
            self._outcomes.seconds[kind].append(time.monotonic() - begun)
            del self._running[id]


def _units(text: str) -> int:
    """Return the length in UTF-16 units, as counted by the client."""
    return len(text.encode("utf-16-le")) // 2


@contextmanager
def tiny_server() -> Iterator[str]:
    """Serve a tiny random model with the real engine, and yield the address."""
    assistant, engine = tiny_assistant(slots=8, context=2048, queue=256)
    state = ServerState(models=("tiny",), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server.url
    engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", help="address of a running server")
    parser.add_argument("--requests", type=int, default=20_000, help="number of requests")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds after which a request counts as unanswered")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the times, errors and unanswered requests")
    options = parser.parse_args()
    if options.server:
        outcomes = asyncio.run(soak(options.server, options))
    else:
        with tiny_server() as url:
            outcomes = asyncio.run(soak(url, options))
    for kind, seconds in sorted(outcomes.seconds.items()):
        times = " / ".join(f"{1000 * quantile(seconds, share):.0f}" for share in (0.5, 0.95, 0.99, 1.0))
        print(f"{kind}: {len(seconds)} requests, p50 / p95 / p99 / longest {times} ms")
    print(f"errors: {dict(outcomes.errors)}; unanswered: {len(outcomes.unanswered)}")
    if options.json:
        options.json.write_text(json.dumps({"errors": outcomes.errors, "unanswered": outcomes.unanswered}, indent=1))
    if outcomes.errors or outcomes.unanswered:
        sys.exit(1)


async def soak(url: str, options: argparse.Namespace) -> Outcomes:
    """Send the requests through a language server, and return the outcomes."""
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"server": {"url": url, "start": False}, "completion": {"level": "eager"}}
        editor = await start(homes(Path(folder)), settings)
        typist = Typist(editor, random.Random(options.seed), outcomes, options.limit)
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("requests", total=options.requests)
            while typist.asked < options.requests and not outcomes.unanswered:
                await typist.step()
                progress.update(bar, completed=typist.asked)
        await typist.finish()
        outcomes.errors.update(editor.messages)
        await editor.leave()
    return outcomes


if __name__ == "__main__":
    main()
