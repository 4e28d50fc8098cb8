"""Tests of stop strings: an answer ends before the stop, however split into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.code.brackets import is_balanced
from pellucid.text import suffix_stop
from pellucid.text.margin_stop import MarginStop
from pellucid.text.stopping import EndingRule, LeastIndent, StopGate, StopStrings, TimeLimit
from pellucid.text.suffix_stop import MAX_SPACE, SuffixStop
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import Token
from support.servers.http_servers import spoken
from support.trial_counts import trial_count


def tokens(*texts: str) -> list[Token]:
    return [Token(index, text, text.encode(), index, -1.0, 1, 0.5) for index, text in enumerate(texts)]


def through(gate: StopGate, *texts: str) -> list[str]:
    return [token.text for token in [*gate.feed(tokens(*texts)), *gate.finish()]]


@pytest.mark.parametrize(
    ("stops", "texts", "kept", "matched"),
    [
        (["\n\n"], ["a\n", "\nb"], "a", "\n\n"),
        (["END"], ["aE", "N", "Db"], "a", "END"),
        (["END"], ["aE", "N", "Ob"], "aENOb", None),
        (["END"], ["aEN"], "aEN", None),
        (["b", "abc"], ["abc"], "a", "b"),
        (["cd", "abcd"], ["abcd"], "", "abcd"),
        (["aab"], ["aa", "ab"], "a", "aab"),
        ([""], ["ab"], "ab", None),
        ([], ["ab"], "ab", None),
    ],
)
def test_stop_strings_end_before_the_first_that_is_complete(
    stops: list[str], texts: list[str], kept: str, matched: str | None
) -> None:
    """The stop completed first ends the answer, also across pieces; an incomplete stop is text."""
    ending = StopStrings(stops)
    generated = ""
    for text in texts:
        generated += ending.feed(text)
        if ending.ended:
            break
    generated += ending.finish()
    assert (generated, ending.matched, ending.ended) == (kept, matched, matched is not None)


def test_only_what_may_become_a_stop_is_kept_back() -> None:
    """Text is returned at once except for the beginning of a stop at its end."""
    ending = StopStrings(["<end>"])
    assert ending.feed("a < b <e") == "a < b "
    assert ending.feed("m>") == "<em>"


ABC = st.text("abc", max_size=4)


@given(stops=st.lists(ABC, max_size=3), pieces=st.lists(ABC, max_size=8))
def test_the_pieces_do_not_matter(stops: list[str], pieces: list[str]) -> None:
    """Kept text and stop do not depend on the pieces, and the kept text has no stop."""
    whole, split = StopGate([StopStrings(stops)]), StopGate([StopStrings(stops)])
    kept = "".join(through(whole, "".join(pieces)))
    assert "".join(through(split, *pieces)) == kept
    assert (whole.reason, whole.stop) == (split.reason, split.stop)
    assert not any(stop and stop in kept for stop in stops)


@given(pieces=st.lists(ABC, max_size=8))
def test_a_gate_without_endings_lets_every_token_through(pieces: list[str]) -> None:
    """Tokens pass unchanged without endings, even tokens without text."""
    assert StopGate([]).feed(tokens(*pieces)) == tokens(*pieces)


def test_the_last_token_is_cut_and_those_in_the_stop_are_not_given() -> None:
    """A token partly in the answer keeps its bytes and loses the text beyond, and the rest goes."""
    gate = StopGate([StopStrings(["\n\n"])])
    out = gate.feed(tokens("a", "b\n", "\n", "c"))
    assert [(token.text, token.bytes) for token in out] == [("a", b"a"), ("b", b"b\n")]
    assert (gate.reason, gate.stop) == (FinishReason.STOP, "\n\n")
    assert gate.feed(tokens("d")) == gate.finish() == []


def test_kept_tokens_come_in_order_when_no_stop_comes() -> None:
    """Held tokens are returned when known to be text, or at the end."""
    gate = StopGate([StopStrings(["abc"])])
    assert [token.text for token in gate.feed(tokens("xa", "b"))] == []
    assert [token.text for token in gate.feed(tokens("d"))] == ["xa", "b", "d"]
    assert [token.text for token in gate.feed(tokens("ab"))] == []
    assert [token.text for token in gate.finish()] == ["ab"]
    assert gate.reason is None


def test_a_limit_closes_the_gate() -> None:
    """After ``limit`` tokens the gate closes with the reason length."""
    gate = StopGate([StopStrings(["bx"])])
    gate.limit = 2
    assert [token.text for token in gate.feed(tokens("a", "b", "c"))] == ["a", "b"]
    assert (gate.reason, gate.stop) == (FinishReason.LENGTH, None)


@pytest.mark.parametrize(
    ("texts", "kept", "stop"),
    [
        (["x = 1", "#stop"], "x = 1", "#stop"),
        (["x = 1\n", "return x\n", "#stop"], "x = 1", None),
        (["x = 1\nreturn x\n#stop"], "x = 1", None),
        (["x = 1\nreturn x", "#stop"], "x = 1\nreturn x"[:5], "#stop"),
    ],
)
def test_endings_work_one_behind_another(texts: list[str], kept: str, stop: str | None) -> None:
    """The first ending in the text ends the answer, and later endings trim the text before."""
    endings: list[EndingRule] = [StopStrings(["#stop"]), SuffixStop("", "\nreturn x\n")]
    gate = StopGate(endings)
    assert "".join(through(gate, *texts)) == kept
    assert (gate.reason, gate.stop) == (FinishReason.STOP, stop)


def test_a_minified_file_is_not_read_again_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the text near the cursor is compared in long lines, and the answer still ends."""
    looked_at: list[int] = []

    def balanced(text: str) -> bool:
        looked_at.append(len(text))
        return is_balanced(text)

    monkeypatch.setattr(suffix_stop, "is_balanced", balanced)
    ending = SuffixStop("f(1);" * 200_000 + "g(", ");\n" + "h(2);" * 200_000 + "\n" + "i(3);" * 200_000)
    assert ending.feed("x") + ending.feed(");\n") + ending.finish() == "x"
    assert ending.ended
    assert looked_at
    assert max(looked_at) < 5_000


