"""Provides a page of a few components in a server with scripted answers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import gradio as gr
import httpx

from pellucid.api.routes.info import about, notice_of
from pellucid.api.server_state import ServerState
from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid.door.api_keys import read_keys
from pellucid.door.plain_page import PageNotice
from pellucid.door.user_assistant import UserAssistant
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.gradio_host import GradioPage, PageFactory
from pellucid_webui.hosting.login import owner_of
from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks
from support.servers.http_servers import LiveServer, live, scripted_state

WAIT_SECONDS = 60
OWNER, ANSWER, NOTHING = 0, 1, 2
"""Indices of the handlers."""


def small_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a text box, and handlers that return the user, stream an answer, and fail."""

    async def whose(request: gr.Request) -> str:
        return owner_of(request)

    async def answer(request: gr.Request, text: str) -> AsyncIterator[str]:
        text_so_far = ""
        async for item in assistant_for(owner_of(request)).chat(ChatQuery([Message("user", text)])):
            if isinstance(item, Token):
                text_so_far += item.text
                yield text_so_far

    async def fail(text: str) -> str:
        raise RuntimeError(f"the insides of {text}")

    with gr.Blocks(title="small") as blocks:
        box = gr.Textbox("Hello")
        gr.State(0)
        gr.Button("whose").click(whose, None, box)
        gr.Button("answer").click(answer, box, box)
        gr.Button("fail").click(fail, box, box)
    return GradioPage(blocks)


def page_of(state: ServerState, data: Path, create: PageFactory = small_page) -> Page:
    """Return a page in the server with this state."""

    async def news() -> PageNotice | None:
        return notice_of(state)

    def assistants() -> AssistantFor:
        return partial(UserAssistant, cast("Assistant", state.require_ready()), state.users)

    host = ServerHooks(assistants, news, lambda: about(state), state.departing, state.closing)
    return Page(host, PageSettings(data, state.keys, state.max_body_bytes, state.login_rate_limit), create)


@dataclass
class PagedServer:
    """A server with a page, and a client with the page's origin and with cookies."""

    server: LiveServer
    page: Page
    http: httpx.Client

    @property
    def state(self) -> ServerState:
        return self.server.state

    def wait(self) -> str:
        """Return Gradio's page as soon as the page is ready."""
        for _ in range(WAIT_SECONDS * 20):
            text = self.http.get("/").text
            if "gradio_config" in text:
                return text
            time.sleep(0.05)
        raise AssertionError(text)

    def call(self, function: int, *data: object, session: str = "s1") -> list[Any]:
        """Call a handler as the browser does, and return the last result."""
        return list(list(self.events(function, *data, session=session))[-1]["output"]["data"])

    def events(self, function: int, *data: object, session: str = "s1") -> Iterator[dict[str, Any]]:
        """Call a handler, and yield all events up to the end."""
        body = {"fn_index": function, "data": list(data), "session_hash": session}
        joined = self.http.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    event = json.loads(line.removeprefix("data:"))
                    yield event
                    if event["msg"] == "process_completed":
                        return


@contextmanager
def paged(
    data: Path,
    create: PageFactory = small_page,
    keys: str | None = None,
    state: ServerState | None = None,
    proxies: Sequence[str] = (),
    **rest: Any,
) -> Iterator[PagedServer]:
    """Run a server with a page."""
    state = state or scripted_state(keys=None if keys is None else read_keys(keys), **rest)
    page = page_of(state, data, create)
    with live(state, page, proxies) as server, httpx.Client(base_url=server.url, timeout=30, trust_env=False) as http:
        http.headers["origin"] = server.url
        yield PagedServer(server, page, http)
