"""Tests of edits by instruction with a scripted model: prompt, answer and resulting edit."""

from __future__ import annotations

from dataclasses import replace
from math import exp

import pytest

from pellucid.completion.edits.by_instruction.edit_query import RETRY_TEMPERATURE, EditQuery, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.instructed_edits import (
    CUT_OFF,
    CUT_OFF_INSERTED,
    EMPTY,
    FULL,
    LATE,
    PROSE,
    REPLACED,
    UNCHANGED,
    edit,
)
from pellucid.errors import InvalidRequestError, PellucidError, QueueFullError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.query import Priority, Terms
from support.editors.scripted_editor import ScriptedEditor, pieces

BEFORE = "import sys\n\n\nclass A:\n"
SELECTION = "    def f(self):\n        return 1\n"
AFTER = "\n    def g(self):\n        return 2\n"
QUERY = EditQuery(BEFORE, SELECTION, AFTER, "Return 3.", path="a.py", language="python")
ANSWER = "def f(self):\n    return 3\n```\nI changed it."


async def edited(model: ScriptedEditor, query: EditQuery = QUERY) -> tuple[list[str], InstructedEdit]:
    items = [item async for item in edit(model, query)]
    last = items.pop()
    assert isinstance(last, InstructedEdit)
    return [line for item in items if isinstance(item, NewLines) for line in item.lines], last


async def test_the_prompt() -> None:
    """The selection follows the text around it, without its margin, and the fence is opened."""
    model = ScriptedEditor(ANSWER)
    await edited(model, replace(QUERY, terms=Terms(Priority.COMPLETION, "key")))
    (query,) = model.asked
    context, read, asked, begun = query.messages
    assert context.content == (
        "Here is the context of my code:\n\nFile: a.py\n\n"
        "Code before the selection:\n```python\nimport sys\n\n\nclass A:\n```\n\n"
        "Code after the selection:\n```python\n\n    def g(self):\n        return 2\n```"
    )
    assert (context.role, read.role) == ("user", "assistant")
    assert (
        asked.content
        == "```python\ndef f(self):\n    return 1\n```\n\nReturn 3.\nAnswer with only this code after the change."
    )
    assert (begun.role, begun.content, query.continue_last) == ("assistant", "```python\n", True)
    assert query.terms == Terms(Priority.COMPLETION, "key")


async def test_an_edit() -> None:
    """Lines are indented up to the fence, the hunk has its tokens, and the stream is closed."""
    model = ScriptedEditor(ANSWER)
    lines, made = await edited(model)
    assert lines == ["    def f(self):", "        return 3"]
    assert (made.first, made.old, made.text, made.reason) == (
        4,
        SELECTION,
        "    def f(self):\n        return 3\n",
        None,
    )
    (hunk,) = made.hunks
    assert (hunk.first, hunk.old, hunk.new) == (5, ("        return 1",), ("        return 3",))
    assert "".join(token.text for token in hunk.tokens) == "    return 3\n"
    assert model.closed == 1
    assert made.usage.generated == len(pieces("def f(self):\n    return 3\n```\n"))


async def test_blank_lines_that_the_model_leaves_out_stay() -> None:
    """Blank lines missing in the answer are restored unless their removal is the only change."""
    selection = "a = 1\n\n\nb = 2\nc = 3\n"
    model = ScriptedEditor("a = 9\n\nb = 2\nc = 8\n```")
    _, made = await edited(model, EditQuery("", selection, "", "Change.", language="python"))
    assert made.text == "a = 9\n\n\nb = 2\nc = 8\n"
    assert [(hunk.first, hunk.old, hunk.new) for hunk in made.hunks] == [
        (0, ("a = 1",), ("a = 9",)),
        (4, ("c = 3",), ("c = 8",)),
    ]
    query = EditQuery("", selection, "", "Remove blank lines.", language="python")
    _, made = await edited(ScriptedEditor("a = 1\nb = 2\nc = 3\n```"), query)
    assert made.text == "a = 1\nb = 2\nc = 3\n"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ScriptedEditor("def f(self):\n    return 1\n```"), UNCHANGED),
        (ScriptedEditor("Sorry, I cannot change this function.\n```"), PROSE),
        (ScriptedEditor("The function already returns the right value.\nx\n"), PROSE),
        (
            ScriptedEditor("x;" * (128 + len(SELECTION) // 2), reason=FinishReason.LENGTH),
            CUT_OFF.format(256 + len(SELECTION)),
        ),
        (ScriptedEditor("def f(self):\n    ret", reason=FinishReason.LENGTH), FULL),
        (ScriptedEditor("def f(self):\n", reason=FinishReason.SUPERSEDED), REPLACED),
        (ScriptedEditor("def f(self):\n", reason=FinishReason.DEADLINE), LATE),
        (ScriptedEditor(""), EMPTY),
    ],
)
async def test_no_change(model: ScriptedEditor, reason: str) -> None:
    """An answer that is equal, prose, cut off or empty changes nothing, and a sentence says why."""
    _, made = await edited(model)
    assert (made.reason, made.text, made.hunks) == (reason, SELECTION, ())


