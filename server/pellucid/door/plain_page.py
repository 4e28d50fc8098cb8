"""Plain HTML pages at /, before the real page is ready or on a server without the page."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape

from starlette.responses import HTMLResponse

from pellucid.system.atomic_files import human
from pellucid.system.progress import Work

STYLE = """
:root {
  color-scheme: light dark;
  --text: #1f2937; --quiet: #4b5563; --paper: #ffffff; --line: #6b7280; --rule: #e2e8f0;
  --act: #1d4ed8; --on-act: #ffffff; --bad: #b91c1c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #f3f4f6; --quiet: #c3c9d2; --paper: #0b0f19; --line: #9ca3af; --rule: #334155;
    --act: #93c5fd; --on-act: #0b0f19; --bad: #fca5a5;
  }
}
body { margin: 0; background: var(--paper); color: var(--text); font: 1rem/1.6 system-ui, sans-serif; }
header { display: flex; align-items: center; gap: .6rem; padding: .7rem 1rem; \
border-bottom: 1px solid var(--rule); font-weight: 650; }
main { box-sizing: border-box; max-width: 42rem; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; }
a { color: var(--act); }
p, li { overflow-wrap: anywhere; }
progress { width: 100%; accent-color: var(--act); }
label { display: block; font-weight: 600; }
input { box-sizing: border-box; width: 100%; margin: .25rem 0 1rem; padding: .5rem; font: inherit; \
color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: .25rem; }
button { padding: .5rem 1rem; font: inherit; color: var(--on-act); background: var(--act); \
border: 0; border-radius: .25rem;
  cursor: pointer; }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
.quiet { color: var(--quiet); }
.bad { color: var(--bad); font-weight: 600; }
"""

MARK = (
    '<svg class="pl-mark" width="28" height="28" viewBox="0 0 32 32" aria-hidden="true" fill="none" stroke="#fff" '
    'stroke-width="3" stroke-linecap="round" stroke-linejoin="round">'
    '<rect width="32" height="32" rx="7" fill="#1d4ed8" stroke="none"/>'
    '<path d="M8 25V7M8 7h9a6 6 0 0 1 0 12H8"/><path d="M21 25v-3M25 25v-7" stroke="#93c5fd"/></svg>'
)
"""Pellucid's mark: a P, and bars as of a token's alternatives."""

SCRIPT = """
const look = async () => {
  try {
    const text = await (await fetch(location.href, { cache: "no-store" })).text();
    if (!text.includes('<div id="news"')) { location.reload(); return; }
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("news");
    const news = document.getElementById("news");
    if (news.innerHTML !== fresh.innerHTML) news.replaceChildren(...fresh.childNodes);
  } catch { /* the server may be starting or stopping: ask again */ }
  setTimeout(look, 1000);
};
setTimeout(look, 1000);
"""
"""Polls once a second, and reloads as soon as the real page is ready."""

WITHOUT_SCRIPT = '<noscript><meta http-equiv="refresh" content="3"></noscript>'


@dataclass(frozen=True, slots=True)
class PageNotice:
    """The reason, as a sentence, why the page is missing.

    ``done`` of ``total`` bytes of the current step are done, if known. A ``lasting`` reason does
    not change by itself.
    """

    sentence: str
    done: int = 0
    total: int | None = None
    lasting: bool = False


def loading_notice(sentence: str, step: Work | None) -> PageNotice:
    """Return a notice with the step of the loading; ``sentence`` is without a period."""
    if step is None:
        return PageNotice(f"{sentence}.")
    return PageNotice(f"{sentence}: {step.activity.rstrip('.')}.", max(step.done, 0), step.total)


def document(title: str, body: str, *, status: int = 200, follow: bool = False) -> HTMLResponse:
    """Return a page around safe HTML, without external resources.

    With ``follow``, the page polls until the server has a different page.
    """
    script = f"<script>{SCRIPT}</script>" if follow else ""
    text = (
        '<!doctype html>\n<html lang="en">\n'
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>{WITHOUT_SCRIPT if follow else ''}<style>{STYLE}</style></head>\n"
        f"<body><header>{MARK}<span>Pellucid</span></header><main>\n{body}\n</main>{script}</body>\n</html>\n"
    )
    return HTMLResponse(text, status, {"content-security-policy": _policy(), "cache-control": "no-store"} | GUARDS)


GUARDS = {"referrer-policy": "same-origin", "x-content-type-options": "nosniff", "x-frame-options": "DENY"}
"""Headers of all pages: other sites can neither frame a page nor learn its address."""


def plain_page(notice: PageNotice, about: str = "") -> HTMLResponse:
    bar = ""
    if notice.total:
        share = min(100, 100 * notice.done // notice.total)
        amount = f"{human(notice.done)} of {human(notice.total)}"
        bar = (
            f'<progress max="100" value="{share}" aria-label="Progress">{share} %</progress>'
            f'<p class="quiet">{amount}, {share} %</p>'
        )
    body = (
        f'<h1>Pellucid server</h1>\n<div id="news" role="status"><p>{escape(notice.sentence)}</p>{bar}</div>\n{about}'
    )
    return document("Pellucid", body, follow=not notice.lasting)


def _policy() -> str:
    """Return the content security policy, which allows only our style and script."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (STYLE, SCRIPT))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
