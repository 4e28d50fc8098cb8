"""The plugin in a real Neovim: with the real model, with scripted answers, and by itself."""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.editors.language_server_in_neovim import LanguageServerInNeovim
from support.editors.neovim import PLUGIN, Neovim
from support.editors.polling import until
from support.servers.http_servers import LiveServer, ScriptedAssistant, live, scripted_state, spoken
from support.staged_repository import repository, stage

HEAD = "def add(a, b):\n    "
TAIL = "\n\n\nprint(add(1, 2))"
LARGEST = "def largest(numbers):\n    best = numbers[0]\n    for number in numbers:\n"
EAGER = {"completion": {"level": "eager", "budgetMs": 0}}


def programs() -> list[str]:
    """Return every available Neovim: ``nvim`` on the PATH, and the value of NVIM12."""
    return ["nvim", *filter(None, [os.environ.get("NVIM12")])]


@pytest.fixture(scope="module")
def assistant() -> ScriptedAssistant:
    return ScriptedAssistant()


@pytest.fixture(scope="module")
def model_server(assistant: ScriptedAssistant) -> Iterator[LiveServer]:
    """A real server with scripted answers, for the whole module."""
    with live(scripted_state(assistant)) as server:
        yield server


@contextmanager
def set_up(request: pytest.FixtureRequest, folder: Path, server: str) -> Iterator[Neovim]:
    with Neovim(folder, request.param) as vim:
        vim.setup(server, settings=EAGER)
        yield vim


@pytest.fixture(scope="module", params=programs())
def real(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, served_model: str
) -> Iterator[Neovim]:
    """A Neovim with the plugin, the language server and the real model."""
    with set_up(request, tmp_path_factory.mktemp("real"), served_model) as vim:
        yield vim


@pytest.fixture(scope="module", params=programs())
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_server: LiveServer
) -> Iterator[Neovim]:
    """A Neovim with the plugin, the language server and scripted answers."""
    with set_up(request, tmp_path_factory.mktemp("served"), model_server.url) as vim:
        yield vim


@pytest.fixture
def vim(tmp_path: Path) -> Iterator[Neovim]:
    """A Neovim without the plugin."""
    with Neovim(tmp_path) as vim:
        yield vim


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neovim]:
    """A Neovim with the plugin's modules, but without a language server."""
    with Neovim(tmp_path_factory.mktemp("bare")) as vim:
        vim.setup("", cmd=["no-such-program"])
        yield vim


NOTE_ANSWERS = """
  local asked = {}
  vim.api.nvim_create_autocmd('LspRequest', {callback = function(event)
    local request = event.data.request
    if request.method == 'textDocument/inlineCompletion' and request.type == 'pending' then
      asked[event.data.request_id] = vim.b.changedtick
    elseif request.type == 'complete' and asked[event.data.request_id] then
      vim.g.answered = asked[event.data.request_id]
    end
  end})
"""
"""Keep in ``vim.g.answered`` the version of the text in the last answered request."""


def answers(vim: Neovim) -> None:
    """Wait until a request about the present text has an answer."""
    until(lambda: vim.lua("return vim.g.answered == vim.b.changedtick"), "an answer")


def say(assistant: ScriptedAssistant, *texts: str) -> None:
    """Let the model server answer with these tokens."""
    assistant.script = [spoken(text) for text in texts]


def in_function(vim: Neovim) -> Neovim:
    """Wait for ghost text at the end of HEAD, in insert mode."""
    vim.edit(HEAD + TAIL + "\n")
    vim.keys("jA")
    vim.until_ghost()
    return vim


@pytest.fixture
def ready(served: Neovim, assistant: ScriptedAssistant) -> Neovim:
    """A Neovim with scripted ghost text at the end of HEAD, in insert mode."""
    say(assistant, "return", " a", " +", " b", "\n", "\n", "x")
    served.lua(NOTE_ANSWERS)
    return in_function(served)


@pytest.mark.model
def test_accept(real: Neovim) -> None:
    """The model's ghost text is only on the screen; <Tab> inserts the text, and undo removes it."""
    in_function(real)
    assert real.text == HEAD + TAIL
    ghost = real.ghost
    assert ghost.splitlines()[0] in real.screen

    # The explanation has the prompt, the times and the values of the gate.
    real.keys("<Esc>:Pellucid explain<CR>")
    until(lambda: "outcome" in real.text, "the window")
    for word in ("shown", "prompt", "def add(a, b):", "computed", "ms", "gate"):
        assert word in real.text
    gate = next(line for line in real.text.split("\n") if line.startswith(" gate"))
    # The line is too long for a single row, so the line is wrapped.
    assert len(gate) > real.lua("return vim.api.nvim_win_get_width(0)")
    assert gate.split()[-1] in real.screen
    real.keys("q")
    real.until_text(HEAD + TAIL)

    real.keys("A")
    assert real.until_ghost() == ghost
    real.keys("<Tab>")
    real.until_text(HEAD + ghost + TAIL)
    before = (HEAD + ghost).split("\n")
    assert real.cursor == (len(before), len(before[-1].encode()))
    real.keys("<Esc>u")
    real.until_text(HEAD + TAIL)

    # The status line, the command and :checkhealth report a working setup.
    until(lambda: real.lua("return require('pellucid').status()") == "ready", "the state")
    real.keys(":Pellucid status<CR>")
    until(lambda: "Pellucid: " in real.screen.splitlines()[-1], "the sentence")
    real.keys(":checkhealth pellucid<CR>")
    until(lambda: "Model server: ready" in real.text, "the report")
    assert "ERROR" not in real.text
    assert "WARNING" not in real.text


def test_ghost_text_is_in_one_window(ready: Neovim) -> None:
    """The plugin draws ghost text only in the window with the cursor; Neovim 0.12 draws itself."""
    own = ready.lua("return vim.fn.has('nvim-0.12')") == 1
    assert ready.lua("return require('pellucid.builtin').used()") is own
    assert (ready.lua("return require('pellucid.current_suggestion').shown") is None) is own
    if own:
        return  # Neovim's own inline completion draws ghost text in all windows of the buffer.
    line = ready.ghost.splitlines()[0]
    ready.keys("<Esc>:split<CR>A")
    ready.until_ghost()
    until(lambda: line in ready.screen, "the ghost text")
    assert ready.screen.count(line) == 1

    ready.keys("<Esc><C-w>jA")
    ready.until_ghost()
    until(lambda: line in ready.screen.partition("~")[2], "the ghost text in the other window")
    assert ready.screen.count(line) == 1


