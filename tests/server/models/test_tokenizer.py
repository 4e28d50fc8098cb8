"""Text to ids and back: byte-level BPE and sentencepiece, from folders and from GGUF files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pellucid.errors import InvalidRequestError, ModelError
from pellucid.models.formats.gguf import GGUF
from pellucid.models.tokenizers import byte_level as byte_letters
from pellucid.models.tokenizers import folder_tokenizer, gguf_tokenizer, sentencepiece_proto
from pellucid.models.tokenizers.markers_in_text import MAX_MARKER, MarkerFinder
from pellucid.models.tokenizers.sentencepiece_proto import PieceType
from pellucid.models.tokenizers.tokenizer import Tokenizer
from support.models.model_files import (
    CORPUS,
    MARKERS,
    add_byte_level,
    byte_level_bpe,
    spaced_bpe,
    train_sentencepiece,
    write_folder,
    write_vocabulary,
)
from support.trial_counts import trial_count

TEXTS = [
    *CORPUS[:5],
    "",
    " ",
    "  two  spaces ",
    "\ttab\r\n\r\nlines   \n",
    "naïve 你好 🎉👩‍👩‍👧 e\u0301 \u200b\x00\x7f",
    "<|im_end|> stays <|fim_middle|>",
    "</s><s>[INST] <unk>",
    "don't I'LL 12345 0x1F ½ ٣",
]
unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return folder_tokenizer.read_tokenizer(write_folder(tmp_path_factory.mktemp("byte-level"), byte_level_bpe()))


@pytest.fixture(scope="module")
def spaced(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("spaced")
    (folder / "tokenizer.model").write_bytes(train_sentencepiece())
    return folder_tokenizer.read_tokenizer(folder)


def joined(tokenizer: Tokenizer, ids: list[int]) -> bytes:
    return b"".join(map(tokenizer.token_bytes, ids))


@given(unicode_text)
@settings(max_examples=trial_count(1000), deadline=None)
def test_byte_level_bytes_join_to_the_text(byte_level: Tokenizer, text: str) -> None:
    """The bytes of the tokens of any text join to the text: nothing is normalised away."""
    assert joined(byte_level, byte_level.encode(text)) == text.encode()


@given(unicode_text.filter(lambda text: "▁" not in text))
@settings(max_examples=trial_count(1000), deadline=None)
def test_sentencepiece_bytes_join_to_the_text(spaced: Tokenizer, text: str) -> None:
    """The bytes of sentencepiece tokens join to the text, except for the prefix space."""
    assert joined(spaced, spaced.encode(text)) == (b" " + text.encode() if text else b"")
    assert joined(spaced, spaced.encode(text, continues=True)) == text.encode()


@pytest.mark.parametrize("marker", MARKERS)
def test_text_that_spells_a_marker_stays_text(byte_level: Tokenizer, marker: str) -> None:
    """A marker is a token only on request, whether or not the tokenizer's flag says special."""
    text = f"a{marker} b"
    assert byte_level.special[marker] not in byte_level.encode(text)
    assert byte_level.encode(text, special=True) == [
        *byte_level.encode("a"),
        byte_level.special[marker],
        *byte_level.encode(" b"),
    ]
    assert byte_level.token_bytes(byte_level.special[marker]) == marker.encode()
    assert byte_level.is_special(byte_level.special[marker])


def test_longest_marker_wins(tmp_path: Path) -> None:
    """If a marker begins with a shorter marker, the longer marker is found."""
    backend = byte_level_bpe()
    backend.add_special_tokens(["<|im", "<|im_end|>!"])
    tokenizer = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
    assert tokenizer.encode("<|im_end|>!<|im", special=True) == [
        tokenizer.special["<|im_end|>!"],
        tokenizer.special["<|im"],
    ]


