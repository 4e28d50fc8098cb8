"""Tests exporting and importing conversations."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.answer_details import StoredDetails, StoredField, StoredOther
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Archive, Conversation, Node
from pellucid_webui.conversations.exchange import import_export, json_format
from pellucid_webui.conversations.exchange.json_format import from_json, to_json
from pellucid_webui.conversations.exchange.markdown_format import from_markdown, to_markdown
from pellucid_webui.conversations.storage.folders import MAX_NAME
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.import_text import import_text
from support.page.scripted_assistant import tokens

SETTINGS = TurnSettings(model="m", system="Be brief.\nPlease.", temperature=0.5, seed=7)
VALUE = StoredField(
    path="/a",
    value=True,
    probability=0.5,
    mass=0.25,
    decided=1,
    other=StoredOther(value=None, probability=0.5),
    tokens=(1, 2),
)
DETAILS = StoredDetails(fields=(VALUE,))
USAGE = Usage(cached=1, computed=2, generated=3, queued=0.25, prefill=0.5, decode=0.75)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        yield store


@pytest.fixture
def id(store: ConversationStore) -> str:
    """Create Ann's conversation, with two versions of an answer."""
    # Ids must differ from the ids of a new file.
    store.create("ann", SETTINGS)
    store.add("ann", store.create("ann", SETTINGS), None, USER, "elsewhere")
    id = store.create("ann", SETTINGS, 'A "title"')
    question = store.add("ann", id, None, USER, "How?", end=FinishReason.STOP)
    answer = store.add("ann", id, question, ASSISTANT, "", settings=SETTINGS, model="m")
    store.append(answer, "Like", pack(tokens("Li", "ke")))
    store.append(answer, " so", pack(tokens(" so")))
    store.finish(answer, FinishReason.ERROR, USAGE, "It broke.", DETAILS)
    other = store.add(
        "ann", id, question, ASSISTANT, "Like", model="m", origin=answer, branched=1, batches=[pack(tokens("Li", "ke"))]
    )
    store.add("ann", id, other, USER, "Thanks")
    store.select_version("ann", id, answer)
    return id


def written(store: ConversationStore, id: str) -> dict[str, Any]:
    found = json.loads(import_export.as_json(store, "ann", id))
    assert isinstance(found, dict)
    return found


