"""Model files with a hostile change, and a pool of processes that tries to load the files.

All changes are drawn from a seed. Structure-aware changes replace a good value by a hostile value;
the remaining changes flip, cut or insert bytes, or put a folder, a FIFO or a device instead of a
file.
"""

from __future__ import annotations

import json
import os
import random
import resource
import selectors
import shutil
import signal
import struct
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import httpx
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import GPT2Config

from pellucid.api.server_state import ServerState
from pellucid.engine.native import calls
from pellucid.errors import PellucidError
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.models.tokenizers import sentencepiece_proto
from pellucid.system.progress import Silent
from support.models.model_files import (
    byte_level_bpe,
    logprobs,
    spaced_bpe,
    train_sentencepiece,
    write_folder,
    write_gguf,
)
from support.models.tiny_image_models import KINDS, picture, write_image_model
from support.models.tiny_models import (
    tiny,
    tiny_dense_hybrid,
    tiny_gemma3,
    tiny_glm4,
    tiny_gpt_oss,
    tiny_granite,
    tiny_granite_moe,
    tiny_lfm2,
    tiny_llama,
    tiny_ministral3,
    tiny_mixtral,
    tiny_olmo3,
    tiny_phi3,
    tiny_qwen2,
    tiny_qwen3_moe,
    tiny_qwen35,
    tiny_smollm3,
)
from support.servers.http_servers import ADAPTER, TINY, live, tiny_adapters, tiny_assistant

DEADLINE = 10.0
"""Maximum seconds for a case."""
MEMORY = 2 << 30
"""Maximum bytes of address space for a process during loading."""
PROBES = (
    "def f(x):\n    return x\n",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "naïve ﬁ ½ 漢字 \u0301\u0000 <s> [INST]",
)

_SETTINGS: tuple[Any, ...] = (None, -1, 0, "x", [], 4096, 10**5, 10**9)
"""Values for a field of an image part."""
_TOKENS = 320
_ADAPTERS_KEPT = 10
"""Number of mutated adapters in the store at a time."""
_HOSTILE: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        7,
        255,
        2**20,
        2**31 - 1,
        2**31,
        2**32,
        2**40,
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        10**30,
        -(2**63),
    ),
    *(0.0, 1.5, -0.5, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        "7",
        "1e5",
        "NaN",
        "a" * 1000,
        "\0",
        "\ud800",
        "../../etc/passwd",
        "/dev/zero",
        "漢字",
        "(a+)+$",
        "(a|a)*b",
        "\\p{L",
        "<s>",
    ),
    *([], {}, [[]], [None], [1, 2], ["a", "b"], {"a": 1}, {"type": "Sequence"}, [[0] * 50] * 50),
)
_DEEP = "\x07deep\x07"  # Replaced by a thousand nested lists, or many more.
_NUMBERS = (
    0,
    1,
    2,
    3,
    5,
    8,
    9,
    127,
    255,
    2**16,
    2**20,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)


@dataclass
class Tally:
    """The outcomes of a trial's cases, with an example each."""

    endings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    peak: int = 0

    def add(self, ending: str, example: str) -> None:
        """Count a case."""
        self.endings[ending] += 1
        self.examples.setdefault(ending, example)

    @property
    def failures(self) -> dict[str, int]:
        """Counts of cases that were neither loaded nor refused in a sentence."""
        return {ending: count for ending, count in self.endings.items() if ending not in ("loaded", "refused")}


_FAMILIES: dict[str, Callable[..., Any]] = {
    "llama": tiny_llama,
    "qwen2": tiny_qwen2,
    "granite": tiny_granite,
    "smollm3": tiny_smollm3,
    "olmo2": tiny_olmo3,
    "phi3": tiny_phi3,
    "glm4": tiny_glm4,
    "gemma3": tiny_gemma3,
    "mistral3": tiny_ministral3,
    "qwen3moe": tiny_qwen3_moe,
    "granitemoe": tiny_granite_moe,
    "gpt-oss": tiny_gpt_oss,
    "lfm2": tiny_lfm2,
    "qwen35": tiny_qwen35,
}
"""Makers of small models, by the architecture of a GGUF file."""


