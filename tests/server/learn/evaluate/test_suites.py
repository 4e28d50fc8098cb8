"""Tests of each suite's questions and judgements, with a scripted model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.edits.edit_gate import EditGate
from pellucid.errors import ContextLengthError, InvalidRequestError, PellucidError
from pellucid.learn.evaluate import suite_protocol
from pellucid.learn.evaluate.measures.undefined_python_names import names_of
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.registry import KINDS
from pellucid.learn.evaluate.subjects import Subject
from pellucid.learn.evaluate.suite_protocol import Facts, Suite, SuiteRecord
from pellucid.learn.evaluate.suites.crows_pairs import CrowsPairs
from pellucid.learn.evaluate.suites.humaneval import HumanEval, HumanEvalSampling
from pellucid.learn.evaluate.suites.infilling import PREFIX_ONLY, Infilling, compare, identifier_f1
from pellucid.learn.evaluate.suites.next_edit import (
    ALL_SHOWN,
    NO_DIFF,
    NO_MARKER,
    NextEdit,
    NextEditProposals,
    measures,
    shown,
)
from pellucid.learn.evaluate.suites.perplexity import Perplexity, TextWindow, llama_windows
from pellucid.learn.evaluate.suites.text_similarity import TextSimilarity
from pellucid.learn.evaluate.suites.truthfulqa import PRIMER, TruthfulQA, mc1, mc2
from pellucid.learn.evaluate.suites.unknown_names import UnknownNames
from pellucid.learn.evaluate.suites.winogender import Winogender
from pellucid.learn.metrics import bootstrap, wilson
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import FinishReason
from support.learn.edited_repositories import CALLS, ONE_RENAMED, RENAMED, write_releases
from support.learn.evaluation_files import LINES, PAIRS, PROBLEMS, QUESTIONS, write_benchmarks, write_lines
from support.learn.scripted_model import ScriptedModel, subject


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few resamples, because intervals have their own tests."""
    monkeypatch.setattr(suite_protocol, "bootstrap", partial(bootstrap, resamples=20))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_benchmarks(tmp_path / "data")


async def run(
    suite: Suite, model: Subject, earlier: Mapping[str, Sequence[SuiteRecord]] | None = None
) -> tuple[list[SuiteRecord], dict[str, float]]:
    """Run a suite, and return all records, and the figures by label."""
    session = ModelSession(model)
    questions = await suite.questions(session, earlier or {})
    records = [SuiteRecord(one.id, one.unit, await one.ask(ModelSession(model))) for one in questions]
    judged = KINDS[suite.name].judge(records, suite.gate(model))
    figures = {}
    for measure in KINDS[suite.name].measures([record.facts for record in judged]):
        metric = measure.of(judged)
        if metric is not None:
            figures[f"{measure.name}: {measure.group}" if measure.group else measure.name] = metric.interval.value
    return records, figures


def solve(prefix: str, suffix: str | None) -> str:
    """Return the missing line after a prefix; a prefix alone lacks its last line break."""
    line = next(line["canonical_solution"] for line in LINES if line["prompt"].rstrip() == prefix.rstrip())
    return line if suffix is not None else f"\n{line}and more"


def write(prefix: str) -> str:
    """Return the whole solution of a problem."""
    return next("\n" + problem["canonical_solution"] for problem in PROBLEMS if problem["prompt"].rstrip() == prefix)


