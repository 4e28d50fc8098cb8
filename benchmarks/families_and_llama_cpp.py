"""Compare probabilities with llama-server: small random models of families, and of block types.

    python benchmarks/families_and_llama_cpp.py --llama-bin FOLDER

``--llama-bin`` is the folder of llama-server. A table shows the largest difference of a logprob of
the twenty most probable tokens, after four prompts, and how often the most probable token is the
same, for the float32 decoder and for the native kernels. The column "transformers" compares the
float32 decoder with the library. The last rows are Llamas with matrices of one block type: there
llama-server rounds activations, too. The script fails if the float32 decoder differs from
llama-server by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import httpx
import torch
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from common.machine import llama_version
from common.markdown_tables import table
from common.servers import llama_server
from pellucid.engine import weight_packing
from pellucid.models.families import gguf_decoder
from pellucid.models.formats.gguf import GGUF
from pellucid.models.formats.gguf_grids import GRIDS
from support.models import tiny_models as tiny
from support.models.model_files import Array, logprobs, write_gguf
from support.models.random_gguf_blocks import random_rows

ROUNDING = 1e-4
HALF_ROUNDING = 5e-3
"""llama.cpp looks a gelu up in a table of halves."""
BLOCK_ROUNDING = 0.5
"""llama.cpp rounds activations to eight bits, or to sixteen for matrices of floats."""
DELTA_ROUNDING = 5e-4
"""Delta nets amplify rounding: the transformers library is up to 2e-4 from float64."""
WORDS = 320
PROMPTS = (20, 60, 100, 149)
TOP = 20
SIZES: Mapping[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": 512,
}
SCHEMES = ("float32", "half-native", "int8-native")


@dataclass(frozen=True, slots=True)
class Case:
    """A family's architecture in GGUF, a maker of random models, sizes of its own, a block type."""

    architecture: str
    make: Callable[..., PreTrainedModel]
    sizes: Mapping[str, Any]
    rounding: float = ROUNDING
    kind: str = "F32"


GEMMA: Mapping[str, Any] = {"tie_word_embeddings": True, "sliding_window": 20, "query_pre_attn_scalar": 32}
EXPERTS: Mapping[str, Any] = {"num_experts": 16, "num_experts_per_tok": 4}
IN_TURN = ["sliding_attention", "full_attention"] * 4
SHORT_CONVOLUTIONS: Mapping[str, Any] = {
    "layer_types": ["conv", "conv", "full_attention", "conv"] * 2,
    "intermediate_size": 384,
}
DELTA_NETS: Mapping[str, Any] = {
    "layer_types": ["linear_attention", "linear_attention", "full_attention", "linear_attention"] * 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}

