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

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"

pytestmark = pytest.mark.process


def test_serves_without_torch(tmp_path: Path) -> None:
    """Such a server serves every route and the page without an import of torch or transformers."""
    byte_level_bpe(front_without_torch.VOCAB_SIZE).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|im_end|>"}))

    output = subprocess.run(
        [sys.executable, front_without_torch.__file__, str(tmp_path), str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    answered = dict.fromkeys([*front_without_torch.BODIES, *front_without_torch.PATHS, "/"], 200)
    assert json.loads(output.splitlines()[-1]) == {
        "statuses": answered | {"/v1/adapters": 501},
        "text": '{"a": 1}',
        "heavy": [],
    }
