"""Tests of the instruction that asks for tests."""

from __future__ import annotations

import pytest

from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit
from pellucid.completion.edits.by_instruction.instructed_edits import edit as edit_of
from pellucid.completion.edits.by_instruction.requested_tests import (
    INSTRUCTION,
    NO_TESTS,
    NOTHING_TO_TEST,
    names_to_test,
)
from pellucid.vocabulary.finish import FinishReason
from support.editors.scripted_editor import ScriptedEditor

FUNCTION = "def f(x):\n    return x\n"


async def made(model: ScriptedEditor, selection: str, *, before: str = "", after: str = "") -> InstructedEdit:
    query = EditQuery(before, selection, after, INSTRUCTION, path="a.py")
    *_, last = [item async for item in edit_of(model, query)]
    assert isinstance(last, InstructedEdit)
    return last


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("@a\nasync def f(): ...\n\n\nclass B:\n    def g(self): ...\n", ["f", "B"]),
        ("export default function f() {}\nconst g = async (x) => x;\nconst h = 1;\n", ["f", "g"]),
        ("func F() int {\n", ["F"]),
        ("pub fn f() {}\n", ["f"]),
        ("    def f(self): ...\nx = 1\n", []),
    ],
)
def test_names(code: str, names: list[str]) -> None:
    """The outermost functions and classes are tested."""
    assert names_to_test(code) == names


@pytest.mark.parametrize(
    ("before", "after", "first", "new"),
    [
        ("", "", 2, ["", "", "def test_f():", "    assert f(1) == 1"]),
        ("", "\n\ny = 2\n", 2, ["", "", "def test_f():", "    assert f(1) == 1", ""]),
        ("", "y = 2\n", 2, ["", "", "def test_f():", "    assert f(1) == 1", "", ""]),
        ("import a\n", "", 3, ["", "", "def test_f():", "    assert f(1) == 1"]),
    ],
)
async def test_tests_below(before: str, after: str, first: int, new: list[str]) -> None:
    """Tests are below the selection, apart from other code, and the answer's beginning is given."""
    model = ScriptedEditor("", rests={"def test_f": "():\n    assert f(1) == 1\n```\n"})
    edit = await made(model, FUNCTION, before=before, after=after)
    (hunk,) = edit.hunks
    assert (hunk.first, list(hunk.new), hunk.breaks_syntax, edit.reason) == (first, new, False, None)
    assert model.asked[0].messages[-1].content == "```py\ndef test_f"
    (asked, _) = model.asked[0].messages
    assert asked.content == (
        "File: a.py\n\nCode before the selection:\n```py\ndef f(x):\n    return x\n```\n\n"
        "Write tests for `f`.\nAnswer with only the new code that belongs after it."
    )
    assert "".join(token.text for token in hunk.tokens) == "():\n    assert f(1) == 1\n"


async def test_a_last_line_without_an_end() -> None:
    """Tests below a last line without an end replace the line, so that the line gets an end."""
    model = ScriptedEditor("", rests={"def test_f": "():\n    assert f(1) == 1\n```\n"})
    edit = await made(model, FUNCTION.removesuffix("\n"))
    assert (edit.first, edit.old) == (1, "    return x")
    assert edit.text == "    return x\n\n\ndef test_f():\n    assert f(1) == 1"


async def test_tests_of_a_script() -> None:
    """Tests of JavaScript begin as tests do there."""
    model = ScriptedEditor("", rests={'test("f': '", () => {\n  assert.equal(f(1), 1);\n});\n```\n'})
    query = EditQuery("", "const f = (x) => x;\n", "", INSTRUCTION, language="typescript")
    *_, edit = [item async for item in edit_of(model, query)]
    assert isinstance(edit, InstructedEdit)
    assert edit.text == '\ntest("f", () => {\n  assert.equal(f(1), 1);\n});\n'


async def test_repeated_lines() -> None:
    """An answer ends where a line repeats the line above, which is kept."""
    model = ScriptedEditor("", rests={"def test_f": "():\n" + "    assert f(1) == 1\n" * 3})
    edit = await made(model, FUNCTION)
    assert edit.text == "\n\ndef test_f():\n    assert f(1) == 1\n"


async def test_cut_tests() -> None:
    """Tests that reach the limit are cut where they parse."""
    rest = "():\n    assert f(1) == 1\n\n\ndef test_g():\n    assert f(\n        2,\n"
    model = ScriptedEditor("", rests={"def test_f": rest}, reason=FinishReason.LENGTH)
    (hunk,) = (await made(model, FUNCTION)).hunks
    assert (hunk.new, model.asked[0].params.max_tokens) == (("", "", "def test_f():", "    assert f(1) == 1"), 256)


@pytest.mark.parametrize(
    "rest", ["():\n    pass\n", "():\n    assert True\n", "():\n    assert f(1)\n\ndef f(x):\n    return x\n"]
)
async def test_no_tests(rest: str) -> None:
    """An answer without an assertion or the name, or with the code itself, is refused."""
    edit = await made(ScriptedEditor("", rests={"def test_f": f"{rest}```\n"}), FUNCTION)
    assert (edit.reason, edit.hunks, edit.text) == (NO_TESTS.format("f"), (), "")


async def test_nothing_to_test() -> None:
    """A selection without functions and classes is refused, and the model is not asked."""
    model = ScriptedEditor("")
    edit = await made(model, "x = 1\n")
    assert (edit.reason, edit.text, model.asked) == (NOTHING_TO_TEST, "x = 1\n", [])