CASES = {
    "Llama": Case("llama", tiny.tiny_llama, {}),
    "Qwen2": Case("qwen2", tiny.tiny_qwen2, {}),
    "Qwen3": Case("qwen3", tiny.tiny_qwen3, {}),
    "Granite": Case("granite", tiny.tiny_granite, {}),
    "SmolLM3": Case("smollm3", tiny.tiny_smollm3, {}),
    "OLMo 2": Case("olmo2", tiny.tiny_olmo2, {}),
    "OLMo 3": Case("olmo2", tiny.tiny_olmo3, {"sliding_window": 20}),
    # llama.cpp ignores the window of a Phi; four divisors need heads of 16.
    "Phi 3": Case(
        "phi3",
        tiny.tiny_phi3,
        {
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "sliding_window": 512,
            "original_max_position_embeddings": 512,
        },
    ),
    "Ministral 3": Case("mistral3", tiny.tiny_ministral3, {}),
    "Gemma 1": Case("gemma", tiny.tiny_gemma, {"tie_word_embeddings": True}, HALF_ROUNDING),
    "Gemma 2": Case("gemma2", tiny.tiny_gemma2, GEMMA, HALF_ROUNDING),
    "Gemma 3": Case("gemma3", tiny.tiny_gemma3, GEMMA, HALF_ROUNDING),
    "GLM-4": Case("glm4", tiny.tiny_glm4, {}),
    "Qwen3 with experts": Case("qwen3moe", tiny.tiny_qwen3_moe, EXPERTS),
    "Mixtral": Case("llama", tiny.tiny_mixtral, {}),
    "gpt-oss": Case("gpt-oss", tiny.tiny_gpt_oss, {**EXPERTS, "sliding_window": 20}),
    "Mellum 2": Case("mellum", tiny.tiny_mellum2, {**EXPERTS, "layer_types": IN_TURN, "sliding_window": 20}),
    "OLMoE": Case("olmoe", tiny.tiny_olmoe, {"num_key_value_heads": 8}),
    "Granite with experts": Case("granitemoe", tiny.tiny_granite_moe, {}),
    "LFM2": Case("lfm2", tiny.tiny_lfm2, SHORT_CONVOLUTIONS),
    "Qwen3.5": Case("qwen35", tiny.tiny_qwen35, DELTA_NETS, DELTA_ROUNDING),
    "Qwen3.5 with as many key heads": Case(
        "qwen35", tiny.tiny_qwen35, {**DELTA_NETS, "linear_num_key_heads": 4}, DELTA_ROUNDING
    ),
    **{
        f"Llama in {kind}": Case("llama", tiny.tiny_llama, {}, BLOCK_ROUNDING, kind) for kind in ("F16", "BF16", *GRIDS)
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", type=Path, required=True)
    folder: Path = parser.parse_args().llama_bin
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, case in CASES.items():
            row = compared(case, folder, Path(temporary) / "model.gguf")
            rows.append([name, *row])
            Console(stderr=True).print(f"{name}: {', '.join(row)}")
    print(f"llama.cpp: {llama_version(folder)}\n")
    print(
        table(
            [
                "family",
                "transformers",
                *(f"{scheme}, {what}" for scheme in SCHEMES for what in ("difference", "same top")),
            ],
            rows,
        )
    )
    if any(float(row[2]) > case.rounding for row, case in zip(rows, CASES.values(), strict=True)):
        raise SystemExit("The float32 decoder differs from llama-server by more than rounding.")


def compared(case: Case, folder: Path, path: Path) -> list[str]:
    """Return the cells of a family's row."""
    sizes = {
        name: size
        for name, size in SIZES.items()
        if name != "head_dim" or case.architecture not in ("qwen2", "phi3", "granitemoe")
    }
    model = case.make(5, **{**sizes, **case.sizes})
    ids = torch.randint(WORDS, (PROMPTS[-1],), generator=torch.Generator().manual_seed(9)).tolist()
    write_gguf(path, model, case.architecture, add_tokenizer=add_words, encode=partial(encoded, kind=case.kind))
    file = GGUF(path)
    config = gguf_decoder.read_config(file)
    ours: list[Tensor] = []
    for scheme in SCHEMES:
        packed = weight_packing.pack(config, gguf_decoder.read_weights(file, blocks=scheme != "float32"), scheme)
        ours.append(logprobs(weight_packing.build(config, packed, scheme, "cpu"), ids))
    library = float((ours[0] - tiny.reference_logprobs(model, ids)).abs().max())
    theirs = asked(folder, path, ids)
    cells = ["" if case.kind in GRIDS else f"{library:.0e}"]
    for each in ours:
        rows = [each[length - 1] for length in PROMPTS]
        worst = max(
            abs(row[id].item() - logprob) for row, tops in zip(rows, theirs, strict=True) for id, logprob in tops
        )
        same = sum(int(row.argmax()) == tops[0][0] for row, tops in zip(rows, theirs, strict=True))
        cells += [f"{worst:.0e}", f"{same} of {len(PROMPTS)}"]
    return cells


def encoded(name: str, tensor: Array, kind: str) -> tuple[Array, gguf.GGMLQuantizationType | None]:
    """Return a tensor in a block type; gguf does not write grids, so their blocks are random."""
    type = gguf.GGMLQuantizationType[kind]
    if tensor.ndim < 2 or kind == "F32" or (kind in GRIDS and "token_embd" in name):
        return tensor, None
    if kind not in GRIDS:
        return gguf.quants.quantize(tensor, type), type
    rows, columns = tensor.shape
    size = float(tensor.std()) / float(gguf.quants.dequantize(random_rows(kind, rows, columns), type).std())
    return random_rows(kind, rows, columns, size), type


def asked(folder: Path, path: Path, ids: list[int]) -> list[list[tuple[int, float]]]:
    """Return llama-server's most probable tokens and logprobs, with a KV cache of float32."""
    flags = ("-c", "512", "-fa", "off", "-ctk", "f32", "-ctv", "f32", "--no-warmup")
    with llama_server(folder, path, *flags) as server:
        answers = []
        for length in PROMPTS:
            request = {"prompt": ids[:length], "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": False}
            answer = httpx.post(f"{server.url}/completion", json=request, timeout=60).raise_for_status().json()
            tops = answer["completion_probabilities"][0]["top_logprobs"]
            answers.append([(top["id"], top["logprob"]) for top in tops])
        return answers


def add_words(writer: gguf.GGUFWriter) -> None:
    """Add printable words: llama-server tells no probability of half a character."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["Ċ", "Ġ", *(f"a{number}z" for number in range(2, WORDS))])
    writer.add_token_types([gguf.TokenType.NORMAL] * WORDS)
    writer.add_token_merges(["a 1"])
    writer.add_eos_token_id(1)


if __name__ == "__main__":
    main()
