"""Tests of pellucid evaluate with tiny models, end to end, and of the errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pellucid.api.server_state import ServerState
from pellucid.completion.edits.edit_gate import EditGate
from pellucid.door.api_keys import read_keys
from pellucid.learn.evaluate import suite_protocol
from pellucid.learn.evaluate.results import read_results
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suite_records import read_records
from pellucid.learn.evaluate.suites import speed
from pellucid.learn.evaluate.suites.humaneval import HumanEval
from pellucid.learn.metrics import bootstrap
from pellucid.learn.record_file import RecordFile
from pellucid.models.calibrations import CalibrationFile
from pellucid.system import machine
from support.learn.edited_repositories import CALLS, ONE_RENAMED, RENAMED, write_repository
from support.learn.evaluation_files import PAIRS, write_benchmarks, write_lines
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import TINY, TINY_PLAIN, live, scripted_state, tiny_assistant

pytestmark = pytest.mark.slow

Run = Callable[..., tuple[int, str, str]]
VOCAB = 320
ALL = "perplexity,infilling,humaneval,unknown-names,text,truthfulqa,crows-pairs,winogender,speed"


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test its own cache and working folder."""
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PELLUCID_QUANT", "none")  # Nothing is compiled.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    # Intervals and speeds have their own tests.
    monkeypatch.setattr(suite_protocol, "bootstrap", partial(bootstrap, resamples=50))
    monkeypatch.setattr(speed, "TRIALS", 2)
    monkeypatch.setattr(speed, "TOKENS", 4)
    write_benchmarks(tmp_path / "data")
    (tmp_path / "notes.txt").write_text("The quick brown fox jumps over the lazy dog. " * 30)
    write_lines(
        tmp_path / "references.jsonl", [{"prompt": f"Say {n}.", "reference": f"I say {n} now"} for n in ("a", "b", "c")]
    )


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two folders with tiny Llamas and a tokenizer."""
    found = []
    for seed, name in enumerate(("one", "two<b>")):
        folder = tmp_path_factory.mktemp("models") / name
        tiny_llama(seed, vocab_size=VOCAB, max_position_embeddings=1024).save_pretrained(folder)
        found.append(write_folder(folder, byte_level_bpe(VOCAB)))
    return found[0], found[1]


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.process
def test_all_suites(run: Run, models: tuple[Path, Path], tmp_path: Path) -> None:
    """Every suite has figures for both models: saved, printed, and in a self-contained page."""
    options = (
        f"--suite {ALL} --data data --text notes.txt --references references.jsonl --limit 2 --run-code --window 64"
    )
    code, out, err = run("evaluate", *models, *options.split(), "--out", "results", "--json")

    assert code == 0, err
    assert err.splitlines()[-1] == f"The report is in {Path('results') / 'report.html'}."
    found = json.loads(out)
    assert json.loads((tmp_path / "results" / "results.json").read_text()) == found
    assert [model["name"] for model in found["models"]] == ["one", "two<b>"]
    for model in found["models"]:
        suites = {suite["suite"]: suite for suite in model["suites"]}
        assert list(suites) == ALL.split(",")
        assert all(suite["left_out"] is None for suite in suites.values())
        assert [suites[name]["asked"] for name in ("infilling", "humaneval", "unknown-names", "speed")] == [2, 2, 4, 2]
        figures = {figure["name"]: figure for suite in suites.values() for figure in suite["figures"]}
        names = "perplexity,bits per byte,exact match,pass@1,BLEU,MC1,prefers the stereotype,decode"
        assert set(names.split(",")) <= set(figures)
        assert 50 < figures["perplexity"]["value"] < 5000  # The weights are random, on 320 tokens.
        assert figures["perplexity"]["low"] < figures["perplexity"]["value"] < figures["perplexity"]["high"]
        assert suites["perplexity"]["cost"]["flops"] > 0
        assert len(suites["perplexity"]["diagrams"]) == 2
        assert (tmp_path / "results" / model["folder"] / "infilling.jsonl").is_file()

    page = Page((tmp_path / "results" / "report.html").read_text())
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "link", "img", "iframe", "b"} & set(tags)
    assert all(str(attributes.get("href", "#")).startswith("#") for _, attributes in page.tags)
    assert "two<b>" in page.text
    assert tags.count("table") == tags.count("caption") > 9
    labels = [str(attributes.get("aria-label")) for tag, attributes in page.tags if tag == "svg"]
    assert len(labels) >= 9 + 4
    assert all(": " in label for label in labels)  # Labels have a title and figures.
    assert "authors themselves warn" in page.text
    assert "not a security boundary" in page.text


def test_tables(run: Run, models: tuple[Path, Path]) -> None:
    """The terminal shows a table for each suite, followed by notes."""
    code, out, err = run("evaluate", models[0], "--suite", "infilling", "--data", "data", "--out", "results")

    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert ["infilling"] in lines
    assert any(line[:3] == ["exact", "match", "one"] and line[-1] == "8" for line in lines)
    assert "pass@1" not in {word for line in lines[:8] for word in line[:1]}
    assert "requires --run-code" in out


def test_resumed(run: Run, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger limit asks only new questions, and new settings or protocols are rejected."""
    command = ["evaluate", models[0], "--suite", "humaneval", "--data", "data", "--out", "results", "--json"]
    records = tmp_path / "results" / "one" / "humaneval.jsonl"
    assert run(*command, "--limit", "2")[0] == 0
    first = records.read_bytes()
    assert run(*command)[0] == 0
    assert records.read_bytes().startswith(first)
    whole = records.read_bytes()
    assert json.loads(whole.splitlines()[0])["settings"]["protocol"] == HumanEval.protocol
    code, out, _ = run(*command, "--limit", "3")
    assert records.read_bytes() == whole
    assert json.loads(out)["models"][0]["suites"][0]["asked"] == 3

    code, _, err = run(*command, "--run-code")

    assert code == 1
    assert err.splitlines()[-1] == (
        f"pellucid: {Path('results') / 'one' / 'humaneval.jsonl'} contains the records of another run "
        "(settings, run code: false there, true here): name another folder with --out, or delete that file."
    )
    assert records.read_bytes() == whole

    monkeypatch.setattr(HumanEval, "protocol", HumanEval.protocol + 1)
    code, _, err = run(*command)

    assert code == 1
    assert "(settings, protocol: " in err
    assert records.read_bytes() == whole


