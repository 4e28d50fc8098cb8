"""Tests the chat's frame for an editor, and the server's route for the frame."""

from __future__ import annotations

import re
import time
from pathlib import Path

from pellucid_webui.frame.app import module
from pellucid_webui.frame.editor_frame import frame
from pellucid_webui.hosting.gradio_host import pellucid_view
from pellucid_webui.hosting.mount import PREPARING
from support.page.small_page_server import paged


def test_the_frame_has_the_areas_of_its_modules() -> None:
    """Each area that a module of the frame draws is there, without areas of the page's tabs."""
    made = frame()
    mounted = set(re.findall(r'^mount\("([\w-]+)"', made["module"], re.MULTILINE))
    areas = set(re.findall(r'id="([\w-]+)"', made["body"]))
    assert {"pl-chat", "pl-conversation-panel", "pl-header", "pl-settings"} <= mounted & areas
    assert mounted - areas == {"pl-infill"}, "code blocks of the page go there; in an editor, they go to the editor"
    assert "gradio" not in made["body"]


def test_variables_that_gradio_gives_to_the_page() -> None:
    """Every variable of the styles has a value, except variables of Gradio's parts."""
    made = frame()
    used = set(re.findall(r"var\((--[\w-]+)\)", made["style"]))
    given = set(re.findall(r"(--[\w-]+):", made["style"]))
    by_scripts = set(re.findall(r"""["'`](--[\w-]+)["'`]""", module()))
    assert used - given - by_scripts == {"--line-sm", "--neutral-700", "--text-md"}


def test_an_editor_gets_the_frame_as_soon_as_the_page_is_ready(tmp_path: Path) -> None:
    """The first request prepares the page. Until then the reply has a status and a sentence."""
    with paged(tmp_path, pellucid_view) as server:
        replies = [server.http.post("/page/editor", json={})]
        while replies[-1].status_code == 503:
            time.sleep(0.05)
            replies.append(server.http.post("/page/editor", json={}))
    assert replies[0].json()["error"]["message"] == PREPARING.sentence
    assert replies[-1].status_code == 200
    assert "pl-editor" in replies[-1].text