class TestInfilling:
    @pytest.mark.process
    @pytest.mark.parametrize(
        ("says", "right"),
        [(solve, 1.0), (lambda prefix, suffix: solve(prefix, suffix) + "garbage(", 1.0), (lambda *_: "", 0.0)],
        ids=["right", "longer", "empty"],
    )
    async def test_answers(self, data: Path, says: Callable[[str, str | None], str], right: float) -> None:
        """Only the first line of an answer counts; the prompt includes the text after the gap."""
        interface = ScriptedModel(says)
        _, found = await run(Infilling(data, None, run_code=True), subject(interface))
        assert found == dict.fromkeys(("exact match", "edit similarity", "identifier F1", "pass@1"), right)
        assert sorted(interface.asked) == sorted((str(line["prompt"]), str(line["suffix"])) for line in LINES)

    async def test_without_markers(self, data: Path) -> None:
        """A model without infill markers gets only the text before the gap, and a note says so."""
        interface = ScriptedModel(solve)
        model = subject(interface, infill=False)
        suite = Infilling(data, 3, run_code=False)
        records, found = await run(suite, model)
        assert [suffix for _, suffix in interface.asked] == [None] * 3
        assert found["exact match"] == 1.0
        notes = suite.notes(ModelSession(model), [record.facts for record in records])
        assert notes[0] == PREFIX_ONLY
        assert "pass@1" not in found
        assert "--run-code" in notes[-1]

    def test_comparing(self) -> None:
        """Blanks at the ends do not matter; identifiers exclude strings, comments and keywords."""
        assert compare("  return x\t", "return x") == {"same": True, "similarity": 1.0, "identifiers": 1.0}
        assert identifier_f1("return a + b  # c", "return a - 'b'") == pytest.approx(2 / 3)
        assert identifier_f1("return 1", "return 2") is None
        assert identifier_f1("", "x = 1") == 0.0


class TestHumanEval:
    @pytest.mark.process
    async def test_samples(self, data: Path) -> None:
        """Every problem gets the requested number of answers, each with a different seed."""
        answers = iter(["\n    return None\n", "\n    pass\n"] * 8)
        interface = ScriptedModel(lambda prefix, suffix: write(prefix) if "times2" in prefix else next(answers))
        records, found = await run(HumanEval(data, None, HumanEvalSampling(2, 0.8), run_code=True), subject(interface))
        assert len(interface.asked) == 8
        assert found == {"pass@1": 0.25}
        assert {len(record.facts["answers"]) for record in records} == {2}
        seeds = {HumanEvalSampling(2, 0.8).params(problem, number).seed for problem in ("a", "b") for number in (0, 1)}
        assert len(seeds) == 4

    async def test_without_run_code(self, data: Path) -> None:
        """Without --run-code nothing is run, pass@k is missing, and the notes say so."""
        mark = data / "ran"
        suite = HumanEval(data, None, HumanEvalSampling(), run_code=False)
        model = subject(ScriptedModel(lambda prefix, suffix: f"\n    open({str(mark)!r}, 'w')\n"))
        records, found = await run(suite, model)
        assert found == {}
        assert not mark.exists()
        assert "--run-code" in suite.notes(ModelSession(model), [record.facts for record in records])[-1]

    def test_samples_need_a_temperature(self) -> None:
        """Several greedy answers are rejected, because the answers would be equal."""
        with pytest.raises(InvalidRequestError, match="use a higher --temperature"):
            HumanEvalSampling(5, 0.0)


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("answer", "count", "unknown"),
        [
            ("    return len(x)\n", 2, ()),
            ("    return frobnicate(x)\n", 2, ("frobnicate",)),
            ("    import numpy, nosuchmodule\n    from json import loads\n", 3, ("nosuchmodule",)),
            ("    y = [z for z in x]\n    return later(y)\n", 4, ()),
            ("    return math.sqrt(x)\n", 2, ()),
            ("    from .own import thing\n    return thing\n", 1, ()),
            ("    return (lambda q: q + w)(x)\n", 3, ("w",)),
            ("    match x:\n        case [first, *rest]:\n            return first, rest\n", 3, ()),
        ],
    )
    def test_names(self, answer: str, count: int, unknown: tuple[str, ...]) -> None:
        """A name exists if bound in the file, built into Python, or an importable module."""
        found = names_of("def f(x):\n", answer, "\n\ndef later(y):\n    return y + elsewhere\n")
        assert found is not None
        assert (found.all, found.unknown) == (count, unknown)

    @pytest.mark.parametrize(
        ("prefix", "answer"),
        [
            ("def f(x):\n", "    return (\n"),
            ("from math import *\n\n\ndef f(x):\n", "    return sqrt(x)\n"),
            ("def f(x):\n", "    from math import *\n    return sqrt(x)\n"),
        ],
    )
    def test_what_is_not_judged(self, prefix: str, answer: str) -> None:
        """Invalid Python, and names after a star import, are not judged."""
        assert names_of(prefix, answer, "") is None

    async def test_of_samples(self) -> None:
        """Bad answers are counted, not problems with a bad answer."""
        good, bad, broken = "    return x\n", "    return nonsense\n", "    return (\n"
        facts = [
            {"prefix": "def f(x):\n", "suffix": "", "answers": answers}
            for answers in ([good, good, good, bad], [good, broken])
        ]
        records = [SuiteRecord(str(number), str(number), one) for number, one in enumerate(facts)]
        judged, found = await run(
            UnknownNames(["humaneval", "unknown-names"]), subject(ScriptedModel()), {"humaneval": records}
        )
        assert found["answers with an unknown name"] == 0.2
        assert [record.facts["parsed"] for record in judged] == [4, 1]

    async def test_of_answers(self, data: Path) -> None:
        """The answers of the code suites are judged without asking the model again."""
        interface = ScriptedModel(
            lambda prefix, suffix: "\n    return nonsense(x)\n" if "times3" in prefix else write(prefix)
        )
        records, _ = await run(HumanEval(data, None, HumanEvalSampling(), run_code=False), subject(interface))
        asked = len(interface.asked)
        judged, found = await run(
            UnknownNames(["humaneval", "unknown-names"]), subject(interface), {"humaneval": records}
        )
        assert len(interface.asked) == asked
        assert len(judged) == len(PROBLEMS)
        assert found["answers with an unknown name"] == 0.25
        assert found["unknown names"] == pytest.approx(1 / 8)  # Each answer has two names.
        with pytest.raises(InvalidRequestError, match="add one of them to --suite"):
            UnknownNames(["unknown-names", "speed"])


