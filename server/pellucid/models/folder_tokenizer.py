"""A tokenizer out of a model's folder: ``tokenizer.json``, or else sentencepiece's ``tokenizer.model``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import ModelError
from pellucid.models import byte_level, metaspace, sentencepiece_model
from pellucid.models.sentencepiece_model import PieceType
from pellucid.models.tokenizer import Conventions, PrefixSpace, Tokenizer, Vocabulary, end_ids, is_marker

Json = dict[str, Any]
"""A JSON object, whose values are looked at before they are used."""


@dataclass(frozen=True, slots=True)
class _Added:
    """A token added to the vocabulary, as ``tokenizer.json`` and ``tokenizer_config.json`` describe it."""

    id: int
    text: str
    control: bool
    strip_left: bool
    strip_right: bool


@dataclass(frozen=True, slots=True)
class _Prefix:
    """When a prefix space is put, and whether after special tokens too."""

    space: PrefixSpace = PrefixSpace.NEVER
    after_special: bool = True


def read_tokenizer(folder: Path, vocab_size: int = 0) -> Tokenizer:
    """The tokenizer of a folder; ``vocab_size`` is the model's number of logits, where it has more than the tokenizer.

    Raises ModelError where the folder has none, or one that cannot be read.
    """
    if (folder / "tokenizer.json").is_file():
        return _from_json(folder, vocab_size)
    if (folder / "tokenizer.model").is_file():
        return _from_sentencepiece(folder, vocab_size)
    raise ModelError(f"{folder} has neither tokenizer.json nor tokenizer.model: the model cannot read text without one.")


def read_json(path: Path) -> Json:
    """The object in a JSON file; empty where there is no file. Raises ModelError for one that cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds a {type(value).__name__} where an object belongs.")
    return value


def _from_json(folder: Path, vocab_size: int) -> Tokenizer:
    data = read_json(folder / "tokenizer.json")
    config = read_json(folder / "tokenizer_config.json")
    try:
        added = _added_tokens(data, config)
        starts_with = _template_start(data.get("post_processor"))
        prefix = _take_prefix(data)
        special = _take_markers(data, added)
        byte_pieces = _names_type(data.get("pre_tokenizer"), "ByteLevel") or _names_type(data.get("decoder"), "ByteLevel")
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / 'tokenizer.json'} is not shaped as a tokenizer ({error!r}): fetch it again.") from None
    encode, pieces = _backend(folder / "tokenizer.json", data)
    markers = {token.text: token.id for token in added if token.text in special}
    vocabulary = Vocabulary(
        lambda: (byte_level.undo_letters if byte_pieces else metaspace.true_bytes)(pieces()),
        max([vocab_size, *(id + 1 for id in markers.values()), len(pieces())]),
        markers,
        frozenset(token.id for token in added if token.strip_left),
        frozenset(token.id for token in added if token.strip_right),
    )
    return Tokenizer(encode, vocabulary, _conventions(folder, config, markers, prefix, starts_with))


def _backend(path: Path, data: Json) -> tuple[Callable[[str], list[int]], Callable[[], list[str | None]]]:
    """Text to ids, and the pieces in order of their ids, by the tokenizers library."""
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_str(json.dumps(data))
    except Exception as error:  # the library raises no narrower class
        raise ModelError(f"{path} cannot be read by the tokenizers library: {error}.") from None

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    def pieces() -> list[str | None]:
        ids = backend.get_vocab(with_added_tokens=True)
        out: list[str | None] = [None] * (max(ids.values(), default=-1) + 1)
        for piece, id in ids.items():
            out[id] = piece
        return out

    return encode, pieces


def _added_tokens(data: Json, config: Json) -> list[_Added]:
    described = {int(token["id"]): token for token in data.get("added_tokens") or []}
    for id, token in (config.get("added_tokens_decoder") or {}).items():
        described.setdefault(int(id), token)
    return [_added(id, token) for id, token in sorted(described.items())]


def _added(id: int, token: Json) -> _Added:
    return _Added(id, str(token["content"]), token.get("special") is True, token.get("lstrip") is True, token.get("rstrip") is True)


