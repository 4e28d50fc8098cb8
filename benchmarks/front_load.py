"""Measure what a front adds to remote engines under many editors and chats.

    python benchmarks/front_load.py --model ./tiny --editors 200 --chats 50 --seconds 600

Two replicas stand in for vLLM. They compute nothing: each sends a token every ``--pace`` seconds,
in events as large as vLLM's, and writes the time of sending into the token's logprob. So the time
from there to the client is what the front and two local connections add. Each editor types a line,
with a request at each pause, and cancels a request that the next key overtakes. No token may be
lost or doubled: the ids of an answer count up. ``--model`` is a folder with a tokenizer and
config.json. The processor time is that of the front alone.

The clients and replicas need a processor too, and each waits for its turn. So the same clients
first speak to a replica themselves, with a prompt of token ids: what they measure there is not the
front's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.serving.listening_socket import listen

NAME = "far"
ROOT = Path(__file__).parents[1]
PACKAGES = ("server", "lsp", "webui")
ALTERNATIVES = 21
FIRST_ID = 1000
"""The id of an answer's first token; later ids count up, so that a lost or doubled token shows."""

CYCLE_SECONDS = 1000.0
"""The time of sending is written modulo this, because clients receive no logprobs far below zero.
"""

KEY_SECONDS = 0.2
"""Mean time between two keys while an editor types."""

THINK_SECONDS = 20.0
"""Mean time between two lines of an editor, and between two questions of a chat."""

LINE = "    return sorted(values, key=lambda one: one.size)[:10]"


@dataclass
class Seen:
    """The seconds added by the front to each token, and the numbers of answers by end."""

    added: list[float] = field(default_factory=list)
    answers: int = 0
    cancelled: int = 0
    refused: int = 0
    wrong: int = 0


