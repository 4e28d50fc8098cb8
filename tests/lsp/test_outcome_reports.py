"""The language server reports numbers of shown and accepted suggestions to the model server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest

from pellucid.api import app
from pellucid.api.routes import suggestions
from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.errors import NotFoundError, UnavailableError
from pellucid.vocabulary.query import MAX_OUTCOMES
from pellucid_lsp.model_server import outcome_reports
from pellucid_lsp.model_server.outcome_reports import OutcomeReports
from support.editors.lsp_client import LIMIT_SECONDS, URI, Connect, id_of, until
from support.servers.http_servers import TINY, LiveServer, ScriptedAssistant, live, scripted_state, spoken

TEXT = "def add(a, b):\n    ret\n"


@dataclass
class Reported:
    """A client that records reports, and first raises a list of errors."""

    errors: list[Exception] = field(default_factory=list)
    reports: list[tuple[str, int, int, str]] = field(default_factory=list)

    async def report_outcomes(self, model: str, *, shown: int, accepted: int, id: str) -> None:
        self.reports.append((model, shown, accepted, id))
        if self.errors:
            raise self.errors.pop(0)

    @property
    def client(self) -> Client:
        return cast("Client", self)

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        return [(model, shown, accepted) for model, shown, accepted, _ in self.reports]


def counted(state: ServerState) -> tuple[float | None, float | None]:
    """Return the server's counts of shown and of accepted suggestions."""
    names = (f"pellucid_suggestions_{name}_total" for name in ("shown", "accepted"))
    shown, accepted = (state.metrics.registry.get_sample_value(name, {"model": TINY}) for name in names)
    return shown, accepted


@dataclass
class Link:
    """A launcher that is connected to a client or to none, and a switch that is on."""

    connected: Client | None = None
    is_on: bool = True

    @property
    def reports(self) -> OutcomeReports:
        return OutcomeReports(cast("Any", self), cast("Any", self))


def noted(link: Link) -> OutcomeReports:
    """Return reports with a single suggestion, shown and accepted."""
    reports = link.reports
    reports.note(TINY, shown=1)
    reports.note(TINY, accepted=1)
    return reports


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for replies on a slow machine, too."""
    monkeypatch.setattr(outcome_reports, "REPLY_SECONDS", LIMIT_SECONDS)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_reports, "PAUSE_SECONDS", 0.0)


async def test_one_report_for_many_suggestions(no_pause: None) -> None:
    """Suggestions before a report are sent together, by model, and once."""
    to = Reported()
    reports = noted(Link(to.client))
    reports.note("other", shown=1)
    reports.note(TINY, shown=2)
    await until(lambda: len(to.reports) == 2)
    await reports.flush()

    assert sorted(to.counts) == [("other", 1, 0), (TINY, 3, 1)]


async def test_later_suggestions_are_reported(no_pause: None) -> None:
    """After a report, the next suggestion causes a new report."""
    to = Reported()
    reports = noted(Link(to.client))
    await until(lambda: len(to.reports) == 1)
    reports.note(TINY, accepted=1)
    await until(lambda: len(to.reports) == 2)
    await reports.flush()

    assert to.counts == [(TINY, 1, 1), (TINY, 0, 1)]


async def test_a_report_that_fails(no_pause: None) -> None:
    """A failed report is repeated, with the same id, only after the next suggestion."""
    to = Reported([UnavailableError("Away."), UnavailableError("Away.")])
    reports = noted(Link(to.client))
    await until(lambda: len(to.reports) == 1)
    for _ in range(3):  # A task without a pause would repeat the report in these steps.
        await asyncio.sleep(0)
    assert len(to.reports) == 1
    assert not await reports.report(to.client)
    reports.note(TINY, shown=1)
    await until(lambda: len(to.reports) == 4)
    await reports.flush()

    assert to.counts == [(TINY, 1, 1)] * 3 + [(TINY, 1, 0)]
    assert len({id for *_, id in to.reports[:3]}) == 1
    assert to.reports[3][3] != to.reports[2][3]


async def test_without_a_server(no_pause: None) -> None:
    """Without a connected server, counts are kept until the final report."""
    link, to = Link(), Reported()
    reports = noted(link)
    for _ in range(9):  # The task ends in these steps.
        await asyncio.sleep(0)
    link.connected = to.client
    await reports.flush()

    assert to.counts == [(TINY, 1, 1)]


async def test_switched_off(no_pause: None) -> None:
    """While suggestions are off, nothing is reported, and counts are kept."""
    to = Reported()
    link = Link(to.client, is_on=False)
    reports = noted(link)
    await reports.flush()
    assert to.counts == []
    link.is_on = True
    await reports.flush()

    assert to.counts == [(TINY, 1, 1)]


async def test_an_older_server() -> None:
    """A server without the route is asked once, and later counts go to the next server."""
    older, newer = Reported([NotFoundError("Not found.")]), Reported()
    reports = noted(Link(newer.client))
    reports.note("other", shown=1)

    assert await reports.report(older.client)
    reports.note(TINY, shown=4)
    assert await reports.report(older.client)
    assert len(older.reports) == 1
    reports.note(TINY, shown=2)
    await reports.flush()

    assert newer.counts == [(TINY, 2, 0)]


async def test_more_than_a_report_holds() -> None:
    """Numbers above the route's maximum are sent in several reports."""
    to = Reported()
    reports = Link(to.client).reports
    reports.note(TINY, shown=2 * MAX_OUTCOMES + 1, accepted=MAX_OUTCOMES + 2)
    await reports.flush()

    assert to.counts == [(TINY, MAX_OUTCOMES, MAX_OUTCOMES), (TINY, MAX_OUTCOMES, 2), (TINY, 1, 0)]