async def test_an_answer_that_changes_nothing_is_continued_otherwise() -> None:
    """The second answer starts at the likeliest alternative token, and both answers are counted."""
    same = "def f(self):\n    return 1\n```"
    model = ScriptedEditor(same, others={" return": " yield"}, rests={"def f(self):\n    yield": " 1\n```"})
    lines, made = await edited(model)
    assert lines == ["    def f(self):", "        return 1"]
    assert (made.text, made.reason) == ("    def f(self):\n        yield 1\n", None)
    assert "".join(token.text for token in made.hunks[0].tokens) == "    yield 1\n"
    assert made.usage.generated == len(pieces(same)) + len(pieces(" 1\n```"))


async def test_an_answer_that_nothing_likely_changes() -> None:
    """An unchanged answer without a likely alternative token is the only request."""
    same = "def f(self):\n    return 1\n```"
    for model in (
        ScriptedEditor(same, others={"1": "`", "\n": "```\n"}),
        ScriptedEditor(same, others={"1": "2"}, other_logprob=-1.5),
    ):
        _, made = await edited(model)
        assert (made.reason, len(model.asked)) == (UNCHANGED, 1)


async def test_another_answer_that_does_not_come() -> None:
    """A superseded second answer ends the search, and a refused second answer leaves the first."""
    same, others = "def f(self):\n    return 1\n```", {"def": "class", "self": "cls"}
    model = ScriptedEditor(
        same, others=others, rests=dict.fromkeys(("class", "def f(cls"), ""), later=FinishReason.SUPERSEDED
    )
    _, made = await edited(model)
    assert (made.reason, len(model.asked)) == (REPLACED, 2)
    model = ScriptedEditor(same, others=others, later=QueueFullError("The queue is full."))
    _, made = await edited(model)
    assert (made.reason, len(model.asked)) == (UNCHANGED, 2)


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_alternatives_are_those_that_were_asked_for(count: int) -> None:
    """Hunks have as many alternatives as requested, and hidden alternatives count as the rest."""
    model = ScriptedEditor(ANSWER, others={" 3": " 4"})
    _, made = await edited(model, replace(QUERY, top_logprobs=count))
    assert model.asked[0].params.top_logprobs == max(4, count)
    (token,) = (one for one in made.hunks[0].tokens if one.text == " 3")
    assert (len(token.top), token.rest) == (min(count, 1), 1.0 + (0 if count else exp(-1.0)))


async def test_other_beginnings() -> None:
    """The likeliest alternative token is tried first, up to the first changed answer."""
    same = "def f(self):\n    return 1\n```"
    begun = ("class", "def g", "def f(cls")
    model = ScriptedEditor(
        same, others={"def": "class", " f": " g", "self": "cls", "1": "2"}, rests=dict.fromkeys(begun, "``` x\n\n")
    )
    await edited(model)
    assert [query.messages[-1].content for query in model.asked] == [
        "```python\n",
        *(f"```python\n{one}" for one in begun[:1]),
    ]


async def test_an_answer_that_fails() -> None:
    """An answer that fails raises the engine's own sentence."""
    with pytest.raises(PellucidError, match="out of memory"):
        await edited(ScriptedEditor("def", reason=FinishReason.ERROR, error="out of memory"))


async def test_prose_may_answer_prose() -> None:
    """Sentences are no refusal in a language of prose or where the selection has a sentence."""
    answer = "The whole truth is here.\n````"
    _, made = await edited(ScriptedEditor(answer), EditQuery("", "It is here.\n", "", "Say more.", language="markdown"))
    assert made.text == "The whole truth is here.\n"
    for path in ("notes.txt", "README"):
        _, made = await edited(
            ScriptedEditor("The whole truth is here.\n````"), EditQuery("", "", "", "Say more.", path=path)
        )
        assert made.text == "The whole truth is here.\n"
    docstring = EditQuery('"""\n', "Return the very first of these lines.\n", '"""\n', "Say more.", language="python")
    assert (await edited(ScriptedEditor(answer), docstring))[1].reason is None


