"""The two real models from wheels: integrity of the stored files, and a warm second load."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.models.load import stored_step_bytes
from pellucid.models.store import Store
from pellucid.models.tokenizers import tokenizer
from pellucid.system.progress import Silent

pytestmark = pytest.mark.model


QWEN, SMOL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(load_settings().cache)


def test_stored_models_are_what_was_fetched(store: Store) -> None:
    """The files on this machine still have the checksums of the catalog."""
    for name in (QWEN, SMOL):
        store.pull(name, Silent())
        store.verify(name, Silent())


def test_bytes_that_a_step_reads(store: Store) -> None:
    """The default model's step reads all tensors except the separate embedding."""
    assert stored_step_bytes((store.pull(QWEN, Silent()),)) == 485_452_288 - 93_592_576


def test_warm_start_imports_and_asks_for_nothing(store: Store) -> None:
    """A second load reads packed weights, without transformers, gguf or a connection."""
    program = """
        import socket, sys
        from pathlib import Path
        from pellucid.models.load import load
        from pellucid.system.progress import Silent
        from pellucid.models.store import Store
        def refuse(*args, **kwargs):
            raise AssertionError("a connection was opened")
        name, root, again = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "again"
        if again:
            socket.socket.connect = socket.getaddrinfo = refuse
        loaded = load(name, device="cpu", store=Store(root), progress=Silent())
        assert loaded.tokenizer.vocab_size == loaded.model.vocab_size
        assert not again or not {"transformers", "gguf"} & set(sys.modules)
    """
    for time in ("first", "again"):
        command = [sys.executable, "-c", textwrap.dedent(program), SMOL, str(store.root), time]
        subprocess.run(command, check=True, env={"PYTHONPATH": str(Path(tokenizer.__file__).parents[2]), "PATH": ""})
