"""What one browser tab looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class DeliveredMessage:
    """A letter that is in a conversation now."""

    letter: str
    conversation: str


@dataclass(eq=False)
class TabState:
    """One tab: its owner's name, the conversation that it shows, and the messages that are open as tokens.

    Whoever streams to it notes its ``epoch`` and ends once that is another one: the tab looks at something else then.
    ``notice`` and ``draft`` are told once: a sentence, and a text for the field. ``letter`` names the message that was sent last,
    ``arrived`` is the last one that is kept: the field may forget it.
    A session without an owner is one that no page has begun: Gradio has forgotten the one that the tab had.
    """

    owner: str = ""
    conversation: str | None = None
    epoch: int = 0
    tokens: dict[int, Sequence[str]] = field(default_factory=dict)
    notice: tuple[int, str] = (0, "")
    draft: tuple[int, str] = (0, "")
    letter: str = ""
    arrived: DeliveredMessage | None = None
    search: str = ""
    drawn: dict[int, tuple[object, str]] = field(default_factory=dict)

    def __deepcopy__(self, _: object) -> TabState:
        """Gradio copies the state that a page begins with: each tab has a session of its own."""
        return TabState()

    def look_at(self, conversation: str | None) -> None:
        """Show another conversation, or the same one anew."""
        if conversation != self.conversation:
            self.leave()
        self.conversation = conversation
        self.notice = (0, "")
        self.epoch += 1

    def leave(self) -> None:
        """Show no conversation any more; whoever streams to the tab says so."""
        self.conversation = None
        self.tokens, self.drawn = {}, {}
        self.draft = (0, "")

    def tell(self, sentence: str) -> None:
        """Have a sentence shown; an empty one takes the last one away."""
        self.notice = (next(_NUMBERS), sentence)

    def offer(self, text: str) -> None:
        """Put a text into the field."""
        self.draft = (next(_NUMBERS), text)
