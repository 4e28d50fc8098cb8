"""Export of a comparison as CSV, JSON, or a self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from math import exp, isinf, log
from typing import Any

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection import token_rows
from pellucid_webui.inspection.compared_places import OWN, SAMPLED, ComparedPlaces
from pellucid_webui.inspection.comparison import REFERENCE, Comparison
from pellucid_webui.inspection.comparison_payload import about
from pellucid_webui.inspection.comparison_summary import figures, jumps, matrix, percent, sentences
from pellucid_webui.inspection.model_divergence import Bounds

COLUMNS = ("text", "column", *token_rows.COLUMNS, "probability_at_temperature_low", "probability_at_temperature_high")

SHADES = 6

_STYLE = """
:root {
  color-scheme: light dark; --ink: #1f2328; --paper: #fff; --line: #d0d7de;
  --a: #163d7a; --b: #844206; --c: #1f8571; --d: #ce06ba; --warm: 242 139 58;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8ec; --paper: #101318; --line: #343b47; --a: #4f8bff; --b: #ec6a2c; \
--c: #49f0a4; --d: #ecaae4; --warm: 150 75 17; }
}
body { max-width: 90rem; margin: 0 auto; padding: 1rem; background: var(--paper); color: var(--ink); \
font: 1rem/1.5 system-ui, sans-serif; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
article { min-width: 0; padding: 0.75rem; border: 1px solid var(--line); border-top: 4px solid; border-radius: 8px; }
.A { border-top-color: var(--a); } .B { border-top-color: var(--b); } .C { border-top-color: var(--c); } \
.D { border-top-color: var(--d); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 0.9375rem/1.8 ui-monospace, monospace; }
.apart { font-weight: 700; text-decoration: underline 2px; }
.s1 { background: rgb(var(--warm) / 15%); } .s2 { background: rgb(var(--warm) / 30%); } \
.s3 { background: rgb(var(--warm) / 45%); }
.s4 { background: rgb(var(--warm) / 60%); } .s5 { background: rgb(var(--warm) / 80%); }
table { border-collapse: collapse; } \
th, td { padding: 0.25rem 0.6rem; border: 1px solid var(--line); text-align: start; }
caption { text-align: start; font-weight: 600; } .wide { margin-block: 1rem; overflow-x: auto; }
"""


def to_json(places: ComparedPlaces, form: dict[str, Any]) -> str:
    """Write infinity and unknown numbers as null."""
    comparison = places.comparison
    texts = []
    for at, text in enumerate(comparison.texts):
        columns = {
            comparison.columns[j].letter: [token_rows.token_row(token, place) for place, token in enumerate(tokens, 1)]
            for j, tokens in sorted(text.tokens.items())
        }
        texts.append(
            {"name": text.name, "text": text.text, "columns": columns, "divergences": _divergences(places, at)}
        )
    found = {
        "form": form,
        "summary": sentences(places),
        "perplexity_and_bits": matrix(comparison),
        "figures": figures(places),
        "texts": texts,
    }
    return json.dumps(found, ensure_ascii=False)


def to_html(places: ComparedPlaces) -> str:
    comparison = places.comparison
    articles = "".join(_article(places, at) for at in range(len(comparison.columns)))
    said = "".join(f"<p>{escape(one)}</p>" for one in sentences(places))
    listed = "".join(f"<li>{escape(jump.words)}</li>" for jump in jumps(places) if jump.kind != "difference")
    tables = _table("Perplexity and total bits of each text", matrix(comparison)) + _table("Answers", figures(places))
    reference = f"<h2>Reference</h2><pre>{escape(comparison.reference)}</pre>" if comparison.reference.strip() else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Comparison · Pellucid</title><style>{_STYLE}</style></head><body><h1>Comparison</h1>"
        f"<h2>Prompt</h2><pre>{escape(comparison.prompt)}</pre>{reference}<h2>Summary</h2>{said}<ul>{listed}</ul>"
        "<h2>Answers</h2><p>The darker a token, the less likely its column's model found it; "
        "bold and underlined is what not all answers have. "
        f'Point at a token for its numbers.</p><div class="sides">{articles}</div>{tables}</body></html>\n'
    )


def _rows(places: ComparedPlaces) -> Iterator[dict[str, Any]]:
    for text in places.comparison.texts:
        for column, tokens in sorted(text.tokens.items()):
            for place, token in enumerate(tokens, 1):
                choice = None if token.logprob is None else places.choice(column, token, SAMPLED)
                sampled = None if choice is None else choice.probability(token.id)
                bounds = (None, None) if sampled is None else (sampled.low, sampled.high)
                names = (text.name, places.columns[column].letter)
                values = (*names, *token_rows.token_row(token, place).values(), *bounds)
                yield dict(zip(COLUMNS, values, strict=True))


def _divergences(places: ComparedPlaces, text: int) -> dict[str, list[dict[str, Any]]]:
    if places.comparison.texts[text].name == REFERENCE:
        return {}
    return {
        column.letter: [
            {"token": place.token, "segment": list(place.segment)}
            | {
                view: {"log_ratio": _bounds(place.views[view].ratio), "kl_bits": _bounds(place.views[view].kl, log(2))}
                for view in (OWN, SAMPLED)
            }
            for place in places.links(text, at)
        ]
        for at, column in enumerate(places.columns)
        if at != text
    }


def _bounds(bounds: Bounds | None, unit: float = 1.0) -> list[float | None] | None:
    return None if bounds is None else [None if isinf(one) else one / unit for one in (bounds.low, bounds.high)]


def _article(places: ComparedPlaces, at: int) -> str:
    column = places.columns[at]
    apart = {index for start, end in places.apart(at) for index in range(start, end)}
    tokens = "".join(_span(token, is_apart=index in apart) for index, token in enumerate(column.tokens))
    note = f"<p><strong>{escape(column.error)}</strong></p>" if column.error else ""
    head = f"<h3>{column.letter} · {escape(column.settings.model)}</h3><p>{escape(about(column))}</p>"
    return f'<article class="{column.letter}">{head}<pre>{tokens}</pre>{note}</article>'


def _span(token: Token, *, is_apart: bool) -> str:
    if token.logprob is None:
        return escape(token.text)
    probability = exp(token.logprob)
    others = ", ".join(f"{one.text!r} {percent(exp(one.logprob))}" for one in token.top)
    shade = min(int((1 - probability) * SHADES), SHADES - 1)
    names = " ".join([f"s{shade}", *(["apart"] if is_apart else [])])
    return (
        f'<span class="{names}" title="{escape(f"{percent(probability)}, rank {token.rank}: {others}")}">'
        f"{escape(token.text)}</span>"
    )


def _table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in found)}</tr>'
        for name, *found in others
    )
    head = f"<caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


def export(comparison: Comparison, form: dict[str, Any], kind: str) -> tuple[str, str, str]:
    places = ComparedPlaces(comparison)
    if kind == "csv":
        return "comparison.csv", "text/csv", token_rows.rows_as_csv(COLUMNS, _rows(places))
    if kind == "json":
        return "comparison.json", "application/json", to_json(places, form)
    return "comparison.html", "text/html", to_html(places)
