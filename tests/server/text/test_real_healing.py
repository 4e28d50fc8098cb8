"""Tests of words in the making with the real model: probabilities given the typed letters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from math import exp

import pytest

from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, ContextSettings
from pellucid.completion.suggestion import Suggestion
from pellucid.config import load_settings
from pellucid.serving.assemble import assemble
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

USES = "\n\n\ndef digest(data):\n    return hashlib.sha256(data).hexdigest()\n"


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    engine, assistant = assemble(load_settings(), [CODER], Silent())
    yield assistant
    engine.close()


def suggest(assistant: LocalAssistant, before: str, after: str) -> tuple[Completer, list[Suggestion]]:
    settings, context = CompletionSettings(ahead=False), ContextSettings()
    prompts = PromptContext(context, ChunkRing(context))
    completer = Completer(settings, ModelChoice(FixedProvider(assistant)), prompts)
    return completer, asyncio.run(completer.suggest(DocumentCursor("file:///a.py", before, after, "python")))


@pytest.mark.parametrize("typed", ["import hashlib"[:length] for length in (1, 4, 7, 8, 12)])
def test_every_letter_shows_the_word(assistant: LocalAssistant, typed: str) -> None:
    """A cursor within or between the words of an import shows the rest."""
    _, (suggestion,) = suggest(assistant, typed, USES)
    assert typed + suggestion.text == "import hashlib"


def test_probability_given_the_typed_letters(assistant: LocalAssistant) -> None:
    """A healed token has the model's own logprob, and is nearly certain given the typed letters."""
    _, (suggestion,) = suggest(assistant, "i", USES)
    token = suggestion.tokens[0]
    assert token.logprob is not None
    assert exp(token.logprob) < 0.5
    assert token.constrained_logprob is not None
    assert exp(token.constrained_logprob) > 0.9
    assert token.allowed == pytest.approx(exp(token.logprob) / exp(token.constrained_logprob))


def test_branches_agree_with_what_was_typed(assistant: LocalAssistant) -> None:
    """Every alternative of a healed token continues the typed letters, so branches are valid."""
    before, after = "orders = [1, 2]\n\ntotal = 0\nfor o", "\n    total += order\n"
    completer, (suggestion,) = suggest(assistant, before, after)
    top = suggestion.tokens[0].top
    assert len(top) > 1
    assert all(one.text and not one.text[0].isspace() for one in top)
    other = next(number for number, one in enumerate(top) if one.id != suggestion.tokens[0].id)
    branch = asyncio.run(completer.branch(suggestion, suggestion.cursor, 0, other))
    assert branch is not None
    assert branch.text.startswith(top[other].text)
