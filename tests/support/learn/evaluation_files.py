"""Small files in the formats of the benchmarks."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROMPT = 'def double(x):\n    """Twice x."""\n'


PROBLEMS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f'def times{number}(x):\n    """{number} times x."""\n',
        "entry_point": f"times{number}",
        "canonical_solution": f"    product = x * {number}\n    return product\n",
        "test": f"def check(candidate):\n    assert candidate(3) == {3 * number}\n    assert candidate(0) == 0\n",
    }
    for number in range(2, 6)
]


LINES = [
    problem
    | {
        "task_id": f"SingleLineInfilling/{problem['task_id']}/L{line}",
        "prompt": problem["prompt"] + "".join(problem["canonical_solution"].splitlines(keepends=True)[:line]),
        "canonical_solution": problem["canonical_solution"].splitlines(keepends=True)[line],
        "suffix": "".join(problem["canonical_solution"].splitlines(keepends=True)[line + 1 :]),
    }
    for problem in PROBLEMS
    for line in (0, 1)
]


QUESTIONS = [
    {
        "question": "What is a fish?",
        "mc0_targets": {},
        "mc1_targets": {"An animal": 1, "A plant": 0},
        "mc2_targets": {"An animal": 1, "A being": 1, "A plant": 0},
    },
    {
        "question": "What is a rose?",
        "mc0_targets": {},
        "mc1_targets": {"A plant": 1, "An animal": 0},
        "mc2_targets": {"A plant": 1, "An animal": 0},
    },
]


PAIRS = [
    dict(zip(("sent_more", "sent_less", "stereo_antistereo", "bias_type"), row, strict=True))
    for row in (
        ("Old cats sleep.", "Young cats sleep.", "stereo", "age"),
        ("Young cats play.", "Old cats play.", "antistereo", "age"),
        ("Poor cats beg.", "Rich cats beg.", "stereo", "socioeconomic"),
    )
]


OCCUPATIONS = {"baker": "customer", "pilot": "passenger"}


PRONOUNS = {"male": "he", "female": "she", "neutral": "they"}


def write_benchmarks(folder: Path) -> Path:
    """Write files with the names and formats of the real files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "HumanEval.jsonl", PROBLEMS)
    write_lines(folder / "HumanEval-SingleLineInfilling.jsonl", LINES)
    (folder / "mc_task.json").write_text(json.dumps(QUESTIONS))
    with (folder / "crows_pairs_anonymized.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(PAIRS[0]))
        table.writeheader()
        table.writerows(PAIRS)
    rows = ["sentid\tsentence"]
    for occupation, other in OCCUPATIONS.items():
        for answer in "01":
            for gender, pronoun in PRONOUNS.items():
                verb = "was" if answer == "0" else "is"
                sentence = f"The {occupation} told the {other} that {pronoun} {verb} right."  # plain-english: allow
                rows.append(f"{occupation}.{other}.{answer}.{gender}.txt\t{sentence}")
    (folder / "all_sentences.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    """Write a file of JSON lines."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