@pytest.mark.parametrize("language", ["css", "json", "terraform"])
async def test_prose_instead_of_code_of_any_language(language: str) -> None:
    """A sentence is refused in every language of code, also in a language of unknown syntax."""
    _, made = await edited(
        ScriptedEditor("Here is the updated text with a new colour:\n"), replace(QUERY, language=language)
    )
    assert made.reason == PROSE


async def test_an_answer_that_ends_without_a_fence() -> None:
    """An answer ends at its last line if the model closes no fence."""
    _, made = await edited(ScriptedEditor("def f(self):\n    return 3"))
    assert made.text == "    def f(self):\n        return 3\n"


async def test_deleting_everything() -> None:
    """A fence that is closed at once deletes the selection."""
    _, made = await edited(ScriptedEditor("```"))
    assert (made.text, made.hunks[0].new, made.hunks[0].tokens) == ("", (), ())


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("ends", [True, False])
async def test_line_ends(newline: str, ends: bool) -> None:
    """New lines have the document's line ends, and the last line has an end only as before."""
    text = newline.join(["x = 1", "y = 2", *([""] if ends else [])])
    _, made = await edited(
        ScriptedEditor("x = 1\ny = 3\nz = 4\n```"), EditQuery(f"a = 0{newline}", text, "", "Add z.", language="python")
    )
    assert made.text == newline.join(["x = 1", "y = 3", "z = 4", *([""] if ends else [])])


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_lines_below_a_last_line_without_an_end(newline: str) -> None:
    """A line below a last line without an end gives the old last line an end, but has no end."""
    text = f"a = 1{newline}b = 2"
    _, made = await edited(
        ScriptedEditor("a = 1\nb = 2\nc = 3\n```"), EditQuery("", text, "", "Add c.", language="python")
    )
    assert [(hunk.first, hunk.old, hunk.new) for hunk in made.hunks] == [(2, (), ("c = 3",))]
    assert made.text == f"a = 1{newline}b = 2{newline}c = 3"


async def test_blank_lines_around_the_selection_stay() -> None:
    """Blank lines around the selection are neither read nor changed, whatever the model writes."""
    query = EditQuery("", "\n  \nx = 1\n\n\n", "y = 2\n", "Return 2.", language="python")
    model = ScriptedEditor("\n\nx = 2\n\n```")
    lines, made = await edited(model, query)
    assert (lines, made.text, made.hunks[0].first) == (["x = 2"], "\n  \nx = 2\n\n\n", 2)


@pytest.mark.parametrize(
    ("selection", "answer", "text"),
    [
        ("\tif a:\n\t\tb()\n", "if a:\n    c()\n```", "\tif a:\n\t\tc()\n"),
        ("\tif a:\n\t\tb()\n", "if a:\n  c()\n```", "\tif a:\n\t\tc()\n"),
        ("  if a:\n    b()\n", "if a:\n\tc()\n```", "  if a:\n    c()\n"),
        ("    if a:\n        b()\n", "    if a:\n        c()\n```", "    if a:\n        c()\n"),
        ("        a()\n    b()\n", "    a()\nc()\n```", "        a()\n    c()\n"),
        ("        a()\n    b()\n", "        a()\n    c()\n```", "        a()\n    c()\n"),
        (
            "/**\n * A.\n */\nif (a) {\n\tb();\n}\n",
            "/**\n * A.\n */\nif (a) {\n    c();\n}\n```",
            "/**\n * A.\n */\nif (a) {\n\tc();\n}\n",
        ),
        ("def f():\n    a()\n", " def f():\n    c()\n```", "def f():\n    c()\n"),
        ("\tf(a,\n\t  b);\n", "f(a,\n  c);\n```", "\tf(a,\n\t  c);\n"),
        ("\tf(a,\n\t         b);\n\tg();\n", "f(a,\n         b);\nc();\n```", "\tf(a,\n\t         b);\n\tc();\n"),
        (" * a\n * b\n", " * a\n * c\n```", " * a\n * c\n"),
    ],
    ids=[
        "spaces to tabs",
        "two spaces to tabs",
        "tabs to spaces",
        "a margin that the model has added",
        "a first line that is deeper",
        "and a margin",
        "tabs, and a comment with a single space",
        "one space before the first line alone",
        "two spaces after a tab",
        "spaces that align after a tab",
        "lines of a comment",
    ],
)
async def test_indentation(selection: str, answer: str, text: str) -> None:
    """New lines have the selection's indentation, in tabs or spaces, whatever the model writes."""
    model = ScriptedEditor(answer)
    _, made = await edited(model, EditQuery("", selection, "", "Call c.", language="python"))
    assert made.text == text


