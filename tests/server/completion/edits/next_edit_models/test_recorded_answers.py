"""Prompts and answers of next-edit models, compared with a plugin's recordings of real models."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.edits.edit_history import Edit, joined
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow, Rewrite, edit_window, read_answer
from pellucid.completion.edits.next_edit_models.proposals import FORMS, PromptForm
from pellucid.models.catalog import catalog, next_edit_forms

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "answers.json").read_text(encoding="utf-8")
)

NOWHERE = 10**6
"""The line of an edit outside the buffer, as recorded windows are equal before and after edits."""

CHANGES = {
    ("03-python-decorator-complete", "sweep-next-edit-0.5B"): [(3, 0, 9)],
    ("06-python-str-to-list-field", "sweep-next-edit-0.5B"): [(12, 1, 1)],
    ("19-typescript-add-decorator", "sweep-next-edit-0.5B"): [(3, 0, 1)],
    ("29-suppress-ts-user", "sweep-next-edit-0.5B"): [],
    ("08-typescript-list-to-dict", "sweep-next-edit-1.5B"): [(14, 1, 1), (18, 3, 3)],
    ("10-go-map-value-to-slice", "sweep-next-edit-1.5B"): [(16, 1, 1)],
    ("13-typescript-callback-to-promise", "sweep-next-edit-1.5B"): [(14, 5, 4)],
    ("17-go-complete-comment", "sweep-next-edit-1.5B"): [(15, 2, 1), (19, 1, 1), (23, 1, 1)],
    ("25-python-fix-import-typo", "sweep-next-edit-1.5B"): [(6, 1, 2)],
    ("27-suppress-python-config", "sweep-next-edit-1.5B"): [],
    ("03-python-decorator-complete", "zeta-2"): [(2, 1, 1)],
    ("12-go-positional-to-options", "zeta-2"): [(25, 1, 7)],
    ("34-suppress-ts-emitter", "zeta-2"): [],
    ("36-python-inheritance-to-composition", "zeta-2"): [(18, 1, 1), (21, 1, 1)],
}
"""The changes in each answer: first lines, and the numbers of old and new lines."""


@dataclass(frozen=True)
class Recording:
    """A plugin's request as a window of this project, with the recorded prompt and answer."""

    window: EditWindow
    form: PromptForm
    prompt: str
    answer: str

    @property
    def rewrites(self) -> list[Rewrite]:
        return read_answer(self.window, self.form.answer_begin(self.window), self.answer.replace(self.form.cursor, ""))


def recording(record: dict[str, Any]) -> Recording:
    edits = [Edit(f"file:///{one['path']}", NOWHERE, tuple(one["old"]), tuple(one["new"])) for one in record["edits"]]
    line, column = record["cursor"]
    window = edit_window(
        f"file:///{record['path']}", record["path"], "\n".join(record["buffer"]), edits, (line, column)
    )
    assert window is not None
    # The plugin's windows are larger.
    first, end = record["window"]
    form = FORMS["zeta-2" if record["model"] == "zeta-2" else "sweep"]
    return Recording(
        replace(window, first=first, end=end), form, "\n".join(record["prompt"]), "\n".join(record["answer"])
    )


@pytest.fixture(params=RECORDED, ids=lambda record: f"{record['model']}:{record['scenario']}")
def record(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_the_prompt_is_the_recorded_one(record: dict[str, Any]) -> None:
    """The prompt has the recorded characters exactly."""
    one = recording(record)
    assert "".join(marker + text for marker, text in one.form.prompt(one.window)) == one.prompt


def test_the_changes_are_those_of_the_answer(record: dict[str, Any]) -> None:
    """The changes turn the document into the answer, and a repeated window has no change."""
    one = recording(record)
    changes = [rewrite.change for rewrite in one.rewrites]
    assert [(change.first, len(change.old), len(change.new)) for change in changes] == CHANGES[
        record["scenario"], record["model"]
    ]
    lines = list(one.window.lines)
    for change in reversed(changes):
        assert tuple(lines[change.first : change.first + len(change.old)]) == change.old
        lines[change.first : change.first + len(change.old)] = change.new
    begin = one.form.answer_begin(one.window)
    expected = (
        joined(one.window.lines[:begin])
        + one.answer.replace(one.form.cursor, "")
        + joined(one.window.lines[one.window.end :])
    )
    assert joined(lines).rstrip() == expected.rstrip()


def test_what_is_read_makes_the_answer(record: dict[str, Any]) -> None:
    """A change's lines above, new lines and lines below are consecutive lines of the answer."""
    one = recording(record)
    for rewrite in one.rewrites:
        text = joined((*rewrite.above, *rewrite.change.new, *rewrite.below))
        assert one.answer.replace(one.form.cursor, "").startswith(text)


def test_every_form_of_the_catalog_is_known() -> None:
    """Each form in the catalog has a prompt, and the recordings' licence is next to the answers."""
    assert set(FORMS) == set(next_edit_forms())
    assert {entry.next_edit.name for entry in catalog().values() if entry.next_edit} == set(FORMS)
    assert "MIT License" in (Path(__file__).parent / "recorded" / "LICENSE").read_text(encoding="utf-8")
