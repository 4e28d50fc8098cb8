"""The private routes accept only Pellucid's queries."""

from __future__ import annotations

from math import isclose

import pytest

from pellucid.client.http_client import Client
from pellucid.vocabulary.query import CompletionQuery, SamplingParams, ScoreQuery, Terms
from pellucid.vocabulary.token import Token
from support.servers.http_servers import LiveServer

GAP = CompletionQuery("def add(a, b):\n", "\nend", params=SamplingParams(max_tokens=0))


@pytest.mark.parametrize(
    ("verb", "body", "sentence"),
    [
        ("complete", {"prefix": "a", "newer": 1}, "newer"),
        ("complete", {"prefix": "a", "params": {"temperature": -1}}, "temperature must be 0"),
        ("chat", {"messages": "hello"}, "messages"),
        ("chat", {"messages": [{"role": "user", "newer": 1}]}, "newer"),
        ("score", {}, "text"),
        ("score", {"text": ""}, "nothing to score"),
        ("complete", {"prefix": "a", "model": "other"}, "other"),
        ("logprob_sums", {"query": {"text": ""}, "texts": ["a"] * 129}, "At most 128 texts"),
    ],
)
def test_refused(tiny_server: LiveServer, verb: str, body: object, sentence: str) -> None:
    """A newer client's field, a wrong value and an unknown model are refused by name."""
    reply = tiny_server.http.post(f"/pellucid/{verb}", json=body)

    assert reply.status_code in (400, 404)
    assert sentence in reply.json()["error"]["message"]


async def test_sums_are_those_of_the_tokens(tiny_server: LiveServer) -> None:
    """Texts read together have the same sums as alone; an empty text has the sum 0."""
    async with Client(tiny_server.url) as client:
        texts = ["    return a + b\n", "", "    pass\n"]
        sums = await client.logprob_sums(ScoreQuery("", gap=GAP, terms=Terms(key="reading")), texts)
        alone = [
            sum(
                [
                    item.logprob or 0.0
                    async for item in client.score(ScoreQuery(text, gap=GAP))
                    if isinstance(item, Token)
                ]
            )
            for text in texts
            if text
        ]

    assert sums[1] == 0.0
    assert all(isclose(found or 0.0, one, abs_tol=1e-4) for found, one in zip(sums[::2], alone, strict=True))
