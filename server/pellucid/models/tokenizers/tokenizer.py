"""Conversion of text to ids, and of ids to bytes. Text like a special token stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.markers_in_text import MarkerFinder

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
"""Special tokens that always end a turn or a text."""

_PLAIN_TAG = re.compile(r"</?[a-z][a-z0-9]*>")


class PrefixSpace(Enum):
    """The rule for the space that a sentencepiece-like tokenizer puts before a text."""

    NEVER = "never"
    ALWAYS = "always"
    UNLESS_SPACE = "unless space"
    """Only if the text does not begin with a space."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of every id (None for an unused id), and the markers by text.

    The markers in ``strip_left`` and ``strip_right`` remove adjacent white space.
    """

    pieces: Callable[[], list[bytes | None]]
    size: int
    special: Mapping[str, int]
    strip_left: frozenset[int] = frozenset()
    strip_right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Conventions:
    """The rules for the beginning and end of a model's texts.

    ``eos_ids`` are all ids that end a turn or a text. With ``prefix_after_special``, a text after a
    special token also gets a prefix space, not only the first text.
    """

    bos_id: int | None = None
    add_bos: bool = False
    eos_ids: frozenset[int] = frozenset()
    chat_template: str | None = None
    prefix: PrefixSpace = PrefixSpace.NEVER
    prefix_after_special: bool = True


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer. ``encode_text`` encodes plain text, without additions or markers.

    If ``apart`` is true, encoding waits for another process (up to seconds for a hostile
    tokenizer), so an event loop must not call ``encode``. A ``byte_level`` tokenizer drops no byte
    with a token.
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
        return self.words.size

    @property
    def special(self) -> dict[str, int]:
        return dict(self.words.special)

    @property
    def bos_id(self) -> int | None:
        return self.conventions.bos_id

    @property
    def add_bos(self) -> bool:
        return self.conventions.add_bos

    @property
    def eos_ids(self) -> frozenset[int]:
        return self.conventions.eos_ids

    @property
    def chat_template(self) -> str | None:
        return self.conventions.chat_template

    @property
    def prefix_space(self) -> bool:
        """True if a space is added before the first token of a text."""
        return self.conventions.prefix is not PrefixSpace.NEVER

    def encode(self, text: str, *, special: bool = False, continues: bool = False) -> list[int]:
        """Encode a text, without BOS.

        With ``special``, the text of a marker becomes the marker (the longest if several match).
        With ``continues``, the text follows earlier text and gets no prefix space. Raises
        InvalidRequestError for a lone surrogate.
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
        """Return a lower bound of the number of tokens, by length alone; 0 if unknown."""
        if not self.byte_level or self.words.strip_left or self.words.strip_right:
            return 0
        dropped, longest = self._lengths
        return -(-len(text.encode(errors="ignore").translate(None, dropped)) // longest)

    def token_bytes(self, id: int) -> bytes:
        """Return the bytes of a token, even a part of a character.

        For a marker: the bytes of its text. For an unused id: b"". Raises IndexError outside of the
        vocabulary.
        """
        if id < 0:
            raise IndexError(id)
        return self.vocabulary()[id]

    def is_special(self, id: int) -> bool:
        """Return whether an id is a marker or unused."""
        return id in self._special_ids or not self.vocabulary()[id]

    def vocabulary(self) -> list[bytes]:
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
        """The bytes without a token, and the length of the longest token."""
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
    """Return whether an added token is a marker, not an unsplittable piece of text.

    White space and plain tags such as ``<h1>`` are text unless flagged as control tokens. The flag
    alone is not enough, because models flag too few markers: Qwen's ``<|fim_middle|>`` is not
    "special" in tokenizer.json.
    """
    return control or not (text.replace("\u2581", " ").isspace() or _PLAIN_TAG.fullmatch(text))


def end_ids(special: Mapping[str, int], stated: frozenset[int]) -> frozenset[int]:
    """Return the stated end ids, and the ids of all end markers in the vocabulary."""
    return stated | {special[text] for text in END_MARKERS if text in special}


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"The text contains half a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}: "
            "send whole characters."
        ) from None
