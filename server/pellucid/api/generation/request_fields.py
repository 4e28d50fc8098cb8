"""Fields shared by all routes: sampling parameters, terms, usage and finish reasons."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Literal

from fastapi import Request

from pellucid.api.schema.answer_fields import AnswerFields, EndDetails
from pellucid.api.schema.common import Admittance, ModelQuery
from pellucid.api.schema.structured import FieldRecord
from pellucid.api.schema.usage import CompletionTokensDetails, PromptTokensDetails, UsageDetails, UsageReply
from pellucid.text.structured.json_fields import to_json
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Priority, SamplingParams, Terms

_PRIORITIES = {"completion": Priority.COMPLETION, "chat": Priority.CHAT, "background": Priority.BACKGROUND}
_NAME = re.compile(r"""message(\.name|\[['"]name['"]\])""")


def ignored_fields(body: ModelQuery, card: ModelCard, more: Iterable[str] = ()) -> list[str]:
    """Return the names of fields without effect, with ``more`` and a different ``model``."""
    ignored = sorted({*body.ignored(), *more})
    return [*ignored, "model"] if body.model and body.model != card.name else ignored


def reads_names(card: ModelCard) -> bool:
    """Return whether the template reads the name of a message's speaker or tool, which is rare."""
    return _NAME.search(card.chat_template or "") is not None


def answer_params(body: AnswerFields, max_tokens: int, top_logprobs: int | None) -> SamplingParams:
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=body.temperature,
        top_k=1 if body.top_p == 0 else max(body.top_k, 0),
        top_p=body.top_p or 1.0,
        seed=choice_seed(body.seed, 0),
        top_logprobs=top_logprobs or 0,
    )


def choice_seed(seed: int | None, choice: int) -> int | None:
    return None if seed is None else (seed + choice) % 2**63


def stop_texts(stop: str | list[str]) -> list[str]:
    return [stop] if isinstance(stop, str) else stop


def terms_of(body: Admittance, request: Request, default: Priority, choice: int) -> Terms:
    key = None if body.supersede is None else supersede_key(request, body.supersede, choice)
    return Terms(_PRIORITIES[body.priority] if body.priority else default, key, body.deadline)


def supersede_key(request: Request, name: str, choice: int) -> str:
    """Return a key that only the same client (address, API key, program) can supersede.

    Each of several answers has a separate key.
    """
    address = request.client.host if request.client else ""
    headers = request.headers
    parts = (
        address,
        headers.get("authorization", ""),
        headers.get("x-api-key", ""),
        headers.get("user-agent", ""),
        name,
        str(choice),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def usage_reply(
    prompts: Sequence[Usage], answers: Sequence[Usage], ends: Sequence[Finish] = (), reasoning: int = 0
) -> UsageReply:
    """Return the usage of a request. Each prompt counts once, whatever the number of answers.

    ``ends`` are the Finishes of each prompt's first answer, ``reasoning`` is the number of tokens
    of the reasoning.
    """
    total = Usage(
        cached=sum(usage.cached for usage in prompts),
        computed=sum(usage.computed for usage in prompts),
        generated=sum(usage.generated for usage in answers),
        queued=max(usage.queued for usage in prompts),
        prefill=max(usage.prefill for usage in prompts),
        decode=max(usage.decode for usage in answers),
        moves=sum(usage.moves for usage in answers),
        accepted=sum(usage.accepted for usage in answers),
        prediction=sum(usage.prediction for usage in answers),
    )
    return UsageReply(
        prompt_tokens=total.prompt,
        completion_tokens=total.generated,
        total_tokens=total.prompt + total.generated,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=total.cached),
        completion_tokens_details=CompletionTokensDetails(
            accepted_prediction_tokens=total.accepted if total.prediction else None,
            rejected_prediction_tokens=total.prediction - total.accepted if total.prediction else None,
            reasoning_tokens=reasoning or None,
        )
        if total.prediction or reasoning
        else None,
        pellucid=usage_details(
            total, next((end.first_difference for end in ends if end.first_difference is not None), None)
        ),
    )


def usage_details(usage: Usage, first_difference: str | None = None) -> UsageDetails:
    return UsageDetails(
        cached=usage.cached,
        computed=usage.computed,
        generated=usage.generated,
        queued=usage.queued,
        prefill=usage.prefill,
        decode=usage.decode,
        moves=usage.moves or None,
        accepted=usage.accepted if usage.prediction else None,
        prediction=usage.prediction or None,
        first_difference=first_difference,
    )


def finish_word(finish: Finish) -> Literal["stop", "length"]:
    """Return OpenAI's ``finish_reason``; ``pellucid.reason`` is more exact."""
    return "length" if finish.reason in (FinishReason.LENGTH, FinishReason.DEADLINE) else "stop"


def end_details(finish: Finish) -> EndDetails:
    """Return the end of an answer: reason, completeness, and probabilities of JSON values."""
    return EndDetails(
        reason=finish.reason,
        stop=finish.stop,
        loose_functions=list(finish.loose_functions) or None,
        complete=finish.complete,
        fields=None
        if finish.fields is None
        else [FieldRecord.model_validate(to_json(value)) for value in finish.fields],
    )


def reply_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"