def write_base_gguf(path: Path, architecture: str = "llama") -> bytes:
    """Write a complete small model to a GGUF file."""
    write_gguf(
        path,
        _FAMILIES[architecture](vocab_size=_TOKENS),
        architecture,
        byte_level_bpe(_TOKENS),
        tokenizer__chat_template="{{ messages }}",
    )
    return path.read_bytes()


def write_base_folders(root: Path) -> list[Path]:
    """Write complete small models to folders, with various kinds of tokenizers and weights."""
    kinds: dict[str, Callable[..., Any]] = dict.fromkeys(("bpe", "metaspace", "unigram", "sentencepiece"), tiny_llama)
    kinds.update({"gpt2": _tiny_gpt2, "hybrid": tiny_dense_hybrid, "mixtral": tiny_mixtral}, **_FAMILIES)
    folders = [root / name for name in kinds]
    for folder in folders:
        model = kinds[folder.name](vocab_size=512)
        model.save_pretrained(folder)
        _describe(folder)
    write_folder(folders[0], byte_level_bpe(_TOKENS), _tokenizer_config())
    write_folder(folders[1], spaced_bpe(normalizers.Prepend("▁"), pre_tokenizers.Metaspace()), _tokenizer_config())
    write_folder(folders[2], unigram(), _tokenizer_config())
    (folders[3] / "tokenizer.model").write_bytes(train_sentencepiece(normalization_rule_name="nmt_nfkc"))
    (folders[3] / "tokenizer_config.json").write_text(json.dumps(_tokenizer_config()))
    for folder in folders[4:]:
        write_folder(folder, byte_level_bpe(_TOKENS), _tokenizer_config())
    _split_weights(folders[0])
    return folders


def mutated_gguf(base: bytes, places: list[tuple[int, int]], rng: random.Random) -> bytes:
    """Return the file with one to three changed numbers in the header, or with changed bytes."""
    data = bytearray(base)
    if rng.random() < 0.25:
        return _mutated_bytes(data, rng, rng.choice((len(data), 4096)))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, size = rng.choice(places)
        value = rng.choice(_NUMBERS) if rng.random() < 0.8 else rng.getrandbits(64)
        if size in (4, 8) and rng.random() < 0.15:
            special = rng.choice((float("nan"), float("inf"), -1.0, 0.0, 1e30))
            data[at : at + size] = struct.pack("<f" if size == 4 else "<d", special)
        else:
            data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


def gguf_places(path: Path) -> list[tuple[int, int]]:
    """Return offsets and sizes of the header's counts, types, lengths, values and shapes."""
    reader = gguf.GGUFReader(path)
    begin = reader.data.__array_interface__["data"][0]
    fields = [*reader.fields.values(), *(tensor.field for tensor in reader.tensors)]
    places = [(0, 4), (4, 4), (8, 8), (16, 8)]
    for one in fields:
        for part in one.parts[:8]:
            offset = part.__array_interface__["data"][0] - begin
            if 0 <= offset < len(reader.data):
                places += [(offset + i * part.itemsize, part.itemsize) for i in range(min(len(part), 4))]
    return places


def mutate_folder(folder: Path, rng: random.Random) -> str:
    """Change a file of a folder in place, and return a description of the change."""
    if rng.random() < 0.05:
        return _replace_file(rng.choice(sorted(folder.iterdir())), rng)
    path = rng.choice(sorted(folder.iterdir()))
    if path.suffix == ".json" and rng.random() < 0.8:
        text = json.dumps(_mutated_json(json.loads(path.read_text(encoding="utf-8")), rng))
        path.write_text(_nested(text, rng), encoding="utf-8")
        return f"a value of {path.name}"
    data = bytearray(path.read_bytes())
    if path.suffix == ".safetensors" and rng.random() < 0.7:
        path.write_bytes(_mutated_safetensors(bytes(data), rng))
        return f"the header of {path.name}"
    path.write_bytes(_mutated_bytes(data, rng, len(data)))
    return f"bytes of {path.name}"


