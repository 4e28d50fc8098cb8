"""Tests of answers under a grammar, with a tiny random model on a real engine."""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import InvalidRequestError, QueueFullError
from pellucid.text.assistant import LocalAssistant
from pellucid.text.structured import grammar_cache, grammar_constraint
from pellucid.text.structured.grammar_cache import CompilationPlaces, GrammarCompiler
from pellucid.text.structured.grammar_text import WHITESPACE
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Grammar, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.served_models import served_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import byte_tokenizer
from support.servers.scripted_engine import FORMAT
from support.servers.scripted_engine import byte_tokenizer as infill_tokenizer
from support.trial_counts import trial_count

MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<|a|>", "<|b|>")
BYTES = byte_tokenizer(MARKERS)
TOKENIZER = replace(BYTES, words=replace(BYTES.words, size=BYTES.vocab_size + 40))
"""The last ids are unused, as in Qwen's vocabulary."""
TO_ENDS = {ord('"'): 4.0, ord("}"): 2.0, ord("]"): 2.0, ord("e"): 1.0}
"""Biases that let a random model end its strings and objects."""
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["red", "blue"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    model = to_decoder(tiny_llama(vocab_size=TOKENIZER.vocab_size, max_position_embeddings=1024))
    engine = LocalEngine({"tiny": model}, EngineSettings(slots=2, context=512, chunk=64))
    yield LocalAssistant(engine, [served_model("tiny", TOKENIZER)])
    engine.close()


def schema(value: dict[str, Any]) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


def complete(
    assistant: LocalAssistant, grammar: Grammar | None, prompt: str = "Say: ", **params: Any
) -> tuple[list[Token], Finish]:
    given = replace(SamplingParams(max_tokens=200, logit_bias=TO_ENDS, seed=1, top_logprobs=3), **params)
    return asyncio.run(collect(assistant.complete(CompletionQuery(prompt, params=given, grammar=grammar))))


def said(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


SCALARS = st.one_of(
    st.sampled_from(
        [
            {"type": "boolean"},
            {"type": "null"},
            {"type": "integer"},
            {"type": "number", "minimum": -3, "exclusiveMaximum": 7},
        ]
    ),
    st.builds(
        lambda low, high: {"type": "integer", "minimum": low, "maximum": low + high},
        st.integers(-50, 50),
        st.integers(0, 9),
    ),
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 5)),
    st.just({"type": "string", "pattern": "^[a-c]{2,4}$"}),
    st.builds(
        lambda items: {"enum": items},
        st.lists(st.text(max_size=4) | st.integers(-(2**53), 2**53) | st.none(), min_size=1, max_size=3),
    ),
    st.builds(lambda item: {"const": item}, st.text(max_size=5) | st.booleans()),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(0, 3)),
        st.builds(lambda some: {"anyOf": some}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(
            lambda parts, needed: {
                "type": "object",
                "properties": parts,
                "required": [key for key in parts if needed or key < "m"],
                "additionalProperties": False,
            },
            st.dictionaries(st.text(max_size=5), inner, max_size=3),
            st.booleans(),
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=trial_count(250))
@given(schema_=SCHEMAS, seed=st.integers(0, 9), temperature=st.sampled_from([0.0, 1.0, 3.0]))
def test_every_finished_answer_validates(
    assistant: LocalAssistant, schema_: dict[str, Any], seed: int, temperature: float
) -> None:
    """An answer that ends before the token limit is an instance of its schema, for any schema."""
    tokens, finish = complete(assistant, schema(schema_), seed=seed, temperature=temperature)
    if finish.reason is FinishReason.STOP:
        jsonschema.validate(json.loads(said(tokens)), schema_, format_checker=jsonschema.FormatChecker())
    else:
        assert finish.reason is FinishReason.LENGTH
        assert len(tokens) == 200


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (Grammar("regex", "(ab|c){2,3}[0-9]"), "(ab|c){2,3}[0-9]"),
        (Grammar("choice", '["yes", "no", "é \\"quoted\\"\\n"]'), 'yes|no|é "quoted"\n'),
        (Grammar("grammar", 'start: "a" b "c"\nb: "x" | "yy"'), "a(x|yy)c"),
        (Grammar("grammar", 'root ::= "a" b "c"\nb ::= "x" | "yy"'), "a(x|yy)c"),
        (Grammar("json_object"), r"\{.*\}"),
    ],
    ids=lambda value: value.kind if isinstance(value, Grammar) else "",
)
def test_each_kind_of_grammar(assistant: LocalAssistant, grammar: Grammar, pattern: str) -> None:
    """Regular expressions, choices, Lark, GBNF and any JSON object limit a random answer."""
    for seed in range(2):
        tokens, finish = complete(assistant, grammar, seed=seed, temperature=1.0)
        assert finish.reason is FinishReason.STOP or grammar.kind == "json_object"
        assert finish.reason is FinishReason.LENGTH or re.fullmatch(pattern, said(tokens), re.DOTALL)


