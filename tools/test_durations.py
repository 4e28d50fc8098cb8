"""Writes the seconds of test files to tests/durations.json, the slowest to CONTRIBUTING.md.

`make test` leaves its report in build/tests.xml; `make durations` calls this script. The workers of
`make test` begin with the slowest files, so that no worker waits for another worker at the end.

Usage: python tools/test_durations.py REPORT
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
DURATIONS = ROOT / "tests" / "durations.json"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- slowest tests: make durations -->", "<!-- end of the slowest tests -->"
SHOWN = 50


def seconds_by_file(report: Path) -> dict[str, float]:
    """Add up the seconds of a JUnit report by test file."""
    seconds: dict[str, float] = defaultdict(float)
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - our own file
        parts = (case.get("classname") or "").split(".")
        while parts and not (ROOT / Path(*parts)).with_suffix(".py").is_file():
            parts.pop()  # a class
        if parts:
            seconds[f"{'/'.join(parts)}.py"] += float(case.get("time") or 0)
    return seconds


def table(seconds: dict[str, float]) -> str:
    """Return the slowest files as a Markdown table, two to a line."""
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]
    cells = [f"`{name.removeprefix('tests/')}` {round(count)}" for name, count in slowest]
    rows = [" | ".join(cells[start : start + 2]) for start in range(0, len(cells), 2)]
    return "\n".join(["| seconds | seconds |", "|---|---|", *(f"| {row} |" for row in rows)])


def main() -> int:
    """Update both files."""
    seconds = seconds_by_file(Path(sys.argv[1]))
    kept = {name: round(count, 1) for name, count in sorted(seconds.items()) if count >= 1}
    DURATIONS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = CONTRIBUTING.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    CONTRIBUTING.write_text(f"{before}{BEGIN}\n{table(seconds)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