def load_and_use(path: Path, root: Path, quant: str) -> None:
    """Load a model and use the model as a server does: encode texts, and compute a few tokens."""
    loaded = load(str(path), device="cpu", quant=quant, store=Store(root / "cache"), progress=Silent())
    tokenizer = loaded.tokenizer
    size = loaded.model.vocab_size
    for probe in PROBES:
        ids = tokenizer.encode(probe, special=True)
        assert all(0 <= id < tokenizer.vocab_size for id in ids), "ids outside of the vocabulary"
    assert len(tokenizer.vocabulary()) == tokenizer.vocab_size
    for id in (*tokenizer.eos_ids, *([] if tokenizer.bos_id is None else [tokenizer.bos_id])):
        assert 0 <= id < size, f"the id {id} of {size}"
    logprobs(loaded.model, [0, 1, size - 1][: loaded.model.context])


def run_cases(cases: list[Callable[[], None]], *, deadline: float = DEADLINE, memory: int = MEMORY) -> Tally:
    """Run cases in forked processes, up to a hung or crashed case, and count the outcomes."""
    # Compile and load the kernels once, because each case has an empty cache.
    calls.available()
    tally = Tally()
    begin = 0
    while begin < len(cases):
        begin = _run_some(cases, begin, min(begin + 40, len(cases)), deadline, memory, tally)
    return tally


def _run_some(cases: list[Callable[[], None]], begin: int, end: int, deadline: float, memory: int, tally: Tally) -> int:
    """Run cases in a child process, and return the index of the next case."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(readable)
        _in_child(cases[begin:end], writable, memory)
    os.close(writable)
    at = begin
    with os.fdopen(readable, "rb", 0) as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        buffer = b""
        while selector.select(deadline) and (chunk := pipe.read(65536)):
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                ending, example, peak = json.loads(line)
                tally.add(ending, f"case {at}: {example}")
                tally.peak = max(tally.peak, peak)
                at += 1
        hung = not selector.select(0)
    if hung:
        os.killpg(child, signal.SIGKILL)  # Kills processes started by the case, too.
    _, status = os.waitpid(child, 0)
    if at < end:
        tally.add("hung" if hung else f"crashed ({os.waitstatus_to_exitcode(status)})", f"case {at}")
        at += 1
    return at


def _in_child(cases: list[Callable[[], None]], pipe: int, memory: int) -> None:
    """Run the cases and write a line for each; never returns."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    for case in cases:
        ending, example = "loaded", ""
        try:
            case()
        except PellucidError as error:
            ending, example = "refused", str(error)
            if len(example) > 2000 or "\n" in example:
                ending = "refused at length"
        except BaseException as error:
            ending = f"{type(error).__name__} in {traceback.extract_tb(error.__traceback__)[-1].name}"
            example = "".join(traceback.format_exception(error))[-3000:]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(pipe, json.dumps([ending, example, peak]).encode() + b"\n")
    os._exit(0)


def _mutated_json(value: Any, rng: random.Random) -> Any:
    """Return the value with an inner value replaced, removed, added or nested."""
    places = [(holder, key) for holder, key in _places(value, 400, rng)]
    for holder, key in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        match rng.randrange(8):
            case 0 if isinstance(holder, dict):
                holder.pop(key, None)
            case 1:
                holder[key] = _DEEP
            case 2 if isinstance(holder, dict):
                holder[rng.choice(("type", "id", "content", "auto_map", "quantization_config", "rope_scaling"))] = (
                    rng.choice(_HOSTILE)
                )
            case 3:
                holder[key] = [holder[key]]
            case _:
                holder[key] = rng.choice(_HOSTILE)
    return value


