"""Tests the fan of samples against the texts of random samples."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from support.node_modules import in_node

FAN = "fans => fans.map(({ versions, index }) => fanOf(versions, index))"
COVERED = "trees => trees.map(([tree, threshold]) => coveredWords(tree, threshold))"
IMPORTS = 'import { fanOf, coveredWords } from "assets/continuations/continuation_rows.js";'


def version(number: int, words: str) -> dict[str, Any]:
    return {"node": 10 + number, "number": number, "records": [{"t": word, "l": -0.5} for word in words]}


def leaves(nodes: list[dict[str, Any]], before: str = "") -> Iterator[tuple[str, list[int]]]:
    for node in nodes:
        assert len(node["nodes"]) != 1, "a chain is one node"
        text = before + "".join(piece for piece, _ in node["pieces"])
        below = [one["number"] for child in node["nodes"] for one in child["versions"]]
        own = [one["number"] for one in node["versions"]]
        assert not below or sorted(below) == own
        if node["nodes"]:
            yield from leaves(node["nodes"], text)
        else:
            yield text, own


def test_random_fans() -> None:
    """Each text leads to a single leaf, with all versions of the text; common beginnings join."""
    random = Random(4)
    fans: list[dict[str, Any]] = []
    for _ in range(80):
        texts = ["".join(random.choices("ab", k=random.randint(2, 6))) for _ in range(random.randint(1, 5))]
        index = random.randint(0, 1)
        fans.append(
            {"index": index, "versions": [version(number, "x" * index + text) for number, text in enumerate(texts, 1)]}
        )
    for fan, found in zip(fans, in_node(IMPORTS, FAN, fans), strict=True):
        expected: dict[str, list[int]] = {}
        for one in fan["versions"]:
            text = "".join(record["t"] for record in one["records"][fan["index"] :])
            expected.setdefault(text, []).append(one["number"])
        assert dict(leaves(found)) == expected
        beginnings = [node["pieces"][0][0] for node in found]
        assert len(beginnings) == len(set(beginnings))


def test_a_long_sample() -> None:
    """A branch of many tokens is cut, and the row says so."""
    [fan] = in_node(IMPORTS, FAN, [{"index": 0, "versions": [version(1, "a" * 500), version(2, "b")]}])
    assert [(len(node["pieces"]), node["end"]) for node in fan] == [(120, "cut"), (1, "end")]


def test_what_is_covered() -> None:
    """The words name the covered mass, the rest, an unlisted token and a cut search."""
    tree = {"leaves": 3, "covered": 0.8, "rest": 0.2, "unlisted": 0.001, "isCut": False, "isWhole": True}
    trees = [tree, tree | {"leaves": 1}, tree | {"leaves": 0}, tree | {"unlisted": 0.03}, tree | {"isCut": True}]
    several, one, none, unlisted, cut = in_node(IMPORTS, COVERED, [[each, 0.02] for each in trees])
    assert several == "3 continuations cover 80.0 %; all others together have at most 20.0 %."
    assert one.startswith("1 continuation covers 80.0 %")
    assert none == "No continuation reaches 2 %."
    assert unlisted == f"{several} A token that the engine does not list may have up to 3.00 %."
    assert cut == f"{several} Not all were followed to their end: choose a higher threshold or a shorter length."
