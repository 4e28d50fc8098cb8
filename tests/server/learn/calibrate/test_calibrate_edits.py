"""Tests of pellucid calibrate --edits: the gate of next edits fitted, measured and stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from pellucid.completion.edits.edit_gate import EditGate, default_gate
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.learn.calibrate import edit_gate_fit
from pellucid.learn.calibrate.edit_gate_fit import FittedGate, ReadProposals, fit_gate
from pellucid.learn.metrics import Interval, bootstrap
from pellucid.models.calibrations import CalibrationFile
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from support.learn.edited_repositories import CALLS, ONE_RENAMED, RENAMED, write_releases
from support.learn.file_knowing_model import KnowingAssistant, NoEngine

Run = Callable[..., tuple[int, str, str]]

TRUTH = EditGate(-0.5, 0.8)


def simulated(count: int, truth: EditGate = TRUTH, seed: int = 0) -> ReadProposals:
    """Return proposals of 20 packages that are right with the probability of a gate."""
    dice = np.random.default_rng(seed)
    odds = dice.normal(0, 3, count)
    right = dice.random(count) < [truth.probability(one) for one in odds]
    return ReadProposals(odds, right, np.ones(count), dice.integers(0, 20, count))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few resamples, because intervals have their own tests."""
    monkeypatch.setattr(edit_gate_fit, "bootstrap", partial(bootstrap, resamples=20))


class TestFit:
    def test_the_truth_is_found(self) -> None:
        """The true coefficients are fitted, with a lead over wrong coefficients beyond chance."""
        fitted = fit_gate(simulated(4000), EditGate(1.5, 0.1), has_more=True)
        assert fitted.gate.bias == pytest.approx(-0.5, abs=0.15)
        assert fitted.gate.slope == pytest.approx(0.8, abs=0.1)
        assert fitted.score.loss.value < fitted.default.loss.value
        assert fitted.score.calibration_error.value < 0.05 < fitted.default.calibration_error.value
        assert fitted.score.auroc.value == pytest.approx(fitted.default.auroc.value, abs=0.01)
        lead = fitted.lead_over(EditGate(1.5, 0.1))
        assert lead.low > 0
        assert lead.value == pytest.approx(fitted.default.loss.value - fitted.score.loss.value)

    def test_not_better_than_the_truth(self) -> None:
        """A fit on few proposals is not better than the true gate."""
        assert not fit_gate(simulated(200), TRUTH, has_more=True).lead_over(TRUTH).low > 0

    def test_one_impossible_outcome_does_not_decide(self) -> None:
        """Losses of a certain gate and of the table have the same floor, so the lead is bounded."""
        table = simulated(200)
        certain = EditGate(0.0, 1e6)
        fitted = fit_gate(table, certain, has_more=True)
        assert fitted.lead_over(certain).value == pytest.approx(fitted.default.loss.value - fitted.score.loss.value)

    def test_weights_count(self) -> None:
        """Weights correct for right proposals drawn ten times too often."""
        table = simulated(1000)
        rows = np.concatenate([np.arange(1000), *[np.flatnonzero(table.right)] * 9])
        weights = np.where(table.right, 0.1, 1.0)[rows]
        often = ReadProposals(table.odds[rows], table.right[rows], weights, table.units[rows])
        plain, weighted = fit_gate(table, TRUTH, has_more=True), fit_gate(often, TRUTH, has_more=True)
        assert weighted.gate.bias == pytest.approx(plain.gate.bias, abs=0.01)
        assert weighted.gate.slope == pytest.approx(plain.gate.slope, abs=0.01)
        assert weighted.score.loss.value == pytest.approx(plain.score.loss.value, rel=0.01)

    @pytest.mark.parametrize(
        ("table", "sentence"),
        [
            (simulated(59), "59 proposals could be read, but 60 are needed: use a larger --limit"),
            (simulated(100, EditGate(-9.0, 0.1)), "proposals are right, but 10 of each kind are needed"),
            (simulated(100, EditGate(9.0, 0.1)), "proposals are wrong, but 10 of each kind are needed"),
            (simulated(2000, EditGate(0.0, -0.8)), "does not tell right proposals from wrong ones"),
        ],
    )
    def test_what_cannot_be_fitted(self, table: ReadProposals, sentence: str) -> None:
        """Too few proposals of a kind, and useless readings, are refused with the remedy."""
        with pytest.raises(InvalidRequestError, match=sentence):
            fit_gate(table, TRUTH, has_more=True)

    def test_no_more_to_draw(self) -> None:
        """The remedy is a longer history if all right proposals are drawn."""
        with pytest.raises(InvalidRequestError, match=r"but 60 are needed: name a longer history\.$"):
            fit_gate(simulated(59), TRUTH, has_more=False)

    @pytest.mark.parametrize("count", [1, 4])
    def test_few_packages(self, count: int) -> None:
        """Fewer than five packages are refused, as their spread cannot be estimated."""
        table = simulated(200)
        few = ReadProposals(table.odds, table.right, table.weights, table.units % count)
        with pytest.raises(
            InvalidRequestError, match=f"The number of packages or commits with proposals is {count}, but 5 are needed"
        ):
            fit_gate(few, TRUTH, has_more=True)


