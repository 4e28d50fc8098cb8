"""One editor's session: its settings, and all that is made of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path, user_state_path

from pellucid.client.server_address import APPLICATION, CONFIG_FILE
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.context.uris import file_path
from pellucid.completion.explanation import Decision, Explanation, Journal
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.recent_answers import RecentAnswers
from pellucid.completion.request_sharing import SharedRequests
from pellucid.completion.suggestion import Place, Suggestion
from pellucid.completion.trust.calibrated_gate import BY_CALIBRATION
from pellucid.completion.trust.threshold_gate import BY_THRESHOLDS
from pellucid.errors import InvalidRequestError, PellucidError, UnavailableError
from pellucid.tokens import CompletionQuery
from pellucid_lsp.editor_settings import EditorSettings
from pellucid_lsp.model_server.server_address import data_folder
from pellucid_lsp.off_switch import Switch

if TYPE_CHECKING:
    from pellucid.completion.trust.reaction_log import ReactionLog
    from pellucid_lsp.model_server.launch import Condition, Launcher

IDLE_SECONDS = 3.0
"""Quiet after which pieces of other files are read ahead."""

TICK_SECONDS = 1.0
"""Between one piece and the next."""

CALIBRATED = "The model was calibrated: what is probably right is shown."


class EditorSession:
    """What an editor's requests share. ``tell`` is called with every change of the state."""

    def __init__(self, settings: EditorSettings, folders: Sequence[Path], tell: Callable[[], None]) -> None:
        self.settings = settings
        self.recent = RecentAnswers()
        self.journal = Journal()
        self._served = ModelChoice()
        self._outcomes: ReactionLog | None = None
        self.switch = Switch(user_state_path("pellucid") / "suggestions.json", [str(folder) for folder in folders])
        self._folders = tuple(folders)
        self._tell = tell
        self._running: SharedRequests[list[Suggestion]] = SharedRequests()
        self._launcher: Launcher | None = None
        self._idle: asyncio.Task[None] | None = None
        self._last: Place | None = None
        self._privacy = Privacy(self._folders, settings.context.exclude)
        self.ring = ChunkRing(settings.context, self._may_send)
        self._build()

    @property
    def launcher(self) -> Launcher:
        """The road to the model server; made, with the HTTP client that it needs, when it is first asked for."""
        if self._launcher is None:
            from pellucid_lsp.model_server.launch import Launcher

            self._launcher = Launcher(self.settings.server, self.settings.model, self._condition_changed)
        return self._launcher

    @property
    def enabled(self) -> bool:
        """Whether anything is suggested in this editor."""
        return self.settings.enabled and self.switch.everywhere and self.switch.here

    async def suggest(self, place: Place, version: int | None, *, invoked: bool = False) -> list[Suggestion]:
        """The suggestions at a place of a version of a document; none where another place of it is asked about meanwhile.

        Raises a PellucidError where there can be none for a reason that the user can mend.
        """
        refusal = self._language_off(place) or self.refusal(place)
        if refusal is not None:
            self.ring.forget(place.uri)
            self.journal.explanations.begin(place).end(Decision.OFF, refusal)
            return []
        self._last = place
        self.ring.note_visit(place.uri, self._filename(place.uri), place.before + place.after, place.before.count("\n"))
        self._restart_idle()
        completer = self.completer
        question = (place, version, invoked)
        return await self._running.answer(place.uri, question, lambda: completer.suggest(place, invoked=invoked)) or []

    async def branch(self, suggestion: Suggestion, place: Place, index: int, alternative: int) -> Suggestion | None:
        """Another way of a suggestion; raises InvalidRequestError for a document that nothing is sent of."""
        self.require(place)
        return await self.completer.branch(suggestion, place, index, alternative)

    def delivered(self, suggestions: Sequence[Suggestion]) -> None:
        """The editor has them now."""
        self.journal.counts.shown += bool(suggestions)

    def opened(self, uri: str, text: str) -> None:
        """A document was opened; pieces of it may help in others."""
        if self.allows(uri, text):
            self.ring.note_open(uri, self._filename(uri), text)

    def edited(self, uri: str, text: str, line: int) -> None:
        """A document was edited at a line."""
        if self.allows(uri, text):
            self.ring.note_edit(uri, self._filename(uri), text, line)
        else:
            self.ring.forget(uri)

    def closed(self, uri: str) -> None:
        """A document was closed."""
        self._running.end(uri)
        if self._last is not None and self._last.uri == uri:
            self._stop_idle()
        self.context.forget(uri)
        self.journal.explanations.forget(uri)

    async def restart(self) -> None:
        """Start the model server anew, or connect anew to one that was started by hand."""
        self._running.end_all()
        await self.completer.aclose()
        await self.launcher.restart()

    async def change(self, settings: EditorSettings) -> None:
        """Take other settings from now on; what is being generated by the former ones ends."""
        if settings == self.settings:
            return
        former, self.settings = self.settings, settings
        completer, launcher = self._end_work(), None
        if (settings.server, settings.model) != (former.server, former.model):
            launcher, self._launcher = self._launcher, None
            self.recent.forget_answers()
        if settings.context != former.context:
            self._privacy = Privacy(self._folders, settings.context.exclude)
            self.ring = ChunkRing(settings.context, self._may_send)
        self._build()
        await completer.aclose()
        if launcher is not None:
            await launcher.aclose()

    async def move(self, folders: Sequence[Path]) -> None:
        """The editor has other workspace folders now."""
        self._folders = tuple(folders)
        self.switch.set_folders([str(folder) for folder in folders])
        self._privacy = Privacy(self._folders, self.settings.context.exclude)
        await self._end_work().aclose()
        self._tell()

    async def switched(self) -> None:
        """The switch was used: what is off runs no more."""
        if not self.enabled:
            await self._end_work().aclose()
        self._tell()

    async def aclose(self) -> None:
        """Generate nothing any more, and let go of the model server."""
        launcher, self._launcher = self._launcher, None
        await self._end_work().aclose()
        if launcher is not None:
            await launcher.aclose()

    async def connect(self) -> None:
        """Have the model server ready for the first suggestion. Raises UnavailableError where there can be none."""
        launcher = self.launcher
        try:
            await launcher.client()
        except UnavailableError:
            if launcher is self._launcher:  # else the settings are others now, or the editor leaves: nobody asks any more
                raise

    def accept(self, suggestion: Suggestion, length: int) -> None:
        """The first ``length`` characters of a suggestion are in its document now."""
        self.journal.counts.accepted += self.recent.accept(suggestion, length)
        self._note(suggestion, length)
        self._tell()

    def dismiss(self, suggestion: Suggestion) -> None:
        """Nobody wants a suggestion."""
        self.recent.dismiss(suggestion)
        self._note(suggestion, 0)

    async def prompt_text(self, explanation: Explanation) -> str | None:
        """The prompt of an explanation as the model read it; None where nothing was sent, may be sent now, or no server is ready."""
        prompt, launcher = explanation.prompt, self._launcher
        if prompt is None or launcher is None or launcher.condition.state != "ready":
            return None
        if not self.allows(explanation.uri, prompt.prefix + prompt.suffix):
            return None
        client = await launcher.client()
        try:
            return await client.infill_prompt(CompletionQuery(prompt.prefix, prompt.suffix, prompt.extra, model=explanation.model))
        except UnavailableError:
            launcher.lost(client)
            return None

    def allows(self, uri: str, text: str) -> bool:
        """Whether a document may be read by the model."""
        return self.enabled and self._may_send(uri, text)

    def refusal(self, place: Place) -> str | None:
        """Why nothing of a document is sent to the model, in a sentence; None if it may be."""
        if not self.enabled:
            return self._why_off()
        return self._privacy.refusal(place.path, place.before + place.after, place.uri)

    def require(self, place: Place) -> None:
        """Raise InvalidRequestError for a document that nothing is sent of."""
        refusal = self.refusal(place)
        if refusal is not None:
            raise InvalidRequestError(refusal, param="textDocument")

    def status(self) -> dict[str, Any]:
        """The state as ``pellucid/status`` tells it."""
        condition = None if self._launcher is None else self._launcher.condition
        state, message, progress, url = "idle", "Nothing was asked of a model server yet.", None, self.settings.server.url
        if condition is not None:
            state, message, progress, url = str(condition.state), condition.message, condition.percent, condition.url
        if not self.enabled:
            state, message, progress = "off", self._why_off(), None
        return {
            "state": state,
            "message": message,
            "progress": progress,
            "model": self.journal.model or self.settings.model or None,
            "url": url,
            "enabled": self.settings.enabled and self.switch.everywhere,
            "enabledHere": self.switch.here,
            "latency": self.journal.latency,
            "counts": vars(self.journal.counts).copy(),
            "gate": self._gate(),
            "log": self._log(),
        }

    def _gate(self) -> dict[str, str]:
        """What decides about suggestions, and if it is not a calibration of the model, why not."""
        why_not = self._served.why_not(self.journal.model)
        return {"by": BY_CALIBRATION, "reason": CALIBRATED} if why_not is None else {"by": BY_THRESHOLDS, "reason": why_not}

    def _log(self) -> str | None:
        """Why the log of suggestions that is wanted is not kept; None if it is, or none is wanted."""
        return None if self._outcomes is None else self._outcomes.failure

    def _note(self, suggestion: Suggestion, accepted: int) -> None:
        """Write into the log, if one is wanted, what became of a suggestion."""
        if not self.settings.completion.log:
            return
        if self._outcomes is None:
            from pellucid.completion.trust.reaction_log import ReactionLog
            from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog

            folder = data_folder(os.environ, user_config_path(APPLICATION) / CONFIG_FILE)
            self._outcomes = ReactionLog(SuggestionLog(folder / FILE))
        self._outcomes.note(suggestion, self.journal.explanations.find(id=suggestion.id), accepted)

    def _filename(self, uri: str) -> str:
        """What the model gets to read as the file's name: its path in the workspace folder."""
        path = file_path(uri) or Path(uri.rpartition("/")[2])
        folder = next((folder for folder in self._folders if path.is_relative_to(folder)), None)
        return path.name if folder is None else path.relative_to(folder).as_posix()

    def _build(self) -> None:
        self.context = PromptContext(self.settings.context, self.ring)
        self.completer = Completer(
            self.settings.completion,
            lambda: self.launcher,
            self.context,
            self.recent,
            self.journal,
            model=self.settings.model,
            served=self._served,
        )

    def _end_work(self) -> Completer:
        """End what runs, but for the completer's own, which is given to be closed."""
        self._running.end_all()
        self._stop_idle()
        self._last = None
        return self.completer

    def _may_send(self, uri: str, text: str) -> bool:
        return self._privacy.refusal(None, text, uri) is None

    def _language_off(self, place: Place) -> str | None:
        if place.language in self.settings.completion.languages_off:
            return f"The setting pellucid.completion.languagesOff has {place.language} in it."
        return None

    def _why_off(self) -> str:
        if not self.settings.enabled:
            return "The setting pellucid.enabled is false."
        if self.switch.why is not None:
            return self.switch.why
        where = "everywhere" if not self.switch.everywhere else "in this workspace"
        return f"Suggestions are switched off {where}."

    def _condition_changed(self, _: Condition) -> None:
        self._tell()

    def _restart_idle(self) -> None:
        """Read ahead once the user has been quiet for a while."""
        self._stop_idle()
        self._idle = asyncio.create_task(self._read_ahead())

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _read_ahead(self) -> None:
        await asyncio.sleep(IDLE_SECONDS)
        with suppress(PellucidError):  # nobody waits for it; whoever asks next is told
            while (place := self._last) is not None and self.refusal(place) is None and self.ring.promote():
                await self.completer.prefill(place)
                await asyncio.sleep(TICK_SECONDS)
