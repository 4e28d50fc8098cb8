"""Tests of pellucid calibrate: a calibration of a folder, resumed runs, errors of one sentence."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.completion.trust.features import NAMES, VERSION
from pellucid.completion.trust.suggestion_log import FILE, LogEntry, Reaction, SuggestionLog
from pellucid.learn.calibrate.gate_levels import COSTS
from pellucid.learn.calibrate.held_out_check import Findings, find
from pellucid.learn.calibrate.probability_models import FittedModel, fit_all
from pellucid.learn.calibrate.replay import AT_ONCE
from pellucid.learn.metrics import Interval
from pellucid.models.calibrations import CalibrationFile
from pellucid.system import atomic_files
from support.learn.file_knowing_model import MODEL, KnowingAssistant, NoEngine

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]

CURSORS = "60"


def source(number: int) -> str:
    """Return a file that differs from all files of the folder from the first line on."""
    lines = [f'"""The module {number}."""', ""]
    for row in range(6):
        name = f"function_{number}_{row}"
        lines += [
            f"def {name}(first, second):",
            f"    total_{row} = first + second * {row}",
            f"    if total_{row} > {number}:",
            f"        print(total_{row}, [first, {row}])",
            f"    return total_{row}",
            "",
        ]
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    for number in range(10):
        (path / f"module_{number}.py").write_text(source(number))
    return path


@pytest.fixture
def assistant(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnowingAssistant:
    """Install an assistant instead of a model, with the test's own data folder."""
    made = KnowingAssistant(
        {path.name: path.read_text() for path in folder.iterdir()}, tmp_path / "store" / "knowing.json"
    )
    monkeypatch.setattr("pellucid.learn.calibrate.command.assemble", lambda *_: (NoEngine(), made))
    # Intervals have their own tests.
    monkeypatch.setattr("pellucid.learn.calibrate.held_out_check.RESAMPLES", 20)
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
    return made


def test_calibrated(run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path) -> None:
    """The calibration is stored for the weights, and beats raw probabilities on unseen files."""
    code, out, err = run("calibrate", folder, "--cursors", CURSORS, "--json", "--plot", tmp_path / "trust.svg")

    assert code == 0
    record, note = CalibrationFile(assistant.kept, "these-weights").read()
    assert note is None
    assert record is not None
    calibration = Calibration.read(record)
    record = json.loads(out)
    models = record["figures"]["ways"]
    assert record["numbers"] == list(calibration.numbers)
    assert models[calibration.kind]["loss"]["value"] < models["raw"]["loss"]["value"]
    assert record["figures"]["fitted on"]["suggestions"] + record["figures"]["measured on"]["suggestions"] == 2 * int(
        CURSORS
    )
    assert (calibration.about["model"], calibration.about["folder"]) == (MODEL, "project")
    assert str(assistant.kept) in err
    assert "Editors use it from their next connection on; delete the file to return to fixed thresholds." in err
    assert "<svg" in (tmp_path / "trust.svg").read_text()
    assert "wrong_" not in assistant.kept.read_text()
    assert calibration.costs == COSTS

    # Every cursor is asked with and without a suffix, and never with the expected text.
    alone = [prefix for prefix, suffix in assistant.asked if not suffix]
    both = [prefix for prefix, suffix in assistant.asked if suffix]
    assert len(assistant.asked) == 2 * int(CURSORS)
    assert set(both) <= set(alone)
    for prefix, suffix in assistant.asked:
        texts = [text for text in assistant.files.values() if text.startswith(prefix)]
        assert any(text.find(suffix or "", len(prefix)) > len(prefix) for text in texts) or not suffix


def test_copies_are_asked_about_once(run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path) -> None:
    """Near-duplicates are skipped and reported, and --out leaves the editors' calibration."""
    (folder / "z_copy.py").write_text(source(3).replace("The module 3", "Another module"))
    code, out, err = run("calibrate", folder, "--cursors", CURSORS, "--out", tmp_path / "mine.json")
    assert code == 0
    assert "10 files, " in err
    assert "skipped: 1 near-duplicates" in err
    assert not any("Another module" in prefix for prefix, _ in assistant.asked)
    assert "Fitted on" in out
    assert (tmp_path / "mine.json").exists()
    assert not assistant.kept.exists()


