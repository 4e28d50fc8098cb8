"""Login to the page of a server with API keys, with a session cookie."""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pellucid.door.access_control import address_of, owner_of_key
from pellucid.door.api_keys import LOCAL, Keys
from pellucid.door.error_replies import BodyTooLargeError, MethodError, status_of
from pellucid.door.login_rate_limit import LoginRateLimit
from pellucid.door.plain_page import document
from pellucid.door.request_body import BodyReader
from pellucid.errors import TooManyAttemptsError
from pellucid_webui.hosting.login_sessions import SESSION_SECONDS, LoginSessions
from pellucid_webui.hosting.page_routes import ROUTES
from pellucid_webui.hosting.session_list_page import SESSIONS, answer_sessions
from pellucid_webui.page_threads import in_page_thread

LOGIN, LOGOUT = "/login", "/logout"
PATHS = frozenset({LOGIN, LOGOUT, SESSIONS})

MAX_FORM_BYTES = 8192


class LoginGate:
    """Authenticates requests. Without keys, every request belongs to ``local``."""

    def __init__(
        self,
        keys: Keys | None,
        sessions: LoginSessions | None,
        rate_limit: LoginRateLimit | None = None,
        bodies: BodyReader | None = None,
    ) -> None:
        assert (keys is None) == (sessions is None), "there are sessions if and only if there are keys"
        self._keys = keys
        self._sessions = sessions
        self._rate_limit = rate_limit or LoginRateLimit()
        self._bodies = bodies or BodyReader(MAX_FORM_BYTES)

    async def owner_of(self, request: Request) -> str | None:
        """Return the user of a request, or None if a login is required.

        A program such as an editor sends the key itself to the page's routes, as to the API.
        """
        if self._keys is None or self._sessions is None:
            return LOCAL
        if "authorization" in request.headers and request.scope["path"].startswith(ROUTES):
            return owner_of_key(request.headers, self._keys, self._rate_limit, address_of(request.scope))
        id = request.cookies.get(cookie_name(request))
        return None if id is None else await in_page_thread(self._sessions.owner_of, id)

    async def answer(self, request: Request) -> Response:
        """Answer at /login, /logout and /sessions; without keys, redirect."""
        if request.method not in ("GET", "HEAD", "POST"):
            raise MethodError(f"{request.scope['path']} does not support {request.method}.")
        if self._keys is None or self._sessions is None:
            return redirect_to_page()
        if request.scope["path"] == SESSIONS:
            id, owner = request.cookies.get(cookie_name(request)), await self.owner_of(request)
            if id is None or owner is None:
                return login_form()
            return await answer_sessions(request, self._sessions, owner, id)
        if request.scope["path"] == LOGOUT:
            return await self._logout(request, self._sessions) if request.method == "POST" else logout_form()
        return await self._login(request, self._keys, self._sessions) if request.method == "POST" else login_form()

    async def _login(self, request: Request, keys: Keys, sessions: LoginSessions) -> Response:
        key = await self._key_in(request)
        try:
            owner = self._rate_limit.owner_of(keys, key, address_of(request.scope))
        except TooManyAttemptsError as error:
            refused = login_form(str(error), status=status_of(error))
            refused.headers["retry-after"] = str(error.retry_after)
            return refused
        if owner is None:
            return login_form("That is not an API key of this server.", status=403)
        response = redirect_to_page()
        id = await in_page_thread(sessions.begin, owner, request.headers.get("user-agent", ""))
        _set_cookie(response, request, id, SESSION_SECONDS)
        return response

    async def _key_in(self, request: Request) -> str:
        try:
            body = await self._bodies.read(request.scope, request.receive, MAX_FORM_BYTES)
        except BodyTooLargeError:
            return ""
        fields = parse_qs(body.decode("utf-8", "replace"))
        return fields.get("key", [""])[0].strip()

    async def _logout(self, request: Request, sessions: LoginSessions) -> Response:
        id = request.cookies.get(cookie_name(request))
        if id is not None:
            await in_page_thread(sessions.end, id)
        response = redirect_to_page()
        _set_cookie(response, request, "", 0)
        return response

    def close(self) -> None:
        if self._sessions is not None:
            self._sessions.close()


def cookie_name(request: Request) -> str:
    """Return a name with the port, because servers on all ports of a host share cookies."""
    server = request.scope.get("server")
    return f"pellucid-{server[1]}" if server else "pellucid"


def login_form(problem: str = "", *, status: int = 200) -> Response:
    message = f'<p class="bad" id="problem" role="alert">{escape(problem)}</p>\n' if problem else ""
    described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    body = f"""<h1>Log in</h1>
<p>Enter an API key of this server to use the page.</p>
{message}<form method="post" action="{LOGIN}">
<input name="name" value="pellucid" autocomplete="username" hidden>
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus{described}>
<button type="submit">Log in</button>
</form>"""
    return document("Log in to Pellucid", body, status=status)


def logout_form() -> Response:
    """Ask for confirmation: following a link must not change anything."""
    body = f"""<h1>Log out</h1>
<form method="post" action="{LOGOUT}"><p><button type="submit">Log out</button></p></form>
<p><a href="{SESSIONS}">See your other sessions</a></p>
<p><a href="/">Back to the page</a></p>"""
    return document("Log out of Pellucid", body)


def redirect_to_page() -> Response:
    return RedirectResponse("/", status_code=303)


def _set_cookie(response: Response, request: Request, value: str, age: int) -> None:
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=age,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
