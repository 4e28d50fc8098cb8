"""Switch between two models in memory for a single model, and compare answers and memory.

    python benchmarks/model_switching.py --memory 490 --switches 200

Each request names the other model, so the server unloads a model and loads the other model. An
answer is wrong unless text and logprobs equal those of the model's first answer. Memory is the
resident memory of the server, in MB.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import httpx

from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from common.servers import pellucid_server
from pellucid.system.installed_version import installed_version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs=2, default=["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"])
    parser.add_argument("--memory", type=int, default=490, help="the setting model_memory, in MiB")
    parser.add_argument("--switches", type=int, default=200)
    options = parser.parse_args()
    first: dict[str, tuple[str, list[float]]] = {}
    seconds, wrong = defaultdict[str, list[float]](list), 0
    flags = ("--model", options.models[0], "--model-memory", str(options.memory), "--no-page")
    with pellucid_server(*flags) as server, httpx.Client(base_url=server.url, timeout=300, trust_env=False) as http:
        memory = [resident(server.process, "VmRSS")]
        for number in range(options.switches):
            model = options.models[(number + 1) % 2]
            begin = time.perf_counter()
            answer = ask(http, model)
            seconds[model].append(time.perf_counter() - begin)
            memory.append(resident(server.process, "VmRSS"))
            wrong += first.setdefault(model, answer) != answer
        peak = resident(server.process, "VmHWM")
    print(about(f"pellucid {installed_version()}"), end="\n\n")
    rows = [[model, f"{quantile(times, 0.5):.2f}", f"{max(times):.2f}"] for model, times in seconds.items()]
    print(table(["model", "seconds to load and answer, median", "most"], rows), end="\n\n")
    middle = memory[len(memory) // 2]
    print(f"{wrong} of {options.switches} answers wrong. Memory: {memory[0]} at the start, {middle} after half of the")
    print(f"switches, {memory[-1]} at the end, {peak} at most.")


def ask(http: httpx.Client, model: str) -> tuple[str, list[float]]:
    body = {"model": model, "prompt": "def add(a, b):", "max_tokens": 8, "temperature": 0, "logprobs": 1}
    choice = http.post("/v1/completions", json=body).raise_for_status().json()["choices"][0]
    return choice["text"], choice["logprobs"]["token_logprobs"]


def resident(process: int, field: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) // 1024


if __name__ == "__main__":
    main()
