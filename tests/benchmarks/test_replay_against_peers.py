"""A replay counts right, wrong and saved lines, and imitates the requests of two clients."""

from __future__ import annotations

import json

import httpx
import pytest

from common.other_clients import ask_continue, ask_tabby
from pellucid.completion.suggestion import DocumentCursor
from replay_against_peers import Shown, draw_picture, overall


def shown(text: str, truth: str = "total + 1", client: str = "one", file: str = "python/a/b.py") -> Shown:
    return Shown(client, "python", file, 0, truth, text, 10.0)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "saved"),
    [
        ("total + 1", True, False, 8),
        ("total + 1  ", True, False, 8),
        ("total", False, False, 4),
        ("total + 2", False, True, 0),
        ("", False, False, 0),
    ],
)
def test_outcomes(text: str, right: bool, wrong: bool, saved: int) -> None:
    """A line is right as a whole, wrong unless a prefix of the truth, and saves keystrokes."""
    one = shown(text)
    assert (one.right, one.wrong, one.saved) == (right, wrong, saved)


def test_report_and_picture() -> None:
    """The table has the shares of all cursors, and the picture describes the shares in words."""
    suggestions = [
        shown("total + 1"),
        shown("total", file="python/a/c.py"),
        shown("x", file="python/a/d.py"),
        shown("", file="python/a/e.py"),
    ]
    row = overall(suggestions).splitlines()[2]
    assert [cell.split(" ")[0] for cell in row.strip("| ").split(" | ")] == [
        "one",
        "4",
        "25.0%",
        "25.0%",
        "66.7%",
        "33.3%",
        "10",
    ]
    assert "one: 25% right, 25% the beginning, right, 25% shown and wrong" in draw_picture(suggestions).file()


def at(before: str, after: str = "") -> DocumentCursor:
    return DocumentCursor("file:///a.py", before, after, "python")


def answering(content: str, asked: list[dict[str, object]]) -> httpx.AsyncClient:
    """Return a client of a server with this answer, streamed on request."""

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        asked.append(body)
        if not body.get("stream"):
            return httpx.Response(200, json={"content": content})
        return httpx.Response(200, text="".join(f"data: {json.dumps({'content': part})}\n\n" for part in content))

    return httpx.AsyncClient(base_url="http://127.0.0.1", transport=httpx.MockTransport(answer))


async def test_tabby() -> None:
    """Tabby sends 20 lines on either side, and shows few lines before text on the cursor's line."""
    asked: list[dict[str, object]] = []
    before, after = "".join(f"line {number}\n" for number in range(30)), ")\n" * 30
    async with answering("a)\nb", asked) as client:
        assert await ask_tabby(client, at(f"{before}f(", after)) == "a"
        assert await ask_tabby(client, at(f"{before}f(", "]\n")) == ""
        assert await ask_tabby(client, at(f"{before}f(", "\n")) == "a)"
    above = "".join(f"line {number}\n" for number in range(11, 30))
    assert asked[0]["prompt"] == f"<|fim_prefix|>{above}f(<|fim_suffix|>{after[:40]}<|fim_middle|>"
    stop = asked[0]["stop"]
    assert isinstance(stop, list)
    assert "\ndef" in stop


async def test_continue() -> None:
    """Continue reads no further than the first line, and does not repeat the line above."""
    asked: list[dict[str, object]] = []
    async with answering(" 1\nrest", asked) as client:
        assert await ask_continue(client, at("x =")) == " 1"
        assert await ask_continue(client, at("x = ")) == "1"
        assert await ask_continue(client, at("1\n")) == ""
