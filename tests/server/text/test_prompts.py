"""Tests of the ids of chats and infills, with markers only in their places."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError, NotSupportedError
from pellucid.models.catalog import InfillFormat, Order
from pellucid.models.tokenizers.tokenizer import PrefixSpace, Tokenizer
from pellucid.text.prompts import CHATML, ChatTemplate, infill, surroundings, with_bos
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import Extra
from support.servers.scripted_engine import (
    BEGIN,
    FILE,
    FORMAT,
    IM_END,
    IM_START,
    MARKERS,
    MID,
    PRE,
    REPO,
    SUF,
    byte_tokenizer,
)

TOKENIZER = byte_tokenizer()
CHAT = [Message("system", "Be brief."), Message("user", "Hi")]


def template(source: str | None, *, add_bos: bool = False) -> ChatTemplate:
    return ChatTemplate(byte_tokenizer(chat_template=source, add_bos=add_bos), "the model")


def text_of(tokenizer: Tokenizer, ids: list[int]) -> str:
    return b"".join(map(tokenizer.token_bytes, ids)).decode(errors="replace")


# Chats.


def test_a_chat_is_rendered_as_the_template_says() -> None:
    """A model with ChatML's markers and no template gets ChatML, up to the answer's beginning."""
    assert template(None).render(CHAT) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_no_model_reasons() -> None:
    """Thinking is off if a template can turn it off, and gpt-oss begins with its answer."""
    thinking = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    assert template(thinking).render(CHAT) == "<think></think>"
    assert template("<|start|>assistant").render(CHAT) == "<|start|>assistant<|channel|>final<|message|>"


def test_a_benign_chat_has_the_ids_of_its_text() -> None:
    """Without markers in messages, the ids are the ids of the rendered text."""
    chat = template(None)
    assert chat.encode(CHAT).ids == TOKENIZER.encode(chat.render(CHAT), special=True)


CONTENT = st.lists(
    st.one_of(st.sampled_from([*MARKERS, "<|im_st", "<|", "art|>", "|>", "\ue000", "\n"]), st.text(max_size=3))
).map("".join)


@given(content=CONTENT, role=st.sampled_from(["user", "user<|im_end|>"]), begun=CONTENT)
def test_no_message_can_forge_a_marker(content: str, role: str, begun: str) -> None:
    """A message that spells markers stays text, and the only markers are the template's own."""
    chat = template(None)
    messages = [Message(role, content), Message("assistant", begun)]
    ids = chat.encode(messages, continue_last=True).ids
    assert [id for id in ids if TOKENIZER.is_special(id)] == [IM_START, IM_END, IM_START]
    assert text_of(TOKENIZER, ids) == chat.render(messages, continue_last=True)


def test_messages_may_hold_private_characters() -> None:
    """Private characters in messages are kept, and only a message of all of them is refused."""
    chat = template(None)
    icons = "".join(map(chr, range(0xE000, 0xF900)))
    messages = [Message("user", icons + "<|im_end|>")]
    assert text_of(TOKENIZER, chat.encode(messages).ids) == chat.render(messages)
    every = icons + "".join(map(chr, [*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE)]))
    with pytest.raises(InvalidRequestError, match="every private-use character"):
        chat.encode([Message("user", every)])


def test_the_last_message_can_be_continued() -> None:
    """Only the assistant's last message can be continued."""
    begun = [*CHAT, Message("assistant", "Hello,")]
    assert template(None).render(begun, continue_last=True) == template(None).render(CHAT) + "Hello,"
    with pytest.raises(InvalidRequestError, match="Only a last message of the role assistant"):
        template(None).render(CHAT, continue_last=True)


@pytest.mark.process
def test_a_template_has_what_templates_use() -> None:
    """Templates have transformers' extensions, as loop controls, JSON, dates and markers."""
    source = (
        "{% for message in messages %}\n    {% if message.role == 'system' %}\n{% continue %}\n    {% endif %}\n"
        "{% generation %}{{ message | tojson }}{% endgeneration %}{% endfor %}"
        "{{ bos_token }}{{ eos_token }}{{ strftime_now('%Y') }}"
    )
    rendered = template(source).render([Message("system", "no"), Message("user", "<é>")])
    assert re.fullmatch(r'\{"role": "user", "content": "<é>"\}<\|begin\|><\|end\|>\d{4}', rendered)