class TestTruthfulQA:
    def test_figures(self) -> None:
        """MC1 is the most probable answer, MC2 the right answers' share of the probability."""
        logprobs = {"right": math.log(0.3), "also right": math.log(0.2), "wrong": math.log(0.1)}
        assert mc1(logprobs, {"right": 1, "wrong": 0})
        assert not mc1(logprobs, {"wrong": 1, "also right": 0})
        assert mc2(logprobs, {"right": 1, "also right": 1, "wrong": 0}) == pytest.approx(5 / 6)
        assert mc2({"a": -2000.0, "b": -2000.0}, {"a": 1, "b": 0}) == pytest.approx(0.5)

    async def test_suite(self, data: Path) -> None:
        """Answers are scored after the authors' primer and the question, by the sum of logprobs."""
        interface = ScriptedModel(likes=lambda text: -1.0 if text.endswith("An animal") else -2.0)
        records, found = await run(TruthfulQA(data, None), subject(interface))
        assert found["MC1"] == 0.5
        fish = next(record.facts for record in records if len(record.facts["logprobs"]) == 3)
        assert fish["logprobs"] == {"An animal": -10.0, "A being": -16.0, "A plant": -16.0}
        assert PRIMER.endswith("Spain.\n\n")
        assert len(records) == len(QUESTIONS)


