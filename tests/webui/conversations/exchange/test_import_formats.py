"""Tests importing exports of open-webui and ChatGPT, and OpenAI messages."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import Conversation
from pellucid_webui.conversations.exchange import import_export
from pellucid_webui.conversations.exchange.import_export import Imported
from pellucid_webui.conversations.exchange.import_formats import recognition
from pellucid_webui.conversations.exchange.import_formats.recognition import UNKNOWN
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.import_text import import_text
from support.trial_counts import trial_count

SHOWN = TurnSettings(model="m", system="Mine.", temperature=0.25, answer_format="json_object")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        yield store


def load(store: ConversationStore, content: object, name: str = "export.json") -> Imported:
    """Import JSON of a value, text or bytes."""
    data = (
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )
    return import_export.read_file(store, "ann", gzip.compress(data), name, SHOWN)


def one(store: ConversationStore, content: object, name: str = "export.json") -> Conversation:
    """Import a file with a single conversation."""
    (id,) = load(store, content, name).ids
    return store.conversation("ann", id)


def said(conversation: Conversation) -> list[tuple[str, str]]:
    return [(node.role, node.text) for node in conversation.path()]


def refusal(store: ConversationStore, content: object, name: str = "export.json") -> str:
    """Return the reason for which a file is refused, and assert that nothing is saved."""
    with pytest.raises(InvalidRequestError) as caught:
        load(store, content, name)
    assert store.list("ann") == []
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith(f"{name} cannot be imported: ")
    return sentence.removeprefix(f"{name} cannot be imported: ")


def webui_chat(**messages: Any) -> dict[str, Any]:
    """Return a chat of open-webui with two answers to a question, the first shown and continued."""
    found = {
        "q": {
            "id": "q",
            "parentId": None,
            "childrenIds": ["a1", "a2"],
            "role": "user",
            "content": "How?",
            "timestamp": 1700000000,
        },
        "a1": {
            "parentId": "q",
            "role": "assistant",
            "content": "So.",
            "model": "llama3:8b",
            "timestamp": 1700000005,
            "done": True,
        },
        "a2": {
            "parentId": "q",
            "role": "assistant",
            "content": "Otherwise.",
            "model": "qwen:7b",
            "timestamp": 1700000009,
        },
        "q2": {"parentId": "a1", "role": "user", "content": "Why?", "timestamp": 1700000020},
    }
    chat = {
        "title": "Ways",
        "params": {"system": "Be brief."},
        "history": {"currentId": "q2", "messages": found | messages},
        "messages": [],
    }
    return {
        "id": "x",
        "title": "Ways",
        "chat": chat,
        "created_at": 1700000000,
        "updated_at": 1700000020,
        "pinned": False,
    }


class TestOpenWebui:
    @pytest.mark.parametrize("in_list", [True, False])
    def test_tree(self, store: ConversationStore, in_list: bool) -> None:
        """A chat, alone or in a list, keeps its branches as versions, and its shown path."""
        found = one(store, [webui_chat()] if in_list else webui_chat())
        assert (found.title, found.created, found.updated) == ("Ways", 1700000000.0, 1700000020.0)
        assert said(found) == [("user", "How?"), ("assistant", "So."), ("user", "Why?")]
        question, answer, _ = found.path()
        assert [(node.text, node.model, node.end) for node in found.versions(answer)] == [
            ("So.", "llama3:8b", FinishReason.STOP),
            ("Otherwise.", "qwen:7b", FinishReason.STOP),
        ]
        assert (question.created, question.model) == (1700000000.0, "")
        other = found.versions(answer)[1]
        store.select_version("ann", found.id, other.id)
        assert said(store.conversation("ann", found.id)) == [("user", "How?"), ("assistant", "Otherwise.")]
        assert found.settings == TurnSettings(model="m", system="Be brief.", temperature=0.25)

    def test_what_is_left_out(self, store: ConversationStore) -> None:
        """Omitted images, files, tools and roles are named; replies move up in the tree."""
        chat = webui_chat(
            q2={
                "parentId": "a1",
                "role": "user",
                "content": "",
                "files": [{"type": "image", "url": "data:x"}, {"type": "file"}],
            },
            t={"parentId": "q2", "role": "tool", "content": "12"},
            a3={"parentId": "t", "role": "assistant", "content": "A cat."},
            c={"parentId": "a3", "role": "critic", "content": "Hm."},
            q3={
                "parentId": "c",
                "role": "user",
                "content": [{"type": "text", "text": "And this?"}, {"type": "image_url"}],
            },
            failed={"parentId": "q3", "role": "assistant", "content": "", "error": {"content": "No memory."}},
        )
        chat["chat"]["history"]["currentId"] = "failed"
        imported = load(store, chat)
        found = store.conversation("ann", imported.ids[0])
        assert said(found)[2:] == [
            ("user", "[image left out]"),
            ("assistant", "A cat."),
            ("user", "And this?"),
            ("assistant", ""),
        ]
        assert (found.path()[-1].end, found.path()[-1].error) == (FinishReason.ERROR, "No memory.")
        assert imported.left_out.sentence() == (
            "2 images, 1 file, 1 message of tools and 1 message of the role “critic” were left out."
        )

    def test_old_list(self, store: ConversationStore) -> None:
        """An old export with only a list of messages is read, and milliseconds are converted."""
        chat = {
            "chat": {
                "title": "Old",
                "timestamp": 1700000000123,
                "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            }
        }
        found = one(store, chat)
        assert (found.title, said(found)) == ("Old", [("user", "a"), ("assistant", "b")])
        assert found.created == pytest.approx(1700000000.123)

    @pytest.mark.parametrize(
        ("place", "value", "sentence"),
        [
            (("chat", "history", "messages"), [], "Its messages are not an object."),
            (("chat", "history"), None, "It has no messages of a person or a model."),
            (("chat", "history", "messages", "q"), "text", "One of its messages is not an object."),
            (
                ("chat", "history", "messages", "q", "content"),
                5,
                "The content of a message is neither text nor a list of parts.",
            ),
            (
                ("chat", "history", "messages", "q", "parentId"),
                "q2",
                "Two of its messages have the same id, or a message is its own parent.",
            ),
        ],
    )
    def test_broken(self, store: ConversationStore, place: tuple[str, ...], value: object, sentence: str) -> None:
        """A broken chat is refused in a sentence with the chat's number, and nothing is saved."""
        chat = webui_chat()
        at: Any = chat
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = value
        assert refusal(store, chat) == sentence
        # A file with a second conversation is imported without the empty conversation.
        if "no messages of" not in sentence:
            assert refusal(store, [webui_chat(), chat]).removeprefix("Conversation 2: ") == sentence