async def test_a_server_that_does_not_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a session does not wait for a silent server."""

    class Silent(Reported):
        async def report_outcomes(self, model: str, *, shown: int, accepted: int, id: str) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(outcome_reports, "REPLY_SECONDS", 0.0)
    async with asyncio.timeout(60):
        await noted(Link(Silent().client)).flush()


class LosesReplies(httpx.AsyncHTTPTransport):
    """Delivers requests, and loses the first reply."""

    lost = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if self.lost:
            return response
        await response.aread()
        self.lost = True
        raise httpx.ReadError("reset")


async def test_a_reply_that_is_lost() -> None:
    """A report with a lost reply counts once."""
    state = scripted_state()
    with live(state) as server:
        async with Client(server.url, transport=LosesReplies()) as client:
            reports = noted(Link())
            assert not await reports.report(client)
            assert counted(state) == (1, 1)
            assert await reports.report(client)
            await reports.flush()

    assert counted(state) == (1, 1)


async def test_a_server_that_was_restarted() -> None:
    """After a server's exit, the successor receives only the missing report, and once."""
    former, successor = scripted_state(), scripted_state()
    link = Link()
    reports = noted(link)
    with live(former) as server:
        async with Client(server.url) as client:
            assert await reports.report(client)
    reports.note(TINY, shown=2)
    async with Client(server.url) as client:
        assert not await reports.report(client)
    with live(successor) as server:
        async with Client(server.url) as client:
            assert await reports.report(client)
            link.connected = client
            await reports.flush()

    assert (counted(former), counted(successor)) == ((1, 1), (2, 0))


@pytest.fixture(autouse=True)
def sum_is_said(assistant: ScriptedAssistant) -> None:
    """Let the model server complete the function in TEXT."""
    assistant.script = [spoken(text, 4 + index) for index, text in enumerate(["urn", " a", " +", " b", "\n"])]


async def accept_one(connect: Connect, **options: object) -> None:
    """Show a suggestion, type the beginning, accept the rest in two parts, and exit the editor."""
    editor = await connect(**options, text=TEXT)
    assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    editor.insert(URI, 1, 7, "urn")
    (item,) = await editor.inline(URI, 1, 10)
    editor.notify("pellucid/didPartiallyAccept", {"id": id_of(item), "acceptedLength": 2})
    editor.insert(URI, 1, 10, " a")
    (item,) = await editor.inline(URI, 1, 12)
    await editor.command("pellucid.accepted", id_of(item))
    counts = (await editor.request("pellucid/status")).counts
    assert (counts.shown, counts.accepted) == (1, 1)
    assert editor.messages == []
    await editor.leave()


async def test_an_editor_reports(connect: Connect, model_server: LiveServer) -> None:
    """A suggestion that is typed into and accepted in parts counts once as shown and accepted."""
    await accept_one(connect)

    assert counted(model_server.state) == (1, 1)


async def test_an_editor_with_an_older_server(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, assistant: ScriptedAssistant
) -> None:
    """An editor works with a server without the route, and shows no message."""
    monkeypatch.delitem(app.ROUTES, suggestions.__name__)
    state = scripted_state(assistant)
    with live(state) as server:
        await accept_one(connect, server={"url": server.url})

    assert (
        state.metrics.registry.get_sample_value("pellucid_requests_total", {"route": "unknown", "status": "404"}) == 1
    )
    assert counted(state) == (0, 0)


async def test_nothing_is_reported_while_suggestions_are_off(connect: Connect, model_server: LiveServer) -> None:
    """An editor that exits with suggestions switched off reports nothing."""
    editor = await connect(text=TEXT)
    assert await editor.texts(URI, 1, 7) == ["urn a + b"]
    await editor.command("pellucid.toggle")
    await editor.leave()

    assert counted(model_server.state) == (0, 0)
