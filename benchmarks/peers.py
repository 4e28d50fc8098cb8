"""Compare the speed of Pellucid's server with other engines on the same GGUF file and threads.

    python benchmarks/peers.py --llama-bin FOLDER --ik-bin FOLDER --openvino PYTHON --threads 2

``--llama-bin`` is the folder of llama.cpp's llama-server and llama-bench, ``--ik-bin`` the folder
of ik_llama.cpp's llama-bench, ``--openvino`` the Python of an environment with openvino-genai. This
script starts and ends the servers; all have the model loaded, and only a single engine works at a
time. All get the same tasks in each round, and the next round has new tasks. A client measures the
time of an HTTP response; engines without a server report times.

A prompt without a measured prefill is requested once before, so that the prompt is in the cache. A
ratio is Pellucid's speed divided by the fastest peer's in the row. With ``--require`` the
script fails if a ratio is below the bar.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from common.code_tasks import Code, Edit, edits, pieces
from common.http_asker import Asker
from common.machine import about, llama_instructions, llama_version
from common.markdown_tables import table
from common.race_row import (
    BENCH,
    BFLOAT16,
    CONTESTANTS,
    FLOAT32,
    IK,
    LOOKUP,
    OPENVINO,
    OURS,
    THEIRS,
    TIMES,
    Bar,
    Row,
    titles,
)
from common.servers import gguf_file, llama_server, pellucid_server
from common.speed_reporters import IkLlamaBench, LlamaBench, OpenVino, SpeedReporter
from common.transformers_reporter import TransformersReporter
from pellucid.config import Settings
from pellucid.models.catalog import DEFAULT_MODEL

HAS_LOOKUP = "lookup" in Settings.model_fields
"""True if this version of Pellucid has prompt lookup."""

PREFILLS = (512, 2048)
ANSWER_TOKENS = 128
STREAMS = 4
STREAM_ANSWER = 96
EDIT_ANSWER = 600
ALTERNATIVES = 5
CODE, SHORT_CODE = 1100, 370
"""Characters of code: about 300 and 100 tokens."""

CODE_TOKENS = 300
"""Tokens in llama-bench's cache before decoding."""

CONTEXT_TOKENS = 4096
"""Tokens of a stream."""

VOCABULARY = range(1000, 30_000)
"""Ids of ordinary tokens in the vocabularies of the catalog's models."""

WARM_UP = ("import os\n", "import re\n", "import ast\n", "import sys\n")

MAX_SLOWDOWN = 1.03
"""Largest slowdown by alternatives for every token."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of a round."""

    random_ids: Mapping[int, Sequence[int]]
    code: Code
    opening: Code
    streams: Sequence[str]
    new_streams: Sequence[str]
    edit: Edit


