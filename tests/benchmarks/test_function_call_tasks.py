"""The judge of function calls."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from common.function_call_tasks import Call, CallTask, read_tasks

TRUTH: list[dict[str, Any]] = [{"math.area": {"base": [10], "unit": ["units", ""], "at": [[1, 2]]}}]
TASK = CallTask("1", [], [], TRUTH)
RIGHT = {"base": 10, "at": [1, 2]}


@pytest.mark.parametrize(
    ("calls", "right"),
    [
        ([("math_area", RIGHT)], True),
        ([("math_area", RIGHT | {"unit": "Units "})], True),
        ([("math_area", RIGHT | {"base": 10.0})], True),
        ([("math_area", RIGHT | {"base": 11})], False),
        ([("math_area", RIGHT | {"base": True})], False),
        ([("math_area", RIGHT | {"at": [2, 1]})], False),
        ([("math_area", RIGHT | {"height": 1})], False),
        ([("math_area", {"base": 10})], False),
        ([("math_volume", RIGHT)], False),
        ([("math_area", RIGHT), ("math_area", RIGHT)], False),
        ([], False),
    ],
)
def test_judgement(calls: list[Call], right: bool) -> None:
    """A call is right with the right name and exactly the arguments, each with a right value."""
    assert TASK.is_right(calls) is right


def test_order_and_no_calls() -> None:
    """Calls are right in any order; if no function fits, only an answer without calls is right."""
    task = CallTask("2", [], [], [{"f": {"x": [1]}}, {"f": {"x": [2]}}])

    assert task.is_right([("f", {"x": 2}), ("f", {"x": 1})])
    assert not task.is_right([("f", {"x": 1}), ("f", {"x": 1})])
    assert CallTask("3", [], [], []).is_right([])


def test_reading(tmp_path: Path) -> None:
    """Tasks are read from the wheel with JSON's types, and a seed draws the same tasks."""
    parameters = {
        "type": "dict",
        "properties": {"x": {"type": "float"}, "all": {"type": "array", "items": {"type": "tuple"}}},
    }
    rows: list[dict[str, Any]] = [
        {
            "id": str(n),
            "question": [[{"role": "user", "content": "?"}]],
            "function": [{"name": "a.b", "description": "", "parameters": parameters}],
        }
        for n in range(5)
    ]
    wheel = tmp_path / "bfcl.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("bfcl_eval/data/BFCL_v4_multiple.json", "\n".join(map(json.dumps, rows)))
        truths = [{"id": str(n), "ground_truth": TRUTH} for n in range(5)]
        archive.writestr("bfcl_eval/data/possible_answer/BFCL_v4_multiple.json", "\n".join(map(json.dumps, truths)))

    tasks = read_tasks(wheel, "multiple", 2, 1)

    assert [task.id for task in tasks] == [task.id for task in read_tasks(wheel, "multiple", 2, 1)]
    function = tasks[0].tools[0]["function"]
    assert function["name"] == "a_b"
    assert function["parameters"]["type"] == "object"
    assert function["parameters"]["properties"] == {
        "x": {"type": "number"},
        "all": {"type": "array", "items": {"type": "array"}},
    }
