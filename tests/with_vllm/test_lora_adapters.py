"""Adapters over a real vLLM are loaded, replaced and unloaded, and answer like in our engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.engine.decoders import torch_packing
from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.errors import AdapterError
from pellucid.fleet.fleet import Fleet
from pellucid.models.store import Store
from pellucid.serving.assemble import assemble
from pellucid.serving.assemble_front import assemble_front, join_engines
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from support.fleet.real_vllm import float_folder, start_vllm
from support.models.tiny_adapters import random_adapter, write_adapter
from support.page.page_fixtures import SMALL

MODEL = f"{SMALL}:mine"
TEXTS = ["def add(a, b):\n    ", "Once upon a time", "The three primary colours are red, green and blue. " * 8]
"""Prompts; the last prompt is longer than a block of the engine's cache."""


async def tokens(assistant: LocalAssistant, text: str, model: str) -> list[Token]:
    """Return a greedy answer."""
    query = CompletionQuery(text, params=SamplingParams(max_tokens=8, top_logprobs=5), model=model)
    async with aclosing(assistant.complete(query)) as items:
        return [item async for item in items if isinstance(item, Token)]


def near(folder: Path, cache: Path) -> LocalAssistant:
    """Return an assistant with the adapter in our engine, in float32."""
    settings = load_settings(models=(str(folder),), quant="none", context=1024, cache=cache, adapters=("mine",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_packing, "multiplies_bfloat16", lambda device: False)
        return assemble(settings, settings.models, Silent(), adapters=settings.adapters)[1]


def assert_same(far: Sequence[Token], here: Sequence[Token]) -> None:
    assert [token.id for token in far] == [token.id for token in here]
    assert [token.logprob for token in far] == pytest.approx([token.logprob for token in here], abs=1e-3)


@pytest.mark.timeout(900)
async def test_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter answers like in our engine, even after a replacement, until unloaded."""
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    folder, store = float_folder(SMALL, tmp_path / SMALL), Store(tmp_path / "cache")
    engine = start_vllm(folder, SMALL, tmp_path / "vllm", "--enable-lora", "--max-lora-rank", "8")
    try:
        await asyncio.to_thread(engine.wait)
        settings = load_settings(models=(f"{SMALL}={folder}",), engines=(engine.url,), cache=store.root)
        parts = await asyncio.to_thread(assemble_front, settings, Silent())
        await join_engines(parts)
        adapters, members, fleet = parts.adapters, parts.membership, parts.engine
        assert adapters is not None
        assert members is not None
        assert isinstance(fleet, Fleet)
        before = {text: await tokens(parts.assistant, text, SMALL) for text in TEXTS}
        for seed in range(2):
            config = await asyncio.to_thread(shape, folder, tmp_path / "bare")
            write_adapter(store.adapters / "mine", random_adapter(config, seed=seed, size=0.02))
            status = await adapters.load("mine")
            assert (status.id, status.problem) == (MODEL, None)
            here = await asyncio.to_thread(near, folder, store.root)
            for text in TEXTS:
                found = await tokens(parts.assistant, text, MODEL)
                assert_same(found, await tokens(here, text, f"{folder.name}:mine"))
                assert [token.logprob for token in found] != [token.logprob for token in before[text]]
                assert_same(await tokens(parts.assistant, text, SMALL), before[text])

        write_adapter(store.adapters / "large", random_adapter(config, rank=16))
        with pytest.raises(AdapterError, match=r"It refuses the adapter: .*rank"):
            await adapters.load("large", model=SMALL)
        await adapters.unload(MODEL)
        async with asyncio.timeout(30):
            while MODEL in members.replicas()[0].adapters:
                await asyncio.sleep(0.05)
        await members.update()
        assert [card.name for card in parts.assistant.models.cards()] == [SMALL]
        await fleet.replicas.disconnect()
    finally:
        engine.kill()


def shape(folder: Path, cache: Path) -> DecoderConfig:
    """Return the configuration of a folder's model, as in our decoder."""
    settings = load_settings(models=(str(folder),), quant="none", context=64, cache=cache)
    engine, _ = assemble(settings, settings.models, Silent())
    try:
        model = engine.model(folder.name)
        assert isinstance(model, Decoder)
        return model.config
    finally:
        engine.close()
