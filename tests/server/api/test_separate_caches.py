"""With named keys, the cache reveals nothing about other users, unless prefixes are shared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.door.api_keys import LOCAL, read_keys
from pellucid.door.user_assistant import UserAssistant
from pellucid.door.users import Users
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.serving.loading import Loading
from pellucid.serving.server import Server
from pellucid.text.assistant import LocalAssistant
from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import TINY, byte_tokenizer, live, tiny_assistant

KEYS = read_keys("anna:key-of-anna,ben:key-of-ben")
ANNA, BEN = ({"authorization": f"Bearer key-of-{name}"} for name in ("anna", "ben"))
SECRET = "The merger with Fabrikam closes on 3 March. "
MESSAGES = [{"role": "user", "content": SECRET}]

Reported = Callable[[Any], int]


def openai(body: Any) -> int:
    cached: int = body["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached


ROUTES: dict[str, tuple[dict[str, Any], Reported | None]] = {
    "/v1/completions": ({"prompt": SECRET, "max_tokens": 1}, openai),
    "/v1/chat/completions": ({"messages": MESSAGES, "max_tokens": 1}, openai),
    "/v1/responses": (
        {"input": SECRET, "max_output_tokens": 1},
        lambda body: int(body["usage"]["input_tokens_details"]["cached_tokens"]),
    ),
    "/v1/messages": (
        {"messages": MESSAGES, "max_tokens": 1, "model": TINY},
        lambda body: int(body["usage"]["cache_read_input_tokens"]),
    ),
    "/v1/fim/completions": ({"prompt": SECRET, "suffix": "d", "max_tokens": 1, "model": TINY}, openai),
    "/completion": ({"prompt": SECRET, "n_predict": 1}, lambda body: int(body["timings"]["cache_n"])),
    "/infill": (
        {"input_prefix": SECRET, "input_suffix": "d", "n_predict": 1},
        lambda body: int(body["timings"]["cache_n"]),
    ),
    "/v1/edits": ({"selection": SECRET, "instruction": "b"}, None),
    "/v1/score": ({"text": "x", "input_prefix": SECRET}, None),
    "/pellucid/complete": ({"prefix": SECRET, "params": {"max_tokens": 1}}, None),
    "/pellucid/chat": ({"messages": MESSAGES, "params": {"max_tokens": 1}}, None),
    "/pellucid/score": ({"text": "x", "gap": {"prefix": SECRET, "suffix": ""}}, None),
    "/pellucid/logprob_sums": ({"query": {"text": "", "gap": {"prefix": SECRET, "suffix": ""}}, "texts": ["x"]}, None),
    "/api/generate": ({"model": TINY, "prompt": SECRET, "stream": False, "options": {"num_predict": 1}}, None),
    "/api/chat": ({"model": TINY, "messages": MESSAGES, "stream": False, "options": {"num_predict": 1}}, None),
}
"""Bodies of all routes with a cache, and the place of the number of cached tokens, if reported."""


@contextmanager
def serving(assistant: LocalAssistant, engine: Any, *, shared: bool = False) -> Iterator[httpx.Client]:
    """Serve two users, and close the engine at the end."""
    state = ServerState(models=(TINY,), grace=0.0, keys=KEYS, users=Users(share_prefixes=shared))
    state.open(assistant, engine)
    try:
        with live(state) as server:
            yield server.http
    finally:
        engine.close()


def cached(http: httpx.Client, route: str, user: dict[str, str], secret: str = SECRET) -> int:
    """Send a secret by a route.

    Return the number of the secret's cached tokens, equal in the reply and in /v1/usage.
    """
    body, reported = ROUTES[route]
    body = json.loads(json.dumps(body).replace(SECRET, secret))
    before = http.get("/v1/usage", headers=user).json()["cached_tokens"]
    reply = http.post(route, json=body, headers=user)
    assert reply.status_code == 200, reply.text
    found: int = http.get("/v1/usage", headers=user).json()["cached_tokens"] - before
    assert reported is None or reported(reply.json()) == found
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["separate", "shared"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[httpx.Client, bool]]:
    """A server of two users, and whether the operator shares prefixes."""
    with serving(*tiny_assistant(context=512, alone=True), shared=request.param) as http:
        yield http, request.param


@pytest.mark.parametrize("route", ROUTES)
def test_another_user_s_prefix(both: tuple[httpx.Client, bool], route: str) -> None:
    """On each route a user reuses only own prompts, unless the operator shares prefixes."""
    http, is_shared = both
    secret = f"{route} {SECRET}"
    first, other, again = (cached(http, route, user, secret) for user in (ANNA, BEN, ANNA))
    assert again >= first + 16, "the route reuses its own prompts"
    assert other >= first + 16 if is_shared else other < 16


def test_after_parking_and_after_a_restart(tmp_path: Path) -> None:
    """Parked and saved prefixes are reused only by the same user."""
    decoder = to_decoder(tiny_llama(vocab_size=byte_tokenizer().vocab_size, max_position_embeddings=2048))
    (tmp_path / "model").touch()
    file = PrefixFile(tmp_path / "prefixes", "key", decoder.cache_shape, tmp_path / "model")

    def started() -> tuple[LocalAssistant, LocalEngine]:
        engine = LocalEngine({TINY: decoder}, EngineSettings(slots=1, context=256), saved={TINY: file})
        return LocalAssistant(engine, [loaded_model(TINY, decoder, byte_tokenizer())]), engine

    with serving(*started()) as http:
        assert cached(http, "/v1/completions", ANNA) == 0
        # Takes the only slot.
        http.post("/v1/completions", json={"prompt": "0" * 100, "max_tokens": 1}, headers=BEN)
        assert [cached(http, "/v1/completions", user) for user in (BEN, ANNA)] == [0, len(SECRET) - 1]
    with serving(*started()) as http:
        assert cached(http, "/v1/completions", ANNA) == len(SECRET) - 1
    file.write([prefix for prefix in file.read() if prefix.cache_salt == "anna"])
    with serving(*started()) as http:
        assert [cached(http, "/v1/completions", user) for user in (BEN, ANNA)] == [0, len(SECRET) - 1]


async def test_the_page_and_the_api_are_the_same_user() -> None:
    """A user's prompts are reused between the page and the API, but not by another user."""
    assistant, engine = tiny_assistant(alone=True)
    users = Users()

    async def sent(stream: Any) -> int:
        (finish,) = [item async for item in stream if isinstance(item, Finish)]
        return finish.usage.cached

    query = CompletionQuery(SECRET, params=SamplingParams(max_tokens=1))
    try:
        page = [await sent(UserAssistant(assistant, users, user).complete(query)) for user in ("anna", "ben", "anna")]
        with users.request("anna"):
            own = await sent(assistant.complete(query))
        with users.request("carl"):
            other = await sent(assistant.complete(query))
    finally:
        engine.close()
    assert (page, own, other) == ([0, 0, len(SECRET) - 1], len(SECRET) - 1, 0)


