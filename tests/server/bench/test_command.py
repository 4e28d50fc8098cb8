"""pellucid bench measures a tiny model from end to end, and explains skipped measurements."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import gguf
import pytest

from pellucid.bench import command, machine_limits, measure
from pellucid.bench.command import MULTIPLYING, READING, Rounds, disturbances, figures_of, least_cost, start_figures
from pellucid.bench.compare import read_report
from pellucid.bench.keystrokes import TypingSession
from pellucid.bench.measure import Quantity
from pellucid.bench.report import Unit
from pellucid.bench.report_tables import as_json
from pellucid.bench.start_time import Start, start_elsewhere
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.config import load_settings
from pellucid.engine.model_worker import CHUNKS
from pellucid.engine.native import calls
from pellucid.errors import UnavailableError
from pellucid.models.load import load, stored_step_bytes
from pellucid.models.store import Store
from pellucid.serving.saved_speeds import read_speeds
from pellucid.system import machine
from pellucid.system.progress import Silent
from support.bench_reports import report
from support.models.model_files import byte_level_bpe, write_folder, write_gguf
from support.models.tiny_models import tiny_llama

Run = Callable[..., tuple[int, str, str]]
VOCAB = 320

REPEATING = "decode, a text that repeats itself"
"""The only rate without a floor, because the share of right guesses depends on the text."""


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate the test from the developer's settings, cache, servers and load."""
    monkeypatch.setattr(machine, "load", lambda: 0.0)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PELLUCID_PORT", str(listener.getsockname()[1]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with a tiny Llama of 256 tokens and the tokenizer."""
    folder = tmp_path / "tiny"
    tiny_llama(vocab_size=VOCAB).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


