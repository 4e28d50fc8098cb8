"""Prints the requirements of a front: pyproject.toml's without packages for computing models.

Arguments: the path of pyproject.toml, and extras.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

COMPUTES = frozenset({"torch", "transformers"})
"""Packages that a front never imports."""


def front_requirements(pyproject: Path, extras: Sequence[str] = ()) -> list[str]:
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    named = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [
        one for requirements in named for one in requirements if re.split(r"[^A-Za-z0-9._-]", one)[0] not in COMPUTES
    ]


if __name__ == "__main__":
    print("\n".join(front_requirements(Path(sys.argv[1]), sys.argv[2:])))
