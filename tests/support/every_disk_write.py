"""Functions that write to a disk, with a folder and a number as arguments.

The same number writes the same data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.bench import plot
from pellucid.cli import suggestion_log_commands
from pellucid.completion.off_switch import Switch
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction, SuggestionLog
from pellucid.door.api_keys import read_keys
from pellucid.engine.kv_cache.kv_snapshot import KVSnapshot
from pellucid.engine.model import CacheShape
from pellucid.errors import PellucidError
from pellucid.learn.calibrate import replay_records as replay_files
from pellucid.learn.evaluate import command as evaluate
from pellucid.learn.evaluate.results import EvaluationResults
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suite_records import open_records
from pellucid.learn.train import checkpoint, loss_curves
from pellucid.models import calibrations, export_model
from pellucid.models.adapter_folder import read_card
from pellucid.models.load import load, open_checkpoint
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.system.svg import write_picture
from pellucid_lsp.model_server import server_process
from pellucid_webui.conversations.conversation import USER
from pellucid_webui.conversations.storage.blind_reviews import AnswerPair, Judgement, Review, Reviews, Verdict
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.login_sessions import LoginSessions
from support.bench_reports import report
from support.learn.calibration_records import record as calibration_record
from support.models.model_files import byte_level_bpe, write_folder, write_gguf
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_models import random_ids, tiny_llama, to_decoder

VOCAB = 320
LONG = "x" * 20_000
"""More than fits into a page, so that a full disk refuses the data."""

Write = Callable[[Path, int], None]


def conversations(folder: Path, number: int) -> None:
    """Add a message to a new conversation."""
    with closing(ConversationStore(folder / "conversations.db")) as store:
        store.add("ann", store.create("ann", TurnSettings(), f"{number}"), None, USER, LONG)


def sessions(folder: Path, number: int) -> None:
    """Log in from many browsers; each number is a different user."""
    with closing(LoginSessions(folder / "sessions.db", read_keys("anna:key-of-anna,ben:key-of-ben"))) as file:
        for _ in range(100):
            file.begin(("anna", "ben")[number], f"{number}" * 300)


def review(folder: Path, number: int) -> None:
    """Begin a review."""
    Reviews(folder / "reviews").create(Review(f"review-{number}", "a", "b", (AnswerPair(LONG, "a", "b"),)))


def judgement(folder: Path, number: int) -> None:
    """Judge a pair; the note contains the end mark of a record."""
    reviews = Reviews(folder / "reviews")
    if "judged" not in reviews.names():
        reviews.create(Review("judged", "a", "b", (AnswerPair("p", "a", "b"),)))
    reviews.judge("judged", Judgement(0, f"rater {number}", Verdict.A, note="}" * len(LONG)))
    assert f"rater {number}" in [one.rater for one in reviews.judgements("judged")]


def suggestion_log(folder: Path, number: int) -> None:
    """Log a suggestion."""
    entry = LogEntry(f"s-{number}", LONG, "python", "normal", "", Reaction.ACCEPTED, 13, 13, (1.0,), None, (0.5,))
    SuggestionLog(folder / "suggestions.sqlite").write(entry)


def log_export(folder: Path, number: int) -> None:
    """Export a log from a different disk."""
    data = folder.with_name("elsewhere")
    for one in range(number + 1):
        suggestion_log(data, one)
    suggestion_log_commands.export(folder / "exported", data)


def packed_weights(folder: Path, number: int) -> None:
    """Load a model from a different disk, and pack the model here."""
    model = folder.with_name(f"model-{number}.gguf")
    if not model.exists():
        shape: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 96}
        write_gguf(model, tiny_llama(number, **shape), "llama", byte_level_bpe(VOCAB))
    load(str(model), device="cpu", quant="int8", store=Store(folder), progress=Silent())


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def prefixes(folder: Path, number: int) -> None:
    """Save the prefixes of a server during shutdown, and raise a logged warning as an error."""
    shape = CacheShape(layers=2, kv_heads=1, head_dim=4, dtype="float16")
    content = np.full((4, 1, 2000, 4), number, np.float16)
    source = folder.with_name("model.gguf")
    source.touch()
    warnings = _Warnings()
    logger = logging.getLogger("pellucid.models.saved_prefixes")
    logger.addHandler(warnings)
    try:
        file = PrefixFile(folder / "prefixes" / "tiny.safetensors", "key", shape, source)
        file.read()
        file.write([KVSnapshot(np.array(random_ids(2000, number)), content)])
        if not number:
            # The partial file of a killed server.
            (file.path.parent / f"{file.path.name}.1.part").touch()
    finally:
        logger.removeHandler(warnings)
    if warnings.messages:
        raise PellucidError(*warnings.messages)


def pull(folder: Path, number: int) -> None:
    """Fetch a model from the hub into a cache with different contents."""
    if number:
        Store(folder).pull("org/tiny", Silent())
    else:
        calibration(folder, number)


def calibration(folder: Path, number: int) -> None:
    """Write the result of a calibration."""
    calibrations.write(folder / "calibrations" / "tiny.json", {"about": LONG, "number": number}, "key")


def replay_records(folder: Path, number: int) -> None:
    """Append to the records of a replay."""
    with replay_files.open_records(folder / "records.jsonl", {"model": "m"}) as file:
        for n in range(100 * number, 100 * number + 100):
            file.append(calibration_record(n, 0.5, True))


def evaluation_records(folder: Path, number: int) -> None:
    """Append to the records of an evaluation."""
    with open_records(folder / "tiny" / "suite.jsonl", "suite", {"name": "tiny"}, {}) as file:
        file.append(SuiteRecord(f"question {number}", "u", {"said": LONG}))


def evaluation_report(folder: Path, number: int) -> None:
    """Write the results of an evaluation and their page."""
    results = EvaluationResults()
    for _ in range(number + 1):
        evaluate._save(results, folder)


def bench_plot(folder: Path, number: int) -> None:
    """Draw a benchmark."""
    write_picture(folder / "bench.svg", plot.picture(report(date=f"2026-11-2{number}T00:00:00+00:00")))


def training_curves(folder: Path, number: int) -> None:
    """Draw how a training goes."""
    loss_curves.draw(
        folder / "loss_curves.svg", [checkpoint.LossPoint(step, 1.0 + number, 2.0) for step in range(1, 400)], 400, {}
    )


def merged_folder(folder: Path, number: int) -> None:
    """Merge an adapter into a model in a folder."""
    base = folder.with_name("base")
    if not base.exists():
        tiny_llama(vocab_size=VOCAB).save_pretrained(base)
        write_folder(base, byte_level_bpe(VOCAB))
    _merge(base, folder / f"merged-{number}")


def merged_file(folder: Path, number: int) -> None:
    """Merge an adapter into a model in a GGUF file."""
    base = folder.with_name("base.gguf")
    if not base.exists():
        write_gguf(base, tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    _merge(base, folder / f"merged-{number}")


def _merge(base: Path, merged: Path) -> None:
    elsewhere = merged.parent.with_name("elsewhere")
    adapter = write_adapter(elsewhere / "mine", random_adapter(to_decoder(tiny_llama(vocab_size=VOCAB)).config))
    checkpoint = open_checkpoint(str(base), store=Store(elsewhere), progress=Silent())
    export_model.merge(checkpoint, read_card(adapter), merged, "float32", Silent())


def switch(folder: Path, number: int) -> None:
    """Switch suggestions off in many folders."""
    Switch(folder / "switch.json", [f"/{number}/{one:0100}" for one in range(100)]).toggle_here()


def server_record(folder: Path, number: int) -> None:
    """Record a server as started by an editor."""
    server_process.ServerRecord(os.getpid(), ("python", LONG, str(number))).save(folder / "8437.json")
