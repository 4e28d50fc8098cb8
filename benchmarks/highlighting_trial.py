"""Try to stall the server with code on the page, in every language that the page highlights.

    python benchmarks/highlighting_trial.py --languages 40

Each block has 20 kB of the same piece, slow for lexers: blank lines, brackets, quotes, long lines.
While the page renders the blocks, a second user asks the same server, with a tiny random model, to
tokenize and to complete. ``--languages`` takes a part of the languages, evenly spread.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html import escape, unescape
from pathlib import Path

import httpx

from common.machine import about
from common.markdown_tables import table

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from pellucid.api.server_state import ServerState
from pellucid_webui.conversations.markdown import highlighting
from pellucid_webui.conversations.markdown.highlighting import MAX_SECONDS, highlighted
from support.page.hostile_code import PIECES, code_of, languages
from support.servers.http_servers import TINY, live, tiny_assistant

TARGET_SECONDS = 0.5
PAUSE_SECONDS = 0.1
REQUESTS = (("/tokenize", {"content": "def f"}), ("/v1/completions", {"prompt": "def f", "max_tokens": 4}))


@dataclass
class Waits:
    """The seconds of a second user's requests, by path."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {path: [] for path, _ in REQUESTS})

    def ask(self, http: httpx.Client) -> None:
        for path, body in REQUESTS:
            begun = time.perf_counter()
            http.post(path, json=body).raise_for_status()
            self.seconds[path].append(time.perf_counter() - begun)

    def row(self, name: str) -> list[str]:
        return [name, *(f"{len(found)} asked, longest {max(found):.2f} s" for found in self.seconds.values())]


@dataclass
class Trial:
    """The results for all blocks: elapsed and processor seconds, and blocks without highlighting or
    with a changed text.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    plain: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    slowest: str = ""

    def block(self, language: str, name: str) -> None:
        source = code_of(PIECES[name])
        before, begun = processor_seconds(), time.perf_counter()
        html = highlighted(source, language)
        seconds, processor = time.perf_counter() - begun, processor_seconds() - before
        if processor >= max(self.processor, default=0):
            self.slowest = f"{name} in {language}"
        self.seconds.append(seconds)
        self.processor.append(processor)
        if html == escape(source) and processor > 0.9 * MAX_SECONDS:
            self.plain.append(f"{name} in {language}")
        if unescape(re.sub("</?span[^>]*>", "", html)) != source:
            self.changed.append(f"{name} in {language}")

    def rows(self) -> list[list[str]]:
        return [
            ["tried", str(len(self.seconds))],
            [f"over {TARGET_SECONDS} s by the clock", str(sum(one > TARGET_SECONDS for one in self.seconds))],
            [f"over {TARGET_SECONDS} s of processor time", str(sum(one > TARGET_SECONDS for one in self.processor))],
            ["most processor time", f"{max(self.processor):.2f} s ({self.slowest})"],
            ["shown without highlighting, as it took too long", str(len(self.plain))],
            ["shown with another text", str(len(self.changed))],
        ]


def processor_seconds() -> float:
    """Return the processor time of the highlighting process, started by the first block."""
    process = highlighting._process._process
    if process is None:
        return 0.0
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--languages", type=int, help="how many; without it, all")
    arguments.add_argument("--minutes", type=float, default=120.0, help="after which the rest is left out")
    options = arguments.parse_args()
    chosen = languages()
    chosen = chosen[:: max(1, len(chosen) // (options.languages or len(chosen)))]
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,))
    state.open(assistant, engine)
    trial, alone, meanwhile = Trial(), Waits(), Waits()
    highlighted("x", "python")
    with (
        live(state) as server,
        httpx.Client(base_url=server.url, timeout=600, trust_env=False) as http,
        ThreadPoolExecutor(1) as page,
    ):
        for _ in range(100):
            alone.ask(http)
        blocks = [page.submit(trial.block, language, name) for language in chosen for name in PIECES]
        late = time.monotonic() + 60 * options.minutes
        while not blocks[-1].done() and time.monotonic() < late:
            meanwhile.ask(http)
            time.sleep(PAUSE_SECONDS)
        for one in blocks:
            if not one.cancel():
                one.result()
    engine.close()
    print(about(), end="\n\n")
    print(table(["code", f"{len(chosen)} languages, {len(blocks)} blocks"], trial.rows()), end="\n\n")
    print(
        table(["requests of another user", *meanwhile.seconds], [alone.row("alone"), meanwhile.row("meanwhile")]),
        end="\n\n",
    )
    print("Without highlighting:", "; ".join(trial.plain) or "none")
    print("With another text:", "; ".join(trial.changed) or "none")


if __name__ == "__main__":
    main()