def test_no_white_space_between_parts(assistant: LocalAssistant) -> None:
    """The grammar sets white space: forced parts of an object leave no choice without any."""
    tokens, _ = complete(assistant, Grammar("json_schema", json.dumps(PERSON), whitespace=""))
    assert said(tokens) == json.dumps(json.loads(said(tokens)), separators=(",", ":"), ensure_ascii=False)
    assert all(token.grammar is not None and token.grammar.forced for token in tokens[: len('{"name":"')])


def test_probabilities_are_the_model_s_own(assistant: LocalAssistant) -> None:
    """Probabilities are the model's own for the same text, and the grammar's effect is separate."""
    tokens, _ = complete(assistant, schema(PERSON), temperature=1.0)
    ids = [*TOKENIZER.encode("Say: "), *(token.id for token in tokens)]
    read, _ = asyncio.run(collect(assistant.score(ScoreQuery(ids, top_logprobs=3))))
    for generated, seen in zip(tokens, read[-len(tokens) :], strict=True):
        assert (generated.id, generated.rank) == (seen.id, seen.rank)
        assert generated.logprob == pytest.approx(seen.logprob, abs=1e-4)
        assert generated.entropy == pytest.approx(seen.entropy, abs=1e-4)
        assert [one.id for one in generated.top] == [one.id for one in seen.top]
        assert generated.allowed == 1.0
        grammar = generated.grammar
        assert grammar is not None
        assert generated.logprob is not None
        assert generated.logprob == pytest.approx(grammar.logprob + math.log(grammar.mass), abs=1e-4)
        assert grammar.forced == (grammar.allowed == 1)
        assert not grammar.forced or grammar.logprob == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_lookup_changes_nothing(temperature: float) -> None:
    """Guessed and forced tokens save steps, and keep ids, probabilities and grammar figures."""
    model = to_decoder(tiny_llama(vocab_size=TOKENIZER.vocab_size, max_position_embeddings=1024))
    compiler = GrammarCompiler(TOKENIZER)
    prompt = TOKENIZER.encode('{"name":"aaaa","age":12,"kind":"red"} {"name":"aaaa"')
    params = SamplingParams(max_tokens=120, temperature=temperature, seed=5, logit_bias=TO_ENDS, top_logprobs=2)
    grammar = Grammar("json_schema", json.dumps(PERSON), whitespace="")

    async def scores(engine: LocalEngine, lookup: bool) -> list[TokenScore]:
        request = Request(
            prompt, params, stop_ids=TOKENIZER.eos_ids, constraint=await compiler.constraint(grammar), lookup=lookup
        )
        return [item async for item in engine.generate("tiny", request) if isinstance(item, TokenScore)]

    engine = LocalEngine({"tiny": model}, EngineSettings(slots=2, context=512, chunk=64))
    try:
        plain, guessed = asyncio.run(scores(engine, False)), asyncio.run(scores(engine, True))
        right = engine.status("tiny").totals.right
    finally:
        engine.close()
    assert [score.id for score in guessed] == [score.id for score in plain]
    for a, b in zip(guessed, plain, strict=True):
        assert a.rank == b.rank
        assert (a.logprob or 0, a.sampled or 0) == pytest.approx((b.logprob or 0, b.sampled or 0), abs=1e-4)
        assert a.grammar is not None
        assert b.grammar is not None
        assert a.grammar.allowed == b.grammar.allowed
        assert a.grammar.mass == pytest.approx(b.grammar.mass, abs=1e-4)
    assert right > 15  # Most tokens of an object are forced.