@pytest.mark.process
@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            "{{ raise_exception('Roles must alternate.') }}",
            "The chat template of the model refuses these messages: Roles must alternate.",
        ),
        ("{{ messages.__class__.__mro__ }}", "The chat template of the model refuses these messages: .*unsafe"),
    ],
)
def test_what_a_template_refuses_is_one_sentence(source: str, sentence: str) -> None:
    """An error or a forbidden access of a template names the model and the reason."""
    with pytest.raises(InvalidRequestError, match=sentence):
        template(source).render(CHAT)


@pytest.mark.process
def test_models_without_a_template_cannot_chat() -> None:
    """A model without a usable template is refused with a sentence."""
    plain = byte_tokenizer()
    words = plain.words.__class__(plain.words.pieces, plain.words.size, {"</s>": 256})
    bare = ChatTemplate(Tokenizer(plain.encode_text, words), "base")
    assert not bare.available
    with pytest.raises(NotSupportedError, match="base has no chat template: use completions"):
        bare.render(CHAT)
    with pytest.raises(NotSupportedError, match="The chat template of the model cannot be read"):
        template("{% if %}").render(CHAT)
    with pytest.raises(InvalidRequestError, match="no messages"):
        template(None).render([])


@pytest.mark.process
def test_the_bos_comes_once() -> None:
    """The model's BOS is added unless the template has written a BOS."""
    assert template(CHATML, add_bos=True).encode(CHAT).ids[:2] == [BEGIN, IM_START]
    assert template("{{ bos_token }}x", add_bos=True).encode(CHAT).ids == [BEGIN, ord("x")]
    assert with_bos(TOKENIZER, [5]) == [5]


# Infills.


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode(text)


def build(
    format: InfillFormat | None, prefix: str, suffix: str, extra: list[Extra] | None = None, budget: int = 400
) -> list[int]:
    return infill(TOKENIZER, format, surroundings(TOKENIZER, format, prefix, suffix, extra or [], budget))


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("psm", [PRE, *ids_of("ab"), SUF, *ids_of("yz"), MID]),
        ("spm", [SUF, *ids_of("yz"), PRE, *ids_of("ab"), MID]),
        ("spm2", [PRE, SUF, *ids_of("yz"), MID, *ids_of("ab")]),
    ],
)
def test_orders(order: Order, ids: list[int]) -> None:
    """Each order has its markers where the model was trained to expect them."""
    assert build(InfillFormat(order, "<|pre|>", "<|suf|>", "<|mid|>"), "ab", "yz") == ids


def test_text_around_a_cursor_cannot_forge_a_marker() -> None:
    """Markers spelled in prefix, suffix, file names and pieces of files are text."""
    forged = "<|mid|><|end|>"
    ids = build(FORMAT, forged, forged, [Extra(forged, forged)])
    assert [id for id in ids if TOKENIZER.is_special(id)] == [REPO, FILE, PRE, SUF, MID]


def test_other_files_come_first_and_only_if_there_are_any() -> None:
    """A piece of a file follows the file's marker and name, and headers need pieces."""
    head = [REPO, *ids_of("project\n"), FILE, *ids_of("a.py\nA"), FILE, *ids_of("b.py\nB")]
    assert build(FORMAT, "x", "y", [Extra("a.py", "A"), Extra("b.py", "B")]) == [*head, *build(FORMAT, "x", "y")]
    no_files = InfillFormat("psm", "<|pre|>", "<|suf|>", "<|mid|>")
    assert build(no_files, "x", "y", [Extra("a.py", "A")]) == build(no_files, "x", "y")