def test_marker_may_strip_white_space(tmp_path: Path) -> None:
    """A marker with a strip flag removes white space at that side, as in transformers."""
    backend = byte_level_bpe()
    backend.add_special_tokens(
        [tokenizers.AddedToken("<|r|>", rstrip=True), tokenizers.AddedToken("<|l|>", lstrip=True)]
    )
    tokenizer = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
    text = "a <|r|> \n b \n<|l|> c<|r|>  "
    assert tokenizer.encode(text, special=True) == backend.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("piece", ["        ", "\n\n\n", "<h1>", "</table>"])
def test_added_pieces_of_text_stay_text(tmp_path: Path, piece: str) -> None:
    """Added runs of spaces and added tags are text for indentation and HTML, not markers."""
    backend = byte_level_bpe()
    backend.add_tokens([tokenizers.AddedToken(piece, normalized=False)])
    tokenizer = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
    id = backend.token_to_id(piece)
    assert id in tokenizer.encode(f"x{piece}y")
    assert tokenizer.encode(f"x{piece}y") == backend.encode(f"x{piece}y").ids
    assert tokenizer.token_bytes(id) == piece.encode()
    assert not tokenizer.is_special(id)


def metaspace(scheme: str) -> Callable[[], tokenizers.Tokenizer]:
    return lambda: spaced_bpe(None, pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False))


@pytest.mark.parametrize(
    "make",
    [
        byte_level_bpe,
        lambda: spaced_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
        metaspace("first"),
        metaspace("always"),
        metaspace("never"),
    ],
    ids=["byte-level", "prepend", "metaspace-first", "metaspace-always", "metaspace-never"],
)
def test_tokenizer_json_agrees_with_transformers(tmp_path: Path, make: Callable[[], tokenizers.Tokenizer]) -> None:
    """Ids equal transformers' ids: with markers parsed for all texts, else for texts without."""
    backend = make()
    tokenizer = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
    read: Callable[..., PreTrainedTokenizerFast] = PreTrainedTokenizerFast
    theirs = read(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        expected = theirs.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text, special=True) == expected
        if not any(marker in text for marker in tokenizer.special):
            assert tokenizer.encode(text) == expected


def test_sentencepiece_agrees_with_its_own_library() -> None:
    """Rewriting the model keeps the encoding of text."""
    data = train_sentencepiece()
    own = sentencepiece.SentencePieceProcessor(model_proto=data)
    pieces, prefixed = sentencepiece_proto.read(data)
    rewritten = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_proto.rewrite(data, pieces))
    assert prefixed
    assert [own.id_to_piece(id) for id in range(own.vocab_size())] == [piece.text for piece in pieces]
    for text in filter(None, TEXTS):
        assert rewritten.encode(" " + text) == own.encode(text)


def test_sentencepiece_marker_stays_text(spaced: Tokenizer) -> None:
    """A user-defined marker is a token only on request; a piece of spaces is always text."""
    id = spaced.special["<|turn|>"]
    assert id not in spaced.encode("a <|turn|> b")
    assert id in spaced.encode("a <|turn|> b", special=True)
    assert not any(text.isspace() or set(text) == {"▁"} for text in spaced.special)
    assert b"    " in [spaced.token_bytes(id) for id in spaced.encode("x    y")]


def test_prefix_space_only_for_the_first_text_without_legacy(tmp_path: Path) -> None:
    """Without the legacy behaviour no space is put after a special token."""
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"legacy": False}))
    tokenizer = folder_tokenizer.read_tokenizer(tmp_path)
    assert tokenizer.prefix_space
    assert joined(tokenizer, tokenizer.encode("a<|turn|>b", special=True)) == b" a<|turn|>b"


