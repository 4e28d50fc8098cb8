"""Tests of the completer: suggestions at a cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from pellucid.completion import answers
from pellucid.completion.answers import Answers
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import AnswerSource, Decision
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import Suggestion
from pellucid.completion.suggestion_stream import MAX_ATTEMPTS
from pellucid.errors import PellucidError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import Priority
from pellucid.vocabulary.token import Token
from pellucid_lsp.editor_settings import EditorSettings
from support.editors.scripted_provider import ScriptedProvider
from support.editors.token_factory import make_tokens, token

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ret", "\n\nx = 1\n", "python")
LINE = (*make_tokens("urn", " a", " +", " b"), *make_tokens("\n", "\n", "def"))
CALL = (*make_tokens("urn", " add(a)", ".total", " + b"), *make_tokens("\n", "\n", "def"))
LOST = UnavailableError("The server closed the connection during the answer: try again.")


def completer(
    server: ScriptedProvider, saves_power: Callable[[], bool] = lambda: False, **completion: Any
) -> Completer:
    settings = EditorSettings.read({"completion": {"ahead": False, **completion}})
    context = PromptContext(settings.context, ChunkRing(settings.context))
    models = ModelChoice(cast("Any", server), settings.model)
    return Completer(settings.completion, models, context, saves_power=saves_power)


def with_rests(server: ScriptedProvider) -> Completer:
    """Return a completer of a client that shows doubtful rests."""
    settings = EditorSettings.read({"completion": {"ahead": False}})
    context = PromptContext(settings.context, ChunkRing(settings.context))
    return Completer(settings.completion, ModelChoice(cast("Any", server)), context, doubtful_rests=True)


def typed(text: str, cursor: DocumentCursor = HERE) -> DocumentCursor:
    return replace(cursor, before=cursor.before + text)


async def texts(made: Completer, cursor: DocumentCursor = HERE, *, invoked: bool = False) -> list[str]:
    return [suggestion.text for suggestion in await made.suggest(cursor, invoked=invoked)]


async def test_line() -> None:
    """The model reads the text around the cursor, and the stream is closed where the line ends."""
    server = ScriptedProvider([LINE])
    assert await texts(completer(server)) == ["urn a + b"]
    (asked,) = server.asked
    assert (asked.query.prefix, asked.query.suffix, asked.closed) == (HERE.before, HERE.after, True)
    assert asked.given < len(LINE)
    assert asked.query.terms.priority is Priority.COMPLETION


async def test_tokens_join() -> None:
    """The tokens of a suggestion are the model's own, and join to its text."""
    made = completer(ScriptedProvider([LINE]))
    (suggestion,) = await made.suggest(HERE)
    assert suggestion.tokens == LINE[:4]
    assert suggestion.model == "scripted"


async def test_typing_into_asks_nothing() -> None:
    """Typing into a suggestion returns the rest without a request, and nothing at the end."""
    server = ScriptedProvider([LINE])
    made = completer(server)
    await texts(made)
    assert await texts(made, typed("urn a")) == [" + b"]
    assert await texts(made, typed("urn")) == [" a + b"]
    assert len(server.asked) == 1
    assert await texts(made, typed("urn a + b")) == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_typing_into_does_not_change_the_rest(elsewhere: bool) -> None:
    """Typing keeps the rest of a suggestion, also with a far bracket or after another document."""
    below = "\n" + "    value,\n" * 100 + ")\n"
    cursor = DocumentCursor("file:///a.py", "x = call(", below, "python")
    server = ScriptedProvider([make_tokens("alpha", ", ", "beta", ")", "\n"), LINE])
    made = completer(server)
    assert await texts(made, cursor) == ["alpha, beta"]
    if elsewhere:
        await texts(made, replace(HERE, uri="file:///b.py"))
    assert await texts(made, typed("al", cursor)) == ["pha, beta"]


async def test_typing_something_else_asks_again() -> None:
    """Typing text that was not suggested asks the model again."""
    server = ScriptedProvider([LINE, make_tokens("rn", "\n")])
    made = completer(server)
    await texts(made)
    assert await texts(made, typed("u = fu")) == ["rn"]
    assert len(server.asked) == 2


