"""The editor, the page and the commands show a real vLLM's figures."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from support.editors import lsp_client
from support.editors.lsp_client import id_of
from support.fleet.real_vllm import VLLM
from support.page.page_fixtures import PageServer, watched
from support.page.page_tabs import cards
from support.servers.real_model_server import CODER

PATIENCE = 120
"""Seconds for a command; reached only in a failing test."""

CLOSE = 1e-3
URI = "file:///project/add.py"
CODE = "def add(a, b):\n    return\n"
TEXT = "def count_words(lines):\n    return sum(len(line.split()) for line in lines)\n"
QUESTION = "Name the three primary colours."

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def front(
    folders: dict[str, Path], engines: dict[str, VLLM], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PageServer]:
    """Run `pellucid serve` over the engine of the code model."""
    server = PageServer(
        tmp_path_factory.mktemp("front"), "--engine", engines[CODER].url, models=[f"{CODER}={folders[CODER]}"]
    )
    server.start()
    yield server
    server.stop()


def generated(engine: VLLM, prompt: str, count: int) -> list[float]:
    """Return the logprobs of a prompt's continuation, by the engine's route."""
    body = {"model": CODER, "prompt": prompt, "max_tokens": count, "temperature": 0, "logprobs": 1}
    return ask(engine, body)


def read(engine: VLLM, text: str) -> list[float]:
    """Return the logprobs of a text's tokens after the first token, by the engine's route."""
    return ask(
        engine, {"model": CODER, "prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    )[1:-1]


def ask(engine: VLLM, body: dict[str, Any]) -> list[float]:
    reply = httpx.post(f"{engine.url}/v1/completions", json=body, timeout=PATIENCE)
    assert reply.status_code == httpx.codes.OK, reply.text
    logprobs: list[float] = reply.json()["choices"][0]["logprobs"]["token_logprobs"]
    return logprobs


def chat_prompt(front: PageServer) -> str:
    """Return the rendered prompt of the question."""
    reply = httpx.post(f"{front.address}/apply-template", json={"messages": [{"role": "user", "content": QUESTION}]})
    assert reply.status_code == httpx.codes.OK, reply.text
    prompt: str = reply.json()["prompt"]
    return prompt


async def test_language_server(front: PageServer, engines: dict[str, VLLM], tmp_path: Path) -> None:
    """An editor's suggestion has the engine's logprobs and entropy ranges."""
    settings = {"server": {"url": front.address, "start": False}, "completion": {"level": "eager", "ahead": False}}
    editor = await lsp_client.start(lsp_client.homes(tmp_path), settings)
    editor.open(URI, CODE)
    for column, letter in enumerate(" a", start=10):
        editor.insert(URI, 1, column, letter)
    (item,) = await editor.inline(URI, 1, 12)
    assert str(item.insert_text).rstrip() == " + b"
    explained = await editor.request("pellucid/explain", {"id": id_of(item)})
    inspected = await editor.request("pellucid/tokens", {"id": id_of(item)})
    shown = [token.logprob for token in inspected.tokens]
    assert shown == pytest.approx(generated(engines[CODER], explained.prompt.text, len(shown)), abs=CLOSE)
    assert all(token.entropy is None and token.entropy_range[0] <= token.entropy_range[1] for token in inspected.tokens)
    assert editor.messages == []
    await editor.leave()


async def test_page(front: PageServer, engines: dict[str, VLLM], browser_page: Page) -> None:
    """The page shows a chat's answer and a read text with the engine's figures."""
    tab = watched(browser_page, front.address)
    await tab.open()
    await tab.be_brief()
    assert "red" in (await tab.answer(QUESTION)).lower()
    await browser_page.wait_for_selector(".pl-body[data-tokens]")
    await browser_page.get_by_role("button", name="Least likely").click()
    inspector = browser_page.locator(".pl-inspector")
    await expect(inspector).to_contain_text(re.compile(r"entropy\d+\.\d+( to \d+\.\d+)? bits"))
    opened = re.search(r"Token (\d+) of.*surprisal\s*(\d+\.\d+) bits", await inspector.inner_text(), re.DOTALL)
    assert opened is not None
    logprob = generated(engines[CODER], chat_prompt(front), int(opened[1]))[-1]
    assert float(opened[2]) == pytest.approx(-logprob / math.log(2), abs=0.01)

    await tab.tab("Read")
    await browser_page.locator("#pl-read-text textarea").fill(TEXT)
    await browser_page.locator("#pl-read-go").click()
    expected = read(engines[CODER], TEXT)
    await expect(browser_page.locator(".pl-reading .pl-token")).to_have_count(len(expected) + 1)
    shown = (await cards(browser_page.locator(".pl-reading")))[1:]
    assert [float(card["logprob"]) for card in shown] == pytest.approx(expected, abs=CLOSE)
    assert (tab.elsewhere, tab.problems) == ([], [])


def records(found: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the tokens and the finish of a command's output."""
    *tokens, end = map(json.loads, found)
    return tokens, end["finish"]


def test_commands(front: PageServer, engines: dict[str, VLLM], tmp_path: Path) -> None:
    """The commands find the front, and print the engine's answers and figures."""
    file, code = tmp_path / "text.py", tmp_path / "code.py"
    file.write_text(TEXT)
    code.write_text("def add(a, b):\n    return a\n")
    homes = {"PELLUCID_PORT": str(front.port), "PELLUCID_CACHE": str(tmp_path), "PELLUCID_DATA": str(tmp_path)}
    environment = os.environ | homes | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def run(*words: str | Path) -> list[str]:
        command = [sys.executable, "-m", "pellucid", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert any(engines[CODER].url in line and "ready" in line for line in run("engines", "list"))
    scored, _ = records(run("score", file, "--json"))
    assert [token["logprob"] for token in scored[1:]] == pytest.approx(read(engines[CODER], TEXT), abs=CLOSE)
    said, end = records(run("chat", QUESTION, "--json", "--max-tokens", "8", "--top-logprobs", "2"))
    assert (end["reason"], [token["rank"] for token in said]) == ("length", [1] * 8)
    assert [token["logprob"] for token in said] == pytest.approx(
        generated(engines[CODER], chat_prompt(front), 8), abs=CLOSE
    )
    assert run("complete", code, "--at", "2:13", "--max-tokens", "16") == [" + b"]
