"""Sends large bodies to a server, and prints the memory in MiB: before, at the peak, and after.

The argument is the folder of a tokenizer of 320 tokens. Run by a test as a separate process, for an
undisturbed measurement.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from pellucid.api.server_state import ServerState
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.system.memory import memory_fields
from pellucid.text.assistant import LocalAssistant
from support.models.loaded_models import loaded_model
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import live

ROUNDS = 2
VOCAB_SIZE = 320
CODE = "def greet(name):\n    return f'hello {name}'\n"
SETTLED_MIB = 150
"""Maximum growth of a settled round; otherwise the memory is read after SECONDS."""
SECONDS = 10.0


def bodies() -> dict[str, dict[str, Any]]:
    """Return a body of each kind with a high need of memory."""
    text = (CODE * 50_000)[:1_500_000]
    return {
        "/tokenize": {"content": text, "with_pieces": True},
        "/detokenize": {"tokens": [97] * 500_000},
        "/v1/completions": {"prompt": [97] * 500_000},
        "/v1/score": {"text": text},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": text}]},
    }


def mebibytes(field: str) -> int:
    return memory_fields()[field] // 2**20


def main(folder: Path) -> None:
    decoder = to_decoder(tiny_llama(vocab_size=VOCAB_SIZE, max_position_embeddings=2048))
    engine = LocalEngine({"tiny": decoder}, EngineSettings(slots=2, context=256))
    state = ServerState(models=("tiny",), grace=0.0)
    state.open(LocalAssistant(engine, [loaded_model("tiny", decoder, read_tokenizer(folder, VOCAB_SIZE))]), engine)
    encoded = {route: json.dumps(body).encode() for route, body in bodies().items()}
    after = []
    with live(state) as server, httpx.Client(base_url=server.url, timeout=120, trust_env=False) as http:
        http.post("/tokenize", json={"content": "a"})
        before = mebibytes("VmRSS")
        for _ in range(ROUNDS):
            for route, body in encoded.items():
                http.post(route, content=body, headers={"content-type": "application/json"})
            deadline = time.monotonic() + SECONDS
            while mebibytes("VmRSS") - before > SETTLED_MIB and time.monotonic() < deadline:
                time.sleep(0.1)
            after.append(mebibytes("VmRSS"))
    engine.close()
    print(json.dumps({"before": before, "peak": mebibytes("VmHWM"), "after": after}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
