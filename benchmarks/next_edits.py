"""Measure suggestions to repeat an edit elsewhere, with edits from releases or commits.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/next_edits.py --server http://127.0.0.1:8437 --edits FOLDER --cases 150

``--edits`` is a git repository, or a folder with a subfolder for each package, with a subfolder for
each release, named by the version. The figures are the figures of ``pellucid evaluate --suite
next-edit``, in the form of the tables in this project's documents. Edits are read in sequence, so
that the times hold for an editor without a time limit. ``--without-diff`` leaves the edit out of
the model's prompt.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from pellucid.client.http_client import Client
from pellucid.completion.settings import GateLevel
from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.open_subject import open_served
from pellucid.learn.evaluate.registry import KINDS
from pellucid.learn.evaluate.results import show
from pellucid.learn.evaluate.suite_protocol import Metric, SuiteRecord
from pellucid.learn.evaluate.suites.next_edit import NextEdit, measures
from pellucid.terminal.progress_bars import Steps

FIGURES = (
    "exact lines, first, if possible",
    "quiet rate",
    "quiet rate, with proposals",
    "exact, of those shown",
    "keystrokes saved",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument(
        "--edits",
        type=Path,
        required=True,
        help="a git repository, or FOLDER/PACKAGE/VERSION/ with two versions or more",
    )
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--without-diff", action="store_true", help="let the model read the places without the edit")
    options = parser.parse_args()
    print(about())
    with Steps() as steps:
        try:
            suite = NextEdit(options.edits, options.cases, steps, with_diff=not options.without_diff)
        except InvalidRequestError as error:
            parser.error(str(error))
        records, notes = asyncio.run(ask(suite, options.server, steps))
    print("\n".join(notes), report(records), sep="\n\n")


async def ask(suite: NextEdit, url: str, steps: Steps) -> tuple[list[SuiteRecord], list[str]]:
    """Let the server's first model read the proposals of all edits."""
    async with Client(url) as client:
        name = (await client.cards())[0].name
    records: list[SuiteRecord] = []
    async with open_served(url, None, name) as subject:
        session = ModelSession(subject)
        questions = await suite.questions(session, {})
        steps.start("edits", len(questions))
        for question in questions:
            records.append(SuiteRecord(question.id, question.unit, await question.ask(session)))
            steps.advance(1)
        judged = KINDS[suite.name].judge(records, suite.gate(subject))
        return judged, suite.notes(session, [record.facts for record in records])


def report(records: Sequence[SuiteRecord]) -> str:
    """Return the table of all levels, and the duration of the reading."""
    found = {
        (one.measure.name, one.measure.group): one
        for measure in measures([r.facts for r in records])
        if (one := measure.of(records))
    }
    rows = [[str(level), *(_cell(found.get((name, str(level)))) for name in FIGURES)] for level in GateLevel]
    times = [record.facts["seconds"] for record in records if record.facts["proposals"]]
    spent = f"reading: p50 {quantile(times, 0.5):.2f} s, p95 {quantile(times, 0.95):.2f} s"
    return f"{table(('level', *FIGURES), rows)}\n\n{spent}"


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    value, low, high = (
        show(one, metric.measure.form) for one in (metric.interval.value, metric.interval.low, metric.interval.high)
    )
    return f"{value} ({low} to {high}), of {metric.records}"


if __name__ == "__main__":
    main()
