"""Tests the tree of continuations against all token sequences of a tiny model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from math import fsum, log
from typing import Any
from zlib import crc32

import pytest

from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.inspection.continuation_tree import ContinuationTree, Follow

END = b"<|im_end|>"
VOCABULARY = (b"a", b"b", b"ab", b"ba", "é".encode(), END)
LIMIT = 4


def distribution(text: bytes) -> dict[bytes, float]:
    """Return a distribution of the next token; the distribution depends on the whole text."""
    if len(text) >= LIMIT:
        return {END: 1.0}
    weights = {token: 1.0 + crc32(text + b"/" + token) % 1000 for token in VOCABULARY}
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


def sequences(text: bytes = b"", probability: float = 1.0) -> Iterator[tuple[bytes, float]]:
    """Yield every sequence up to the end of the answer as a text, with the probability."""
    for token, share in distribution(text).items():
        if token == END:
            yield text, probability * share
        else:
            yield from sequences(text + token, probability * share)


class TinyModel:
    """Continues a text greedily; ``top`` is the number of reported alternatives."""

    def __init__(self, top: int = 20) -> None:
        self.top = top
        self.requests: list[str] = []

    async def follow(self, text: str, most: int) -> AsyncGenerator[Token]:
        self.requests.append(text)
        data = text.encode()
        begin = len(data)
        for position in range(most):
            ranked = sorted(distribution(data).items(), key=lambda one: -one[1])
            top = tuple(
                Alternative(VOCABULARY.index(token), token.decode(), token, log(share))
                for token, share in ranked[: self.top]
            )
            token, share = ranked[0]
            shown = "" if token == END else token.decode()
            rest = fsum(share for _, share in ranked[self.top :])
            yield Token(top[0].id, shown, token, begin + position, log(share), 1, None, top, rest)
            data += token


async def grown(follow: Follow, threshold: float, limit: int | None = 20) -> dict[str, Any]:
    tree = ContinuationTree(threshold, limit)
    async for _ in tree.grow(follow):
        pass
    return tree.payload()


def leaves(nodes: list[dict[str, Any]], before: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the whole text and the node of each leaf."""
    for node in nodes:
        text = before + "".join(piece for piece, _ in node["pieces"])
        if node["nodes"]:
            yield from leaves(node["nodes"], text)
        else:
            yield text, node


def by_text() -> dict[str, float]:
    masses: defaultdict[str, float] = defaultdict(float)
    for text, probability in sequences():
        masses[text.decode()] += probability
    return masses


async def test_all_continuations_of_a_known_model() -> None:
    """With a tiny threshold, the leaves are all answers, each with the sum of the sequences."""
    found = await grown(TinyModel().follow, 1e-9)
    expected = by_text()
    assert len(expected) > 30
    assert {text: node["mass"] for text, node in leaves(found["nodes"])} == pytest.approx(expected)
    assert found["covered"] == pytest.approx(1.0)
    assert not found["isCut"]


async def test_what_a_threshold_leaves_out() -> None:
    """No answer above the threshold is missing, and the leaves have the covered mass."""
    model = TinyModel()
    found = await grown(model.follow, 0.02)
    masses = dict(leaves(found["nodes"]))
    ended = {text for text, node in leaves(found["nodes"]) if node["end"] == "end"}
    assert {text.decode() for text, probability in sequences() if probability >= 0.02} <= ended
    for text in ended:
        assert masses[text]["mass"] <= by_text()[text] + 1e-9
    assert found["covered"] == pytest.approx(fsum(node["mass"] for _, node in leaves(found["nodes"])))
    assert 0.2 < found["rest"] == pytest.approx(1 - found["covered"])
    assert len(model.requests) == len(set(model.requests))


async def test_a_node_covers_what_is_below() -> None:
    """The masses below a node never exceed the node's own, also where different tokens join."""

    def check(mass: float, nodes: list[dict[str, Any]]) -> None:
        assert fsum(node["mass"] for node in nodes) <= mass + 1e-9
        for node in nodes:
            check(node["mass"], node["nodes"])

    found = await grown(TinyModel().follow, 1e-4)
    check(1.0, found["nodes"])
    assert any(node["joined"] > 0 for _, node in leaves(found["nodes"]))


async def test_runs_of_a_character() -> None:
    """A text of countless token sequences has the sum of their probabilities, in little time."""
    shares = {3: 0.3, 1: 0.15, 2: 0.2, 5: 0.2, 4: 0.1, 6: 0.05}
    top = tuple(
        Alternative(n, "-" * n, b"-" * n, log(share)) for n, share in sorted(shares.items(), key=lambda one: -one[1])
    )

    async def follow(before: str, most: int) -> AsyncGenerator[Token]:
        for position in range(len(before), len(before) + most):
            yield Token(3, "---", b"---", position, log(0.3), 1, None, top, 0.0)

    tree = ContinuationTree(0.01, 16)
    async for _ in tree.grow(follow):
        tree.payload()
    masses = [1.0]
    for length in range(1, 40):
        masses.append(fsum(share * masses[length - n] for n, share in shares.items() if n <= length))
    found = {len(place.text): place.mass for place in tree._places.values()}
    assert [found[length] for length in range(40)] == pytest.approx(masses)


