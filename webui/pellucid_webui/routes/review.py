"""Blind reviews: comparisons of two answers."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.door.api_keys import LOCAL
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.conversations.storage.blind_reviews import REASONS, Judgement, Review, Reviews, Verdict, next_pair
from pellucid_webui.inspection.blind_review_results import results, sentences, table
from pellucid_webui.page_threads import in_page_thread

RATER = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")

NO_RATER = "Enter your name first; agreement is computed between named raters."


@dataclass(frozen=True, slots=True)
class ReviewRoute:
    reviews: Reviews

    async def act(self, owner: str, event: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Run an action; yield the payload to show, including errors.

        A logged-in user is the rater; otherwise raters enter names. A verdict names the review and
        the rater of the displayed pair, because the sides depend on both; a verdict for another
        rater is not saved.
        """
        yield await in_page_thread(self._act, event, owner)

    def _act(self, event: Mapping[str, Any], owner: str) -> dict[str, Any]:
        name, rater, note = str(event.get("review", "")), str(event.get("rater", "")).strip(), ""
        is_logged_in = owner != LOCAL
        own = not is_logged_in or rater == owner
        if is_logged_in:
            rater = owner
        names: list[str] = []
        try:
            names = self.reviews.names()
            if event.get("verb") == "judge" and own:
                self._judge(name, rater, event)
            if name not in names:
                name = names[0] if names else ""
            if name:
                return self._payload(names, name, rater, event) | {"isLoggedIn": is_logged_in}
        except PellucidError as error:
            note = str(error)
        return _shown(names, name, rater, note, wrong=bool(note)) | {"isLoggedIn": is_logged_in}

    def _judge(self, name: str, rater: str, event: Mapping[str, Any]) -> None:
        if not rater:
            raise InvalidRequestError(NO_RATER)
        if not RATER.fullmatch(rater):
            raise InvalidRequestError("A name has at most 64 characters, and no control characters: shorten it.")
        review, pair = self.reviews.find(name), event.get("pair")
        if not isinstance(pair, int):
            raise InvalidRequestError("The page did not send which pair was judged: reload it.")
        given = event.get("reasons")
        reasons = tuple(reason for reason in REASONS if isinstance(given, list) and reason in given)
        verdict = _verdict(str(event.get("verdict")), a_is_left=review.is_a_left(pair, rater))
        self.reviews.judge(name, Judgement(pair, rater, verdict, reasons, str(event.get("note", ""))[:2000]))

    def _payload(self, names: Sequence[str], name: str, rater: str, event: Mapping[str, Any]) -> dict[str, Any]:
        if not rater:
            return _shown(names, name, rater, NO_RATER)
        review = self.reviews.find(name)
        judged = self.reviews.judgements(name)
        back = event.get("pair") if event.get("verb") == "show" else None
        pair = back if isinstance(back, int) and 0 <= back < len(review.pairs) else next_pair(review, judged, rater)
        if pair is None:
            found = results(review, judged)
            shown = _shown(names, name, rater, f"You have judged all {len(review.pairs)} pairs.")
            return shown | {"results": {"sentences": sentences(review, found), "table": table(found)}}
        done = sum(one.rater == rater for one in judged)
        status = f"Pair {pair + 1} of {len(review.pairs)}; you have judged {done}."
        return _shown(names, name, rater, status) | _pair(review, pair, rater, judged)


def _pair(review: Review, number: int, rater: str, judged: Sequence[Judgement]) -> dict[str, Any]:
    pair, a_is_left = review.pairs[number], review.is_a_left(number, rater)
    left, right = (pair.a, pair.b) if a_is_left else (pair.b, pair.a)
    before = next((one for one in judged if one.pair == number and one.rater == rater), None)
    return {
        "pair": number,
        "prompt": blocks(pair.prompt),
        "left": blocks(left),
        "right": blocks(right),
        "chosen": None if before is None else _side(before.verdict, a_is_left=a_is_left),
        "given": [] if before is None else list(before.reasons),
        "note": "" if before is None else before.note,
    }


def _shown(names: Sequence[str], name: str, rater: str, status: str, *, wrong: bool = False) -> dict[str, Any]:
    return {
        "names": list(names),
        "review": name,
        "rater": rater,
        "isLoggedIn": False,
        "status": status,
        "results": None,
        "wrong": wrong,
        "reasons": list(REASONS),
        "pair": None,
    }


def _verdict(side: str, *, a_is_left: bool) -> Verdict:
    match side:
        case "left" | "right":
            return Verdict.A if (side == "left") == a_is_left else Verdict.B
        case "both" | "neither":
            return Verdict(side)
        case _:
            raise InvalidRequestError(f"{side!r} is not a verdict: use left, right, both or neither.")


def _side(verdict: Verdict, *, a_is_left: bool) -> str:
    if verdict in (Verdict.A, Verdict.B):
        return "left" if (verdict is Verdict.A) == a_is_left else "right"
    return str(verdict)