def test_accepted_text_is_repeated(served: Neovim, assistant: ScriptedAssistant) -> None:
    """A count, the dot and a macro repeat accepted text, and an unused key stays in the macro."""
    vim = served
    say(assistant, "rder", " in", " orders", "\n")

    def lines() -> list[str]:
        return vim.text.split("\n")

    for start in ("3G2A", "3Gqqi"):
        vim.edit("orders = [1, 2]\ntotal = 0\n\n    total += order\nfirst\n")
        vim.keys(start)
        vim.keys("for o")
        ghost = until(lambda: vim.ghost, "ghost text")
        assert "\n" not in ghost
        vim.keys("<Tab>")
        until(lambda ghost=ghost: lines()[2] == "for o" + ghost, "the accepted text")  # type: ignore[misc]
        vim.keys("<Esc>")
        if start == "3G2A":
            until(lambda ghost=ghost: lines()[2] == 2 * ("for o" + ghost), "the count")  # type: ignore[misc]
            vim.keys("G.")
            until(lambda ghost=ghost: lines()[4] == "first" + 2 * ("for o" + ghost), "the dot")  # type: ignore[misc]
    vim.keys("A")
    vim.lua("require('pellucid.current_suggestion').clear()")
    vim.keys(" #\\<Esc>q")
    until(lambda: ghost in vim.lua("return vim.fn.getreg('q')"), "the text in the macro")
    vim.keys("G0@q")
    until(lambda: lines()[4] == "for o" + ghost + "first #\\", "the macro's text")


def test_accept_by_word(ready: Neovim) -> None:
    """A word is inserted, the rest stays shown, and each word is a separate undo step."""
    ghost = ready.ghost
    ready.keys("<M-w>")
    until(lambda: ready.text != HEAD + TAIL, "a word")
    word = ready.text[len(HEAD) : -len(TAIL)]
    assert ghost.startswith(word)
    assert len(word.split()) == 1
    assert ready.ghost == ghost[len(word) :]

    ready.keys("<M-w>")
    until(lambda: ready.text != HEAD + word + TAIL, "another word")
    ready.keys("<Esc>u")
    ready.until_text(HEAD + word + TAIL)


def in_loop(vim: Neovim, assistant: ScriptedAssistant) -> str:
    """Return the ghost text of several lines below an opened loop."""
    say(assistant, "if", " number", ":", "\n", "            ", "best", " =", " number", "\n", "    ", "return", "\n")
    vim.edit(LARGEST)
    vim.keys("GA<CR>")
    return until(lambda: vim.ghost if "\n" in vim.ghost else "", "ghost text of several lines")


def test_accept_by_line(served: Neovim, assistant: ScriptedAssistant) -> None:
    """The first line is inserted, and the remaining lines stay shown."""
    ghost, start = in_loop(served, assistant), served.text
    first = ghost.partition("\n")[0]
    served.keys("<M-l>")
    served.until_text(start + first)
    assert served.ghost == ghost[len(first) :]


def test_typing_and_dismissing(ready: Neovim) -> None:
    """Typed text keeps the rest shown, other text removes all; a dismissed suggestion is gone."""
    ghost = ready.ghost
    for typed in range(1, 4):
        ready.keys(ghost[typed - 1].replace("<", "<lt>"))
        until(lambda typed=typed: ready.text == HEAD + ghost[:typed] + TAIL, "the character")  # type: ignore[misc]
        assert ready.ghost == ghost[typed:]
    answers(ready)
    assert ready.ghost == ghost[3:]  # The server agrees.
    ready.keys("~")
    until(lambda: "~" in ready.text, "the character")
    assert ready.ghost != ghost[3:]

    in_function(ready).keys("<C-]>")
    until(lambda: not ready.ghost, "no ghost text")
    assert ready.text == HEAD + TAIL
    ready.lua("vim.g.answered = 0")
    ready.keys("<Esc>A")
    answers(ready)
    assert ready.ghost == ""


def test_next_and_previous(ready: Neovim) -> None:
    """Next requests several suggestions and shows the second; previous returns to the first."""
    first = ready.ghost
    ready.keys("<M-]>")
    second = until(lambda: ready.ghost if ready.ghost != first else "", "another suggestion")
    assert "2/" in ready.screen

    ready.keys("<M-[>")
    until(lambda: ready.ghost == first, "the first suggestion")
    ready.keys("<M-]>")
    until(lambda: ready.ghost == second, "the second suggestion")
    ready.keys("<Tab>")
    ready.until_text(HEAD + second + TAIL)


def test_token_window(ready: Neovim) -> None:
    """The window lists tokens with percentages and alternatives, and continues from a choice."""
    ghost = ready.ghost
    ready.keys("<M-t>")
    until(lambda: "% " in ready.screen, "percentages")
    window = ready.text.split("\n")
    assert "▸" in window[1]
    assert "▸" not in window[2]
    assert window[0].split()[0].replace("·", " ").strip() in ghost
    assert re.search(r"rank 1 +\d+\.\d\d bits", window[0])

    # Only the token under the cursor shows alternatives, and q keeps the suggestion.
    below = ready.text.count("\n    ") + 1
    ready.keys(f"{below + 1}j")
    until(lambda: "▸" in ready.text and "▸" not in ready.text.split("\n")[1], "the second token's alternatives")
    assert ready.text.count("▸") == 1
    ready.keys("q")
    ready.until_text(HEAD + TAIL)
    until(lambda: ready.mode == "i", "insert mode")
    assert ready.ghost == ghost

    ready.keys("<M-t>")
    until(lambda: "▸" in ready.text, "alternatives")
    alternative = window[2].split()[0].replace("·", " ").replace("⏎", "\n")
    ready.keys("jj<CR>")
    changed = until(lambda: ready.ghost if ready.ghost not in ("", ghost) else "", "another suggestion")
    assert changed.startswith(alternative)
    assert ready.text == HEAD + TAIL
    until(lambda: ready.mode == "i", "insert mode")
    ready.keys("<Tab>")
    ready.until_text(HEAD + changed + TAIL)


def test_token_window_after_an_indented_line(served: Neovim, assistant: ScriptedAssistant) -> None:
    """On a freshly indented line, the window keeps leading spaces and the file keeps the indent."""
    ghost, before = in_loop(served, assistant), served.text
    served.keys("<M-t>")
    until(lambda: "▸" in served.text, "alternatives")
    until(lambda: served.mode == "n", "normal mode")
    assert [line for line in served.text.split("\n") if not line.startswith(" ")] == []

    served.keys("q")
    served.until_text(before)
    assert served.ghost == ghost


def test_tokens_of_an_accepted_suggestion(ready: Neovim) -> None:
    """In normal mode, the window of an accepted suggestion replaces the text by an alternative."""
    ghost = ready.ghost
    ready.keys("<Tab>")
    ready.until_text(HEAD + ghost + TAIL)
    ready.keys("<Esc>:Pellucid tokens<CR>")
    until(lambda: "accepted" in ready.screen, "the window")
    alternative = ready.text.split("\n")[2].split()[0].replace("·", " ").replace("⏎", "\n")
    ready.keys("jj<CR>")
    changed = ready.until_ghost()
    assert changed.startswith(alternative)
    assert ready.text == HEAD + TAIL


