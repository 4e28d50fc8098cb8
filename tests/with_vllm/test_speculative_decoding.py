"""A speculating vLLM gives the answers and logprobs of our engine without speculation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.errors import InvalidRequestError
from pellucid.fleet.fleet import Fleet
from pellucid.serving.assemble_front import assemble_front, join_engines
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Grammar, SamplingParams, ScoreQuery
from support.fleet.real_vllm import VLLM, start_vllm
from support.fleet.same_answers import assert_same, load_float32, tokens_of
from support.page.page_fixtures import SMALL

SPECULATION = '{"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3}'
DRAFTED, ACCEPTED = "spec_decode_num_draft_tokens_total", "spec_decode_num_accepted_tokens_total"
PARAMS = SamplingParams(max_tokens=24, top_logprobs=5)

TEXTS = [
    "one, two, three, four, five\none, two, three, four, five\none, two,",
    "self.red = red\nself.green = green\nself.blue = blue\nself.red = red\nself.green =",
    '[{"name": "Ada", "age": 36}, {"name": "Alan", "age": 41}, {"name": "Grace", "age": 85}, {"name": "',
    "def add(a, b):\n    return a + b\n\n\ndef subtract(a, b):\n    return a - b\n\n\ndef multiply(a, b):\n",
    "The cat sat on the mat. The dog sat on the mat. The hen sat on the",
    "Once upon a time",
]
"""Repetitive texts with many right drafts; the last text does not repeat."""


@pytest.fixture(scope="module")
def engine(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLLM]:
    """Run a server of the small model with drafts from earlier text."""
    found = start_vllm(
        folders[SMALL], SMALL, tmp_path_factory.mktemp("speculating"), "--speculative-config", SPECULATION
    )
    try:
        found.wait()
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
async def both(
    engine: VLLM, folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[LocalAssistant, LocalAssistant]]:
    """Yield assistants: near, with our engine without speculation, and far, over the vLLM."""
    near = load_float32(folders[SMALL], tmp_path_factory.mktemp("cache"), lookup=False)
    settings = load_settings(models=(f"{SMALL}={folders[SMALL]}",), engines=(engine.url,))
    far = await asyncio.to_thread(assemble_front, settings, Silent())
    await join_engines(far)
    yield near, far.assistant
    near.models.find(None).engine.close()
    assert isinstance(far.engine, Fleet)
    await far.engine.replicas.disconnect()


Both = tuple[LocalAssistant, LocalAssistant]


async def test_complete(both: Both, engine: VLLM) -> None:
    """Texts are continued like without speculation, with right and with wrong drafts."""
    before = [engine.metric(name) for name in (DRAFTED, ACCEPTED)]
    for text in TEXTS:
        (near, end), (far, other_end) = [
            await tokens_of(one.complete(CompletionQuery(text, params=PARAMS))) for one in both
        ]
        assert_same(near, far)
        assert other_end.reason is end.reason
    drafted, accepted = (engine.metric(name) - value for name, value in zip((DRAFTED, ACCEPTED), before, strict=True))
    print(f"{accepted:.0f} of {drafted:.0f} drafted tokens were accepted")
    assert 0 < accepted < drafted


async def test_generated_is_read(both: Both) -> None:
    """The logprobs of a generated answer equal the logprobs of the read answer."""
    far, _ = await tokens_of(both[1].complete(CompletionQuery(TEXTS[0], params=PARAMS)))
    answer = "".join(token.text for token in far)
    read, _ = await tokens_of(both[1].score(ScoreQuery(TEXTS[0] + answer, top_logprobs=5)))
    end = read[-len(far) :]
    assert [token.id for token in end] == [token.id for token in far]
    assert [token.logprob for token in end] == pytest.approx([token.logprob for token in far], abs=1e-3)


@pytest.mark.parametrize("typed", ["self.gre", "fo", "retu"])
async def test_healed(both: Both, typed: str) -> None:
    """A prompt with a cut last token is healed alike."""
    query = CompletionQuery(f"self.red = red\nself.green = green\nself.blue = blue\n{typed}", params=PARAMS, heal=True)
    (near, _), (far, _) = [await tokens_of(one.complete(query)) for one in both]
    assert [token.id for token in far] == [token.id for token in near]


async def test_form(both: Both) -> None:
    """An answer in a form has the same tokens and logprobs as without speculation."""
    query = CompletionQuery(
        TEXTS[2], params=replace(PARAMS, max_tokens=16), grammar=Grammar("regex", "[A-Z][a-z]+[0-9]{2}")
    )
    (near, _), (far, _) = [await tokens_of(one.complete(query)) for one in both]
    assert [token.id for token in far] == [token.id for token in near]
    assert [token.logprob for token in far] == pytest.approx([token.logprob for token in near], abs=1e-3)


async def test_chat(both: Both) -> None:
    """A conversation is answered alike."""
    query = ChatQuery([Message("user", "Count from one to ten, twice, in words.")], PARAMS)
    (near, _), (far, _) = [await tokens_of(one.chat(query)) for one in both]
    assert_same(near, far)


@pytest.mark.parametrize("refused", [{"min_p": 0.1}, {"logit_bias": {5: 1.0}}], ids=str)
async def test_refused(both: Both, refused: dict[str, float | dict[int, float]]) -> None:
    """Parameters unsupported under speculation are refused with vLLM's reason."""
    params = replace(PARAMS, temperature=0.5, **refused)  # type: ignore[arg-type]
    with pytest.raises(
        InvalidRequestError, match=r"refuses the request: .*not yet supported with speculative decoding"
    ):
        await tokens_of(both[1].complete(CompletionQuery(TEXTS[0], params=params)))
