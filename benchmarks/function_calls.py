"""Compare tool calls with llama-server's on the Berkeley Function-Calling Leaderboard.

    pip download --no-deps bfcl-eval
    python benchmarks/function_calls.py --wheel bfcl_eval-*.whl --count 100 --llama-bin FOLDER

Both servers use the same GGUF file and answer greedily. Each task is a question and some functions.
A right answer has exactly the right calls, with a right value for each argument; in the category
irrelevance there are no calls. Several calls are allowed only in the category parallel. ``--choice
required`` demands a call, which only changes the categories with calls.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from common.function_call_tasks import CATEGORIES, Call, CallTask, read_tasks
from common.http_asker import TIMEOUT_SECONDS
from common.machine import about, llama_version
from common.markdown_tables import table
from common.servers import gguf_file, llama_server, pellucid_server
from pellucid.learn.metrics import wilson
from pellucid.models.catalog import DEFAULT_MODEL

MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """A server's answer to a task.

    ``whole`` is false if the arguments of a call are not a JSON object.
    """

    server: str
    category: str
    right: bool
    calls: int
    whole: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel of bfcl-eval, which holds the tasks")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--count", type=int, default=100, help="tasks of each category")
    parser.add_argument("--categories", nargs="+", choices=CATEGORIES, default=list(CATEGORIES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--choice", choices=("auto", "required"), default="auto")
    parser.add_argument(
        "--llama-bin", type=Path, metavar="FOLDER", help="folder of llama-server; without it only Pellucid answers"
    )
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with (
        ExitStack() as servers,
        Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress,
    ):
        urls = {"Pellucid": servers.enter_context(pellucid_server("--model", options.model)).url}
        if options.llama_bin is not None:
            peer = llama_server(options.llama_bin, gguf_file(options.model), "--jinja", "-c", "8192")
            urls["llama-server"] = servers.enter_context(peer).url
        http = servers.enter_context(httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False))
        for category in options.categories:
            tasks = read_tasks(options.wheel, category, options.count, options.seed)
            for task in progress.track(tasks, description=category):
                outcomes += [ask(http, name, url, category, task, options.choice) for name, url in urls.items()]
            # Print now, because a run takes an hour.
            progress.console.print(report(outcomes, list(urls), [category]), soft_wrap=True)
    print(about(*([llama_version(options.llama_bin)] if options.llama_bin else [])))
    print(report(outcomes, list(urls), options.categories))


def ask(http: httpx.Client, name: str, url: str, category: str, task: CallTask, choice: str) -> Outcome:
    """Return a server's answer to a task; raise httpx.HTTPStatusError for a refusal."""
    body = {
        "messages": task.messages,
        "tools": task.tools,
        "tool_choice": choice,
        "parallel_tool_calls": category == "parallel",
    }
    reply = http.post(f"{url}/v1/chat/completions", json=body | {"temperature": 0, "max_tokens": MAX_TOKENS})
    reply.raise_for_status()
    given = reply.json()["choices"][0]["message"].get("tool_calls") or []
    calls = [read_call(one["function"]) for one in given]
    whole = [call for call in calls if call is not None]
    right = len(whole) == len(calls) and task.is_right(whole)
    return Outcome(name, category, right, len(calls), len(whole) == len(calls))


def read_call(function: dict[str, Any]) -> Call | None:
    """Return a call, or None if the arguments are not a JSON object."""
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return None
    return (function["name"], arguments) if isinstance(arguments, dict) else None


def report(outcomes: Sequence[Outcome], servers: Sequence[str], categories: Sequence[str]) -> str:
    """Return the table with the shares of right answers, of calls, and of whole arguments."""
    rows = []
    for category in categories:
        for server in servers:
            own = [one for one in outcomes if (one.server, one.category) == (server, category)]
            calling = [one for one in own if one.calls]
            right = wilson(sum(one.right for one in own), len(own))
            whole = f"{sum(one.whole for one in calling) / len(calling):.0%}" if calling else "none"
            shares = f"{right.value:.0%} ({right.low:.0%} to {right.high:.0%})", f"{len(calling) / len(own):.0%}", whole
            rows.append([category, server, str(len(own)), *shares])
    return table(("category", "server", "tasks", "right (95 %)", "with a call", "arguments are JSON"), rows)


if __name__ == "__main__":
    main()
