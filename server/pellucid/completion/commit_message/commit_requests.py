"""The running requests of an editor for commit messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

from pellucid.completion.cancellable_requests import CancellableRequests
from pellucid.completion.commit_message.commit_messages import CommitMessage, commit_messages
from pellucid.completion.commit_message.commit_prompt import CommitPrompt
from pellucid.completion.commit_message.staged_changes import staged_changes
from pellucid.vocabulary.query import Priority, Terms


class CommitRequests(CancellableRequests):
    async def messages(
        self, folder: Path, count: int, exclude: Sequence[str]
    ) -> tuple[str, list[CommitMessage], Sequence[str]]:
        """Return the model, messages for the staged changes, and notes on unread changes.

        A newer request for the folder replaces this request. ``exclude`` are patterns of private
        files. Raise InvalidRequestError if nothing may be sent.
        """
        self._policy.require_on()
        with self._cancellable(str(folder)):
            prompt = CommitPrompt(await staged_changes(folder, self._policy.folders, exclude))
            terms = Terms(Priority.CHAT, key=f"lsp-{os.getpid()}:commit:{folder}")
            async with (
                self._models.asked() as (client, card),
                aclosing(commit_messages(client, prompt, count, model=card.name, terms=terms)) as messages,
            ):
                return card.name, [message async for message in messages], prompt.notes
