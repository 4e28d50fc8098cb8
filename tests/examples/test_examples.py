"""The examples run as they are, with real models, a real Neovim and a real notebook kernel."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support.editors.neovim import Neovim
from support.servers.real_model_server import real_models

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_SECONDS = 300

pytestmark = pytest.mark.model


Example = Callable[..., str]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Example:
    """Run an example as a program in this process, which has torch, and return the output."""
    for variable, value in real_models().items():
        monkeypatch.setenv(variable, value)

    def run(name: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_openai_client(example: Example, served_model: str) -> None:
    """The openai package prints each token with a probability and three alternatives."""
    lines = example("openai_client.py", served_model).splitlines()
    assert lines
    assert all(line.count("%") == 4 for line in lines)


def test_score_file(example: Example, tmp_path: Path) -> None:
    """A senseless line is the most surprising line."""
    file = tmp_path / "sample.py"
    file.write_text("def add(a, b):\n    return a + b\n\nqzxv = 'wjkq' @ 7731 // yyy\n")
    first, *ranking = example("score_file.py", str(file), "smollm2-135m-instruct").splitlines()
    assert "perplexity" in first
    assert "line 4: qzxv" in ranking[0]


def test_compare_models(example: Example, tmp_path: Path) -> None:
    """The code model needs fewer bits per byte for code than the chat model."""
    file = tmp_path / "sample.py"
    file.write_text("def mean(numbers):\n    return sum(numbers) / len(numbers)\n")
    models = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
    rows = example("compare_models.py", str(file), *models).splitlines()
    chat, code = (float(row.split()[1]) for row in rows)
    assert code < chat


def test_minimal_engine(example: Example) -> None:
    """The engine prints eight tokens, each the model's first choice, and the text they make."""
    lines = example("minimal_engine.py").splitlines()
    assert [line.endswith("rank 1") for line in lines[:8]] == [True] * 8
    assert lines[8] == "finished: length"


def test_nvim_init(tmp_path: Path) -> None:
    """Neovim loads the configuration without an error, and the plugin is set up."""
    with Neovim(tmp_path) as vim:
        vim.api.command(f"source {EXAMPLES / 'nvim/init.lua'}")
        assert vim.lua("return require('pellucid.options').current.settings.completion.level") == "normal"


def test_notebook(tmp_path: Path) -> None:
    """Every cell runs, results show as heat maps, and the table has a row for each token."""
    notebook = nbformat.reads((EXAMPLES / "compare_models.ipynb").read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types
    environment = os.environ | real_models() | {"PYTHONPATH": os.pathsep.join(sys.path), "IPYTHONDIR": str(tmp_path)}
    NotebookClient(notebook, timeout=MAX_SECONDS, kernel_name="python3").execute(cwd=str(tmp_path), env=environment)
    outputs = [
        output.get("data", {}).get("text/html", "") for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    heat_maps = [html for html in outputs if 'aria-label="Token heat map"' in html]
    assert len(heat_maps) == 3
    assert not any(part in html for html in heat_maps for part in ("<script", "http:", "https:", "url("))
    assert any("<th>probability</th>" in html for html in outputs)