async def test_a_selection_within_lines_is_extended() -> None:
    """A selection within lines is extended to whole lines."""
    _, made = await edited(ScriptedEditor("x = 2\n```"), EditQuery("a\nx ", "= ", "1\nb\n", "Return 2."))
    assert (made.first, made.old, made.text) == (1, "x = 1\n", "x = 2\n")


@pytest.mark.parametrize(
    ("prefix", "suffix", "answer", "old", "text", "place"),
    [
        ("def f():\n    a()\n    b", "()\n", "c()\n```", "", "    c()\n", " that belongs between the two"),
        ("def f():\n    a()\n    b", "()\n", "    c()\n```", "", "    c()\n", " that belongs between the two"),
        ("def f():\n    a()\n    ", "\n", "c()\n```", "    \n", "    c()\n", " that belongs after it"),
        ("a()\n", "", "c()\n```", "", "c()\n", " that belongs after it"),
        ("", "a()\n", "c()\n```", "", "c()\n", " that belongs before it"),
        ("", "", "c()\n```", "", "c()\n", ""),
    ],
)
async def test_an_empty_selection(prefix: str, suffix: str, answer: str, old: str, text: str, place: str) -> None:
    """New lines are above the cursor's line with its indentation, or replace a blank line."""
    model = ScriptedEditor(answer)
    _, made = await edited(model, EditQuery(prefix, "", suffix, "Call c.", language="python"))
    asked, _ = model.asked[0].messages
    assert asked.content.endswith(f"Call c.\nAnswer with only the new code{place}.")
    assert (made.old, made.text) == (old, text)
    assert [hunk.new for hunk in made.hunks] == [(text.rstrip("\n"),)]


@pytest.mark.parametrize(
    ("prefix", "suffix", "margin"),
    [
        ("def f():\n    a()\n", "\n    b()\n", "    "),
        ("class A:\n    def f(self):\n        a()\n", "\n    def g(self): ...\n", "    "),
        ("def f():\n    a()\n", "\ndef g(): ...\n", ""),
        ("def f():\n    a()\n", "\n", ""),
        ("def f():\n", "\n\nb()\n", "    "),
        ("class A:\n\tdef f(self):\n", "\n", "\t\t"),
        ("f() {\n  a();\n", "\n}\n", "  "),
        ("if (a) {\n", "\n}\n", "    "),
        ("    a()\n    # Then:\n", "\n    b()\n", "    "),
        ("# First:\n", "\na()\n", ""),
        ("#header {\n", "\n}\n", "    "),
    ],
)
async def test_a_blank_line_without_indentation(prefix: str, suffix: str, margin: str) -> None:
    """New lines are indented like the next line, or within the block that the line above opens."""
    _, made = await edited(ScriptedEditor("c()\n```"), EditQuery(prefix, "", suffix, "Call c."))
    assert made.text == f"{margin}c()\n"


async def test_a_blank_line_in_prose() -> None:
    """A colon opens no block in prose."""
    query = EditQuery("Install it like this:\n\n", "", "\nThen run it.\n", "Say how.", language="markdown")
    _, made = await edited(ScriptedEditor("By pip.\n````"), query)
    assert made.text == "By pip.\n"


@pytest.mark.parametrize(
    ("prefix", "selection", "suffix", "answer", "text"),
    [
        (
            "",
            "def f(x):\n",
            "    y = x\n    return y\n",
            "def f(x: int):\n    y = x\n    return y\n```",
            "def f(x: int):\n",
        ),
        ("import os\n\n", "f()\n", "g()\n", "import os\n\ng()\nf(1)\n```", "g()\nf(1)\n"),
        ("run()\n", "go()\n", "run()\n", "go(1)\nrun()\nrun()\n```", "go(1)\nrun()\n"),
        ("", "go()\nrun()\n", "run()\n", "go(1)\nrun()\n```", "go(1)\nrun()\n"),
        ("", "f(x)\n", "}\n", "if (x) {\n  f(x)\n}\n```", "if (x) {\n  f(x)\n}\n"),
        ("one = 1\n", "", "", "one = 1\ntwo = 2\n```", "two = 2\n"),
        ("", "go()\n", "run()\n", "run()\n```", "run()\n"),
    ],
)
async def test_an_answer_that_repeats_the_lines_around_it(
    prefix: str, selection: str, suffix: str, answer: str, text: str
) -> None:
    """Repeated neighbouring lines are cut, except brackets, old repetitions and a single line."""
    _, made = await edited(
        ScriptedEditor(answer), EditQuery(prefix, selection, suffix, "Change it.", language="python")
    )
    assert (made.text, made.reason) == (text, None)
    assert "".join(token.text for hunk in made.hunks for token in hunk.tokens).strip() in answer


