"""Prints the lines of Python in each package, and fails if a part exceeds its budget of lines.

The budgets are in size_budget.toml. A change that adds lines removes lines elsewhere.

Usage: python tools/size.py
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGET_FILE = Path(__file__).with_name("size_budget.toml")
DEPTH = {"server": 3}
"""How many parts of a path name a package: three below server, else two."""


def lines_by_package() -> Counter[str]:
    """Count the lines of the Python files in git, by package."""
    command = ["git", "ls-files", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    counts: Counter[str] = Counter()
    for name in listed.stdout.splitlines():
        if (path := ROOT / name).is_file():  # a deleted file is listed until the next commit
            folders = Path(name).parts[:-1]
            package = "/".join(folders[: DEPTH.get(folders[0], 2)]) if folders else name
            counts[package] += len(path.read_text(encoding="utf-8").splitlines())
    return counts


def main() -> int:
    """Print the table and the parts beyond their budget. Return 1 if there are any."""
    counts, failed = lines_by_package(), False
    for package, lines in sorted(counts.items()):
        print(f"{lines:8,}  {package}")
    for part, budget in tomllib.loads(BUDGET_FILE.read_text(encoding="utf-8"))["lines"].items():
        lines = sum(count for package, count in counts.items() if package.split("/")[0] in part.split("+"))
        print(f"{lines:8,}  {part}: budget {budget:,}, {budget - lines:,} left")
        if lines > budget:
            print(f"{part} has {lines - budget:,} lines too many: remove as many elsewhere.", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