class TestProbes:
    async def test_crows_pairs(self, data: Path) -> None:
        """The figure is the share of pairs with the stereotype more probable, for each group."""
        interface = ScriptedModel(likes=lambda text: -1.0 if "Old" in text or "Poor" in text else -2.0)
        records, found = await run(CrowsPairs(data, None), subject(interface))
        assert len(records) == len(PAIRS)
        assert found["prefers the stereotype"] == pytest.approx(2 / 3)
        assert found["prefers the stereotype: age"] == 0.5
        assert found["prefers the stereotype: socioeconomic"] == 1.0
        assert found["prefers the stereotype: antistereo"] == 0.0
        assert "authors themselves warn" in CrowsPairs(data, None).notes(ModelSession(subject(interface)), [])[0]

    async def test_length_is_no_preference(self, data: Path) -> None:
        """By token, a shorter sentence is not preferred for its length."""
        _, found = await run(CrowsPairs(data, None), subject(ScriptedModel(likes=lambda text: -1.0)))
        assert found["prefers the stereotype, by token"] == 0.0

    async def test_winogender(self, data: Path) -> None:
        """The gap is between he and she in the same sentence, by referent and by occupation."""
        interface = ScriptedModel(likes=lambda text: -1.0 if " he " in text and "pilot" in text else -1.5)
        records, found = await run(Winogender(data, None), subject(interface))
        assert {record.unit for record in records} == {"baker", "pilot"}
        # The pronoun he is shorter by a character, a token of this model.
        assert found["prefers he to she: the occupation"] == 1.0
        pattern = "The pilot told the passenger that {} was right."  # plain-english: allow
        texts = [len(pattern.format("he")), len(pattern.format("she"))]
        assert found["gap of he and she: pilot"] == pytest.approx(1.5 * texts[1] - texts[0])
        assert found["gap of he and she: baker"] == pytest.approx(1.5)


class TestText:
    async def test_same_and_different(self, tmp_path: Path) -> None:
        """A copy of the reference has full marks, and an answer without common words has none."""
        references = [
            {"prompt": f"Say {n}.", "reference": f"number {n} is what I say to you here"} for n in ("one", "two")
        ]
        path = write_lines(tmp_path / "references.jsonl", references)
        answers = {one["prompt"]: one["reference"] for one in references}
        suite = TextSimilarity(path, None, None)
        for chat in (True, False):
            records, found = await run(suite, subject(ScriptedModel(lambda prefix, suffix: answers[prefix]), chat=chat))
            assert found == pytest.approx(
                {"BLEU": 100.0, "chrF": 100.0, "ROUGE-1 F1": 1.0, "ROUGE-2 F1": 1.0, "ROUGE-L F1": 1.0}
            )
        _, nothing = await run(suite, subject(ScriptedModel(lambda prefix, suffix: "zzz")))
        assert nothing["ROUGE-L F1"] == nothing["BLEU"] == 0.0
        notes = suite.notes(ModelSession(subject(ScriptedModel())), [record.facts for record in records])
        assert "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in notes[1]
        assert "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in notes[1]
        assert "--encoder" in notes[-1]

    async def test_limit(self, tmp_path: Path) -> None:
        """A limit samples the whole file, and a larger limit extends the sample."""
        path = write_lines(
            tmp_path / "references.jsonl", [{"prompt": f"{n}", "reference": f"{n}"} for n in range(1, 101)]
        )
        session = ModelSession(subject(ScriptedModel()))
        few, more = [
            [one.id for one in await TextSimilarity(path, limit, None).questions(session, {})] for limit in (10, 20)
        ]
        assert more[:10] == few
        assert max(map(int, few)) > 50

    async def test_scores_are_those_of_sacrebleu(self, tmp_path: Path) -> None:
        """Additive counts have the scores that sacrebleu computes on the whole corpus."""
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        references = [
            {"prompt": "a", "reference": "the cat sat on the mat with a hat"},
            {"prompt": "b", "reference": "it rains, and the dogs sleep all day long"},
        ]
        answers = {"a": "the cat sat on a mat with the hat", "b": "it rains and the dogs sleep today"}
        path = write_lines(tmp_path / "references.jsonl", references)
        _, found = await run(
            TextSimilarity(path, None, None), subject(ScriptedModel(lambda prefix, suffix: answers[prefix]))
        )
        generated, expected = list(answers.values()), [[one["reference"] for one in references]]
        assert found["BLEU"] == pytest.approx(BLEU().corpus_score(generated, expected).score)
        assert found["chrF"] == pytest.approx(CHRF().corpus_score(generated, expected).score)


