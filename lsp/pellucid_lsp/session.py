"""The state of one editor: settings, completer, answers, and launcher of the model server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path, user_state_path

from pellucid.client.address_settings import APPLICATION, CONFIG_FILE
from pellucid.code.language_syntax import find_syntax
from pellucid.completion.answers import Answers
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.context.uris import file_path
from pellucid.completion.context.workspace_files import WorkspaceFiles
from pellucid.completion.edits.by_instruction.edit_prompt import in_fence
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit, NewLines
from pellucid.completion.edits.by_instruction.instructed_edits import edit
from pellucid.completion.edits.edit_history import EditHistory
from pellucid.completion.edits.edit_memory import EditMemory, NextEdit
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.explanation import Decision, Explanation, Journal
from pellucid.completion.idle_prefill import IdlePrefill
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.off_switch import Switch
from pellucid.completion.request_sharing import SharedRequests
from pellucid.completion.suggestion import DocumentCursor, Suggestion
from pellucid.completion.suggestion_memory import SuggestionMemory
from pellucid.completion.surprise.code_words import Part
from pellucid.completion.surprise.surprises import Findings, Surprises
from pellucid.completion.trust.calibrated_gate import BY_CALIBRATION
from pellucid.completion.trust.session_adjustment import SessionAdjustment
from pellucid.completion.trust.threshold_gate import BY_THRESHOLDS
from pellucid.errors import InvalidRequestError, PellucidError, UnavailableError
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from pellucid_lsp.editor_settings import EditorSettings
from pellucid_lsp.model_server.launch import Launcher, LauncherStatus
from pellucid_lsp.model_server.outcome_reports import OutcomeReports
from pellucid_lsp.model_server.server_address import data_folder
from pellucid_lsp.surprise_marks import MarkedText

if TYPE_CHECKING:
    from pellucid.client.http_client import Client
    from pellucid.completion.reaction_log import ReactionLog

CALIBRATED = "The model is calibrated{}: suggestions that are worth their risk are shown."
"""A sentence of the status, with the fitting data of the calibration."""


ENDED = "The request was ended because the document was closed or a setting was changed: ask again."

EXPLANATION_TOKENS = 300
"""Maximum length of an explanation; a truncated explanation ends with an ellipsis."""


class EditorSession:
    """The state shared by all requests of one editor.

    ``on_change`` is called after each change of the status. Requests return an empty result if a
    newer request replaces the request, and raise a PellucidError with the remedy if the model is
    unavailable.
    """

    def __init__(self, settings: EditorSettings, folders: Sequence[Path], on_change: Callable[[], None]) -> None:
        self.settings = settings
        self.answers = Answers()
        self.suggestions = SuggestionMemory()
        self.journal = Journal()
        self.switch = Switch(user_state_path("pellucid") / "suggestions.json", [str(folder) for folder in folders])
        self._reactions: ReactionLog | None = None
        self._folders = tuple(folders)
        self._on_change = on_change
        self._requests: SharedRequests[list[Suggestion]] = SharedRequests()
        self._edit_requests: SharedRequests[list[NextEdit]] = SharedRequests()
        self._elsewhere_requests: SharedRequests[list[NextEdit]] = SharedRequests()  # Shared by all documents.
        self._instructed: dict[str, set[asyncio.Task[Any]]] = {}  # Edits by instruction, explanations.
        self._history = EditHistory()
        self.edit_memory = EditMemory()
        self.marked: dict[str, MarkedText] = {}
        """The displayed marks, by document URI."""
        self._searches: SharedRequests[Findings] = SharedRequests()
        self._use_server()
        self._outcomes = OutcomeReports(self._connected)
        self._privacy = Privacy(self._folders, settings.context.exclude)
        self.ring = ChunkRing(settings.context, self._is_harmless)
        self._files = WorkspaceFiles(self._folders, settings.context)
        self._idle = IdlePrefill(
            find_chunks=self._note_related,
            promote=lambda: self.ring.promote(),
            prefill=lambda cursor: self.completer.prefill(cursor),
            may_send=lambda cursor: self.refusal(cursor) is None,
        )
        self._build()

    @property
    def enabled(self) -> bool:
        return self.settings.enabled and self.switch.everywhere and self.switch.here

    async def suggest(
        self, cursor: DocumentCursor, version: int | None, *, invoked: bool = False, parts: bool = False
    ) -> list[Suggestion]:
        """Return the suggestions at a cursor.

        ``parts``: the client repeats the request after a partial suggestion.
        """
        refusal = self._language_refusal(cursor) or self.refusal(cursor)
        if refusal is not None:
            self.ring.forget(cursor.uri)
            self.journal.explanations.begin(cursor).end(Decision.OFF, refusal)
            return []
        self.ring.note_visit(
            cursor.uri, self.filename(cursor.uri), cursor.before + cursor.after, cursor.before.count("\n")
        )
        self._adjustment.note_cursor(cursor)
        self._idle.restart(cursor)
        start = partial(self.completer.suggest, cursor, invoked=invoked, parts=parts)
        return await self._requests.run(cursor.uri, (cursor, version, invoked, parts), start) or []

    async def suggest_edits(
        self, uri: str, text: str, version: int | None, cursor: tuple[int, int] | None = None
    ) -> list[NextEdit]:
        """Return the likely next edits.

        ``cursor`` is a line and a character. Requests with the cursor on the same line share an
        answer.
        """
        self.cancel_elsewhere()
        if not self.settings.next_edits or not self.may_send(uri, text):
            return []
        start = partial(self.edits.suggest, uri, text, self.settings.completion.level, cursor)
        return await self._edit_requests.run(uri, (version, cursor and cursor[0]), start) or []

    async def suggest_edits_elsewhere(self, uri: str, text: str, version: int | None) -> list[NextEdit]:
        if not self.settings.next_edits or not self.may_send(uri, text):
            return []
        return await self._elsewhere_requests.run("", (uri, version), partial(self._edits_elsewhere, uri)) or []

    async def _edits_elsewhere(self, uri: str) -> list[NextEdit]:
        find_files = await self._files.finder(self._history.documents())
        return await self.edits.suggest_elsewhere(uri, find_files, self.settings.completion.level)

    def cancel_elsewhere(self) -> None:
        self._elsewhere_requests.cancel_all()

    async def find_surprises(
        self,
        cursor: DocumentCursor,
        text: str,
        version: int | None,
        parts: Sequence[Part] | None,
        near: int,
        file: Path | None,
    ) -> Findings | None:
        """Return the unexpected words in parts of a document, or `None` if the search is cancelled.

        ``file``: search only the lines changed since the last commit of this file. The wait for git
        belongs to the search, so that the search also ends if the document becomes private
        meanwhile.
        """
        key = (version, None if parts is None else tuple(parts), near, file)
        return await self._searches.run(
            cursor.uri, key, partial(self.surprises.find, cursor.uri, text, cursor.language, parts, near, file)
        )

    def cancel_surprises(self, uri: str | None = None) -> None:
        if uri is None:
            self._searches.cancel_all()
        else:
            self._searches.cancel(uri)

    def require_searchable(self, cursor: DocumentCursor) -> None:
        refusal = self._search_refusal(cursor)
        if refusal is not None:
            raise InvalidRequestError(refusal, param="textDocument")

    def may_search(self, cursor: DocumentCursor) -> bool:
        return self._search_refusal(cursor) is None

    async def instructed_edit(
        self, cursor: DocumentCursor, query: EditQuery
    ) -> AsyncGenerator[NewLines | InstructedEdit]:
        """Yield the new lines of an edit by instruction, then the complete edit.

        Closing the generator cancels the request. Raise InvalidRequestError if the document must
        not be sent.
        """
        self.require_sendable(cursor)
        with self._ended_with(cursor.uri):
            async with (
                self.models.asked() as (client, card),
                aclosing(edit(client, replace(query, model=card.name))) as items,
            ):
                async for item in items:
                    yield item

    async def explain_code(self, cursor: DocumentCursor, query: EditQuery) -> str:
        """Return an explanation of the selection. Raise the errors of ``instructed_edit``."""
        self.require_sendable(cursor)
        with self._ended_with(cursor.uri):
            async with self.models.asked() as (client, card):
                params, fenced = (
                    SamplingParams(max_tokens=EXPLANATION_TOKENS),
                    in_fence(query.selection, query.language),
                )
                asked = Message("user", f"Explain this code in a few sentences.\n\n{fenced}")
                text = ""
                async with aclosing(client.chat(ChatQuery([asked], params, card.name, terms=query.terms))) as items:
                    async for item in items:
                        if isinstance(item, Token):
                            text += item.text
                        elif item.reason is FinishReason.ERROR:
                            raise PellucidError(item.error or "The model failed at this answer; see the server log.")
                        elif item.reason is FinishReason.SUPERSEDED:
                            raise InvalidRequestError("Another request replaced this one: ask again.")
                        elif item.reason is not FinishReason.STOP:
                            text = f"{text.rstrip()} \u2026"
                if not text.strip():
                    raise InvalidRequestError("The model wrote nothing: select other lines.")
                return text.strip()

    @contextmanager
    def _ended_with(self, uri: str) -> Iterator[None]:
        """Raise InvalidRequestError, not CancelledError, if the session cancels the current task.

        The session cancels tasks of a document when the document is closed or the settings change.
        """
        task = asyncio.current_task()
        assert task is not None
        running = self._instructed.setdefault(uri, set())
        running.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in running:
                raise
            task.uncancel()
            raise InvalidRequestError(ENDED) from None
        finally:
            running.discard(task)

    def _end_instructed(self, uri: str) -> None:
        running = self._instructed.get(uri, set())
        while running:
            running.pop().cancel()

    async def branch(
        self, suggestion: Suggestion, cursor: DocumentCursor, index: int, alternative: int
    ) -> Suggestion | None:
        """Return a suggestion that continues from an alternative token.

        Raise InvalidRequestError if the document must not be sent.
        """
        self.require_sendable(cursor)
        return await self.completer.branch(suggestion, cursor, index, alternative)

    def note_shown(self, suggestions: Sequence[Suggestion]) -> None:
        """Count the first suggestion as shown, unless already counted, and track the reaction."""
        for suggestion in suggestions[:1]:
            if self.suggestions.note_shown(suggestion):
                self.journal.counts.shown += 1
                self._outcomes.note(suggestion.model, shown=1)
            explanation = self.journal.explanations.find(id=suggestion.id)
            verdict = None if explanation is None else explanation.verdict
            if verdict is not None and verdict.length and verdict.probability is not None:
                self._adjustment.note_shown(suggestion.cursor, suggestion.text[: verdict.length], verdict.probability)

    def note_opened(self, uri: str, text: str) -> None:
        if self.may_send(uri, text):
            self.ring.note_open(uri, self.filename(uri), text)

    def note_edited(self, uri: str, text: str, line: int) -> None:
        if self.may_send(uri, text):
            self.ring.note_edit(uri, self.filename(uri), text, line)
        else:
            self.ring.forget(uri)

    def follow(self, uri: str, text: str) -> None:
        self._edit_requests.cancel(uri)
        if self.may_send(uri, text):
            self._history.note(uri, text)
        else:
            self._history.forget(uri)

    def note_closed(self, uri: str) -> None:
        """Cancel the requests of a closed document and forget its data."""
        self._requests.cancel(uri)
        self._edit_requests.cancel(uri)
        self.cancel_elsewhere()
        self._end_instructed(uri)
        self._instructed.pop(uri, None)
        self._history.forget(uri)
        self._idle.stop_in(uri)
        self.context.forget(uri)
        self.journal.explanations.forget(uri)
        self._adjustment.forget(uri)

    async def restart_server(self) -> None:
        """Restart the model server, or reconnect to a server started by hand."""
        self._requests.cancel_all()
        await self.completer.aclose()
        await self.launcher.restart()

    async def change_settings(self, settings: EditorSettings) -> None:
        """Apply new settings and cancel running requests, which use the old settings."""
        former, self.settings = self.settings, settings
        completer, launcher, outcomes = self._cancel_work(), None, self._outcomes
        if (settings.server, settings.model) != (former.server, former.model):
            launcher = self.launcher
            self.answers.forget()
            self._use_server()
        if settings.server != former.server:  # A server counts only its own suggestions.
            self._outcomes = OutcomeReports(self._connected)
        if settings.context != former.context:
            self._privacy = Privacy(self._folders, settings.context.exclude)
            self.ring = ChunkRing(settings.context, self._is_harmless)
            self._history.clear()
            self._reset_files()
        elif settings.completion.languages_off != former.completion.languages_off:
            self._history.clear()  # The history may contain a language that is off now.
        self._build()
        await completer.aclose()
        if launcher is not None:
            await self._disconnect(launcher, outcomes)

    async def set_folders(self, folders: Sequence[Path]) -> None:
        folder_closed = not set(self._folders) <= set(folders)
        self._folders = tuple(folders)
        self.switch.set_folders([str(folder) for folder in folders])
        completer = self._cancel_work()
        self._privacy = Privacy(self._folders, self.settings.context.exclude)
        # Chunks and edits of a closed folder must no longer be sent.
        self.ring = ChunkRing(self.settings.context, self._is_harmless)
        if folder_closed:
            self._history.clear()
        self._reset_files()
        self._build()
        await completer.aclose()
        self._on_change()

    async def apply_switch(self) -> None:
        if not self.enabled:
            await self._cancel_work().aclose()
        self._on_change()

    async def aclose(self) -> None:
        """Cancel all work and disconnect from the model server, which keeps running."""
        self._files.close()
        await self._cancel_work().aclose()
        await self._disconnect(self.launcher, self._outcomes)

    async def connect(self) -> None:
        """Start or reach the model server, or raise UnavailableError."""
        launcher = self.launcher
        try:
            await launcher.client()
        except UnavailableError:
            if launcher is self.launcher:  # After new settings, no caller waits for the old server.
                raise

    def accept(self, suggestion: Suggestion, length: int) -> None:
        """Record the acceptance of the first ``length`` characters."""
        if self.suggestions.accept(suggestion, length):
            self.journal.counts.accepted += 1
            self._outcomes.note(suggestion.model, accepted=1)
        self._log_reaction(suggestion, length)
        self._on_change()

    def dismiss(self, suggestion: Suggestion) -> None:
        self.suggestions.dismiss(suggestion)
        self._log_reaction(suggestion, 0)

    async def prompt_text(self, explanation: Explanation) -> str | None:
        """Return the prompt of an explained request as the model read the prompt.

        Return `None` if the prompt is missing or private, or no server is ready.
        """
        prompt, launcher = explanation.prompt, self.launcher
        if prompt is None or launcher.status.state != "ready":
            return None
        if not self.may_send(explanation.uri, prompt.prefix + prompt.suffix):
            return None
        client = await launcher.client()
        try:
            return await client.infill_prompt(
                CompletionQuery(prompt.prefix, prompt.suffix, prompt.extra, model=explanation.model)
            )
        except UnavailableError:
            launcher.lost(client)
            return None

    def may_send(self, uri: str, text: str) -> bool:
        return self.enabled and self._is_harmless(uri, text)

    def refusal(self, cursor: DocumentCursor) -> str | None:
        """Return a sentence with the reason for not sending a document."""
        if not self.enabled:
            return self._why_off()
        return self._privacy.refusal(cursor.path, cursor.before + cursor.after, cursor.uri)

    def require_sendable(self, cursor: DocumentCursor) -> None:
        refusal = self.refusal(cursor)
        if refusal is not None:
            raise InvalidRequestError(refusal, param="textDocument")

    def status(self) -> dict[str, Any]:
        """Return the result of ``pellucid/status``."""
        server = self.launcher.status
        state, message, progress = str(server.state), server.message, server.percent
        if not self.enabled:
            state, message, progress = "off", self._why_off(), None
        return {
            "state": state,
            "message": message,
            "progress": progress,
            "model": self.journal.model or self.settings.model or None,
            "url": server.url,
            "enabled": self.settings.enabled and self.switch.everywhere,
            "enabledHere": self.switch.here,
            "latency": self.journal.latency,
            "counts": vars(self.journal.counts).copy(),
            "gate": self._gate_status(),
            "log": None if self._reactions is None else self._reactions.failure,
        }

    def _gate_status(self) -> dict[str, str]:
        """Return the gate in use and the reason why no better calibration is used."""
        model = self.journal.model
        why_not = self.models.why_not_calibrated(model)
        if why_not is not None:
            return {"by": BY_THRESHOLDS, "reason": why_not}
        calibration = self.models.calibration(model)
        about = {} if calibration is None else calibration.about
        fitted_on = f" on {about['folder']} ({str(about['date'])[:10]})" if {"folder", "date"} <= about.keys() else ""
        return {
            "by": BY_CALIBRATION,
            "reason": " ".join(filter(None, [CALIBRATED.format(fitted_on), self.models.note(model)])),
        }

    def _log_reaction(self, suggestion: Suggestion, accepted: int) -> None:
        if not self.settings.completion.log:
            return
        if self._reactions is None:
            from pellucid.completion.reaction_log import ReactionLog
            from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog

            folder = data_folder(os.environ, user_config_path(APPLICATION) / CONFIG_FILE)
            self._reactions = ReactionLog(SuggestionLog(folder / FILE))
        self._reactions.note(suggestion, self.journal.explanations.find(id=suggestion.id), accepted)

    async def _note_related(self, cursor: DocumentCursor) -> None:
        pieces = await self._files.related(cursor)
        found = [piece.path.as_uri() for piece in pieces]
        self.ring.note_related(
            (uri, self.filename(uri), piece.text, piece.line) for uri, piece in zip(found, pieces, strict=True)
        )

    def _reset_files(self) -> None:
        self._files.close()
        self._files = WorkspaceFiles(self._folders, self.settings.context)

    def filename(self, uri: str) -> str:
        """Return the name shown to the model: the path relative to the workspace folder."""
        path = file_path(uri) or Path(uri.rpartition("/")[2])
        folder = next((folder for folder in self._folders if path.is_relative_to(folder)), None)
        return path.name if folder is None else path.relative_to(folder).as_posix()

    def _use_server(self) -> None:
        self.launcher = Launcher(self.settings.server, self.settings.model, self._launcher_changed)
        self.models = ModelChoice(self.launcher, self.settings.model)
        self._adjustment = SessionAdjustment()

    def _build(self) -> None:
        self.edits = NextEdits(self._history, self.models, self.edit_memory, self._is_harmless)
        self.surprises = Surprises(self.models)
        self.context = PromptContext(self.settings.context, self.ring)
        self.completer = Completer(
            self.settings.completion,
            self.models,
            self.context,
            answers=self.answers,
            suggestions=self.suggestions,
            journal=self.journal,
            adjustment=self._adjustment,
            doubtful_rests=self.settings.doubtful_rests and self.settings.completion.doubtful_rest,
        )

    def _cancel_work(self) -> Completer:
        """Cancel all requests. Return the completer, for the caller to close."""
        self._requests.cancel_all()
        self._edit_requests.cancel_all()
        self.cancel_elsewhere()
        self._searches.cancel_all()
        for uri in self._instructed:
            self._end_instructed(uri)
        self._idle.stop()
        return self.completer

    def _connected(self) -> Client | None:
        """Return the client, or `None` while suggestions are off: nothing may be sent then."""
        return self.launcher.connected if self.enabled else None

    async def _disconnect(self, launcher: Launcher, outcomes: OutcomeReports) -> None:
        await outcomes.flush(launcher.connected if self.enabled else None)
        await launcher.aclose()

    def _is_harmless(self, uri: str, text: str) -> bool:
        return self._privacy.refusal(None, text, uri) is None

    def _language_refusal(self, cursor: DocumentCursor) -> str | None:
        if cursor.language in self.settings.completion.languages_off:
            return f"The setting pellucid.completion.languagesOff contains {cursor.language}."
        return None

    def _search_refusal(self, cursor: DocumentCursor) -> str | None:
        if find_syntax(cursor.language).prose:
            return f"{cursor.language} is not code, so it is not searched."
        return self._language_refusal(cursor) or self.refusal(cursor)

    def _why_off(self) -> str:
        if not self.settings.enabled:
            return "The setting pellucid.enabled is false."
        if self.switch.why is not None:
            return self.switch.why
        where = "everywhere" if not self.switch.everywhere else "in this workspace"
        return f"Suggestions are switched off {where}."

    def _launcher_changed(self, _: LauncherStatus) -> None:
        self._on_change()