async def cancelled(made: Completer, server: ScriptedProvider, given: int) -> None:
    """Cancel a request after this number of tokens, like the next keystroke."""
    request = asyncio.create_task(made.suggest(HERE))
    while not (server.asked and server.asked[0].given == given):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


@pytest.mark.parametrize("given", [0, 2])
async def test_typing_what_the_answer_says_does_not_stop_it(given: int) -> None:
    """An answer survives the keystroke that cancels its request, and the next request waits."""
    more = asyncio.Event()
    server = ScriptedProvider([(*LINE[:given], more, *LINE[given:])])
    made = completer(server)
    await cancelled(made, server, given)
    following = asyncio.create_task(texts(made, typed("u")))
    await asyncio.sleep(0)
    more.set()
    assert await following == ["rn a + b"]
    assert len(server.asked) == 1


async def test_a_closed_bracket_does_not_stop_an_answer() -> None:
    """An answer continues if the user types its first bracket and the editor closes the pair."""
    more = asyncio.Event()
    server = ScriptedProvider([(more, *make_tokens("(", "a", ")", "\n"))])
    made = completer(server)
    await cancelled(made, server, 0)
    following = asyncio.create_task(texts(made, replace(typed("("), after=")" + HERE.after)))
    await asyncio.sleep(0)
    more.set()
    assert await following == ["a"]
    assert len(server.asked) == 1


