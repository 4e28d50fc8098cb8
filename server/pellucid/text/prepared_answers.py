"""Answers to queries before generation: prompt, constraint, and rules for the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from pellucid.engine.request import Constraint, Request
from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.answer import Answer
from pellucid.text.detokenizer import Detokenizer
from pellucid.text.healing import Healing
from pellucid.text.margin_stop import MarginStop
from pellucid.text.prompts import CHARACTERS_PER_TOKEN
from pellucid.text.query_ids import chat_prompt, infill_ids, prompt_characters
from pellucid.text.reasoning import ReasoningConstraint, ReasoningForm, ReasoningPosition, ReasoningReader
from pellucid.text.stopping import EndingRule, StopGate, StopStrings
from pellucid.text.suffix_stop import SuffixStop
from pellucid.text.text_model import TextModel, run_tokenizer
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery


async def prepare_completion(
    served: TextModel, query: CompletionQuery, endings: Sequence[EndingRule], cache_salt: str
) -> Answer:
    check_completion(served, query)
    served.check_experts(query.params.experts)
    _check_grammar(query)
    tokenizer = served.tokenizer
    healing: Healing | None = None
    stop_ids = tokenizer.eos_ids
    endings = [*endings, StopStrings(query.stop)]
    if not isinstance(query.prefix, str):
        ids = list(query.prefix)
    elif query.suffix is None:
        encode = partial(served.encode, query.prefix, special=query.special, context=served.context)
        ids = await run_tokenizer(served, len(query.prefix), encode)
        if query.heal and query.grammar is None:
            ids, healing = served.healer.heal(ids, keep=1)
    else:
        heal = query.heal is not False and query.grammar is None
        ids, healing = await run_tokenizer(
            served, prompt_characters(query), partial(infill_ids, served, query, heal=heal)
        )
        if query.grammar is None:  # A grammar would decide on the end of the answer.
            stop_ids = stop_ids | served.markers
            endings += [SuffixStop(query.prefix, query.suffix), MarginStop(query.prefix, query.suffix)]
    gate, params = StopGate(endings), query.params
    if healing is not None and params.max_tokens:  # Repeated tokens of the prompt do not belong to the answer.
        gate.limit = params.max_tokens
        params = replace(params, max_tokens=params.max_tokens + healing.steps)
    constraint = healing if query.grammar is None else await served.grammars.constraint(query.grammar, cache_salt)
    strip_space = query.prefix == "" and query.grammar is None and tokenizer.prefix_space
    detokenizer = Detokenizer(tokenizer, strip_space=strip_space, typed=healing.typed if healing else b"")
    request = Request(
        ids, params, query.terms, stop_ids, constraint=constraint, session=query.terms.key, cache_salt=cache_salt
    )
    return Answer(served, query, request, detokenizer, gate, constraint)


async def prepare_chat(served: TextModel, query: ChatQuery, cache_salt: str) -> Answer:
    if query.tool_choice not in ("auto", "none") and not query.tools:
        raise InvalidRequestError(
            "tool_choice demands a call, but there are no tools: send some, or omit it.", param="tool_choice"
        )
    served.check_experts(query.params.experts)
    _check_grammar(query)
    context, tokenizer = served.context, served.tokenizer
    if query.reasoning is not None and served.reasoning is None:
        raise InvalidRequestError(
            f"{served.name} does not reason before it answers: omit reasoning.", param="reasoning"
        )
    prompt = await chat_prompt(served, query, context)
    ids = prompt.ids
    calls = served.call_reader(query, ids)
    constraint: Constraint | None = None
    loose: frozenset[str] = frozenset()
    if query.grammar is not None:
        constraint = await served.grammars.constraint(query.grammar, cache_salt)
    elif calls is not None:
        constraint, loose = await served.call_constraints.constraint(query, cache_salt)
    form, reader, stop_ids = constraint, None, tokenizer.eos_ids
    marks = served.reasoning
    if marks is not None and not query.continues_text:
        constraint, position = _reasoning(query, marks, tokenizer, ids, constraint)
        # The end of a channel is not the end of the answer.
        early = stop_ids.intersection(marks.stop) if position.is_reasoning and marks.begin is None else frozenset()
        reader, stop_ids = ReasoningReader(position, early), stop_ids - early
    strip_space = not query.continue_last and query.grammar is None and tokenizer.prefix_space
    detokenizer = Detokenizer(tokenizer, strip_space=strip_space)
    session = _conversation(query.messages)
    request = Request(
        ids,
        query.params,
        query.terms,
        stop_ids,
        constraint=constraint,
        session=session,
        cache_salt=cache_salt,
        embedded=prompt.embedded,
    )
    if query.prediction and served.engine.uses_predictions(served.name):
        prediction = query.prediction[: context * CHARACTERS_PER_TOKEN]
        predicted = await run_tokenizer(served, len(prediction), partial(tokenizer.encode, prediction, continues=True))
        request = replace(request, prediction=predicted[:context])  # No answer is longer.
    gate = StopGate([StopStrings(query.stop)])
    return Answer(served, query, request, detokenizer, gate, form, reader, calls, tuple(sorted(loose)))


def _reasoning(
    query: ChatQuery, marks: ReasoningForm, tokenizer: Tokenizer, prompt: Sequence[int], form: Constraint | None
) -> tuple[Constraint | None, ReasoningPosition]:
    """Return the constraint of reasoning and answer, and the position at the end of the prompt."""
    position, own = (ReasoningPosition(marks, tokenizer, prompt, has_form=form is not None) for _ in range(2))
    most = None if query.reasoning is None else query.reasoning.most_tokens
    if query.reasoning is None or (form is None and most is None):
        return form, position
    return ReasoningConstraint(own, tokenizer.vocab_size, form, most), position


def check_completion(served: TextModel, query: CompletionQuery) -> None:
    """Raise InvalidRequestError for contradictory fields, or for files that a model cannot read."""
    if not isinstance(query.prefix, str) and (query.suffix is not None or query.heal or query.special):
        raise InvalidRequestError("suffix, heal and special need a prompt of text, not of token ids.", param="prompt")
    if query.suffix is None:
        if query.extra:
            raise InvalidRequestError(
                "Text of other files is only for infills: send a suffix too, which may be empty.", param="input_extra"
            )
        return
    if query.special:
        raise InvalidRequestError("Special tokens are not parsed in infills: omit special.", param="special")
    if query.extra and not served.takes_files:
        raise InvalidRequestError(f"{served.name} has no marker for other files: omit their text.", param="input_extra")


def _check_grammar(query: CompletionQuery | ChatQuery) -> None:
    if query.grammar is None:
        return
    if query.params.ignore_eos:
        raise InvalidRequestError(
            "ignore_eos is not supported together with a grammar, which decides where the answer ends.", "ignore_eos"
        )
    if isinstance(query, ChatQuery) and query.shown_tools:
        raise InvalidRequestError(
            f"tools are not supported together with {query.grammar.field}: send only one of them.", param="tools"
        )
    if isinstance(query, CompletionQuery) and query.heal:
        raise InvalidRequestError("Token healing is not supported together with a grammar: omit heal.", param="heal")


def _conversation(messages: Sequence[Message]) -> str:
    """Return a key for all turns of a conversation: a hash up to the user's first message."""
    first = next((index for index, message in enumerate(messages) if message.role == "user"), 0)
    beginning = repr([(message.role, message.content) for message in messages[: first + 1]])
    return blake2b(beginning.encode(), digest_size=8).hexdigest()
