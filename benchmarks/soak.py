"""Run many streams with random cancels against a server, and check errors, rests and memory.

    pellucid serve --port 8437 &
    python benchmarks/soak.py --minutes 5 --streams 64

There must be no errors, no remaining requests, and constant memory. Prints the outcomes of every
kind of request and the server's memory over time, and fails after any problem.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

WORDS = Path(__file__).read_text().split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8437")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--streams", type=int, default=64, help="number of concurrent requests")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(soak(arguments.url, arguments.minutes * 60, arguments.streams, random.Random(arguments.seed)))


async def soak(url: str, seconds: float, streams: int, dice: random.Random) -> None:
    """Keep ``streams`` requests running for ``seconds``, and check the server afterwards."""
    outcomes: collections.Counter[str] = collections.Counter()
    deadline = time.monotonic() + seconds
    server = listening_process(url)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=None)) as client:
        memory = asyncio.create_task(watch_memory(server, deadline))
        await asyncio.gather(
            *(one_stream(client, outcomes, deadline, random.Random(dice.random())) for _ in range(streams))
        )
        samples = await memory
        await settled(client)
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome:40} {count}")
    print("memory of the server in MB:", ", ".join(f"{sample:.0f}" for sample in samples))
    wrong = [outcome for outcome in outcomes if not outcome.endswith(("finished", "cancelled"))]
    assert not wrong, f"unexpected outcomes: {wrong}"
    later = samples[len(samples) // 3 :]
    growth = max(later) / later[0] - 1
    print(f"largest memory in the last two thirds against their beginning: {growth:+.1%}")
    assert growth < 0.05, "memory grows"


async def one_stream(
    client: httpx.AsyncClient, outcomes: collections.Counter[str], deadline: float, dice: random.Random
) -> None:
    """Send requests until time is up; two in five are dropped after a few events."""
    while time.monotonic() < deadline:
        kind, body = ask(dice)
        patience = dice.choice([1, 3, 10, 10**6, 10**6])
        outcomes[f"{kind} {await follow(client, kind, body, patience)}"] += 1


async def follow(client: httpx.AsyncClient, route: str, body: dict[str, Any], patience: int) -> str:
    """Read events until the end or until patience is over, and return the outcome."""
    events = 0
    last = ""
    try:
        async with client.stream("POST", route, json=body) as response:
            if response.status_code != httpx.codes.OK:
                return f"status {response.status_code}: {(await response.aread())[:200]!r}"
            async for line in response.aiter_lines():
                if line.startswith("error") or (
                    line.startswith("data: {") and "error" in json.loads(line.removeprefix("data: "))
                ):
                    return f"error event: {line[:200]}"
                if line.startswith("data:"):
                    last = line
                    events += 1
                if events >= patience:
                    return "cancelled"
    except httpx.HTTPError as error:
        return f"{type(error).__name__}: {error}"
    return (
        "finished" if last == "data: [DONE]" or '"stop":true' in last else f"ended without a last event: {last[:100]}"
    )


def ask(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """Return a random request with a shared beginning and a unique end."""
    text = " ".join(WORDS[: dice.choice([20, 60, 150])] + dice.choices(WORDS, k=dice.randrange(1, 40)))
    tokens = dice.choice([1, 8, 24, 48])
    match dice.randrange(3):
        case 0:
            return "/infill", {"input_prefix": text, "input_suffix": "\n", "n_predict": tokens, "stream": True}
        case 1:
            messages = [{"role": "user", "content": text}]
            return "/v1/chat/completions", {
                "messages": messages,
                "max_tokens": tokens,
                "stream": True,
                "logprobs": True,
                "top_logprobs": 5,
            }
        case _:
            return "/v1/completions", {
                "prompt": text,
                "max_tokens": tokens,
                "stream": True,
                "temperature": 0.8,
                "logprobs": 2,
            }


async def settled(client: httpx.AsyncClient) -> None:
    """Wait until the server is idle, and check that every slot is free."""
    for _ in range(100):
        slots = (await client.get("/slots")).json()
        if not any(slot["is_processing"] for slot in slots):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"slots are still held ten seconds after the last request: {json.dumps(slots)}")


async def watch_memory(process: int, deadline: float) -> list[float]:
    """Return the resident memory in MB, sampled ten times during the run."""
    pause = (deadline - time.monotonic()) / 10
    samples = []
    while time.monotonic() < deadline - pause / 2:
        await asyncio.sleep(pause)
        samples.append(resident_megabytes(process))
    return samples


def resident_megabytes(process: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def listening_process(url: str) -> int:
    """Return the id of the process on the port of ``url``."""
    port = httpx.URL(url).port
    out = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    assert "pid=" in out, f"no visible process listens on port {port}"
    return int(out.split("pid=")[1].split(",")[0])


if __name__ == "__main__":
    main()