async def test_several_keystrokes_do_not_stop_an_answer() -> None:
    """An answer continues through several cancelled requests."""
    more = asyncio.Event()
    server = ScriptedProvider([(*LINE[:1], more, *LINE[1:])])
    made = completer(server)
    await cancelled(made, server, 1)
    for text in ("u", "ur", "urn"):
        following = asyncio.create_task(made.suggest(typed(text)))
        await asyncio.sleep(0)
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
    more.set()
    assert await texts(made, typed("urn ")) == ["a + b"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("given", [0, 2])
async def test_typing_something_else_stops_an_answer(given: int) -> None:
    """An answer is stopped, and the model asked again, if the typed text differs."""
    more = asyncio.Event()
    server = ScriptedProvider([(*LINE[:given], more, *LINE[given:], None), make_tokens("= 1", "\n")])
    made = completer(server)
    await cancelled(made, server, given)
    following = asyncio.create_task(texts(made, typed("x ")))
    await asyncio.sleep(0)
    more.set()
    assert await following == ["= 1"]
    assert server.asked[0].closed
    assert server.asked[1].query.prefix == HERE.before + "x "


async def test_an_answer_that_nobody_waits_for_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled answer is closed soon, and a later fitting request continues from its tokens."""
    monkeypatch.setattr(answers, "SECONDS_UNATTENDED", 0.0)
    server = ScriptedProvider([(*LINE[:2], None), (*LINE[2:],)])
    made = completer(server)
    await cancelled(made, server, 2)
    while not server.asked[0].closed:
        await asyncio.sleep(0)
    (suggestion,) = await made.suggest(typed("u"))
    assert suggestion.text == "rn a + b"
    assert server.asked[1].query.prefix == HERE.before + "urn a"
    assert [one.text for one in suggestion.tokens] == ["rn", " a", " +", " b"]
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert explanation.source is AnswerSource.MODEL


async def test_an_answer_that_is_long_enough_is_not_waited_for() -> None:
    """A request for a line of a running answer gets the line as soon as the line is complete."""
    block = DocumentCursor("file:///a.py", "def add(a, b):\n    ", "\n\nx = 1\n", "python")
    server = ScriptedProvider([(*make_tokens("return", " a", " +", " b", "\n"), None)])
    made = completer(server)
    request = asyncio.create_task(made.suggest(block))
    await settled()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    following = asyncio.create_task(texts(made, typed("ret", block)))
    await settled()
    assert following.done()
    assert await following == ["urn a + b"]
    assert made.journal.latency is not None, "the status shows how long the user waited for it"
    assert len(server.asked) == 1
    assert server.asked[0].closed


async def settled() -> None:
    """Let all tasks run until each waits for an event of the test."""
    for _ in range(100):
        await asyncio.sleep(0)


async def part_of(made: Completer, cursor: DocumentCursor = HERE) -> str:
    (suggestion,) = await made.suggest(cursor, parts=True)
    assert suggestion.partial
    return suggestion.text


async def test_the_sure_beginning_of_an_answer_is_suggested_before_its_end() -> None:
    """A client that accepts parts gets the complete beginning at once, and the whole later."""
    more = asyncio.Event()
    server = ScriptedProvider([(*CALL[:3], more, *CALL[3:])])
    made = completer(server, ahead=True)
    assert await part_of(made) == "urn add(a)"
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert (explanation.outcome, explanation.ending, explanation.source) == (
        Decision.SHORTENED,
        Ending.PART,
        AnswerSource.MODEL,
    )
    # Nothing is generated ahead of a running answer.
    assert len(server.asked) == 1
    again = asyncio.create_task(made.suggest(HERE, parts=True))
    await settled()
    assert not again.done()
    more.set()
    (suggestion,) = await again
    assert (suggestion.text, suggestion.partial) == ("urn add(a).total + b", False)
    whole = made.journal.explanations.find(id=suggestion.id)
    assert whole is not None
    assert (whole.source, whole.prompt) == (AnswerSource.RECENT, explanation.prompt), (
        "the prompt of the answer that is shown"
    )
    assert whole.usage is not None
    assert len([one for one in server.asked if one.query.terms.priority is Priority.COMPLETION]) == 1
    await made.aclose()


async def test_a_part_at_each_keystroke() -> None:
    """A client that types before the whole is complete gets a part at each place."""
    server = ScriptedProvider([(*CALL[:3], None)])
    made = completer(server)
    await cancelled(made, server, 3)
    assert await part_of(made, typed("u")) == "rn add(a)"
    assert await part_of(made, typed("urn")) == " add(a)"
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert (explanation.source, explanation.model) == (AnswerSource.RECENT, "scripted")
    assert len(server.asked) == 1
    await made.aclose()


@pytest.mark.parametrize(
    "begin",
    [
        make_tokens("urn", " a", " +"),
        (token("urn", 0.3), *make_tokens(" add(a)", ".total")),
        make_tokens("f", ";", " g"),
    ],
    ids=["within an expression", "unsure", "quicker typed than read"],
)
async def test_a_beginning_that_is_not_sure_is_not_suggested(begin: tuple[Token, ...]) -> None:
    """No changeable, hidden or single-character beginning is suggested before the answer's end."""
    more = asyncio.Event()
    server = ScriptedProvider([(*begin, more, *LINE[4:])])
    request = asyncio.create_task(completer(server).suggest(HERE, parts=True))
    await settled()
    assert server.asked[0].given == len(begin)
    assert not request.done()
    more.set()
    assert not any(suggestion.partial for suggestion in await request)


@pytest.mark.parametrize(("parts", "invoked"), [(False, False), (True, True)])
async def test_other_requests_wait_for_the_whole(parts: bool, invoked: bool) -> None:
    """No part is suggested to a client without parts or to a request by hand."""
    (suggestion,) = await completer(ScriptedProvider([CALL]), candidates=1).suggest(HERE, parts=parts, invoked=invoked)
    assert (suggestion.text, suggestion.partial) == ("urn add(a).total + b", False)


async def test_a_dismissed_part() -> None:
    """A dismissed part is not suggested again, and the request waits for the whole."""
    more = asyncio.Event()
    server = ScriptedProvider([(*CALL[:3], more, *CALL[3:])])
    made = completer(server)
    made.suggestions.dismiss(
        Suggestion("p", HERE, "urn add(a)", CALL[:3], "scripted", SuggestionShape.LINE, partial=True)
    )
    request = asyncio.create_task(made.suggest(HERE, parts=True))
    await settled()
    assert not request.done()
    more.set()
    assert [(one.text, one.partial) for one in await request] == [("urn add(a).total + b", False)]


async def test_a_part_whose_answer_fails() -> None:
    """The failure of an answer after a suggested part is raised by the next request."""
    more = asyncio.Event()
    made = completer(ScriptedProvider([(*CALL[:3], more, PellucidError("no memory"))]))
    assert await part_of(made) == "urn add(a)"
    more.set()
    with pytest.raises(PellucidError, match="no memory"):
        await made.suggest(HERE, parts=True)


DOUBTFUL = (*make_tokens("urn", " add(a)", ".total"), token(" + b", 0.45), *make_tokens("\n", "\n", "def"))
"""An answer cut to ``urn add(a)`` at levels quiet and normal, and whole at level eager."""


async def test_a_doubtful_rest() -> None:
    """A suggestion has a sure beginning and a doubtful rest, and the explanation separates them."""
    made = with_rests(ScriptedProvider([DOUBTFUL]))
    (suggestion,) = await made.suggest(HERE)
    assert (suggestion.text, suggestion.sure.text) == ("urn add(a).total + b", "urn add(a)")
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert (explanation.outcome, explanation.doubtful) == (Decision.SHORTENED, len(".total + b"))
    assert explanation.reason.endswith("The rest is shown as doubtful.")


@pytest.mark.parametrize("taken", ["urn add(a)", "urn a", "urn add(a", "urn add(a).to"])
async def test_a_doubtful_rest_stays(taken: str) -> None:
    """The remainder keeps its sure beginning and doubtful rest after typing, without a request."""
    server = ScriptedProvider([DOUBTFUL])
    made = with_rests(server)
    (suggestion,) = await made.suggest(HERE)
    made.suggestions.note_shown(suggestion)
    (left,) = await made.suggest(typed(taken))
    assert left.text == suggestion.text[len(taken) :]
    assert left.sure.text == suggestion.sure.text[len(taken) :], "what was sure stays so, however little is left"
    assert len(server.asked) == 1


async def test_a_doubtful_rest_that_was_dismissed() -> None:
    """A dismissed suggestion does not return as a doubtful rest."""
    made = with_rests(ScriptedProvider([DOUBTFUL]))
    (suggestion,) = await made.suggest(HERE)
    made.suggestions.note_shown(suggestion)
    (left,) = await made.suggest(typed("urn add(a)"))
    made.suggestions.dismiss(left)
    assert await made.suggest(typed("urn add(a)")) == []
    assert [one.text for one in await made.suggest(HERE)] == ["urn add(a)"], "the sure beginning was not dismissed"


async def test_a_dismissed_suggestion_comes_not_back_as_its_beginning() -> None:
    """The sure beginning of a dismissed suggestion is dismissed, too."""
    made = with_rests(ScriptedProvider([DOUBTFUL]))
    (suggestion,) = await made.suggest(HERE)
    made.suggestions.dismiss(suggestion)
    assert await made.suggest(HERE) == []


@pytest.mark.parametrize(
    ("answer", "invoked"),
    [(DOUBTFUL[2:], False), ((*DOUBTFUL[:3], token(" + b", 0.1)), False), (DOUBTFUL, True), (CALL, False)],
)
async def test_no_doubtful_rest(answer: tuple[Token, ...], invoked: bool) -> None:
    """No rest is doubtful without a sure beginning, if improbable or sure, or if asked by hand."""
    suggestions = await with_rests(ScriptedProvider([answer] * 9)).suggest(HERE, invoked=invoked)
    assert [one.doubtful for one in suggestions] == [0] * len(suggestions)


async def test_closing_stops_an_answer() -> None:
    """A cancelled request's answer is stopped when the completer is closed."""
    server = ScriptedProvider([(*LINE[:2], None)])
    made = completer(server)
    await cancelled(made, server, 2)
    await made.aclose()
    assert server.asked[0].closed


async def test_a_lost_server_is_asked_again() -> None:
    """The completer reconnects to a lost server and continues from the tokens of the answer."""
    server = ScriptedProvider([(*LINE[:2], LOST), LINE[2:]])
    assert await texts(completer(server)) == ["urn a + b"]
    assert (server.losses, server.asked[1].query.prefix) == (1, HERE.before + "urn a")


async def test_a_server_that_stays_away() -> None:
    """The error is raised after the last attempt, and the next request tries again."""
    server = ScriptedProvider([(LOST,)])
    made = completer(server)
    with pytest.raises(UnavailableError, match="closed the connection"):
        await made.suggest(HERE)
    assert len(server.asked) == MAX_ATTEMPTS
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert (explanation.outcome, explanation.reason) == (Decision.FAILED, str(LOST))
    server.scripts = [LINE]
    assert await texts(made) == ["urn a + b"]


async def test_an_answer_that_failed() -> None:
    """The server's own error is raised."""
    server = ScriptedProvider([(*LINE[:1], Finish(FinishReason.ERROR, Usage(), error="no memory"))])
    with pytest.raises(PellucidError, match="no memory"):
        await completer(server).suggest(HERE)


async def test_superseded() -> None:
    """An answer that a newer request superseded suggests nothing."""
    server = ScriptedProvider([(*LINE[:2], Finish(FinishReason.SUPERSEDED, Usage()))])
    assert await texts(completer(server)) == []


async def test_an_answer_that_the_deadline_ended_is_continued() -> None:
    """Typing into an answer ended by the deadline asks the model for the rest."""
    server = ScriptedProvider([(*LINE[:2], Finish(FinishReason.DEADLINE, Usage())), LINE[2:]])
    made = completer(server)
    assert await texts(made) == ["urn a"]
    assert await texts(made, typed("u")) == ["rn a + b"]
    assert [asked.query.prefix[len(HERE.before) :] for asked in server.asked] == ["", "urn a"]


async def test_unsure_is_hidden_and_explained() -> None:
    """A hidden suggestion is explained and not requested again."""
    server = ScriptedProvider([(token("urn", 0.1), *LINE[1:])])
    made = completer(server, level="quiet")
    assert await texts(made) == []
    explanation = made.journal.explanations.find(uri=HERE.uri)
    assert explanation is not None
    assert explanation.outcome is Decision.HIDDEN
    assert "first token's probability is 0.10" in explanation.reason
    assert (explanation.answer, explanation.shown) == ("urn a + b\n", None)
    assert explanation.verdict is not None
    assert await texts(made) == []
    assert len(server.asked) == 1
    assert await texts(made, typed("urn")) == [" a + b"]


async def test_explanation() -> None:
    """An explanation has prompt, cached and computed tokens, times of the stages and outcome."""
    made = completer(ScriptedProvider([LINE]))
    (suggestion,) = await made.suggest(HERE)
    explanation = made.journal.explanations.find(id=suggestion.id)
    assert explanation is not None
    assert (explanation.outcome, explanation.source, explanation.shown) == (
        Decision.SHOWN,
        AnswerSource.MODEL,
        "urn a + b",
    )
    assert explanation.prompt is not None
    assert explanation.prompt.prefix == HERE.before
    assert explanation.usage is not None
    assert (explanation.usage.cached, explanation.usage.computed) == (5, 7)
    assert set(explanation.milliseconds) == {"wait", "context", "queued", "prefill", "decode", "gate", "total"}


async def test_several_when_invoked() -> None:
    """A request by hand returns the best suggestion and the most probable alternatives."""
    first = (
        token("urn", 0.6, other=("ry", 0.3)),
        token(" a", 0.9, other=(" b", 0.08)),
        *make_tokens(" +", " b", "\n", "\n", "\n"),
    )
    server = ScriptedProvider([first, make_tokens(":", "\n", "\n", "x"), make_tokens(" -", " a", "\n", "\n", "x")])
    found = await completer(server).suggest(HERE, invoked=True)
    assert [one.text for one in found] == ["urn a + b", "ry:", "urn b - a"]
    assert [asked.query.prefix[len(HERE.before) :] for asked in server.asked] == ["", "ry", "urn b"]
    assert all(asked.closed for asked in server.asked)


async def test_branch() -> None:
    """A branch continues from an alternative to a token, with the alternative's probability."""
    server = ScriptedProvider([(token("urn", 0.6, other=("ry", 0.3)), *LINE[1:]), make_tokens(":", "\n", "\n", "x")])
    made = completer(server)
    (suggestion,) = await made.suggest(HERE)
    branched = await made.branch(suggestion, HERE, 0, 1)
    assert branched is not None
    assert branched.text == "ry:"
    assert (branched.tokens[0].rank, branched.tokens[0].bytes) == (2, b"ry")
    assert await made.branch(suggestion, HERE, 0, 7) is None
    assert await made.branch(suggestion, HERE, 99, 0) is None


async def test_ahead() -> None:
    """The text after a shown suggestion is prefetched and available after acceptance."""
    server = ScriptedProvider([LINE, make_tokens("    ", "c", " =", " 2", "\n", "\n", "\n", "z", " =")])
    made = completer(server, ahead=True)
    assert await texts(made) == ["urn a + b"]
    while len(server.asked) < 2 or not server.asked[1].closed:
        await asyncio.sleep(0)
    assert server.asked[1].query.prefix == HERE.before + "urn a + b\n"
    assert server.asked[1].query.terms.priority is Priority.BACKGROUND
    assert await texts(made, typed("urn a + b\n    ")) == ["c = 2"]
    assert len(server.asked) == 2 or server.asked[2].query.terms.priority is Priority.BACKGROUND
    await made.aclose()


async def test_nothing_ahead_on_battery() -> None:
    """While power is saved, nothing is generated after a shown suggestion."""
    server = ScriptedProvider([LINE, make_tokens("z", "\n")])
    made = completer(server, ahead=True, saves_power=lambda: True)
    assert await texts(made) == ["urn a + b"]
    await asyncio.sleep(0.05)
    assert len(server.asked) == 1
    await made.aclose()


async def test_another_request_ends_what_is_generated_ahead() -> None:
    """A prefetch is cancelled when a request needs the model."""
    server = ScriptedProvider([LINE, (None,), make_tokens("rn", "\n")])
    made = completer(server, ahead=True)
    await texts(made)
    while len(server.asked) < 2:
        await asyncio.sleep(0)
    assert await texts(made, typed("u = fu")) == ["rn"]
    assert server.asked[1].closed
    await made.aclose()


async def test_dismissed() -> None:
    """A dismissed suggestion is not offered again at its cursor."""
    made = completer(ScriptedProvider([LINE]))
    (suggestion,) = await made.suggest(HERE)
    made.suggestions.dismiss(suggestion)
    assert await texts(made) == []
    assert await texts(made, typed("urn")) == []


async def test_time_is_up() -> None:
    """Complete lines are suggested when the time is over, and the stream is closed."""
    now = iter(range(1000))
    settings = EditorSettings.read({"completion": {"ahead": False, "shape": "block", "budgetMs": 4000}})
    lines = make_tokens("if", " a:", "\n", "        ", "b", " =", " 1", "\n", "        ", "c", " =", " 2", "\n")
    server = ScriptedProvider([(*lines, None)])
    context = PromptContext(settings.context, ChunkRing(settings.context))
    made = Completer(settings.completion, ModelChoice(cast("Any", server)), context, clock=lambda: float(next(now)))
    (suggestion,) = await made.suggest(replace(HERE, before="def f(a):\n    "))
    assert suggestion.text in ("if a:", "if a:\n        b = 1")
    assert server.asked[0].closed


async def test_files_only_to_models_that_know_them() -> None:
    """Chunks of files are sent only to models with a marker for files."""
    other = "\n".join(f"def helper_{number}(value):\n    return value * {number}\n" for number in range(8))
    for files in (True, False):
        server = ScriptedProvider([LINE], files=files)
        settings = EditorSettings.read({"completion": {"ahead": False}})
        ring = ChunkRing(settings.context)
        ring.note_open("file:///b.py", "b.py", other)
        assert ring.promote(HERE.uri)
        context = PromptContext(settings.context, ring)
        made = Completer(settings.completion, ModelChoice(cast("Any", server)), context)
        await made.suggest(HERE)
        assert [one.filename for one in server.asked[0].query.extra] == (["b.py"] if files else [])


async def test_answers_without_the_present_chunks() -> None:
    """After a new chunk of a different file, the model is asked again at the same cursor."""
    server = ScriptedProvider([LINE, LINE])
    settings = EditorSettings.read({"completion": {"ahead": False}})
    ring = ChunkRing(settings.context)
    made = Completer(settings.completion, ModelChoice(cast("Any", server)), PromptContext(settings.context, ring))
    await made.suggest(HERE)
    await made.suggest(HERE)
    assert len(server.asked) == 1
    ring.note_open("file:///b.py", "b.py", "def helper(value):\n    first = value\n    return first\n")
    assert ring.promote(HERE.uri)
    await made.suggest(HERE)
    assert [one.filename for one in server.asked[1].query.extra] == ["b.py"]


async def test_a_line_that_was_cut_off_stays_out() -> None:
    """A line cut off by the limit of tokens is never suggested."""
    answer = make_tokens("x", " = 1", "\n    ", "y", " = fo")
    server = ScriptedProvider([(*answer, Finish(FinishReason.LENGTH, Usage()))])
    made = completer(server, shape="block")
    here = replace(HERE, before="def f():\n    ")
    assert await texts(made, here) == ["x = 1"]
    assert await texts(made, here) == ["x = 1"]
    assert len(server.asked) == 1


async def test_what_is_generated_ahead_is_not_waited_for() -> None:
    """A request at a running prefetch's cursor continues from its tokens as a completion."""
    server = ScriptedProvider([LINE, (*make_tokens("    ", "c"), None), make_tokens(" =", " 2", "\n", "\n", "\n", "z")])
    made = completer(server, ahead=True)
    await texts(made)
    while len(server.asked) < 2 or server.asked[1].given < 2:
        await asyncio.sleep(0)
    assert await texts(made, typed("urn a + b\n    ")) == ["c = 2"]
    assert server.asked[1].closed
    assert str(server.asked[2].query.prefix).endswith("urn a + b\n    c")
    assert server.asked[2].query.terms.priority is Priority.COMPLETION
    await made.aclose()


async def test_a_candidate_that_fails_costs_only_itself() -> None:
    """The best suggestion is returned although the request for an alternative failed."""
    first = (token("urn", 0.6, other=("ry", 0.3)), *make_tokens(" a", "\n", "\n"))
    server = ScriptedProvider([first, (PellucidError("no memory"),)])
    assert [one.text for one in await completer(server).suggest(HERE, invoked=True)] == ["urn a"]


async def test_prefill() -> None:
    """A prefill requests no tokens and has the lowest priority."""
    server = ScriptedProvider([()])
    await completer(server).prefill(HERE)
    assert (server.asked[0].query.params.max_tokens, server.asked[0].query.terms.priority) == (0, Priority.BACKGROUND)


async def test_a_keystroke_parses_and_looks_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keystroke parses the cursor once and searches recent answers once, in all cases."""
    calls: list[str] = []
    parse, find = ParsedCursor.__init__, Answers.at

    def counted_parse(self: ParsedCursor, document: DocumentCursor, *, fences: bool = True) -> None:
        calls.append("parse")
        parse(self, document, fences=fences)

    def counted_find(self: Answers, cursor: DocumentCursor) -> Any:
        calls.append("find")
        return find(self, cursor)

    monkeypatch.setattr(ParsedCursor, "__init__", counted_parse)
    monkeypatch.setattr(Answers, "at", counted_find)
    server = ScriptedProvider([LINE])
    made = completer(server)
    for keystroke in ("", "u", "ur"):
        calls.clear()
        assert await texts(made, typed(keystroke)) == ["urn a + b".removeprefix(keystroke)]
        assert calls == ["parse", "find"]
    assert len(server.asked) == 1