class TestPerplexity:
    async def test_each_token_once(self, tmp_path: Path) -> None:
        """All tokens but the first are scored once, however the text is split."""
        (tmp_path / "a.txt").write_text("xyz" * 20)
        for window in (8, 16, 1000):
            records, found = await run(
                Perplexity(tmp_path / "a.txt", window=window), subject(ScriptedModel(likes=lambda text: -2.0))
            )
            assert sum(len(record.facts["logprobs"]) for record in records) == 59
            assert found["perplexity"] == pytest.approx(math.exp(2.0))
            assert found["bits per byte"] == pytest.approx(2.0 / math.log(2))

    async def test_like_llama(self, tmp_path: Path) -> None:
        """The tokens after the middle of each whole window count, and no incomplete window."""
        assert [(one.begin, one.end, one.counted) for one in llama_windows(1100, 512)] == [
            (0, 512, 255),
            (512, 1024, 255),
        ]
        (tmp_path / "a.txt").write_text("abcdefgh" * 8 + "rest")
        records, _ = await run(Perplexity(tmp_path / "a.txt", like_llama=True, window=16), subject(ScriptedModel()))
        assert [len(record.facts["logprobs"]) for record in records] == [7, 7, 7, 7]

    async def test_limit(self, tmp_path: Path) -> None:
        """A limit samples windows of all files, or the first windows with --like-llama."""
        for number in range(30):
            (tmp_path / f"{number:02}.txt").write_text(chr(ord("a") + number % 26) * (100 + number))
        model = ModelSession(subject(ScriptedModel()))

        async def read(limit: int | None, *, like_llama: bool = False) -> tuple[list[TextWindow], str]:
            suite = Perplexity(tmp_path, limit, like_llama=like_llama, window=16)
            parts = [one for one in await suite.questions(model, {}) if isinstance(one, TextWindow)]
            return parts, " ".join(suite.notes(model, [await part.ask(model) for part in parts]))

        few, few_notes = await read(10)
        many, many_notes = await read(100)
        assert [part.id for part in many[:10]] == [part.id for part in few]
        assert 5 < len({part.file for part in few}) <= 10
        assert {part.unit for part in few} == {part.id for part in few}
        assert {part.unit for part in many} == {part.file for part in many}
        assert "at most 10 random ones of all windows" in few_notes
        assert "resampling windows, because there are too few files" in few_notes
        assert "resampling files" in many_notes
        first, said_of_first = await read(10, like_llama=True)
        assert [part.id for part in first[:3]] == [f"00.txt, window {number}" for number in range(3)]
        assert "the first 10 consecutive windows" in said_of_first

    async def test_begin_of_text(self, tmp_path: Path) -> None:
        """A model's BOS replaces the first token of each window with --like-llama."""

        class WithBOS(ScriptedModel):
            async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
                return [1, *await super().token_ids(text)]

        (tmp_path / "a.txt").write_text("abcdefgh" * 8)
        questions = await Perplexity(tmp_path / "a.txt", like_llama=True, window=16).questions(
            ModelSession(subject(WithBOS())), {}
        )
        windows = [one.ids for one in questions if isinstance(one, TextWindow)]
        assert [bytes(ids) for ids in windows] == [b"\1abcdefghabcdefg"] * 4

    async def test_too_short(self, tmp_path: Path) -> None:
        """A text shorter than a window is rejected with --like-llama, and large windows always."""
        (tmp_path / "a.txt").write_text("short")
        with pytest.raises(InvalidRequestError, match="shorter than a window of 512 tokens"):
            await run(Perplexity(tmp_path / "a.txt", like_llama=True), subject(ScriptedModel()))
        with pytest.raises(InvalidRequestError, match="use a smaller --window"):
            await run(Perplexity(tmp_path / "a.txt", window=1 << 30), subject(ScriptedModel()))


async def test_broken_answers() -> None:
    """An answer that the model did not finish is an error."""
    session = ModelSession(subject(ScriptedModel(reason=FinishReason.ERROR)))
    with pytest.raises(PellucidError, match="did not finish an answer"):
        await session.complete("x")


async def test_likelihood() -> None:
    """The tokens of the text count, without the context, and are identified by bytes."""
    session = ModelSession(subject(ScriptedModel(likes=lambda text: -0.5)))
    found = await session.likelihood("\n", "café")
    assert (found.logprob, found.tokens, found.per_token) == (-2.0, 4, -0.5)


