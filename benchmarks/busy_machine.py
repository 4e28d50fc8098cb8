"""Measure the time of a completion on a busy machine, next to llama-server.

    python benchmarks/busy_machine.py --llama-bin FOLDER --busy 0 16 --json under_load.json

Each request has a few more letters of the same code than the previous request, as if typed, and
asks for a short completion. Both servers have the model loaded and answer the same requests in
alternation, under the same load. Without ``--llama-bin`` only Pellucid is measured.

The busy processes are shell loops that end after ``--limit`` seconds, even if this script is
killed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from common.http_asker import Asker
from common.servers import gguf_file, llama_server, pellucid_server
from pellucid.models.catalog import DEFAULT_MODEL

OURS, THEIRS = "Pellucid", "llama-server"
CONTEXT_TOKENS = 2048
SHARES = (0.5, 0.95)
"""Quantiles in the table."""
KEYSTROKE_LETTERS = 3
"""Letters between two requests."""

CODE = '''import json
from pathlib import Path


def read_settings(path: Path) -> dict[str, str]:
    """Read the settings of a file, and the defaults of what it does not name."""
    settings = json.loads(path.read_text())
    return DEFAULTS | {name: str(value) for name, value in settings.items()}


def write_settings(path: Path, settings: dict[str, str]) -> None:
    """Write settings in order, without those that are the default."""
    changed = {name: value for name, value in sorted(settings.items()) if DEFAULTS.get(name) != value}
    path.write_text(json.dumps(changed, indent=2))
'''
OPENING_LETTERS = 190
"""Letters before the first request: about 50 tokens."""


@contextmanager
def busy(count: int, limit: float) -> Iterator[None]:
    """Keep ``count`` processes computing.

    They end on exit, and after ``limit`` seconds in any case.
    """
    command = ["timeout", str(limit), "sh", "-c", "while :; do :; done"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()  # timeout passes the signal on.
        for process in processes:
            process.wait()


def prompts(count: int) -> Sequence[str]:
    """Return the code so far at each request."""
    assert OPENING_LETTERS + count * KEYSTROKE_LETTERS <= len(CODE), "there is no more code to type"
    return [CODE[: OPENING_LETTERS + number * KEYSTROKE_LETTERS] for number in range(count)]


def measure(askers: dict[str, Asker], requests: int, tokens: int, deadline: float) -> dict[str, list[float]]:
    """Return the seconds of each completion by server. No request is sent after the deadline."""
    found: dict[str, list[float]] = {name: [] for name in askers}
    for number, prompt in enumerate(prompts(requests)):
        names = list(askers) if number % 2 else list(reversed(askers))
        for name in names:
            if time.monotonic() < deadline:
                found[name].append(askers[name].complete(prompt, tokens).seconds)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(found: dict[int, dict[str, list[float]]]) -> str:
    lines = [
        "| busy processes | server | completions | p50, ms | p95, ms | of llama-server's p50 | of its p95 |",
        "|---|---|---|---|---|---|---|",
    ]
    for count, servers in found.items():
        for name, seconds in servers.items():
            theirs = servers.get(THEIRS)
            cells = [str(count), name, str(len(seconds))]
            cells += [f"{1000 * percentile(seconds, share):.0f}" if seconds else "" for share in SHARES]
            cells += [
                f"{percentile(seconds, share) / percentile(theirs, share):.2f}" if seconds and theirs else ""
                for share in SHARES
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", type=Path, metavar="FOLDER", help="folder of llama-server")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--busy", type=int, nargs="+", default=[0, 16], metavar="COUNT", help="numbers of busy processes, one turn each"
    )
    parser.add_argument("--requests", type=int, default=20, help="completions of each server in each turn")
    parser.add_argument("--tokens", type=int, default=24, help="tokens of a completion")
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a turn ends")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every figure to")
    options = parser.parse_args()
    threads = str(options.threads)
    found = {}
    with ExitStack() as stack:
        flags = (
            "--model",
            options.model,
            "--threads",
            threads,
            "--context",
            str(CONTEXT_TOKENS),
            "--slots",
            "1",
            "--no-page",
            "--no-lookup",
        )
        servers = {OURS: stack.enter_context(pellucid_server(*flags))}
        if options.llama_bin:
            theirs = ("-t", threads, "-c", str(CONTEXT_TOKENS), "-np", "1")
            servers[THEIRS] = stack.enter_context(llama_server(options.llama_bin, gguf_file(options.model), *theirs))
        askers = {name: stack.enter_context(closing(Asker(server.url))) for name, server in servers.items()}
        for count in options.busy:
            with busy(count, options.limit + 60):
                found[count] = measure(askers, options.requests, options.tokens, time.monotonic() + options.limit)
    print(report(found))
    for name in askers:
        medians = {count: statistics.median(servers[name]) for count, servers in found.items() if servers[name]}
        print(
            f"{name}: " + ", ".join(f"{1000 * seconds:.0f} ms with {count} busy" for count, seconds in medians.items())
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