@pytest.mark.process
def test_small_run(run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is in comparable JSON, the picture is drawn, and messages are on stderr."""
    monkeypatch.setattr(command, "QUICK", Rounds(trials=1, starts=1))
    monkeypatch.setattr(measure, "session", lambda: TypingSession("a = ", "ma", "\n"))
    monkeypatch.setattr(machine_limits, "SMALLEST_ARRAY", 1 << 20)
    picture = tmp_path / "bench.svg"

    code, out, err = run("bench", "--model", model, "--quick", "--json", "--quant", "none", "--plot", picture)

    assert code == 0, err
    assert not (tmp_path / "cache" / "prefixes").exists(), "the next run's first token would not be cold"
    (tmp_path / "saved.json").write_text(out)
    found = read_report(tmp_path / "saved.json")
    (speed,) = read_speeds(load_settings(quant="none")).values()
    assert not speed.estimated
    rows = {f"{figure.section}, {figure.name}": figure for figure in found.figures}
    assert list(rows)[:9] == [
        *(
            "machine, reads memory",
            "machine, multiplies",
            "prefill, 128 tokens",
            "decode, one stream",
            "decode, a token",
        ),
        REPEATING,
        *("streams, 1 together", "streams, 2 together", "streams, 4 together"),
    ]
    assert {"typing, first line, p95", "memory, weights", "start, importing", "start, the first token"} <= set(rows)
    assert all(row.value > 0 for row in rows.values())
    assert all(row.limit is not None for name, row in rows.items() if row.unit is Unit.RATE and name != REPEATING)
    assert found.model["name"] == "tiny"
    assert found.setup["context"] == 256
    assert found.setup["chunk"] == CHUNKS["cpu"]  # The effective value, not the configured 0.
    assert found.left_out[:2] == (
        "A prompt of 512 tokens: it takes 513 tokens, but the context holds 256.",
        "A prompt of 2048 tokens: it takes 2049 tokens, but the context holds 256.",
    )
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert err.splitlines()[-3:] == ["measuring (18 steps)", "starting (1 step)", f"The chart is in {picture}."]


def test_tables(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output has two tables in 80 columns, the skipped measurements, and the differences."""
    now = report(left_out=("A prompt.",), setup=report().setup | {"threads": 1})
    monkeypatch.setattr(command, "measure", lambda settings, rounds, notes: now)
    (tmp_path / "then.json").write_text(as_json(report(), None))

    code, out, err = run("bench", "--compare", tmp_path / "then.json")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert any(
        line.split() == ["one", "stream", "31.0", "tok/s", "30.0", "-", "32.0", "tok/s", "40.0", "tok/s", "78%"]
        for line in lines
    )
    assert any(line.split() == ["decode,", "one", "stream", "31.0", "tok/s", "31.0", "tok/s", "1.00"] for line in lines)
    assert {"skipped: A prompt.", "differs: setup, threads: 2 then, 1 now"} <= set(lines)
    assert all(len(line) <= 80 for line in lines if "tok/s" in line)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--compare", "none.json"], "none.json cannot be read: No such file or directory."),
        (["--plot", "bench.png"], "bench.png is not the name of an SVG file: use a name that ends in .svg."),
        (["--model", "no-such-model"], "There is no model 'no-such-model'"),
        (["--quant", "int3"], "--quant should be 'auto', 'none', 'half', 'int8' or 'int4', not 'int3'."),
    ],
)
def test_what_cannot_be(run: Run, arguments: list[str], sentence: str) -> None:
    """Wrong input ends with a single sentence before any measurement."""
    code, out, err = run("bench", *arguments)

    assert (code, out) == (1, "")
    assert err.startswith(f"pellucid: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("status", HealthStatus)
async def test_servers_are_reported(monkeypatch: pytest.MonkeyPatch, status: HealthStatus) -> None:
    """A server at the configured address is reported as a disturbance, and not refused."""

    async def server_health(client: Client) -> ServerHealth:
        return ServerHealth(status)

    monkeypatch.setattr(Client, "server_health", server_health)
    settings = load_settings()

    warning = [f"A server is at {settings.url} ({status}). Its work distorts these figures."]
    assert await disturbances(settings) == ([] if status is HealthStatus.ABSENT else warning)


@pytest.mark.parametrize(("load", "share"), [(None, ""), (0.24, ""), (0.25, "25%"), (3.0, "100%")])
async def test_busy_machines_are_reported(monkeypatch: pytest.MonkeyPatch, load: float | None, share: str) -> None:
    """Other load on the processors is reported, if the system knows the load."""
    monkeypatch.setattr(machine, "load", lambda: load)

    notes = await disturbances(load_settings())

    assert notes == (
        [
            (
                f"This machine was busy in the last minute ({share} of its processors). If that continues, it "
                "distorts these figures."
            )
        ]
        if share
        else []
    )


def test_note_reaches_the_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disturbance is on stderr and in the report."""

    async def disturbed(settings: object) -> list[str]:
        return ["Another program is running."]

    monkeypatch.setattr(command, "disturbances", disturbed)
    monkeypatch.setattr(command, "measure", lambda settings, rounds, notes: report(notes=tuple(notes)))

    _, out, err = run("bench", "--json")

    assert json.loads(out)["notes"] == ["Another program is running."]
    assert err == "Another program is running.\n"


def test_the_best_of_the_machine_is_the_floor() -> None:
    """Figures are medians, but the machine's rates and the limits are from the best samples."""
    rate = Quantity("decode", "one stream", Unit.RATE, lambda floors: floors.reading / floors.multiplying)

    figures = figures_of({READING: [10, 30, 20], MULTIPLYING: [2, 1, 5], rate: [1, 2, 9]})

    assert [figure.value for figure in figures] == [30, 5, 2]
    assert figures[2].limit == 6


def test_start_figures_without_memory() -> None:
    """Without a memory figure from the system, the report has no memory row."""
    starts = [Start(1, 2, 3, None), Start(3, 4, 5, None)]

    assert [(figure.name, figure.value) for figure in start_figures(starts)] == [
        ("importing", 2),
        ("loading the weights", 3),
        ("the first token", 4),
    ]


@pytest.mark.process
async def test_start_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed start is reported with the last line of the process."""
    (tmp_path / "numpy.py").write_text("raise RuntimeError('no numpy')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match=r"^A measured start failed: RuntimeError: no numpy$"):
        await start_elsewhere({"models": ["no-such-model"], "cache": str(tmp_path)})


@pytest.mark.parametrize(("quant", "is_stored"), [("auto", True), ("int4", False), ("none", True)])
def test_limits_follow_from_the_fewest_bytes(tmp_path: Path, quant: str, *, is_stored: bool) -> None:
    """Limits count the smaller of the file's blocks and the packed form."""
    if not calls.available():
        pytest.skip(calls.reason())
    model = tiny_llama(vocab_size=VOCAB, hidden_size=256, intermediate_size=256, head_dim=64)
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    matrices = [
        "output.weight",
        *(f"blk.{i}.{name}.weight" for i in range(model.config.num_hidden_layers) for name in names),
    ]
    zeros = dict.fromkeys(matrices, gguf.GGMLQuantizationType.Q6_K)
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", byte_level_bpe(VOCAB), zeros=zeros)
    served = load(str(path), device="cpu", quant=quant, store=Store(tmp_path / "cache"), progress=Silent())
    packed = served.model.cost
    assert packed is not None

    cost = least_cost(served.model, served)

    stored = stored_step_bytes((path,))
    assert cost == replace(packed, read_bytes=stored if is_stored else packed.read_bytes)
    assert cost.read_bytes == min(stored, packed.read_bytes)
