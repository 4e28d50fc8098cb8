"""Prompts: the token ids of messages or of the text around a cursor.

Markers are added by id or by the chat template. User text that spells a marker stays text.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Any

from pellucid.engine.embedded_run import EmbeddedRun
from pellucid.errors import ContextLengthError, InvalidRequestError, NotSupportedError, PellucidError
from pellucid.models.catalog import InfillFormat, catalog
from pellucid.models.tokenizers.markers_in_text import MarkerFinder
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.vision.encoded_image import EncodedImage, ImageEncoder
from pellucid.text.reasoning import closed
from pellucid.text.rendering_limits import RenderingError
from pellucid.text.template_process import TemplateProcess
from pellucid.text.tool_calls.template_input import (
    check_template,
    map_strings,
    strings_in,
    template_message,
    template_tools,
)
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import Extra, Reasoning

if TYPE_CHECKING:
    from pellucid.text.template_renderer import Renderer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template for models with ChatML's markers and without a template."""

MAX_TEMPLATE_CHARACTERS = 2**18
"""Well-known models' templates have at most about 30,000 characters."""

MAX_RENDERED_CHARACTERS = 2**20
"""Maximum number of characters in addition to the messages: more than fit into any context."""

PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))

HUGE_TEXT_CHARACTERS = 2**18
"""A text of this length takes a quarter of a second to tokenize. A longer text is refused without
tokenizing if it cannot fit; otherwise, long texts share a thread.
"""

MAX_TEXT_CHARACTERS = 2**22
"""Maximum length for the API; measured, a million characters take one to two seconds."""

CHARACTERS_PER_TOKEN = 8
"""Cut of a text before tokenizing, per permitted token."""

LANDMARK_LINES = 3
"""Lines in the hash that selects where a text is cut."""