def test_special_tokens_and_schemas_in_lark(assistant: LocalAssistant) -> None:
    """Free text may end at a special token before a schema, and the token has an id but no text."""
    parts = {
        "type": "object",
        "properties": {"name": {"const": "f"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    call = json.dumps(parts | {"x-guidance": {"whitespace_pattern": WHITESPACE}})
    lazy = (
        'start: TEXT | TEXT calls\ncalls: <tool_call> "\\n" call "\\n" </tool_call>\n'
        f"TEXT: /(.|\\n)*/\ncall: %json {call}\n"
    )
    opens, closes, text_end = (TOKENIZER.special[name] for name in ("<tool_call>", "</tool_call>", "<|im_end|>"))
    bias = TO_ENDS | {opens: 30.0, text_end: 29.0, closes: 10.0}
    tokens, finish = complete(assistant, Grammar("grammar", lazy), logit_bias=bias, max_tokens=400)
    ids = [token.id for token in tokens]
    assert finish.reason is FinishReason.STOP, ids
    assert opens in ids
    assert re.fullmatch(r'.*(\n\{\s*"name"\s*:\s*"f"\s*\}\n)', said(tokens), re.DOTALL)
    assert ids.count(opens) == ids.count(closes)
    free, _ = complete(
        assistant, Grammar("grammar", lazy), logit_bias={opens: -100.0, text_end: -100.0, 256: -100.0}, max_tokens=20
    )
    assert len(free) == 20
    assert opens not in [token.id for token in free]


def test_chat_and_continued_chat(assistant: LocalAssistant) -> None:
    """A chat's answer keeps to its grammar, and a continued answer's grammar is for the rest."""
    messages = [Message("user", "Which?"), Message("assistant", "It is ")]
    for shown, whole in ((messages[:1], False), (messages, True)):
        query = ChatQuery(
            shown, SamplingParams(max_tokens=9), continue_last=whole, grammar=Grammar("choice", '["red", "blue"]')
        )
        tokens, finish = asyncio.run(collect(assistant.chat(query)))
        assert (said(tokens) in ("red", "blue"), finish.reason) == (True, FinishReason.STOP)


def test_a_stop_text_ends_an_answer_early(assistant: LocalAssistant) -> None:
    """Stop texts and token limits end an answer under a grammar, too."""
    query = CompletionQuery("x", params=SamplingParams(max_tokens=50), stop=["c"], grammar=Grammar("regex", "abcd"))
    tokens, finish = asyncio.run(collect(assistant.complete(query)))
    assert (said(tokens), finish.reason, finish.stop) == ("ab", FinishReason.STOP, "c")


@pytest.mark.parametrize(
    ("grammar", "sentence"),
    [
        (Grammar("json_schema", '{"not": {}}'), 'Unimplemented keys: \\["not"\\]'),
        (Grammar("json_schema", '{"type": "string", "minLength": 5, "maxLength": 2}'), "Unsatisfiable schema"),
        (Grammar("json_schema", '{"type": "strin"}'), "strin"),
        (Grammar("json_schema", '{"$ref": "http://example.com/a.json"}'), "does not fetch"),
        (Grammar("json_schema", '{"not": {}, "x-guidance": {"lenient": true}}'), "Unimplemented keys"),
        (Grammar("json_schema", "{"), "not valid JSON"),
        (Grammar("json_schema", "3"), "object, true or false"),
        (Grammar("json_schema", '{"items":' * 200 + "{}" + "}" * 200), "recursion limit"),
        (Grammar("json_schema", "[" * 100_000), "not valid JSON"),
        (Grammar("json_schema", json.dumps({"enum": ["x" * 200_000]})), "at most 131,072"),
        (Grammar("regex", "(?=a)b"), "look-around"),
        (Grammar("regex", "("), "unclosed group"),
        (Grammar("regex", "\ud800"), "surrogate"),
        (Grammar("choice", "[]"), "at least one"),
        (Grammar("choice", '{"a": 1}'), "list"),
        (Grammar("choice", "a"), "not a JSON list"),
        (Grammar("grammar", "start: /(/"), "unclosed group"),
        (Grammar("grammar", "start: undefined"), "undefined"),
        (Grammar("grammar", "start: <no_such_token>"), "no_such_token"),
        (Grammar("grammar", "start: a\na[max_tokens=3]: /.*/"), "max_tokens is not supported"),
        (Grammar("grammar", "root ::= ("), "Expected|expected|at line"),
        (Grammar("grammar", "root ::= " + "(" * 8000), "recursion"),
        (Grammar("grammar", "root ::= " + '"a" ' * 8000), "at most 16,384"),
    ],
    ids=lambda value: f"{value.kind}-{value.text[:20]}" if isinstance(value, Grammar) else "",
)
def test_what_cannot_be_held_to_is_refused(assistant: LocalAssistant, grammar: Grammar, sentence: str) -> None:
    """An invalid or unsupported grammar is refused in a short sentence with field and reason."""
    with pytest.raises(InvalidRequestError, match=sentence) as refusal:
        complete(assistant, grammar)
    assert refusal.value.param == "grammar"
    assert str(refusal.value).startswith("grammar cannot be used as a grammar: ")
    assert len(str(refusal.value)) < 400


def chain(kind: str) -> Grammar:
    """Return a grammar with the longest permitted chain of references."""
    if kind == "schema":
        count = 3600
        links = {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(count)} | {f"a{count}": {"type": "integer"}}
        return schema({"$ref": "#/$defs/a0", "$defs": links})
    count = 8700
    rules = [f'{kind}{i}:"a"{kind}{i + 1}' if i % 2 else f"{kind}{i}:{kind}{i + 1}" for i in range(count)]
    return Grammar("grammar", f"start: {kind}0\n" + "\n".join(rules) + f'\n{kind}{count}: "b"')


@pytest.mark.parametrize("kind", ["schema", "r", "T"])
def test_long_chains_of_references(assistant: LocalAssistant, kind: str) -> None:
    """A chain of references that could overflow the stack is compiled or refused."""
    grammar = chain(kind)
    assert 110_000 < len(grammar.text) <= 2**17
    try:
        tokens, _ = complete(assistant, grammar, max_tokens=5)
    except InvalidRequestError as refusal:
        assert refusal.param == "grammar"  # noqa: PT017 - either is right
    else:
        assert tokens


SLOW = schema({"allOf": [{"type": "string", "pattern": f"a{i}"} for i in range(300)]})


def test_a_slow_grammar_is_refused(assistant: LocalAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grammar that takes too long to compile is refused, and its compilation has ended."""
    monkeypatch.setattr(grammar_cache, "TRIAL_SECONDS", 0.5)
    # The second limit is the first to end the compilation on a busy machine.
    limits = "it took more than 0 s of processor time|as it took longer than 2 s"
    with pytest.raises(InvalidRequestError, match=f"({limits}); simplify it"):
        complete(assistant, SLOW)
    for thread in threading.enumerate():
        if thread.name == "pellucid-grammar":
            thread.join(30)
            assert not thread.is_alive()
    assert said(complete(assistant, Grammar("regex", "quick"))[0]) == "quick"


def test_a_request_does_not_wait_for_a_slow_grammar(assistant: LocalAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is refused after its own time limit, and grammars are compiled meanwhile."""
    with monkeypatch.context() as impatient:
        impatient.setattr(grammar_cache, "MAX_SECONDS", 0.3)
        with pytest.raises(InvalidRequestError, match="longer than 0"):
            complete(assistant, SLOW)
    assert said(complete(assistant, Grammar("regex", "fast"))[0]) == "fast"


@pytest.mark.parametrize(
    "keyword", [{"const": 2**53 + 1}, {"enum": [1, [-(2**53) - 1]]}, {"items": {"const": {"x": 2**60 + 1}}}]
)
def test_a_constant_that_would_be_rounded_is_refused(assistant: LocalAssistant, keyword: dict[str, Any]) -> None:
    """An integer constant beyond exact floating-point numbers is refused, but not as a bound."""
    with pytest.raises(InvalidRequestError, match="is not exact"):
        complete(assistant, schema(keyword))
    assert complete(assistant, schema({"type": "integer", "maximum": 2**63 - 1}), max_tokens=3)[0]


def test_empty_lines_cost_nothing() -> None:
    """A grammar of empty lines is read in linear time, as no limit of time applies yet."""
    with pytest.raises(InvalidRequestError):
        asyncio.run(GrammarCompiler(TOKENIZER).matcher(Grammar("grammar", "\n" * 2**17)))


def test_many_choices(assistant: LocalAssistant) -> None:
    """A list of thousands of texts is a possible grammar, as is a text with U+007F."""
    tokens, _ = complete(assistant, Grammar("choice", json.dumps([f"word{i}" for i in range(3000)])))
    assert re.fullmatch(r"word\d+", said(tokens))
    assert said(complete(assistant, Grammar("choice", '["\x7f"]'))[0]) == "\x7f"


def test_a_form_that_nothing_fits(assistant: LocalAssistant) -> None:
    """An endless rule compiles, but its answer fails as the request's error, without markup."""
    with pytest.raises(InvalidRequestError, match="no text fits it") as refused:
        complete(assistant, Grammar("grammar", 'start: "x" a\na: a "x"'))
    assert "non-verbose" not in str(refused.value)


def test_costly_tokens_end_an_answer(assistant: LocalAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer whose tokens took too long together ends with an error."""
    monkeypatch.setattr(grammar_constraint, "MAX_SECONDS", 0.0)
    monkeypatch.setattr(grammar_constraint, "MAX_SECONDS_PER_TOKEN", 0.0)
    with pytest.raises(InvalidRequestError, match="its tokens took too long"):
        complete(assistant, schema(PERSON))


def test_contradicting_fields_are_refused(assistant: LocalAssistant) -> None:
    """A grammar sets the answer's begin and end, so ignore_eos and healing are refused."""
    grammar = Grammar("regex", "a")
    with pytest.raises(InvalidRequestError, match="ignore_eos"):
        complete(assistant, grammar, ignore_eos=True)
    with pytest.raises(InvalidRequestError, match="healing"):
        asyncio.run(collect(assistant.complete(CompletionQuery("ret", heal=True, grammar=grammar))))


def test_an_infill_under_a_grammar() -> None:
    """An infill with a grammar is not healed, and keeps to the grammar."""
    tokenizer = infill_tokenizer()
    model = to_decoder(tiny_llama(vocab_size=tokenizer.vocab_size))
    engine = LocalEngine({"tiny": model}, EngineSettings(slots=2, context=128, chunk=32))
    try:
        assistant = LocalAssistant(engine, [served_model("tiny", tokenizer, FORMAT)])
        query = CompletionQuery(
            "x = ret", "\n", params=SamplingParams(max_tokens=9), grammar=Grammar("regex", "urn [0-9]")
        )
        tokens, finish = asyncio.run(collect(assistant.complete(query)))
    finally:
        engine.close()
    assert re.fullmatch("urn [0-9]", said(tokens))
    assert finish.reason is FinishReason.STOP


async def test_places_are_given_in_order() -> None:
    """Requests get places in order, however many requests wait."""
    places, order = CompilationPlaces(1), []

    async def ask(number: int) -> None:
        await places.take(60)
        order.append(number)
        await asyncio.sleep(0)
        places.give_back()

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert order == list(range(20))


async def test_waiting_ends() -> None:
    """A request that waits in vain is refused, and the next request gets the place."""
    places = CompilationPlaces(1)
    await places.take(60)
    with pytest.raises(QueueFullError, match="try again later"):
        await places.take(0.01)
    places.give_back()
    await places.take(60)


async def test_a_cancelled_request_keeps_no_place() -> None:
    """Requests cancelled while waiting, or on getting a place, keep no place."""
    places = CompilationPlaces(1)
    await places.take(60)
    waiting = [asyncio.create_task(places.take(60)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    places.give_back()  # The second request gets the place, and is cancelled before running.
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [task.cancelled() for task in waiting] == [True, True, False]
    places.give_back()
    await places.take(60)
