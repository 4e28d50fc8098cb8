"""The state of one editor, and the parts made for its settings: server, files, requests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from platformdirs import user_config_path, user_state_path

from pellucid.client.address_settings import APPLICATION, CONFIG_FILE
from pellucid.completion.answers import Answers
from pellucid.completion.chat_requests import ChatRequests
from pellucid.completion.commit_message.commit_requests import CommitRequests
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.definition_reader import FoundDefinition
from pellucid.completion.context.definitions import Definitions
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.context.workspace_files import WorkspaceFiles
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.edits.by_instruction.instructed_requests import InstructedRequests
from pellucid.completion.edits.edit_history import EditHistory
from pellucid.completion.edits.edit_memory import EditMemory
from pellucid.completion.edits.next_edit_requests import NextEditRequests
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.explanation import Decision, Journal
from pellucid.completion.idle_prefill import IdlePrefill
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.off_switch import Switch
from pellucid.completion.reaction_log import ReactionLog
from pellucid.completion.request_sharing import SharedRequests
from pellucid.completion.sending_policy import SendingPolicy
from pellucid.completion.suggestion import Suggestion
from pellucid.completion.suggestion_memory import SuggestionMemory
from pellucid.completion.surprise.surprises import Findings, Surprises
from pellucid.completion.trust.session_adjustment import SessionAdjustment
from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog
from pellucid.errors import UnavailableError
from pellucid.system.power_source import PowerSource
from pellucid_lsp.definition_lookup import Ask, DefinitionLookup
from pellucid_lsp.editor_settings import EditorSettings
from pellucid_lsp.model_server.launch import Launcher
from pellucid_lsp.model_server.outcome_reports import OutcomeReports
from pellucid_lsp.model_server.server_address import data_folder
from pellucid_lsp.reaction_record import ReactionRecord
from pellucid_lsp.shown_once import ShownOnce
from pellucid_lsp.surprise_marks import MarkedText


class EditorSession:
    """The state shared by all requests of one editor.

    ``on_change`` is called after each change of the launcher's status; ``ask_definitions`` asks the
    client where names are defined. Requests return an empty
    result if a newer request replaces the request, and raise a PellucidError with the remedy if the
    model is unavailable.
    """

    def __init__(
        self,
        settings: EditorSettings,
        folders: Sequence[Path],
        on_change: Callable[[], None],
        ask_definitions: Ask | None = None,
    ) -> None:
        self.settings = settings
        self.answers = Answers()
        self.suggestions = SuggestionMemory()
        self.journal = Journal()
        self.edit_memory = EditMemory()
        self.marked: dict[str, MarkedText] = {}
        """The displayed marks of surprising words, by document URI."""
        self.searches: SharedRequests[Findings] = SharedRequests()
        self.switch = Switch(
            user_state_path("pellucid") / "suggestions.json", list(map(str, folders)), enabled=settings.enabled
        )
        self._offers = ShownOnce(user_state_path("pellucid") / "calibration-offers")
        self._folders = tuple(folders)
        self._on_change = on_change
        self._ask_definitions = ask_definitions
        self._requests: SharedRequests[list[Suggestion]] = SharedRequests()
        self._history = EditHistory()
        self._reaction_log = ReactionLog(_suggestion_log)
        self._use_server()
        self._use_files()
        self._use_settings()

    def _use_server(self) -> None:
        """Make the parts for the settings of the model server, which forget the former server."""
        self.launcher = Launcher(self.settings.server, self.settings.model, self._on_change)
        self.models = ModelChoice(self.launcher, self.settings.model)
        self._outcomes = OutcomeReports(self.launcher, self.switch)
        self._adjustment = SessionAdjustment()

    def _use_files(self) -> None:
        """Make the parts for the folders and the settings of the context.

        Chunks of a closed folder or of an excluded file must no longer be sent, and answers made
        with such chunks must not be shown.
        """
        self.answers.forget()
        self._privacy = Privacy(self._folders, self.settings.context.exclude)
        self.ring = ChunkRing(self.settings.context, self._privacy.permits)
        self.definitions = Definitions(self.settings.context, self._privacy.permits)
        self._files = WorkspaceFiles(self._folders, self.settings.context)

    def _use_settings(self) -> None:
        """Make the parts that are new after every change of the settings or folders."""
        settings = self.settings.completion
        self.policy = SendingPolicy(self.switch, self._privacy, self._folders, settings.languages_off)
        self.context = PromptContext(self.settings.context, self.ring, self.definitions)
        self._power = PowerSource()
        self.completer = Completer(
            settings,
            self.models,
            self.context,
            answers=self.answers,
            suggestions=self.suggestions,
            journal=self.journal,
            adjustment=self._adjustment,
            doubtful_rests=self.settings.doubtful_rests and settings.doubtful_rest,
            saves_power=self._power.on_battery,
        )
        self._lookup = DefinitionLookup(
            self.definitions, self._ask_definitions if self.settings.find_definitions else None
        )
        edits = NextEdits(self._history, self.models, self.edit_memory, self._privacy.permits)
        self.next_edits = NextEditRequests(edits, self.policy, self._files, settings.level)
        self.instructed = InstructedRequests(self.models, self.policy)
        self.commits = CommitRequests(self.models, self.policy)
        self.chats = ChatRequests(self.models, self.policy)
        self.surprises = Surprises(self.models)
        log = self._reaction_log if settings.log else None
        self.reactions = ReactionRecord(self.suggestions, self.journal, self._adjustment, self._outcomes, log)
        self._idle = IdlePrefill(
            self.policy, self.ring, self.definitions, self._files, self.completer, self._power.on_battery
        )

    async def suggest(
        self, cursor: DocumentCursor, version: int | None, *, invoked: bool = False, parts: bool = False
    ) -> list[Suggestion]:
        """Return the suggestions at a cursor.

        ``parts``: the client repeats the request after a partial suggestion.
        """
        refusal = self.policy.suggestion_refusal(cursor)
        if refusal is not None:
            self.ring.forget(cursor.uri)
            self.journal.explanations.begin(cursor).end(Decision.OFF, refusal)
            return []
        self.ring.note_visit(
            cursor.uri, self.policy.filename(cursor.uri), cursor.before + cursor.after, cursor.before.count("\n")
        )
        self._adjustment.note_cursor(cursor)
        self._idle.restart(cursor)
        self._lookup.restart(cursor)
        start = partial(self.completer.suggest, cursor, invoked=invoked, parts=parts)
        with self.launcher.waiting():
            return await self._requests.run(cursor.uri, (cursor, version, invoked, parts), start) or []

    def note_opened(self, uri: str, text: str) -> None:
        if self.policy.may_send(uri, text):
            self.ring.note_open(uri, self.policy.filename(uri), text)

    def prefill_opened(self, cursor: DocumentCursor) -> None:
        """Have the model read other files for an opened document, before the first key."""
        if self.policy.suggestion_refusal(cursor) is None:
            self._idle.restart(cursor, at_once=True)
            self._lookup.restart(cursor)

    async def note_definitions(self, uri: str, found: Mapping[str, Sequence[FoundDefinition]]) -> None:
        """Remember the definitions of names in a document, for the prompts after the next pause."""
        if not any(found.values()):
            found = {}  # No language server is ready: the names stay unknown.
        definitions = self.definitions
        read = await self._files.definitions(found, self.policy.filename, definitions.most_characters)
        definitions.note(uri, read)
        self._lookup.note_answer(uri, [*found])
        self._idle.continue_in(uri)

    def note_edited(self, uri: str, text: str, line: int) -> None:
        self.definitions.note_edited(uri)
        if self.policy.may_send(uri, text):
            self.ring.note_edit(uri, self.policy.filename(uri), text, line)
        else:
            self.ring.forget(uri)

    def note_closed(self, uri: str) -> None:
        self._requests.cancel(uri)
        self.next_edits.forget(uri)
        self.instructed.cancel(uri)
        self._idle.stop_in(uri)
        self.context.forget(uri)
        self.definitions.forget(uri)
        self._lookup.forget(uri)
        self.journal.explanations.forget(uri)
        self._adjustment.forget(uri)

    async def connect(self) -> None:
        launcher = self.launcher
        try:
            await launcher.client()
        except UnavailableError:
            if launcher is self.launcher:  # After new settings, no caller waits for the former server.
                raise

    async def restart_server(self) -> None:
        self._requests.cancel_all()
        await self.answers.stop()
        await self.launcher.restart()

    async def change_settings(self, settings: EditorSettings) -> None:
        """Apply new settings and cancel running requests, which use the old settings."""
        former, self.settings = self.settings, settings
        launcher, outcomes = self.launcher, self._outcomes
        self.switch.enabled = settings.enabled
        self._cancel_work()
        if (settings.server, settings.model) != (former.server, former.model):
            self.answers.forget()
            self._use_server()
        if settings.context != former.context:
            self._history.clear()
            self._files.close()
            self._use_files()
        elif settings.completion.languages_off != former.completion.languages_off:
            self._history.clear()  # The history may contain a language that is off now.
        self._use_settings()
        await self.answers.stop()
        if launcher is not self.launcher:
            await outcomes.flush()
            await launcher.aclose()

    async def set_folders(self, folders: Sequence[Path]) -> None:
        self._cancel_work()
        if not set(self._folders) <= set(folders):
            self._history.clear()  # Edits in a closed folder must no longer be sent.
        self._folders = tuple(folders)
        self.switch.set_folders(list(map(str, folders)))
        self._files.close()
        self._use_files()
        self._use_settings()
        await self.answers.stop()

    async def apply_switch(self) -> None:
        if not self.switch.is_on:
            self._cancel_work()
            await self.answers.stop()

    async def aclose(self) -> None:
        self._files.close()
        self._cancel_work()
        await self.answers.stop()
        await self._outcomes.flush()
        await self.launcher.aclose()

    def status(self) -> dict[str, Any]:
        """Return the result of ``pellucid/status``."""
        server = self.launcher.status
        state, message, progress = str(server.state), server.message, server.percent
        if not self.switch.is_on:
            state, message, progress = "off", self.switch.why_off, None
        on_battery = self._power.on_battery()
        if state == "ready" and on_battery:
            message = f"{message} On battery, nothing is computed ahead.".strip()
        gate, reason = self.models.gate(self.journal.model)
        return {
            "state": state,
            "message": message,
            "progress": progress,
            "model": self.journal.model or self.settings.model or None,
            "url": server.url,
            "enabled": self.switch.enabled and self.switch.everywhere,
            "enabledHere": self.switch.here,
            "latency": self.journal.latency,
            "onBattery": on_battery,
            "counts": vars(self.journal.counts).copy(),
            "gate": {"by": gate, "reason": reason},
            "log": self._reaction_log.failure,
            "definitions": self._lookup.report(),
        }

    def calibration_offer(self) -> str | None:
        """Return the offer to calibrate the current model; once per model on this machine."""
        reason = self.models.why_not_calibrated(self.journal.model)
        return reason if reason is not None and self._offers.is_first(self.journal.model) else None

    def _cancel_work(self) -> None:
        """Cancel all requests, except for the growing answers."""
        self._requests.cancel_all()
        self.next_edits.cancel_all()
        self.searches.cancel_all()
        self.instructed.cancel_all()
        self.commits.cancel_all()
        self.chats.cancel_all()
        self._idle.stop()
        self._lookup.stop()


def _suggestion_log() -> SuggestionLog:
    return SuggestionLog(data_folder(os.environ, user_config_path(APPLICATION) / CONFIG_FILE) / FILE)