@dataclass
class ReadingAssistant(KnowingAssistant):
    """Finds lines with ``read_settings`` mostly more probable, and other new names less."""

    read: list[ScoreQuery] = field(default_factory=list)
    fails_after: int | None = None

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        if self.fails_after is not None and len(self.read) >= self.fails_after:
            raise PellucidError("The model fell over: pick it up.")
        self.read.append(query)
        assert isinstance(query.text, str)
        first = query.text.split("\n")[0]
        noise = hashlib.sha256(first.encode()).digest()[0] / 255 * 6 - 3
        logprob = {"read_s": 1.0, "pull_s": -2.0}.get(first.partition("= ")[2][:6], 0.0)
        yield Token(1, query.text, query.text.encode(), 0, logprob + (noise if logprob else 0.0) - 5, 1, 0.5)
        yield Finish(FinishReason.STOP, Usage())


@pytest.fixture
def assistant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReadingAssistant:
    """Install an assistant instead of a model, with the test's own data folder."""
    made = ReadingAssistant({}, tmp_path / "store" / "knowing.json")
    monkeypatch.setattr("pellucid.learn.calibrate.command.assemble", lambda *_: (NoEngine(), made))
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "data"))
    return made


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Write packages with a function renamed everywhere, and packages with one changed call."""
    packages = {}
    for number in range(8):
        packages[f"all_{number}"] = {
            version: {"a.py": text.replace("path", f"p{number}")} for version, text in (("1", CALLS), ("2", RENAMED))
        }
        one = ONE_RENAMED.replace("read_settings", "pull_settings")
        packages[f"one_{number}"] = {
            version: {"b.py": text.replace("path", f"q{number}")} for version, text in (("1", CALLS), ("2", one))
        }
    return write_releases(tmp_path / "releases", packages)


def test_calibrated(run: Run, releases: Path, assistant: ReadingAssistant, tmp_path: Path) -> None:
    """The gate is stored for the model's weights, apart from suggestions, with its figures."""
    # Edits that were read before a failure are not read again.
    assistant.fails_after = 60
    code, _, err = run("calibrate", releases, "--edits")
    assert code == 1
    assert err.endswith("The model fell over: pick it up.\n")
    assistant.fails_after = None

    # With --out no stored file changes, and the terminal shows the fit and the default calibration.
    code, out, err = run("calibrate", releases, "--edits", "--out", tmp_path / "gate.json")
    assert code == 0, err
    assert 2 * 72 <= len(assistant.read) < 60 + 2 * 72
    assert "Fitted on 72 proposals in 16 packages or commits, 48 of them right." in out
    assert {"AUROC", "ECE,", "log"} <= {line.split()[0] for line in out.splitlines()[2:] if line.split()}
    assert EditGate.read(json.loads((tmp_path / "gate.json").read_text())) != default_gate()
    file = CalibrationFile(assistant.kept, "these-weights")
    assert not file.of_edits().path.exists()

    code, out, err = run("calibrate", releases, "--edits", "--json")
    assert code == 0, err
    found = json.loads(out)
    record, note = file.of_edits().read()
    assert record is not None
    assert note is None
    assert file.read()[0] is None
    gate = EditGate.read(record)
    assert [gate.bias, gate.slope] == found["numbers"]
    assert found["path"] == str(file.of_edits().path)
    figures = found["about"]["figures"]
    assert (figures["proposals"], figures["right"], figures["packages or commits"]) == (72, 48, 16)
    assert figures["fitted"]["auroc"]["value"] > 0.7
    verdicts = "better than the default model's, so it was stored.", "not clearly worse than the default model's"
    assert any(verdict in err for verdict in verdicts)
    assert "Editors use it from their next connection on; delete the file to return to the default model's." in err
    assert found["about"]["edits"] == 32

    # The figures compare with the default model's calibration, not with the stored fit.
    again = json.loads(run("calibrate", releases, "--edits", "--json")[1])["about"]["figures"]
    assert figures["default"] == again["default"]
    assert figures["default"]["loss"] != figures["fitted"]["loss"]


