"""Records the answers of a real vLLM server, to show differences of a newer version.

Run with a server of any model: ``python tests/support/fleet/record_vllm.py http://127.0.0.1:8801
NAME > FILE``.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import httpx

IDS = [1604, 803, 24, 81, 28, 278, 727]
GREEDY = {"temperature": 0, "max_tokens": 3, "logprobs": 22, "ignore_eos": True, "detokenize": False}
STREAM = {"stream": True, "stream_options": {"include_usage": True}, "priority": 0}

CASES: dict[str, dict[str, Any]] = {
    "greedy": STREAM | {"token_ids": IDS, "sampling_params": GREEDY},
    "stopped": STREAM | {"token_ids": IDS, "sampling_params": GREEDY | {"max_tokens": 9, "stop_token_ids": [198]}},
    "outside the alternatives": STREAM
    | {
        "token_ids": IDS,
        "sampling_params": GREEDY | {"allowed_token_ids": [17, 30000], "max_tokens": 1, "logprobs": 3},
    },
    "read": {
        "token_ids": IDS,
        "sampling_params": {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 2, "detokenize": False},
    },
    "too many alternatives": {"token_ids": IDS, "sampling_params": GREEDY | {"logprobs": 100_000}},
    "unknown token": {"token_ids": [10**6], "sampling_params": GREEDY},
    "too hot": {"token_ids": IDS, "sampling_params": GREEDY | {"temperature": 5}},
}


def main(url: str, model: str) -> None:
    """Write the answers to all cases to stdout, without variable parts."""
    found: dict[str, Any] = {"version": httpx.get(f"{url}/version").json()["version"]}
    for name, body in CASES.items():
        reply = httpx.post(f"{url}/inference/v1/generate", json=body | {"model": model}, timeout=120)
        found[name] = {
            "status": reply.status_code,
            "text": re.sub(r"(?<=generate-tokens-)\w+|(?<=created\":)\d+", "0", reply.text),
        }
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
