"""Tests of imports that an answer adds: those the file lacks go into the import block."""

from __future__ import annotations

import pytest

from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit
from pellucid.completion.edits.by_instruction.instructed_edits import UNCHANGED, edit
from support.editors.scripted_editor import ScriptedEditor

PYTHON = '"""Doc."""\n\nimport os\nfrom typing import (\n    Any,  # all\n    cast,\n)\n\n\n'
FUNCTION = "def f(x):\n    return x\n"


async def made(prefix: str, selection: str, answer: str, language: str = "python", suffix: str = "") -> InstructedEdit:
    query = EditQuery(prefix, selection, suffix, "Change it.", language=language)
    items = [item async for item in edit(ScriptedEditor(answer + "```\n"), query)]
    assert isinstance(items[-1], InstructedEdit)
    return items[-1]


@pytest.mark.parametrize(
    ("answer", "imports"),
    [
        ("import re\n\n\ndef f(x): ...\n", ["import re"]),
        ("import os\n\ndef f(x): ...\n", []),
        ("import os, re\ndef f(x): ...\n", ["import re"]),
        ("from typing import Any, List, cast\n\ndef f(x): ...\n", ["from typing import List"]),
        ("from typing import (\n    Any,\n    List,\n)\n\ndef f(x): ...\n", ["from typing import List"]),
        ("import re\nimport re  # twice\n\ndef f(x): ...\n", ["import re"]),
        ("import numpy as np\nfrom . import a as b\n\ndef f(x): ...\n", ["import numpy as np", "from . import a as b"]),
        ("def f(x): ...\n\n\nimport re\n", ["import re"]),
    ],
)
async def test_into_the_import_block(answer: str, imports: list[str]) -> None:
    """New imports become a hunk below the file's imports, without names the file has."""
    edit = await made(PYTHON, FUNCTION, answer)
    *added, changed = edit.hunks
    assert [(hunk.first, list(hunk.new)) for hunk in added] == ([(7, imports)] if imports else [])
    assert (changed.first, changed.new) == (9, ("def f(x): ...",))
    assert (edit.first, edit.reason) == (7 if imports else 9, None)
    blank, new = "\n\n" if imports else "", "".join(f"{line}\n" for line in imports)
    assert (edit.old, edit.text) == (blank + FUNCTION, f"{new}{blank}def f(x): ...\n")
    words = [token.text for hunk in added for token in hunk.tokens]
    assert words[:1] == [one.split()[0] for one in imports][:1]


@pytest.mark.parametrize(
    ("prefix", "place", "new"),
    [
        ("", 0, ["import re", "", ""]),
        ("#!/usr/bin/env python\n", 1, ["", "import re", "", ""]),
        ("# A licence\n# of two lines\n\n", 2, ["", "import re"]),
        ('# coding: utf-8\n"""Doc.\n\nimport os\n"""\n\n\n', 5, ["", "import re"]),
        ("X = 1\n\n\n", 0, ["import re", ""]),
        ("@a\n", 0, ["import re", "", ""]),
        ("def g():\n    import os\n\n\nimport sys\n", 0, ["import re", "", ""]),
    ],
)
async def test_a_file_without_an_import_block(prefix: str, place: int, new: list[str]) -> None:
    """First imports come below the header, apart by blank lines."""
    edit = await made(prefix, FUNCTION, "import re\n\ndef f(x): ...\n")
    assert (edit.hunks[0].first, list(edit.hunks[0].new)) == (place, new)


async def test_a_method() -> None:
    """An import above a method leaves the class."""
    method = "    def f(self):\n        return 1\n"
    edit = await made("import os\n\nclass A:\n", method, "import re\n\ndef f(self): ...\n")
    assert [(hunk.first, hunk.new) for hunk in edit.hunks] == [(1, ("import re",)), (3, ("    def f(self): ...",))]


@pytest.mark.parametrize(
    ("prefix", "selection", "answer"),
    [
        ("", "import os\nx = 1\n", "import re\nimport os\nx = 1\n"),
        ("", '"""Doc."""\nx = 1\n', '"""Doc."""\nimport re\nx = 1\n'),
        (PYTHON, FUNCTION, "def f(x):\n    import os\n    return x\n"),
        (PYTHON, FUNCTION, 'def f(x):\n    return """\nimport re\n"""\n'),
    ],
    ids=["selected imports", "a selected header", "within the function", "in a string"],
)
async def test_imports_that_stay(prefix: str, selection: str, answer: str) -> None:
    """Imports stay in a selection of imports or a header, within a function and in a string."""
    assert (await made(prefix, selection, answer)).text == answer


async def test_nothing_but_imports() -> None:
    """An answer of imports only leaves the selected code as it is."""
    edit = await made(PYTHON, FUNCTION, "import re\n")
    assert [(hunk.first, hunk.old, hunk.new) for hunk in edit.hunks] == [(7, (), ("import re",))]
    edit = await made(PYTHON, FUNCTION, "import os\n")
    assert (edit.text, edit.hunks, edit.reason) == (FUNCTION, (), UNCHANGED)


SCRIPT = "'use strict';\nimport a from 'a';\nimport { b, c as d } from \"b\";\n\n"


@pytest.mark.parametrize(
    ("language", "prefix", "line", "place", "new"),
    [
        ("javascript", SCRIPT, "import e from 'e';", 3, ["import e from 'e';"]),
        ("typescript", SCRIPT, 'import a from "a"', 3, []),
        ("typescriptreact", SCRIPT, "import {\n  b,\n  f,\n} from 'b';", 3, ["import { f } from 'b';"]),
        ("typescript", SCRIPT, "import type { T } from './t';", 3, ["import type { T } from './t';"]),
        ("javascript", "const a = require('a');\n", "const b = require('b');", 1, ["const b = require('b');"]),
        ("javascript", "// A licence\n\n'use strict';\n", "import 'e';", 3, ["", "import 'e';", ""]),
        ("go", "package a\n", 'import "fmt"', None, []),
    ],
)
async def test_scripts(language: str, prefix: str, line: str, place: int | None, new: list[str]) -> None:
    """Imports of JavaScript and TypeScript are treated in the same way; other languages are not."""
    edit = await made(prefix, "f();\n", f"{line}\n\ng();\n", language)
    added = [(hunk.first, list(hunk.new)) for hunk in edit.hunks if hunk.first < prefix.count("\n") + bool(new)][:1]
    assert added == ([(place, new)] if new else [])
    assert ("import" in edit.hunks[-1].new[0]) is (place is None)
