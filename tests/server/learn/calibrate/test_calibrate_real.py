"""Tests of the replay with the real model, compared with the language server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, GateLevel
from pellucid.completion.trust.calibration import Calibration
from pellucid.config import load_settings
from pellucid.learn.calibrate.cursors import draw
from pellucid.learn.calibrate.gate_levels import shown as shown_part
from pellucid.learn.calibrate.probability_models import predict
from pellucid.learn.calibrate.replay import Replay
from pellucid.learn.calibrate.replay_records import SuggestionRecord
from pellucid.learn.calibrate.training_rows import Table
from pellucid.learn.corpus import gather
from pellucid.serving.assemble import assemble
from pellucid.system.progress import Silent
from pellucid_lsp.editor_settings import EditorSettings
from support.servers.real_model_server import CODER

COUNT = 8
SOURCE = "\n\n".join(
    f"def area_of_{name}(width, height):\n    area = width * height\n    print('{name}', area)\n    return area\n"
    for name in ("table", "garden", "window", "mirror", "picture", "carpet")
)
"""A short program that the model continues with confidence, so prompts are short."""


def length_by(calibration: Calibration, record: SuggestionRecord) -> int:
    """Return the number of characters of a suggestion that the level normal shows."""
    if not record.parts:
        return 0
    table = Table.of([record])
    (row,) = shown_part(
        table, predict(calibration.kind, calibration.numbers, table.numbers), calibration.costs[GateLevel.NORMAL]
    )
    return record.parts[row].length if row >= 0 else 0


@pytest.mark.model
def test_as_the_language_server(tmp_path: Path) -> None:
    """The built-in calibration shows the same part of a replayed record as the language server."""
    (tmp_path / "areas.py").write_text(SOURCE)
    corpus = gather([tmp_path], suffixes=(".py",))
    texts = {document.name: document.text for document in corpus.documents}
    asks = [(cursor, suffix) for cursor in draw(corpus.documents, COUNT // 2) for suffix in (True, False)]
    records: list[SuggestionRecord] = []
    contexts: dict[tuple[str, bool], PromptContext] = {}
    engine, assistant = assemble(load_settings(prefix_memory=0, context=1024, slots=4), [CODER], Silent())

    async def shown(record: SuggestionRecord) -> int:
        (cursor, suffix) = next(
            (cursor, suffix)
            for cursor, suffix in asks
            if (cursor.document, cursor.at, suffix, cursor.kind)
            == (record.document, record.at, record.suffix, record.kind)
        )
        settings = EditorSettings(
            completion=replace(CompletionSettings(), ahead=False, budget_ms=0, level=GateLevel.NORMAL)
        )
        provider = FixedProvider(assistant)
        # As in an editor, a context remembers the windows of a file, because a suggestion depends
        # on the window's place.
        context = contexts.setdefault(
            (record.document, suffix), PromptContext(settings.context, ChunkRing(settings.context))
        )
        completer = Completer(settings.completion, ModelChoice(provider), context)
        found = await completer.suggest(cursor.place(texts[cursor.document], suffix=suffix))
        await completer.aclose()
        return len(found[0].text) if found else 0

    async def compare() -> list[tuple[int, int]]:
        await Replay(assistant, CODER, texts, records.append).run(asks, Silent())
        file = assistant.models.find(None).model.calibration
        assert file is not None
        builtin = file.builtin()
        assert builtin is not None
        calibration = Calibration.read(builtin)
        return [(length_by(calibration, record), await shown(record)) for record in records]

    try:
        pairs = asyncio.run(compare())
    finally:
        engine.close()

    assert len(pairs) == COUNT
    assert [ours for ours, _ in pairs] == [theirs for _, theirs in pairs]
    assert any(theirs for _, theirs in pairs), "something is shown"