def chatgpt_message(role: str, *parts: object, kind: str = "text", **more: Any) -> dict[str, Any]:
    return {
        "author": {"role": role},
        "content": {"content_type": kind, "parts": list(parts)},
        "create_time": 1690000000.5,
        "recipient": "all",
        **more,
    }


def chatgpt_conversation(**nodes: Any) -> dict[str, Any]:
    """Return a ChatGPT conversation: an edited question, an answer interrupted by a tool."""
    mapping = {
        "root": {"parent": None, "children": ["system"], "message": None},
        "system": {"parent": "root", "message": chatgpt_message("system", "")},
        "q1": {"parent": "system", "message": chatgpt_message("user", "Weather?")},
        "q2": {"parent": "system", "message": chatgpt_message("user", "Weather in Rome?")},
        "think": {
            "parent": "q2",
            "message": {"author": {"role": "assistant"}, "content": {"content_type": "thoughts", "thoughts": []}},
        },
        "a": {"parent": "think", "message": chatgpt_message("assistant", "I look.", metadata={"model_slug": "gpt-4o"})},
        "call": {"parent": "a", "message": chatgpt_message("assistant", "search('Rome')", recipient="browser")},
        "result": {"parent": "call", "message": chatgpt_message("tool", "Sunny")},
        "b": {"parent": "result", "message": chatgpt_message("assistant", "Sunny\ue200cite\ue202turn0\ue201.")},
    }
    return {
        "title": None,
        "create_time": 1690000000,
        "update_time": 1690000099,
        "mapping": mapping | nodes,
        "current_node": "b",
    }