def test_toggle(ready: Neovim) -> None:
    """Switching off removes the suggestion and stops requests; switching on requests again."""
    ready.keys("<Esc>:Pellucid toggle<CR>")
    until(lambda: "suggestions are off" in ready.screen, "what holds now")
    assert ready.lua("return require('pellucid').status()") == "off"
    ready.lua(
        "vim.g.sent = 0; vim.api.nvim_create_autocmd('LspRequest', {callback = function(event) "
        "if event.data.request.method == 'textDocument/inlineCompletion' then vim.g.sent = vim.g.sent + 1 end end})"
    )
    ready.keys("Ar")
    ready.until_text(HEAD + "r" + TAIL)
    # Four times the delay of a request.
    assert not ready.lua("return (vim.wait(300, function() return vim.g.sent > 0 end))")

    ready.keys("<Esc>:Pellucid toggle<CR>")
    until(lambda: "suggestions are on" in ready.screen, "what holds now")
    ready.keys("A")
    ready.until_ghost()


def test_beyond_the_basic_plane(served: Neovim, assistant: ScriptedAssistant) -> None:
    """After emoji, of two UTF-16 units and four bytes each, a suggestion is drawn at the cursor."""
    head = 'faces = ["🙂", "🙃"]\nwink = faces[0]; print("🙂🙂", fac'
    say(assistant, "es", "[", "1", "]", ")", "\n")
    served.edit(head + ")\n")
    served.keys("G$i")
    ghost = served.until_ghost()
    assert ghost.startswith("es")
    served.keys("<Tab>")
    served.until_text(head + ghost + ")")
    assert served.cursor == (2, len((head + ghost).split("\n")[1].encode()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x = 1\n" * 200_000, "it has more than 1,000,000"), ("A_KEY = '" + "k" * 9_000, "its lines are too long")],
)
def test_no_suggestion_by_hand_is_explained(served: Neovim, text: str, reason: str) -> None:
    """An impossible suggestion requested by hand is refused with the reason."""
    served.edit(text)
    served.keys("A<M-Bslash>")
    until(lambda: reason in messages(served), "the reason")


def test_killed_language_server(vim: Neovim, assistant: ScriptedAssistant, model_server: LiveServer) -> None:
    """After the language server's death, typing works, and a restart restores suggestions."""
    say(assistant, "eturn", " a", "\n", "x")
    # Neovim's message has a long path; a cut message would wait for Enter.
    vim.api.ui_try_resize(400, 30)
    vim.setup(model_server.url)
    vim.edit(HEAD + TAIL + "\n")
    (process,) = vim.api.api.get_proc_children(vim.lua("return vim.fn.getpid()"))
    os.kill(process, signal.SIGKILL)
    until(lambda: vim.lua("return require('pellucid.client').crashed"), "its end")
    vim.keys("jAr")
    vim.until_text(HEAD + "r" + TAIL)
    assert vim.mode == "i"

    vim.keys("<Esc>:Pellucid restart<CR>")
    until(lambda: vim.lua("return require('pellucid.client').attached(0)"), "the language server")
    vim.keys("A")
    assert vim.until_ghost()


def test_help(vim: Neovim, tmp_path: Path) -> None:
    """The help file has tags, and every option, key and subcommand."""
    shutil.copytree(PLUGIN / "doc", tmp_path / "copy" / "doc")
    vim.api.command(f"helptags {tmp_path / 'copy' / 'doc'} | set runtimepath^={tmp_path / 'copy'},{PLUGIN}")
    vim.api.command("help :Pellucid-toggle")
    assert "*:Pellucid-toggle*" in vim.api.current.line
    options, subcommands = vim.lua(
        "return {require('pellucid.options').defaults, require('pellucid.command').complete('')}"
    )
    for name in [*options, *options["keys"], *(f":Pellucid {name}" for name in subcommands)]:
        assert name in vim.text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"key": {}}, "pellucid.key is not an option of Pellucid"),
        ({"keys": {"acept": "<Tab>"}}, "pellucid.keys.acept is not an option of Pellucid"),
        ({"keys": {"accept": 1}}, "pellucid.keys.accept should be a key"),
        ({"wait_ms": "75"}, "pellucid.wait_ms should be a number"),
        ({"ghost": "none"}, "pellucid.ghost should be 'auto' or 'plugin'"),
        ({"cmd": []}, "pellucid.cmd should be a list"),
    ],
)
def test_wrong_option(bare: Neovim, options: dict[str, object], sentence: str) -> None:
    """An invalid option is refused in a sentence with the option's name."""
    with pytest.raises(Exception, match=sentence):
        bare.setup("", **options)


def test_without_a_program(vim: Neovim, tmp_path: Path) -> None:
    """Without the program a single warning is shown, and every key keeps its meaning."""
    vim.lua("vim.keymap.set('i', '<C-]>', 'mapped')")
    vim.setup("", cmd=["no-such-program"])
    for name in ("one.py", "two.py"):
        vim.api.command(f"edit {tmp_path / name}")
    vim.api.command("enew")
    vim.keys("ia<Tab>b<C-]><M-w>c")
    vim.until_text("a\tbmappedc")
    assert vim.api.command_output("messages").count("no-such-program is not an executable") == 1
    assert vim.lua("return vim.api.nvim_get_mode()") == {"mode": "i", "blocking": False}

    vim.keys("<Esc>:%delete<CR>ialpha alps al<C-n>")
    until(lambda: vim.lua("return vim.fn.pumvisible()"), "the menu")
    one = vim.text
    vim.keys("<Tab>")
    until(lambda: vim.text != one, "the next of the menu")
    assert "\t" not in vim.text

    # A second setup with a different key restores the mapping replaced by the first setup.
    vim.setup("", cmd=["no-such-program"], keys={"dismiss": "<C-e>"})
    assert vim.lua("return vim.fn.maparg('<C-]>', 'i')") == "mapped"


SURE, REST = "urn add(a, b)", " + tax(c)"


def suggest(server: LanguageServerInNeovim, text: str, *arguments: Any) -> dict[str, Any]:
    """Answer a request for a suggestion with a text and the arguments, and return the request."""
    request = server.request("textDocument/inlineCompletion")
    command = {"title": "accepted", "command": "pellucid.accepted", "arguments": list(arguments)}
    server.answer(request, {"items": [{"insertText": text, "command": command}]})
    return request


def test_the_rest_of_a_partial_suggestion(server: LanguageServerInNeovim) -> None:
    """The plugin announces partial suggestions, shows a beginning, and requests the whole once."""
    vim = server.vim
    assert server.options["partialSuggestions"] is True
    vim.edit("    ret")
    vim.keys("A")
    requests = [suggest(server, "urn add(", "part", "partial"), suggest(server, SURE, "whole")]
    until(lambda: vim.ghost == SURE, "the whole")
    vim.keys("<C-]>")
    until(lambda: len(server.noted) == 3, "the last message")
    noted = [("pellucid/didShow", "part"), ("pellucid/didShow", "whole"), ("pellucid/didDismiss", "whole")]
    assert [(method, params["id"]) for method, params in server.noted] == noted
    asked = [(one["params"]["context"]["triggerKind"], one["params"]["position"]["character"]) for one in requests]
    assert asked == [(2, 7), (2, 7)]