def test_slots() -> None:
    """/slots shows a user only the tokens of the user's own prompts."""
    assistant, engine = tiny_assistant(alone=True)
    if not isinstance(engine, LocalEngine):
        pytest.skip("remote engines report no slots")
    with serving(assistant, engine) as http:
        cached(http, "/v1/completions", ANNA)
        own, other = ([slot["n_tokens"] for slot in http.get("/slots", headers=user).json()] for user in (ANNA, BEN))
    assert (sum(own), sum(other)) == (len(SECRET), 0)


FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"fabrikam": {"type": "null"}}}},
}
TOOLS = [{"type": "function", "function": {"name": "merge", "parameters": FORMAT["json_schema"]["schema"]}}]  # type: ignore[index]


@pytest.mark.parametrize("form", [{"response_format": FORMAT}, {"tools": TOOLS, "tool_choice": "required"}])
def test_compiled_grammars(form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A form is compiled again for another user, since speed would reveal an earlier use."""
    compiled = []
    compile_grammar = GrammarCompiler._compile

    def counted(*given: Any) -> Any:
        compiled.append(given)
        return compile_grammar(*given)

    monkeypatch.setattr(GrammarCompiler, "_compile", counted)
    with serving(*tiny_assistant(context=1024, alone=True)) as http:
        counts = []
        for user in (ANNA, BEN, ANNA):
            reply = http.post("/v1/chat/completions", json={"messages": MESSAGES, "max_tokens": 1} | form, headers=user)
            assert reply.status_code == 200, reply.text
            counts.append(len(compiled))
            compiled.clear()
    assert counts[0] > 0
    assert counts == [counts[0], counts[0], 0]


@pytest.mark.parametrize(("share_prefixes", "salts"), [(False, ["anna", "ben", ""]), (True, ["", "", ""])])
def test_salts(share_prefixes: bool, salts: list[str], tmp_path: Path) -> None:
    """Users have separate caches unless share_prefixes is set; unnamed users share a cache."""
    settings = load_settings(data=tmp_path, cache=tmp_path, page=False, share_prefixes=share_prefixes)
    users = Server(settings, Loading(lambda progress: pytest.fail("loaded")))._state.users
    found = []
    for user in ("anna", "ben", LOCAL):
        with users.request(user) as request:
            found.append(request.cache_salt)
    assert found == salts
    assert load_settings().share_prefixes is False
