"""Tests the chat in a browser with scripted models."""

from __future__ import annotations

from typing import Any

from playwright.async_api import FilePayload, Route, expect

from support.page.page_fixtures import ENDLESS, Tab, Upload
from support.page.storyteller import LARGE

LONG = "Write a long story about a fox and a hen."


async def new_chat(tab: Tab) -> None:
    """Start another chat with the same settings."""
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)


async def test_what_is_refused(tab: Tab) -> None:
    """Impossible settings and files are refused with a reason, and other files are sent."""
    await settings_that_cannot_be(tab)
    await tab.page.get_by_role("textbox", name="Your message").fill("")
    await tab.set_number("Seed", "")
    await tab.be_brief(4)
    await text_file(tab)
    await new_chat(tab)
    await refused_files(tab)


async def settings_that_cannot_be(tab: Tab) -> None:
    """Invalid settings are refused in a sentence, and the text stays in the field."""
    await tab.set_number("Temperature", 1)
    assert await tab.page.get_by_label("Seed", exact=True).first.input_value() == ""
    await tab.set_number("Seed", "1.5")
    await tab.send("Say yes.")
    await expect(tab.notice).to_have_text("The seed '1.5' is not a whole number: change it, or leave it empty.")
    await tab.set_number("Seed", 2**70)
    await tab.send("Say yes.")
    await expect(tab.notice).to_contain_text("between 0 and 2**63 - 1")
    assert await tab.page.locator(".pl-message").count() == 0
    assert await tab.page.get_by_role("textbox", name="Your message").input_value() == "Say yes."
    await tab.set_number("Seed", 1)
    await tab.set_number("Max output tokens", -1)
    await tab.page.get_by_role("button", name="Send").click()
    await expect(tab.notice).to_contain_text("max_tokens")


async def test_a_running_answer(tab: Tab) -> None:
    """A running answer grows, is opened as tokens, and is stopped, even with an empty setting."""
    await tab.be_brief(ENDLESS)
    await stream_and_stop(tab)
    await new_chat(tab)
    await empty_settings(tab)
    await new_chat(tab)
    await tab.be_brief(ENDLESS)
    await tokens_during_generation(tab)


async def stream_and_stop(tab: Tab) -> None:
    """An answer and its figures grow, and a stopped answer stays as shown."""
    await tab.send(LONG)
    first = await tab.grown(0)
    note = tab.page.locator(".pl-assistant .pl-note")
    early = int((await note.inner_text()).split()[0])
    second = await tab.grown(len(first) + 20)
    assert second.startswith(first)
    assert int((await note.inner_text()).split()[0]) > early
    assert await tab.page.get_by_role("button", name="Send").is_hidden()
    await tab.send("And then?")
    assert "An answer is being generated" in await tab.notice.inner_text()

    await tab.page.get_by_role("button", name="Stop").click()
    await tab.answered(2)
    _, stopped = await tab.texts()
    assert stopped.startswith(second)
    assert "Stopped." in await note.inner_text()
    assert "first token after 0.00 s" not in await note.inner_text()
    assert await tab.page.get_by_role("textbox", name="Your message").input_value() == "And then?"
    assert await tab.notice.is_hidden()
    assert await tab.page.get_by_role("button", name="Send").is_visible()
    await tab.page.get_by_role("textbox", name="Your message").fill("")
    await tab.page.reload()
    await tab.answered(2)
    assert (await tab.texts())[1] == stopped


async def empty_settings(tab: Tab) -> None:
    """An empty setting prevents an answer, but a running answer can be stopped and opened."""
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(0)
    await tab.set_number("Max output tokens", "")
    await tab.page.get_by_role("button", name="Stop").click()
    await tab.answered(2)
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    await tab.options.first.wait_for()
    await tab.send("Say yes.")
    await expect(tab.notice).to_have_text("Max output tokens is empty: enter a number.")
    assert await tab.page.locator(".pl-message").count() == 2


STOP_AND_WAIT = """async ([conversation, node]) => {
  const headers = { "content-type": "application/json" };
  const ask = async (more) => {
    const body = JSON.stringify({ conversation, ...more });
    const reply = await fetch("page/chat", { method: "POST", headers, body });
    return JSON.parse((await reply.text()).slice("data: ".length));
  };
  await ask({ verb: "stop", node });
  while ((await ask({ verb: "show" })).live) await new Promise((done) => setTimeout(done, 20));
}"""
"""Stops an answer, and returns after the end."""


