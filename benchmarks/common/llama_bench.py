"""Runs llama.cpp's benchmark program, which reports speeds without a server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class LlamaBench:
    """``llama-bench`` with a model that is loaded at each call."""

    def __init__(self, folder: Path, model: Path, threads: int) -> None:
        self._command = [str(folder / "llama-bench"), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]

    def prefills(self, counts: Sequence[int]) -> dict[int, float]:
        """Return tokens per second by the length of the prompt."""
        return {one["n_prompt"]: one["avg_ts"] for one in self._run("-p", ",".join(map(str, counts)), "-n", "0")}

    def decode(self, tokens: int, behind: int) -> float:
        """Return tokens per second of decoding after a prompt of ``behind`` tokens."""
        (found,) = self._run("-p", "0", "-n", str(tokens), "-d", str(behind))
        speed: float = found["avg_ts"]
        return speed

    def _run(self, *arguments: str) -> list[dict[str, Any]]:
        command = [*self._command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found
