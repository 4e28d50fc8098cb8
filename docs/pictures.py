"""Makes the pictures of the documentation from the page in Chromium and the plugin in Neovim.

Needs Chromium, Neovim, tmux and the default model. Run ``python docs/pictures.py`` in the root of
the project; the pictures are written to ``docs/pictures/``.
"""

from __future__ import annotations

import html
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from pellucid.config import load_settings

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "pictures"
MODEL = "qwen2.5-coder-0.5b-instruct"
SCHEMES = ("light", "dark")
SECONDS = 120.0
"""Time limit in seconds for loading the model, or for an answer."""

QUESTION = "Which three cities of Italy should I see, and why? Two sentences."
CODE = """\
def mean(numbers):
    return sum(numbers) / len(numbers)


def median(numbers):
    ordered = sorted(numbers)
"""
SHORTEN = 2
"""The selected token of the suggestion in Neovim's window."""

RENAMED = """\
def total(items):
    return sum(item.price * item.count for item in items)


def invoice(customer, items):
    print(f"{customer.name}: {total(items):.2f}")


def discount(items, share):
    return total(items) * share
"""
SHOP = """\
def total(items):
    return sum(item.price for item in items)
"""
TILL = """\
from shop import total


def receipt(order):
    return f"{order.name}: {total(order.items)}"
"""
ODD = """\
def best(items, score):
    best, highest = None, float("-inf")
    for item in items:
        value = score(item)
        if value > highest:
            best, highest = items, value
    return best
"""
INSTRUCTION = "Raise ValueError if there are no numbers."

COLUMNS, LINES, FEW_LINES, VERY_FEW_LINES = 92, 30, 16, 7
"""The size of the terminal, with fewer lines if nothing is below the code."""


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address, sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for scheme in SCHEMES:
            picture_page(browser, address, scheme)
            for picture in (
                picture_suggestion,
                picture_next_edit,
                picture_next_file,
                picture_surprise,
                picture_instruction,
            ):
                picture(browser, address, scheme, Path(folder) / scheme / picture.__name__)
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address of a server with the default model and separate conversations."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    own = {
        "PELLUCID_DATA": str(folder / "data"),
        "PELLUCID_CACHE": str(load_settings().cache),
        "PELLUCID_PREFIX_MEMORY": "0",
    }
    command = [sys.executable, "-m", "pellucid", "serve", "--port", str(port), "--model", MODEL]
    with subprocess.Popen(command, env=os.environ | own) as server:
        wait(lambda: is_ready(address, server), "the server")
        try:
            yield address
        finally:
            server.send_signal(signal.SIGTERM)


def is_ready(address: str, server: subprocess.Popen[bytes]) -> bool:
    """Return whether the server has loaded its model and its page.

    Raises RuntimeError if the server has ended.
    """
    if server.poll() is not None:
        raise RuntimeError("The server ended; its own message is above.")
    try:
        return httpx.get(f"{address}/health").is_success and "gradio" in httpx.get(address).text
    except httpx.TransportError:
        return False


def wait(look: Callable[[], T], name: str) -> T:
    """Return the first true result of ``look``. Raises TimeoutError."""
    late = time.monotonic() + SECONDS
    while not (found := look()):
        if time.monotonic() > late:
            raise TimeoutError(f"{name} did not appear in {SECONDS:g} s")
        time.sleep(0.05)
    return found


