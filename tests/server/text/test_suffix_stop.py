"""Golden cases of the end of an infill: the text around the cursor, the answer, the kept part."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.text.suffix_stop import SuffixStop


@dataclass(frozen=True)
class Case:
    """A case with the cursor as ‸ in ``around``; ``ends`` is true for an answer ended early."""

    name: str
    around: str
    answer: str
    kept: str
    ends: bool = True

    @property
    def sides(self) -> tuple[str, str]:
        prefix, _, suffix = self.around.partition("‸")
        return prefix, suffix


CASES = [
    # Text right of the cursor.
    Case("python: the closing parenthesis is there", "print(‸)\n", "x)\nprint(y)\n", "x"),
    Case("python: the model ends by itself", "print(‸)\n", "x)", "x", ends=False),
    Case("python: the answer's own parentheses stay", "print(foo‸)\n", "(x)", "(x)", ends=False),
    Case("python: the answer's own, then the suffix's", "print(foo‸)\n", "(x))\n", "(x)"),
    Case("python: only one of two was missing", "print(foo(‸)\n", "x)\nprint(2)\n", "x)"),
    Case("python: both of two are written, one is there", "print(foo(‸)\n", "x))\nprint(2)\n", "x)"),
    Case("python: a quote and a parenthesis", 'print("‸")\n', 'hello")\nexit()\n', "hello"),
    Case("python: the rest of a word", "val‸e = 1\n", "ue = 1\nx = 2\n", "u"),
    Case(
        "python: the rest of a word, and the model continues otherwise",
        "return enc‸cyclic(cyclic(s))\n",
        "ode_cyclic(s)\n",
        "ode_",
    ),
    Case(
        "python: the rest of a word, in a bracket of the answer",
        "val‸ues = 1\n",
        "(values)\n",
        "(values)\n",
        ends=False,
    ),
    Case(
        "python: an operand before a word", "    return ‸n\n", "1 if n == 0 else \n", "1 if n == 0 else \n", ends=False
    ),
    Case("python: a word before a short one", "x = ‸i\n", "sin(i)\n", "sin(i)\n", ends=False),
    Case("python: the same words with other spaces are not", "if a‸ in s:\n", " not ins:\n", " not ins:\n", ends=False),
    Case(
        "c: a condition before a statement",
        "    ‸return NULL;\n}\n",
        "if (!p) return NULL;\n    ",
        "if (!p) return NULL;\n    ",
        ends=False,
    ),
    Case(
        "css: a property before another",
        "  ‸color: red;\n}\n",
        "border-color: red;\n  ",
        "border-color: red;\n  ",
        ends=False,
    ),
    Case(
        "python: the same with other spaces",
        "s = t‸,s[::-1] == s)\n",
        "ext()\nreturn (s, s[::-1] == s)\n",
        "ext()\nreturn (s",
    ),
    Case(
        "python: a bracket that the answer has to leave open", "r‸]\n", "eturn [x for x in y]\n", "eturn [x for x in y"
    ),
    Case("python: a colon", "if x‸:\n    return 1\n", " > 1:\n    return 1\n", " > 1"),
    Case("python: a function's head", "def add(‸):\n    return a + b\n", "a, b):\n    return a + b\n", "a, b"),
    Case("python: an operand", "total = ‸ + 1\n", "count + 1\nprint(total)", "count"),
    Case("python: several lines of arguments", "foo(‸)\nbar()\n", "\n    a,\n    b,\n)\nbar()\n", "\n    a,\n    b,\n"),
    Case("javascript: a semicolon", "const x = ‸;\n", "5;\nconst y = 6;\n", "5"),
    Case(
        "javascript: the comma of an entry, not those inside",
        "  a: ‸,\n",
        "{\n    b: 1,\n    c: 2,\n  },\n  d: 3,\n",
        "{\n    b: 1,\n    c: 2,\n  }",
    ),
    Case(
        "javascript: a callback",
        "list.map(‸);\n",
        "x => {\n  return f(x);\n});\nnext();\n",
        "x => {\n  return f(x);\n}",
    ),
    Case("html: the end tag is there", "<p>‸</p>\n", "Hello</p>\n<p>You</p>\n", "Hello"),
    Case("html: the answer's own end tag stays", "<div>‸</div>\n", "<div>a</div>", "<div>a</div>", ends=False),
    Case("html: an attribute", '<a href="‸">x</a>\n', '#top">x</a>\n', "#top"),
    Case("go: right of an indented cursor", "\tfoo(\n\t\t‸)\n", "a, b)\n}\n", "a, b"),
    # Lines below the cursor.
    Case(
        "python: the next line",
        "def f(x):\n    ‸\n    return y\n",
        "y = x + 1\n    return y\n\n\ndef g():\n",
        "y = x + 1",
    ),
    Case("python: the next line after a blank one", "x = 1\n‸\n\nprint(x)\n", "y = 2\n\nprint(x)\n", "y = 2"),
    Case("python: a blank line more than there is", "x = 1\n‸\nprint(x)\n", "y = 2\n\nprint(x)\n", "y = 2\n"),
    Case(
        "python: the next line, indented otherwise",
        "‸\nreturn total\n",
        "if x:\n    return total\nx = 1\n",
        "if x:\n    return total\nx = 1",
        ends=False,
    ),
    Case("python: nothing but the next line", "def f():\n    ‸\n    return value\n", "return value\n", ""),
    Case("python: the cursor before the line", "def f():\n‸    return x\n", "    x = 1\n    return x\n", "    x = 1\n"),
    Case(
        "python: the cursor before the line, which comes deeper first",
        "def f():\n‸    return x\n",
        "    if a:\n        return x\n    x = 2\n    return x\n",
        "    if a:\n        return x\n    x = 2\n",
    ),
    Case(
        "python: the cursor in the line's indentation",
        "def f():\n    ‸return x\n",
        "x = 1\n    return x\n",
        "x = 1\n    ",
    ),
    Case(
        "python: else may come twice",
        "if a:\n    ‸\nelse:\n    z()\n",
        "if b:\n        x()\n    else:\n        y()\nelse:\n    z()\n",
        "if b:\n        x()\n    else:\n        y()",
    ),
    Case(
        "python: pass, and something else follows",
        "    ‸\n    pass\n    done()\n",
        "a()\n    pass\n    b()\n",
        "a()\n    pass\n    b()",
        ends=False,
    ),
    Case("python: pass, and the same follows", "    ‸\n    pass\n    done()\n", "a()\n    pass\n    done()\n", "a()"),
    Case("python: pass is the last word", "    ‸\n    pass\n    done()\n", "a()\n    pass\n", "a()", ends=False),
    Case("python: cut short in the next line", "x = 1\n‸\nprint(x)\n", "y = 2\nprin", "y = 2", ends=False),
    Case("python: white space at the end", "x = ‸\nprint(x)\n", "1\n", "1", ends=False),
    Case("javascript: the block's end", "function f() {\n  ‸\n}\n", "return 1;\n}\n\nfunction g() {\n", "return 1;"),
    Case(
        "javascript: blocks inside",
        "function f() {\n  ‸\n}\n",
        "if (x) {\n    y();\n  }\n}\n",
        "if (x) {\n    y();\n  }",
    ),
    Case(
        "javascript: a block of its own at the margin",
        "‸\n}\n",
        "if (x) {\n  y();\n}\nz();\n",
        "if (x) {\n  y();\n}\nz();",
        ends=False,
    ),
    Case(
        "javascript: a bracket in a string opens nothing",
        "f(() => {\n  ‸\n});\n",
        'log("({[");\n});\ng();\n',
        'log("({[");',
    ),
    Case(
        "go: the function's end", "func f() int {\n\t‸\n}\n\nfunc g() {}\n", "return 1\n}\n\nfunc g() {}\n", "return 1"
    ),
    Case(
        "go: an error check",
        "\tx, err := f()\n\t‸\n\treturn x, nil\n}\n",
        "if err != nil {\n\t\treturn nil, err\n\t}\n\treturn x, nil\n}\n",
        "if err != nil {\n\t\treturn nil, err\n\t}",
    ),
    Case(
        "c: a loop",
        "int s = 0;\n‸\nreturn s;\n",
        "for (int i = 0; i < n; i++) {\n    s += i;\n}\nreturn s;\n}\n",
        "for (int i = 0; i < n; i++) {\n    s += i;\n}",
    ),
    Case("c: the end of a block that is the prefix's", "if (x) {\n    ‸\n}\nfree(p);\n", "y();\n}\nfree(p);\n", "y();"),
    Case("c: carriage returns", "int x;\r\n‸\r\nreturn x;\r\n", "x = 1;\r\nreturn x;\r\n", "x = 1;"),
    Case("ruby: end agrees with what follows", "def f\n  ‸\nend\n\nputs f\n", "1\nend\n\nputs f\n", "1"),
    Case(
        "ruby: end at the margin, but not this one",
        "‸\nend\nputs 2\n",
        "if x\n  y\nend\nputs 1\n",
        "if x\n  y\nend\nputs 1",
        ends=False,
    ),
    Case("html: the list's end", "<ul>\n  ‸\n</ul>\n", "<li>a</li>\n</ul>\n<p>\n", "<li>a</li>"),
    Case(
        "html: an element inside", "<div>\n  ‸\n</div>\n", "<div>\n    a\n  </div>\n</div>\n", "<div>\n    a\n  </div>"
    ),
    Case("nothing below", "x = ‸", "1\ny = 2\n", "1\ny = 2\n", ends=False),
    Case("nothing repeated", "x = ‸\nprint(x)\n", "[\n    1,\n    2,\n]", "[\n    1,\n    2,\n]", ends=False),
]


def keep(sides: tuple[str, str], pieces: list[str]) -> tuple[str, bool]:
    ending = SuffixStop(*sides)
    kept = ""
    for piece in pieces:
        kept += ending.feed(piece)
        if ending.ended:
            return kept, True
    return kept + ending.finish(), False


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_infill_ends_where_it_repeats_the_suffix(case: Case) -> None:
    """Each answer keeps its new text and ends where the suffix begins, whatever the pieces."""
    assert keep(case.sides, [case.answer]) == (case.kept, case.ends)
    assert keep(case.sides, list(case.answer)) == (case.kept, case.ends)


LINES = st.lists(
    st.sampled_from(["return x", "    return x", "}", "    }", ")", "foo(", "", "x", "  ", "</p>", "<p>", "if (a) {"]),
    max_size=6,
)
TEXTS = st.builds("\n".join, LINES)


@given(prefix=TEXTS, suffix=TEXTS, pieces=st.lists(st.one_of(TEXTS, st.text("x })\n", max_size=3)), max_size=8))
def test_pieces_do_not_matter(prefix: str, suffix: str, pieces: list[str]) -> None:
    """The kept part is a beginning of the answer, the same for all pieces."""
    answer = "".join(pieces)
    kept, _ = keep((prefix, suffix), pieces)
    assert answer.startswith(kept)
    assert keep((prefix, suffix), list(answer)) == keep((prefix, suffix), [answer]) == keep((prefix, suffix), pieces)


def test_what_cannot_repeat_the_suffix_is_given_at_once() -> None:
    """Only a line that may become a line of the suffix is held back."""
    ending = SuffixStop("def f():\n    ", "\n    return x\n")
    assert ending.feed("y = 1") == "y = 1"
    assert ending.feed("\n    re") == ""
    assert ending.feed("s = 2") == "\n    res = 2"
