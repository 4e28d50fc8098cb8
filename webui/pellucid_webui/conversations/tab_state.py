"""Holds what one browser tab shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pellucid_webui.conversations.turn import Turn
from pellucid_webui.conversations.turn_settings import TurnSettings

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """A message that is saved: the id that the tab's script gave it, and its conversation."""

    id: str
    conversation: str


@dataclass(eq=False)
class TabState:
    """The state of one tab: its owner, the conversation that it shows, and the messages that it shows as tokens.

    A handler that streams to the tab notes ``epoch`` and stops once it has changed: the tab then
    shows something else. ``sent`` and ``listed`` are the orders of the newest conversation and the
    newest list of conversations that were sent to the tab. ``notice`` (a sentence) and ``draft``
    (text for the input field) are numbered, so that the script applies each once. ``sent_id`` is
    the script's id of the last message sent. ``delivered`` is the last message saved, which the
    field may clear. ``settings`` are the last valid ones that its controls showed; ``edits`` counts
    the user's changes, also those to invalid ones. ``shown_once`` is the last deletion and the last
    match of the list, both numbered: they are in each update, as the next one may overtake theirs.
    ``marks`` has where the tokens of answers are in their rendered text, and ``opened`` the tokens
    of the answer that is inspected. ``turn`` is the answer that it started or followed last.
    ``versions`` is the JSON of all versions of the conversation, once its tree has been opened. A
    state without an owner belongs to a tab whose own state Gradio has dropped.
    """

    owner: str = ""
    conversation: str | None = None
    epoch: int = 0
    sent: int = 0
    listed: int = 0
    tokens: dict[int, Sequence[str]] = field(default_factory=dict)
    notice: tuple[int, str] = (0, "")
    draft: tuple[int, str] = (0, "")
    sent_id: str = ""
    delivered: DeliveredMessage | None = None
    shown_once: dict[str, Any] = field(default_factory=dict)
    turn: Turn | None = None
    search: str = ""
    settings: TurnSettings = field(default_factory=TurnSettings)
    edits: int = 0
    rendered: dict[int, tuple[object, str]] = field(default_factory=dict)
    marks: dict[int, dict[str, Any]] = field(default_factory=dict)
    opened: tuple[int, Sequence[str]] | None = None
    versions: str | None = None

    def __deepcopy__(self, _: object) -> TabState:
        """Return a new state: Gradio copies the initial one for each tab."""
        return TabState()

    def show_conversation(self, conversation: str | None) -> None:
        """Show another conversation, or reload the same one."""
        if conversation != self.conversation:
            self.close_conversation()
        self.conversation = conversation
        self.notice = (0, "")
        self.epoch += 1

    def close_conversation(self) -> None:
        """Show no conversation. The handler that streams to the tab shows the change."""
        self.conversation = None
        self.tokens, self.rendered = {}, {}
        self.marks, self.opened, self.versions = {}, None, None
        self.draft = (0, "")

    def keep_marks(self, node: int, marks: dict[str, Any], most: int) -> None:
        """Keep the marks of an answer, and forget those of the ones that were asked for longest ago."""
        self.marks.pop(node, None)
        self.marks[node] = marks
        while len(self.marks) > most:
            del self.marks[next(iter(self.marks))]

    def show_notice(self, sentence: str) -> None:
        """Show a sentence; an empty one removes the last one."""
        self.notice = (next(_NUMBERS), sentence)

    def fill_draft(self, text: str) -> None:
        """Put a text into the input field."""
        self.draft = (next(_NUMBERS), text)
