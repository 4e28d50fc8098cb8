"""Compares the answers of remote engines with Pellucid's engine, with the same float32 weights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.engine.decoders import torch_packing
from pellucid.serving.assemble import assemble
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.token import Token

SURE_RANK = 1000
"""Tokens of higher ranks are so alike that rounding may exchange neighbours."""


def load_float32(folder: Path, tmp_path: Path, lookup: bool = True) -> LocalAssistant:
    """Return an assistant with a folder's weights in float32, even if bfloat16 would be faster."""
    settings = load_settings(models=(str(folder),), quant="none", context=4095, cache=tmp_path, lookup=lookup)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_packing, "multiplies_bfloat16", lambda device: False)
        return assemble(settings, settings.models, Silent())[1]


async def tokens_of(stream: AsyncIterator[Token | Finish]) -> tuple[list[Token], Finish]:
    """Return the tokens and the end of an answer."""
    found: list[Token] = []
    async with aclosing(stream) as items:  # type: ignore[type-var]
        async for item in items:
            if isinstance(item, Finish):
                return found, item
            found.append(item)
    raise AssertionError("an answer ends with a Finish")


def assert_same(near: Sequence[Token], far: Sequence[Token]) -> None:
    """Assert that two answers agree in all values reported by vLLM."""
    assert [token.id for token in far] == [token.id for token in near]
    assert [token.text for token in far] == [token.text for token in near]
    for one, other in zip(near, far, strict=True):
        if one.logprob is None or one.entropy is None or one.rank is None:
            continue
        assert other.rank == (one.rank if one.rank <= SURE_RANK else pytest.approx(one.rank, rel=1e-3))
        assert other.logprob == pytest.approx(one.logprob, abs=1e-3)
        assert other.rest == pytest.approx(one.rest, abs=1e-3)
        assert [alternative.id for alternative in other.top] == [alternative.id for alternative in one.top]
        least, most = other.entropy_range or (other.entropy, other.entropy)
        assert least is not None
        assert most is not None
        assert least - 1e-3 <= one.entropy <= most + 1e-3
