"""The tokenizer in a GGUF file: byte-level BPE (``gpt2``) or sentencepiece (``llama``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.formats.gguf import GGUF
from pellucid.models.tokenizers import byte_level, metaspace, sentencepiece_proto
from pellucid.models.tokenizers.sentencepiece_proto import PieceType, VocabularyPiece
from pellucid.models.tokenizers.tokenizer import Conventions, PrefixSpace, Tokenizer, Vocabulary, end_ids, is_marker
from pellucid.models.untrusted_files import damage_explained

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend


def read_tokenizer(file: GGUF, vocab_size: int = 0) -> Tokenizer:
    """Read the tokenizer of a GGUF file.

    ``vocab_size`` is the model's number of logits, if larger than the tokenizer's vocabulary.
    """
    with damage_explained(file.path):
        return _read(file, vocab_size)


def _read(file: GGUF, vocab_size: int) -> Tokenizer:
    texts, types = _entries(file)
    if vocab_size and len(texts) > vocab_size:
        raise ModelError(
            f"{file.path} has {len(texts)} tokens, but weights for only {vocab_size} of them: it is damaged; "
            "download it again."
        )
    kind = file.require("tokenizer.ggml.model", str)
    if kind == "gpt2":
        return _byte_level(file, texts, types, vocab_size)
    if kind == "llama":
        return _sentencepiece(file, texts, types, vocab_size)
    raise ModelError(
        f"{file.path} has a tokenizer of the kind {kind!r}; only gpt2 and llama are supported: "
        "use the safetensors folder."
    )


def save_tokenizer(file: GGUF, folder: Path) -> None:
    """Write the tokenizer to a folder in Hugging Face's layout.

    Raises NotSupportedError for any tokenizer except byte-level BPE.
    """
    from tokenizers import AddedToken
    from tokenizers.decoders import ByteLevel

    if file.require("tokenizer.ggml.model", str) != "gpt2":
        raise NotSupportedError(
            f"The tokenizer of {file.path} cannot be written to a folder: use the model's safetensors folder."
        )
    texts, types = _entries(file)
    special, literal, words = _sorted(texts, types)
    backend = _bpe(file, words | special, literal, file.get("tokenizer.ggml.pre", "default"))
    backend.decoder = ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    conventions = read_tokenizer(file).conventions
    end = file.id_under("tokenizer.ggml.eos_token_id", len(texts))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": conventions.add_bos,
        "bos_token": None if conventions.bos_id is None else texts[conventions.bos_id],
        "eos_token": None if end is None else texts[end],
        "chat_template": conventions.chat_template,
        "clean_up_tokenization_spaces": False,
    }
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def _entries(file: GGUF) -> tuple[list[str], list[PieceType]]:
    texts = file.list_of("tokenizer.ggml.tokens", str)
    kinds = file.list_of("tokenizer.ggml.token_type", int) or [int(PieceType.NORMAL)] * len(texts)
    if not texts or len(kinds) != len(texts):
        raise ModelError(
            f"{file.path} has {len(texts)} tokens and {len(kinds)} token types: it is damaged; download it again."
        )
    if not set(kinds) <= set(PieceType):
        raise ModelError(f"{file.path} has a token of the unknown type {max(kinds)}: download it again.")
    types = {kind: PieceType(kind) for kind in set(kinds)}
    return texts, [types[kind] for kind in kinds]


def _sorted(texts: list[str], types: list[PieceType]) -> tuple[dict[str, int], list[str], dict[str, int]]:
    """Return markers, unsplittable words, and all words."""
    special: dict[str, int] = {}
    literal: list[str] = []
    words: dict[str, int] = {}
    normal = PieceType.NORMAL  # Looked up once: nearly all types are normal.
    for id, (text, type) in enumerate(zip(texts, types, strict=True)):
        if type is normal:
            words[text] = id
        elif type in (PieceType.CONTROL, PieceType.UNKNOWN) or (
            type is PieceType.USER_DEFINED and is_marker(text, control=False)
        ):
            special[text] = id
        elif type is not PieceType.UNUSED:
            words[text] = id
            if type is PieceType.USER_DEFINED:
                literal.append(text)
    return special, literal, words


def _byte_level(file: GGUF, texts: list[str], types: list[PieceType], vocab_size: int) -> Tokenizer:
    special, literal, words = _sorted(texts, types)
    pre = file.get("tokenizer.ggml.pre", "default")
    encode = _bpe_encoder(file, words, literal, pre)
    unused = PieceType.UNUSED
    pieces = [text if type is not unused else None for text, type in zip(texts, types, strict=True)]
    vocabulary = Vocabulary(lambda: byte_level.undo_letters(pieces), max(vocab_size, len(texts)), special)
    prefix = PrefixSpace.UNLESS_SPACE if file.get("tokenizer.ggml.add_space_prefix", False) else PrefixSpace.NEVER
    conventions = _conventions(file, special, len(texts), prefix, add_bos=pre in byte_level.BEGINS_WITH_BOS)
    return Tokenizer(encode, vocabulary, conventions, byte_level=True)


def _bpe_encoder(file: GGUF, words: dict[str, int], literal: list[str], pre: str) -> Callable[[str], list[int]]:
    backend = _bpe(file, words, literal, pre)

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _bpe(file: GGUF, words: dict[str, int], literal: list[str], pre: str) -> Backend:
    from tokenizers import AddedToken, Regex
    from tokenizers import Tokenizer as Backend
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    stated = file.list_of("tokenizer.ggml.merges", str)
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in stated)]
    if not all(map(all, merges)):
        raise ModelError(f"{file.path} has a merge that does not have two pieces: it is damaged; download it again.")
    cuts = [Split(Regex(pattern), "isolated") for pattern in byte_level.splits(pre)]
    try:
        backend = Backend(BPE(words, merges, ignore_merges=pre in byte_level.WHOLE_WORDS))
    except Exception as error:  # The library raises no narrower class.
        raise ModelError(f"{file.path} has merges that do not fit its tokens ({error}): download it again.") from None
    backend.pre_tokenizer = Sequence([*cuts, ByteLevel(add_prefix_space=False, use_regex=False)])
    backend.add_tokens([AddedToken(text, normalized=False) for text in literal])
    return backend


def _sentencepiece(file: GGUF, texts: list[str], types: list[PieceType], vocab_size: int) -> Tokenizer:
    scores = file.list_of("tokenizer.ggml.scores", float)
    if len(scores) != len(texts):
        raise ModelError(
            f"{file.path} has {len(texts)} tokens and {len(scores)} scores: it is damaged; download it again."
        )
    # A file may have user-defined pieces with spaces (Gemma 3); sentencepiece looks for U+2581.
    known = set(texts)
    marked = [
        spaces if text.isspace() and (spaces := text.replace(" ", metaspace.SPACE)) not in known else text
        for text in texts
    ]
    pieces, special = metaspace.split_markers(
        [VocabularyPiece(*piece) for piece in zip(marked, scores, types, strict=True)]
    )
    model = sentencepiece_proto.build(
        pieces,
        remove_extra_spaces=file.get("tokenizer.ggml.remove_extra_whitespaces", False),
        charsmap=file.bytes_of("tokenizer.ggml.precompiled_charsmap"),
    )
    used: list[str | None] = [piece.text if piece.type is not PieceType.UNUSED else None for piece in pieces]
    vocabulary = Vocabulary(lambda: metaspace.true_bytes(used), max(vocab_size, len(texts)), special)
    prefix = PrefixSpace.ALWAYS if file.get("tokenizer.ggml.add_space_prefix", True) else PrefixSpace.NEVER
    encoder = metaspace.encoder(file.path, model)
    conventions = _conventions(file, special, len(texts), prefix, add_bos=True)
    return Tokenizer(encoder.encode, vocabulary, conventions, apart=encoder.apart)


def _conventions(file: GGUF, special: dict[str, int], count: int, prefix: PrefixSpace, *, add_bos: bool) -> Conventions:
    bos = file.id_under("tokenizer.ggml.bos_token_id", count)
    ends = (file.id_under(f"tokenizer.ggml.{key}_token_id", count) for key in ("eos", "eot", "eom"))
    template = file.get("tokenizer.chat_template", "")
    return Conventions(
        bos_id=bos,
        add_bos=bos is not None and file.get("tokenizer.ggml.add_bos_token", add_bos),
        eos_ids=end_ids(special, frozenset(id for id in ends if id is not None)),
        chat_template=template or None,
        prefix=prefix,
    )