class TestJson:
    def test_shape(self, store: ConversationStore, id: str) -> None:
        """The file has all data, with numbers of the file instead of ids."""
        found = written(store, id)
        messages = found.pop("messages")
        assert {name: found[name] for name in ("format", "version", "title", "leaf")} == {
            "format": "pellucid-conversation",
            "version": 1,
            "title": 'A "title"',
            "leaf": 2,
        }
        assert found["settings"] == SETTINGS.record()
        assert [
            (one["id"], one["parent"], one["role"], one["text"], one["origin"], one["branched"], one["chosen"])
            for one in messages
        ] == [
            (1, None, "user", "How?", None, None, 2),
            (2, 1, "assistant", "Like so", None, None, None),
            (3, 1, "assistant", "Like", 2, 1, 4),
            (4, 3, "user", "Thanks", None, None, None),
        ]
        assert [one["t"] for one in messages[1]["tokens"]] == ["Li", "ke", " so"]
        assert (
            messages[1]["end"],
            messages[1]["error"],
            messages[1]["usage"]["decode"],
            messages[1]["settings"]["seed"],
        ) == (
            "error",
            "It broke.",
            0.75,
            7,
        )
        assert (messages[0]["settings"], messages[0]["model"], messages[0]["usage"], messages[0]["tokens"]) == (
            None,
            "",
            None,
            [],
        )

    def test_every_key_is_described(self, store: ConversationStore, id: str) -> None:
        """The description of the format names every key of a file."""
        found = written(store, id)
        keys = {*found, *found["settings"], *found["messages"][1], *found["messages"][1]["usage"]}
        assert {key for key in keys if f"``{key}``" not in str(json_format.__doc__)} == set()

    def test_the_same_conversation(self, store: ConversationStore, id: str) -> None:
        """An imported conversation has new ids, and gives the same file when exported again."""
        text = import_export.as_json(store, "ann", id)
        copy = import_text(store, "bob", text, "Conversation.JSON")
        assert copy != id
        assert import_export.as_json(store, "bob", copy) == text
        assert len(store.list("bob", "thanks")) == 1
        with pytest.raises(NotFoundError):
            store.conversation("ann", copy)

    @pytest.mark.parametrize(
        ("write", "name"), [(import_export.as_json, "a.json"), (import_export.as_markdown, "a.md")]
    )
    def test_pin_and_folder(
        self, store: ConversationStore, id: str, write: Callable[[ConversationStore, str, str], str], name: str
    ) -> None:
        """Pin and folder are restored from the file; a missing folder is created."""
        folder = store.folders.create("ann", 'Bread & "butter"')
        store.folders.move("ann", id, folder)
        store.folders.pin("ann", id, True)
        text = write(store, "ann", id)
        again = import_text(store, "ann", text, name)
        copies = [import_text(store, "bob", text, name) for _ in range(2)]
        assert {(one.pinned, one.folder) for one in store.list("ann") if one.id in (id, again)} == {(True, folder)}
        (new,) = store.folders.list("bob")
        assert new.name == 'Bread & "butter"'
        assert {one.id: (one.pinned, one.folder) for one in store.list("bob")} == dict.fromkeys(copies, (True, new.id))
        store.folders.delete("ann", folder)
        store.folders.pin("ann", id, False)
        plain = import_text(store, "bob", write(store, "ann", id), name)
        assert [(one.pinned, one.folder) for one in store.list("bob") if one.id == plain] == [(False, None)]

    @pytest.mark.parametrize("folder", ["", " ", "x" * (MAX_NAME + 1)])
    def test_a_folder_that_cannot_be(self, store: ConversationStore, id: str, folder: str) -> None:
        """A file with an invalid folder name is refused, and nothing is saved."""
        text = json.dumps(written(store, id) | {"folder": folder})
        with pytest.raises(InvalidRequestError, match=r"a\.json cannot be imported: The .*folder has"):
            import_text(store, "bob", text, "a.json")
        assert (store.list("bob"), store.folders.list("bob")) == ([], [])

    def test_a_file_without_pin_and_folder(self, store: ConversationStore, id: str) -> None:
        """A file of an earlier release has no pin or folder, and is imported outside of folders."""
        found = written(store, id)
        del found["pinned"], found["folder"]
        import_text(store, "bob", json.dumps(found), "a.json")
        assert [(one.pinned, one.folder) for one in store.list("bob")] == [(False, None)]

    def test_details(self, store: ConversationStore, id: str) -> None:
        """The values of an answer are in the file; files of earlier releases have no values."""
        found = written(store, id)
        assert found["messages"][1]["details"]["fields"][0]["other"]["probability"] == 0.5
        assert "details" not in found["messages"][0]
        assert from_json(json.dumps(found)).conversation.nodes[2].details == DETAILS
        del found["messages"][1]["details"]
        for name in ("answer_format", "schema", "tools", "tool_choice"):
            del found["settings"][name]
        old = from_json(json.dumps(found)).conversation
        assert (old.nodes[2].details, old.settings) == (None, SETTINGS)
        found["messages"][1]["details"] = {"fields": [{"path": 5}]}
        with pytest.raises(InvalidRequestError, match="details"):
            from_json(json.dumps(found))

    def test_an_empty_conversation(self, store: ConversationStore) -> None:
        """A conversation without messages can be exported and imported."""
        text = import_export.as_json(store, "ann", store.create("ann", SETTINGS))
        assert import_export.as_json(store, "bob", import_text(store, "bob", text, "a.json")) == text
        assert from_json(text).conversation.nodes == {}

    def test_another_owners(self, store: ConversationStore, id: str) -> None:
        """Another owner's conversation cannot be exported."""
        for write in (import_export.as_json, import_export.as_markdown):
            with pytest.raises(NotFoundError):
                write(store, "bob", id)

    @pytest.mark.parametrize(
        ("place", "value", "sentence"),
        [
            (("format",), "other", "It is not an exported conversation."),
            (("version",), 2, "Its format version is not 1: use a newer version of Pellucid."),
            (("title",), 5, "title: Input should be a valid string."),
            (("title",), None, "title: Input should be a valid string."),
            (("created",), "yesterday", "created: Input should be a valid number."),
            (("created",), -1, "created: Input should be greater than or equal to 0."),
            (("updated",), 1e300, "updated: Input should be less than 253402300800."),
            (("leaf",), 9, "leaf: there is no message 9."),
            (("leaf",), 0, "leaf: Input should be greater than or equal to 1."),
            (("more",), 1, "more: Extra inputs are not permitted."),
            (("settings",), [], "settings: Input should be an object."),
            (
                ("settings", "temperature"),
                "hot",
                "The setting temperature of a turn must be of the type float, not 'hot'.",
            ),
            (("settings", "temperature"), -1, "temperature must be 0 (greedy), or between 0.0001 and 100, not -1."),
            (
                ("settings", "shoe_size"),
                44,
                "There is no setting 'shoe_size': remove it, or use a newer version of Pellucid.",
            ),
            (("messages",), {}, "messages: Input should be a valid array."),
            (("messages", 1), "text", "messages.1: Input should be an object."),
            (("messages", 1, "id"), 3, "Message 2 has the id 3: ids must be 1, 2, 3, ..."),
            (("messages", 2, "parent"), 3, "Message 3 comes before its parent, 3."),
            (("messages", 2, "parent"), 9, "Message 3 comes before its parent, 9."),
            (("messages", 1, "role"), "system", "messages.1.role: Input should be 'user' or 'assistant'."),
            (("messages", 1, "text"), "else", "The tokens of message 2 do not match the end of its text."),
            (("messages", 1, "end"), "tired", None),
            (("messages", 1, "usage"), {"cached": 1}, "messages.1.usage.computed: Field required."),
            (("messages", 1, "usage", "decode"), "long", "messages.1.usage.decode: Input should be a valid number."),
            (("messages", 1, "settings", "top_p"), 5, "top_p must be above 0 and at most 1, not 5."),
            (("messages", 2, "origin"), 1, "Message 3 is not a version of its origin, 1."),
            (("messages", 2, "origin"), 3, "Message 3 is not a version of its origin, 3."),
            (("messages", 2, "branched"), 2, "Message 3 has no token 2, at which it should branch."),
            (("messages", 2, "chosen"), 2, "Message 3 is not the parent of its chosen message, 2."),
            (("messages", 2, "chosen"), 9, "Message 3 is not the parent of its chosen message, 9."),
            (
                ("messages", 2, "begins"),
                2,
                "Message 3 does not come after message 2, at which the model should begin to read.",
            ),
            (
                ("messages", 2, "summary"),
                "s",
                "Message 3 has a summary, but no message at which the model begins to read.",
            ),
            (("messages", 1, "tokens", 0), 5, None),
            (("messages", 1, "tokens", 0, "l"), "low", None),
        ],
    )
    def test_what_is_wrong(
        self, store: ConversationStore, id: str, place: tuple[str | int, ...], value: object, sentence: str | None
    ) -> None:
        """Each error in a file is reported in a sentence with the file's name; nothing is saved."""
        found: Any = written(store, id)
        at = found
        for step in place[:-1]:
            at = at[step]
        at[place[-1]] = value
        with pytest.raises(InvalidRequestError, match=r"^mine\.json cannot be imported: ") as caught:
            import_text(store, "bob", json.dumps(found), "mine.json")
        assert sentence is None or str(caught.value) == f"mine.json cannot be imported: {sentence}"
        assert "\n" not in str(caught.value)
        assert store.list("bob") == []

    @pytest.mark.parametrize("name", ["title", "settings", "messages", "leaf", "updated"])
    def test_what_is_missing(self, store: ConversationStore, id: str, name: str) -> None:
        """A missing key is reported."""
        found = written(store, id)
        del found[name]
        with pytest.raises(InvalidRequestError, match=f"{name}: Field required"):
            import_text(store, "bob", json.dumps(found), "a.json")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "It is not valid JSON"),
            ("{", "It is not valid JSON"),
            ("[" * 10_000, "It is not valid JSON"),
            ("[]", "It is no export that Pellucid can read"),
            ("{}", "It is no export that Pellucid can read"),
            ("null", "It is no export that Pellucid can read"),
            ('{"format": null}', "It is not an exported conversation."),
            ('{"format": "pellucid-conversation", "title": "\\ud83d"}', "It is not valid JSON"),  # Half an emoji
            ('{"format": "pellucid-conversation", "version": NaN}', "Its format version is not 1"),
        ],
    )
    def test_what_is_no_conversation(self, store: ConversationStore, text: str, sentence: str) -> None:
        """Other JSON, and text in another format, is refused with the reason."""
        with pytest.raises(InvalidRequestError, match=f"a.json cannot be imported: {sentence}"):
            import_text(store, "bob", text, "a.json")


