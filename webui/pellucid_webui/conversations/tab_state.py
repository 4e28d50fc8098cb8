"""State of a browser tab."""

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
    id: str
    conversation: str


@dataclass(eq=False)
class TabState:
    """The owner of a tab, the conversation on display, and the messages displayed as tokens.

    A state without an owner belongs to a tab whose previous state Gradio has dropped.

    Attributes:
        epoch: Changes when the tab shows something else; handlers that stream to the tab stop then.
        sent: The order of the newest conversation sent to the tab.
        listed: The order of the newest list of conversations sent to the tab.
        notice: A sentence, numbered so that the script applies each notice once.
        draft: Text for the input field, numbered like ``notice``.
        sent_id: The script's id of the last message sent.
        delivered: The last message saved, which the input field may clear.
        settings: The last valid settings shown by the controls.
        edits: The number of changes by the user, including changes to invalid settings.
        shown_once: The last deletion and the last match of the list, both numbered. Each update
            contains both, because a later update may overtake the first.
        marks: The places of answers' tokens in the rendered text.
        opened: The tokens of the inspected answer.
        turn: The last answer that the tab started or followed.
        versions: The JSON of all versions of the conversation, after the tree was opened.
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
        """Return a new state: Gradio copies the initial state for each tab."""
        return TabState()

    def show_conversation(self, conversation: str | None) -> None:
        """Show a conversation, or reload the same conversation."""
        if conversation != self.conversation:
            self.close_conversation()
        self.conversation = conversation
        self.notice = (0, "")
        self.epoch += 1

    def close_conversation(self) -> None:
        """Show no conversation; the streaming handler shows the change."""
        self.conversation = None
        self.tokens, self.rendered = {}, {}
        self.marks, self.opened, self.versions = {}, None, None
        self.draft = (0, "")

    def keep_marks(self, node: int, marks: dict[str, Any], most: int) -> None:
        """Keep the marks of an answer; drop the least recently requested marks beyond ``most``."""
        self.marks.pop(node, None)
        self.marks[node] = marks
        while len(self.marks) > most:
            del self.marks[next(iter(self.marks))]

    def show_notice(self, sentence: str) -> None:
        self.notice = (next(_NUMBERS), sentence)

    def fill_draft(self, text: str) -> None:
        self.draft = (next(_NUMBERS), text)