def test_facts_are_json(data: Path) -> None:
    """Settings are JSON, so that saved runs can be compared."""
    code = Infilling(data, None, run_code=False), HumanEval(data, None, HumanEvalSampling(), run_code=False)
    suites: list[Suite] = [*code, TruthfulQA(data, None), CrowsPairs(data, None), Winogender(data, None)]
    found: list[Facts] = [dict(suite.settings) for suite in suites]
    assert json.loads(json.dumps(found)) == found


def eager_reader(**more: Any) -> Subject:
    """Return a model that finds the lines after the renaming probable."""
    return subject(ScriptedModel(likes=lambda text: -0.1 if RENAMED_CALL in text.split("\n")[0] else -1.0), **more)


RENAMED_CALL = "read_settings"


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Write releases with a function renamed everywhere, or at one of four places."""
    packages = {
        "all": {"1": {"a.py": CALLS}, "2": {"a.py": RENAMED}},
        "one": {"1": {"b.py": CALLS}, "2": {"b.py": ONE_RENAMED}},
    }
    return write_releases(tmp_path / "releases", packages)


class TestNextEdit:
    async def test_a_model_that_finds_the_new_lines_probable(self, releases: Path) -> None:
        """All edits are suggested at every level, right or wrong."""
        model = eager_reader()
        records, found = await run(NextEdit(releases, None, Silent()), model)
        assert len(records) == 5
        for level in ("quiet", "normal", "eager"):
            for name in ("site found, first", "exact lines, first", "show rate"):
                assert found[f"{name}: {level}"] == 1.0
            assert found[f"quiet rate, with proposals: {level}"] == 0.0
            # The last change of the second file leaves nothing to propose.
            assert found[f"quiet rate: {level}"] == 0.5
            assert found[f"exact, of those shown: {level}"] == 0.75
            assert found[f"keystrokes saved: {level}"] == pytest.approx(1 - 2 / len("read_settings"))

    async def test_a_model_that_does_not(self, releases: Path) -> None:
        """No edit is suggested, so the model is quiet everywhere, and finds nothing."""
        model = subject(ScriptedModel(likes=lambda text: -1.0 if "read_settings" in text.split("\n")[0] else -0.1))
        _, found = await run(NextEdit(releases, None, Silent()), model)
        assert found["quiet rate: eager"] == found["quiet rate, with proposals: eager"] == 1.0
        assert found["site found, first 3: eager"] == found["show rate: eager"] == 0.0
        assert found["keystrokes saved: eager"] == 0.0
        assert "exact, of those shown: eager" not in found

    async def test_the_gate_of_the_model_decides(self, releases: Path) -> None:
        """The calibration of the model's next edits decides, and the notes name the calibration."""
        model = eager_reader()
        suite, own = NextEdit(releases, None, Silent()), replace(model, edit_gate=EditGate(-9.0, 0.01))
        _, found = await run(suite, own)
        assert found["show rate: eager"] == 0.0
        named = (
            "P(right) = logistic(-9.00 + 0.01 (log p(new lines) - log p(old lines) + evidence)): "
            "the model's own calibration."
        )
        assert named in suite.notes(ModelSession(own), [])
        assert any(note.endswith("the default model's calibration.") for note in suite.notes(ModelSession(model), []))

    async def test_the_first_is_what_an_editor_shows_first(self, tmp_path: Path) -> None:
        """The first suggestion is the next place below the edit, despite more probable places."""
        new = CALLS.replace("load_settings(path_b", "read_settings(path_b").replace(
            "load_settings(path_c", "read_settings(path_c"
        )
        folder = write_releases(tmp_path / "releases", {"all": {"1": {"a.py": CALLS}, "2": {"a.py": new}}})
        scores = {"value_a = read": -0.1, "value_c = read": -0.8, "value_d = read": -0.1}
        model = subject(ScriptedModel(likes=lambda text: scores.get(text.split("_settings")[0], -1.0)))
        suite = NextEdit(folder, None, Silent())
        records, found = await run(suite, model)
        (record,) = [record for record in records if record.facts["followed"]]
        (judged,) = KINDS[suite.name].judge([record], suite.gate(model))
        assert [proposal["line"] > record.facts["line"] for proposal in shown(judged.facts, 0.3)] == [True, True, False]
        assert found["exact lines, first: eager"] == 1.0

    async def test_the_interval_of_keystrokes(self, tmp_path: Path) -> None:
        """Without saved keystrokes, the interval has the number of packages weighted by keys."""
        long = RENAMED.replace("read_settings", "read_settings_from_a_file")
        packages = {
            name: {"1": {"a.py": CALLS}, "2": {"a.py": text}} for name, text in (("long", long), ("short", RENAMED))
        }
        suite = NextEdit(write_releases(tmp_path / "releases", packages), None, Silent())
        model = subject(ScriptedModel(likes=lambda text: -1.0 if "read_" in text else -0.1))
        records, _ = await run(suite, model)
        judged = KINDS[suite.name].judge(records, suite.gate(model))
        found = measures([record.facts for record in judged])
        (measure,) = [one for one in found if (one.name, one.group) == ("keystrokes saved", "eager")]
        keys = [sum(r.facts["keystrokes"] for r in records if r.unit == unit) for unit in ("long", "short")]
        assert keys[0] > keys[1]
        metric = measure.of(judged)
        assert metric is not None
        assert metric.interval == wilson(0, sum(keys) ** 2 / sum(size**2 for size in keys))

    async def test_edits_that_were_not_drawn_count(self, releases: Path) -> None:
        """Figures over right and wrong cases weigh each case by the cases not drawn."""
        records, found = await run(NextEdit(releases, 2, Silent()), eager_reader())
        assert sum(bool(record.facts["proposals"]) for record in records) == 2
        assert found["exact, of those shown: normal"] == pytest.approx(0.75)

    async def test_what_is_read(self, releases: Path) -> None:
        """The model reads each place with a diff if possible and wanted, or the notes say so."""
        for files, with_diff, count, note in (
            (True, True, 1, None),
            (False, True, 0, NO_MARKER),
            (True, False, 0, NO_DIFF),
        ):
            interface = ScriptedModel()
            model = subject(interface, files=files)
            suite = NextEdit(releases, None, Silent(), with_diff=with_diff)
            records, _ = await run(suite, model)
            gaps = [query.gap for query in interface.read]
            assert len(gaps) == 2 * sum(len(record.facts["proposals"]) for record in records)
            assert all(gap is not None and len(gap.extra) == count for gap in gaps)
            notes = suite.notes(ModelSession(model), [record.facts for record in records])
            assert {NO_MARKER, NO_DIFF} & set(notes) == ({note} if note else set())

    async def test_without_reading(self, releases: Path) -> None:
        """Every proposal is shown without asking the model, with a single set of figures."""
        interface = ScriptedModel()
        suite = NextEditProposals(releases, None, Silent())
        records, found = await run(suite, subject(interface))
        assert not interface.read
        assert found["exact lines, first"] == found["show rate"] == 1.0
        assert found["quiet rate, with proposals"] == 0.0
        assert ALL_SHOWN in suite.notes(ModelSession(subject(interface)), [record.facts for record in records])
        assert suite.settings != NextEdit(releases, None, Silent()).settings

    async def test_a_reading_that_fails(self, releases: Path) -> None:
        """A proposal that is too long counts as hidden, and any further failure ends the run."""
        model = subject(ScriptedModel(failure=ContextLengthError(600, 512)))
        suite = NextEdit(releases, None, Silent())
        records, found = await run(suite, model)
        assert found["show rate: eager"] == 0.0
        assert "AUROC of the reading" not in found
        notes = suite.notes(ModelSession(model), [record.facts for record in records])
        assert any(note.startswith("9 proposals could not be read") for note in notes)
        with pytest.raises(InvalidRequestError, match="is not a model"):
            await run(suite, subject(ScriptedModel(failure=InvalidRequestError("This is not a model."))))
        with pytest.raises(PellucidError, match="did not finish an answer"):
            await run(suite, subject(ScriptedModel(reason=FinishReason.ERROR)))
