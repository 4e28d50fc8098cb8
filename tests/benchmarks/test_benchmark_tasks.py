"""The tasks of the benchmarks, and the judges of answers."""

from __future__ import annotations

import ast
import itertools
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest

from common.code_tasks import functions, most_named, tail
from common.function_call_tasks import Call, CallTask, read_tasks
from common.infill_tasks import Half, Shape, tasks
from common.planted_bugs import KINDS, PlantedBug, plant
from common.text_windows import MIN_WINDOW, windows
from common.typed_lines import FAR, Buffer, Keystroke, Kind, runs, visit
from cross_file_completion import CONTEXTS_WITHOUT_SERVER, CrossFileAnswer, difference, draw, report
from pellucid.learn.evaluate.suites.code_gap_base import count_passing


def test_an_edit_names_what_a_file_is_about() -> None:
    """The function to rename is the most used function, and special methods keep their names."""
    text = "def first(): ...\nclass A:\n    def __init__(self): second()\ndef second(): first(); second()\n"

    assert functions(text) == ["first", "second"]
    assert most_named(text, functions(text)) == "second"
    assert functions("def (") == []


def test_the_end_of_a_text_begins_with_a_line() -> None:
    """A tail has as many whole lines as fit."""
    assert tail("abc\ndef\nghi", 7) == "def\nghi"
    assert tail("abc\ndef\nghi", 8) == "def\nghi"
    assert tail("abc", 8) == "abc"


FILES = {
    "orders.py": "class OrderBook:\n    def add_order(self, order):\n        self.orders.append(order)\n",
    "main.py": (
        "import orders\n\n\ndef run_all():\n    book = OrderBook()\n    text = 'OrderBook'\n    other = run_all\n"
    ),
    "alone.py": (
        "import os\n\n\ndef lonely_one():\n    first = os.getcwd()\n    second = first.upper()\n    return second\n"
    ),
}


def test_cursors(tmp_path: Path) -> None:
    """Strings, imports and names of the same file are no cursors."""
    package = tmp_path / "python" / "shop"
    package.mkdir(parents=True)
    for name, text in FILES.items():
        (package / name).write_text(text)
    cursors = [cursor for _, cursor in draw(tmp_path, 9)]
    assert [(one.file, one.line, one.name) for one in cursors if not one.control] == [("main.py", 4, "OrderBook")]
    assert "alone.py" in {one.file for one in cursors if one.control}


def answer(context: str, right: bool, file: str) -> CrossFileAnswer:
    return CrossFileAnswer(
        context,
        "python",
        file,
        control=False,
        seen=False,
        given=True,
        name_right=right,
        line_right=right,
        keystroke=20.0,
        computed=2,
    )


def test_report() -> None:
    """The difference compares the shares of right names at the same cursors."""
    answers = [
        answer(context, context == "related pieces" and file != "c.py", file)
        for file in ("a.py", "b.py", "c.py")
        for context in CONTEXTS_WITHOUT_SERVER
    ]
    assert round(difference(answers, "related pieces").value, 3) == 0.667
    assert difference(answers, "opened files").value == 0
    assert "| name not seen | related pieces | 3 | 100.0% | 66.7% | 66.7% | +66.7" in report(answers)


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


HUMANEVAL = Path(__file__).parents[1] / "server/learn/evaluate/humaneval/HumanEval.jsonl.gz"


@pytest.mark.process
@pytest.mark.usefixtures("sandbox_alone")
@pytest.mark.parametrize("shape", list(Shape))
async def test_solutions_pass(shape: Shape) -> None:
    """The removed text passes."""
    drawn = tasks(HUMANEVAL, shape, Half.FIT)[:4]
    assert await count_passing(drawn, [task.solution for task in drawn]) == len(drawn)


def test_shapes() -> None:
    """A line is whole with its break, several lines are at least two, and spans begin anywhere."""
    by_shape = {shape: tasks(HUMANEVAL, shape, Half.REPORT) for shape in Shape}
    for shape in (Shape.LINE, Shape.LINES):
        assert all(task.prefix.endswith("\n") and task.solution.endswith("\n") for task in by_shape[shape])
    assert {task.solution.count("\n") for task in by_shape[Shape.LINE]} == {1}
    assert min(task.solution.count("\n") for task in by_shape[Shape.LINES]) == 2
    assert any(task.prefix[-1].isalnum() and task.solution[:1].isalnum() for task in by_shape[Shape.SPAN])


def test_halves_share_no_problem() -> None:
    """Rules are chosen and reported on disjoint problems."""
    fit, report = ({task.problem for task in tasks(HUMANEVAL, Shape.SPAN, half)} for half in Half)
    assert len(fit) == len(report) == 82
    assert not fit & report


TEXT = '''\
def clamp(value, low, high):
    """Return value + 1 - 2, or not."""
    if value < low and low != high:
        return max(low, value)
    return [value + 1, low][0]
'''


