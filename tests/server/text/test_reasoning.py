"""Tests of the reasoning before an answer: its text, its limit, and constraints of the answer."""

from __future__ import annotations

import pytest

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, Grammar, Reasoning, SamplingParams
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.scripted_engine import WORDS, ScriptedEngine, byte_tokenizer, scripted_assistant

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
SWITCHED = TURNS + (
    "<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% if reasoning_effort is defined %}{{ reasoning_effort }} {% endif %}"
)
OPENED = TURNS + "<|im_start|>assistant\n<think>\n{# </think> #}"
HARMONY = "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
MARKS = (b"<think>", b"</think>", b"<|start|>", b"<|channel|>", b"<|message|>", b"<|return|>", b"final", b"assistant")
CHAT = [Message("user", "Hi")]
THOUGHT = "<think>\nLet me see.\n</think>\n\n<p>Hello"

pytestmark = pytest.mark.process  # An unknown template is rendered in a separate process.


def reasoning_tokenizer(template: str) -> Tokenizer:
    return byte_tokenizer(chat_template=template, words=(*MARKS, *WORDS))


async def ask(
    template: str, script: str, reasoning: Reasoning | None = None, *, is_cut: bool = False
) -> tuple[str, str, Finish, ScriptedEngine]:
    """Return the reasoning, the answer, the end, and the engine that generated the script."""
    tokenizer = reasoning_tokenizer(template)
    engine = ScriptedEngine(tokenizer.encode(script, special=True))
    query = ChatQuery(CHAT, reasoning=reasoning)
    tokens, finish = await collect(scripted_assistant(engine, tokenizer).chat(query))
    assert is_cut or len(tokens) == len(engine.script)
    return thoughts(tokens), answer(tokens), finish, engine


def thoughts(tokens: list[Token]) -> str:
    return "".join(token.reasoning or "" for token in tokens)


def answer(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def prompt(engine: ScriptedEngine, template: str) -> str:
    (request,) = engine.requests
    tokenizer = reasoning_tokenizer(template)
    return b"".join(map(tokenizer.token_bytes, request.prompt)).decode()


async def test_reasoning_is_apart() -> None:
    """The reasoning has no marks, and the answer begins behind the white space; tags stay text."""
    reasoning, text, _, engine = await ask(SWITCHED, THOUGHT, Reasoning("low"))
    assert (reasoning, text) == ("\nLet me see.\n", "<p>Hello")
    assert prompt(engine, SWITCHED).endswith("assistant\nlow ")
    assert engine.requests[0].constraint is None
    assert (await ask(SWITCHED, "Hello <think>", Reasoning()))[:2] == ("", "Hello <think>")


async def test_no_reasoning() -> None:
    """Without reasoning, the prompt closes the reasoning, and the answer keeps all white space."""
    for template in (SWITCHED, OPENED):
        for script in ("Hello", "\n\nHello", "    indented"):
            reasoning, text, _, engine = await ask(template, script)
            assert (reasoning, text) == ("", script)
            assert prompt(engine, template).endswith("<think>\n\n</think>\n\n")
            assert engine.requests[0].constraint is None


async def test_white_space() -> None:
    """Only the line breaks behind the reasoning are dropped, and white space in front of a mark."""
    assert (await ask(SWITCHED, "\n<think>A</think>\n    B", Reasoning()))[:2] == ("A", "    B")
    assert (await ask(SWITCHED, "\n  B", Reasoning()))[:2] == ("", "\n  B")
    assert (await ask(SWITCHED, "\n", Reasoning()))[:2] == ("", "\n")


async def test_channels() -> None:
    """Only the final channel of gpt-oss is the answer, which the end of the channel ends."""
    before = "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant"
    for header in ("<|channel|>final", "<|channel|>final <|constrain|>json"):
        reasoning, text, finish, engine = await ask(HARMONY, f"{before}{header}<|message|>Hello", Reasoning())
        assert (reasoning, text, finish.reason) == ("Easy.", "Hello", FinishReason.STOP)
        assert prompt(engine, HARMONY).endswith("<|start|>assistant")
        script = f"{before}{header}<|message|>Hello<|end|><|start|>assistant<|channel|>analysis<|message|>More"
        reasoning, text, finish, _ = await ask(HARMONY, script, Reasoning(), is_cut=True)
        assert (reasoning, text, finish.reason) == ("Easy.", "Hello", FinishReason.STOP)
    reasoning, text, _, engine = await ask(HARMONY, "Hello")
    assert (reasoning, text) == ("", "Hello")
    assert prompt(engine, HARMONY).endswith("<|channel|>final<|message|>")


async def test_continued() -> None:
    """A continued answer has no reasoning, whatever was asked for."""
    for template in (SWITCHED, OPENED, HARMONY):
        tokenizer = reasoning_tokenizer(template)
        engine = ScriptedEngine(tokenizer.encode(" world"))
        query = ChatQuery([*CHAT, Message("assistant", "Hello")], continue_last=True, reasoning=Reasoning())
        tokens, _ = await collect(scripted_assistant(engine, tokenizer).chat(query))
        assert answer(tokens) == " world"
        closed = "final<|message|>" if template is HARMONY else "</think>\n\n"
        assert prompt(engine, template).endswith(closed + "Hello")


@pytest.mark.parametrize("template", [SWITCHED, OPENED, HARMONY])
@pytest.mark.parametrize("most", [0, 1, 7])
async def test_limits(template: str, most: int) -> None:
    """Any model keeps to the limit of the reasoning, and a grammar holds for the answer alone."""
    tokenizer = reasoning_tokenizer(template)
    decoder = to_decoder(tiny_llama(vocab_size=tokenizer.vocab_size))
    model = loaded_model("random", decoder, tokenizer)
    engine = LocalEngine({"random": decoder}, EngineSettings(slots=1, context=128, chunk=32, queue=8))
    assistant = LocalAssistant(engine, [model])
    begin = {tokenizer.encode("<think>")[0]: 100.0} if template is SWITCHED else {}
    for seed in range(4):
        params = SamplingParams(max_tokens=40, temperature=2.0, seed=seed, logit_bias=begin)
        grammar = Grammar("choice", '["    red", "\\nblue"]')
        tokens, finish = await collect(
            assistant.chat(ChatQuery(CHAT, params, grammar=grammar, reasoning=Reasoning(most_tokens=most)))
        )
        assert answer(tokens) in ("    red", "\nblue")
        assert finish.complete
        assert sum(bool(token.reasoning) for token in tokens) <= most + 1  # And the line break of the end.
    engine.close()


async def test_a_model_without_reasoning() -> None:
    """A model whose template has no marks refuses to reason."""
    with pytest.raises(InvalidRequestError, match=r"scripted does not reason before it answers: omit reasoning\."):
        await ask(TURNS, "Hello", Reasoning())
