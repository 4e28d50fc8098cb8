"""Compare servers by pass@1 of /infill on HumanEval's single lines.

    pellucid serve --port 8437 &
    llama-server -m qwen2.5-coder-0.5b-instruct-q4_k_m.gguf -t 2 --port 8012 &
    python benchmarks/infill_endpoints.py --data HumanEval-SingleLineInfilling.jsonl.gz
        pellucid=http://127.0.0.1:8437

Decoding is greedy, and the first line of the answer counts. Further servers follow as NAME=URL.
``NAME=URL,100`` limits a server to the first 100 tasks; every other server's row is then also given
for those tasks. The tests run model-written code, see pellucid/learn/evaluate/sandbox/sandbox.py.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from pellucid.learn.evaluate.suites.code_gap_base import Task, judge, single_lines

MAX_TOKENS = 64
AT_ONCE = 2


@dataclass(frozen=True)
class Peer:
    name: str
    url: str
    limit: int | None

    @classmethod
    def parse(cls, text: str) -> Peer:
        name, _, address = text.partition("=")
        url, _, limit = address.partition(",")
        return cls(name, url, int(limit) if limit else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the tasks, .jsonl or .jsonl.gz")
    parser.add_argument("--limit", type=int, default=10**6, help="number of tasks, chosen with a fixed seed")
    parser.add_argument("servers", nargs="+", help="NAME=URL or NAME=URL,TASKS")
    options = parser.parse_args()
    tasks = single_lines(options.data, options.limit)
    peers = [Peer.parse(text) for text in options.servers]
    shared = min(len(tasks), *(peer.limit or len(tasks) for peer in peers))
    print(f"| server | tasks | pass@1 | of the first {shared} | seconds a task |\n|---|---|---|---|---|")
    for peer in peers:
        own = tasks[: peer.limit]
        begun = time.perf_counter()
        lines = asyncio.run(answers(peer.url, own))
        seconds = (time.perf_counter() - begun) / len(own)
        passed = asyncio.run(judged(own, [line + "\n" for line in lines]))
        common = passed[:shared]
        print(
            f"| {peer.name} | {len(own)} | {100 * sum(passed) / len(own):.1f} | {100 * sum(common) / shared:.1f} "
            f"| {seconds:.2f} |",
            flush=True,
        )


async def judged(tasks: Sequence[Task], lines: Sequence[str]) -> list[bool]:
    """Return whether the tests of each task pass."""
    return [outcome.passed for outcome in await asyncio.gather(*map(judge, tasks, lines))]


async def answers(url: str, tasks: Sequence[Task]) -> list[str]:
    """Return the first line of a server's answer for each task."""
    turns = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:

        async def answer(task: Task) -> str:
            body = {
                "input_prefix": task.prefix,
                "input_suffix": task.suffix,
                "n_predict": MAX_TOKENS,
                "temperature": 0,
                "stop": ["\n"],
            }
            async with turns:
                response = await client.post("/infill", json=body)
            response.raise_for_status()
            content: str = response.json()["content"]
            return content.partition("\n")[0]

        return await asyncio.gather(*map(answer, tasks))


if __name__ == "__main__":
    main()