def test_an_own_calibration_is_kept(run: Run, releases: Path, assistant: ReadingAssistant) -> None:
    """A calibration is replaced only by a better fit, or by a larger fit that is not worse."""
    file = CalibrationFile(assistant.kept, "these-weights").of_edits()
    assert run("calibrate", releases, "--edits", "--limit", "28")[0] == 0
    first = file.path.read_bytes()
    code, out, err = run("calibrate", releases, "--edits", "--limit", "28", "--json")
    assert code == 0, err
    assert file.path.read_bytes() == first
    assert json.loads(out)["path"] is None
    assert (
        f"On these edits the calibration is not clearly better than the present one "
        f"in {file.path}, so it was not stored." in err
    )

    code, _, err = run("calibrate", releases, "--edits")
    assert code == 0, err
    assert file.path.read_bytes() != first
    assert (
        f"has more edits of the same source than the present one in {file.path} "
        "and is not clearly worse, so it was stored." in err
    )

    file.write(EditGate(-9.0, 0.01).record)
    code, _, err = run("calibrate", releases, "--edits")
    assert (
        f"On these edits the calibration is clearly better than the present one in {file.path}, so it was stored."
        in err
    )
    assert EditGate.read(json.loads(file.path.read_bytes())).slope > 0.1


def test_worse_than_the_default(
    run: Run, releases: Path, assistant: ReadingAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calibration that is clearly worse than the default model's is not stored."""
    monkeypatch.setattr(FittedGate, "lead_over", lambda fitted, gate: Interval(-0.2, -0.3, -0.1))
    code, _, err = run("calibrate", releases, "--edits")
    assert code == 0, err
    assert "On these edits the calibration is clearly worse than the default model's, so it was not stored." in err
    assert not CalibrationFile(assistant.kept, "these-weights").of_edits().path.exists()


def test_records_that_cannot_be_used(run: Run, releases: Path, assistant: ReadingAssistant, tmp_path: Path) -> None:
    """Errors of records name the remedy of this command, without a folder of results."""
    assert run("calibrate", releases, "--edits")[0] == 0
    (records,) = (tmp_path / "data" / "calibration").glob("*.jsonl")

    def error() -> str:
        code, _, err = run("calibrate", releases, "--edits")
        assert code == 1
        return err

    with FileLock(records.with_suffix(".lock")):
        assert "Another process is calibrating with these edits: wait for it, and repeat the command." in error()
    lines = records.read_bytes().split(b"\n")
    records.write_bytes(b"\n".join([lines[0].replace(b"knowing", b"unknown"), *lines[1:]]))
    assert "set another folder with PELLUCID_DATA, or delete that file." in error()
    records.write_bytes(b"\n".join([lines[0], b"{", *lines[2:]]))
    assert f"Line 2 of {records} is damaged: delete the file to start over." in error()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--edits", "--cursors", "100"], "cannot be combined with --edits"),
        (["--edits", "--with-log"], "cannot be combined with --edits"),
        (["--limit", "100"], "is for --edits"),
    ],
)
def test_options_of_the_other_kind(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """An option without effect is an error with the option's name."""
    code, _, err = run("calibrate", tmp_path, *arguments)
    assert code == 2
    assert sentence in " ".join(err.split())
