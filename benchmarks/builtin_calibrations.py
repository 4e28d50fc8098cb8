"""Fit and measure the built-in calibration of a catalog model, language by language.

    python benchmarks/builtin_calibrations.py --fit FOLDER --report FOLDER
        --records build/calibrations --write

The calibration is fitted on the packages of ``--fit``, and measured on the packages of
``--report``. Each folder has a subfolder for each language, with a subfolder for each package.
Choose packages, or releases, newer than the model. Every language has the same number of cursors,
divided equally among the packages, as far as the packages are large enough. Records are kept, so
that an interrupted run resumes, and a new formula on the same features needs no replay. ``--write``
replaces the calibration in the source tree.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from common.machine import about
from common.packages import Packages, draw_packages, packages_in
from pellucid.completion.settings import GateLevel
from pellucid.config import load_settings
from pellucid.learn import metrics
from pellucid.learn.calibrate.gate_levels import LevelOutcome, outcome, shown, shown_by_thresholds
from pellucid.learn.calibrate.held_out_check import Findings, find, score
from pellucid.learn.calibrate.probability_models import fit_all, predict
from pellucid.learn.calibrate.replay import replay_cursors, replay_identity
from pellucid.learn.calibrate.replay_records import SuggestionRecord, open_records
from pellucid.learn.calibrate.report import as_record
from pellucid.learn.calibrate.training_rows import Table
from pellucid.learn.metrics import Interval
from pellucid.models import calibrations
from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.serving.assemble import assemble
from pellucid.terminal.progress_bars import Bars
from pellucid.text.assistant import LocalAssistant

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, required=True, help="folder of languages and packages to fit on")
    parser.add_argument(
        "--report", type=Path, required=True, help="folder of languages and other packages to measure on"
    )
    parser.add_argument("--records", type=Path, required=True, help="folder for the records of the replays")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a model of the catalog")
    parser.add_argument(
        "--cursors", type=int, nargs=2, default=(200, 250), help="cursors per language to fit on and to measure on"
    )
    parser.add_argument("--write", action="store_true", help="replace the built-in calibration")
    options = parser.parse_args()
    parts = {
        name: draw_packages(packages_in(folder), count)
        for name, folder, count in zip(("fit", "report"), (options.fit, options.report), options.cursors, strict=True)
    }
    records = {name: replayed(options, name, packages) for name, packages in parts.items()}
    fit = Table.of(records["fit"])
    findings = find(fit, records["report"], fit_all(fit))
    print(about())
    print(f"Fitted on {', '.join(parts['fit'].names)}; measured on {', '.join(parts['report'].names)}.\n")
    print_probabilities(findings, records["report"])
    print_levels(findings, records["report"])
    if options.write:
        write(options.model, findings, parts)


def replayed(options: argparse.Namespace, part: str, packages: Packages) -> list[SuggestionRecord]:
    settings = load_settings().model_copy(update={"prefix_memory": 0})
    with Bars() as bars:
        engine, assistant = assemble(settings, [options.model], bars)
    try:
        about = replay_identity(key_of(assistant), packages.texts)
        with open_records(options.records / f"{part}-{options.model}.jsonl", about) as file:
            return replay_cursors(assistant, assistant.models.find(None).name, packages.texts, packages.cursors, file)
    finally:
        engine.close()


def key_of(assistant: LocalAssistant) -> str:
    file = assistant.models.find(None).model.calibration
    assert file is not None, "a model of the catalog has one"
    return file.key


def print_probabilities(findings: Findings, records: Sequence[SuggestionRecord]) -> None:
    """Print how well the probabilities are calibrated in each language."""
    print(
        "| language | suggestions | right | ECE before | ECE after (95 %) | by chance | AUROC (95 %) |\n"
        "|---|---|---|---|---|---|---|"
    )
    for language, own in by_language(records).items():
        table = Table.of(own)
        whole = table.only(table.whole)
        before = metrics.calibration_error(np.exp(whole.number("mean")), whole.right)
        after = score(probabilities(findings, whole), whole)
        print(
            f"| {language} | {whole.size} | {whole.right.mean():.1%} | {before:.3f} | {with_interval(after.width)} | "
            f"{after.chance:.3f} | {with_interval(after.auroc)} |"
        )
    print()


def with_interval(value: Interval) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def print_levels(findings: Findings, records: Sequence[SuggestionRecord]) -> None:
    """Print the shown and lost suggestions of each level and language, also for the fixed
    thresholds.
    """
    print(
        "| level | language | gate | shown and wrong (95 %) | right ones hidden | right ones shortened "
        "| characters of right ones |"
    )
    print("|---|---|---|---|---|---|---|")
    for level in GateLevel:
        for language, own in by_language(records).items():
            table, asked = Table.of(own), len(own)
            for gate, rows in gates(findings, table, own, level).items():
                found = outcome(table, rows)
                print(f"| {level} | {language} | {gate} | {row(found, asked)} |")
    print()


def gates(
    findings: Findings, table: Table, records: Sequence[SuggestionRecord], level: GateLevel
) -> dict[str, np.ndarray]:
    return {
        "thresholds": shown_by_thresholds(table, records, level),
        "calibration": shown(table, probabilities(findings, table), findings.calibration.costs[level]),
    }


def row(found: LevelOutcome, asked: int) -> str:
    wrong = found.wrong - found.hidden - found.cut
    share = metrics.wilson(wrong, asked)
    return (
        f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}) | {found.lost / max(found.right, 1):.1%} | "
        f"{found.shortened / max(found.right, 1):.1%} | {found.kept:.1%}"
    )


def probabilities(findings: Findings, table: Table) -> np.ndarray:
    return predict(findings.calibration.kind, findings.calibration.numbers, table.numbers)


def by_language(records: Sequence[SuggestionRecord]) -> dict[str, list[SuggestionRecord]]:
    """Return the records of each language, and of all languages together."""
    found: dict[str, list[SuggestionRecord]] = {}
    for record in records:
        found.setdefault(record.document.partition("/")[0], []).append(record)
    return found | {"all": list(records)}


def write(model: str, findings: Findings, parts: Mapping[str, Packages]) -> None:
    """Write the calibration into the source tree, by the checksum of the model's weights."""
    described = {
        "model": model,
        "date": date.today().isoformat(),
        "folder": "public code in " + ", ".join(sorted({name.partition("/")[0] for name in parts["fit"].names})),
        "cursors": len(parts["fit"].cursors) + len(parts["report"].cursors),
        "packages": {name: packages.names for name, packages in parts.items()},
    }
    calibration = replace(findings.calibration, about=described)
    checksum = catalog()[model].sha256
    assert checksum is not None, "the built-in calibration is found by it"
    path = ROOT / "server/pellucid/models/builtin_calibrations" / f"{model}.json"
    calibrations.write(path, as_record(replace(findings, calibration=calibration)), checksum)
    print(f"The calibration is in {path.relative_to(ROOT)} ({json.dumps(calibration.costs)}).")


if __name__ == "__main__":
    main()