Tools = Sequence[Mapping[str, Any]]
"""Functions that a model may call, JSON objects in OpenAI's shape."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """``ids``, of which ids below 0 stand for the rows of ``embedded`` images."""

    ids: list[int]
    embedded: tuple[EmbeddedRun, ...] = ()


class ChatTemplate:
    """The chat template of a model, for rendering and encoding.

    An unknown template (see :func:`is_known`) is rendered in ``process``, which a model with an
    adapter shares with its base. ``vision`` is None for a model that reads no images.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        model: str,
        base: ChatTemplate | None = None,
        vision: ImageEncoder | None = None,
    ) -> None:
        self._vision = vision
        self._tokenizer = tokenizer
        self._model = model
        self._source = tokenizer.chat_template or (CHATML if "<|im_start|>" in tokenizer.special else "")
        self.process: TemplateProcess | None = None
        if base is not None and base._source == self._source:
            self.process = base.process
        elif self.available and not is_known(self._source):
            self.process = TemplateProcess(self._source, model)

    @property
    def available(self) -> bool:
        return 0 < len(self._source) <= MAX_TEMPLATE_CHARACTERS

    @property
    def source(self) -> str:
        return self._source

    def render(self, messages: Sequence[Message], *, continue_last: bool = False, tools: Tools = ()) -> str:
        """Return the chat as text, up to the answer; ``continue_last`` includes its beginning."""
        return self._render(*self._prepared(messages, tools, continue_last=continue_last), None)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        continue_last: bool = False,
        tools: Tools = (),
        context: int | None = None,
        reasoning: Reasoning | None = None,
        images: Sequence[EncodedImage] = (),
    ) -> Prompt:
        """Return the chat, in which markers spelled by messages are text.

        ``images`` are the encoded images of all messages, in order. A continued message has no
        reasoning.

        Raises ContextLengthError, without tokenizing, for a huge chat that certainly exceeds
        ``context``.
        """
        chat, begun = self._prepared(messages, tools, continue_last=continue_last)
        wedge = self._wedge([*strings_in(chat), begun])
        guarded = map_strings(chat, lambda text: self._guard(text, wedge))
        wish = None if begun.strip() else reasoning
        pieces = self._with_images(self._render(guarded, self._guard(begun, wedge), wish), images).split(wedge)
        refuse_longer(self._tokenizer, pieces, context)
        ids = [
            id for i, piece in enumerate(pieces) for id in self._tokenizer.encode(piece, special=True, continues=i > 0)
        ]
        return self._embedded(with_bos(self._tokenizer, ids), images)

    def _with_images(self, text: str, images: Sequence[EncodedImage]) -> str:
        """Replace the template's markers by the texts of the images."""
        if not images:
            return text
        assert self._vision is not None
        first, *others = text.split(self._vision.marker)
        if len(others) != len(images):
            raise InvalidRequestError(
                f"The chat template of {self._model} has {len(others)} places for {len(images)} images: "
                "send images only in messages of the user.",
                param="messages",
            )
        return first + "".join(image.text + other for image, other in zip(images, others, strict=True))

    def _embedded(self, ids: list[int], images: Sequence[EncodedImage]) -> Prompt:
        """Replace the placeholders of the images by ids below 0."""
        if not images:
            return Prompt(ids)
        assert self._vision is not None
        places = iter([index for index, id in enumerate(ids) if id == self._vision.placeholder])
        runs: list[EmbeddedRun] = []
        for image in images:
            taken = list(islice(places, len(image.rows)))
            assert len(taken) == len(image.rows), "the text of an image has a placeholder for each row"
            for index, id in zip(taken, image.ids(), strict=True):
                ids[index] = id
            breaks = [at for at in range(1, len(taken)) if taken[at] != taken[at - 1] + 1]
            for begin, end in pairwise([0, *breaks, len(taken)]):
                runs.append(EmbeddedRun(taken[begin], image.rows[begin:end], image.whole, image.grid))
        return Prompt(ids, tuple(runs))

    def _prepared(
        self, messages: Sequence[Message], tools: Tools, *, continue_last: bool
    ) -> tuple[dict[str, Any], str]:
        if not messages:
            raise InvalidRequestError("There are no messages: send at least one.", param="messages")
        begun = ""
        if continue_last:
            if messages[-1].role != "assistant":
                raise InvalidRequestError(
                    "Only a last message of the role assistant can be continued.", param="messages"
                )
            if messages[-1].tool_calls:
                raise InvalidRequestError(
                    "A message with tool calls cannot be continued: add their results.", param="messages"
                )
            if messages[-1].images:
                raise InvalidRequestError("A message with images cannot be continued: omit them.", param="messages")
            begun, messages = messages[-1].content, messages[:-1]
        if any(message.images for message in messages) and self._vision is None:
            raise InvalidRequestError(
                f"{self._model} sees no images: send text only, or use another model.", param="messages"
            )
        if self.available:
            check_template(self._source, self._model, messages, tools)
        # Templates of models of images and texts take lists, and some take only lists.
        parts = self._vision is not None and " is string" not in self._source
        chat: dict[str, Any] = {
            "messages": [template_message(message, in_parts=parts or bool(message.images)) for message in messages]
        }
        if tools:
            chat["tools"] = template_tools(tools)
        return chat, begun

    def _render(self, chat: Mapping[str, Any], begun: str, reasoning: Reasoning | None) -> str:
        variables = {
            **chat,
            **({} if reasoning is None else {"reasoning_effort": reasoning.effort}),
            "add_generation_prompt": True,
            "enable_thinking": reasoning is not None,
            "thinking": reasoning is not None,
            "bos_token": self._marker(self._tokenizer.bos_id),
            "eos_token": self._marker(min(self._tokenizer.eos_ids, default=None)),
        }
        try:
            text = self._renderer.render(variables, MAX_RENDERED_CHARACTERS + 4 * sum(map(len, strings_in(chat))))
            return (closed(text, self._source) if reasoning is None else text) + begun
        except RenderingError as error:
            raise self._refusal(error) from None

    @cached_property
    def _renderer(self) -> Renderer | TemplateProcess:
        if not self._source:
            raise NotSupportedError(f"{self._model} has no chat template: use completions with this model.")
        if not self.available:
            size = f"{len(self._source):,} characters, and at most {MAX_TEMPLATE_CHARACTERS:,} are read"
            raise NotSupportedError(f"The chat template of {self._model} has {size}: use completions with this model.")
        if self.process is not None:
            return self.process
        from pellucid.text.template_renderer import Renderer  # Imports jinja2, which a server of infills never needs.

        return Renderer(self._source)

    def _refusal(self, error: RenderingError) -> PellucidError:
        template = f"The chat template of {self._model}"
        match error.kind:
            case "syntax":
                return NotSupportedError(f"{template} cannot be read: {error.detail}")
            case "refusal":
                return InvalidRequestError(f"{template} refuses these messages: {error.detail}", param="messages")
            case "limit":
                remedy = "use completions with this model, or another template"
                return InvalidRequestError(f"{template} {error.detail}: {remedy}.", param="messages")

    def _marker(self, id: int | None) -> str:
        return "" if id is None else self._tokenizer.token_bytes(id).decode(errors="replace")

    def _wedge(self, texts: Sequence[str]) -> str:
        """Return a private-use character that is neither in ``texts`` nor in the template."""
        taken = set().union(*texts, self._source)
        free = next((chr(code) for codes in PRIVATE_USE for code in codes if chr(code) not in taken), None)
        if free is None:
            raise InvalidRequestError(
                "The messages contain every private-use character of Unicode: remove one of them.", param="messages"
            )
        return free

    def _guard(self, text: str, wedge: str) -> str:
        """Return the text with a wedge inside each spelled marker.

        The rendered text is split at the wedges before tokenizing.
        """
        pieces, last = [], 0
        for begin in self._spelled.beginnings(text):
            pieces.append(text[last : begin + 1])
            last = begin + 1
        return wedge.join([*pieces, text[last:]])

    @cached_property
    def _spelled(self) -> MarkerFinder:
        return MarkerFinder(text for text in self._tokenizer.special if len(text) > 1)


