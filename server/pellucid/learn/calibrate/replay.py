"""Requests suggestions with the editor's completer, without gate or time limit."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.explanation import Explanation
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, ContextSettings, GateLevel
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibrated_gate import Candidate
from pellucid.completion.trust.features import VERSION, features
from pellucid.completion.trust.threshold_gate import GateVerdict, judge, show_all
from pellucid.learn.calibrate.cursors import ReplayCursor
from pellucid.learn.calibrate.replay_records import SuggestionPart, SuggestionRecord
from pellucid.learn.record_file import RecordFile
from pellucid.system.machine import versions
from pellucid.system.progress import Progress
from pellucid.terminal.progress_bars import Steps

AT_ONCE = 4
"""Files replayed concurrently, to share batches."""

DIGITS = 6

Ask = tuple[ReplayCursor, bool]
"""A cursor, and True to send the text after the cursor."""


def is_right(text: str, truth: str) -> bool:
    """Return True if the file continues with the text, ignoring trailing blanks.

    A text that ends inside a word is wrong, and so is different code with the same effect: the
    share of right suggestions is a lower bound.
    """
    suggested, expected = _stripped(text), _stripped(truth)
    if not expected.startswith(suggested):
        return False
    following = expected[len(suggested) : len(suggested) + 1]
    ends_in_word = suggested[-1:].isidentifier() or suggested[-1:].isdigit()
    return not (ends_in_word and (following.isalnum() or following == "_"))


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def replay_identity(model: str, texts: Mapping[str, str]) -> dict[str, Any]:
    content = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:16]
    return {"model": model, "features": VERSION, "files": content, "pellucid": versions()["pellucid"]}


def replay_cursors(
    assistant: Assistant,
    model: str,
    texts: Mapping[str, str],
    cursors: Sequence[ReplayCursor],
    file: RecordFile[SuggestionRecord],
) -> list[SuggestionRecord]:
    """Return suggestions at cursors in ``texts``, with and without the text after the cursor.

    Suggestions in ``file`` are reused, and new suggestions are added.
    """
    done = {record.key for record in file.records}
    asks = [(cursor, suffix) for cursor in cursors for suffix in (True, False)]
    left = [
        (cursor, suffix) for cursor, suffix in asks if (cursor.document, cursor.kind, cursor.at, suffix) not in done
    ]
    if len(left) < len(asks):
        sys.stderr.write(f"{len(asks) - len(left):,} of {len(asks):,} are already in {file.path}.\n")
    if left:
        with Steps() as steps:
            asyncio.run(Replay(assistant, model, texts, file.append).run(left, steps))
    by_key = {record.key: record for record in file.records}
    return [by_key[cursor.document, cursor.kind, cursor.at, suffix] for cursor, suffix in asks]


class Replay:
    def __init__(
        self, assistant: Assistant, model: str, texts: Mapping[str, str], keep: Callable[[SuggestionRecord], None]
    ) -> None:
        # A time limit would make suggestions depend on the machine's load. The editor's open files
        # are unknown.
        self._settings = replace(CompletionSettings(), ahead=False, budget_ms=0)
        self._context_settings = replace(ContextSettings(), files_tokens=0)
        self._models = ModelChoice(FixedProvider(assistant), model)
        self._texts = texts
        self._keep = keep

    async def run(self, asks: Sequence[Ask], progress: Progress) -> None:
        """Request suggestions in ``AT_ONCE`` files at a time, each from top to bottom."""
        progress.start("replaying", len(asks))
        files: dict[tuple[str, bool], list[Ask]] = {}
        for cursor, suffix in asks:
            files.setdefault((cursor.document, suffix), []).append((cursor, suffix))
        left = list(reversed(files.values()))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._work(left, progress))
        except ExceptionGroup as group_error:
            # All workers share the model and the disk, so the first error is enough.
            raise group_error.exceptions[0] from None

    async def _work(self, left: list[list[Ask]], progress: Progress) -> None:
        while left:
            context = PromptContext(self._context_settings, ChunkRing(self._context_settings))
            for cursor, suffix in left.pop():
                self._keep(await self._ask(cursor, suffix, context))
                progress.advance(1)

    async def _ask(self, cursor: ReplayCursor, suffix: bool, context: PromptContext) -> SuggestionRecord:
        """Return a suggestion. The completer remembers only context windows."""
        heard: list[Candidate] = []

        def note(candidate: Candidate, level: GateLevel) -> GateVerdict:
            heard.append(candidate)
            return show_all(candidate.tokens)

        completer = Completer(self._settings, self._models, context, gate=note)
        text = self._texts[cursor.document]
        await completer.suggest(cursor.place(text, suffix=suffix))
        explanation = completer.journal.explanations.find()
        assert explanation is not None, "of the suggestion"
        await completer.aclose()
        return _record(cursor, suffix, explanation, heard[0] if heard else None, cursor.truth(text, suffix=suffix))


def _record(
    cursor: ReplayCursor, suffix: bool, explanation: Explanation, candidate: Candidate | None, truth: str
) -> SuggestionRecord:
    record = SuggestionRecord(cursor.document, cursor.kind, cursor.at, suffix, str(explanation.ending))
    if candidate is None:
        return record
    at = candidate.cursor_features
    text = candidate.text
    found = [
        SuggestionPart(
            len(text), _numbers(features(candidate.tokens, at, candidate.ending, whole=True)), is_right(text, truth)
        )
    ]
    for length in candidate.part_ends:
        numbers = _numbers(features(truncate(candidate.tokens, length), at, candidate.ending, whole=False))
        found.append(SuggestionPart(length, numbers, is_right(text[:length], truth)))
    shown = {str(level): judge(candidate.tokens, level, candidate.part_ends).length for level in GateLevel}
    return replace(record, parts=tuple(found), shown=shown)


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, DIGITS) for value in values)