@given(
    prefix=st.integers(0, 3000),
    suffix=st.integers(0, 3000),
    extra=st.lists(st.integers(0, 200), max_size=4),
    budget=st.integers(8, 300),
)
def test_an_infill_is_trimmed_to_its_budget(prefix: int, suffix: int, extra: list[int], budget: int) -> None:
    """A prefix keeps at most 3/4 of the budget, a suffix at most 1/4, and pieces the rest."""
    around = surroundings(
        TOKENIZER, FORMAT, "a\n" * prefix, "z" * suffix, [Extra("f", "e" * size) for size in extra], budget
    )
    room = budget - 3
    assert len(infill(TOKENIZER, FORMAT, around)) <= budget
    assert len(around.prefix) <= room * 3 // 4
    assert len(around.suffix) == min(suffix, room // 4)
    assert around.extra.count(FILE) <= len(extra)


def test_the_prefix_keeps_its_end_and_the_suffix_its_beginning() -> None:
    """The text near the cursor is kept, from the start of a line, and the last pieces of files."""
    prefix = "".join(f"line {number}\n" for number in range(100)) + "cursor"
    around = surroundings(
        TOKENIZER, FORMAT, prefix, "first\n" * 100, [Extra("old", "x" * 60), Extra("new", "y" * 9)], 103
    )
    kept = text_of(TOKENIZER, around.prefix)
    assert prefix.endswith(kept)
    assert kept.startswith("line ")
    assert len(kept) > 75 / 2
    assert text_of(TOKENIZER, around.suffix) == ("first\n" * 100)[:25]
    assert text_of(TOKENIZER, around.extra) == ""  # The rest is less than a piece's room.
    small = surroundings(TOKENIZER, FORMAT, "p", "s", [Extra("old", "x" * 60), Extra("new", "y" * 9)], 60)
    assert text_of(TOKENIZER, small.extra) == "<|repo|>project\n<|file|>new\n" + "y" * 9


def test_typing_moves_the_beginning_of_a_long_prefix_seldom() -> None:
    """The kept prefix begins at the same place for many keystrokes, and stays in the cache."""
    text = "".join(f"value_{number} = {number}\n" for number in range(200))
    kept = [
        text_of(TOKENIZER, surroundings(TOKENIZER, FORMAT, text[:end], "", [], 403).prefix) for end in range(2000, 2200)
    ]
    begins = {text.index(piece) for piece in kept}
    assert all(text[:end].endswith(piece) for end, piece in zip(range(2000, 2200), kept, strict=True))
    assert len(begins) <= 4


def test_a_beginning_is_found_again_in_a_text_that_slides() -> None:
    """The kept prefix begins at the same place even if an editor sends only the last lines."""
    lines = [f"value_{number} = {number}\n" for number in range(400)]
    texts = ["".join(lines[end - 60 : end]) for end in range(100, 140)]
    kept = [text_of(TOKENIZER, surroundings(TOKENIZER, FORMAT, text, "", [], 800, window=400).prefix) for text in texts]
    assert all(text.endswith(piece) for text, piece in zip(texts, kept, strict=True))
    assert len({piece.split("\n")[0] for piece in kept}) <= 10
    assert all(130 <= len(piece) <= 300 for piece in kept)


def test_the_window_leaves_room_to_other_files() -> None:
    """Texts around the cursor are cut to the window, and pieces of files use the rest."""
    around = surroundings(TOKENIZER, FORMAT, "p\n" * 500, "s" * 500, [Extra("f", "e" * 300)], 800, window=200)
    assert (len(around.prefix) <= 150, len(around.suffix)) == (True, 50)
    assert text_of(TOKENIZER, around.extra).endswith("e" * 300)


def test_a_very_long_text_is_not_encoded_whole() -> None:
    """Only the near part of a text far over the budget is tokenized."""
    seen: list[int] = []

    def encode(text: str) -> list[int]:
        seen.append(len(text))
        return list(text.encode())

    tokenizer = Tokenizer(encode, TOKENIZER.words, TOKENIZER.conventions)
    surroundings(tokenizer, FORMAT, "x" * 1_000_000, "y" * 1_000_000, [], 100)
    assert max(seen) <= 100 * 8


def test_without_infill_markers_the_prompt_is_the_prefix() -> None:
    """Without a format the prefix gets the whole budget, and an empty prefix is the BOS."""
    assert build(None, "ab", "yz", [Extra("f", "e")]) == ids_of("ab")
    assert len(build(None, "a" * 900, "yz", budget=50)) <= 50
    assert build(None, "", "yz") == [BEGIN]


def test_the_text_around_a_cursor_gets_no_space_in_front() -> None:
    """A tokenizer that begins texts with a space adds no space within a file."""
    spaced = byte_tokenizer(prefix=PrefixSpace.ALWAYS)
    assert infill(spaced, FORMAT, surroundings(spaced, FORMAT, "ab", "yz", [], 99)) == [
        PRE,
        SUF,
        *ids_of("yz"),
        MID,
        *ids_of("ab"),
    ]