def test_white_space_without_end_is_not_kept_back() -> None:
    """Endless white space is returned, although a line of the suffix might still follow."""
    ending = SuffixStop("def f():\n    ", "\n    return 1\n")
    given = [ending.feed(" ") for _ in range(2 * MAX_SPACE)]
    assert "".join(given) == " " * (2 * MAX_SPACE)
    assert not any(given[: MAX_SPACE - len("    ")])


@given(
    st.text(" \nx", max_size=8),
    st.lists(st.sampled_from([" ", " " * 30, "\n", "\r\n", "    return 1", "x", " " * (MAX_SPACE + 5)]), max_size=12),
    st.data(),
)
def test_the_pieces_of_white_space_do_not_matter(start: str, pieces: list[str], data: st.DataObject) -> None:
    """With any amount of white space the kept text does not depend on the pieces."""
    text = start + "".join(pieces)
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    cuts = [text[begin:end] for begin, end in zip([0, *at], [*at, len(text)], strict=True)]
    assert answer_of(cuts) == answer_of([text]) == answer_of(list(text))


def answer_of(pieces: list[str]) -> str:
    """Return the kept text of an answer before the end of a function."""
    ending = SuffixStop("def f():\n    ", "\n    return 1\n")
    found = ""
    for piece in pieces:
        found += ending.feed(piece)
        if ending.ended:
            return found
    return found + ending.finish()


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def run(pieces: Sequence[str], indent: int = 0, seconds: float = 0.0) -> tuple[str, FinishReason | None]:
    """Return the text that passes the gate, and the reason if a rule ended the text."""
    time_limit = [TimeLimit(seconds, Clock())] if seconds else []
    gate = StopGate([*time_limit, *([LeastIndent(indent)] if indent else [])])
    tokens = [token for piece in pieces for token in gate.feed([spoken(piece)])] + gate.finish()
    return "".join(token.text for token in tokens), gate.reason


@pytest.mark.parametrize(
    ("text", "indent", "expected"),
    [
        ("a\n    b\nc", 4, "a\n    b"),
        ("a\n    b\n  c", 4, "a\n    b"),
        ("a\n    b\n    c", 4, "a\n    b\n    c"),
        ("a\n\tb\nc", 1, "a\n\tb"),
        ("a\n\n\n    b", 4, "a\n\n\n    b"),
        ("a\n\n\nb", 4, "a"),
        ("    \n    b\nc", 4, "    \n    b"),
        ("a\r\n    b\r\nc", 4, "a\r\n    b"),
        ("return a\n", 4, "return a\n"),
        ("a\nb", 0, "a\nb"),
    ],
)
def test_indent(text: str, indent: int, expected: str) -> None:
    """An answer ends before a line with less indentation, except empty lines and the first line."""
    for pieces in (list(text), [text], [text[:3], text[3:]]):
        assert run(pieces, indent) == (expected, None if expected == text else FinishReason.LENGTH)


@settings(derandomize=True, max_examples=trial_count(1000))
@given(st.text("a \n\t\r", max_size=30), st.lists(st.integers(0, 30)), st.integers(1, 4))
def test_indent_does_not_depend_on_the_pieces(text: str, cuts: list[int], indent: int) -> None:
    """The text that passes does not depend on the split into tokens."""
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(bounds)]
    assert run(pieces, indent) == run([text], indent)


def test_time_counts_after_a_line_end() -> None:
    """The time limit ends an answer only after a line end."""
    assert run(list("abcdef"), seconds=2)[0] == "abcdef"
    assert run(list("a\nbcdef"), seconds=3)[0] == "a\nbc"
    assert run(list("abcd\nef"), seconds=2)[0] == "abcd\n"
    assert run(list("a\nbcdef"), seconds=0, indent=0)[0] == "a\nbcdef"


DEFINITION = "def total(items):\n"

