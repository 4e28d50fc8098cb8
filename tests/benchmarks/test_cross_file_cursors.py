"""Cross-file cursors precede names from few foreign files; control cursors have no such names."""

from __future__ import annotations

from pathlib import Path

from cross_file_completion import CONTEXTS, CrossFileAnswer, difference, draw, report

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
        context, "python", file, control=False, seen=False, given=True, name_right=right, line_right=right
    )


def test_report() -> None:
    """The difference compares the shares of right names at the same cursors."""
    answers = [
        answer(context, context == "related pieces" and file != "c.py", file)
        for file in ("a.py", "b.py", "c.py")
        for context in CONTEXTS
    ]
    assert round(difference(answers, "related pieces").value, 3) == 0.667
    assert difference(answers, "opened files").value == 0
    assert "| name not seen | related pieces | 3 | 100.0% | 66.7% | 66.7% | +66.7" in report(answers)
