"""Tests of commit messages: the form that a repository has, what is cut, and the alternatives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest

from pellucid.completion.commit_message.commit_messages import EMPTY, CommitMessage, commit_messages
from pellucid.completion.commit_message.commit_prompt import MAX_CHARACTERS, CommitPrompt, shortened
from pellucid.completion.commit_message.staged_changes import StagedChanges, StagedFile
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.finish import FinishReason
from support.editors.scripted_editor import ScriptedEditor

ADDED = "@@ -1 +1,2 @@\n+total = 1\n"
CHANGED = "@@ -1 +1 @@\n-total = 1\n+total = 2\n"
REMOVED = "@@ -1 +0,0 @@\n-total = 1\n"


def prompt(*diffs: str, subjects: Sequence[str] = (), name: str = "f{}.py") -> CommitPrompt:
    files = tuple(StagedFile("", name.format(number), diff=diff) for number, diff in enumerate(diffs))
    return CommitPrompt(StagedChanges(files, tuple(subjects), ()))


def question(one: CommitPrompt) -> str:
    return one.messages("")[2].content


def writes(
    first: str, rests: Mapping[str, str] = MappingProxyType({}), reason: FinishReason = FinishReason.STOP
) -> ScriptedEditor:
    """Return a model that writes a first message, and the rests after given beginnings."""
    answers = {f'git commit -m "{begun}': rest for begun, rest in {"": first, **rests}.items()}
    others = {"Fix": "Use", " total": " sum", " a": "Zzz"}
    return ScriptedEditor("", reason=reason, rests=answers, others=others, error="No memory.")


async def write(assistant: ScriptedEditor, count: int = 1, one: CommitPrompt | None = None) -> list[CommitMessage]:
    return [message async for message in commit_messages(assistant, one or prompt(CHANGED), count)]


@pytest.mark.parametrize(
    ("subjects", "fits", "misfits"),
    [
        ([], ["Fix a total"], ["fix a total", "Total: Fix it", "A total", "Fixed a total"]),
        (["fix the sum", "add a cart"], ["use a total"], ["Use a total"]),
        (["Cart: a total", "Docs: the cart"], ["Cart: Fix a total"], ["Fix a total", "Cart: a total"]),
        (["fix(cart): total", "feat: cart"], ["fix: use a total"], ["Fix a total", "cart: fix a total"]),
        (["合計を追加", "カートを直す"], ["Anything at all"], []),
    ],
)
def test_the_form_of_the_repository(subjects: list[str], fits: list[str], misfits: list[str]) -> None:
    """The recent subjects decide area and case, and no subject is in the prompt."""
    one = prompt(CHANGED, subjects=subjects)
    form = re.compile(one.rest_of("").text)
    assert [text for text in fits if not form.fullmatch(text + '"')] == []
    assert [text for text in misfits if form.fullmatch(text + '"')] == []
    assert not any(subject in message.content for subject in subjects for message in one.messages(""))


@pytest.mark.parametrize(
    ("diff", "right", "wrong"),
    [
        (ADDED, "Add", "Remove"),
        (REMOVED, "Remove", "Add"),
        (CHANGED, "Fix", "Add"),
        (CHANGED + "+y = 1\n+z = 1\n", "Add", "Drop"),
        (CHANGED + "-y = 1\n-z = 1\n", "Drop", "Add"),
    ],
)
def test_verbs(diff: str, right: str, wrong: str) -> None:
    """The numbers of removed and added lines decide the permitted verbs."""
    one = prompt(diff)
    assert [re.fullmatch(one.rest_of("").text, f'{verb} the total"') is not None for verb in (right, wrong)] == [
        True,
        False,
    ]
    # A beginning limits the rest.
    assert re.fullmatch(one.rest_of(right[:2]).text, f'{right[2:]} the total"')
    assert re.fullmatch(one.rest_of(f"{right} the").text, ' total"')
    assert (one.allows(right), one.allows(right[:2]), one.allows(wrong)) == (True, True, False)


@pytest.mark.parametrize(
    ("files", "right", "wrong"),
    [
        ([StagedFile("renamed", "b.py", "a.py")], "Move", "Update"),
        ([StagedFile("new", "a.png")], "Add", "Update"),
        ([StagedFile("deleted", "a.png")], "Remove", "Update"),
        ([StagedFile("", "README.md", diff=CHANGED)], "Document", "Fix"),
        ([StagedFile("", "tests/test_a.py", diff=CHANGED)], "Test", "Improve"),
    ],
)
def test_verbs_of_files(files: list[StagedFile], right: str, wrong: str) -> None:
    """New, deleted and renamed files, texts and tests have particular verbs."""
    one = CommitPrompt(StagedChanges(tuple(files), (), ()))
    fits = [re.fullmatch(one.rest_of("").text, f'{verb} the total"') is not None for verb in (right, wrong)]
    assert fits == [True, False]


def test_a_file_replaced_by_a_file() -> None:
    """A new and a deleted file are named in the message; several files have particular verbs."""
    new, deleted = StagedFile("new", "docs/a+.md", diff=ADDED), StagedFile("deleted", "docs/a.rst", diff=REMOVED)
    form = CommitPrompt(StagedChanges((deleted, new), (), ())).rest_of("").text
    fits = ["Convert a.rst to a+.md", "Replace a.rst by a+.md", "Convert the total"]
    assert [re.fullmatch(form, text + '"') is not None for text in fits] == [True, True, False]
    form = CommitPrompt(StagedChanges((deleted, new, new), (), ())).rest_of("").text
    assert [re.fullmatch(form, text + '"') is not None for text in ("Convert the total", "Add a+.md")] == [True, False]


def test_removed_and_added_lines_are_apart() -> None:
    """Changed lines are pairs in the prompt, and other lines are blocks, without imports."""
    asked = question(prompt(CHANGED + " \n+import os\n+)\n+tax = 3\n"))
    changed, added = "Changed in f0.py:\n```\n- total = 1\n+ total = 2\n```", "Added to f0.py:\n```\ntax = 3\n```"
    assert asked.startswith(f"Files:\nf0.py\n\n{changed}\n{added}\n")
    assert "import os" not in asked


def test_white_space() -> None:
    """A change of only white space is named, and a change of only imports is read."""
    assert "```\n- import os\n```" in question(prompt("@@ -1 +0,0 @@\n-import os\n"))
    assert "Changed in f0.py:\n```\nonly white space\n```" in question(prompt("@@ -1 +1 @@\n-x = 1\n+  x = 1 \n"))


def test_long_lines_are_cut_to_the_change() -> None:
    """Of two long paragraphs, only the words around the difference are in the prompt."""
    words = " ".join(f"word{number}" for number in range(60))
    asked = question(prompt(f"@@ -1 +1 @@\n-{words}\n+{words.replace('word30', 'other')}\n"))
    assert "word30" in asked
    assert "other" in asked
    assert "word2 " not in asked
    assert "word59" not in asked


def test_tests_are_read_only_alone() -> None:
    """Tests are named, and read only if no other file has changed; a change log comes last."""
    files = [StagedFile("", name, diff=ADDED) for name in ("tests/test_a.py", "a.py", "CHANGELOG.md")]
    one = CommitPrompt(StagedChanges(tuple(files), (), ()))
    assert "Added to tests" not in question(one)
    assert "tests/test_a.py" in question(one)
    assert question(one).index("Added to a.py") < question(one).index("Added to the change log:")
    assert one.notes == ("The model read the changes of 1 of 3 staged files, and only the names of the rest.",)
    alone = CommitPrompt(StagedChanges((files[0],), (), ()))
    assert "Added to tests/test_a.py" in question(alone)
    assert alone.notes == ()


def test_names_of_new_tests_are_read() -> None:
    """The names of new tests are in the prompt as words, next to the code that is read."""
    tests = StagedFile(
        "", "tests/test_a.py", diff="@@ -1 +1,2 @@\n+async def test_a_sum_of_floats() -> None:\n+    pass\n"
    )
    script = StagedFile("", "a.test.ts", diff='@@ -1 +1 @@\n+  it("adds a tax", () => {})\n')
    one = CommitPrompt(StagedChanges((StagedFile("", "a.py", diff=CHANGED), tests, script), (), ()))
    assert "New tests:\n```\na sum of floats\nadds a tax\n```" in question(one)


def test_definitions_are_read_first() -> None:
    """Of a long change, definitions and comments are read before other lines, in their order."""
    body = "".join(f"+    value{number} = {number}\n" for number in range(400))
    asked = question(prompt(f"@@ -0,0 +1,400 @@\n{body}+def total():\n{body}+# The end\n"))
    assert asked.index("value0") < asked.index("def total():") < asked.index("# The end")
    assert "value399" not in asked


def test_a_long_diff_is_cut() -> None:
    """A long diff is cut within a bounded prompt, and notes name the unread files."""
    diff = "@@ -0,0 +1,999 @@\n" + "".join(f"+value{number} = {number}\n" for number in range(999))
    one = prompt(*[diff] * 3, *[ADDED] * 20)
    assert len(question(one)) < 4000
    assert one.notes[0] == "The model read the changes of 6 of 23 staged files, and only the names of the rest."
    assert one.notes[1].startswith("The changes are long, so the model read only their beginning in f")
    assert "and 11 more" in question(one)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Add a total. ", "Add a total"),
        (
            "Add the total of a cart with several items, and show the total in the page's head",
            "Add the total of a cart with several items, and show the total",
        ),
        (f"Add the {'x' * 40} of 2 to 8 {'y' * 40}", f"Add the {'x' * 40}"),
        ("Add " + "z" * 30 + " " + "z" * 50, "Add " + "z" * 30),
    ],
)
def test_a_long_message_is_cut_before_a_clause(text: str, short: str) -> None:
    """A message has at most 72 characters, and ends before a conjunction or within no word."""
    assert shortened(text) == short
    assert len(shortened(text)) <= MAX_CHARACTERS


async def test_alternatives() -> None:
    """Further messages continue from the likeliest permitted alternatives, without repetition."""
    assistant = writes("Fix a total", {"Use": " a total", "Fix a sum": ""})
    messages = await write(assistant, 3)
    assert [message.text for message in messages] == ["Fix a total", "Use a total", "Fix a sum"]
    assert [len(await write(assistant, count)) for count in (1, 2, 9)] == [1, 2, 3]
    assert "".join(token.text for token in messages[1].tokens) == "Use a total"
    assert 0 < messages[0].probability < 1
    long = await write(writes("Fix the total of a cart with several items, and show the total in the page's head"))
    assert long[0].text == "".join(token.text for token in long[0].tokens) == shortened(long[0].text)
    assert all(query.continue_last and query.grammar is not None for query in assistant.asked)
    assert all(query.params.temperature == 0 for query in assistant.asked)


async def test_failures() -> None:
    """An empty message, a failure and a newer request are a sentence each."""
    with pytest.raises(InvalidRequestError, match=EMPTY):
        await write(writes(""))
    with pytest.raises(PellucidError, match="No memory"):
        await write(writes("Fix", reason=FinishReason.ERROR))
    with pytest.raises(InvalidRequestError, match="A newer request"):
        await write(writes("Fix", reason=FinishReason.SUPERSEDED))
