"""Measure edits by instruction on CanItEdit, next to llama-server over the same GGUF file.

    python benchmarks/instructed_edits.py --tasks tasks.jsonl --count 40 --llama-bin FOLDER

llama-server receives the requests of llama.vim's :LlamaInstruct. ``--tasks`` has a task of
CanItEdit per line: id, before, tests, instruction_descriptive and instruction_lazy. The licence
permits measurements with the tasks, but no training. The whole program is the selection, and both
sides answer greedily. An edit is right if the program passes the task's hidden tests, which run in
a sandbox with the standard library only: tasks with a right program (``after``) that fails there
are left out. The tests run model-written code, see pellucid/learn/evaluate/sandbox/sandbox.py.

"tokens/s" is the speed of the edits. "free" is the speed of as many tokens of unrelated text,
without help from prompt lookup.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.http_asker import TIMEOUT_SECONDS
from common.machine import about, llama_version
from common.markdown_tables import table
from common.servers import gguf_file, llama_server, pellucid_server
from pellucid.client.http_client import Client
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit
from pellucid.completion.edits.by_instruction.instructed_edits import edit
from pellucid.learn.evaluate.sandbox.sandbox import Limits, run_program
from pellucid.learn.metrics import wilson
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.vocabulary.finish import Finish, Usage
from pellucid.vocabulary.query import CompletionQuery, SamplingParams

KINDS = ("descriptive", "lazy")
LIMITS = Limits(seconds=20)
OURS, THEIRS = "Pellucid", "llama-server"


@dataclass(frozen=True, slots=True)
class Task:
    """A program, an instruction, and the hidden tests."""

    id: int
    kind: str
    before: str
    instruction: str
    tests: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A server's edit; ``changed`` is false without an edit.

    ``free`` is the time of as many tokens of unrelated text.
    """

    server: str
    kind: str
    right: bool
    changed: bool
    tokens: int = 0
    seconds: float = 0.0
    free: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, required=True, help="the tasks as JSON lines")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--count", type=int, help="programs at most, evenly chosen; by default all")
    parser.add_argument("--most-characters", type=int, default=100_000, help="leave out longer programs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--server", metavar="URL", help="a running pellucid serve; by default one is started")
    parser.add_argument(
        "--llama-bin", type=Path, metavar="FOLDER", help="folder of llama-server; without it only Pellucid answers"
    )
    options = parser.parse_args()
    # A shell's background job ignores SIGINT.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    tasks = read_tasks(options.tasks, options.kinds, options.count, options.most_characters)
    outcomes: list[Outcome] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with ExitStack() as stack, Progress(*columns, console=Console(stderr=True)) as progress, asyncio.Runner() as runner:
        url = options.server or stack.enter_context(pellucid_server("--model", options.model)).url
        peer = None
        if options.llama_bin is not None:
            peer = stack.enter_context(
                llama_server(options.llama_bin, gguf_file(options.model), "--jinja", "-c", "8192")
            ).url
        http = stack.enter_context(httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False))
        for task in progress.track(tasks, description="edits"):
            try:
                ours = runner.run(ask_pellucid(url, task))
                theirs = [ask_llama_server(http, peer, task)] if peer is not None else []
            except KeyboardInterrupt:  # A run takes an hour: keep the results.
                break
            outcomes += [ours, *theirs]
            progress.console.print(
                f"{task.id} {task.kind}: "
                f"{', '.join(one.server for one in (ours, *theirs) if one.right) or 'none'} right"
            )
    if options.llama_bin is None:
        print("llama-server was not asked: --llama-bin names its folder.")
    print(about(*([llama_version(options.llama_bin)] if options.llama_bin else [])))
    print(report(outcomes, options.kinds))