async def test_tokens_of_an_answer_that_just_ended(tab: Tab) -> None:
    """An answer that ends before its tokens can be followed is shown with all its tokens."""

    async def ended_first(route: Route) -> None:
        asked: Any = route.request.post_data_json
        if asked["tokens"]:
            await tab.page.evaluate(STOP_AND_WAIT, [asked["conversation"], asked["node"]])
        await route.continue_()

    await tab.send(LONG)
    await tab.grown(0)
    await tab.page.route("**/page/turn", ended_first)
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    await tab.answered(2)
    await tab.options.first.wait_for()


async def tokens_during_generation(tab: Tab) -> None:
    """Tokens appear during generation, and can start a branch afterwards."""
    await tab.send(LONG)
    await tab.grown(0)
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    await tab.page.wait_for_function("() => document.querySelectorAll('.pl-assistant [role=option]').length > 12")
    await tab.page.get_by_role("button", name="Stop").click()
    await tab.answered(2)
    count = await tab.options.count()
    note = await tab.page.locator(".pl-assistant .pl-note").inner_text()
    assert f"{count} tokens" in note
    await tab.set_number("Max output tokens", 4)
    await tab.show_settings(False)
    await tab.options.nth(2).click()
    await tab.page.locator(".pl-docked button[data-alternative='2']").click()
    await tab.page.get_by_text("2 / 2").wait_for()


async def test_versions(tab: Tab) -> None:
    """Answers are continued, and messages and answers edited, undone and sent once."""
    await tab.be_brief(8)
    for do in (continued, edit_and_walk, edit_an_answer, edit_survives, undo, pressed_twice):
        await do(tab)
        await new_chat(tab)


async def continued(tab: Tab) -> None:
    """An answer cut at the token limit says so, and is continued in a new version."""
    short = await tab.answer(LONG)
    assert "token limit" in await tab.page.locator(".pl-assistant .pl-note").inner_text()

    await tab.page.get_by_role("button", name="Continue", exact=True).click()
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    _, longer = await tab.texts()
    assert longer.startswith(short)
    assert len(longer) > len(short)


async def edit_and_walk(tab: Tab) -> None:
    """An edited message is answered again, and each version shows what followed."""
    await tab.answer("Say the word cat.")
    before = await tab.texts()
    await tab.page.get_by_role("button", name="Edit").first.click()
    editor = tab.page.get_by_role("textbox", name="Edit the message")
    await editor.fill("Say the word dog.")
    await editor.press("Control+Enter")
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    after = await tab.texts()
    assert after[0] == "Say the word dog."

    await tab.page.get_by_role("button", name="Previous version").click()
    await tab.page.get_by_text("1 / 2").wait_for()
    assert await tab.texts() == before

    await tab.page.get_by_role("button", name="Regenerate", exact=True).click()
    await expect(tab.page.locator(".pl-assistant .pl-version")).to_have_text("2 / 2")
    await tab.answered(2)
    assert await tab.texts() == before
    await tab.page.get_by_role("button", name="Next version").first.click()
    await tab.page.locator(".pl-user").get_by_text("2 / 2").wait_for()
    assert await tab.texts() == after


async def edit_an_answer(tab: Tab) -> None:
    """An answer edited by hand is a marked version that the model can continue."""
    await tab.answer("Which colour has the sky?")
    await tab.page.locator(".pl-assistant").get_by_role("button", name="Edit").click()
    editor = tab.page.get_by_role("textbox", name="Edit the message")
    await editor.fill("The sky is green, because")
    await tab.page.get_by_role("button", name="Save", exact=True).click()
    await tab.page.get_by_text("2 / 2").wait_for()
    assert (await tab.texts())[1] == "The sky is green, because"
    head = tab.page.locator(".pl-assistant .pl-head")
    await expect(head).to_have_text("Answeredited")
    await tab.page.get_by_role("button", name="Continue", exact=True).click()
    await tab.page.get_by_text("3 / 3").wait_for()
    await tab.answered(2)
    _, longer = await tab.texts()
    assert longer.startswith("The sky is green, because")
    await expect(head).to_contain_text("greedy, seed")
    await expect(head).to_contain_text("continued an edited answer after 25 characters")
    assert len(longer) > len("The sky is green, because")


