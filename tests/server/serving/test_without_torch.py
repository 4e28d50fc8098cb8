"""A server over a remote engine runs without torch, since the import of torch takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.models.model_files import byte_level_bpe
from support.servers import front_without_torch

IMPORTED = (
    "pellucid.api.app",
    "pellucid.client.http_client",
    "pellucid.completion.completer",
    "pellucid.engine.port",
    "pellucid.models.served_model",
    "pellucid.models.tokenizers.folder_tokenizer",
    "pellucid.models.tokenizers.gguf_tokenizer",
    "pellucid.serving.serve",
    "pellucid.text.assistant",
    "pellucid_webui.hosting.mount",
)
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"

pytestmark = pytest.mark.process


def test_imports_neither_torch_nor_transformers() -> None:
    """No module of a server over a remote engine imports torch or transformers."""
    code = (
        "import importlib, sys\n"
        f"for name in {IMPORTED}:\n"
        "    importlib.import_module(name)\n"
        "    print(name, *{'torch', 'transformers'} & set(sys.modules))\n"
    )
    assert _run("-c", code).splitlines() == list(IMPORTED)


def test_serves_without_torch(tmp_path: Path) -> None:
    """Such a server serves every route and the page without an import of torch or transformers."""
    byte_level_bpe(front_without_torch.VOCAB_SIZE).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}))

    found = json.loads(_run(front_without_torch.__file__, str(tmp_path), str(tmp_path / "data")).splitlines()[-1])

    answered = dict.fromkeys([*front_without_torch.BODIES, *front_without_torch.PATHS, "/"], 200)
    assert found == {"statuses": answered | {"/v1/adapters": 501}, "text": '{"a": 1}', "heavy": []}


def _run(*arguments: str) -> str:
    """Run Python with the import path of this process, and return the output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=120
    ).stdout