class PacedReplica:
    """Sends tokens at a pace, without computing any."""

    def __init__(self, folder: Path, pace: float) -> None:
        vocab = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        self._tokenizer = read_tokenizer(folder, vocab)
        self._pace = pace

    @property
    def app(self) -> Starlette:
        routes = [Route("/version", self._version), Route("/health", self._version), Route("/v1/models", self._models)]
        routes += [
            Route("/tokenize", self._tokenize, methods=["POST"]),
            Route("/inference/v1/generate", self._generate, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def _version(self, _: Request) -> Response:
        return JSONResponse({"version": "0.32.0"})

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": NAME, "max_model_len": 8192, "parent": None}]})

    async def _tokenize(self, request: Request) -> Response:
        return JSONResponse({"tokens": self._tokenizer.encode((await request.json())["prompt"])})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        ids, sampling = body["token_ids"], body["sampling_params"]
        if not body.get("stream"):
            rows = [None, *({str(id): {"logprob": -1.0, "rank": 1}} for id in ids[1:])]
            return JSONResponse({"prompt_logprobs": rows, "choices": []})
        # Number of tokens already sent, for a resumed answer.
        done = next((len(ids) - at for at, id in enumerate(ids) if id == FIRST_ID), 0)
        return StreamingResponse(self._events(sampling["max_tokens"], done), media_type="text/event-stream")

    async def _events(self, count: int, done: int) -> AsyncIterator[str]:
        for number in range(count):
            await asyncio.sleep(self._pace)
            id, reason = FIRST_ID + done + number, "length" if number == count - 1 else None
            others = [
                {"token_id": 10 + rank, "logprob": -2000.0 - rank, "rank": rank} for rank in range(2, ALTERNATIVES + 1)
            ]
            own = {"token_id": id, "logprob": -(time.monotonic() % CYCLE_SECONDS), "rank": 1}
            scores = {"content": [own | {"top_logprobs": [own, *others]}]}
            choice = {"index": 0, "finish_reason": reason, "stop_reason": None, "token_ids": [id], "logprobs": scores}
            yield f"data: {json.dumps({'usage': None, 'choices': [choice]})}\n\n"
        yield "data: [DONE]\n\n"


def serve_replica(folder: Path, pace: float, listener: socket.socket) -> None:
    """Serve a replica in a separate process."""
    config = uvicorn.Config(PacedReplica(folder, pace).app, log_level="critical")
    asyncio.run(uvicorn.Server(config).serve([listener]))


@dataclass(frozen=True)
class Target:
    """A server for clients: the front, or a replica (``is_direct``)."""

    http: aiohttp.ClientSession
    seen: Seen
    is_direct: bool

    async def read(self, route: str, body: dict[str, Any]) -> None:
        """Read an answer, and note the time of each token."""
        if self.is_direct:
            ids, sampling = list(range(10, 300)), {"max_tokens": body["max_tokens"]}
            route, body = "/inference/v1/generate", {"token_ids": ids, "stream": True, "sampling_params": sampling}
        expected, seen = FIRST_ID, self.seen
        async with self.http.post(route, json=body) as response:
            if response.status == 429:
                seen.refused += 1
                return
            response.raise_for_status()
            async for line in response.content:
                now = time.monotonic()
                if not line.startswith(b"data: {"):
                    continue
                for choice in json.loads(line[6:]).get("choices", []):
                    for id, logprob in tokens_of(choice):
                        seen.added.append((now + logprob) % CYCLE_SECONDS)
                        seen.wrong += id != expected
                        expected += 1
        seen.answers += 1


def tokens_of(choice: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the ids and logprobs in a part of an answer, for all three routes."""
    logprobs = choice.get("logprobs") or {}
    records = [*logprobs.get("pellucid", []), *(entry.get("pellucid", entry) for entry in logprobs.get("content", []))]
    return [(record["id"] if "id" in record else record["token_id"], record["logprob"]) for record in records]


async def edit(target: Target, number: int, until: float) -> None:
    """Type lines, with a request at each key; the next key cancels the request."""
    chance = random.Random(number)
    before = (
        "import os\n\n"
        + "".join(f"def part_{n}(values):\n    return values[{n}:]\n\n" for n in range(20))
        + f"# {number}\n"
    )
    await asyncio.sleep(chance.random() * THINK_SECONDS)
    while time.monotonic() < until:
        for end in range(1, len(LINE)):
            # The editor continues the last suggestion without a request.
            if chance.random() < 0.5:
                await asyncio.sleep(chance.expovariate(1 / KEY_SECONDS))
                continue
            body = {
                "prompt": before + LINE[:end],
                "suffix": "\n",
                "max_tokens": 16,
                "stream": True,
                "logprobs": 5,
                "heal": False,
            }
            asked = asyncio.ensure_future(target.read("/v1/completions", body))
            # Retrieve the exception of a request that is closed at the very end.
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.sleep(chance.expovariate(1 / KEY_SECONDS))
            is_overtaken = not asked.done()
            if is_overtaken:
                target.seen.cancelled += 1
                asked.cancel()
            try:
                await asked
            except asyncio.CancelledError:
                if not is_overtaken:
                    raise
        await asyncio.sleep(chance.expovariate(1 / THINK_SECONDS))


async def chat(target: Target, number: int, until: float) -> None:
    """Ask questions, and read the whole answers."""
    chance = random.Random(-number)
    while time.monotonic() < until:
        await asyncio.sleep(chance.expovariate(1 / THINK_SECONDS))
        messages = [{"role": "user", "content": f"Question {number}: why is the sky blue?"}]
        body = {"messages": messages, "max_tokens": 200, "stream": True, "logprobs": True, "top_logprobs": 5}
        await target.read("/v1/chat/completions", body)


def processor_seconds(process: int) -> float:
    """Return the processor time used by a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Return the memory of a process in MB."""
    line = next(line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def run_clients(
    url: str, arguments: argparse.Namespace, seconds: float, *, is_direct: bool, watch: Callable[[], None]
) -> Seen:
    """Run all editors and chats against a server for some seconds."""
    seen, begun = Seen(), time.monotonic()
    until = begun + seconds
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http:
        target = Target(http, seen, is_direct)
        tasks = [asyncio.ensure_future(edit(target, number, until)) for number in range(arguments.editors)]
        tasks += [asyncio.ensure_future(chat(target, number, until)) for number in range(arguments.chats)]
        while time.monotonic() < until:
            await asyncio.sleep(min(seconds / 10, until - time.monotonic()) or 0.1)
            watch()
            sys.stderr.write(f"\r{time.monotonic() - begun:.0f} s, {len(seen.added)} tokens ")
        for task in tasks:
            task.cancel()
        failed = [one for one in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(one, Exception)]
    assert seen.added, f"no token came; {len(failed)} clients failed: {failed[:1]}"
    print(
        f"\n{'replica alone' if is_direct else 'front'}: {arguments.editors} editors and {arguments.chats} chats "
        f"for {seconds:.0f} s"
    )
    print(f"tokens {len(seen.added)}, answers {seen.answers}, cancelled {seen.cancelled}, refused {seen.refused}")
    print(f"lost or doubled tokens {seen.wrong}, failed clients {len(failed)} {failed[:1]}")
    added = sorted(seen.added)
    quantiles = {
        f"p{share * 100:g}": added[min(int(share * len(added)), len(added) - 1)] * 1000
        for share in (0.5, 0.9, 0.99, 0.999)
    }
    print(
        "from the replica to the client, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in quantiles.items())
    )
    return seen


async def measure(replica: str, url: str, front: int, arguments: argparse.Namespace) -> None:
    """Run all clients, without and with the front, and print the figures."""
    await run_clients(replica, arguments, arguments.seconds / 5, is_direct=True, watch=lambda: None)
    memory: list[float] = []
    before, begun = processor_seconds(front), time.monotonic()
    seen = await run_clients(
        url, arguments, arguments.seconds, is_direct=False, watch=lambda: memory.append(resident(front))
    )
    used, lasted = processor_seconds(front) - before, time.monotonic() - begun
    print(
        f"front: {used / lasted * 100:.0f} % of a core, "
        f"so a core carries about {arguments.editors * lasted / used:.0f} such editors"
    )
    print(f"front: {used / (seen.answers + seen.cancelled) * 1000:.1f} ms of a core a request")
    print("front's memory, MB: " + ", ".join(f"{one:.0f}" for one in memory))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with tokenizer.json and config.json")
    parser.add_argument("--editors", type=int, default=200)
    parser.add_argument("--chats", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two tokens of a replica")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    listeners = [listen("127.0.0.1", 0) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]
    # Close the front's listener before the replicas inherit the socket.
    listeners[2].close()
    replicas = [
        multiprocessing.get_context("fork").Process(
            target=serve_replica, args=(arguments.model, arguments.pace, listener), daemon=True
        )
        for listener in listeners[:2]
    ]
    for replica in replicas:
        replica.start()
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in PACKAGES)}
        words = [
            sys.executable,
            "-m",
            "pellucid",
            "serve",
            "--port",
            str(ports[2]),
            "--no-page",
            "--data",
            data,
            "--cache",
            data,
        ]
        words += [f"--engine=http://127.0.0.1:{port}" for port in ports[:2]] + ["--model", f"{NAME}={arguments.model}"]
        url = f"http://127.0.0.1:{ports[2]}"
        with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as front:
            try:
                while not is_ready(url):
                    assert front.poll() is None, "the front ended"
                    time.sleep(0.1)
                asyncio.run(measure(f"http://127.0.0.1:{ports[0]}", url, front.pid, arguments))
            finally:
                front.terminate()
                for replica in replicas:
                    replica.terminate()


def is_ready(url: str) -> bool:
    """Return whether the front serves."""
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
