"""Renders the report: a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from pellucid.learn.evaluate.charts import ChartRow, bars, reliability
from pellucid.learn.evaluate.results import Circumstances, EvaluationResults, MetricFigure, ModelResult, SuiteResult
from pellucid.system.atomic_files import human

FILE = "report.html"

TITLES = {
    "perplexity": "Perplexity and calibration of tokens",
    "infilling": "Infilling: HumanEval, single lines",
    "humaneval": "HumanEval: functions from their docstrings",
    "unknown-names": "Names in code that exist nowhere",
    "text": "Answers compared with references",
    "truthfulqa": "TruthfulQA, multiple choice",
    "crows-pairs": "CrowS-Pairs: a probe",
    "winogender": "Winogender: a probe",
    "speed": "Speed, memory and arithmetic",
}

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #ffffff; --track: #e6eaef;\
 --line: #d1d9e0;
  --c0: #2166ac; --c1: #b35806; --c2: #1b7837; --c3: #762a83; --spread: #1f2328 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --track: #262c36;\
 --line: #3d444d;
  --c0: #5b9bd5; --c1: #fdae61; --c2: #7fbf7b; --c3: #c2a5cf; --spread: #e6edf3 } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; background: var(--paper); color: var(--ink);\
 line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .5rem }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line) }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem } a { color: var(--c0) } p, li { max-width: 48rem } .soft {\
 color: var(--soft) }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums } caption { text-align: left;\
 color: var(--soft);
  padding-bottom: .3rem }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.figure, th.figure { text-align: right } td.figure { white-space: nowrap } .scroll, figure { overflow-x: auto }\
 figure { margin: 1rem 0 }
figcaption { color: var(--soft) }
.pair { display: flex; flex-wrap: wrap; gap: 1.5rem } .pair figure { max-width: 20rem; margin: .5rem 0 }
svg { max-width: 100%; height: auto }
svg text { font-size: 13px; fill: var(--ink) } svg .small { font-size: 11.5px; fill: var(--soft) } svg .panel {\
 font-weight: 600 }
 .track { fill: var(--track) } .ideal { stroke: var(--soft);
  stroke-dasharray: 4 4 } .bar0 { fill: var(--c0) } .bar1 { fill: var(--c1) } .bar2 { fill: var(--c2) } .bar3 {\
 fill: var(--c3) }
.spread { stroke: var(--spread); stroke-width: 1.5; fill: none }
"""

EXPLANATION = (
    "Thin lines and brackets are 95 % intervals: Wilson's for shares of independent questions, elsewhere the "
    "bootstrap's over the units listed with each figure. Two models whose intervals overlap may still differ: "
    "pellucid evaluate --compare compares pairs."
)

Asked = Sequence[tuple[int, ModelResult, SuiteResult]]


