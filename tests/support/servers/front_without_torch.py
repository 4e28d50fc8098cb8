"""Serves a model of a remote engine, calls the routes, and prints answers and imports as JSON.

Arguments: the folder of a tokenizer, and an empty folder. Run by a test as a separate process,
because no import may need torch.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from pellucid.config import load_settings
from pellucid.models.catalog import InfillFormat
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.serving.listening_socket import listen
from pellucid.serving.loading import Loading
from pellucid.serving.server import Server
from pellucid.serving.server_parts import ServerParts
from pellucid.system.progress import Progress
from pellucid.text.assistant import LocalAssistant
from support.servers.scripted_engine import ScriptedEngine

VOCAB_SIZE = 320
INFILL = InfillFormat("spm2", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", None, None)
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "def gre", "suffix": "\n", "max_tokens": 20},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 20},
    "/completion": {"prompt": "hello", "json_schema": SCHEMA, "n_predict": 20},
    "/v1/embeddings": {"input": "hello"},
    "/tokenize": {"content": "hello"},
}
PATHS = ("/v1/models", "/v1/health", "/api/ps", "/slots", "/metrics", "/v1/adapters")


def main(tokenizer_folder: Path, data: Path) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    engine = ScriptedEngine()

    def build(progress: Progress) -> ServerParts:
        tokenizer = read_tokenizer(tokenizer_folder, VOCAB_SIZE)
        engine.script = tokenizer.encode('{"a": 1}')
        facts = ModelFacts(VOCAB_SIZE, 512, 0, "a model elsewhere")
        return ServerParts(
            engine, LocalAssistant(engine, [ServedModel("far", tokenizer, INFILL, None, tokenizer_folder, facts)])
        )

    with listen("127.0.0.1", 0) as listener:
        loading = Loading(build)
        loading.start()
        server = Server(load_settings(data=data, cache=data, grace=0), loading)
        caller = threading.Thread(target=_call, args=(server, f"http://127.0.0.1:{listener.getsockname()[1]}"))
        caller.start()
        server.run(sockets=[listener])
        caller.join()


IMPORTED = ("pellucid.completion.completer", "pellucid.models.tokenizers.gguf_tokenizer")
"""Further modules of such a server."""


def _call(server: Server, url: str) -> None:
    try:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            while server.failure is None and not _is_ready(http):
                time.sleep(0.02)
            answers = {path: http.post(path, json=body) for path, body in BODIES.items()} | {
                path: http.get(path) for path in PATHS
            }
            page = http.get("/")
        found = {path: answer.status_code for path, answer in answers.items()} | {"/": page.status_code}
        text = answers["/v1/chat/completions"].json()["choices"][0]["message"]["content"]
        print(
            json.dumps({"statuses": found, "text": text, "heavy": sorted({"torch", "transformers"} & set(sys.modules))})
        )
    finally:
        server.should_exit = True


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/health").status_code == 200
    except httpx.ConnectError:
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
