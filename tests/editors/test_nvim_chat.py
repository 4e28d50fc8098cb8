"""The chat of the plugin in a real Neovim: with the real model, and with a server on command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.editors.language_server_in_neovim import LanguageServerInNeovim
from support.editors.neovim import Neovim
from support.editors.polling import until

CODE = "a = 1\nb = 2\n"
ASKED = "## You\n\nHello"
ANSWERED = f"{ASKED}\n\n## Pellucid\n\nHi\nthere.\n\n## You\n\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LanguageServerInNeovim]:
    """A language server that answers on a test's command, in a Neovim with CODE as the text."""
    with Neovim(tmp_path) as vim:
        server = LanguageServerInNeovim(vim)
        vim.edit(CODE)
        yield server


def asked(server: LanguageServerInNeovim, text: str = "Hello") -> dict[str, Any]:
    """Send a message by the command, and return the request."""
    server.vim.keys(f":Pellucid chat {text}<CR>")
    return server.request("pellucid/chat")


def answer(server: LanguageServerInNeovim, request: dict[str, Any], *tokens: str) -> None:
    server.speak(request, *tokens)
    server.answer(request, {"text": "".join(tokens), "model": "tiny", "note": None})


def cancel(server: LanguageServerInNeovim, request: dict[str, Any]) -> None:
    """Press <C-c> until the request is cancelled: a busy Neovim takes the key as an interrupt."""
    until(lambda: server.vim.api.input("<C-c>") and server.cancelled == [request["id"]], "the cancellation")


def said(vim: Neovim) -> str:
    """Return the text of :messages."""
    return str(vim.lua("return vim.api.nvim_exec2('messages', { output = true }).output"))


@pytest.mark.model
def test_a_conversation(tmp_path: Path, served_model: str) -> None:
    """The real model answers in the buffer, and the window shows the tokens of the answer."""
    with Neovim(tmp_path) as vim:
        vim.setup(served_model)
        vim.keys(":Pellucid chat<CR>")
        vim.until_text("## You\n\n")
        vim.keys("iWhat is 1 + 1? Answer with one number.<C-s>")
        until(lambda: vim.text.count("## You") == 2, "the answer's place")
        until(lambda: "2" in vim.text.partition("## Pellucid")[2], "the answer", 180)
        vim.keys("<Esc>gg/## Pellucid<CR>2j<M-t>")
        until(lambda: "rank" in vim.screen, "the window with the tokens")


def test_a_message_and_the_answer(server: LanguageServerInNeovim) -> None:
    """The answer comes between two headings while the next message is typed below.

    The chat is no document of the server.
    """
    vim, request = server.vim, asked(server)
    assert vim.lua("return #vim.lsp.get_clients({ bufnr = 0 })") == 0
    assert request["params"]["messages"] == [{"role": "user", "content": "Hello"}]
    server.speak(request, "Hi", "\nthe")
    vim.keys("iAnd you?")
    until(lambda: "And you?" in vim.text, "the typed text")
    answer(server, request, "re.")
    vim.until_text(ANSWERED + "And you?")
    vim.keys("<C-s>")
    again = server.request("pellucid/chat")
    assert [one["content"] for one in again["params"]["messages"]] == ["Hello", "Hi\nthere.", "And you?"]
    assert [one["role"] for one in again["params"]["messages"]] == ["user", "assistant", "user"]


def test_edited_conversations(server: LanguageServerInNeovim) -> None:
    """Edited text is sent as shown, and a deleted heading joins two turns of the user."""
    vim = server.vim
    answer(server, asked(server), "Hi\n## You\nthere.")
    vim.keys("GiMore<Esc>:%s/Hi/Ho/<CR>G<C-s>")
    request = server.request("pellucid/chat")
    assert [one["content"] for one in request["params"]["messages"]] == ["Hello", "Ho\n## You\nthere.", "More"]
    cancel(server, request)
    vim.keys("gg/Pellucid<CR>V/^More<CR>kd<C-s>")
    request = server.request("pellucid/chat")
    assert request["params"]["messages"] == [{"role": "user", "content": "Hello\n\nMore"}]


