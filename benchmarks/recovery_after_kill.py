"""Kill the model server in the middle of a stream, and measure the time until completions are back.

    python benchmarks/recovery_after_kill.py --json kills.json

A language server with its own folders starts `pellucid serve` on a free port. Each time the editor
asks for a block of code, the model server is killed (SIGKILL) once tokens of the answer stream;
every second time the user types on meanwhile. Completions are back when the model has answered a
request, usually the interrupted one. Error replies and message boxes are errors, and make the
script fail. The models are those of PELLUCID_CACHE or the default store, and should be downloaded
already.
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
NAMES = (
    "circle",
    "square",
    "ellipse",
    "triangle",
    "rectangle",
    "pentagon",
    "hexagon",
    "rhombus",
    "trapezoid",
    "annulus",
)
FIELDS = ("area", "perimeter", "center", "bounds", "vertices", "scale", "rotate", "translate", "contains", "intersects")
TYPED = "x = 1\n"
KEYSTROKE_SECONDS = 0.2
"""Seconds between two keystrokes."""

PATIENCE_SECONDS = 60.0
"""Seconds before completions count as lost."""

ANSWERED = {"shown", "shortened", "hidden", "nothing"}
"""Outcomes of a request with an answer of the model."""


@dataclass
class Kill:
    """A kill.

    ``decoded`` is the number of generated tokens before the kill, ``requests`` the number of
    requests until the model's answer, from the interrupted request or the last request during
    typing.
    """

    decoded: int
    typing: bool
    seconds: float | None = None
    requests: int = 0
    shown: str = ""


class EditorSession:
    """An editor with a model server, and the errors so far."""

    def __init__(self, editor: Editor, records: Path, url: str) -> None:
        self.editor = editor
        self.error_replies: list[str] = []
        self._records = records
        self._client = httpx.AsyncClient(base_url=url, timeout=5)
        self._lines = ABOVE.split("\n")

    @property
    def server(self) -> ServerRecord:
        """The model server last started by the language server."""
        (path,) = self._records.rglob("servers/*.json")
        record = ServerRecord.load(path)
        assert record is not None, f"{path} holds no record"
        return record

    def open(self) -> None:
        self.editor.open(URI, ABOVE)

    def type(self, text: str) -> None:
        """Insert text at the end of the document."""
        line, character = len(self._lines) - 1, len(self._lines[-1])
        self.editor.insert(URI, line, character, text)
        first, *others = text.split("\n")
        self._lines[-1] += first
        self._lines += others

    def send(self) -> asyncio.Future[Any]:
        """Send a request at the end of the document."""
        return self.editor.ask(URI, len(self._lines) - 1, len(self._lines[-1]))

    async def settle(self, request: asyncio.Future[Any]) -> tuple[str, str]:
        """Return the outcome of the latest request, and the shown text."""
        items = await self.reply(request)
        explained = await self.editor.request("pellucid/explain", {"textDocument": {"uri": URI}})
        return explained.outcome, items[0].insert_text if items else ""

    async def reply(self, request: asyncio.Future[Any]) -> list[Any]:
        """Return the answer to a request, recording an error."""
        try:
            return list((await asyncio.wait_for(request, PATIENCE_SECONDS)).items)
        except (JsonRpcException, TimeoutError) as error:
            self.error_replies.append(f"{type(error).__name__}: {error}")
            return []

    async def streaming(self, request: asyncio.Future[Any]) -> int:
        """Wait until tokens of the answer stream.

        Return their number, 0 if the request ended before.
        """
        while not request.done():
            try:
                response = await self._client.get("/slots")
                # The reply is an error during loading.
                slots = response.json() if response.is_success else []
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every case to")
    options = parser.parse_args()
    kills, errors, boxes = asyncio.run(run(options.times, random.Random(options.seed)))
    if options.json:
        options.json.write_text(
            json.dumps({"kills": [asdict(one) for one in kills], "errors": errors, "boxes": boxes}, indent=1)
        )
    print(table(kills, len(errors), len(boxes)))
    for sentence in (*errors, *boxes):
        print(f"\n{sentence}")
    if errors or boxes or not all(one.seconds is not None for one in kills):
        raise SystemExit(1)


async def run(times: int, dice: random.Random) -> tuple[list[Kill], list[str], list[str]]:
    """Kill the server ``times`` times, and return the kills, error replies and message boxes."""
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
                here.type(
                    f"\n\ndef {dice.choice(NAMES)}_{dice.choice(FIELDS)}_{number}(shape, {dice.choice(FIELDS)}):\n    "
                )
                kill = await kill_in_stream(here, dice, typing=len(kills) % 2 == 1)
                if kill is not None:
                    kills.append(kill)
                    progress.advance(task)
                here.type("pass\n")
        assert len(kills) == times, f"only {len(kills)} of {10 * times} answers streamed long enough to be interrupted"
        return kills, here.error_replies, here.editor.messages


async def kill_in_stream(here: EditorSession, dice: random.Random, *, typing: bool) -> Kill | None:
    """Request, kill the streaming server (SIGKILL), and wait for completions; return None if the
    answer was complete before the kill.
    """
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
        await asyncio.sleep(KEYSTROKE_SECONDS)
        older.append(request)
        here.type(character)
        request = here.send()
    outcome, kill.shown = await here.settle(request)
    kill.requests = 1
    while outcome not in ANSWERED and time.perf_counter() - begun < PATIENCE_SECONDS:
        await asyncio.sleep(KEYSTROKE_SECONDS)
        outcome, kill.shown = await here.settle(here.send())
        kill.requests += 1
    if outcome in ANSWERED:
        kill.seconds = time.perf_counter() - begun
    for one in older:
        await here.reply(one)
    return kill


@asynccontextmanager
async def sitting() -> AsyncIterator[EditorSession]:
    """Run an editor on a machine without servers, and end all started processes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        environment = homes(Path(folder)) | {"PELLUCID_PORT": str(port), "PELLUCID_CACHE": str(load_settings().cache)}
        editor = await start(environment, {"server": {"start": True}, "completion": {"level": "eager"}})
        here = EditorSession(editor, Path(folder), f"http://127.0.0.1:{port}")
        try:
            yield here
        finally:
            await here.leave()


def table(kills: list[Kill], errors: int, boxes: int) -> str:
    """Return the seconds until completions were back, for waiting and for typing users."""
    lines = [
        "| | kills | back | median, s | worst, s | error replies | message boxes |",
        "|---|---|---|---|---|---|---|",
    ]
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
