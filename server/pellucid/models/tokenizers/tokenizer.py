"""Turns text into ids, and ids into their true bytes.

Text that spells a special token stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.marker_finder import MarkerFinder

END_MARKERS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|endofturn|>",
    "<|EOT|>",
    "<end_of_turn>",
    "<eos>",
    "<EOT>",
    "</s>",
    "<｜end▁of▁sentence｜>",  # noqa: RUF001 - the token's own letters
)
"""Special tokens that end a turn or a text in every model that has them."""

_PLAIN_TAG = re.compile(r"</?[a-z][a-z0-9]*>")


class PrefixSpace(Enum):
    """The rule by which a sentencepiece-like tokenizer puts a space before a text."""

    NEVER = "never"
    ALWAYS = "always"
    UNLESS_SPACE = "unless space"
    """Only if the text does not begin with one."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of every id (None for an unused id), and the markers by their text.

    ``strip_left`` and ``strip_right`` are markers that remove the white space on that side of them.
    """

    pieces: Callable[[], list[bytes | None]]
    size: int
    special: Mapping[str, int]
    strip_left: frozenset[int] = frozenset()
    strip_right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Conventions:
    """The rules for the beginning and end of a model's texts.

    ``eos_ids`` are all ids that end a turn or a text.

    With ``prefix_after_special``, a text after a special token also gets a prefix space, not only
    the first one.
    """

    bos_id: int | None = None
    add_bos: bool = False
    eos_ids: frozenset[int] = frozenset()
    chat_template: str | None = None
    prefix: PrefixSpace = PrefixSpace.NEVER
    prefix_after_special: bool = True


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer. ``encode_text`` turns plain text into ids; it adds nothing and knows no markers.

    If ``apart`` is true, encoding waits for another process, up to seconds for a hostile tokenizer,
    so it must not be called on an event loop. A ``byte_level`` tokenizer drops no byte of a text
    that the vocabulary has as a token.
    """

    encode_text: Callable[[str], list[int]]
    words: Vocabulary
    conventions: Conventions = field(default_factory=Conventions)
    apart: bool = False
    byte_level: bool = False

    def __post_init__(self) -> None:
        """Raise ModelError for invalid markers now, not at the first request."""
        assert self._markers is not None

    @property
    def vocab_size(self) -> int:
        """Number of ids, including unused ones."""
        return self.words.size

    @property
    def special(self) -> dict[str, int]:
        """Every marker (added or control token) by its text."""
        return dict(self.words.special)

    @property
    def bos_id(self) -> int | None:
        """Id that begins a text, if the model has one."""
        return self.conventions.bos_id

    @property
    def add_bos(self) -> bool:
        """True if the model expects ``bos_id`` before every text."""
        return self.conventions.add_bos

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every id that ends a turn or a text."""
        return self.conventions.eos_ids

    @property
    def chat_template(self) -> str | None:
        """Jinja template of the model for chats."""
        return self.conventions.chat_template

    @property
    def prefix_space(self) -> bool:
        """True if the first token of a text has a space that was not in the text."""
        return self.conventions.prefix is not PrefixSpace.NEVER

    def encode(self, text: str, *, special: bool = False, continues: bool = False) -> list[int]:
        """Encode a text, without BOS.

        With ``special``, text that spells a marker becomes that marker (the longest one if several
        fit); without, it stays text. ``continues`` is true if the text follows another one: it gets
        no prefix space then. Raises InvalidRequestError for a lone surrogate, which is not valid
        Unicode.
        """
        _refuse_surrogates(text)
        if not special:
            return self._encode_plain(text, first=not continues)
        ids: list[int] = []
        begin = 0
        for at, end in self._markers.find(text):
            id = self.words.special[text[at:end]]
            between = text[begin:at]
            if id in self.words.strip_left:
                between = between.rstrip()
            ids += self._encode_plain(between, first=self._is_prefixed(begin, continues))
            ids.append(id)
            begin = end
            if id in self.words.strip_right:
                begin += len(text) - begin - len(text[begin:].lstrip())
        return ids + self._encode_plain(text[begin:], first=self._is_prefixed(begin, continues))

    def fewest_tokens(self, text: str) -> int:
        """Return a number of tokens that a text has at least, by its length alone: 0 where nothing is certain without encoding it."""
        if not self.byte_level or self.words.strip_left or self.words.strip_right:
            return 0
        dropped, longest = self._lengths
        return -(-len(text.encode(errors="ignore").translate(None, dropped)) // longest)

    def token_bytes(self, id: int) -> bytes:
        """Return the true bytes of a token, even of half a character.

        A marker has those of its text, an unused id none.

        Raises IndexError for an id outside of the vocabulary.
        """
        if id < 0:
            raise IndexError(id)
        return self.vocabulary()[id]

    def is_special(self, id: int) -> bool:
        """Return whether an id is a marker or unused, and so not text."""
        return id in self._special_ids or not self.vocabulary()[id]

    def vocabulary(self) -> list[bytes]:
        """Return the bytes of every id, in order of the ids."""
        return self._vocabulary

    def _is_prefixed(self, begin: int, continues: bool) -> bool:
        return not continues if begin == 0 else self.conventions.prefix_after_special

    def _encode_plain(self, text: str, *, first: bool) -> list[int]:
        prefix = self.conventions.prefix
        if not text:
            return []
        if first and (
            prefix is PrefixSpace.ALWAYS or (prefix is PrefixSpace.UNLESS_SPACE and not text.startswith(" "))
        ):
            text = " " + text
        return self.encode_text(text)

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.words.special.values())

    @cached_property
    def _lengths(self) -> tuple[bytes, int]:
        """The bytes that are no tokens, and the length of the longest token."""
        known = {piece[0] for piece in self._vocabulary if len(piece) == 1}
        return bytes(byte for byte in range(256) if byte not in known), max(map(len, self._vocabulary))

    @cached_property
    def _markers(self) -> MarkerFinder:
        return MarkerFinder(self.words.special)

    @cached_property
    def _vocabulary(self) -> list[bytes]:
        pieces = self.words.pieces()
        missing: list[bytes | None] = [None] * (self.words.size - len(pieces))
        out = [piece or b"" for piece in pieces + missing]
        for text, id in self.words.special.items():
            out[id] = text.encode()
        return out


def is_marker(text: str, *, control: bool) -> bool:
    """Return whether an added token is a marker, as opposed to a piece of text that its tokenizer keeps whole.

    Runs of white space and plain tags such as ``<h1>`` are text unless they are flagged as control
    tokens. That flag alone is not enough, because models flag too few of their markers: Qwen's
    ``<|fim_middle|>`` is not "special" in its tokenizer.json.
    """
    return control or not (text.replace("\u2581", " ").isspace() or _PLAIN_TAG.fullmatch(text))


def end_ids(special: Mapping[str, int], stated: frozenset[int]) -> frozenset[int]:
    """Return the end ids that a model states, and those of the end markers that it has."""
    return stated | {special[text] for text in END_MARKERS if text in special}


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"The text contains half a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}: send whole characters."
        ) from None