CASES = {
    "a function at the end of the file": (
        f"{DEFINITION}    ‸",
        "return sum(items)\n\n# Test\nprint(total([1]))\n",
        "return sum(items)",
    ),
    "a cursor at the margin, in a block": (
        f"{DEFINITION}‸",
        "    return sum(items)\n\ncheck()\n",
        "    return sum(items)",
    ),
    "the end of a line that opens a block": (
        "def total(items):  # all‸",
        "\n    return 0\n\ntotal([])\n",
        "\n    return 0",
    ),
    "below is a function of its own": (f"{DEFINITION}    ‸\n\ndef next_one():\n", "return 0\n\nx = 1\n", "return 0"),
    "the next line begins at the cursor": (
        f"{DEFINITION}‸def next_one():\n",
        "    return 0\n\nx = 1\n",
        "    return 0\n",
    ),
    "the next line begins at the cursor, carriage return": (
        f"{DEFINITION}‸def g():\r\n",
        "    return 0\r\n\r\nx = 1\r\n",
        "    return 0\r\n",
    ),
    "line ends with a carriage return": (f"{DEFINITION}    ‸\r\n", "return 0\r\n\r\nx = 1\r\n", "return 0"),
    "the rest of a line": (f"{DEFINITION}    return sum(‸\n", "items)\n\nx = 1\n", "items)"),
    "a signature of several lines": ("def total(\n    items,\n) -> int:\n    ‸", "return 0\nx = 1\n", "return 0"),
    "the statement continues": ("if x:\n    ‸", "f()\nelse:\n    g()\nh()\n", "f()\nelse:\n    g()"),
    "a bracket is closed": ("x = f(\n    lambda:\n    ‸", "1,\n)\n", None),
    "a word that only begins like another": (f"{DEFINITION}    ‸", "return 0\nelsewhere = 1\n", "return 0"),
    "a mapping of YAML": ("server:\n  ‸", "port: 1\n  host: a\nclient:\n  b: 1\n", "port: 1\n  host: a"),
    "below is more of the block": (f"{DEFINITION}    ‸\n    return n\n", "n = 0\n\nx = 1\n", None),
    "right of the cursor is more of the line": (f"{DEFINITION}    ‸return n\n", "n = 0\nx = 1\n", None),
    "the answer begins at the margin": (f"{DEFINITION}    return 0\n\n‸", "def next_one():\n    pass\nx = 1\n", None),
    "after the last line of a block": (f"{DEFINITION}    return 0‸", "\n\n\nx = 1\ny = 2\n", None),
    "a list of YAML at the margin": ("steps:‸", "\n- name: a\n  run: b\n- name: c\n", None),
    "nothing is indented": ("x = 1\n‸", "y = 2\nz = 3\n", None),
    "a block in brackets": ("int f() {\n    ‸", "return 0;\n}\n\nint main() {\n", None),
    "inside a string": ('def f():\n    return """\n    ‸', 'a\nb\n"""\n', None),
    "a string in the answer": (
        f"{DEFINITION}    ‸",
        'text = """\na\n"""\n    return 0\nx = 1\n',
        'text = """\na\n"""\n    return 0',
    ),
    "inside a fence": ("```python\ndef f():\n    ‸", "return 1\n```\n\nText\n", None),
}


def kept(around: str, pieces: Sequence[str]) -> tuple[str, bool]:
    """Return the kept part of an answer, and whether the answer was ended."""
    prefix, _, suffix = around.partition("‸")
    ending = MarginStop(prefix, suffix)
    text = ""
    for piece in pieces:
        text += ending.feed(piece)
        if ending.ended:
            return text, True
    return text + ending.finish(), ending.ended


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """An infill of an indented block ends before the margin, unless the line there continues."""
    around, answer, expected = CASES[name]
    for pieces in (list(answer), [answer], [answer[:7], answer[7:]]):
        assert kept(around, pieces) == (answer if expected is None else expected, expected not in (None, answer))


def test_unfinished_line_at_the_margin() -> None:
    """A single word at the margin is dropped at the end, unless the word continues the block."""
    assert kept("def f():\n    ‸", ["x = 1\nprin"]) == ("x = 1", True)
    assert kept("if x:\n    ‸", ["y\nelse"]) == ("y\nelse", False)


AROUND = st.sampled_from(["if x:\n    ‸", "if x:\n‸", "if x:\n‸y = 1\n", "if x:‸\n", "if x:\r\n‸y = 1\r\n", "x = 1\n‸"])


@settings(derandomize=True, max_examples=trial_count(1000))
@given(AROUND, st.text('a }:\n\r"', max_size=30), st.lists(st.integers(0, 30)))
def test_pieces_do_not_matter(around: str, text: str, cuts: list[int]) -> None:
    """The kept part is a beginning of the answer, however the answer is cut into pieces."""
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    whole, _ = kept(around, [text])
    assert kept(around, [text[begin:end] for begin, end in pairwise(ends)])[0] == whole
    assert text.startswith(whole)


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


SUFFIX_CASES = [
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


@pytest.mark.parametrize("case", SUFFIX_CASES, ids=lambda case: case.name)
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
def test_pieces_of_a_suffix_do_not_matter(prefix: str, suffix: str, pieces: list[str]) -> None:
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
