"""Tests pictures of messages: sent, stored, exported and imported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Image
from pellucid_webui.conversations.attachments import MAX_PICTURES, MAX_PICTURES_BYTES, pictures_among
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Picture
from pellucid_webui.conversations.exchange import import_export
from pellucid_webui.conversations.model_view import messages_of
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.import_text import import_text
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, tokens

PNG = b"\x89PNG\r\n\x1a\n"

(PICTURE,) = pictures_among([("a > b.png", PNG)])

SETTINGS = TurnSettings(model=MODEL)


def test_the_type_of_a_picture() -> None:
    """The content determines the type of a picture, and texts are no pictures."""
    contents = (b"\xff\xd8\xffx", b"GIF89a", b"RIFF\n\0\0\0WEBP", b"# text")
    found = pictures_among([(f"{number}.png", content) for number, content in enumerate(contents)])
    assert [one.url.partition(";")[0] for one in found] == ["data:image/jpeg", "data:image/gif", "data:image/webp"]


@pytest.mark.parametrize("files", [[PNG] * (MAX_PICTURES + 1), [PNG + b"\0" * MAX_PICTURES_BYTES]])
def test_too_much(files: list[bytes]) -> None:
    """Too many or too large pictures are refused."""
    with pytest.raises(InvalidRequestError, match="at most 8 pictures, of 6 MB together: remove some"):
        pictures_among([("a.png", content) for content in files])


@pytest.mark.parametrize(
    ("export", "name"), [(import_export.as_json, "a.json"), (import_export.as_markdown, "a.md")], ids=["json", "md"]
)
def test_kept_pictures(tmp_path: Path, export: Callable[[ConversationStore, str, str], str], name: str) -> None:
    """Pictures survive a restart, an export and an import, and the model reads them."""
    with closing(ConversationStore(tmp_path / "kept.db")) as store:
        id = store.create("ann", SETTINGS)
        store.add("ann", id, None, USER, "What?", pictures=[PICTURE])
    with closing(ConversationStore(tmp_path / "kept.db")) as store:
        assert [node.pictures for node in store.conversation("ann", id).path()] == [(PICTURE,)]
        path = store.conversation("ann", import_text(store, "ann", export(store, "ann", id), name)).path()
    assert [node.pictures for node in path] == [(PICTURE,)]
    assert [message.images for message in messages_of(path, "", SETTINGS)] == [(Image(0, PICTURE.url),)]


@pytest.mark.parametrize(
    ("role", "url", "said"),
    [
        (USER, "https://example.org/a.png", "String should match pattern"),
        (USER, "data:text/html;base64,YQ==", "String should match pattern"),
        (ASSISTANT, PICTURE.url, "Message 1 has pictures: only a user's message can have pictures"),
    ],
)
def test_refused_imports(tmp_path: Path, role: str, url: str, said: str) -> None:
    """A file's pictures must be base64 in messages of the user: no address is fetched."""
    with closing(ConversationStore(tmp_path / "kept.db")) as store:
        id = store.create("ann", SETTINGS)
        store.add("ann", id, None, role, "What?", pictures=[Picture("a.png", url)])
        text = import_export.as_json(store, "ann", id)
        with pytest.raises(InvalidRequestError, match=said):
            import_text(store, "ann", text, "a.json")


async def test_a_model_without_eyes(tmp_path: Path) -> None:
    """Pictures for a model that sees no images are refused before anything is saved."""
    with closing(ConversationStore(tmp_path / "kept.db")) as store:
        actions = ChatActions("ann", store, ScriptedPageAssistant([tokens("Yes")]), Turns())
        with pytest.raises(InvalidRequestError, match=f"{MODEL} sees no images: choose another model"):
            await actions.send_first("What?", SETTINGS, [PICTURE])
        assert store.list("ann") == []