def chat_characters(messages: Sequence[Message], tools: Tools) -> int:
    return sum(message.characters for message in messages) + sum(map(len, strings_in(tools)))


def is_known(source: str) -> bool:
    """Return whether a template is built-in or in the catalog, and so needs no limited process."""
    if source == CHATML:
        return True
    digest = sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return any(entry.chat_template_sha256 == digest for entry in catalog().values())


@dataclass(frozen=True, slots=True)
class InfillContext:
    prefix: list[int]
    suffix: list[int]
    extra: list[int]


def surroundings(
    tokenizer: Tokenizer,
    format: InfillFormat | None,
    prefix: str,
    suffix: str,
    extra: Sequence[Extra],
    budget: int,
    window: int | None = None,
) -> InfillContext:
    """Trim an infill to ``budget`` tokens, with at most ``window`` tokens around the cursor.

    The prefix keeps its end (at most 3/4 of the window) and the suffix its beginning (at most 1/4).
    The rest of the budget is for whole chunks of further files, the last chunks first. Without a
    format, all tokens are for the prefix.
    """
    near = budget if window is None else min(window, budget)
    if format is None:
        return InfillContext(_end(tokenizer, prefix, near), [], [])
    room = max(budget - len(("prefix", "suffix", "middle")), 4)
    near = min(near, room)
    before = _end(tokenizer, prefix, near * 3 // 4)
    after = tokenizer.encode(suffix[: near // 4 * CHARACTERS_PER_TOKEN], continues=True)[: near // 4]
    return InfillContext(before, after, _chunks(tokenizer, format, extra, room - len(before) - len(after)))


def infill(tokenizer: Tokenizer, format: InfillFormat | None, around: InfillContext) -> list[int]:
    """Return the ids of an infill prompt; without a format, of the prefix or a beginning token."""
    if format is None:
        start = tokenizer.bos_id if tokenizer.bos_id is not None else min(tokenizer.eos_ids, default=0)
        return with_bos(tokenizer, around.prefix) or [start]
    prefix, suffix, middle = (tokenizer.special[text] for text in (format.prefix, format.suffix, format.middle))
    match format.order:
        case "psm":
            ids = [prefix, *around.prefix, suffix, *around.suffix, middle]
        case "spm":
            ids = [suffix, *around.suffix, prefix, *around.prefix, middle]
        case "spm2":
            ids = [prefix, suffix, *around.suffix, middle, *around.prefix]
    return with_bos(tokenizer, [*around.extra, *ids])


def refuse_longer(tokenizer: Tokenizer, texts: Sequence[str], context: int | None) -> None:
    """Raise ContextLengthError for huge texts that certainly have more tokens than ``context``.

    Tokenizing megabytes takes seconds. Raise InvalidRequestError for texts that are too long for
    any context. Without ``context``, no text is refused.
    """
    size = sum(map(len, texts))
    if context is not None and size > HUGE_TEXT_CHARACTERS:
        least = sum(map(tokenizer.fewest_tokens, texts))
        if least > context:
            raise ContextLengthError(least, context, is_least=True)
        refuse_huge(size, "prompt")


def refuse_huge(size: int, param: str) -> None:
    if size > MAX_TEXT_CHARACTERS:
        sentence = (
            f"The text has {size} characters, and at most {MAX_TEXT_CHARACTERS} are tokenized at once: "
            "send it in parts."
        )
        raise InvalidRequestError(sentence, param=param)


def with_bos(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """Return the ids after a single BOS if the model expects a BOS."""
    if not tokenizer.add_bos or tokenizer.bos_id is None or ids[:1] == [tokenizer.bos_id]:
        return ids
    return [tokenizer.bos_id, *ids]


def _end(tokenizer: Tokenizer, text: str, limit: int) -> list[int]:
    """Return the ids of the end of a text, at most ``limit``, from the beginning of a line.

    A longer text is cut to between ``limit / 2`` and ``limit`` ids. A hash of the lines selects the
    cut: while the user types, the prompt begins at the same line and stays in the cache.
    """
    near = text[-limit * CHARACTERS_PER_TOKEN :] if limit else ""
    ids = tokenizer.encode(near, continues=True)
    if len(ids) <= limit and len(near) == len(text):
        return ids
    data = near.encode()
    ends = list(accumulate(len(tokenizer.token_bytes(id)) for id in ids))
    earliest = ends[-limit - 1] if len(ids) > limit else 1
    latest = ends[-(limit // 2) - 1] if len(ids) > limit // 2 else len(data)
    lines = [match.end() for match in re.finditer(rb"\n", data) if earliest <= match.end() <= latest]
    if not lines:  # A single line that is too long: drop leading tokens in steps of a quarter of the limit.
        stride = max(limit // 4, 1)
        return ids[-(-max(len(ids) - limit, 0) // stride) * stride :]
    begin = min(lines, key=lambda at: zlib.crc32(b"\n".join(data[at:].split(b"\n", LANDMARK_LINES)[:LANDMARK_LINES])))
    return tokenizer.encode(data[begin:].decode(), continues=True)[-limit:]


def _chunks(tokenizer: Tokenizer, format: InfillFormat, extra: Sequence[Extra], room: int) -> list[int]:
    if format.file is None or not extra:
        return []
    head = (
        [] if format.repo is None else [tokenizer.special[format.repo], *tokenizer.encode("project\n", continues=True)]
    )
    kept: list[int] = []
    for chunk in reversed(extra):
        if tokenizer.fewest_tokens(chunk.text) > room:
            break
        ids = [tokenizer.special[format.file], *tokenizer.encode(f"{chunk.filename}\n{chunk.text}", continues=True)]
        if len(head) + len(ids) + len(kept) > room:
            break
        kept = ids + kept
    return head + kept if kept else []
