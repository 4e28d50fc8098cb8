"""Adapters on disk are read as by peft, checked against the model, and merged into models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedModel

from pellucid.engine.decoders.decoder import Decoder
from pellucid.errors import AdapterError, ConfigError, NotFoundError, NotSupportedError, PellucidError
from pellucid.models.adapter import adapt, choose_base
from pellucid.models.adapter_folder import adapter_folder, local_adapter, read_card, stored_adapters
from pellucid.models.export_model import export, merge
from pellucid.models.fingerprint import fingerprint
from pellucid.models.load import LoadedModel, load, open_checkpoint
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.model_files import byte_level_bpe, logprobs, write_folder, write_gguf
from support.models.tiny_adapters import ATTENTION, merged_into, random_adapter, write_adapter
from support.models.tiny_models import (
    random_ids,
    reference_logprobs,
    tiny,
    tiny_llama,
    tiny_mistral,
    tiny_qwen2,
    tiny_qwen3,
    to_decoder,
)

by_peft = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
"""For tests in which the peft library calls renamed parts of transformers."""

VOCAB = 320
MAKERS: dict[str, Callable[..., PreTrainedModel]] = {
    "llama": tiny_llama,
    "mistral": tiny_mistral,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
}
IDS = random_ids(40)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    return tiny_llama(vocab_size=VOCAB)


@pytest.fixture
def base(tmp_path: Path, llama: PreTrainedModel) -> Path:
    return save(llama, tmp_path / "tiny")


@pytest.fixture
def loaded(base: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    return load_exactly(base, store, monkeypatch)


def save(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


def load_exactly(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """Load in float32, even where bfloat16 is fast."""
    monkeypatch.setattr("pellucid.engine.decoders.torch_packing.multiplies_bfloat16", lambda device: False)
    return load(str(path), device="cpu", quant="none", store=store, progress=Silent())


def logprobs_by_peft(model: Any) -> torch.Tensor:
    """Return the log-probabilities of peft's adapted model after each token."""
    return reference_logprobs(model, IDS)


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@by_peft
@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"alpha": 3}], ids=["plain", "rslora", "alpha 3"])
def test_agrees_with_peft(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, family: str, options: dict[str, Any]
) -> None:
    """An adapted model has the same probabilities as in peft, for the same two folders."""
    model = MAKERS[family](vocab_size=VOCAB)
    loaded = load_exactly(save(model, tmp_path / "tiny"), store, monkeypatch)
    folder = write_adapter(tmp_path / "mine", random_adapter(to_decoder(model).config, 6), **options)
    variant = adapt(loaded, read_card(folder))
    expected = logprobs_by_peft(PeftModel.from_pretrained(model, folder))
    close(logprobs(variant.model, IDS), expected)
    assert (logprobs(loaded.model, IDS) - expected).abs().max() > 0.1
    assert (variant.name, variant.base, variant.adapter and variant.adapter.name) == ("tiny:mine", "tiny", "mine")


@by_peft
def test_peft_writes_what_is_read(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder saved by peft is read, including peft's default targets."""
    model = tiny_llama(vocab_size=VOCAB)
    loaded = load_exactly(save(model, tmp_path / "tiny"), store, monkeypatch)
    trained = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=8, target_modules=list(ATTENTION), init_lora_weights=False)
    )
    trained.save_pretrained(str(tmp_path / "mine"))
    card = read_card(tmp_path / "mine")
    assert (card.rank, card.scale, card.targets) == (4, 2.0, ATTENTION)
    close(logprobs(adapt(loaded, card).model, IDS), logprobs_by_peft(trained))