class TestChatGpt:
    def test_tree(self, store: ConversationStore) -> None:
        """Edits become versions, tools interrupt no message, and omissions are named."""
        imported = load(store, [chatgpt_conversation()], "conversations.json")
        found = store.conversation("ann", imported.ids[0])
        assert said(found) == [("user", "Weather in Rome?"), ("assistant", "I look.\n\nSunny.")]
        assert [node.text for node in found.versions(found.path()[0])] == ["Weather?", "Weather in Rome?"]
        assert (found.title, found.created, found.updated) == ("Weather?", 1690000000.0, 1690000099.0)
        assert (found.path()[1].model, found.path()[1].created) == ("gpt-4o", 1690000000.5)
        assert imported.left_out.sentence() == "2 messages of tools and 1 message of reasoning were left out."

    def test_several(self, store: ConversationStore) -> None:
        """All conversations of a file except empty ones are imported, each with its own time."""
        other = chatgpt_conversation() | {"title": "Other", "update_time": 1600000000}
        empty = {"title": "Empty", "mapping": {"root": {"parent": None, "message": None}}}
        imported = load(store, [chatgpt_conversation(), other, empty])
        assert [(row.title, row.updated) for row in store.list("ann")] == [
            ("Weather?", 1690000099.0),
            ("Other", 1600000000.0),
        ]
        assert "1 empty conversation" in imported.left_out.sentence()
        assert len(store.list("ann", "rome")) == 2

    def test_kinds_of_content(self, store: ConversationStore) -> None:
        """Images, recordings and hidden messages are left out and counted; code becomes text."""
        image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}
        speech = {"content_type": "audio_transcription", "text": "What is it?"}
        code = {
            "author": {"role": "assistant"},
            "content": {"content_type": "code", "language": "python", "text": "print(1)"},
        }
        hidden = chatgpt_message(
            "user", "My profile", kind="user_editable_context", metadata={"is_visually_hidden_from_conversation": True}
        )
        mapping = {
            "h": {"parent": None, "message": hidden},
            "q": {
                "parent": "h",
                "message": chatgpt_message(
                    "user", image, speech, {"content_type": "audio_asset_pointer"}, kind="multimodal_text"
                ),
            },
            "a": {"parent": "q", "message": code},
        }
        imported = load(store, [{"title": "T", "mapping": mapping}])
        assert said(store.conversation("ann", imported.ids[0])) == [
            ("user", "What is it?"),
            ("assistant", "```python\nprint(1)\n```"),
        ]
        assert imported.left_out.sentence() == "1 hidden message, 1 image and 1 recording were left out."

    @pytest.mark.parametrize(
        ("nodes", "sentence"),
        [
            ({"q1": 5}, "One of the nodes of its mapping is not an object."),
            (
                {"q1": {"parent": "root", "message": {"author": "me"}}},
                "One of its messages is not an object with an author.",
            ),
            (
                {"root": {"parent": "b", "message": None}},
                "Two of its messages have the same id, or a message is its own parent.",
            ),
        ],
    )
    def test_broken(self, store: ConversationStore, nodes: dict[str, Any], sentence: str) -> None:
        """A broken conversation is refused in a sentence, and nothing of the file is saved."""
        assert refusal(store, [chatgpt_conversation(**nodes)]) == sentence
        assert (
            refusal(store, [chatgpt_conversation(), {"mapping": 5}]) == "Conversation 2: Its mapping is not an object."
        )
        assert (
            refusal(store, [chatgpt_conversation(), webui_chat()])
            == "Conversation 2: It is not in the format of the first one."
        )