def test_gguf_sentencepiece_agrees_with_the_model_it_came_from(tmp_path: Path) -> None:
    """A tokenizer rebuilt from tokens, scores and types encodes as the original."""
    data = train_sentencepiece()
    (tmp_path / "tokenizer.model").write_bytes(data)
    pieces, _ = sentencepiece_proto.read(data)
    path = write_vocabulary(
        tmp_path / "vocabulary.gguf",
        model="llama",
        tokens=[piece.text for piece in pieces],
        scores=[piece.score for piece in pieces],
        token_type=[int(piece.type) for piece in pieces],
        bos_token_id=1,
        eos_token_id=2,
    )
    rebuilt, original = gguf_tokenizer.read_tokenizer(GGUF(path)), folder_tokenizer.read_tokenizer(tmp_path)
    for text in TEXTS:
        assert rebuilt.encode(text) == original.encode(text)
        assert rebuilt.encode(text, special=True) == original.encode(text, special=True)
    assert rebuilt.vocabulary() == original.vocabulary()
    assert rebuilt.special == original.special
    assert (rebuilt.bos_id, rebuilt.add_bos, rebuilt.eos_ids) == (1, True, frozenset({2}))


def test_gguf_byte_level_agrees_with_the_tokenizer_it_came_from(tmp_path: Path, byte_level: Tokenizer) -> None:
    """A tokenizer rebuilt from GGUF tokens and merges encodes as the original."""
    writer = gguf.GGUFWriter(tmp_path / "vocabulary.gguf", "qwen2")
    add_byte_level(writer, byte_level_bpe())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    rebuilt = gguf_tokenizer.read_tokenizer(GGUF(tmp_path / "vocabulary.gguf"))
    for text in TEXTS:
        assert rebuilt.encode(text) == byte_level.encode(text)
        assert rebuilt.encode(text, special=True) == byte_level.encode(text, special=True)
    assert rebuilt.vocabulary() == byte_level.vocabulary()
    assert rebuilt.special == byte_level.special
    assert rebuilt.eos_ids == {rebuilt.special["<|im_end|>"], rebuilt.special["<|endoftext|>"]}


def test_the_pre_tokenizer_decides_whether_digits_merge(tmp_path: Path) -> None:
    """The name of the pre-tokenizer decides whether digits merge: SmolLM2 no, GPT-2 yes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {}
    for pre in ("smollm", "gpt-2"):
        path = write_vocabulary(
            tmp_path / f"{pre}.gguf",
            model="gpt2",
            pre=pre,
            tokens=[*letters, "12"],
            token_type=[1] * 257,
            merges=["1 2"],
            bos_token_id=0,
        )
        ids[pre] = gguf_tokenizer.read_tokenizer(GGUF(path)).encode("12")
    assert ids == {"smollm": [letters.index("1"), letters.index("2")], "gpt-2": [256]}


def test_pre_tokenizers_of_recurrent_families(tmp_path: Path) -> None:
    """Qwen3.5 keeps marks with letters and parts digits; LFM2 has BOS and takes words whole."""
    published = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    assert byte_letters.splits("qwen35") == (published,)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, "12", "e\u00cc", "e\u00cc\u0123", "whole"]
    made = {}
    for pre in ("qwen2", "qwen35", "lfm2"):
        path = write_vocabulary(
            tmp_path / f"{pre}.gguf",
            model="gpt2",
            pre=pre,
            tokens=tokens,
            token_type=[1] * len(tokens),
            merges=["1 2", "e \u00cc", "e\u00cc \u0123"],
            bos_token_id=0,
        )
        made[pre] = gguf_tokenizer.read_tokenizer(GGUF(path))
    accented = "e\u0301"  # A letter and a mark: UTF-8 bytes cc and 81, of which 81 has the letter U+0123.
    assert {pre: tokenizer.encode(accented) == [258] for pre, tokenizer in made.items()} == {
        "qwen2": False,
        "qwen35": True,
        "lfm2": False,
    }
    assert [len(tokenizer.encode("12")) for tokenizer in made.values()] == [2, 2, 1]
    assert [tokenizer.conventions.add_bos for tokenizer in made.values()] == [False, False, True]
    assert [tokenizer.encode("whole") == [259] for tokenizer in made.values()] == [False, False, True]


def test_unused_ids_are_no_text(tmp_path: Path) -> None:
    """A padding entry of a vocabulary, in GGUF or beyond, has no bytes and is special."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    path = write_vocabulary(
        tmp_path / "padded.gguf", model="gpt2", pre="gpt-2", tokens=[*letters, "[PAD]"], token_type=[1] * 256 + [5]
    )
    tokenizer = gguf_tokenizer.read_tokenizer(GGUF(path), vocab_size=300)
    assert tokenizer.vocab_size == len(tokenizer.vocabulary()) == 300
    assert all(tokenizer.token_bytes(id) == b"" and tokenizer.is_special(id) for id in range(256, 300))
    assert len(tokenizer.encode("[PAD]", special=True)) == 5