@pytest.mark.parametrize("arch", ["llama", "qwen2"])
def test_gguf_base_has_the_same_order(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    """An adapter has the same effect on a GGUF file, with its permuted rows, as on the folder."""
    model = MAKERS[arch](vocab_size=VOCAB)
    loaded = load_exactly(write_gguf(tmp_path / "tiny.gguf", model, arch, byte_level_bpe(VOCAB)), store, monkeypatch)
    adapter = random_adapter(to_decoder(model).config)
    variant = adapt(loaded, read_card(write_adapter(tmp_path / "mine", adapter)))
    close(logprobs(variant.model, IDS), reference_logprobs(merged_into(model, adapter), IDS))


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_quantized_bases(tmp_path: Path, store: Store, quant: str) -> None:
    """On rounded weights, a variant's error is as small as the base's error."""
    shape: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 128}
    model = tiny_llama(**shape)
    loaded = load(str(save(model, tmp_path / "tiny")), device="cpu", quant=quant, store=store, progress=Silent())
    adapter = random_adapter(to_decoder(model).config, size=0.2)
    variant = adapt(loaded, read_card(write_adapter(tmp_path / "mine", adapter)))
    strays = (logprobs(loaded.model, IDS) - reference_logprobs(model, IDS)).abs().mean()
    exact = reference_logprobs(merged_into(model, adapter), IDS)
    assert (logprobs(variant.model, IDS) - exact).abs().mean() < 1.5 * strays
    assert (logprobs(loaded.model, IDS) - exact).abs().mean() > 2 * strays


def test_a_variant_takes_its_adapter_only(loaded: LoadedModel, tmp_path: Path) -> None:
    """A variant shares the base's tensors, and takes only the memory of the adapter."""
    assert isinstance(loaded.model, Decoder)
    adapter = random_adapter(loaded.model.config)
    variant = adapt(loaded, read_card(write_adapter(tmp_path / "mine", adapter)))
    assert isinstance(variant.model, Decoder)
    assert variant.model.weights.embedding is loaded.model.weights.embedding
    assert variant.model.weights.layers[0].qkv.base is loaded.model.weights.layers[0].qkv  # type: ignore[attr-defined]
    assert variant.model.weight_bytes == 4 * adapter.parameters
    assert variant.model.cost is not None
    assert loaded.model.cost is not None
    assert variant.model.cost.read_bytes == loaded.model.cost.read_bytes + 4 * adapter.parameters
    assert variant.tokenizer is loaded.tokenizer


def change(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_tensors(folder: Path, **tensors: torch.Tensor | None) -> None:
    path = folder / "adapter_model.safetensors"
    found = load_file(path) | {
        name.replace("__", "."): tensor for name, tensor in tensors.items() if tensor is not None
    }
    save_file(
        {name: tensor for name, tensor in found.items() if tensors.get(name.replace(".", "__"), 0) is not None}, path
    )


Q_PROJ = "base_model__model__model__layers__0__self_attn__q_proj__lora_"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"peft_type": "IA3"}, "of the type 'IA3', but only LORA"),
        ({"use_dora": True}, "trained with use_dora"),
        ({"bias": "all"}, "has trained biases"),
        ({"modules_to_save": ["lm_head"]}, "trained with modules_to_save"),
        ({"rank_pattern": {"q_proj": 2}}, "trained with rank_pattern"),
        ({"alora_invocation_tokens": [1]}, "trained with alora_invocation_tokens"),
        ({"init_lora_weights": "pissa"}, "was initialized by 'pissa'"),
        ({"r": 5}, "has rank 5 by its adapter_config.json"),
        ({"r": None}, "lacks r or lora_alpha"),
        ({"r": True}, "has True for r; it must be a whole number from 1 to"),
        ({"lora_alpha": "8"}, "has '8' for lora_alpha; it must be a number from"),
    ],
)
def test_kinds_that_are_refused(loaded: LoadedModel, tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    """An adapter of an unsupported kind is refused in one sentence."""
    assert isinstance(loaded.model, Decoder)
    folder = write_adapter(tmp_path / "mine", random_adapter(loaded.model.config))
    change(folder, **fields)
    with pytest.raises(AdapterError, match=sentence) as caught:
        adapt(loaded, read_card(folder))
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {Q_PROJ + "A__weight": torch.zeros(4, 47)},
            r"for another model: its layers.0.self_attn.q_proj is 64 x 47, the model's is 64 x 48",
        ),
        ({Q_PROJ + "B__weight": torch.zeros(63, 4)}, "for another model: its layers.0.self_attn.q_proj is 63 x 48"),
        ({Q_PROJ + "A__weight": torch.zeros(3, 48)}, "has rank 4 by its adapter_config.json"),
        ({Q_PROJ + "A__weight": torch.zeros(4, 48, 1)}, "for another model"),
        ({Q_PROJ + "A__weight": None}, "only one of the two matrices for layers.0.self_attn.q_proj"),
        (
            {Q_PROJ + "A__weight": torch.full((4, 48), float("nan"))},
            "infinite or invalid numbers in layers.0.self_attn.q_proj",
        ),
        ({Q_PROJ + "A__weight": torch.zeros(4, 48, dtype=torch.int8)}, "infinite or invalid numbers"),
        (
            {"base_model__model__lm_head__lora_A__weight": torch.zeros(4, 48)},
            "changes 'lm_head', which the model does not have",
        ),
        (
            {"base_model__model__model__layers__9__mlp__up_proj__lora_A__weight": torch.zeros(4, 48)},
            "changes 'layers.9.mlp.up_proj'",
        ),
        (
            {"base_model__model__model__norm__weight": torch.zeros(4)},
            "'base_model.model.model.norm.weight', which is not part",
        ),
    ],
)
def test_shapes_that_are_refused(
    loaded: LoadedModel, tmp_path: Path, tensors: dict[str, torch.Tensor | None], sentence: str
) -> None:
    """Matrices with a wrong shape, or for unknown parts of the model, are refused by name."""
    assert isinstance(loaded.model, Decoder)
    folder = write_adapter(tmp_path / "mine", random_adapter(loaded.model.config))
    change_tensors(folder, **tensors)
    with pytest.raises(AdapterError, match=sentence):
        adapt(loaded, read_card(folder))


