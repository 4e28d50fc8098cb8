"""The page of a user's login sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pellucid.door.plain_page import document
from pellucid_webui.hosting.login_sessions import LoginSession, LoginSessions
from pellucid_webui.page_threads import in_page_thread

SESSIONS = "/sessions"

OTHERS = "others"
"""Stands for all sessions except the request's session."""

BROWSERS = {"Edg/": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "macOS",
    "Linux": "Linux",
}


async def answer_sessions(request: Request, sessions: LoginSessions, owner: str, id: str) -> Response:
    """Show an owner's sessions, or end sessions named by a POST."""
    if request.method != "POST":
        return listing(owner, await in_page_thread(sessions.open_sessions, owner, id))
    named = request.query_params.get("end", "")
    if named == OTHERS:
        await in_page_thread(sessions.end_others, owner, id)
    else:
        await in_page_thread(sessions.end_one, owner, named)
    return RedirectResponse(SESSIONS, status_code=303)


def listing(owner: str, found: list[LoginSession]) -> Response:
    rows = "\n".join(_row(number, session) for number, session in enumerate(found))
    others = ""
    if len(found) > 1:
        button = '<p><button type="submit">End all other sessions</button></p>'
        others = f'<form method="post" action="{SESSIONS}?end={OTHERS}">{button}</form>\n'
    body = f"""<h1>Sessions</h1>
<p>These browsers are logged in with the key of <strong>{escape(owner)}</strong>. After a session is ended, \
its browser needs the key
again. To lock out a person who knows the key, restart the server with a different one.</p>
<ul>
{rows}
</ul>
{others}<p><a href="/">Back to the page</a></p>"""
    return document("Sessions of Pellucid", body)


def browser_name(agent: str) -> str:
    browser = next((name for part, name in BROWSERS.items() if part in agent), "Unknown browser")
    system = next((name for part, name in SYSTEMS.items() if part in agent), "")
    return f"{browser} on {system}" if system else browser


def _row(number: int, session: LoginSession) -> str:
    times = f"since {_time(session.begun)}, until {_time(session.expires)}"
    about = f'<span id="s{number}">{escape(browser_name(session.agent))}, {times}</span>'
    if session.is_this:
        return f'<li>{about}: <strong>this session</strong>. <a href="/logout">Log out</a></li>'
    button = f'<button type="submit" aria-describedby="s{number}">End this session</button>'
    return f'<li>{about} <form method="post" action="{SESSIONS}?end={session.digest}">{button}</form></li>'


def _time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%Y-%m-%d %H:%M} UTC</time>'