def test_the_doubtful_rest_is_accepted_by_itself(server: LanguageServerInNeovim) -> None:
    """The key accepts the sure beginning, then the doubtful rest; each is a separate undo step."""
    vim = server.vim
    assert server.options["doubtfulRests"] is True
    vim.edit("    ret")
    vim.keys("A")
    suggest(server, SURE + REST, "one", "doubtful", len(SURE))
    until(lambda: vim.ghost == SURE + REST, "the whole")
    assert faint(vim) == REST
    vim.keys("<Tab>")
    vim.until_text(f"    ret{SURE}")
    suggest(server, REST, "two", "doubtful", 0)
    until(lambda: faint(vim) == REST, "the doubtful rest")
    vim.keys("<Tab>")
    vim.until_text(f"    ret{SURE}{REST}")
    assert server.request("workspace/executeCommand")["params"]["command"] == "pellucid.accepted"
    assert ("pellucid/didPartiallyAccept", {"id": "one", "acceptedLength": len(SURE)}) in server.noted
    vim.keys("<Esc>u")
    vim.until_text(f"    ret{SURE}")


SHOP = """def total(items):
    return sum(item.price for item in items)


def report(orders):
    for order in orders:
        print(order.name, total(order.items))


def receipt(order):
    lines = [item.name for item in order.items]
    lines.append(f"Sum: {total(order.items)}")
    return lines
"""
CALL = "        print(order.name, amount_due(order.items))"


def rename(vim: Neovim) -> None:
    """Rename the function of SHOP, and wait until the first call is marked."""
    vim.edit(SHOP)
    vim.keys("ggwcwamount_due<Esc>")
    until(lambda: "»" in vim.screen, "a marked edit")


@pytest.mark.model
def test_the_next_edit(real: Neovim) -> None:
    """After a renaming, a call is marked; a key jumps there and renames; undo restores the call."""
    rename(real)
    (marked,) = (line for line in real.screen.splitlines() if "»" in line and "print" in line)
    assert "total(order.items)" in marked
    assert re.search(re.escape(CALL) + r"  \d+ %", real.screen)

    real.keys("<M-n>")
    until(lambda: real.cursor == (7, 8), "the cursor at the call")
    real.keys("<M-n>")
    until(lambda: real.text.split("\n")[6] == CALL, "the renamed call")
    until(lambda: "amount_due(order.items)}" in real.screen, "the next call")

    real.keys("u")
    until(lambda: real.text == SHOP.rstrip("\n").replace("def total", "def amount_due"), "the text before the edit")


def test_reports_of_next_edits(served: Neovim, assistant: ScriptedAssistant) -> None:
    """All edits are listed and explained; a dismissed edit and, in insert mode, marks vanish."""
    say(assistant, "x")
    rename(served)
    served.keys(":Pellucid explain edits<CR>")
    until(lambda: "Next edits" in served.screen, "the window")
    assert re.search(r"\d of \d changes found are suggested", served.text)
    assert re.search(r"shown: .*It is right with a probability of [\w ]*\d+ ?%", served.text)
    served.keys("q")
    until(lambda: "Next edits" not in served.screen, "an empty screen")

    served.keys(":Pellucid edits<CR>")
    until(lambda: served.api.current.buffer.options["buftype"] == "quickfix", "the location list")
    assert re.search(r"\d+ %.*print\(order\.name, amount_due", served.text)

    rename(served)
    served.keys("<M-x>")
    until(lambda: CALL not in served.screen, "the end of the drawing")
    served.keys("ix")
    until(lambda: "»" not in served.screen, "no marks in insert mode")


INSTRUCTED = "def add(a, b):\n    return a + b\n\n\nx = 1"


@pytest.mark.model
def test_an_edit_by_instruction(real: Neovim) -> None:
    """The new line is drawn with the keys; a key takes the line, an undo restores."""
    real.edit(INSTRUCTED + "\n")
    real.keys(":1,2Pellucid instruct Rename the function to total.<CR>")
    until(lambda: "1 of 1" in real.screen, "the hunk", 120)
    assert "» 1 of 1  take <Tab>" in real.screen
    assert "def total(a, b):" in real.screen
    assert real.text == INSTRUCTED
    real.keys("<Tab>")
    real.until_text(INSTRUCTED.replace("add", "total"))
    assert "1 of 1" not in real.screen
    real.keys("u")
    real.until_text(INSTRUCTED)


@pytest.mark.model
def test_written_tests(real: Neovim) -> None:
    """Tests of the selected function are written below, apart by blank lines, and parse."""
    real.edit(INSTRUCTED + "\n")
    real.keys(":1,2Pellucid instruct Write tests for this.<CR>")
    until(lambda: "1 of 1" in real.screen, "the hunk", 120)
    real.keys("<Tab>")
    until(lambda: "1 change applied." in real.screen, "the sentence")
    function, rest = INSTRUCTED.split("\n\n\n")
    assert real.text.startswith(f"{function}\n\n\ndef test_add():\n    assert add(")
    assert real.text.endswith(f"\n\n\n{rest}")
    ast.parse(real.text)


@pytest.mark.model
def test_a_commit_message(real: Neovim, tmp_path: Path) -> None:
    """The message of the real model is in a scratch buffer, or in an empty commit's buffer."""
    folder = repository(tmp_path, {"cart.py": "def total(a, b):\n    return a - b\n"}, "Add a cart")
    stage(folder, {"cart.py": "def total(a, b):\n    return a + b\n", ".env": "PASSWORD = 1\n"})
    real.api.command(f"only! | edit! {folder}/cart.py")
    until(lambda: real.lua("return require('pellucid.client').attached(0)"), "the language server")
    real.keys(":Pellucid commit<CR>")
    until(lambda: real.api.current.buffer.options["filetype"] == "gitcommit", "the message", 120)
    message, blank, note = real.text.split("\n")
    assert 10 <= len(message) <= 72
    assert message[0].isupper()
    assert (blank, note.startswith("# .env is never sent to the model")) == ("", True)
    real.keys(":Pellucid tokens<CR>")
    until(lambda: "rank" in real.screen, "the window with the tokens")
    assert real.text.split()[0].strip("·") == message.split()[0]
    real.keys("q")

    real.api.command(f"only! | edit! {folder}/.git/COMMIT_EDITMSG | %delete | call setline(1, ['', '# Changes:'])")
    until(lambda: real.lua("return require('pellucid.client').attached(0)"), "the language server")
    real.keys(":Pellucid commit<CR>")
    real.until_text(f"{message}\n# Changes:")