def planted(count: int = 60) -> list[PlantedBug]:
    bugs = [plant("package", "file.py", TEXT, random.Random(seed)) for seed in range(count)]
    return [bug for bug in bugs if bug is not None]


def test_one_change_outside_of_strings() -> None:
    """Each bug changes the code only at the stated lines, not in docstrings; each kind occurs."""
    bugs = planted()
    assert {bug.kind for bug in bugs} == set(KINDS)
    for bug in bugs:
        assert ast.dump(ast.parse(bug.text)) != ast.dump(ast.parse(TEXT))
        changed = {
            line
            for line, (old, new) in enumerate(zip(TEXT.split("\n"), bug.text.split("\n"), strict=True), 1)
            if old != new
        }
        assert changed == bug.lines != {2}


@pytest.mark.parametrize("kind", KINDS)
def test_places(kind: str) -> None:
    """The spans cover the new tokens: two for swapped arguments, otherwise one."""
    for bug in planted():
        if bug.kind == kind:
            words = [bug.text[begin:end] for begin, end in bug.spans]
            assert len(words) == (2 if kind == "arguments" else 1)
            assert all(word.strip() == word != "" for word in words)
            assert len(bug.text) - len(bug.original) == 0 or len(words) == 1


def test_nothing_to_change() -> None:
    """A file without a place for a bug gets no bug."""
    assert plant("package", "file.py", "import os\n", random.Random(0)) is None


def test_windows_do_not_overlap() -> None:
    """Windows are disjoint, within a text, and within the token limit together."""
    texts = [list(range(250)), list(range(1000, 1030)), list(range(2000, 2500))]
    found = [list(window) for window in windows(texts, 100, 500)]

    assert [(window[0], len(window)) for window in found] == [
        (0, 100),
        (100, 100),
        (2000, 100),
        (2100, 100),
        (2200, 100),
    ]
    assert all(len(window) >= MIN_WINDOW for window in found)
    assert [len(window) for window in windows(texts, 100, 270)] == [100, 100, 70]


CODE = [f"    value_{number} = compute({number})" for number in range(400)]
HOME, WRITTEN = 200, 2


def keystrokes(seed: int = 0) -> list[Keystroke]:
    return list(visit(CODE, HOME, WRITTEN, random.Random(seed)))


def text(keystroke: Keystroke) -> str:
    return keystroke.before + keystroke.after


def test_appending_adds_one_character_left_of_the_cursor() -> None:
    """An appending keystroke adds a character before the cursor and changes no more text."""
    pressed = keystrokes()
    pairs = [(one, other) for one, other in itertools.pairwise(pressed) if other.kind == Kind.APPEND]

    assert pairs
    for one, other in pairs:
        assert other.before[:-1] == one.before
        assert other.after == one.after


def test_the_lines_are_written_as_they_were() -> None:
    """Before the jump the file equals the original, except for a comment line above."""
    (last,) = [one for one in keystrokes() if one.kind == Kind.MID_LINE][-1:]
    lines = text(last).split("\n")

    assert [line for line in lines if not line.startswith("# checked")] == CODE
    assert len(lines) == len(CODE) + 1


def test_an_edit_above_leaves_the_cursor_at_its_text() -> None:
    """A change above is above the cursor's line, and the text after the cursor stays."""
    pressed = keystrokes()
    (at,) = [index for index, one in enumerate(pressed) if one.kind == Kind.ABOVE]
    before, above = pressed[at - 1], pressed[at]

    assert above.after == before.after
    assert above.before.count("\n") == before.before.count("\n") + 1
    assert above.before.rpartition("\n")[2] == before.before.rpartition("\n")[2] + "v"


def test_a_jump_goes_far() -> None:
    """After a jump, the cursor is many lines away, with the indentation of the line above."""
    *_, edit, jump = keystrokes()

    assert jump.kind == Kind.JUMP
    assert abs(jump.before.count("\n") - edit.before.count("\n")) >= FAR - 1
    assert jump.before.endswith("\n    ")


def test_every_kind_is_sampled_and_a_seed_says_where() -> None:
    """A visit has every kind of keystroke in the sample, determined by the seed."""
    assert {one.kind for one in keystrokes() if one.sampled} == set(Kind)
    assert keystrokes(1) == keystrokes(1) != keystrokes(2)


def test_a_buffer_types_lines() -> None:
    """The cursor is after the typed text, on the last line."""
    buffer = Buffer(["ab"], 0, 1)
    buffer.type("1\n2")

    assert (buffer.lines, buffer.row, buffer.column) == (["a1", "2b"], 1, 1)


def test_lines_are_written_where_enough_of_them_are_code() -> None:
    """A run begins where all lines are code of a fitting length, in the middle half of the file."""
    lines = ["x = first(1, 2)", "", "x = second(1, 2)", "x = third(1, 2)", "", "", "", ""]

    assert runs(lines, set(lines), 2) == [2]
    assert runs(lines, {lines[2]}, 2) == []
    assert runs(lines, {lines[2]}, 1) == [2]