def test_half_a_character_keeps_its_bytes(byte_level: Tokenizer, spaced: Tokenizer) -> None:
    """A token that ends inside a character has the character's first bytes."""
    for tokenizer in (byte_level, spaced):
        pieces = [tokenizer.token_bytes(id) for id in tokenizer.encode("🎉", continues=True)]
        assert b"".join(pieces) == "🎉".encode()
        assert pieces[0].decode(errors="replace") == "\ufffd"


def test_half_a_surrogate_pair_is_refused(byte_level: Tokenizer) -> None:
    """Invalid Unicode is refused with the position of the fault."""
    with pytest.raises(InvalidRequestError, match=r"U\+D83C\) at character 3"):
        byte_level.encode("abc\ud83c")


def test_conventions_of_a_folder(tmp_path: Path) -> None:
    """BOS, every end id and the chat template come from the folder's files."""
    backend = byte_level_bpe()
    folder = write_folder(
        tmp_path, backend, {"bos_token": {"content": "<|im_start|>"}, "add_bos_token": True, "chat_template": "{{ x }}"}
    )
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    tokenizer = folder_tokenizer.read_tokenizer(folder)
    assert (tokenizer.bos_id, tokenizer.add_bos) == (tokenizer.special["<|im_start|>"], True)
    assert tokenizer.eos_ids == {3, 4, tokenizer.special["<|im_end|>"], tokenizer.special["<|endoftext|>"]}
    assert tokenizer.chat_template == "{{ x }}"


def test_bos_of_a_post_processor(tmp_path: Path) -> None:
    """BOS is added if only the post-processor adds BOS, as in Llama 3."""
    backend = byte_level_bpe()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", backend.token_to_id("<|endoftext|>"))]
    )
    tokenizer = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
    assert (tokenizer.bos_id, tokenizer.add_bos) == (tokenizer.special["<|endoftext|>"], True)


