"""How soon completions are back after the model server was killed in the middle of a stream, and what the editor shows of it.

    python benchmarks/kills.py --json kills.json

A language server with folders of its own starts `pellucid serve` by itself, on a free port. Each time the editor asks for
a block of code, the model server is killed (SIGKILL) once tokens of the answer stream; every second time the user types on
meanwhile. Completions are back when a request has been answered by the model: as a rule the one that was cut off.
Errors are error replies to requests, and message boxes; the script fails where there is one. The models are those of
PELLUCID_CACHE, or the default store: they should be there already.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from pygls.exceptions import JsonRpcException
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from pellucid.config import load_settings
from pellucid_lsp.model_server.server_process import ServerRecord

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.editors.lsp_client import Editor, homes, start

URI = "file:///project/shapes.py"
ABOVE = '"""Shapes in the plane."""\n\nimport math\n\n'
NAMES = ("circle", "square", "ellipse", "triangle", "rectangle", "pentagon", "hexagon", "rhombus", "trapezoid", "annulus")
FIELDS = ("area", "perimeter", "center", "bounds", "vertices", "scale", "rotate", "translate", "contains", "intersects")
TYPED = "x = 1\n"
KEYSTROKE = 0.2
"""Seconds from one to the next."""

PATIENCE = 60.0
"""Seconds after which completions are taken not to come back."""

ANSWERED = {"shown", "shortened", "hidden", "nothing"}
"""Outcomes of a request that the model has answered."""


@dataclass
class Kill:
    """One of them.

    ``decoded``: tokens that the server had said by then; ``requests``: how many it took, from the one that was cut off on or
    the last one that was typed on the way, until the model answered.
    """

    decoded: int
    typing: bool
    seconds: float | None = None
    requests: int = 0
    shown: str = ""


class Sitting:
    """An editor with its model server, and what went wrong so far."""

    def __init__(self, editor: Editor, records: Path, url: str) -> None:
        self.editor = editor
        self.error_replies: list[str] = []
        self._records = records
        self._client = httpx.AsyncClient(base_url=url, timeout=5)
        self._lines = ABOVE.split("\n")

    @property
    def server(self) -> ServerRecord:
        """The model server that the language server has started last."""
        (path,) = self._records.rglob("servers/*.json")
        record = ServerRecord.load(path)
        assert record is not None, f"{path} holds no record"
        return record

    def open(self) -> None:
        self.editor.open(URI, ABOVE)

    def type(self, text: str) -> None:
        """At the end of the document."""
        line, character = len(self._lines) - 1, len(self._lines[-1])
        self.editor.insert(URI, line, character, text)
        first, *others = text.split("\n")
        self._lines[-1] += first
        self._lines += others

    def send(self) -> asyncio.Future[Any]:
        """A request at the end, on its way."""
        return self.editor.ask(URI, len(self._lines) - 1, len(self._lines[-1]))

    async def settle(self, request: asyncio.Future[Any]) -> tuple[str, str]:
        """The outcome of the latest request, and what is shown."""
        items = await self.reply(request)
        explained = await self.editor.request("pellucid/explain", {"textDocument": {"uri": URI}})
        return explained.outcome, items[0].insert_text if items else ""

    async def reply(self, request: asyncio.Future[Any]) -> list[Any]:
        """What a request is answered with; an error is noted."""
        try:
            return list((await asyncio.wait_for(request, PATIENCE)).items)
        except (JsonRpcException, TimeoutError) as error:
            self.error_replies.append(f"{type(error).__name__}: {error}")
            return []

    async def streaming(self, request: asyncio.Future[Any]) -> int:
        """Wait until tokens of the answer stream; how many there are, 0 where the request was over before."""
        while not request.done():
            try:
                response = await self._client.get("/slots")
                slots = response.json() if response.is_success else []  # an error while it loads
            except httpx.HTTPError:
                slots = []
            decoded = max((slot["n_decoded"] for slot in slots if slot["is_processing"]), default=0)
            if decoded:
                return int(decoded)
            await asyncio.sleep(0.01)
        return 0

    async def leave(self) -> None:
        try:
            await self._client.aclose()
            await self.editor.leave()
        finally:
            self.server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep every case")
    options = parser.parse_args()
    kills, errors, boxes = asyncio.run(run(options.times, random.Random(options.seed)))
    if options.json:
        options.json.write_text(json.dumps({"kills": [asdict(one) for one in kills], "errors": errors, "boxes": boxes}, indent=1))
    print(table(kills, len(errors), len(boxes)))
    for sentence in (*errors, *boxes):
        print(f"\n{sentence}")
    if errors or boxes or not all(one.seconds is not None for one in kills):
        raise SystemExit(1)


async def run(times: int, dice: random.Random) -> tuple[list[Kill], list[str], list[str]]:
    """Kill the server ``times`` times; the kills, error replies and message boxes."""
    kills: list[Kill] = []
    async with sitting() as here:
        here.open()
        await here.settle(here.send())
        columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("kills", total=times)
            for number in range(10 * times):
                if len(kills) == times:
                    break
                here.type(f"\n\ndef {dice.choice(NAMES)}_{dice.choice(FIELDS)}_{number}(shape, {dice.choice(FIELDS)}):\n    ")
                kill = await kill_in_stream(here, dice, typing=len(kills) % 2 == 1)
                if kill is not None:
                    kills.append(kill)
                    progress.advance(task)
                here.type("pass\n")
        assert len(kills) == times, f"only {len(kills)} of {10 * times} answers streamed long enough to be cut off"
        return kills, here.error_replies, here.editor.messages


async def kill_in_stream(here: Sitting, dice: random.Random, *, typing: bool) -> Kill | None:
    """Ask, kill the server (SIGKILL) once it streams, and wait for completions; None where the answer was complete before that."""
    server, request = here.server, here.send()
    decoded = await here.streaming(request)
    await asyncio.sleep(dice.uniform(0, 0.2))
    if not decoded or request.done():
        await here.reply(request)
        return None
    server.kill()
    begun = time.perf_counter()
    kill = Kill(decoded, typing)
    older: list[asyncio.Future[Any]] = []
    for character in TYPED if typing else "":
        await asyncio.sleep(KEYSTROKE)
        older.append(request)
        here.type(character)
        request = here.send()
    outcome, kill.shown = await here.settle(request)
    kill.requests = 1
    while outcome not in ANSWERED and time.perf_counter() - begun < PATIENCE:
        await asyncio.sleep(KEYSTROKE)
        outcome, kill.shown = await here.settle(here.send())
        kill.requests += 1
    if outcome in ANSWERED:
        kill.seconds = time.perf_counter() - begun
    for one in older:
        await here.reply(one)
    return kill


@asynccontextmanager
async def sitting() -> AsyncIterator[Sitting]:
    """An editor on a machine where nothing runs; all that it started has ended after it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = homes(Path(folder)) | {"PELLUCID_PORT": str(port), "PELLUCID_CACHE": str(load_settings().cache)}
        editor = await start(environment, {"server": {"start": True}, "completion": {"level": "eager"}})
        here = Sitting(editor, Path(folder), f"http://127.0.0.1:{port}")
        try:
            yield here
        finally:
            await here.leave()


def table(kills: list[Kill], errors: int, boxes: int) -> str:
    """Seconds until completions were back, for who waits and who types on."""
    lines = ["| | kills | back | median, s | worst, s | error replies | message boxes |", "|---|---|---|---|---|---|---|"]
    for name, group in (
        ("the user waits", [one for one in kills if not one.typing]),
        ("the user types on", [one for one in kills if one.typing]),
        ("all", kills),
    ):
        seconds = [one.seconds for one in group if one.seconds is not None]
        middle, worst = (f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}") if seconds else ("", "")
        wrong = (str(errors), str(boxes)) if name == "all" else ("", "")
        lines.append("| " + " | ".join((name, str(len(group)), str(len(seconds)), middle, worst, *wrong)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