def _take_markers(data: Json, added: list[_Added]) -> set[str]:
    """Take the markers out of a ``tokenizer.json``, so that no text becomes one: give their texts.

    What is left of the added tokens are pieces of text; they are put into the vocabulary, which keeps their ids.
    """
    markers = {token.text for token in added if is_marker(token.text, control=token.control)}
    model = data["model"]
    data["added_tokens"] = [token for token in data.get("added_tokens") or [] if token["content"] not in markers]
    data["post_processor"] = data["truncation"] = data["padding"] = None
    if isinstance(model["vocab"], dict):
        for token in data["added_tokens"]:
            model["vocab"].setdefault(token["content"], token["id"])
        for text in markers - {model.get("unk_token")}:
            if model.get("ignore_merges"):  # such a model takes a whole word where the vocabulary has it
                model["vocab"].pop(text, None)
    return markers


def _take_prefix(data: Json) -> _Prefix:
    """Take the prefix space out of a ``tokenizer.json``, where it is decided by position: that is the tokenizer's to decide.

    Composition to NFC or NFKC goes too: it would change the text, and the probabilities are those of the text as it stands.
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
    return [found for part in step[inner] for found in _flat(part, inner)] if step["type"] == "Sequence" else [step]


def _names_type(step: Json | None, name: str) -> bool:
    if not step:
        return False
    parts = [*(step.get("pretokenizers") or []), *(step.get("decoders") or [])]
    return step["type"] == name or any(_names_type(part, name) for part in parts)


def _template_start(processor: Json | None) -> str | None:
    """The special token that a post-processor puts in front of a text."""
    if not processor:
        return None
    if processor["type"] == "Sequence":
        return next((found for part in processor["processors"] if (found := _template_start(part))), None)
    single = processor.get("single") or []
    return str(single[0]["SpecialToken"]["id"]) if single and "SpecialToken" in single[0] else None


def _from_sentencepiece(folder: Path, vocab_size: int) -> Tokenizer:
    config = read_json(folder / "tokenizer_config.json")
    data = (folder / "tokenizer.model").read_bytes()
    read, prefixed = sentencepiece_model.read(data)
    pieces, special = metaspace.split_markers(read)
    texts: list[str | None] = [piece.text if piece.type is not PieceType.UNUSED else None for piece in pieces]
    added = _added_tokens({}, config)
    extra = read_json(folder / "added_tokens.json")
    special |= {token.text: token.id for token in added if is_marker(token.text, control=token.control)}
    special |= {text: id for text, id in extra.items() if isinstance(id, int) and id >= len(texts)}
    size = max([vocab_size, len(texts), *(id + 1 for id in special.values())])
    vocabulary = Vocabulary(
        lambda: metaspace.true_bytes(texts),
        size,
        special,
        frozenset(token.id for token in added if token.strip_left),
        frozenset(token.id for token in added if token.strip_right),
    )
    prefix = _Prefix(PrefixSpace.ALWAYS, after_special=config.get("legacy") is not False) if prefixed else _Prefix()
    encode = metaspace.encoder(sentencepiece_model.rewrite(data, pieces))
    return Tokenizer(encode, vocabulary, _conventions(folder, config, special, prefix, "<s>" if "<s>" in special else None))


def _conventions(folder: Path, config: Json, special: Mapping[str, int], prefix: _Prefix, starts_with: str | None) -> Conventions:
    named = special.get(_text(config.get("bos_token")) or starts_with or "")
    add_bos = config.get("add_bos_token")
    stated: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        ids = read_json(folder / file).get("eos_token_id")
        stated.update(id for id in (ids if isinstance(ids, list) else [ids]) if isinstance(id, int))
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


def _text(token: object) -> str | None:
    """The text of a token that is given as a string or as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _chat_template(folder: Path, config: Json) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template") or read_json(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((entry.get("template") for entry in template if isinstance(entry, dict) and entry.get("name") == "default"), None)
    return template if isinstance(template, str) else None