async def test_a_selection_with_a_fence() -> None:
    """A fence around text with fences is longer than the fences within."""
    query = EditQuery("", "```sh\nls\n```\n", "", "List all.", language="markdown")
    model = ScriptedEditor("```sh\nls -a\n```\n````\n")
    _, made = await edited(model, query)
    assert model.asked[0].messages[-1].content == "````markdown\n"
    assert made.text == "```sh\nls -a\n```\n"


async def test_a_fence_in_the_answer() -> None:
    """A fence with a name begins a text within the answer, and prose is fenced by four ticks."""
    answer = '"""Run:\n```python\nf()\n```\n"""\n'
    _, made = await edited(
        ScriptedEditor(answer + "```\nDone."), EditQuery("", '"""Run."""\n', "", "Show how.", language="python")
    )
    assert made.text == answer
    answer = "Run:\n\n```\nf()\n```\n"
    model = ScriptedEditor(answer + "````\n")
    _, made = await edited(model, EditQuery("", "Run it.\n", "", "Show how.", language="markdown"))
    assert (made.text, model.asked[0].messages[-1].content) == (answer, "````markdown\n")


async def test_an_indented_fence_in_the_answer() -> None:
    """An indented fence with or without a name begins or ends a text within the answer."""
    answer = 'def f():\n    """Run:\n\n    ```\n    f()\n    ```\n    """\n    return 1\n'
    query = EditQuery("", "def f():\n    return 1\n", "", "Show how.", language="python")
    _, made = await edited(ScriptedEditor(answer + "```\nDone."), query)
    assert made.text == answer


async def test_a_fence_that_is_opened_again() -> None:
    """A fence opened again is not part of the new code."""
    _, made = await edited(ScriptedEditor("```python\n" + ANSWER))
    assert made.text == "    def f(self):\n        return 3\n"


async def test_an_insertion_that_is_cut_off() -> None:
    """A long insertion has its own limit of tokens and its own reason when cut off."""
    model = ScriptedEditor("c;" * 512, reason=FinishReason.LENGTH)
    _, made = await edited(model, EditQuery("a()\n", "", "", "Call c.", language="python"))
    assert (made.reason, model.asked[0].params.max_tokens) == (CUT_OFF_INSERTED.format(1024), 1024)


async def test_a_cancelled_edit() -> None:
    """Closing the generator closes the model's stream."""
    model = ScriptedEditor("def f(self):\n", waits=True)
    items = edit(model, QUERY)
    assert await anext(items) == NewLines(("    def f(self):",))
    await items.aclose()
    assert model.closed == 1


@pytest.mark.parametrize(
    ("seed", "temperature", "expected"),
    [(None, None, 0.0), (7, None, RETRY_TEMPERATURE), (7, 0.2, 0.2), (None, 0.3, 0.3)],
)
async def test_a_seed_asks_for_another_answer(seed: int | None, temperature: float | None, expected: float) -> None:
    """Edits are greedy, and a seed samples at the given or the default temperature."""
    model = ScriptedEditor(ANSWER)
    await edited(model, replace(QUERY, seed=seed, temperature=temperature))
    params = model.asked[0].params
    assert (params.seed, params.temperature) == (seed, expected)


async def test_an_empty_instruction() -> None:
    """An empty instruction is refused before the model is asked."""
    with pytest.raises(InvalidRequestError, match="The instruction is empty"):
        await edited(ScriptedEditor(ANSWER), replace(QUERY, instruction=" \n"))


async def test_only_text_near_the_selection_is_read() -> None:
    """The model reads only whole lines near the selection in a large file."""
    model = ScriptedEditor(ANSWER)
    await edited(model, replace(QUERY, prefix="far = 1\n" * 2000 + BEFORE, suffix=AFTER + "far = 2\n" * 2000))
    asked = model.asked[0].messages[0].content
    assert len(asked) < 3500
    assert "class A:\n```" in asked
    assert "\n\n    def g" in asked