@pytest.mark.parametrize(
    ("name", "content"), [("tokenizer.json", b"{}"), ("tokenizer.json", b"{"), ("tokenizer.model", b"\x0a\xff\xff")]
)
def test_damaged_tokenizer_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    """An unreadable tokenizer is named in one sentence."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=name):
        folder_tokenizer.read_tokenizer(tmp_path)


def test_folder_without_a_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    """A folder without a tokenizer is refused in one sentence."""
    with pytest.raises(ModelError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        folder_tokenizer.read_tokenizer(tmp_path)


def test_unknown_gguf_tokenizers_are_refused(tmp_path: Path) -> None:
    """An unknown kind of tokenizer or pre-tokenizer is refused by name, not guessed."""
    unknown = write_vocabulary(tmp_path / "kind.gguf", model="rwkv", tokens=["a"], token_type=[int(PieceType.NORMAL)])
    with pytest.raises(ModelError, match="'rwkv'"):
        gguf_tokenizer.read_tokenizer(GGUF(unknown))
    unknown = write_vocabulary(tmp_path / "pre.gguf", model="gpt2", pre="never-heard-of", tokens=["a"], token_type=[1])
    with pytest.raises(ModelError, match="'never-heard-of'"):
        gguf_tokenizer.read_tokenizer(GGUF(unknown))


class TestFewestTokens:
    @settings(max_examples=trial_count(1000), deadline=None)
    @given(
        text=st.lists(unicode_text | st.sampled_from(["a" * 50, " " * 40, "\x04\x06", "日本"]), max_size=6).map("".join)
    )
    def test_no_text_has_fewer(self, byte_level: Tokenizer, without_some_bytes: Tokenizer, text: str) -> None:
        """No text has fewer tokens than the bound, even with bytes missing in the vocabulary."""
        for tokenizer in (byte_level, without_some_bytes):
            assert tokenizer.fewest_tokens(text) <= len(tokenizer.encode(text))
            assert tokenizer.fewest_tokens(text) <= len(tokenizer.encode(text, special=True))

    def test_a_long_text_has_many(self, byte_level: Tokenizer, without_some_bytes: Tokenizer) -> None:
        """The bound grows with the text, but not with dropped bytes."""
        longest = max(map(len, byte_level.vocabulary()))
        assert byte_level.fewest_tokens("a" * 100 * longest) == 100
        assert byte_level.fewest_tokens("\x04" * 100 * longest) == 100
        assert without_some_bytes.encode("\x04" * 99) == []
        assert without_some_bytes.fewest_tokens("\x04" * 100 * longest) == 0

    def test_nothing_is_said_of_others(self, spaced: Tokenizer, tmp_path: Path) -> None:
        """For a tokenizer with unknown rules the bound is zero."""
        assert spaced.fewest_tokens("a" * 1000) == 0
        backend = byte_level_bpe()
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(r"\p{N}"), "removed"),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        removing = folder_tokenizer.read_tokenizer(write_folder(tmp_path, backend))
        assert removing.encode("123") == []
        assert removing.fewest_tokens("1" * 1000) == 0


@pytest.fixture(scope="module")
def without_some_bytes(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer without some control characters, as SmolLM2's."""
    backend = byte_level_bpe()
    data = json.loads(backend.to_str())
    for byte in (0x04, 0x06):
        del data["model"]["vocab"][byte_letters.LETTERS[byte]]
    return folder_tokenizer.read_tokenizer(
        write_folder(tmp_path_factory.mktemp("without-bytes"), tokenizers.Tokenizer.from_str(json.dumps(data)))
    )


SOME_MARKERS = st.text("ab<]^-\\", max_size=12)


@given(markers=st.sets(SOME_MARKERS.filter(bool), max_size=6), text=st.text("ab<]^-\\", max_size=40))
def test_finds_what_an_alternation_finds(markers: set[str], text: str) -> None:
    """The longest marker is found at each position, without overlaps, and all beginnings."""
    finder = MarkerFinder(markers)
    longest_first = "|".join(map(re.escape, sorted(markers, key=len, reverse=True)))
    expected = [match.span() for match in re.finditer(longest_first, text)] if markers else []
    assert list(finder.find(text)) == expected
    assert list(finder.beginnings(text)) == [at for at in range(len(text)) if text.startswith(tuple(markers), at)]


@pytest.mark.process
def test_many_markers_with_one_beginning_take_no_time() -> None:
    """Sixteen thousand markers with a common beginning are found in seconds.

    An alternation would compare 80 thousand million characters.
    """
    script = (
        "from pellucid.models.tokenizers.markers_in_text import MarkerFinder\n"
        "finder = MarkerFinder('a' * 250 + f'!{number}' for number in range(16_000))\n"
        "assert list(finder.find('a' * 20_000)) == []\n"
        "assert list(finder.beginnings('a' * 20_000 + '!7')) == [19_750]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_marker_that_is_too_long() -> None:
    """A marker longer than the maximum is refused in a sentence."""
    with pytest.raises(ModelError, match=f"a marker of 257 characters; at most {MAX_MARKER} are supported"):
        MarkerFinder(["a" * 257])


@pytest.mark.parametrize("added", ["<|a|>", "a b", "<字>"])
def test_letters_are_undone(added: str) -> None:
    """Letters become bytes, whether or not an added token has letters of its own."""
    words = [bytes(range(begin, 256, 7)) for begin in range(256)]
    pieces = ["".join(byte_letters.LETTERS[byte] for byte in word) for word in words]

    assert byte_letters.undo_letters([*pieces, None, added]) == [*words, None, added.encode()]