async def test_a_text_that_is_read_as_other_tokens() -> None:
    """A text is marked if the model read more or fewer tokens than led to the text."""

    async def follow(before: str, _most: int) -> AsyncGenerator[Token]:
        said = b"a" if not before else b"!"
        top = (Alternative(1, said.decode(), said, log(0.6)), Alternative(2, "ab", b"ab", log(0.4)))
        # The text "ab" is read as two tokens.
        yield Token(1, said.decode(), said, 7 + len(before), log(0.6), 1, None, top, 0.0)

    tree = await grown(follow, 0.2, 2)
    found = {node["pieces"][0][0]: node["reread"] for node in tree["nodes"]}
    assert found == {"a": False, "ab": True}


async def test_unlisted_tokens() -> None:
    """Unreported tokens are in the rest, with a bound for a single token."""
    found = await grown(TinyModel(top=2).follow, 0.02)
    assert 0.02 < found["unlisted"] < 0.5
    assert found["rest"] > 0.5


async def test_a_limit() -> None:
    """With a limit of one token, the leaves are the alternatives, and a single request suffices."""
    model = TinyModel()
    found = await grown(model.follow, 0.01, 1)
    expected = {token.decode(): share for token, share in distribution(b"").items() if share >= 0.01}
    said = {text or END.decode(): node["mass"] for text, node in leaves(found["nodes"])}
    assert said == pytest.approx(expected)
    assert {node["end"] for _, node in leaves(found["nodes"])} == {"limit", "end"}
    assert model.requests == [""]


async def test_a_text_that_fewer_tokens_spell() -> None:
    """A text is followed to the limit after the fewest tokens for the text."""

    async def follow(before: str, most: int) -> AsyncGenerator[Token]:
        said = {"": {b"a": 0.6, b"ab": 0.4}, "a": {b"b": 1.0}, "ab": {b"c": 1.0}}
        for position in range(most):
            top = tuple(Alternative(1 + len(one), "", one, log(share)) for one, share in said[before].items())
            yield Token(top[0].id, "-", top[0].bytes, position, top[0].logprob, 1, None, top, 0.0)
            before += top[0].bytes.decode()

    tree = await grown(follow, 0.1, 2)
    assert [(text, node["end"]) for text, node in leaves(tree["nodes"])] == [("abc", "limit")]


async def test_a_full_context() -> None:
    """A model without room for a token is asked once."""
    requests: list[str] = []
    none: list[Token] = []

    async def follow(before: str, _most: int) -> AsyncGenerator[Token]:
        requests.append(before)
        for token in none:
            yield token

    tree = await grown(follow, 0.1, 2)
    assert (requests, tree["nodes"]) == ([""], [])


async def test_half_a_character() -> None:
    """The most probable half a character is followed; elsewhere half a character is a leaf."""
    first, last, other = "é".encode()[:1], "é".encode()[1:], "€".encode()[:1]

    async def follow(before: str, most: int) -> AsyncGenerator[Token]:
        assert (before, most) == ("", 2)
        top = (Alternative(1, "\ufffd", first, log(0.6)), Alternative(3, "\ufffd", other, log(0.4)))
        yield Token(1, "", first, 0, log(0.6), 1, None, top, 0.0)
        yield Token(2, "é", last, 1, 0.0, 1, None, (Alternative(2, "\ufffd", last, 0.0),), 0.0)

    tree = await grown(follow, 0.1, 2)
    assert [(text, node["end"], node["mass"]) for text, node in leaves(tree["nodes"])] == [
        ("é", "limit", pytest.approx(0.6)),
        ("", "half", pytest.approx(0.4)),
    ]


@pytest.mark.parametrize(
    ("text", "is_whole_sentence"),
    [
        ("It is.", True),
        ("It is 3.", False),
        ("Is it?”", True),
        ("\n\n", False),
        ("One\n", True),
        ("Yes. No", False),
        ("!" + "*" * 100_000 + "-", False),
    ],
)
async def test_the_end_of_a_sentence(text: str, is_whole_sentence: bool) -> None:
    """Without a number of tokens, a continuation ends with the sentence or line."""

    async def follow(before: str, _most: int) -> AsyncGenerator[Token]:
        said = text if not before else " more"
        data = said.encode()
        yield Token(1, said, data, len(before), 0.0, 1, 0.0, (Alternative(1, said, data, 0.0),), 0.0)
        yield Token(1, " more", b" more", 1, 0.0, 1, 0.0, (Alternative(1, " more", b" more", 0.0),), 0.0)

    tree = ContinuationTree(0.5, None)
    async for _ in tree.grow(follow):
        break
    [(found, node)] = leaves(tree.payload()["nodes"])
    assert (found, node["end"]) == (text, "limit" if is_whole_sentence else "unread")