def _places(value: Any, most: int, rng: random.Random) -> list[tuple[Any, Any]]:
    """Return up to ``most`` places within a JSON value, with samples of large values."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo and len(found) < most:
        holder = todo.pop(0)
        keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        for key in keys if len(keys) < 40 else rng.sample(keys, 8):
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                todo.append(holder[key])
    return found


def _nested(text: str, rng: random.Random) -> str:
    depth = rng.choice((200, 2000, 100_000))
    return text.replace(json.dumps(_DEEP), "[" * depth + "]" * depth)


def _mutated_safetensors(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack_from("<Q", data)
    header = json.dumps(_mutated_json(json.loads(data[8 : 8 + length]), rng)).encode()
    stated = len(header) if rng.random() < 0.9 else rng.choice(_NUMBERS)
    return struct.pack("<Q", stated) + header + data[8 + length :]


def _mutated_bytes(data: bytearray, rng: random.Random, reach: int) -> bytes:
    match rng.randrange(3):
        case 0:
            for _ in range(rng.choice((1, 4, 64))):
                if data:
                    data[rng.randrange(min(reach, len(data)))] = rng.randrange(256)
        case 1:
            del data[rng.randrange(len(data) + 1) :]
        case _:
            at = rng.randrange(min(reach, len(data)) + 1)
            data[at:at] = rng.choice((b"\0" * 8, b"\xff" * 8, b"[" * 5000, rng.randbytes(16)))
    return bytes(data)


def _replace_file(path: Path, rng: random.Random) -> str:
    """Replace a file by a folder, a FIFO, a link or an empty file, or delete the file."""
    path.unlink()
    match rng.randrange(6):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to(path.name)
        case 4:
            path.touch()
        case _:
            pass
    return f"something else for {path.name}"


def _tiny_gpt2(vocab_size: int) -> Any:
    return tiny(
        GPT2Config(
            vocab_size=vocab_size, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1
        )
    )


def _describe(folder: Path) -> None:
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 0, "eos_token_id": [1, 2], "pad_token_id": 3})
    )
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")


def _tokenizer_config() -> dict[str, Any]:
    token = {
        "content": "<|im_end|>",
        "special": True,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "single_word": False,
    }
    return {
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "add_bos_token": True,
        "added_tokens_decoder": {"315": token},
        "chat_template": "{{ messages }}",
    }


def unigram() -> Tokenizer:
    """Return a Unigram tokenizer with a precompiled map, as converted from sentencepiece."""
    pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("▁", -2.0),
        *((letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz()!:\n"),
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return backend


def charsmap() -> bytes:
    """Return sentencepiece's map of characters (nmt_nfkc)."""
    model = sentencepiece_proto.parse(train_sentencepiece(normalization_rule_name="nmt_nfkc"))
    return bytes(model.normalizer_spec.precompiled_charsmap)