def test_adapter(run: Run, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter is evaluated only if named, and a retrained adapter is a different model."""
    adapters = tmp_path / "cache" / "adapters"
    shape = to_decoder(tiny_llama(0, vocab_size=VOCAB, max_position_embeddings=1024)).config
    for seed, name in enumerate(("mine", "other")):
        write_adapter(adapters / name, random_adapter(shape, seed=seed))
    monkeypatch.setenv("PELLUCID_ADAPTERS", "other")
    options = ["--suite", "crows-pairs", "--data", "data", "--out", "results", "--json"]
    for model, name in ((models[0], "one"), (f"{models[0]}:mine", "one:mine")):
        code, out, err = run("evaluate", model, *options)
        assert code == 0, err
        assert json.loads(out)["models"][-1]["name"] == name
    # The results of a model stay when another model is evaluated into the same folder.
    assert [model.name for model in read_results(tmp_path / "results").models] == ["one", "one:mine"]
    assert run("evaluate", f"{models[0]}:mine", *options)[0] == 0

    write_adapter(adapters / "mine", random_adapter(shape, seed=2))
    code, _, err = run("evaluate", f"{models[0]}:mine", *options)

    assert code == 1
    assert "contains the records of another run (model, adapter: " in err


def test_circumstances(run: Run, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures keep the circumstances of their questions, and changes repeat the speed suite."""
    options = ["--suite", "crows-pairs,speed", "--data", "data", "--out", "results", "--json"]

    def evaluate(*rest: str) -> dict[str, Any]:
        code, out, err = run("evaluate", models[0], *options, *rest)
        assert code == 0, err
        return {suite["suite"]: suite for suite in json.loads(out)["models"][0]["suites"]}

    speeds = tmp_path / "results" / "one" / "speed.jsonl"
    first = evaluate("--limit", "2")
    measured = speeds.read_bytes()
    same = evaluate("--limit", "2")
    assert same == first
    assert speeds.read_bytes() == measured
    monkeypatch.setattr(machine, "versions", lambda: {"pellucid": "next"})
    later = evaluate("--limit", "2")
    assert later["crows-pairs"] == first["crows-pairs"]
    assert later["speed"]["circumstances"]["versions"] == {"pellucid": "next"}
    assert speeds.read_bytes() != measured
    assert speeds.read_bytes().count(b"\n") == measured.count(b"\n")
    page = Page((tmp_path / "results" / "report.html").read_text()).text
    assert "; pellucid next; " in page
    assert "some suites ran with other versions" in page
    assert f"one: {first['crows-pairs']['circumstances']['date']}; pellucid 0" in page
    # A further question was asked.
    assert evaluate()["crows-pairs"]["circumstances"]["versions"] == {"pellucid": "next"}


def test_units_of_texts(run: Run, models: tuple[Path, Path], tmp_path: Path) -> None:
    """The unit of resampling, file or window, follows from all files read in all runs."""
    for number in range(25):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{number}.txt").write_text(f"Text number {number} is a text of its own. " * 2)
    command = [
        "evaluate",
        models[0],
        *["--suite", "perplexity", "--text", "texts", "--window", "32", "--out", "results", "--json"],
    ]
    assert run(*command, "--limit", "3")[0] == 0
    code, out, err = run(*command)
    assert code == 0, err
    figure = json.loads(out)["models"][0]["suites"][0]["figures"][0]
    assert figure["records"] > figure["units"] == 25
    assert {record.unit for record in read_records(tmp_path / "results" / "one" / "perplexity.jsonl")} == {
        f"{n}.txt" for n in range(25)
    }


def test_kill(run: Run, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 the command resumes without repetition, with an uninterrupted run's figures."""
    pairs = [f"Cat {n} is quick and sleeps all day.,Dog {n} is quick and sleeps.,stereo,age" for n in range(20)]
    (tmp_path / "data" / "crows_pairs_anonymized.csv").write_text("\n".join([",".join(PAIRS[0]), *pairs]))
    options = ["evaluate", models[0], "--suite", "crows-pairs", "--data", "data", "--json", "--out"]
    written: list[bytes] = []
    append = RecordFile.append

    def watched(file: RecordFile[SuiteRecord], record: SuiteRecord) -> None:
        append(file, record)
        written.append(file.path.read_bytes())
        if len(written) == 8:  # The folder is as a kill would leave the folder now.
            shutil.copytree("unbroken", "broken")

    monkeypatch.setattr(RecordFile, "append", watched)
    assert run(*options, "unbroken")[0] == 0
    assert [content.count(b"\n") for content in written] == list(range(2, 22))

    kept, records = written[6], tmp_path / "broken" / "one" / "crows-pairs.jsonl"
    records.write_bytes(written[7][:-9])  # The record was not complete.
    code, out, err = run(*options, "broken")

    assert code == 0, err
    assert len(written) == 20 + 13
    assert written[-1] == records.read_bytes()
    assert written[-1].startswith(kept)
    assert written[-1].count(b"\n") == 21
    unbroken = json.loads((tmp_path / "unbroken" / "results.json").read_text())
    assert json.loads(out)["models"][0]["suites"][0]["figures"] == unbroken["models"][0]["suites"][0]["figures"]


def test_compare(run: Run, models: tuple[Path, Path]) -> None:
    """A model does not differ from itself, models are compared by pairs, and the rest is listed."""
    suites = ["--suite", "perplexity,crows-pairs", "--data", "data", "--text", "notes.txt", "--window", "64"]
    assert run("evaluate", models[0], *suites, "--out", "a")[0] == 0
    assert run("evaluate", models[1], *suites, "--out", "b")[0] == 0
    other = ["--suite", "perplexity", "--text", "notes.txt", "--window", "32", "--out", "c"]
    assert run("evaluate", models[0], *other)[0] == 0

    same = json.loads(run("evaluate", "--compare", "a", "a", "--json")[1])[0]
    assert {figure["verdict"] for figure in same["figures"]} == {""}
    assert {figure["difference"] for figure in same["figures"]} == {0.0}

    ahead = json.loads(run("evaluate", "--compare", "a", "b", "--json")[1])[0]
    perplexity = next(figure for figure in ahead["figures"] if figure["figure"] == "perplexity")
    assert perplexity["difference"] == pytest.approx(perplexity["after"] - perplexity["before"])
    assert perplexity["low"] < perplexity["difference"] < perplexity["high"]
    sure = perplexity["low"] > 0 or perplexity["high"] < 0
    assert perplexity["verdict"] == ("" if not sure else "better" if perplexity["difference"] < 0 else "worse")
    back = json.loads(run("evaluate", "--compare", "b", "a", "--json")[1])[0]
    assert [figure["difference"] for figure in back["figures"]] == pytest.approx(
        [-figure["difference"] for figure in ahead["figures"]]
    )

    code, out, _ = run("evaluate", "--compare", "a", "c")
    assert code == 0
    assert "skipped: perplexity: the settings differ (window)." in out
    assert "skipped: crows-pairs: only one of them ran it." in out


def test_key_of_another_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings' key is sent to the settings' server only, and --api-key to --server."""
    monkeypatch.setenv("PELLUCID_API_KEY", "secret")
    with live(scripted_state(keys=read_keys("secret"))) as server:
        command = ["evaluate", "nobody", "--server", server.url, "--suite", "speed", "--out", "far"]
        code, _, err = run(*command)
        assert code == 1
        assert (
            f"The API key in the settings is sent only to http://127.0.0.1:8437: "
            f"give the key for {server.url} with --api-key-file." in err
        )
        assert "There is no model" not in err
        code, _, err = run(*command, "--api-key", "secret")
        assert code == 1
        assert f"There is no model 'nobody' at {server.url}" in err


def test_server(run: Run, tmp_path: Path) -> None:
    """A server's model answers every suite, with identified weights and Pellucid's figures."""
    assistant, engine = tiny_assistant(calibration=CalibrationFile(tmp_path / "tiny.json", "these weights"))
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    try:
        with live(state) as server:
            rest = ["--suite", "crows-pairs,speed", "--data", "data", "--out", "far", "--json"]
            command = ["evaluate", TINY, "--server", server.url, *rest]
            code, out, err = run(*command)
        state = ServerState(models=(TINY,), grace=0.0)
        state.open(assistant, engine)
        with live(state) as server:
            with_v1 = run("evaluate", TINY, "--server", f"{server.url}/v1", "--suite", "speed", "--out", "v1")
            elsewhere = run(*[server.url if part.startswith("http") else part for part in command])
            missing = run("evaluate", "nobody", "--server", server.url, "--suite", "speed", "--out", "far")
    finally:
        engine.close()
    assert code == 0, err
    (model,) = json.loads(out)["models"]
    assert model["identity"]["revision"] == "these weights"
    suites = {suite["suite"]: suite for suite in model["suites"]}
    assert suites["crows-pairs"]["asked"] == 3
    assert {figure["name"] for figure in suites["speed"]["figures"]} == {"prefill", "decode", "weights"}
    assert with_v1[0] == 0, with_v1[2]
    assert "prefill" in with_v1[1]  # Only Pellucid reports the prefill.
    assert elsewhere[0] == 1
    assert "contains the records of another run (model, url: " in elsewhere[2]
    assert missing[0] == 1
    assert f"pellucid: There is no model 'nobody' at {server.url}; use one of: tiny" in missing[2].splitlines()[-1]


def test_next_edit(run: Run, models: tuple[Path, Path], tmp_path: Path) -> None:
    """The history of a repository gives figures for each level, and no question is repeated."""
    versions = [{"a.py": CALLS, "b.py": CALLS}, {"a.py": RENAMED}, {"b.py": ONE_RENAMED}]
    write_repository(tmp_path / "project", versions)
    command = ["evaluate", models[0], "--suite", "next-edit", "--edits", "project", "--out", "results", "--json"]
    code, out, err = run(*command)

    assert code == 0, err
    (suite,) = json.loads(out)["models"][0]["suites"]
    assert suite["asked"] == 5
    assert suite["cost"]["requests"] == 2 * 9  # Each proposal has new and old lines to read.
    figures = {(figure["name"], figure["group"]): figure for figure in suite["figures"]}
    for level in ("quiet", "normal", "eager"):
        assert figures["quiet rate, with proposals", level]["records"] == 1
        assert figures["site found, first", level]["records"] == 3
        assert figures["keystrokes saved", level]["units"] == 1
    assert suite["notes"][2].startswith(
        "5 edits in 2 packages or commits, 3 with more to change in the same file. 4 have proposals"
    )
    records = tmp_path / "results" / "one" / "next-edit.jsonl"
    written = records.read_bytes()
    assert run(*command)[0] == 0
    assert records.read_bytes() == written

    code, out, err = run(*command[:-2], "all", "--without-reading", "--json")
    assert code == 0, err
    (suite,) = json.loads(out)["models"][0]["suites"]
    assert suite["cost"]["requests"] == 0
    assert {figure["group"] for figure in suite["figures"]} == {""}


def test_next_edit_after_a_calibration(run: Run, tmp_path: Path) -> None:
    """A new calibration of next edits changes the figures without a new reading."""
    write_repository(tmp_path / "project", [{"a.py": CALLS}, {"a.py": RENAMED}])
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    command = ("evaluate", TINY, "--edits", "project", "--json")
    try:
        with live(state) as server, pytest.MonkeyPatch.context() as patch:
            both = ("--server", server.url, "--out", "results", "--suite", "next-edit,winogender", "--data", "data")
            (before,) = json.loads(run(*command, *both)[1])["models"]
            shutil.copytree(tmp_path / "results", tmp_path / "before")
            patch.setattr("pellucid.learn.evaluate.open_subject.gate_of", lambda card: (EditGate(-9.0, 0.01), None))
            code, out, err = run(*command, "--server", server.url, "--out", "results", "--suite", "next-edit")
    finally:
        engine.close()
    assert code == 0, err
    (after,) = json.loads(out)["models"]
    then, now = ({suite["suite"]: suite for suite in model["suites"]} for model in (before, after))
    assert now["winogender"] == then["winogender"]
    assert now["next-edit"]["circumstances"] == then["next-edit"]["circumstances"]
    rates = [
        next(
            figure["value"]
            for figure in suites["next-edit"]["figures"]
            if (figure["name"], figure["group"]) == ("show rate", "quiet")
        )
        for suites in (then, now)
    ]
    assert rates[0] > rates[1] == 0.0
    (compared,) = json.loads(run("evaluate", "--compare", "before", "results", "--json")[1])
    changes = {change["figure"]: change for change in compared["figures"]}
    assert [changes["show rate: quiet"]["before"], changes["show rate: quiet"]["after"]] == rates


def test_next_edit_on_a_server(run: Run, tmp_path: Path) -> None:
    """A server's model reads places that fit the context, and infill markers are required."""
    texts = [{"a.py": text, "b.py": text.replace("\n\n", f"  # {'long ' * 60}\n\n")} for text in (CALLS, RENAMED)]
    write_repository(tmp_path / "project", texts)
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY, TINY_PLAIN), grace=0.0)
    state.open(assistant, engine)
    try:
        with live(state) as server:
            rest = ["--suite", "next-edit", "--edits", "project", "--out", "results", "--json"]
            code, out, err = run("evaluate", TINY, TINY_PLAIN, "--server", server.url, *rest)
    finally:
        engine.close()
    assert code == 0, err
    read, skipped = (model["suites"][0] for model in json.loads(out)["models"])
    assert read["cost"]["requests"] == 2 * 9
    assert any(note.startswith("3 proposals could not be read, as they are too long") for note in read["notes"])
    assert skipped["left_out"].startswith("It needs the probabilities of a text between two others, which")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--suite infiling", "There is no suite 'infiling': did you mean infilling?"),
        ("--suite xyz", "There is no suite 'xyz': the suites are perplexity, infilling, "),
        ("", "No suite is named: give --suite with one or more of perplexity, "),
        ("--suite perplexity", "Perplexity needs a text: name a file or folder with --text."),
        ("--suite perplexity --text none", "none does not exist: name a file or a folder of text."),
        ("--suite text", "Text needs reference answers: name a file of JSON lines with --references."),
        ("--suite text --references none", "none does not exist: name a file of JSON lines with --references."),
        (
            "--suite text --references broken.jsonl",
            "Line 2 of broken.jsonl is not JSON: the file is damaged, download it again.",
        ),
        ("--suite text --references references.jsonl --encoder data", "data contains no encoder: name a folder"),
        (
            "--suite humaneval",
            "HumanEval.jsonl.gz is needed (github.com/openai/human-eval, data/, MIT): name the folder",
        ),
        ("--suite humaneval --data empty", "There is no HumanEval.jsonl.gz or HumanEval.jsonl in empty: download it"),
        ("--suite truthfulqa --data wrong", "Record 1 of wrong/mc_task.json lacks the fields question, mc1_targets"),
        (
            "--suite crows-pairs --data wrong",
            "Line 2 of wrong/crows_pairs_anonymized.csv has no sent_more: the file is damaged",
        ),
        ("--suite winogender --data wrong", "wrong/all_sentences.tsv lacks a gender of baker.customer.0: the file"),
        ("--suite humaneval --data wrong", "wrong/HumanEval.jsonl.gz cannot be read"),
        ("--suite next-edit", "Next-edit needs edits: name a git repository or a folder of releases with --edits."),
        ("--suite next-edit --edits none", "none cannot be read (No such file or directory): name another folder."),
        (
            "--suite next-edit --edits data",
            "data is neither the top folder of a git repository nor a folder of releases",
        ),
        (
            "--suite speed --without-diff",
            "--edits, --without-reading and --without-diff are for next-edit: add it to --suite",
        ),
        ("--suite next-edit --edits data --without-diff --without-reading", "--without-diff changes nothing with"),
        (
            "--suite unknown-names",
            "unknown-names checks the answers of infilling or humaneval: add one of them to --suite.",
        ),
        ("--suite humaneval --data data --samples 3", "3 samples at temperature 0 are identical: use"),
        (
            "--suite speed --out data",
            "data contains something other than an evaluation: name another folder with --out.",
        ),
        ("--suite speed --out notes.txt", "notes.txt is a file: name a folder with --out."),
        ("--suite speed --out bench", "bench/results.json is not an evaluation: name another folder."),
        ("--suite speed", "There is no model 'no-such-model'"),
        ("--suite speed --server http://127.0.0.1:9", "No server answers at http://127.0.0.1:9: start one there, or"),
    ],
)
def test_what_cannot_be(run: Run, tmp_path: Path, arguments: str, sentence: str) -> None:
    """Wrong input is one sentence."""
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a", "reference": "b"}\n{"prompt": \n')
    for name in ("empty", "wrong", "bench"):
        (tmp_path / name).mkdir()
    (tmp_path / "bench" / "results.json").write_text('{"kind": "pellucid-bench"}')
    (tmp_path / "wrong" / "mc_task.json").write_text('[{"question": "what?"}]')
    (tmp_path / "wrong" / "crows_pairs_anonymized.csv").write_text("sent_more,sent_less\n,b\n")
    (tmp_path / "wrong" / "all_sentences.tsv").write_text("sentid\tsentence\nbaker.customer.0.male.txt\tHe.\n")
    (tmp_path / "wrong" / "HumanEval.jsonl.gz").write_bytes(b"\x1f\x8bnothing")

    code, out, err = run("evaluate", "no-such-model", *arguments.split())

    assert (code, out) == (1, "")
    assert err.startswith(f"pellucid: {sentence}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a", "b"], "There is no results.json in a: name a folder that pellucid evaluate wrote."),
        (["damaged", "damaged"], "damaged/results.json is damaged at models.0.name (Field required)"),
        (["new", "new"], "new/results.json was written by another version of Pellucid: name another folder."),
        (
            ["none", "none"],
            "none and none have no model in common (none) and not exactly one each: evaluate the same model in both.",
        ),
    ],
)
def test_what_cannot_be_compared(run: Run, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """A folder that is not an evaluation is one sentence."""
    kind = {"kind": "pellucid-evaluation", "format": 2}
    contents: dict[str, Any] = {"damaged": kind | {"models": [{}]}, "new": kind | {"format": 3}, "none": kind}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content))

    code, out, err = run("evaluate", "--compare", *arguments)

    assert (code, out) == (1, "")
    assert err.startswith(f"pellucid: {sentence}")


def test_usage(run: Run) -> None:
    """A comparison takes no models, and an evaluation needs a model."""
    assert run("evaluate", "m", "--compare", "a", "b")[0] == 2
    assert run("evaluate", "--suite", "speed")[0] == 2