def test_why_there_is_no_commit_message(served: Neovim, tmp_path: Path) -> None:
    """Without staged changes, the reason is shown and no buffer is opened."""
    folder = repository(tmp_path, {"cart.py": "x = 1\n"}, "Add a cart")
    served.keys("<Esc>")
    served.api.command(f"only! | edit! {folder}/cart.py")
    until(lambda: served.lua("return require('pellucid.client').attached(0)"), "the language server")
    served.keys(":Pellucid commit<CR>")
    until(lambda: "Nothing is staged" in messages(served), "the reason")
    assert len(served.api.windows) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("enew!", "this buffer has no name"),
        ("enew! | file a.py | set buftype=nofile", "this buffer is not a file"),
        ("enew! | file a.txt | set filetype=qf", "the option filetypes is false for qf"),
    ],
)
def test_why_nothing_is_suggested_in_a_buffer(bare: Neovim, command: str, reason: str) -> None:
    """`:Pellucid explain` says why a buffer has no suggestions at all."""
    bare.api.command(command)
    bare.keys(":Pellucid explain<CR>")
    until(lambda: reason in messages(bare), "the reason")
    bare.api.command("bwipeout!")


def test_explained_code(served: Neovim, assistant: ScriptedAssistant) -> None:
    """The code action Explain opens a window with an explanation, and changes no text."""
    say(assistant, "It adds", " two numbers.\n")
    served.edit(INSTRUCTED + "\n")
    served.keys("ggVj")
    served.lua(
        "vim.lsp.buf.code_action({ apply = true, "
        "filter = function(action) return action.title == 'Pellucid: Explain' end })"
    )
    until(lambda: "Lines 1 to 2" in served.screen, "the window")
    assert "It adds two numbers." in served.text, "the window is entered"
    served.keys("q")
    until(lambda: "Lines 1 to 2" not in served.screen, "an empty screen")
    assert served.text == INSTRUCTED


def hunk(line: int, old: list[str], new: list[str], breaks: bool | None = False) -> dict[str, Any]:
    """Return a hunk as from ``pellucid/edit``: whole lines from ``line`` on."""
    span = {"start": {"line": line, "character": 0}, "end": {"line": line + len(old), "character": 0}}
    text = "".join(one + "\n" for one in new)
    return {"range": span, "newText": text, "first": line, "old": old, "new": new, "breaksSyntax": breaks}


EDIT_HUNKS = [hunk(0, ["a = 1"], ["a = 10"]), hunk(2, ["c = 3"], ["c = 30"]), hunk(3, [], ["d = 40"])]
EDIT = {"reason": None, "hunks": EDIT_HUNKS}
UNCHANGED = {"reason": "The model changed nothing: say more exactly what to change, or try another seed.", "hunks": []}
LETTERS = "a = 1\nb = 2\nc = 3\nend = 0"
ALL_TAKEN = "a = 10\nb = 2\nc = 30\nd = 40\nend = 0"


@pytest.fixture(params=programs())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LanguageServerInNeovim]:
    """A language server that answers on a test's command, in a Neovim with LETTERS as the text."""
    with Neovim(tmp_path, request.param) as vim:
        server = LanguageServerInNeovim(vim)
        vim.edit(LETTERS + "\n")
        yield server


def requested(server: LanguageServerInNeovim, text: str = "Times ten.") -> dict[str, Any]:
    """Request an edit of all lines except the last, and return the request."""
    server.vim.keys(f":1,3Pellucid instruct {text}<CR>")
    return server.request("pellucid/edit")


def shown(server: LanguageServerInNeovim, edit: dict[str, Any] = EDIT) -> Neovim:
    """Show an edit, and return the Neovim."""
    server.answer(requested(server), edit)
    until(lambda: "» 1 of" in server.vim.screen, "the first hunk")
    return server.vim


def messages(vim: Neovim) -> str:
    """Return the text of :messages."""
    return str(vim.lua("return vim.api.nvim_exec2('messages', { output = true }).output"))


def mapped(vim: Neovim, key: str) -> bool:
    return bool(vim.lua("return vim.fn.maparg(...) ~= ''", key, "n"))


def explanation(server: LanguageServerInNeovim) -> dict[str, Any]:
    """Request an explanation of two lines by the code action's command, and return the request."""
    run_command(server.vim, "pellucid.explainCode", 0, 2)
    return server.request("pellucid/explainCode")


def run_command(vim: Neovim, command: str, *arguments: Any) -> None:
    """Run a code action's command with the buffer's URI as the first argument."""
    vim.lua(
        "local name, arguments = ...; local command = { title = name, command = name, arguments = arguments }\n"
        "table.insert(arguments, 1, vim.uri_from_bufnr(0))\n"
        "local client = require('pellucid.client').get()\n"
        "if client.exec_cmd then client:exec_cmd(command) else client:_exec_cmd(command) end",
        command,
        list(arguments),
    )


def test_explain_takes_no_keys(server: LanguageServerInNeovim) -> None:
    """An explanation takes the keyboard neither in insert mode nor after a move to a new window."""
    vim, request = server.vim, explanation(server)
    vim.keys("ix")
    vim.until_text("x" + LETTERS)
    server.answer(request, {"text": "Two numbers."})
    until(lambda: "Two numbers." in vim.screen, "the explanation")
    assert "<C-w>w enters, q closes" in vim.screen
    vim.keys("y")
    vim.until_text("xy" + LETTERS)
    vim.keys("<Esc><C-w>wq")
    until(lambda: "Two numbers." not in vim.screen, "the end of the explanation")
    assert vim.text == "xy" + LETTERS

    request = explanation(server)
    vim.keys(":new<CR>")
    vim.until_text("")
    server.answer(request, {"text": "Three numbers."})
    until(lambda: "Three numbers." in vim.screen, "the explanation")
    assert vim.text == ""


def test_explain_is_cancelled(server: LanguageServerInNeovim) -> None:
    """A new request cancels the former request, a failure is a warning, and closing cancels."""
    vim = server.vim
    vim.lua("vim.notify = function(text, level) vim.g.notified = { text, level } end")
    first, second = explanation(server), explanation(server)
    assert server.cancelled == [first["id"]]
    server.refuse(second, -32803, "No model is served.")
    assert vim.lua("return vim.g.notified") == ["Pellucid: No model is served.", 3]
    third = explanation(server)
    vim.api.command("bwipeout!")
    assert server.cancelled == [first["id"], third["id"]]


def test_an_edit_outlives_a_write(server: LanguageServerInNeovim) -> None:
    """Neither a write nor a change below the selected lines drops an edit, pending or shown."""
    vim, request = server.vim, requested(server)
    vim.keys(":write<CR>")
    vim.keys("Gx")
    vim.until_text(LETTERS.replace("end", "nd"))
    server.answer(request, EDIT)
    until(lambda: "» 1 of 3" in vim.screen, "the first hunk")
    vim.keys(":write<CR>")
    vim.keys("Gx")
    vim.until_text(LETTERS.replace("end", "d"))
    vim.keys("<M-a>")
    vim.until_text(ALL_TAKEN.replace("end", "d"))