def _split_weights(folder: Path) -> None:
    """Replace the weights by two shards with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file(
            {name: tensor for name, tensor in tensors.items() if files[name] == file}, folder / file, {"format": "pt"}
        )
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": files})
    )


def gguf_cases(root: Path, count: int, seed: int) -> list[Callable[[], None]]:
    """Return ``count`` cases, each with a mutated GGUF file to write, load and delete."""
    bases = []
    for architecture in _FAMILIES:
        path = root / f"{architecture}.gguf"
        bases.append((write_base_gguf(path, architecture), gguf_places(path)))

    def case(number: int) -> None:
        rng = random.Random(f"{seed}:{number}")
        path = root / f"case{number}" / "model.gguf"
        path.parent.mkdir()
        try:
            path.write_bytes(mutated_gguf(*bases[number % len(bases)], rng))
            load_and_use(path, path.parent, rng.choice(("auto", "none")))
        finally:
            shutil.rmtree(path.parent)

    return [lambda number=number: case(number) for number in range(count)]  # type: ignore[misc]


def folder_cases(root: Path, count: int, seed: int) -> list[Callable[[], None]]:
    """Return ``count`` cases with mutated folders, of each kind in turn."""
    bases = write_base_folders(root)

    def case(number: int) -> None:
        rng = random.Random(f"{seed}:{number}")
        folder = root / f"case{number}" / "model"
        shutil.copytree(bases[number % len(bases)], folder)
        try:
            mutate_folder(folder, rng)
            load_and_use(folder, folder.parent, "none" if folder.name == "gpt2" else rng.choice(("auto", "none")))
        finally:
            shutil.rmtree(folder.parent)

    return [lambda number=number: case(number) for number in range(count)]  # type: ignore[misc]


def image_cases(root: Path, count: int, seed: int) -> list[Callable[[], None]]:
    """Return ``count`` cases, each encoding a picture with a changed field of a model."""
    for kind in KINDS:
        write_image_model(root / kind, kind)
    store, file = Store(root / "cache"), picture(0)

    def case(number: int) -> None:
        rng = random.Random(f"{seed}:{number}")
        folder = root / f"case{number}"
        shutil.copytree(root / list(KINDS)[number % len(KINDS)], folder)
        try:
            path = folder / rng.choice(("config.json", "preprocessor_config.json"))
            fields = json.loads(path.read_text())
            holder, key = rng.choice(_places(fields, 400, rng))
            holder[key] = rng.choice(_SETTINGS)
            path.write_text(json.dumps(fields))
            vision = load(str(folder), device="cpu", quant="half", store=store, progress=Silent()).vision
            assert vision is None or len(vision.encode(file).rows)
        finally:
            shutil.rmtree(folder)

    return [lambda number=number: case(number) for number in range(count)]  # type: ignore[misc]


MAKERS = {"gguf": gguf_cases, "folder": folder_cases, "image": image_cases}


def adapter_trial(root: Path, count: int, seed: int) -> Tally:
    """Load ``count`` mutated adapters into a server, with lists and completions after each."""
    assistant, engine = tiny_assistant()
    adapters = tiny_adapters(assistant, engine, root / "cache")
    base = adapters.store.adapters / ADAPTER
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine, adapters)
    tally = Tally()
    try:
        with live(state) as server, httpx.Client(base_url=server.url, timeout=DEADLINE, trust_env=False) as client:
            for number in range(count):
                rng = random.Random(f"{seed}:{number}")
                folder = adapters.store.adapters / f"case{number}"
                shutil.copytree(base, folder)
                (folder / "pellucid.json").write_text(json.dumps({"base": TINY, "fingerprint": None}))
                how = mutate_folder(folder, rng)
                is_listed = os.path.lexists(folder / "adapter_config.json")
                tally.add(_try_adapter(client, folder.name, is_listed=is_listed), f"case {number}: {how}")
                if number >= _ADAPTERS_KEPT:
                    shutil.rmtree(adapters.store.adapters / f"case{number - _ADAPTERS_KEPT}")
    finally:
        engine.close()
    tally.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return tally


def _try_adapter(client: httpx.Client, name: str, *, is_listed: bool) -> str:
    """Return the outcome for a mutated adapter: "loaded", "refused", or the failure."""
    try:
        loaded = client.post("/v1/adapters", json={"name": name})
        listed = client.get("/v1/adapters")
        answers = [_complete(client, TINY)]
        if loaded.status_code == 200:
            answers += [_complete(client, loaded.json()["id"]), client.delete(f"/v1/adapters/{loaded.json()['id']}")]
    except httpx.HTTPError as error:
        return f"{type(error).__name__}"
    if listed.status_code != 200 or (is_listed and not any(name == one["name"] for one in listed.json()["data"])):
        return f"the list is {listed.status_code}"
    bad = next((answer for answer in answers if answer.status_code != 200), None)
    if bad is not None:
        return f"{bad.request.method} {bad.request.url.path} is {bad.status_code}"
    if loaded.status_code == 200:
        return "loaded"
    message = str(loaded.json()["error"]["message"])
    is_sentence = loaded.status_code in (400, 404) and "\n" not in message and len(message) < 2000
    return "refused" if is_sentence else f"loading is {loaded.status_code}"


def _complete(client: httpx.Client, model: str) -> httpx.Response:
    return client.post("/v1/completions", json={"model": model, "prompt": "a", "max_tokens": 2, "ignore_eos": True})


def report(name: str, tally: Tally, began: float) -> str:
    """Return a trial's figures as lines of text."""
    lines = [
        f"{name}: {sum(tally.endings.values())} in {time.monotonic() - began:.0f} s, "
        f"at most {tally.peak / 1e6:.0f} MB resident"
    ]
    lines += [f"  {count:5} {ending}" for ending, count in tally.endings.most_common()]
    lines += [f"--- {ending}\n{tally.examples[ending]}" for ending in tally.failures]
    return "\n".join(lines)


torch.set_num_threads(1)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