def zipped(method: int = zipfile.ZIP_DEFLATED, **files: str) -> bytes:
    """Return a ZIP file; ``__`` in a name is replaced by a dot."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    return content.getvalue()


class TestZip:
    def test_export(self, store: ConversationStore) -> None:
        """ChatGPT's ZIP file is read, also in several parts; further files are ignored."""
        whole = json.dumps([chatgpt_conversation()])
        assert len(load(store, zipped(user__json="{}", conversations__json=whole), "export.zip").ids) == 1
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for number in range(2):
                archive.writestr(f"data/conversations-00{number}.json", whole)
        assert len(load(store, content.getvalue(), "export.zip").ids) == 2

    def test_others(self, store: ConversationStore) -> None:
        """Unknown, damaged and unusually packed ZIP files are refused."""
        name = "export.zip"
        assert refusal(store, zipped(a__json="[]"), name) == "It has no conversations.json, as ChatGPT's export has."
        assert refusal(store, zipped(conversations__json="[]")[:-9], name).startswith("It is a damaged ZIP file")
        assert "packed in an unusual way" in refusal(store, zipped(zipfile.ZIP_BZIP2, conversations__json="[]"), name)
        content = zipped(conversations__json=json.dumps([chatgpt_conversation()]))
        middle = len(content) // 3
        assert refusal(store, content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :], name)

    def test_hostile(self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file with too many bytes or entries is not unpacked."""
        monkeypatch.setattr(import_export, "MAX_IMPORT_BYTES", 100_000)
        assert "too large together" in refusal(store, zipped(conversations__json=" " * 100_001), "bomb.zip")
        monkeypatch.setattr(recognition, "MAX_ZIP_FILES", 3)
        many = zipped(a="", b="", c="", d="")
        assert refusal(store, many, "many.zip") == "It has more than 3 files: choose the conversations.json in it."


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]},
    {"role": "assistant", "content": "Hello."},
]


class TestOpenAiMessages:
    @pytest.mark.parametrize(
        "content",
        [
            MESSAGES,
            {"messages": MESSAGES, "model": "gpt-4o", "title": "Greeting"},
            [{"messages": MESSAGES}],
            json.dumps({"messages": MESSAGES}) + "\n\n",
            "\ufeff" + "\n".join(map(json.dumps, MESSAGES)),
        ],
    )
    def test_shapes(self, store: ConversationStore, content: object) -> None:
        """All shapes of OpenAI messages give the same conversation."""
        found = one(store, content)
        assert said(found) == [("user", "Hi\n\nthere"), ("assistant", "Hello.")]
        assert found.settings.system == "Be brief."
        assert found.title == ("Greeting" if isinstance(content, dict) else "Hi")
        assert found.path()[1].model == ("gpt-4o" if isinstance(content, dict) else "")
        assert abs(found.updated - time.time()) < 3600

    @pytest.mark.parametrize("line", [{"messages": MESSAGES}, MESSAGES])
    def test_lines(self, store: ConversationStore, line: object) -> None:
        """Each line of a JSONL file is a conversation."""
        imported = load(store, "\n".join([json.dumps(line)] * 3), "many.jsonl")
        assert [len(store.conversation("ann", id).path()) for id in imported.ids] == [2, 2, 2]

    def test_tools(self, store: ConversationStore) -> None:
        """Tool calls, tool results and later system messages are left out and named."""
        messages = [
            *MESSAGES,
            {"role": "user", "content": "Time?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "12:00", "tool_call_id": "1"},
            {"role": "system", "content": "Hurry."},
            {"role": "assistant", "content": "Noon."},
        ]
        imported = load(store, messages)
        assert said(store.conversation("ann", imported.ids[0]))[2:] == [("user", "Time?"), ("assistant", "Noon.")]
        assert imported.left_out.sentence() == "2 messages of tools and 1 message of the role “system” were left out."

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ([*MESSAGES, {"role": "user"}], UNKNOWN),
            ({"messages": [*MESSAGES, 5]}, "Message 4 is not an object with a role and a content."),
            (
                {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
                "A part of the type text has no text.",
            ),
            ([{"role": "system", "content": "Be brief."}], "It has no messages of a person or a model."),
            ({"messages": []}, UNKNOWN),
            (
                '{"messages": []}\n{"messages"',
                "Line 2 is not valid JSON (Expecting ':' delimiter: line 1 column 12 (char 11)).",
            ),
        ],
    )
    def test_broken(self, store: ConversationStore, content: object, sentence: str) -> None:
        """Broken messages are refused in a sentence."""
        assert refusal(store, content) == sentence


KEYS = (
    *("mapping", "chat", "history", "messages", "role", "content", "parts", "parent", "parentId"),
    *("message", "author", "title", "files", "metadata"),
)
"""Keys of all formats."""


class TestHostile:
    @pytest.mark.parametrize(
        "content", ["[" * 100_000, '{"messages":' * 50_000, '[{"mapping":{"a":{"parent":' + "[" * 100_000]
    )
    def test_depth(self, store: ConversationStore, content: str) -> None:
        """A file of any depth is refused without harm."""
        assert refusal(store, content).startswith("It is not valid JSON")

    def test_numbers(self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file with too many conversations, messages or values is refused."""
        for limit, name in ((1, "MAX_CONVERSATIONS"), (3, "MAX_MESSAGES"), (9, "MAX_VALUES")):
            with monkeypatch.context() as patch:
                patch.setattr(recognition, name, limit)
                assert refusal(store, [{"messages": MESSAGES}] * 2).startswith(f"It has more than {limit} ")

    def test_times(self, store: ConversationStore) -> None:
        """Values that are not valid times are ignored."""
        for value in (-1, 1e300, float("nan"), float("inf"), True, "now", 10**400, None):
            chat = webui_chat() | {"created_at": value, "updated_at": value}
            assert 0 < one(store, chat).updated < 253_402_300_800

    def test_long_chain(self, store: ConversationStore) -> None:
        """Thousands of messages are read without nesting; consecutive answers become one."""
        messages = [{"role": "user" if n % 2 else "assistant", "content": str(n)} for n in range(1, 3001)]
        assert len(one(store, messages).path()) == 3000
        assert len(one(store, [MESSAGES[1], *[{"role": "assistant", "content": "x"}] * 3000]).path()) == 2

    @hypothesis_settings(
        max_examples=trial_count(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
    )
    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text(max_size=3)
            | st.sampled_from(["user", "assistant", "text"]),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
            max_leaves=25,
        )
    )
    def test_anything(self, store: ConversationStore, data: object) -> None:
        """Any JSON is refused in a sentence, or imported as conversations that can be exported."""
        try:
            imported = load(store, json.dumps(data))
        except InvalidRequestError:
            return
        for id in imported.ids:
            text = import_export.as_json(store, "ann", id)
            assert import_text(store, "ann", text, "again.json")