def html(results: EvaluationResults) -> str:
    names = ", ".join(model.name for model in results.models)
    rows = [[model.name, model.description] for model in results.models]
    last = next(reversed(results.circumstances), None)
    sections = "\n".join(_section(suite, results, last) for suite in results.suites)
    links = " · ".join(f'<a href="#{escape(suite)}">{escape(TITLES.get(suite, suite))}</a>' for suite in results.suites)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evaluation of {escape(names)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>Evaluation of {escape(names)}</h1>
<p class="soft">{escape(_circumstances(results))}</p>
<nav aria-label="Suites"><p>{links}</p></nav>
<p>{escape(EXPLANATION)}</p>
{_table("The models", ["model", "how it is computed"], rows)}
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def _circumstances(results: EvaluationResults) -> str:
    found = results.circumstances
    if not found:
        return "No question was asked."
    first, last = found[0].date, found[-1].date
    when = first if first == last else f"{first} to {last}"
    differs = any(one.place != found[-1].place for one in found)
    more = "; some suites ran with other versions or on another machine, as noted there" if differs else ""
    return f"{when}; {_place(found[-1])}{more}"


def _place(circumstances: Circumstances) -> str:
    return "; ".join(
        f"{name} {human(float(value)) if name == 'memory' else value}" for name, value in circumstances.place.items()
    )


def _deviations(asked: Asked, last: Circumstances | None) -> Iterator[str]:
    for _, model, result in asked:
        then = result.circumstances
        if then is not None and last is not None and then.place != last.place:
            yield f'<p class="soft"><strong>{escape(model.name)}</strong>: {escape(f"{then.date}; {_place(then)}")}</p>'


def _section(suite: str, results: EvaluationResults, last: Circumstances | None) -> str:
    found = [(number, model, model.find(suite)) for number, model in enumerate(results.models)]
    asked = [(number, model, result) for number, model, result in found if result is not None]
    parts = [
        f'<section aria-labelledby="{escape(suite)}">',
        f'<h2 id="{escape(suite)}">{escape(TITLES.get(suite, suite))}</h2>',
    ]
    parts += [
        f"<p><strong>{escape(model.name)}</strong> was skipped: {escape(result.left_out)}</p>"
        for _, model, result in asked
        if result.left_out
    ]
    parts += _deviations(asked, last)
    parts += _notes(asked)
    short = _by_label(asked, detail=False)
    if short:
        picture = bars(f"{TITLES.get(suite, suite)}: figures with 95 % intervals", list(short.values()))
        parts.append(f"<figure>{picture}<figcaption>The figures with their 95 % intervals.</figcaption></figure>")
        parts.append(_figures(suite, short))
    parts += _reliabilities(asked)
    detail = _by_label(asked, detail=True)
    if detail:
        parts.append(f"<details><summary>Each of {len(detail)} groups</summary>{_figures(suite, detail)}</details>")
    parts += _costs(asked)
    return "\n".join([*parts, "</section>"])


def _notes(asked: Asked) -> Iterator[str]:
    notes = list(dict.fromkeys(note for _, _, result in asked for note in result.notes))
    if not notes:
        return
    yield "<ul>"
    for note in notes:
        of = [model.name for _, model, result in asked if note in result.notes]
        whose = "" if len(of) == len(asked) else f"<strong>{escape(', '.join(of))}</strong>: "
        yield f"<li>{whose}{escape(note)}</li>"
    yield "</ul>"


def _by_label(asked: Asked, *, detail: bool) -> dict[str, list[ChartRow]]:
    found: dict[str, list[ChartRow]] = {}
    for number, model, result in asked:
        for figure in result.figures:
            if figure.detail is detail:
                found.setdefault(figure.label, []).append(ChartRow(model.name, number, figure))
    return found


def _figures(suite: str, groups: dict[str, list[ChartRow]]) -> str:
    rows = [[label, row.model, *_cells(row.figure)] for label, group in groups.items() for row in group]
    head = ["figure", "model", "value", "95 % interval", "questions", "units"]
    return _table(f"The figures of {TITLES.get(suite, suite)}", head, rows, figures_from=2)


def _cells(figure: MetricFigure) -> list[str]:
    return [figure.show(), figure.show_interval(), f"{figure.records:,}", f"{figure.units:,}"]


def _reliabilities(asked: Asked) -> Iterator[str]:
    titles = dict.fromkeys(diagram.title for _, _, result in asked for diagram in result.diagrams)
    for title in titles:
        yield f'<h3>{escape(title)}</h3><div class="pair">'
        for _, model, result in asked:
            for diagram in result.diagrams:
                if diagram.title == title:
                    yield (
                        f"<figure>{reliability(model.name, diagram)}"
                        f"<figcaption>{escape(model.name)}</figcaption></figure>"
                    )
        yield "</div>"


def _costs(asked: Asked) -> Iterator[str]:
    rows = [
        [model.name, *(_amount(result.cost, name) for name in COSTS)]
        for _, model, result in asked
        if any(result.cost.values())
    ]
    if rows:
        yield _table("Cost of the questions", ["model", *COSTS.values()], rows, figures_from=1)


COSTS = {
    "requests": "requests",
    "computed": "prompt tokens computed",
    "cached": "from the cache",
    "generated": "generated",
    "flops": "FLOPs (2 N per token)",
}


def _amount(cost: dict[str, int], name: str) -> str:
    if name not in cost:
        return "unknown"
    return f"{cost[name]:.3g}" if name == "flops" else f"{cost[name]:,}"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], figures_from: int = 99) -> str:
    def kind(number: int) -> str:
        return ' class="figure"' if number >= figures_from else ""

    names = "".join(f'<th scope="col"{kind(number)}>{escape(name)}</th>' for number, name in enumerate(head))
    lines = "\n".join(
        "<tr>" + "".join(f"<td{kind(number)}>{escape(cell)}</td>" for number, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>"
    return f'<div class="scroll"><table>{title}<thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table></div>'