class Race:
    """The contestants and their figures so far."""

    def __init__(
        self,
        askers: Mapping[str, Asker],
        reporters: Mapping[str, SpeedReporter],
        versions: Sequence[str],
    ) -> None:
        self._askers = askers
        self._reporters = reporters
        self.versions = versions
        self.prefills = {count: Row(f"prefill of {count} random tokens", bar=Bar(OURS, 1.3)) for count in PREFILLS}
        self.decode = Row(f"decode of {ANSWER_TOKENS} tokens of code, one stream", bar=Bar(OURS, 1.15))
        self.edit = Row("edit of a file by instruction, including prefill", bar=Bar(LOOKUP, 1.8))
        self.edit_alone = Row("the same without prefill, by the servers' clocks")
        self.streams = Row(f"{STREAMS} streams together, prompts cached", bar=Bar(OURS, 1.5))
        self.new_streams = Row(f"{STREAMS} streams together, including prefill")
        self.first = Row("first token after more typing", TIMES)
        self.alternatives: list[float] = []
        """Slowdowns of answers with alternatives."""

    @property
    def rows(self) -> list[Row]:
        return [
            *self.prefills.values(),
            self.decode,
            self.edit,
            self.edit_alone,
            self.streams,
            self.new_streams,
            self.first,
        ]

    def warm_up(self) -> None:
        """Let every server compute once, so that no later task includes loading."""
        for asker in self._askers.values():
            at_once(asker, WARM_UP, known=True)

    def run(self, tasks: Tasks, number: int) -> None:
        """Run a round."""
        plain = [name for name in self._askers if name != LOOKUP]
        for count, row in self.prefills.items():
            self._each(row, plain, partial(prefill, ids=tasks.random_ids[count]))
        self._ask_reporters()
        self._each(self.decode, self._askers, partial(decode, prompt=tasks.code.text))
        self._change(tasks.edit)
        self._each(self.streams, plain, partial(at_once, prompts=tasks.streams, known=True))
        self._each(self.new_streams, plain, partial(at_once, prompts=tasks.new_streams, known=False))
        self._each(self.first, plain, partial(first_token, code=tasks.opening))
        self._compare_alternatives(tasks.code.text, number)

    def _each(self, row: Row, names: Iterable[str], work: Callable[[Asker], float]) -> None:
        for name in names:
            row.note(name, work(self._askers[name]))

    def _change(self, edit: Edit) -> None:
        """Time an answer that repeats most of the prompt, with prefill, because a user waits for
        both.
        """
        for name, asker in self._askers.items():
            reply = asker.chat(edit.question, EDIT_ANSWER)
            self.edit.note(name, reply.generated / reply.seconds)
            self.edit_alone.note(name, reply.generated / reply.decoding)

    def _ask_reporters(self) -> None:
        for name, reporter in self._reporters.items():
            for count, speed in reporter.prefills(PREFILLS).items():
                self.prefills[count].note(name, speed)
            self.decode.note(name, reporter.decode(ANSWER_TOKENS, CODE_TOKENS))

    def _compare_alternatives(self, prompt: str, number: int) -> None:
        """Time answers with and without alternatives, twice in alternating order, as the speed may
        drift.
        """
        for turn in range(2):
            order = (0, ALTERNATIVES) if (number + turn) % 2 else (ALTERNATIVES, 0)
            speeds = {count: decode(self._askers[OURS], prompt, count) for count in order}
            self.alternatives.append(speeds[0] / speeds[ALTERNATIVES])


def prefill(asker: Asker, ids: Sequence[int]) -> float:
    """Return the tokens per second of a prefill, including the first token of the answer."""
    reply = asker.complete(ids, 1)
    assert reply.computed >= len(ids) - 1, f"{len(ids) - reply.computed} tokens of a random prompt were in the cache"
    return len(ids) / reply.seconds


def decode(asker: Asker, prompt: str, alternatives: int = 0) -> float:
    """Return the tokens per second of an answer to a prompt in the cache."""
    asker.complete(prompt, 1)
    return ANSWER_TOKENS / asker.complete(prompt, ANSWER_TOKENS, alternatives).seconds


def first_token(asker: Asker, code: Code) -> float:
    """Return the milliseconds to the first token after the rest of a line was typed."""
    asker.complete(code.text, 1)
    return 1000 * asker.complete(code.text + code.rest, 1).seconds


def at_once(asker: Asker, prompts: Sequence[str], *, known: bool) -> float:
    """Return the tokens per second of all answers together; ``known`` prompts are in the cache."""
    for prompt in prompts if known else ():
        asker.complete(prompt, 1)
    with ThreadPoolExecutor(len(prompts)) as pool:
        begun = time.perf_counter()
        replies = list(pool.map(lambda prompt: asker.complete(prompt, STREAM_ANSWER), prompts))
        seconds = time.perf_counter() - begun
    return sum(reply.generated for reply in replies) / seconds


