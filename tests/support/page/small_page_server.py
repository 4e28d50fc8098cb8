"""Provides a page of a few routes in a server with scripted answers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
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
from pellucid.door.api_keys import LOCAL, read_keys
from pellucid.door.plain_page import PageNotice
from pellucid.door.user_assistant import UserAssistant
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.gradio_host import GradioPage, PageFactory
from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks
from support.servers.http_servers import LiveServer, live, scripted_state

WAIT_SECONDS = 60


def small_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a text box, and routes that name the user, stream an answer, and fail."""

    async def whose(owner: str, _: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {"owner": owner}

    async def answer(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        text = ""
        async for item in assistant_for(owner).chat(ChatQuery([Message("user", str(asked.get("text", "")))])):
            if isinstance(item, Token):
                text += item.text
                yield {"text": text}

    async def fail(_: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {}
        raise RuntimeError(f"the insides of {asked['text']}")

    with gr.Blocks(title="small") as blocks:
        gr.Textbox("Hello")
    return GradioPage(blocks, routes={"whose": whose, "answer": answer, "fail": fail})


def page_of(state: ServerState, data: Path, create: PageFactory = small_page) -> Page:
    """Return a page in the server with this state."""

    async def news() -> PageNotice | None:
        return notice_of(state)

    def assistants() -> AssistantFor:
        return partial(UserAssistant, cast("Assistant", state.require_ready()), state.users)

    host = ServerHooks(assistants, lambda: state.loader, news, lambda: about(state), state.departing, state.closing)
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

    def call(self, route: str, **asked: object) -> dict[str, Any]:
        """Send a request to a route, and return the last event."""
        return list(self.events(route, **asked))[-1]

    def events(self, route: str, **asked: object) -> Iterator[dict[str, Any]]:
        """Send a request to a route, and yield all events up to the end."""
        with self.http.stream("POST", f"/page/{route}", json=asked) as stream:
            assert stream.status_code == 200, stream.read()
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))


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


def kept_answer(data: Path) -> tuple[str, FinishReason | None]:
    """Return the text and the end of the only kept answer."""
    store = ConversationStore(data / "conversations.db")
    (summary,) = store.list(LOCAL)
    (node,) = store.conversation(LOCAL, summary.id).nodes.values()
    store.close()
    return node.text, node.end