class TestFiles:
    @pytest.mark.parametrize("name", ["a.txt", "a", "json", ".json.exe", ""])
    def test_names(self, store: ConversationStore, id: str, name: str) -> None:
        """The content of a file determines the type; the name is ignored."""
        for text in (import_export.as_json(store, "ann", id), import_export.as_markdown(store, "ann", id)):
            assert store.conversation("bob", import_text(store, "bob", text, name)).title == 'A "title"'
        with pytest.raises(
            InvalidRequestError, match=r"cannot be imported: It is no export that Pellucid can read: choose one of"
        ):
            import_text(store, "ann", "{}", name)

    def test_packed(self) -> None:
        """Files are sent as gzip."""
        assert import_export.unpacked(gzip.compress(b"one\r\n"), "a.md") == b"one\r\n"

    def test_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file over the limit is not unpacked completely."""
        monkeypatch.setattr(import_export, "MAX_IMPORT_BYTES", 5_000_000)
        assert len(import_export.unpacked(gzip.compress(b"x" * 5_000_000), "a.json")) == 5_000_000
        with pytest.raises(InvalidRequestError, match=r"^a\.json is larger than 5 MB: it cannot be imported\.$"):
            import_export.unpacked(gzip.compress(b"x" * 5_000_001), "a.json")

    @pytest.mark.parametrize("data", [b"", b"{}", gzip.compress(b"{}", mtime=0)[:-9]])
    def test_damaged(self, data: bytes) -> None:
        """Data that is not gzip, or incomplete, is reported as damaged."""
        with pytest.raises(InvalidRequestError, match=r"^a\.json was damaged in transit: choose it again\.$"):
            import_export.unpacked(data, "a.json")

    def test_no_text(self, store: ConversationStore) -> None:
        """An image is not a conversation."""
        with pytest.raises(
            InvalidRequestError,
            match=r"^a\.png is not UTF-8 text: choose a file that ends in \.json, \.jsonl, \.md or \.zip\.$",
        ):
            import_export.read_file(store, "bob", gzip.compress(b"\x89PNG"), "a.png", TurnSettings())

    def test_a_mark_in_front(self, store: ConversationStore, id: str) -> None:
        """A file may begin with a byte order mark."""
        for text, name in (
            (import_export.as_json(store, "ann", id), "a.json"),
            (import_export.as_markdown(store, "ann", id), "a.md"),
        ):
            assert import_text(store, "bob", "\ufeff" + text, name)


def chain(*texts: str, title: str = "T", model: str = "m", settings: TurnSettings = SETTINGS) -> Conversation:
    """Create a conversation with a single version of each message."""
    nodes = {
        n: Node(
            n,
            n - 1 or None,
            USER if n % 2 else ASSISTANT,
            text,
            float(n),
            model="" if n % 2 else model,
            end=FinishReason.STOP,
        )
        for n, text in enumerate(texts, 1)
    }
    return Conversation("c", title, settings, 1.0, float(max(len(texts), 1)), len(texts) or None, nodes)


def same(found: Archive, conversation: Conversation) -> None:
    back = found.conversation
    assert (back.title, back.settings, back.created, found.tokens) == (
        conversation.title,
        conversation.settings,
        conversation.created,
        {},
    )
    fields = [(node.role, node.text, node.model, node.end, node.created) for node in conversation.path()]
    assert [(node.role, node.text, node.model, node.end, node.created) for node in back.path()] == fields


class TestMarkdown:
    def test_shape(self, store: ConversationStore, id: str) -> None:
        """The file has the settings, then the messages of the selected path under headings."""
        text = import_export.as_markdown(store, "ann", id)
        front, body = text.split("\n---\n", 1)
        assert front.startswith('---\npellucid: 1\nmark: "pellucid-1"\ntitle: "A \\"title\\""\ncreated: "')
        for line in (
            'model: "m"',
            'system: "Be brief.\\nPlease."',
            "temperature: 0.5",
            "top_p: 0.95",
            "top_k: 0",
            "min_p: 0.05",
            "seed: 7",
        ):
            assert f"\n{line}" in front
        assert body.startswith('\n# A "title"\n\n<!-- pellucid-1 {"role": "user"')
        assert "\n\n## User\n\nHow?\n\n<!-- pellucid-1 {" in body
        assert "\n\n## Assistant (m)\n\nLike so\n\n<!-- pellucid-1 end -->\n" in body
        assert "Thanks" not in body

    def test_through_the_store(self, store: ConversationStore, id: str) -> None:
        """A Markdown path is imported as a conversation of its own."""
        copy = import_text(store, "bob", import_export.as_markdown(store, "ann", id), "a.md")
        path = store.conversation("bob", copy).path()
        assert [(node.role, node.text, node.end) for node in path] == [
            (USER, "How?", FinishReason.STOP),
            (ASSISTANT, "Like so", FinishReason.ERROR),
        ]
        store.select_version("bob", copy, path[0].id)
        assert len(store.conversation("bob", copy).path()) == 2

    def test_what_the_model_sees(self) -> None:
        """A Markdown file keeps the message at which the model begins to read, and the summary."""
        found = chain("question", "answer", "more", "<!-- pellucid-1 end -->")
        nodes = {**found.nodes, 4: replace(found.nodes[4], begins=3, summary="<!-- pellucid-2 -->\n\nSummary")}
        (*_, last) = from_markdown(to_markdown(replace(found, nodes=nodes))).conversation.path()
        assert (last.begins, last.summary, last.text) == (
            3,
            "<!-- pellucid-2 -->\n\nSummary",
            "<!-- pellucid-1 end -->",
        )

    @pytest.mark.parametrize(
        "text",
        [
            "```python\nx = 1\n```",
            "```python\nx = 1",
            "````\n```\n## User\n```\n````\n",
            "~~~\nopen\n",
            "<!-- pellucid-1 end -->",
            '<!-- pellucid-1 {"role": "user"} -->\n\n## User\n\nx\n\n<!-- pellucid-2 ',
            "---\n\n# T\n\n## Assistant\n\n---",
            "\n\nspaces  \n\n",
            "",
            " ",
            "-->",
            "- ```\n  in a list",
            "a\r\nb\rc",
            "\u2028\x85\x0c\x1c",
            "end",
        ],
    )
    def test_any_message(self, text: str) -> None:
        """Any message is restored exactly, even with marks of the format, fences and headings."""
        for conversation in (chain(text), chain("q", text, "q2", text), chain(title=text, model=text + "m")):
            same(from_markdown(to_markdown(conversation)), conversation)

    @given(
        st.lists(
            st.lists(
                st.sampled_from(
                    ["```", "~~~", "\n", "<!-- pellucid-1 ", "end -->", "## User", "---\n", " ", "x", "é", "\r\n"]
                )
                | st.text(max_size=2)
            ).map("".join),
            max_size=4,
        ),
        st.text(max_size=5),
        st.builds(
            TurnSettings,
            model=st.text(max_size=4),
            system=st.text(max_size=4),
            top_k=st.integers(0, 9),
            seed=st.none() | st.integers(0, 99),
        ),
    )
    def test_round_trip(self, texts: list[str], title: str, settings: TurnSettings) -> None:
        """Any messages, titles and settings are restored exactly."""
        conversation = chain(*texts, title=title, model=title, settings=settings)
        same(from_markdown(to_markdown(conversation)), conversation)

    @pytest.mark.parametrize(
        "text", ["```python\nx = 1", "~~~~\nx\n~~~\n", "````\n```", "- ```\n  x", "> ```\n> x", "```"]
    )
    def test_code_that_is_not_closed(self, text: str) -> None:
        """A code block left open in a message does not include the next messages."""
        html = str(MarkdownIt().render(to_markdown(chain("q", text, "*after*")).split("\n---\n", 1)[1]))
        assert "<h2>Assistant (m)</h2>" in html
        assert html.count("<h2>User</h2>") == 2
        assert "<em>after</em>" in html

    def test_settings(self) -> None:
        """The front matter has the settings of the last answer in the shown path."""
        conversation = chain("q", "a")
        answered = replace(conversation.nodes[2], settings=TurnSettings(model="other", top_k=9))
        text = to_markdown(replace(conversation, nodes={**conversation.nodes, 2: answered}))
        assert '\nmodel: "other"\n' in text
        assert from_markdown(text).conversation.settings == answered.settings

    def test_times(self) -> None:
        """Times are readable, and restored to the microsecond."""
        conversation = Conversation("c", "T", SETTINGS, 1764061234.567891, 1764061234.567891)
        text = to_markdown(conversation)
        assert 'created: "2025-11-25T09:00:34.567891+00:00"' in text
        assert from_markdown(text).conversation.created == pytest.approx(1764061234.567891, abs=1e-6)

    def test_ends_of_lines_of_windows(self) -> None:
        """A file with converted line ends is imported unchanged."""
        conversation = chain("a\nb", "```\nc\n")
        same(from_markdown(to_markdown(conversation).replace("\n", "\r\n")), conversation)

    def test_by_hand(self) -> None:
        """A message may be edited by hand between its heading and the next mark."""
        text = to_markdown(chain("question", "reply")).replace("reply", "another\n\n## Answer\n")
        assert [node.text for node in from_markdown(text).conversation.path()] == ["question", "another\n\n## Answer\n"]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (("---\n", "# Hi\n"), "It is not an exported conversation: those begin with --- and their settings."),
            (("pellucid: 1", "pellucid: 2"), "It is not an exported conversation in format version 1."),
            (("pellucid: 1\n", ""), "It is not an exported conversation in format version 1."),
            (('title: "T"', "title: T"), "The line 'title: T' of the front matter is not a name, a colon and JSON."),
            (('title: "T"\n', ""), "The front matter lacks one of the lines mark, title and created."),
            (('created: "', 'created: "x'), None),
            (('created: "1970', 'created: "1960'), None),
            (("top_k: 0", "top_k: -1"), "top_k must be 0 (off) or more, not -1."),
            (
                ("top_k: 0", "shoe_size: 44"),
                "There is no setting 'shoe_size': remove it, or use a newer version of Pellucid.",
            ),
            (("<!-- pellucid-1 end -->", ""), "It is incomplete: the last mark is missing."),
            (
                ("## User\n", ""),
                "Message 1 is not in the exported format: keep its comment, its heading and the empty lines.",
            ),
            (
                ('"role": "user"', '"role": "system"'),
                "The comment of message 1 is wrong (Input should be 'user' or 'assistant').",
            ),
            (('"role": "user", ', ""), "The comment of message 1 is wrong (Field required)."),
            (('"end": "stop"', '"end": "tired"'), None),
        ],
    )
    def test_what_is_wrong(self, store: ConversationStore, change: tuple[str, str], sentence: str | None) -> None:
        """Each error in a file is reported in a sentence, and nothing is saved."""
        text = to_markdown(chain("question", "answer")).replace(*change, 1)
        with pytest.raises(InvalidRequestError, match=r"^a\.md cannot be imported: ") as caught:
            import_text(store, "bob", text, "a.md")
        assert sentence is None or str(caught.value) == f"a.md cannot be imported: {sentence}"
        assert store.list("bob") == []


def ancestors(number: int, parents: Sequence[int | None]) -> Iterator[int]:
    while (parent := parents[number - 1]) is not None:
        yield parent
        number = parent


@st.composite
def archives(draw: st.DrawFn) -> Archive:
    count = draw(st.integers(0, 6))
    parents = [draw(st.none() | st.integers(1, n - 1)) if n > 1 else None for n in range(1, count + 1)]
    nodes: dict[int, Node] = {}
    kept: dict[int, list[str]] = {}
    for n, parent in enumerate(parents, 1):
        siblings = [m for m in range(1, n) if parents[m - 1] == parent]
        children = [m for m in range(n + 1, count + 1) if parents[m - 1] == n]
        row = tokens(*draw(st.lists(st.text(max_size=3), max_size=3)))
        written = draw(st.text(max_size=3))
        kept[n] = [pack(row)] if row else []
        above = list(ancestors(n, parents))
        begins = draw(st.sampled_from([None, *above]))
        nodes[n] = Node(
            n,
            parent,
            draw(st.sampled_from([USER, ASSISTANT])),
            written + "".join(token.text for token in row),
            draw(st.floats(0, 1e10)),
            draw(st.none() | st.just(SETTINGS)),
            draw(st.text(max_size=3)),
            draw(st.none() | st.sampled_from(FinishReason)),
            draw(st.none() | st.just(USAGE)),
            draw(st.none() | st.text(max_size=3)),
            draw(st.sampled_from([None, *siblings])),
            draw(st.sampled_from([None, *range(len(row))])),
            draw(st.sampled_from([None, *children])),
            begins=begins,
            summary="" if begins is None else draw(st.text(max_size=3)),
            continued=draw(st.none() | st.integers(0, 9)),
        )
    leaf = draw(st.sampled_from([None, *nodes]))
    conversation = Conversation(
        "", draw(st.text(max_size=5)), SETTINGS, draw(st.floats(0, 1e10)), draw(st.floats(0, 1e10)), leaf, nodes
    )
    return Archive(conversation, kept)


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(archives())
def test_any_conversation_through_the_store(store: ConversationStore, archive: Archive) -> None:
    """Any conversation is restored from JSON, also into a store."""
    text = to_json(archive)
    assert from_json(text) == archive
    id = import_text(store, "ann", text, "a.json")
    assert import_export.as_json(store, "ann", id) == text