@pytest.mark.parametrize("how", ["refused", "ended", "cancelled"])
def test_a_message_without_an_answer(server: LanguageServerInNeovim, how: str) -> None:
    """Without a token of an answer, the message is the last text again, with later typed text."""
    vim, request = server.vim, asked(server)
    vim.api.ui_try_resize(400, 30)  # Neovim's own message about the end would wait for Enter.
    vim.keys("imore<Esc>")
    until(lambda: "more" in vim.text, "the typed text")
    if how == "refused":
        server.refuse(request, -32803, "No model server runs.")
    elif how == "ended":
        server.end()
    else:
        cancel(server, request)
    until(lambda: "Pellucid\n" not in vim.text, "the removed heading")
    assert vim.text.split() == ["##", "You", "Hello", "more"]
    reasons = {"refused": "No model server runs.", "ended": "the language server ended", "cancelled": ""}
    until(lambda: reasons[how] in said(vim), "the reason")


def test_a_cancelled_answer_stays(server: LanguageServerInNeovim) -> None:
    """The beginning of a cancelled answer stays, and later tokens are dropped."""
    vim, request = server.vim, asked(server)
    server.speak(request, "Hi", "\nthere.")
    cancel(server, request)
    server.speak(request, " Late")
    vim.until_text(ANSWERED)


def test_nothing_to_send(server: LanguageServerInNeovim) -> None:
    """An empty message, and a message during an answer, are refused with a sentence."""
    vim = server.vim
    vim.keys(":Pellucid chat<CR>")
    vim.until_text("## You\n\n")
    vim.keys("<C-s>")
    until(lambda: "type a message at the end of the buffer" in said(vim), "the reason")
    asked(server)
    vim.keys("<C-s>")
    until(lambda: "an answer is being written: <C-c> stops it." in said(vim), "the reason")


def test_a_selection(server: LanguageServerInNeovim) -> None:
    """Selected lines become the beginning of the message; refused lines stay out of the chat."""
    vim = server.vim
    vim.keys("ggVj:Pellucid chat<CR>")
    request = server.request("pellucid/chatSelection")
    places = request["params"]["range"]
    assert (places["start"]["line"], places["end"]["line"]) == (0, 2)
    server.answer(request, {"text": "a.py:\n\n```\na = 1\n```\n"})
    vim.until_text("## You\n\na.py:\n\n```\na = 1\n```\n")
    assert vim.cursor[0] == 8
    vim.keys("<C-w>p:1Pellucid chat What?<CR>")
    server.refuse(server.request("pellucid/chatSelection"), -32602, ".env is never sent.")
    until(lambda: ".env is never sent." in said(vim), "the reason")
    assert vim.text == CODE.strip()


def test_tokens_of_an_answer(server: LanguageServerInNeovim) -> None:
    """The window opens at the token under the cursor, until the answer is edited."""
    vim, request = server.vim, asked(server)
    answer(server, request, "Hi", "\nthe", "re.")
    vim.keys("gg/there<CR>4l<M-t>")
    until(lambda: "rank" in vim.screen, "the window")
    assert [line.split()[0] for line in vim.text.split("\n")] == ["Hi", "⏎the", "re."]
    assert vim.cursor[0] == 3
    vim.keys("qx<M-t>")
    until(lambda: "this answer was edited" in said(vim), "the reason")


def test_code_of_an_answer(server: LanguageServerInNeovim) -> None:
    """A code block is inserted below the cursor of the file, with one undo, or yanked."""
    vim, request = server.vim, asked(server)
    answer(server, request, "So:\n\n````py\nc = 3\n```\nd = 4\n````\n")
    vim.keys("gg/c =<CR>ga<C-w>p")
    vim.until_text("a = 1\nc = 3\n```\nd = 4\nb = 2")
    vim.keys("u")
    vim.until_text(CODE.strip())
    vim.keys("<C-w>pgyggga")
    until(lambda: "put the cursor on a block of code" in said(vim), "the reason")
    vim.keys("<C-w>pGp")
    vim.until_text(CODE + "c = 3\n```\nd = 4")