def read_tasks(path: Path, kinds: Sequence[str], count: int | None, most: int) -> list[Task]:
    """Return the tasks with a right program that passes the tests in the sandbox."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    able = [one for one in found if len(one["before"]) <= most and passes(one["after"], one["tests"])]
    count = min(count or len(able), len(able))
    chosen = [able[index * len(able) // count] for index in range(count)]
    print(f"{len(found)} programs, {len(able)} able to run here, {count} chosen")
    return [
        Task(one["id"], kind, one["before"], one[f"instruction_{kind}"], one["tests"])
        for one in chosen
        for kind in kinds
    ]


def passes(program: str, tests: str) -> bool:
    """Return whether a program passes tests."""
    return run_program(f"{program}\n\n{tests}\n", LIMITS).passed


async def ask_pellucid(url: str, task: Task) -> Outcome:
    """Return Pellucid's edit of a program, and the time of as many tokens of unrelated text."""
    async with Client(url) as client:
        query = EditQuery("", task.before, "", task.instruction, path="program.py", language="python")
        async with aclosing(edit(client, query)) as items:
            made = [item async for item in items][-1]
        assert isinstance(made, InstructedEdit)
        used = made.usage
        free = await free_decoding(client, used.generated) if used.generated > 1 else Usage()
    right = made.reason is None and passes(made.text, task.tests)
    return Outcome(OURS, task.kind, right, made.reason is None, used.generated, used.decode, free.decode)


async def free_decoding(client: Client, count: int) -> Usage:
    """Return the usage of ``count`` tokens of a text without repetitions."""
    params = SamplingParams(max_tokens=count, temperature=1.5, seed=count, ignore_eos=True)
    async with aclosing(client.complete(CompletionQuery("Once upon a time", params=params))) as items:
        async for item in items:
            if isinstance(item, Finish):
                return item.usage
    raise AssertionError("a stream ends with its Finish")


def ask_llama_server(http: httpx.Client, url: str, task: Task) -> Outcome:
    """Return llama-server's edit of a program: the whole answer without a fence."""
    begun = time.perf_counter()
    messages = [
        {"role": "system", "content": llama_vim_system(task.before)},
        {"role": "user", "content": f"INSTRUCTION: {task.instruction}"},
    ]
    body = {"messages": messages, "temperature": 0, "max_tokens": 256 + len(task.before) // 2, "cache_prompt": True}
    reply = http.post(f"{url}/v1/chat/completions", json=body)
    reply.raise_for_status()
    answer = reply.json()
    text = unfenced(answer["choices"][0]["message"]["content"])
    timings = answer.get("timings", {})
    seconds = timings.get("predicted_ms", 1000 * (time.perf_counter() - begun)) / 1000
    changed = text.strip() != task.before.strip()
    return Outcome(
        THEIRS, task.kind, changed and passes(text, task.tests), changed, answer["usage"]["completion_tokens"], seconds
    )


def llama_vim_system(selection: str) -> str:
    """Return the system message for a whole file, in the shape of llama.vim's message."""
    parts = {"CONTEXT": "program.py", "PREFIX": "", "SELECTION": selection, "SUFFIX": ""}
    ruled = "\n".join(f"--- {name} ---\n{text}" for name, text in parts.items())
    return (
        "You are a text-editing assistant. Modify only the SELECTION by the instruction, "
        f"and output only the modified text.\n{ruled}"
    )


def unfenced(answer: str) -> str:
    """Return the first fenced block of an answer, or the whole answer."""
    lines = answer.split("\n")
    fences = [index for index, line in enumerate(lines) if line.startswith("```")]
    if not fences:
        return answer
    end = fences[1] if len(fences) > 1 else len(lines)
    return "\n".join(lines[fences[0] + 1 : end]) + "\n"


def report(outcomes: Sequence[Outcome], kinds: Sequence[str]) -> str:
    """Return the table with the share of right edits and the speeds, by instruction and server."""
    rows = []
    for kinds_of_row in [*([kind] for kind in kinds), kinds]:
        for server in dict.fromkeys(one.server for one in outcomes):
            own = [one for one in outcomes if one.server == server and one.kind in kinds_of_row]
            right = wilson(sum(one.right for one in own), len(own))
            tokens, seconds, free = (
                sum(values) for values in zip(*((one.tokens, one.seconds, one.free) for one in own), strict=True)
            )
            speed = tokens / seconds if seconds else 0.0
            free_speed = f"{tokens / free:.1f} ({speed * free / tokens:.1f} times)" if free else ""
            shares = (
                f"{right.value:.1%} ({right.low:.1%} to {right.high:.1%})",
                f"{sum(one.changed for one in own) / len(own):.0%}",
            )
            rows.append([" + ".join(kinds_of_row), server, str(len(own)), *shares, f"{speed:.1f}", free_speed])
    return table(("instruction", "server", "edits", "right (95 %)", "changed", "tokens/s", "free"), rows)


if __name__ == "__main__":
    main()