def drawn(rounds: int, seed: int) -> list[Tasks]:
    """Return the tasks of each round."""
    dice = random.Random()  # Not seeded: a prefix in the cache outlives the server.
    code, short = iter(pieces(2 * rounds, CODE, seed)), iter(pieces(2 * STREAMS * rounds, SHORT_CODE, seed + 1))
    files = edits(seed)
    return [
        Tasks(
            random_ids={count: dice.choices(VOCABULARY, k=count) for count in PREFILLS},
            code=next(code),
            opening=next(code),
            streams=[next(short).text for _ in range(STREAMS)],
            new_streams=[next(short).text for _ in range(STREAMS)],
            edit=files[number % len(files)],
        )
        for number in range(rounds)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", type=Path, metavar="FOLDER", help="folder of llama-server and llama-bench")
    parser.add_argument("--ik-bin", type=Path, metavar="FOLDER", help="folder of ik_llama.cpp's llama-bench")
    parser.add_argument("--openvino", type=Path, metavar="PYTHON", help="a Python that has openvino-genai")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--transformers", action="store_true", help="also measure generate of the transformers library, which is slow"
    )
    parser.add_argument("--require", action="store_true", help="fail if a bar is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every figure to")
    options = parser.parse_args()
    if not HAS_LOOKUP:
        print("This version of Pellucid has no setting `lookup`: its columns stay empty.", file=sys.stderr)
    path = gguf_file(options.model)
    with contestants(options, path) as race:
        race.warm_up()
        with Progress(
            *Progress.get_default_columns()[:2], MofNCompleteColumn(), console=Console(stderr=True)
        ) as progress:
            for number, tasks in enumerate(progress.track(drawn(options.rounds, options.seed), description="rounds")):
                race.run(tasks, number)
    print(about(*race.versions))
    print(f"{path.name}, {options.threads} threads, medians of {options.rounds} rounds\n")
    print(report(race))
    if options.json:
        found = {row.what: row.reached for row in race.rows} | {"with alternatives": race.alternatives}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    missed = shortfalls(race)
    if options.require and missed:
        raise SystemExit("\n".join(missed))


@contextmanager
def contestants(options: argparse.Namespace, path: Path) -> Iterator[Race]:
    """Run all servers with loaded models, and end all servers afterwards."""
    threads = str(options.threads)
    common = (
        "--model",
        options.model,
        "--threads",
        threads,
        "--context",
        str(CONTEXT_TOKENS),
        "--slots",
        str(STREAMS),
        "--no-page",
    )
    ours = {OURS: ("--no-lookup",), LOOKUP: ("--lookup",)} if HAS_LOOKUP else {OURS: ()}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(pellucid_server(*common, *flags)) for name, flags in ours.items()}
        versions: list[str] = []
        reporters: dict[str, SpeedReporter] = {}
        if options.llama_bin:
            flags = ("-t", threads, "-c", str(STREAMS * CONTEXT_TOKENS), "-np", str(STREAMS))
            servers[THEIRS] = stack.enter_context(llama_server(options.llama_bin, path, *flags))
            reporters[BENCH] = LlamaBench(options.llama_bin, path, options.threads)
            versions += [llama_version(options.llama_bin), llama_instructions(options.llama_bin)]
        askers = {name: stack.enter_context(closing(Asker(server.url))) for name, server in servers.items()}
        if options.ik_bin:
            ik = reporters[IK] = IkLlamaBench(options.ik_bin, path, options.threads)
            versions.append(f"ik_llama.cpp {ik.commit()}")
        if options.openvino:
            openvino = stack.enter_context(closing(OpenVino(options.openvino, path, options.threads)))
            reporters[OPENVINO] = openvino
            versions.append(openvino.version)
        if options.transformers:
            # The fastest type depends on the work and on the processor.
            for name, dtype in ((BFLOAT16, torch.bfloat16), (FLOAT32, torch.float32)):
                reporters[name] = TransformersReporter(path, options.threads, dtype)
            versions.append(f"transformers {metadata.version('transformers')}")
        yield Race(askers, reporters, versions)


def report(race: Race) -> str:
    longer = statistics.median(race.alternatives)
    note = (
        f"With top-{ALTERNATIVES} logprobs, an answer of Pellucid's takes {longer:.3f} times as long "
        f"(at most {MAX_SLOWDOWN})."
    )
    measured = [who for who in CONTESTANTS if any(who in row.reached for row in race.rows)]
    return f"{table(titles(measured), [row.cells(measured) for row in race.rows])}\n\n{note}"


def shortfalls(race: Race) -> list[str]:
    """Return a sentence for each missed bar."""
    missed = [row.missed for row in race.rows if row.missed]
    longer = statistics.median(race.alternatives)
    if longer > MAX_SLOWDOWN:
        missed.append(
            f"An answer with logprobs takes {longer:.3f} times as long and may take at most {MAX_SLOWDOWN} times."
        )
    return missed


if __name__ == "__main__":
    main()