def test_damage_is_reported(loaded: LoadedModel, tmp_path: Path) -> None:
    """A truncated, missing or invalid file is reported by name in one sentence."""
    assert isinstance(loaded.model, Decoder)
    folder = write_adapter(tmp_path / "mine", random_adapter(loaded.model.config))
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterError, match=r"adapter_model.safetensors is damaged, truncated or malicious"):
        adapt(loaded, read_card(folder))
    save_file({}, weights)
    with pytest.raises(AdapterError, match="is empty"):
        adapt(loaded, read_card(folder))
    weights.unlink()
    (folder / "adapter_model.bin").touch()
    with pytest.raises(AdapterError, match="can contain code: save it as safetensors"):
        read_card(folder)
    config.write_text("{")
    with pytest.raises(AdapterError, match=r"adapter_config.json cannot be read"):
        read_card(folder)


def test_made_for_other_weights(
    loaded: LoadedModel, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter with a fingerprint fits only the same weights, at any path."""
    assert isinstance(loaded.model, Decoder)
    origin = {"base": "tiny", "fingerprint": fingerprint(loaded.files), "name": "mine"}
    folder = write_adapter(tmp_path / "mine", random_adapter(loaded.model.config), origin=origin)
    copied = load_exactly(save(tiny_llama(vocab_size=VOCAB), tmp_path / "copy"), store, monkeypatch)
    other = load_exactly(save(tiny_llama(1, vocab_size=VOCAB), tmp_path / "other"), store, monkeypatch)
    for fitting in (loaded, copied):
        adapt(fitting, read_card(folder))
    reason = r"The adapter mine was made for other weights \(tiny\) than those of"
    with pytest.raises(AdapterError, match=rf"{reason} other: name its base model, or train it again\."):
        adapt(other, read_card(folder))
    with pytest.raises(AdapterError, match=rf"{reason} tiny: train it again\."):
        adapt(replace(other, name="tiny"), read_card(folder))


def test_models_that_cannot_be_adapted(loaded: LoadedModel, tmp_path: Path, store: Store) -> None:
    """A model of an unsupported family, or already with an adapter, is refused by name."""
    assert isinstance(loaded.model, Decoder)
    card = read_card(write_adapter(tmp_path / "mine", random_adapter(loaded.model.config)))
    foreign = save(
        tiny(GPT2Config(vocab_size=VOCAB, n_positions=64, n_embd=32, n_layer=2, n_head=2)), tmp_path / "gpt2"
    )
    with pytest.raises(NotSupportedError, match="gpt2 does not support adapters"):
        adapt(load(str(foreign), device="cpu", store=store, progress=Silent()), card)
    with pytest.raises(AdapterError, match="tiny:mine already has an adapter: name its base, tiny"):
        adapt(adapt(loaded, card), card)


def test_the_model_that_it_was_made_for_is_chosen(loaded: LoadedModel, tmp_path: Path, store: Store) -> None:
    """An adapter is put on the named model, in any form, or on the first, never on a variant."""
    assert isinstance(loaded.model, Decoder)
    adapter = random_adapter(loaded.model.config)
    models = [
        load(f"{loaded.path}@{quant}", device="cpu", store=store, progress=Silent()) for quant in ("none", "auto")
    ]
    second = load(
        str(write_gguf(tmp_path / "second.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))),
        store=store,
        progress=Silent(),
    )
    made_for = {
        name: read_card(write_adapter(tmp_path / name, adapter, origin={"base": base}))
        for name, base in (("a", "Org/Second"), ("b", "tiny"), ("c", "gone"), ("d", str(second.path)))
    }
    variant = adapt(models[0], made_for["b"])
    chosen = [choose_base(card, [variant, *models, second]).name for card in made_for.values()]
    assert chosen == ["second", "tiny@none", "tiny@none", "second"]


def test_names(tmp_path: Path, store: Store, llama: PreTrainedModel) -> None:
    """Adapters in the store are found by name; no name leads outside, and paths need permission."""
    adapter = random_adapter(to_decoder(llama).config)
    inside = write_adapter(store.adapters / "mine", adapter)
    outside = write_adapter(tmp_path / "outside", adapter)
    assert stored_adapters(store) == [inside]
    assert adapter_folder(store, "mine") == local_adapter(store, "mine") == inside
    assert local_adapter(store, str(outside)) == outside
    for name in ("", ".", "..", "../../outside", str(outside), "mine/../mine", "other", "m\n"):
        with pytest.raises(NotFoundError, match=r"use one of: mine\."):
            adapter_folder(store, name)
    with pytest.raises(NotFoundError, match=r"has no adapter_config\.json"):
        local_adapter(store, str(tmp_path))
    with pytest.raises(AdapterError, match="An adapter cannot be named 'a:b'"):
        read_card(inside, "a:b")


def test_saved_prefixes_are_its_own(loaded: LoadedModel, tmp_path: Path) -> None:
    """A variant's saved prefixes have a separate file, and are bound to the adapter's weights."""
    assert isinstance(loaded.model, Decoder)
    folder = write_adapter(tmp_path / "mine", random_adapter(loaded.model.config))
    first = adapt(loaded, read_card(folder)).prefixes
    write_adapter(folder, random_adapter(loaded.model.config, seed=1))
    second = adapt(loaded, read_card(folder)).prefixes
    assert loaded.prefixes is not None
    assert first is not None
    assert second is not None
    assert first.path == second.path != loaded.prefixes.path
    assert first.path.name.startswith(loaded.prefixes.path.stem)
    assert len({file._key for file in (loaded.prefixes, first, second)}) == 3


class TestMerge:
    @pytest.mark.parametrize("family", MAKERS)
    def test_folder(self, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
        """A merged folder is an ordinary model with the variant's probabilities and tokens."""
        model = MAKERS[family](vocab_size=VOCAB)
        base = save(model, tmp_path / "tiny")
        card = read_card(write_adapter(tmp_path / "mine", random_adapter(to_decoder(model).config)))
        variant = adapt(load_exactly(base, store, monkeypatch), card)
        merge(
            open_checkpoint(str(base), store=store, progress=Silent()), card, tmp_path / "merged", "float32", Silent()
        )
        merged = load_exactly(tmp_path / "merged", store, monkeypatch)
        close(logprobs(merged.model, IDS), logprobs(variant.model, IDS))
        close(reference_logprobs(type(model).from_pretrained(tmp_path / "merged"), IDS), logprobs(variant.model, IDS))
        text = "def greet(name): <|im_end|>"
        assert merged.tokenizer.encode(text, special=True) == variant.tokenizer.encode(text, special=True)
        assert merged.infill == variant.infill

    @pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_gguf(self, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, arch: str, dtype: str) -> None:
        """A merged GGUF file has the same tokenizer, and rounded probabilities of the variant."""
        model = MAKERS[arch](vocab_size=VOCAB)
        base = write_gguf(tmp_path / "tiny.gguf", model, arch, byte_level_bpe(VOCAB))
        card = read_card(write_adapter(tmp_path / "mine", random_adapter(to_decoder(model).config)))
        variant = adapt(load_exactly(base, store, monkeypatch), card)
        merge(open_checkpoint(str(base), store=store, progress=Silent()), card, tmp_path / "merged", dtype, Silent())
        merged = load_exactly(tmp_path / "merged", store, monkeypatch)
        difference = (logprobs(merged.model, IDS) - logprobs(variant.model, IDS)).abs().mean()
        assert difference < {"bfloat16": 0.03, "float16": 0.004}[dtype]
        one, other = merged.tokenizer, variant.tokenizer
        for text in ("def greet(name):\n    return 333  <h1>", "naïve 流 🌊", "<|fim_prefix|>a<|im_end|>", "<|fim|>"):
            for special in (False, True):
                assert one.encode(text, special=special) == other.encode(text, special=special)
        assert one.vocabulary() == other.vocabulary()
        assert (one.special, one.eos_ids, one.add_bos, one.bos_id) == (
            other.special,
            other.eos_ids,
            other.add_bos,
            other.bos_id,
        )
        assert merged.infill == variant.infill

    def test_shards(
        self, tmp_path: Path, store: Store, base: Path, llama: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A model above the size limit of a file is written in shards with an index."""
        monkeypatch.setattr("pellucid.models.export_model._SHARD_BYTES", 60_000)
        adapter = random_adapter(to_decoder(llama).config)
        card = read_card(write_adapter(tmp_path / "mine", adapter))
        merge(
            open_checkpoint(str(base), store=store, progress=Silent()), card, tmp_path / "merged", "float32", Silent()
        )
        files = {path.name for path in (tmp_path / "merged").glob("*.safetensors*")}
        assert {"model-00001-of-00008.safetensors", "model.safetensors.index.json"} < files or len(files) > 3
        assert not any(name[0].isdigit() for name in files)
        merged = load_exactly(tmp_path / "merged", store, monkeypatch)
        close(logprobs(merged.model, IDS), reference_logprobs(merged_into(llama, adapter), IDS))

    def test_refusals(self, tmp_path: Path, store: Store, base: Path, llama: PreTrainedModel) -> None:
        """An existing folder, unknown dtype or different weights are refused, without a folder."""
        adapter = random_adapter(to_decoder(llama).config)
        card = read_card(write_adapter(tmp_path / "mine", adapter))
        made_for_others = read_card(
            write_adapter(tmp_path / "others", adapter, origin={"base": "x", "fingerprint": "0"})
        )
        checkpoint = open_checkpoint(str(base), store=store, progress=Silent())
        cases: list[tuple[Any, Path, str, type[PellucidError], str]] = [
            (card, base, "float32", ConfigError, "already exists"),
            (card, tmp_path / "new", "int8", ConfigError, "dtype is 'int8'"),
            (made_for_others, tmp_path / "new", "float32", AdapterError, "made for other weights"),
        ]
        for chosen, folder, dtype, kind, sentence in cases:
            with pytest.raises(kind, match=sentence):
                merge(checkpoint, chosen, folder, dtype, Silent())
        assert not (tmp_path / "new").exists()


class TestExporting:
    @pytest.mark.parametrize("is_file", [True, False])
    def test_the_same_model(
        self, tmp_path: Path, store: Store, base: Path, monkeypatch: pytest.MonkeyPatch, is_file: bool
    ) -> None:
        """An exported model has the same tokens and probabilities, also in transformers."""
        path = (
            write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
            if is_file
            else base
        )
        checkpoint = open_checkpoint(str(path), store=store, progress=Silent())
        export(checkpoint, tmp_path / "written", "float32", Silent())
        source, written = load_exactly(path, store, monkeypatch), load_exactly(tmp_path / "written", store, monkeypatch)
        close(logprobs(written.model, IDS), logprobs(source.model, IDS))
        close(
            reference_logprobs(AutoModelForCausalLM.from_pretrained(tmp_path / "written"), IDS),
            logprobs(source.model, IDS),
        )
        text = "def greet(name): <|im_end|>"
        assert written.tokenizer.encode(text, special=True) == source.tokenizer.encode(text, special=True)
        with pytest.raises(ConfigError, match="already exists"):
            export(checkpoint, tmp_path / "written", "float32", Silent())


def test_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    """A fingerprint depends on contents and order, not on paths or times."""
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"weights")
    first = fingerprint([paths[0]])
    assert first == fingerprint([paths[1]])
    paths[0].write_bytes(b"weighty")
    assert fingerprint([paths[0]]) != first
    assert fingerprint(paths) != fingerprint(paths[::-1])