@pytest.mark.parametrize(("keys", "when"), [("2Gx", "while the model was writing"), ("ggOimport a<Esc>", "so nothing")])
def test_an_edit_of_changed_lines(server: LanguageServerInNeovim, keys: str, when: str) -> None:
    """A change in or above the selected lines drops an edit, pending or shown, with a message."""
    vim = server.vim
    if when == "so nothing":
        shown(server)
    else:
        requested(server)
    vim.keys(keys)
    until(lambda: "the selected lines or those above them changed" in messages(vim), "the sentence")
    assert when in messages(vim)
    assert "so nothing was applied: ask again." in messages(vim)
    assert "Times ten" not in vim.screen
    assert "» 1 of 3" not in vim.screen
    assert not mapped(vim, "<Tab>")


def test_an_edit_stays_while_another_buffer_is_visited(server: LanguageServerInNeovim) -> None:
    """Using a second window neither cancels the request of an edit nor removes hunks."""
    vim = server.vim
    vim.keys("<C-w>n")
    until(lambda: vim.lua("return #vim.api.nvim_list_wins()") == 2, "another window")
    vim.keys("<C-w>p")
    request = requested(server)
    vim.keys("<C-w>pix<Esc>")
    vim.until_text("x")
    assert server.cancelled == []
    server.answer(request, EDIT)
    until(lambda: "» 1 of 3" in vim.screen, "the first hunk")
    assert not mapped(vim, "<M-a>")
    vim.keys("x<C-w>p")
    vim.until_text(LETTERS)
    vim.keys("<M-a>")
    vim.until_text(ALL_TAKEN)


def test_an_edit_gives_keys_back(server: LanguageServerInNeovim) -> None:
    """The buffer's mappings return after an instruction typed elsewhere, and after closing."""
    vim = server.vim
    path = vim.lua("return vim.api.nvim_buf_get_name(0)")
    vim.lua("vim.keymap.set('n', '<Tab>', 'x', { buffer = 0 })")
    vim.lua("Input = vim.ui.input; vim.ui.input = function(_, done) vim.cmd.new(); Done = done end")
    vim.keys(":1,3Pellucid instruct<CR>")
    until(lambda: vim.lua("return Done ~= nil"), "the question")
    vim.lua("Done('Times ten.'); vim.cmd.close()")
    first = server.request("pellucid/edit")
    vim.keys("<Esc>")
    until(lambda: server.cancelled == [first["id"]], "the end of the request")
    assert vim.lua("return vim.fn.maparg('<Tab>', 'n')") == "x"

    second = requested(server)
    vim.keys(":enew | bunload! #<CR>")
    until(lambda: server.cancelled == [first["id"], second["id"]], "the end of the request")
    until(lambda: "the buffer was closed, so the edit was dropped." in messages(vim), "the sentence")
    vim.api.command(f"edit {path}")
    assert vim.lua("return vim.fn.maparg('<Tab>', 'n')") == "x"


def test_an_instruction_that_is_asked_for(server: LanguageServerInNeovim) -> None:
    """The mapping asks for an instruction, with former instructions as completions."""
    vim, former = server.vim, "Rename the function to total."
    requested(server, former)
    vim.keys("<Esc>")
    vim.lua("vim.keymap.set('x', 'gi', '<Plug>(PellucidInstruct)')")
    vim.keys("ggVjgi")
    until(lambda: "change this:" in vim.screen, "the question")
    vim.keys("Ren<Tab><CR>")
    params = server.request("pellucid/edit")["params"]
    assert (params["instruction"], params["range"]["end"]["line"]) == (former, 2)


def test_a_taken_edit_stays_drawn(server: LanguageServerInNeovim) -> None:
    """Only taken hunks stay drawn, and <Esc> applies the taken hunks as a single undo step."""
    vim = shown(server)
    vim.keys("<Tab>")
    until(lambda: "» 2 of 3" in vim.screen, "the second hunk")
    assert "a = 10" in vim.screen
    assert "1 of 3, taken" in vim.screen
    assert "finish <Esc>" in vim.screen
    vim.keys("<M-x>")
    until(lambda: "» 3 of 3" in vim.screen, "the third hunk")
    assert "a = 10" in vim.screen
    assert "c = 30" not in vim.screen
    assert vim.text == LETTERS
    vim.keys("<Esc>")
    vim.until_text(LETTERS.replace("a = 1", "a = 10"))
    until(lambda: "1 change applied." in vim.screen, "the sentence")
    assert "of 3" not in vim.screen
    vim.keys("u")
    vim.until_text(LETTERS)


def test_several_taken_edits(server: LanguageServerInNeovim) -> None:
    """All remaining hunks can be taken, with a count; without taken hunks a message says so."""
    vim = shown(server)
    vim.keys("<M-x><M-a>")
    vim.until_text("a = 1\nb = 2\nc = 30\nd = 40\nend = 0")
    until(lambda: "2 changes applied." in vim.screen, "the sentence")
    vim.keys("u")
    vim.until_text(LETTERS)
    shown(server)
    vim.keys("<M-x><M-x><M-x>")
    until(lambda: "nothing was applied." in vim.screen, "the sentence")
    assert vim.text == LETTERS


def test_cancelling_an_edit(server: LanguageServerInNeovim) -> None:
    """A pending edit shows lines and the cancelling key; without an edit a message explains."""
    vim, request = server.vim, requested(server)
    server.stream(request, "a = 10")
    until(lambda: "a = 10" in vim.screen, "the first line")
    assert "Times ten.  Writing… <Esc> cancels." in vim.screen
    vim.keys("<Esc>")
    until(lambda: "the edit was cancelled." in vim.screen, "the sentence")
    assert server.cancelled == [request["id"]]
    assert "a = 10" not in vim.screen
    vim.keys(":Pellucid instruct!<CR>")
    until(lambda: "there is no edit to cancel." in vim.screen, "the sentence")

    # A request that the server cancelled ends without drawing and keys, and a message explains.
    server.refuse(requested(server), -32802, "cancelled")
    until(lambda: "the language server dropped the request: ask again." in vim.screen, "the sentence")
    assert "Writing" not in vim.screen
    assert not mapped(vim, "<Tab>")


@pytest.mark.parametrize(
    ("breaks", "text", "columns"), [(False, "", 100), (None, "", 70), (True, ", breaks the syntax", 100)]
)
def test_keys_of_an_edit(server: LanguageServerInNeovim, breaks: bool | None, text: str, columns: int) -> None:
    """A hunk says that it breaks the syntax; the keys are on the same line or, if narrow, below."""
    server.vim.api.ui_try_resize(columns, 30)
    vim = shown(server, {"reason": None, "hunks": [hunk(0, ["a = 1"], ["a = 10"], breaks)]})
    gap = "  " if columns == 100 else "\n  "
    keys = "take <Tab>, leave <M-x>, all <M-a>, again <M-r>, cancel <Esc>"
    assert f"» 1 of 1{text}{gap}{keys}"[:columns] in vim.screen


