"""Engines that report their own speeds without a server: llama.cpp, ik_llama.cpp and OpenVINO."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol


class SpeedReporter(Protocol):
    """Returns tokens per second: of prefills by the length of the prompt, and of a decode."""

    def prefills(self, counts: Sequence[int]) -> dict[int, float]: ...

    def decode(self, tokens: int, behind: int) -> float: ...


class LlamaBench:
    """``llama-bench`` with a model that is loaded at each call."""

    def __init__(self, folder: Path, model: Path, threads: int, *flags: str) -> None:
        self._command = [str(folder / "llama-bench"), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]
        self._command += flags

    def prefills(self, counts: Sequence[int]) -> dict[int, float]:
        return {one["n_prompt"]: one["avg_ts"] for one in self._run("-p", ",".join(map(str, counts)), "-n", "0")}

    def decode(self, tokens: int, behind: int) -> float:
        """Decode after a prompt of ``behind`` tokens."""
        return self._decode("-n", str(tokens), "-d", str(behind))

    def _decode(self, *arguments: str) -> float:
        (found,) = self._run("-p", "0", *arguments)
        speed: float = found["avg_ts"]
        return speed

    def _run(self, *arguments: str) -> list[dict[str, Any]]:
        command = [*self._command, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


class IkLlamaBench(LlamaBench):
    """``llama-bench`` of ik_llama.cpp, with rows interleaved at the start and flash attention."""

    def __init__(self, folder: Path, model: Path, threads: int) -> None:
        super().__init__(folder, model, threads, "-rtr", "1", "-fa", "1")

    def decode(self, tokens: int, behind: int) -> float:
        return self._decode("-n", "0", "-gp", f"{behind},{tokens}")

    def commit(self) -> str:
        (found,) = self._run("-p", "1", "-n", "0")
        return str(found["build_commit"])


class OpenVino:
    """OpenVINO GenAI with a loaded model, run by the Python of its own environment."""

    def __init__(self, python: Path, model: Path, threads: int) -> None:
        command = [str(python), str(Path(__file__).with_name("openvino_process.py")), str(model), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = f"OpenVINO {self._answer()}"

    def prefills(self, counts: Sequence[int]) -> dict[int, float]:
        return {count: self._ask(count, 2)[0] for count in counts}

    def decode(self, tokens: int, behind: int) -> float:
        return self._ask(behind, tokens)[1]

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, prompt: int, answer: int) -> list[float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([prompt, answer])}\n")
        self._process.stdin.flush()
        found: list[float] = self._answer()
        return found

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                "OpenVINO GenAI ended; its own message is above. It cannot open GGUF files with Q5_0 blocks."
            )
        return json.loads(line)