def test_few_say_little(run: Run, folder: Path, assistant: KnowingAssistant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning appears exactly if the test files do not show a lead over the base rate."""
    warning = "These few suggestions do not show that the probabilities beat the base rate: use more --cursors."
    for low in (-0.2, 0.1):

        def found(*arguments: Any, low: float = low) -> Findings:
            findings = find(*arguments)
            kind = findings.calibration.kind
            score = replace(findings.scores[kind], skill=Interval(0.3, low, 0.8))
            return replace(findings, scores={**findings.scores, kind: score})

        monkeypatch.setattr("pellucid.learn.calibrate.command.find", found)
        assert (warning in run("calibrate", folder, "--cursors", CURSORS)[2]) == (low < 0)


def test_help(run: Run) -> None:
    """The help describes the differences between the replay and an editor."""
    text = " ".join(run("calibrate", "--help")[1].replace("│", " ").split())
    assert "no chunks of other files and no time limit" in text


def test_resumed(run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path) -> None:
    """An interrupted run resumes, with the results of an uninterrupted run."""
    common = ("calibrate", folder, "--cursors", CURSORS, "--json")
    whole = run(*common, "--out", tmp_path / "whole.json", "--records", tmp_path / "whole.jsonl")
    assistant.asked.clear()
    assistant.dies_after = 50
    part = (*common, "--out", tmp_path / "part.json", "--records", tmp_path / "part.jsonl")
    assert "pellucid: The model fell over: pick it up.\n" in run(*part)[2]
    kept = len((tmp_path / "part.jsonl").read_text().splitlines()) - 1
    assistant.dies_after = None

    code, out, err = run(*part)

    assert 50 - AT_ONCE <= kept <= 50
    assert code == 0
    assert f"{kept} of 120 are already in {tmp_path / 'part.jsonl'}." in err
    assert len(assistant.asked) == 50 + 120 - kept
    record, before = json.loads(out), json.loads(whole[1])
    assert record["figures"] == before["figures"]
    assert record["numbers"] == before["numbers"]


def test_another_run_on_the_same_files(
    run: Run, folder: Path, assistant: KnowingAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New weights, features or versions replay the same files again, and keep the old records."""
    command = ("calibrate", folder, "--cursors", CURSORS)
    assert run("calibrate", folder, "--cursors", "50")[0] == 0
    # More cursors later request only the new cursors.
    assert "100 of 120 are already in" in run(*command)[2]
    assert len(assistant.asked) == 2 * int(CURSORS)
    changes: list[tuple[Any, ...]] = [
        (assistant, "weights", "other-weights"),
        ("pellucid.learn.calibrate.replay.VERSION", VERSION + 1),
        ("pellucid.learn.calibrate.replay.versions", lambda: {"pellucid": "99.0"}),
    ]
    for change in changes:
        assistant.asked.clear()
        with monkeypatch.context() as changed:
            changed.setattr(*change)
            assert run(*command)[0] == 0
        assert len(assistant.asked) == 2 * int(CURSORS)
    assert "120 of 120 are already in" in run(*command)[2]


def test_with_log(run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path) -> None:
    """The log of suggestions changes the fit; a missing log is an error."""
    common = ("calibrate", folder, "--cursors", CURSORS, "--json", "--records", tmp_path / "records.jsonl")
    code, _, err = run(*common, "--with-log")
    assert code == 1
    assert f"has no entry of {MODEL} that this version of Pellucid can use" in err

    log = SuggestionLog(tmp_path / "data" / FILE)
    for number in range(40):
        known = dict.fromkeys(NAMES, 0.0) | {"mean": -0.1 * (number % 5), "whole": 1.0}
        numbers = tuple(known.values())
        log.write(
            LogEntry(
                f"s-{number}", MODEL, "python", "normal", "thresholds", Reaction.DISMISSED, 9, 0, numbers, None, (0.9,)
            )
        )
    without = json.loads(run(*common)[1])
    with_log = json.loads(run(*common, "--with-log")[1])

    assert (without["about"]["logged"], with_log["about"]["logged"]) == (0, 40)
    assert without["numbers"] != with_log["numbers"]
    assert without["figures"]["measured on"] == with_log["figures"]["measured on"]


def fails(run: Run, *arguments: str | Path) -> str:
    """Run a command that fails, and return the sentence."""
    code, out, err = run("calibrate", *arguments)
    assert (code, out) == (1, "")
    sentence = err.splitlines()[-1]
    assert sentence.startswith("pellucid: ")
    return sentence


def test_nothing_there(run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path) -> None:
    """A folder or a picture that cannot be used is rejected before a model is asked."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for number in range(2):
        (tmp_path / "two" / f"{number}.py").write_text(source(number))

    assert "does not exist: name a file or a folder of text" in fails(run, tmp_path / "nowhere")
    assert "There is no text in" in fails(run, tmp_path / "empty")
    assert "There are 2 source files" in fails(run, tmp_path / "two")
    assert "use a name that ends in .svg" in fails(run, folder, "--plot", tmp_path / "trust.png")
    assert assistant.asked == []


@pytest.mark.parametrize(
    ("cursors", "always", "sentence"),
    [
        ("20", None, "20 cursors are too few to fit a model: use --cursors 50 or more, preferably hundreds."),
        (CURSORS, True, "Only 0 of the 72 suggestions to fit on are wrong"),
        (CURSORS, False, "Only 0 of the 72 suggestions to fit on are right"),
    ],
)
def test_nothing_to_fit(
    run: Run, folder: Path, assistant: KnowingAssistant, cursors: str, always: bool | None, sentence: str
) -> None:
    """Too few suggestions, or only right or wrong suggestions, are an error; nothing is written."""
    assistant.always = always

    assert sentence in fails(run, folder, "--cursors", cursors)
    assert not assistant.kept.exists()


def test_unknown_model(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An unknown model is reported."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))

    assert "There is no model 'mystery'" in fails(run, folder, "--model", "mystery")


def test_foreign_records_and_a_full_disk(
    run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of different files are rejected, and a full disk leaves the earlier calibration."""
    command = (folder, "--cursors", CURSORS, "--records", tmp_path / "records.jsonl")
    run("calibrate", *command)
    before = assistant.kept.read_text()

    def full(target: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(atomic_files, "write_text", full)
        assert "is full: free some space and try again" in fails(run, *command)
    assert assistant.kept.read_text() == before

    (folder / "module_0.py").write_text(source(77))
    assert "name another file with --records, or delete that file" in fails(run, *command)


def test_builtin_stays_unless_another_is_clearly_better(
    run: Run, folder: Path, assistant: KnowingAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calibration is stored only if clearly better than the built-in calibration."""
    fitted: list[FittedModel] = []

    def remember(*given: Any) -> list[FittedModel]:
        fitted.extend(models := fit_all(*given))
        return models

    other = tmp_path / "other"
    other.mkdir()
    for number in range(10, 20):
        (other / f"module_{number}.py").write_text(source(number))
    assistant.files = {path.name: path.read_text() for path in [*folder.iterdir(), *other.iterdir()]}
    monkeypatch.setattr("pellucid.learn.calibrate.command.fit_all", remember)
    run("calibrate", other, "--cursors", CURSORS)
    (numbers,) = [model.numbers for model in fitted if model.kind is CalibrationKind.LOGISTIC]
    good, bad = (
        Calibration(CalibrationKind.LOGISTIC, (bias, *numbers[1:]), COSTS, {}).record for bias in (numbers[0], 9.0)
    )

    before = assistant.kept.read_text()
    monkeypatch.setattr(CalibrationFile, "builtin", lambda _: good)
    code, out, err = run("calibrate", folder, "--cursors", CURSORS, "--json")
    assert (code, json.loads(out)["path"]) == (0, None)
    assert (
        "no other calibration is clearly better than the built-in one, so none was stored. The earlier one in " in err
    )
    assert assistant.kept.read_text() == before
    assistant.kept.unlink()
    _, _, err = run("calibrate", folder, "--cursors", CURSORS)
    assert err.endswith("so none was stored.\n")
    assert not assistant.kept.exists()

    monkeypatch.setattr(CalibrationFile, "builtin", lambda _: bad)
    _, out, err = run("calibrate", folder, "--cursors", CURSORS, "--json")
    assert json.loads(out)["path"] == str(assistant.kept)
    assert err.endswith("delete the file to return to the built-in calibration.\n")