BROKEN = "The answer does not parse: it brings a syntax error into the file."


def test_an_edit_that_does_not_parse(server: LanguageServerInNeovim) -> None:
    """A sentence says so, and the key for all hunks leaves the hunks that break the syntax."""
    broken = hunk(0, ["a = 1"], ["a = ("], True)
    edit = {"reason": None, "note": BROKEN, "hunks": [broken, *EDIT_HUNKS[1:]]}
    vim = shown(server, edit)
    until(lambda: BROKEN in vim.screen, "the sentence")
    vim.keys("<M-a>")
    vim.until_text(ALL_TAKEN.replace("a = 10", "a = 1"))
    until(lambda: "2 changes applied. Left because of the syntax: 1." in vim.screen, "the count")
    vim.keys("u")
    shown(server, edit | {"hunks": [broken]})
    vim.keys("<M-a>")
    until(lambda: "nothing was applied. Left because of the syntax: 1." in vim.screen, "the count")
    shown(server, edit)
    vim.keys("<Tab><M-x><M-x>")
    vim.until_text(LETTERS.replace("a = 1", "a = ("))


def test_edits_above_the_first_line(server: LanguageServerInNeovim) -> None:
    """Edits above the buffer's first line are seen in all windows, and vanish without a gap."""
    vim = server.vim
    vim.api.command("split")
    shown(server, {"reason": None, "hunks": [hunk(0, [], ["import a", "import b"])]})
    assert vim.screen.startswith("import a\nimport b\n» 1 of 1")
    assert vim.screen.count("import a") == 2
    vim.keys("<Esc>")
    until(lambda: "import" not in vim.screen, "the end of the drawing")
    assert vim.screen.startswith("a = 1")
    assert not mapped(vim, "<Tab>")

    vim.keys("Gx")
    here = {"line": 0, "character": 0}
    edit = {"id": "one", "range": {"start": here, "end": here}, "text": "import a\n", "probability": 0.75}
    vim.keys("gg")
    server.answer(server.request("pellucid/nextEdits"), {"edits": [edit]})
    until(lambda: "import a  75 %" in vim.screen, "the next edit")


def test_a_ready_made_instruction(server: LanguageServerInNeovim) -> None:
    """A code action's command shows hunks with the usual keys, and the server changes no text."""
    vim = server.vim
    vim.keys("ggVj")
    until(lambda: vim.mode == "V", "a selection")
    run_command(vim, "pellucid.instruct", 0, 3, "Write a docstring.")
    request = server.request("pellucid/edit")
    assert request["params"]["instruction"] == "Write a docstring."
    assert [request["params"]["range"][end]["line"] for end in ("start", "end")] == [0, 3]
    assert "Write a docstring.  Writing… <Esc> cancels." in vim.screen
    server.answer(request, EDIT)
    until(lambda: "» 1 of 3" in vim.screen, "the first hunk")
    vim.keys("<M-a>")
    vim.until_text(ALL_TAKEN)


def test_an_unchanged_edit_is_asked_for_again(server: LanguageServerInNeovim) -> None:
    """After an unchanged answer, a key retries with a new seed until the text changes."""
    vim = server.vim
    vim.api.ui_try_resize(160, 30)
    request = requested(server)
    for seed in (1, 2):
        server.answer(request, UNCHANGED)
        until(lambda: "or try another seed. <M-r> asks again." in vim.screen, "the sentence")
        assert not mapped(vim, "<Esc>")
        vim.keys("<M-r>")
        request = server.request("pellucid/edit")
        assert request["params"]["seed"] == seed
    server.answer(request, UNCHANGED)
    vim.keys("Gx")
    until(lambda: not mapped(vim, "<M-r>"), "the end of the mapping")


@pytest.mark.parametrize("hunks_shown", [False, True])
def test_an_edit_when_the_language_server_ends(server: LanguageServerInNeovim, hunks_shown: bool) -> None:
    """When the language server dies, the edit is removed and the user's keys are restored."""
    vim = server.vim
    vim.api.ui_try_resize(400, 30)
    if hunks_shown:
        shown(server)
    else:
        requested(server)
    assert mapped(vim, "<Esc>")
    server.end()
    until(lambda: not mapped(vim, "<Esc>"), "the end of the mapping")
    assert "Writing" not in vim.screen
    assert "of 3" not in vim.screen


@pytest.mark.parametrize("level", [2, 3, 4])
def test_a_long_sentence_is_in_the_list_of_messages(bare: Neovim, level: int) -> None:
    """A sentence longer than the screen is shortened without a prompt, and whole in :messages."""
    bare.api.command("messages clear")
    sentence = "don't stop | here: " + "word " * 40 + "and the remedy."
    bare.lua(
        "local sentence, level = ...; vim.schedule(function() require('pellucid.client').say(sentence, level) end)",
        sentence,
        level,
    )
    until(lambda: f"Pellucid: {sentence}" in messages(bare), "the sentence")
    assert bare.screen.splitlines()[-1].startswith("Pellucid: don't stop | here: word")
    assert bare.screen.splitlines()[-1].endswith("…")
    assert bare.lua("return vim.api.nvim_get_mode()") == {"mode": "n", "blocking": False}


TILL = """from shop import total


def receipt(order):
    return f"Sum: {total(order.items)}"
"""


def test_places_in_other_files(vim: Neovim, assistant: ScriptedAssistant, model_server: LiveServer) -> None:
    """The key opens an edit's file; a message explains a missing edit or a missing file."""
    say(assistant, "x")
    vim.setup(model_server.url, settings=EAGER)
    sentence = "no edit is suggested here or in other files."
    till, gone = vim.home / "till.py", vim.home / "gone.py"
    till.write_text(TILL)
    gone.write_text("from file3 import mean\n")  # The third file below.
    vim.edit("x = 1\n")
    vim.keys("A1<Esc>:Pellucid edit<CR>")
    until(lambda: sentence in vim.screen, "a message")
    vim.keys(":mode<CR>")
    until(lambda: sentence not in vim.screen, "an empty screen")
    vim.keys(":Pellucid edits<CR>")
    until(lambda: sentence in vim.screen, "a message")

    # The file has places above and below line 3.
    shop = vim.edit("# The sum of all prices.\n\ndef total(items):\n    return sum(items)\n")
    vim.keys("3Gwcwamount_due<Esc>:w<CR>")
    named = until(
        lambda: re.search(r"def amount_due\(items\): +→ \S*till\.py:(\d) .*amount_due.* \d+ %", vim.screen), "a place"
    )
    assert named is not None
    vim.keys("j")
    until(lambda: re.search(r"return sum\(items\) +→ \S*till\.py", vim.screen), "the place at the cursor's line")

    vim.keys("<M-n>")
    until(lambda: vim.api.current.buffer.name == str(till), "the other file")
    until(lambda: re.search("amount_due.* %", vim.screen), "the edit")
    vim.keys("<M-n>")
    line = int(named[1]) - 1
    until(lambda: "amount_due" in vim.text.split("\n")[line], "the edit made at the place that was named")

    vim.keys("<C-o>")
    until(lambda: vim.api.current.buffer.name == str(shop), "the first file")
    vim.keys(":Pellucid edits<CR>")
    until(lambda: vim.api.current.buffer.options["buftype"] == "quickfix", "the location list")
    assert "till.py" in vim.text

    shop = vim.edit("def mean(items):\n    return sum(items)\n")
    vim.keys("ggwcwaverage<Esc>")
    until(lambda: "gone.py:" in vim.screen, "a place")
    gone.unlink()
    vim.keys("<M-n>")
    until(lambda: "gone.py no longer exists." in vim.screen, "the sentence")
    assert vim.api.current.buffer.name == str(shop)


