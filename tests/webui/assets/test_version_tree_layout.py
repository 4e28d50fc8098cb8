"""Tests the places of versions in the picture of their tree, for random trees."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from support.node_modules import in_node

TREES = 60

LAYOUT = "trees => trees.map(({ nodes, shown, unfolded }) => versionLayout(nodes, shown, new Set(unfolded)))"

Row = dict[str, Any]


@dataclass(frozen=True)
class Tree:
    """A tree of versions with the shown path."""

    parents: dict[int, int | None]
    shown: list[int]
    unfolded: list[int]

    def children(self, node: int | None) -> list[int]:
        """Return the versions of the message after ``node``, the oldest version first."""
        return [one for one, parent in self.parents.items() if parent == node]

    def depth(self, node: int) -> int:
        parent = self.parents[node]
        return 1 if parent is None else 1 + self.depth(parent)

    def record(self, random: Random) -> dict[str, Any]:
        """Return the argument of the script."""
        nodes = [
            {"node": node, "parent": parent, "chosen": random.choice([None, *self.children(node)])}
            for node, parent in self.parents.items()
        ]
        return {"nodes": nodes, "shown": self.shown, "unfolded": self.unfolded}


def random_tree(random: Random) -> Tree:
    """Return a tree, usually a long conversation with few branches, with gaps in the numbers."""
    parents: dict[int, int | None] = {}
    node = 0
    for _ in range(random.randint(1, 60)):
        node += random.randint(1, 3)
        known = list(parents)
        parents[node] = known[-1] if known and random.random() < 0.8 else random.choice([None, *known])
    at = random.choice(list(parents))
    shown: list[int] = []
    step: int | None = at
    while step is not None:
        shown.insert(0, step)
        step = parents[step]
    return Tree(parents, shown, random.sample(list(parents), random.randint(0, len(parents))))


def layouts(records: list[dict[str, Any]]) -> list[list[Row]]:
    found = in_node('import { versionLayout } from "assets/chat/version_tree_layout.js";', LAYOUT, records)
    assert isinstance(found, list)
    return found


def test_every_tree() -> None:
    """Versions are in rows below their parents, the shown path is straight, no lines cross."""
    random = Random(17)
    trees = [random_tree(random) for _ in range(TREES)]
    found = layouts([tree.record(random) for tree in trees])
    assert any(row["isFold"] for rows in found for row in rows), "some have messages to fold"
    assert max(row["lane"] for rows in found for row in rows) > 2, "some have branches within branches"
    for tree, rows in zip(trees, found, strict=True):
        check_rows(tree, rows)
        check_lines(tree, rows)


def check_rows(tree: Tree, rows: list[Row]) -> None:
    assert sorted(node for row in rows for node in row["nodes"]) == sorted(tree.parents)
    row_of = {node: index for index, row in enumerate(rows) for node in row["nodes"]}
    for index, row in enumerate(rows):
        node = row["node"]
        parent = tree.parents[node]
        siblings = tree.children(parent)
        assert row["parent"] == (-1 if parent is None else row_of[parent])
        assert row["parent"] < index
        assert (row["level"], row["count"], row["version"]) == (
            tree.depth(node),
            len(siblings),
            siblings.index(node) + 1,
        )
        same = [one for one in rows if one["parent"] == row["parent"]]
        assert row["place"] == same.index(row) + 1
        assert row["isFold"] == (len(row["nodes"]) > 1)
        if row["isFold"]:
            assert node not in tree.unfolded
            assert all(len(tree.children(tree.parents[one])) == 1 == len(tree.children(one)) for one in row["nodes"])
            assert all(tree.parents[below] == above for above, below in pairwise(row["nodes"]))
            assert len(tree.children(tree.parents[parent] if parent is not None else None)) == 1, (
                "what begins a branch is not folded"
            )


def check_lines(tree: Tree, rows: list[Row]) -> None:
    """Assert that the shown path is in the first lane, and that lines meet no rows or lines."""
    shown = set(tree.shown)
    assert all(row["lane"] == 0 for row in rows if row["node"] in shown)
    lines = [(row["parent"], index, row) for index, row in enumerate(rows) if row["parent"] >= 0]
    for above, below, row in lines:
        lane = rows[above]["lane"]
        assert row["lane"] in (lane, lane + 1)
        between = rows[above + 1 : below]
        assert all(one["lane"] > lane for one in between), "the line down the lane meets no other version"
    deepest = max(row["lane"] for row in rows)
    assert deepest <= max(
        sum(len(tree.children(tree.parents[one])) > 1 for one in path_to(tree, node)) for node in tree.parents
    )


def path_to(tree: Tree, node: int | None) -> list[int]:
    found = []
    while node is not None:
        found.append(node)
        node = tree.parents[node]
    return found


def test_a_long_conversation() -> None:
    """Thousands of messages fold into a few rows, and 200 versions take a single extra lane."""
    long = Tree({node: node - 1 or None for node in range(1, 2001)}, list(range(1, 2001)), [])
    many = Tree({1: None, **dict.fromkeys(range(2, 202), 1)}, [1, 100], [])
    opened = Tree(long.parents, long.shown, [2])
    random = Random(1)
    chain = [{"node": node, "parent": parent, "chosen": None} for node, parent in long.parents.items()]
    first, second, third = layouts(
        [{"nodes": chain, "shown": tree.shown, "unfolded": tree.unfolded} for tree in (long, opened)]
        + [many.record(random)],
    )
    assert [len(row["nodes"]) for row in first] == [1, 1998, 1]
    assert [row["level"] for row in first] == [1, 2, 2000]
    assert [row["node"] for row in second] == long.shown
    assert [row["node"] for row in third][-1] == 100
    assert {row["lane"] for row in third} == {0, 1}