def picture_page(browser: Browser, address: str, scheme: str) -> None:
    """Picture a chat answer with underlined unsure words, and the inspector with an unsure word."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 720},
        color_scheme="dark" if scheme == "dark" else "light",
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address)
    message = page.get_by_role("textbox", name="Your message")
    message.wait_for()
    settings = page.get_by_role("button", name="Model & settings")
    settings.click()
    set_number(page, "Temperature", 0)
    settings.click()
    message.fill(QUESTION)
    message.press("Enter")
    page.locator(".pl-assistant[aria-busy=false] .pl-body[data-tokens]").wait_for()  # Earlier, no unsure words exist.
    message.blur()  # In the text field, "n" is a letter.
    page.mouse.move(1, 1)  # Nothing is under the pointer.
    page.keyboard.press("n")
    page.locator(".pl-docked .pl-numbers").wait_for()
    save(page, f"page-{scheme}")
    context.close()


def set_number(page: Page, label: str, value: int) -> None:
    field = page.get_by_label(label, exact=True).or_(page.get_by_label(f"number input for {label}", exact=True)).first
    field.fill(str(value))
    field.press("Tab")


class Neovim:
    def __init__(self, address: str, scheme: str, home: Path, file: str, text: str, lines: int = FEW_LINES) -> None:
        self._scheme = scheme
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(text, encoding="utf-8")
        (home / "init.lua").write_text(
            f"""
            vim.opt.runtimepath:append({str(ROOT / "editors" / "nvim")!r})
            vim.opt.termguicolors = true
            vim.opt.background = {scheme!r}
            vim.opt.number = true
            vim.opt.swapfile = false
            vim.opt.showmode = false
            vim.opt.ruler = false
            require("pellucid").setup({{
              cmd = {{ {sys.executable!r}, "-m", "pellucid", "lsp" }},
              settings = {{ server = {{ url = {address!r}, start = false }}, completion = {{ level = "eager", \
budgetMs = 0 }} }},
            }})
            """,
            encoding="utf-8",
        )
        homes = [
            f"{name}={home}"
            for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
        ]
        command = shlex.join(
            ["env", *homes, "nvim", "--clean", "-u", "init.lua", "--listen", str(home / "nvim.sock"), file]
        )
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(lines), command)
        self.wait("require('pellucid.client').attached(0)", "the language server")

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self._home / "tmux"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=self._home).stdout

    def keys(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def wait(self, lua: str, name: str) -> None:
        """Wait until an expression in Lua is true. Raises TimeoutError."""
        asked = [
            "nvim",
            "--server",
            str(self._home / "nvim.sock"),
            "--remote-expr",
            f"luaeval({f'({lua}) and 1 or 0'!r})",
        ]
        wait(
            lambda: (
                subprocess.run(asked, capture_output=True, text=True, check=False, cwd=self._home).stdout.strip() == "1"
            ),
            name,
        )

    def save(self, browser: Browser, name: str) -> None:
        """Save a picture of the screen, and end Neovim."""
        time.sleep(1.0)  # The screen is drawn after the state changes.
        screen = self.tmux("capture-pane", "-e", "-p")
        self.tmux("kill-server")
        context = browser.new_context(viewport={"width": 1160, "height": 800}, device_scale_factor=1.25)
        page = context.new_page()
        page.set_content(terminal(screen, self._scheme))
        save(page, f"{name}-{self._scheme}", ".terminal")
        context.close()


def picture_suggestion(browser: Browser, address: str, scheme: str, home: Path) -> None:
    """Picture ghost text in Neovim, and the window with the tokens."""
    editor = Neovim(address, scheme, home, "statistics.py", CODE, LINES)
    editor.keys("G", "o")
    editor.type("middle = len(ordered) // 2")
    editor.keys("Enter")
    editor.wait("require('pellucid.current_suggestion').shown", "ghost text")
    editor.keys("M-t")
    wait(lambda: "rank" in editor.tmux("capture-pane", "-p"), "the window with the tokens")
    for _ in range(SHORTEN):
        editor.keys("Down")
    editor.save(browser, "nvim")


def picture_next_edit(browser: Browser, address: str, scheme: str, home: Path) -> None:
    """Picture the next edits after the renaming of a function."""
    editor = Neovim(address, scheme, home, "shop.py", RENAMED)
    editor.type(":1s/total/net_total/")
    editor.keys("Enter")
    editor.wait("require('pellucid.next_edits').shown", "the next edits")
    editor.save(browser, "next-edits")


def picture_next_file(browser: Browser, address: str, scheme: str, home: Path) -> None:
    """Picture the next edit in a different file."""
    home.mkdir(parents=True)
    (home / "till.py").write_text(TILL, encoding="utf-8")
    editor = Neovim(address, scheme, home, "shop.py", SHOP, VERY_FEW_LINES)
    editor.type(":1s/total/amount_due/")
    editor.keys("Enter")
    editor.wait("require('pellucid.next_edits').shown", "the place in the other file")
    editor.save(browser, "next-edit-elsewhere")


def picture_surprise(browser: Browser, address: str, scheme: str, home: Path) -> None:
    """Picture the mark of a bug."""
    editor = Neovim(address, scheme, home, "search.py", ODD)
    editor.type(":Pellucid surprise")
    editor.keys("Enter")
    editor.wait("#vim.diagnostic.get(0) > 0", "a mark")
    editor.type("6G:lua vim.diagnostic.open_float()")
    editor.keys("Enter")
    editor.save(browser, "surprise")


def picture_instruction(browser: Browser, address: str, scheme: str, home: Path) -> None:
    """Picture the changes of an instruction before acceptance."""
    editor = Neovim(address, scheme, home, "statistics.py", f"{CODE}    return ordered[len(ordered) // 2]\n")
    editor.type(f":1,$Pellucid instruct {INSTRUCTION}")
    editor.keys("Enter")
    editor.wait("(require('pellucid.instruct').shown or {}).hunks", "the changes")
    editor.save(browser, "instruction")


COLOUR = re.compile(r"\x1b\[([0-9;:]*)m")


BLOCKS = re.compile("█+")


def solid(blocks: re.Match[str]) -> str:
    """Return full blocks as a filled area: as characters they have seams."""
    return f'<span style="background:currentColor">{" " * len(blocks[0])}</span>'


def terminal(screen: str, scheme: str) -> str:
    """Return a web page that shows a screen with its colours.

    Codes except for 24-bit colours, bold and lines are ignored.
    """
    paper, ink = ("#14161b", "#e0e2ea") if scheme == "dark" else ("#e0e2ea", "#14161b")
    style: dict[str, str] = {}
    parts = []
    for number, text in enumerate(COLOUR.split(screen)):
        if number % 2:
            style = restyled(style, [int(code or 0) for code in re.split("[;:]", text)])
            continue
        colours = ("background", "color")
        shown = style | (
            {colours[0]: style.get("color", ink), colours[1]: style.get("background", paper)}
            if "reverse" in style
            else {}
        )
        rules = ";".join(f"{name}:{value}" for name, value in shown.items() if name != "reverse")
        parts.append(f'<span style="{rules}">{BLOCKS.sub(solid, html.escape(text))}</span>')
    return (
        f"<style>body{{margin:0}} .terminal{{display:inline-block;margin:0;padding:12px;background:{paper};color:{ink};"
        f"font:15px/18px 'DejaVu Sans Mono',monospace}} span{{padding:1px 0}}</style><pre "
        f"class=terminal>{''.join(parts)}</pre>"
    )


def restyled(style: dict[str, str], codes: list[int]) -> dict[str, str]:
    """Return the style after an SGR sequence."""
    style = dict(style)
    position = 0
    while position < len(codes):
        code = codes[position]
        position += 1
        if code in (38, 48) and codes[position : position + 1] == [2]:
            rgb = codes[position + 1 : position + 4]
            style["color" if code == 38 else "background"] = "#{:02x}{:02x}{:02x}".format(*rgb)
            position += 4
        elif code == 0:
            style = {}
        elif code in (1, 4, 7, 9, 39, 49):
            lines = {4: ("text-decoration", "underline"), 9: ("text-decoration", "line-through")}
            names = {1: ("font-weight", "bold"), 7: ("reverse", "1"), **lines}
            if code in names:
                style |= [names[code]]
            else:
                style.pop("color" if code == 39 else "background", None)
        elif code in (22, 24, 27, 29):
            style.pop({22: "font-weight", 24: "text-decoration", 27: "reverse", 29: "text-decoration"}[code], None)
    return style


def save(page: Page, name: str, selector: str | None = None) -> None:
    """Save a picture of the page, or of an element, with 256 colours."""
    path = FOLDER / f"{name}.png"
    if selector is None:
        page.screenshot(path=path)
    else:
        page.locator(selector).screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