CHEAPEST = '''\
def cheapest(items):
    """Return the cheapest item."""
    best = items[0]
    for item in items[1:]:
        if item.price < best.price:
            best = items
    return best
'''


@pytest.mark.model
def test_surprising_code(real: Neovim) -> None:
    """:Pellucid surprise marks a wrong name, "off" clears the mark, and a code action fixes it."""
    real.edit(CHEAPEST)
    real.keys(":Pellucid surprise<CR>")
    until(lambda: real.lua("return #vim.diagnostic.get(0)") == 1, "a mark", seconds=120)
    line, column, message = real.lua("local one = vim.diagnostic.get(0)[1]; return { one.lnum, one.col, one.message }")
    assert (line, column) == (5, len("            best = "))
    assert message.startswith("item fits better than items")
    real.keys(":Pellucid surprise off<CR>")
    until(lambda: real.lua("return #vim.diagnostic.get(0)") == 0, "no mark")
    real.keys(":Pellucid surprise on<CR>")
    until(lambda: real.lua("return #vim.diagnostic.get(0)") == 1, "a mark", seconds=120)
    real.api.current.window.cursor = (line + 1, column)
    title = "vim.startswith(action.title, 'Replace `items` with `item` (p ')"
    real.lua(f"vim.lsp.buf.code_action({{ apply = true, filter = function(action) return {title} end }})")
    until(lambda: real.text == CHEAPEST.rstrip("\n").replace("best = items\n", "best = item\n"), "the right name")
    until(lambda: real.lua("return #vim.diagnostic.get(0)") == 0, "no mark")


@pytest.mark.parametrize(
    ("subcommand", "arguments", "sentence"),
    [
        ("explain", ["edits"], "it takes edits, or nothing"),
        ("surprise", ["diff", "off", "on"], "it takes on, off or diff"),
    ],
)
def test_arguments(bare: Neovim, subcommand: str, arguments: list[str], sentence: str) -> None:
    """Valid arguments are completed, and an invalid argument is refused with the valid ones."""
    complete = "return require('pellucid.command').complete(...)"
    assert bare.lua(complete, "", f"Pellucid {subcommand} ") == arguments
    assert bare.lua(complete, subcommand[:2], f"Pellucid {subcommand[:2]}") == [subcommand]
    bare.keys(f":Pellucid {subcommand} never<CR>")
    until(lambda: sentence in bare.screen, "the sentence")


@pytest.mark.parametrize(("encoding", "units"), [("utf-8", 4), ("utf-16", 2), ("utf-32", 1)])
def test_positions(bare: Neovim, encoding: str, units: int) -> None:
    """The protocol's characters and Neovim's bytes are converted in each encoding, to the end."""
    byte = "return require('pellucid.positions').byte(...)"
    assert [bare.lua(byte, "🙂x", character, encoding) for character in (0, units, units + 1, 99)] == [0, 4, 5, 5]
    character = "return require('pellucid.positions').character(...)"
    assert [bare.lua(character, "🙂x", at, encoding) for at in (0, 4, 5)] == [0, units, units + 1]


def test_an_entropy_that_is_not_exact(bare: Neovim) -> None:
    """The window shows an inexact entropy as a range, and no text for an unknown entropy."""
    shown = "return require('pellucid.tokens').entropy(vim.json.decode(...))"
    tokens = ['{"entropy": 1.0}', '{"entropy": null, "entropy_range": [1.0, 1.5]}', '{"entropy": null}']
    assert [bare.lua(shown, token) for token in tokens] == ["1.44 bits", "1.44 to 2.16 bits", ""]


def draw(vim: Neovim, line: str, column: int, rest: str, tail: str, sure: int) -> None:
    vim.api.current.buffer[:] = [line]
    where = {"buf": vim.api.current.buffer.number, "row": 0, "col": column}
    vim.lua("require('pellucid.ghost').draw(...)", {"tail": tail, "right": line[column:]}, where, rest, sure)


@pytest.mark.parametrize(
    ("line", "column", "rest", "tail", "shown"),
    [
        ("f(", 2, "a, b)", "", "f(a, b)"),
        ("f()", 2, "a, b)", ")", "f(a, b)"),
        ('f("")', 3, 'a", "b")', '")', 'f("a", "b")'),
        ("f()", 2, "a\n  b", "", "f(a\n  b)"),
        ("x = yz", 4, "long()", "yz", "x = long()"),
        ("\tx", 2, "\ty", "", "        x       y"),
    ],
)
def test_drawing(bare: Neovim, line: str, column: int, rest: str, tail: str, shown: str) -> None:
    """A line is drawn as after acceptance of the suggestion, whatever text follows the cursor."""
    for sure in range(len(rest) + 1):
        draw(bare, line, column, rest, tail, sure)
        assert bare.screen.split("\n~")[0] == shown


@pytest.mark.parametrize(
    ("line", "rest", "tail", "sure", "expected"),
    [
        ("f(", "a, b)", "", 1, ", b)"),
        ("f(", "a, b)", "", 0, "a, b)"),
        ("f(", "a, b)", "", 5, ""),
        ("f()", "a, b)", ")", 1, ", b"),
        ("f()", "a\n  b", "", 3, " b"),
        ("f()", "a\n  b\nc", "", 1, "  b\nc"),
    ],
)
def test_the_doubtful_rest_is_fainter(bare: Neovim, line: str, rest: str, tail: str, sure: int, expected: str) -> None:
    """Exactly the text after the sure bytes has the highlight group of doubtful text."""
    draw(bare, line, 2, rest, tail, sure)
    assert faint(bare) == expected


def faint(vim: Neovim) -> str:
    """Return the ghost text drawn as doubtful, with lines joined by line ends."""
    marks = vim.lua(
        """
        local id = vim.api.nvim_get_namespaces()["pellucid.ghost"]
        return vim.api.nvim_buf_get_extmarks(0, id, 0, -1, { details = true })
        """
    )
    rows = [row for *_, mark in marks for row in (mark["virt_text"], *mark.get("virt_lines", []))]
    return "\n".join("".join(chunk[0] for chunk in row if chunk[1] == "PellucidDoubtful") for row in rows).strip("\n")