async def edit_survives(tab: Tab) -> None:
    """An unfinished edit survives a reload, and is dropped by a cancellation."""
    await tab.answer("Say yes.")
    await tab.page.get_by_role("button", name="Edit").first.click()
    editor = tab.page.get_by_role("textbox", name="Edit the message")
    # Only the answer's button is left, because a single message is edited at a time.
    await expect(tab.page.get_by_role("button", name="Edit")).to_have_count(1)
    await editor.fill("Say no, and")
    await tab.page.reload()
    await tab.answered(2)
    await tab.page.get_by_role("button", name="Edit").first.click()
    assert await editor.input_value() == "Say no, and"
    await editor.press("Escape")
    await tab.page.get_by_role("button", name="Edit").first.click()
    assert await editor.input_value() == "Say yes."


async def undo(tab: Tab) -> None:
    """An undone message returns to the field before the text there, and can be sent again."""
    await tab.answer("Say yes.")
    await tab.answer("Say no.")
    field = tab.page.get_by_role("textbox", name="Your message")
    await field.fill("And something else.")
    await tab.page.get_by_role("button", name="Undo").click()
    await tab.answered(2)
    await expect(field).to_have_value("Say no.\n\nAnd something else.")
    await expect(field).to_be_focused()
    await tab.page.get_by_role("button", name="Redo").click()
    await tab.answered(4)
    await expect(tab.page.get_by_role("button", name="Redo")).to_be_hidden()
    await expect(field).to_have_value("And something else.")
    await tab.page.get_by_role("button", name="Undo").click()
    await tab.answered(2)
    await field.fill("Say maybe.")
    await field.press("Enter")
    await tab.answered(4)
    assert (await tab.texts())[2] == "Say maybe."
    assert await tab.page.locator(".pl-version").all_inner_texts() == ["2 / 2"]


async def pressed_twice(tab: Tab) -> None:
    """Repeated Enter sends once, and later text stays in the field."""
    field = tab.page.get_by_role("textbox", name="Your message")
    await field.fill("Say yes.")
    await field.evaluate(
        "field => { const how = { key: 'Enter', bubbles: true, cancelable: true };"
        " const enter = () => field.dispatchEvent(new KeyboardEvent('keydown', how));"
        " enter(); enter(); field.value += ' And then'; field.dispatchEvent(new Event('input', { bubbles: "
        "true })); enter(); }"
    )
    await tab.answered(2)
    assert (await tab.texts())[0] == "Say yes."
    assert await field.input_value() == " And then"
    assert await tab.notice.inner_text() == ""
    await expect(tab.page.locator(".pl-conversations li.pl-chosen")).to_contain_text("2 messages")
    await tab.page.reload()
    await tab.answered(2)
    assert await field.input_value() == " And then"


async def text_file(tab: Tab) -> None:
    """A text file is sent as named code, and a removed file is not sent."""
    await tab.attach(Upload("words.py", b"ANSWER = 42\n"), Upload("secret.txt", b"not this"))
    await tab.page.get_by_role("button", name="Remove secret.txt").click()
    await tab.answer("What is in the file?")
    message = tab.page.locator(".pl-user .pl-body")
    assert await message.locator("figure.pl-code figcaption span").inner_text() == "words.py"
    assert await message.locator("pre").inner_text() == "ANSWER = 42\n"
    assert "not this" not in await message.inner_text()
    assert await tab.page.locator(".pl-attached li").count() == 0


async def refused_files(tab: Tab) -> None:
    """Large files, binary files and pictures are refused with reasons; text files are sent."""
    uploads: list[FilePayload] = [
        {"name": name, "mimeType": "", "buffer": content}
        for name, content in (
            ("large.txt", b"x" * 200_001),
            ("words.txt", "Grüße".encode()),
            ("picture.png", b"\x89PNG\r\n\x1a\n\0\xff\xfe"),
            ("program.bin", b"\x7fELF\0"),
            ("latin.txt", b"Gr\xfc\xdfe"),
        )
    ]
    await tab.page.get_by_label("Attach files").set_input_files(uploads)
    await expect(tab.notice).to_have_text(
        "large.txt is larger than 200 kB: use only the relevant part of it. "
        f"{LARGE} sees no images: choose another model. "
        "program.bin is not UTF-8 text: choose a text file. latin.txt is not UTF-8 text: choose a text file."
    )
    (name,) = await tab.page.locator(".pl-attached li").all_inner_texts()
    assert name.startswith("words.txt")
    await tab.answer("Say yes.")
    assert "Grüße" in (await tab.texts())[0]
    await expect(tab.notice).to_be_hidden()
