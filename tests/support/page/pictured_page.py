"""Provides the page for reference pictures: constant conversations, models, clock and fonts."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from math import log
from pathlib import Path
from zlib import crc32

from playwright.sync_api import Browser, Page, sync_playwright

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.page_fixtures import FLAGS, chromium_path
from support.page.scripted_assistant import token
from support.page.text_reader import HALVES, WORDS, TextReader
from support.scripted_answers import usage

OWNER = "local"
NOON = 1_772_452_800.0
"""The time in the browser: 2 March 2026, 12:00 UTC."""

HOUR, DAY = 3600.0, 86_400.0

FLAGS_OF_PICTURES = (
    *FLAGS,
    "--force-device-scale-factor=1",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
)

FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts/truetype/dejavu</dir>
  <cachedir>{cache}</cachedir>
  <selectfont><rejectfont><glob>*Serif*</glob><glob>*Condensed*</glob></rejectfont></selectfont>
  <match><edit name="family" mode="prepend" binding="strong"><string>DejaVu Sans</string></edit></match>
  <match>
    <test qual="any" name="family" compare="contains"><string>mono</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>DejaVu Sans Mono</string></edit>
  </match>
  <match target="font"><edit name="hinting"><bool>false</bool></edit>\
<edit name="rgba"><const>none</const></edit></match>
</fontconfig>
"""
"""Only DejaVu, installed on Debian with fontconfig and so with Chromium."""

ANSWER = (
    ("The", 0.9), (" **", 0.9), ("median", 0.08), ("**", 0.9), (" of", 0.95), (" a", 0.9), (" list", 0.6),
    (" is", 0.97), (" its", 0.2), (" middle", 0.8), (" value", 0.55), (".\n\n", 0.9), ("-", 0.7), (" Sort", 0.12),
    (" the", 0.9), (" numbers", 0.85), (".\n", 0.9), ("-", 0.95), (" Take", 0.4), (" the", 0.9), (" middle", 0.9),
    (" one", 0.3), (".\n\n", 0.9), ("```", 0.9), ("python\n", 0.95), ("def", 0.9), (" median", 0.8), ("(numbers", 0.7),
    ("):\n", 0.9), ("    return", 0.6), (" sorted", 0.5), ("(numbers", 0.9), (")[", 0.8), ("len", 0.9),
    ("(numbers", 0.95), (") //", 0.9), (" 2", 0.95), ("]\n", 0.9), ("```", 0.9),
)  # fmt: skip
"""Texts and probabilities of an answer."""

SAID = {
    WORDS: ["The", " sky", " is", " blue", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"],
    HALVES: ["The", " sky", " is", " green", " and", " wide", ".", "\n", "It", " has", " no", " end", "!"],
}

CONVERSATIONS = (
    ("Old poems", 90 * DAY),
    ("Letters from Lisbon", 20 * DAY),
    ("Bread without yeast", 5 * DAY),
    ("Sorting a linked list", 26 * HOUR),
    ("Names for a boat", 2 * HOUR),
)
"""Titles, and the age of the last change at noon, the oldest first."""


def said(*words: str) -> list[Token]:
    """Return tokens of a vocabulary with an alternative each."""
    return [token(word, 1000 + crc32(word.encode()) % 10_000, " other") for word in words]


class PictureAssistant(TextReader):
    """Reads texts, and answers and reads chats; HALVES finds the answers less likely than WORDS."""

    def scripted_cards(self) -> list[ModelCard]:
        return [
            replace(card, weight_bytes=531_000_000, context=32_768, description="int8 weights on cpu")
            for card in super().scripted_cards()
        ]

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        for one in said(*SAID[query.model or WORDS]):
            yield one
        yield Finish(FinishReason.STOP, usage(len(SAID[WORDS])))

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        if isinstance(query.text, str):
            async for item in super().score(query):
                yield item
            return
        message = query.text[-1]
        assert isinstance(message, Message)
        factor = -2.0 if query.model == HALVES else -0.5
        for one in said(*re.findall(r"\s?\w+|\n|[^\w\s]", message.content)):
            yield replace(one, logprob=factor - 3.0 * (one.text in (" blue", " green")))
        yield Finish(FinishReason.STOP, usage(1))


def fill(folder: Path) -> str:
    """Store the conversations, and return the id of the conversation with an answer."""
    now = [NOON]
    store = ConversationStore(folder / "conversations.db", clock=lambda: now[0])
    work = store.folders.create(OWNER, "Work")
    for title, ago in CONVERSATIONS:
        now[0] = NOON - ago
        id = store.create(OWNER, TurnSettings(), title)
        store.add(OWNER, id, None, USER, f"Tell me about: {title}.", end=FinishReason.STOP)
        if title.startswith("Sorting"):
            store.folders.move(OWNER, id, work)
        if title.startswith("Bread"):
            store.folders.pin(OWNER, id, True)
    now[0] = NOON - HOUR
    id = store.create(OWNER, TurnSettings(seed=7), "The median of a list")
    question = store.add(OWNER, id, None, USER, "How do I compute the **median** of a list?", end=FinishReason.STOP)
    tokens = [_likely(text, at, probability) for at, (text, probability) in enumerate(ANSWER)]
    text = "".join(one.text for one in tokens)
    node = store.add(
        OWNER, id, question, ASSISTANT, text, settings=TurnSettings(seed=7), model=WORDS, batches=[pack(tokens)]
    )
    store.finish(node, FinishReason.STOP, Usage(cached=12, computed=9, generated=len(tokens), prefill=0.2, decode=1.9))
    store.folders.move(OWNER, id, work)
    store.close()
    return id


def _likely(text: str, at: int, probability: float) -> Token:
    """Return a token with this probability, and ten alternatives with half of the rest."""
    found = token(text, at, *(f" other{number}" for number in range(1, 10)))
    own, *others = found.top
    rest = (1 - probability) / 2
    top = [replace(own, logprob=log(probability))]
    top += [replace(one, logprob=log(rest * 0.5**number)) for number, one in enumerate(others, 1)]
    top.sort(key=lambda one: -one.logprob)
    return replace(
        found,
        logprob=log(probability),
        rank=1 + top.index(replace(own, logprob=log(probability))),
        top=tuple(top),
        rest=rest,
    )


@contextmanager
def picture_browser(folder: Path) -> Iterator[Browser]:
    """Run Chromium with the fonts of the pictures."""
    fonts = folder / "fonts.conf"
    fonts.write_text(FONTS.format(cache=folder / "fonts"), encoding="utf-8")
    environment: dict[str, str | float | bool] = {**os.environ, "FONTCONFIG_FILE": str(fonts)}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS_OF_PICTURES, env=environment)
        yield browser
        browser.close()


def picture_page(browser: Browser, width: int, height: int, timeout: float) -> Page:
    """Return a page of this size with a clock fixed at noon."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
        has_touch=width < 600,
    )
    page = context.new_page()
    page.set_default_timeout(timeout)
    page.clock.set_fixed_time(datetime.fromtimestamp(NOON, UTC))
    return page
