"""The tokenizer of a folder: ``tokenizer.json``, else sentencepiece's ``tokenizer.model``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import ModelError
from pellucid.models.tokenizers import byte_level, metaspace, sentencepiece_proto
from pellucid.models.tokenizers.linear_time_tokenizers import is_harmless
from pellucid.models.tokenizers.markers_in_text import MAX_MARKER
from pellucid.models.tokenizers.sentencepiece_proto import PieceType
from pellucid.models.tokenizers.tokenizer import Conventions, PrefixSpace, Tokenizer, Vocabulary, end_ids, is_marker
from pellucid.models.tokenizers.tokenizer_backends import MAX_IDS, TextEncoder, apart, by_tokenizers
from pellucid.models.untrusted_files import (
    Json,
    damage_explained,
    read_bytes,
    read_json,
    read_text,
    reason,
    shown,
    token_id,
)

logger = logging.getLogger(__name__)

_MAX_MARKERS = 1 << 14
_MAX_TEMPLATE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Added:
    """An added token, from ``tokenizer.json`` and ``tokenizer_config.json``."""

    id: int
    text: str
    control: bool
    strip_left: bool
    strip_right: bool


@dataclass(frozen=True, slots=True)
class _Prefix:
    space: PrefixSpace = PrefixSpace.NEVER
    after_special: bool = True


def read_tokenizer(folder: Path, vocab_size: int = 0) -> Tokenizer:
    """Read the tokenizer of a folder.

    ``vocab_size`` is the model's number of logits, if larger than the tokenizer's vocabulary.
    """
    if (folder / "tokenizer.json").is_file():
        with damage_explained(folder / "tokenizer.json"):
            return _from_json(folder, vocab_size)
    if (folder / "tokenizer.model").is_file():
        with damage_explained(folder / "tokenizer.model"):
            return _from_sentencepiece(folder, vocab_size)
    raise ModelError(
        f"{folder} has neither tokenizer.json nor tokenizer.model: the model cannot read text without one."
    )


def _from_json(folder: Path, vocab_size: int) -> Tokenizer:
    path = folder / "tokenizer.json"
    data = read_json(path)
    config = read_json(folder / "tokenizer_config.json")
    try:
        added = _added_tokens(path, data, config)
        starts_with = _template_start(data.get("post_processor"))
        prefix = _take_prefix(data)
        special = _take_markers(data, added)
        byte_pieces = _names_type(data.get("pre_tokenizer"), "ByteLevel") or _names_type(
            data.get("decoder"), "ByteLevel"
        )
        harmless = is_harmless(data, byte_level.PATTERNS)
        drops = any(step.get("behavior") == "Removed" for step in _flat(data.get("pre_tokenizer"), "pretokenizers"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is not a valid tokenizer ({reason(error)}): download it again.") from None
    encoder = _encoder(path, data, harmless=harmless)
    pieces = encoder.pieces()
    markers = _fitting(path, {token.text: token.id for token in added if token.text in special}, pieces, vocab_size)
    vocabulary = Vocabulary(
        lambda: (byte_level.undo_letters if byte_pieces else metaspace.true_bytes)(pieces),
        max([vocab_size, *(id + 1 for id in markers.values()), 0 if vocab_size else len(pieces)]),
        markers,
        frozenset(token.id for token in added if token.strip_left),
        frozenset(token.id for token in added if token.strip_right),
    )
    conventions = _conventions(folder, config, vocabulary, prefix, starts_with)
    return Tokenizer(
        encoder.encode, vocabulary, conventions, encoder.apart, byte_level=byte_pieces and harmless and not drops
    )


def _fitting(path: Path, markers: Mapping[str, int], pieces: list[str | None], vocab_size: int) -> dict[str, int]:
    """Return the markers below ``vocab_size``, and cut ``pieces`` to the size.

    Some folders add a marker without an embedding, for example for padding. Raises ModelError if a
    piece of text is beyond the size.
    """
    if not vocab_size:
        return dict(markers)
    kept = {text: id for text, id in markers.items() if id < vocab_size}
    beyond = next((piece for piece in pieces[vocab_size:] if piece is not None and piece not in markers), None)
    if beyond is not None:
        raise ModelError(
            f"{path} has the piece {shown(beyond)}, whose id is beyond the {vocab_size} of the model: "
            "it belongs to another model."
        )
    if len(kept) < len(markers):
        logger.warning(
            "%s has %d markers without an id in the model, which are treated as text", path, len(markers) - len(kept)
        )
    del pieces[vocab_size:]
    return kept


def _encoder(path: Path, data: Json, *, harmless: bool) -> TextEncoder:
    """Return an encoder of the tokenizers library, in a separate process unless ``harmless``."""
    if not harmless:
        return apart(path, tokenizer_json=json.dumps(data))
    try:
        return by_tokenizers(json.dumps(data))
    except Exception as error:  # The library raises no narrower class.
        raise ModelError(f"{path} cannot be read by the tokenizers library: {reason(error)}.") from None


def _added_tokens(path: Path, data: Json, config: Json) -> list[_Added]:
    described = {_id(path, token["id"]): token for token in data.get("added_tokens") or []}
    for id, token in (config.get("added_tokens_decoder") or {}).items():
        described.setdefault(_id(path, int(id)), token)
    if len(described) > _MAX_MARKERS:
        raise ModelError(
            f"{path} adds {len(described)} tokens to its vocabulary; at most {_MAX_MARKERS} are supported."
        )
    return [_added(path, id, token) for id, token in sorted(described.items()) if token["content"]]


def _id(path: Path, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_IDS:
        raise ModelError(f"{path} gives a token the id {shown(value)}; it must be a whole number below {MAX_IDS}.")
    return value


def _added(path: Path, id: int, token: Json) -> _Added:
    text = token["content"]
    if not isinstance(text, str) or len(text) > MAX_MARKER or not _is_unicode(text):
        raise ModelError(
            f"{path} gives the token {id} the text {shown(text)}; it must have up to {MAX_MARKER} characters."
        )
    return _Added(id, text, token.get("special") is True, token.get("lstrip") is True, token.get("rstrip") is True)


def _is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogates, which JSON permits and UTF-8 does not."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _take_markers(data: Json, added: list[_Added]) -> set[str]:
    """Remove the markers from a ``tokenizer.json``, so no text becomes a marker; return the texts.

    All other added tokens are pieces of text and move to the vocabulary with the same ids.
    """
    markers = {token.text for token in added if is_marker(token.text, control=token.control)}
    model = data["model"]
    data["added_tokens"] = [token for token in data.get("added_tokens") or [] if token["content"] not in markers]
    data["post_processor"] = data["truncation"] = data["padding"] = None
    if isinstance(model["vocab"], dict):
        for token in data["added_tokens"]:
            model["vocab"].setdefault(token["content"], token["id"])
        for text in markers - {model.get("unk_token")}:
            if model.get("ignore_merges"):  # Such a model takes a word of the vocabulary whole.
                model["vocab"].pop(text, None)
    return markers


def _take_prefix(data: Json) -> _Prefix:
    """Remove the prefix space from a ``tokenizer.json``; return the rule for the tokenizer.

    NFC and NFKC are removed, too: both would change the text, and probabilities are for the
    unchanged text.
    """
    prefix = _Prefix()
    normalizer = _flat(data.get("normalizer"), "normalizers")
    if any(step["type"] == "Prepend" for step in normalizer):
        prefix = _Prefix(PrefixSpace.ALWAYS)
    kept = [step for step in normalizer if step["type"] not in ("Prepend", "NFC", "NFKC")]
    data["normalizer"] = {"type": "Sequence", "normalizers": kept} if kept else None
    for step in _flat(data.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Metaspace":
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            if scheme != "never":
                prefix = _Prefix(PrefixSpace.UNLESS_SPACE, after_special=scheme == "always")
            step["prepend_scheme"] = "never"
            step.pop("add_prefix_space", None)
        elif step["type"] == "ByteLevel":
            if step.get("add_prefix_space"):
                prefix = _Prefix(PrefixSpace.UNLESS_SPACE)
            step["add_prefix_space"] = False
    return prefix


def _flat(step: Json | None, inner: str) -> list[Json]:
    if not step:
        return []
    return [leaf for part in step[inner] for leaf in _flat(part, inner)] if step["type"] == "Sequence" else [step]


def _names_type(step: Json | None, name: str) -> bool:
    if not step:
        return False
    parts = [*(step.get("pretokenizers") or []), *(step.get("decoders") or [])]
    return step["type"] == name or any(_names_type(part, name) for part in parts)


def _template_start(processor: Json | None) -> str | None:
    """Return the token that a post-processor puts before a text."""
    if not processor:
        return None
    if processor["type"] == "Sequence":
        return next((token for part in processor["processors"] if (token := _template_start(part))), None)
    single = processor.get("single") or []
    return str(single[0]["SpecialToken"]["id"]) if single and "SpecialToken" in single[0] else None


def _from_sentencepiece(folder: Path, vocab_size: int) -> Tokenizer:
    path = folder / "tokenizer.model"
    config = read_json(folder / "tokenizer_config.json")
    data = read_bytes(path)
    read, prefixed = sentencepiece_proto.read(data)
    pieces, special = metaspace.split_markers(read)
    texts: list[str | None] = [piece.text if piece.type is not PieceType.UNUSED else None for piece in pieces]
    added = _added_tokens(path, {}, config)
    extra = read_json(folder / "added_tokens.json")
    special |= {token.text: token.id for token in added if is_marker(token.text, control=token.control)}
    special |= {
        text: _id(path, id) for text, id in extra.items() if text and _is_unicode(text) and _id(path, id) >= len(texts)
    }
    special = _fitting(path, special, texts, vocab_size)
    vocabulary = Vocabulary(
        lambda: metaspace.true_bytes(texts),
        max([vocab_size, len(texts), *(id + 1 for id in special.values())]),
        special,
        frozenset(token.id for token in added if token.strip_left),
        frozenset(token.id for token in added if token.strip_right),
    )
    prefix = _Prefix(PrefixSpace.ALWAYS, after_special=config.get("legacy") is not False) if prefixed else _Prefix()
    encoder = metaspace.encoder(path, sentencepiece_proto.rewrite(data, pieces))
    conventions = _conventions(folder, config, vocabulary, prefix, "<s>" if "<s>" in special else None)
    return Tokenizer(encoder.encode, vocabulary, conventions, apart=encoder.apart)


def _conventions(
    folder: Path, config: Json, vocabulary: Vocabulary, prefix: _Prefix, starts_with: str | None
) -> Conventions:
    special = vocabulary.special
    named = special.get(_text(config.get("bos_token")) or starts_with or "")
    add_bos = config.get("add_bos_token")
    stated: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        stated |= _stated_ends(folder / file, vocabulary.size)
    eos = special.get(_text(config.get("eos_token")) or "")
    if eos is not None:
        stated.add(eos)
    return Conventions(
        bos_id=named,
        add_bos=named is not None and (add_bos if isinstance(add_bos, bool) else starts_with is not None),
        eos_ids=end_ids(special, frozenset(stated)),
        chat_template=_chat_template(folder, config),
        prefix=prefix.space,
        prefix_after_special=prefix.after_special,
    )


def _stated_ends(path: Path, size: int) -> set[int]:
    """Raise ModelError for any value except an id or a list of ids."""
    stated = read_json(path).get("eos_token_id")
    ids = (token_id(path, "eos_token_id", id, size) for id in (stated if isinstance(stated, list) else [stated]))
    return {id for id in ids if id is not None}


def _text(token: object) -> str | None:
    """Return the text of a token given as a string or an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _chat_template(folder: Path, config: Json) -> str | None:
    file = folder / "chat_template.jinja"
    if file.exists():
        return read_text(file, _MAX_TEMPLATE)
    template = config.get("chat_template") or read_json(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # Several templates by name.
        template = next(
            (entry.get("template") for entry in template if isinstance(entry, dict) and entry.get("name") == "default"),
            None,
        )
    if not isinstance(template, str):
        return None
    if len(template) > _MAX_TEMPLATE or not _is_unicode(template):
        raise ModelError(
            f"{folder} has a chat template of more than {_MAX_TEMPLATE} characters, or one with half a surrogate pair."
        )
    return template
