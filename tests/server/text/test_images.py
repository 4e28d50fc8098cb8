"""Chat about pictures, compared with the whole model of the transformers library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import build, pack
from pellucid.errors import InvalidRequestError, ModelError
from pellucid.models.families.folder_decoder import read_config, read_weights
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.models.vision.encoded_image import digest_of
from pellucid.models.vision.folder_encoder import LAYOUTS, FolderEncoder
from pellucid.models.vision.image_features import MAX_GRID_TOKENS, Features, ImageFeatures
from pellucid.models.vision.picture_file import open_picture
from pellucid.system.progress import Silent
from pellucid.text import query_ids
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import chat_prompt
from pellucid.vocabulary.message import Image, Message
from pellucid.vocabulary.query import ChatQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.models.collected_answers import collect
from support.models.tiny_image_models import KINDS, data_url, picture, write_image_model

GREEDY = SamplingParams(max_tokens=6, temperature=0, top_logprobs=2, ignore_eos=True)
BLUE, RED = picture(0), picture(1, 40, 90)
BLACK = picture(None)


class Case(NamedTuple):
    kind: str
    whole: PreTrainedModel
    loaded: LoadedModel
    tolerance: float


@pytest.fixture(scope="module", params=[(kind, quant) for kind in KINDS for quant in ("float32", "half")], ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    kind, quant = request.param
    folder = tmp_path_factory.mktemp(kind)
    whole = write_image_model(folder, kind)
    loaded = load(str(folder), device="cpu", quant="half", store=Store(folder / "store"), progress=Silent())
    if quant == "float32":
        shape = read_config(folder)
        assert shape is not None
        loaded = replace(loaded, model=build(shape, pack(shape, read_weights(folder), "float32"), "float32", "cpu"))
    return Case(kind, whole, loaded, 1e-3 if quant == "float32" else 3e-2)


@pytest.fixture
def assistant(case: Case) -> Iterator[LocalAssistant]:
    if isinstance(case.loaded.model, NativeDecoder):  # Numbers of earlier work must not matter.
        case.loaded.model._memory._scratch = np.full(1 << 24, 0xFF, np.uint8)
    engine = LocalEngine({case.loaded.name: case.loaded.model}, EngineSettings(slots=3, context=400, chunk=16))
    yield LocalAssistant(engine, [case.loaded])
    engine.close()


def about(*pictures: bytes, text: str = "What is this?") -> list[Message]:
    """Return a conversation: a text between two pictures, or before one."""
    images = [Image(5 * index, data_url(file)) for index, file in enumerate(pictures)]
    return [Message("system", "Short."), Message("user", text, images=images)]


def expected(case: Case, ids: Sequence[int], pictures: Sequence[bytes]) -> torch.Tensor:
    """Return the logprobs (T, vocab) of the library's whole model."""
    vision = case.loaded.vision
    assert vision is not None
    features = ImageFeatures(case.loaded.path, "cpu")
    written = torch.tensor([[vision.placeholder if id < 0 else id for id in ids]])
    inputs: dict[str, Any] = {"input_ids": written}
    for file in pictures:
        given = features._processor(images=[open_picture(file)], return_tensors="pt", **features._options())
        for name in ("pixel_values", "pixel_attention_mask", "image_grid_thw"):
            if name in given:
                inputs.setdefault(name, []).append(given[name])
    for name in inputs.keys() - {"input_ids"}:
        parts = inputs[name]
        if case.kind == "smolvlm":  # Texts x images x ...: all tiles of a text, one after the other.
            parts = [torch.cat(parts, dim=1)]
        inputs[name] = torch.cat(parts)
    is_image = (written == vision.placeholder).int()
    if case.kind == "gemma3":
        inputs["token_type_ids"] = is_image
    elif case.kind != "smolvlm":
        inputs["mm_token_type_ids"] = is_image
    with torch.inference_mode():
        logits: torch.Tensor = case.whole(**inputs).logits[0]
    return logits.float().log_softmax(-1)


async def answer(
    assistant: LocalAssistant, messages: Sequence[Message], **params: Any
) -> tuple[list[int], list[Token], int]:
    """Return the ids of the prompt, the tokens of the answer, and the cached tokens."""
    query = ChatQuery(messages, replace(GREEDY, **params))
    prompt = await chat_prompt(assistant.models.find(None), query, 400)
    tokens, finish = await collect(assistant.chat(query))
    return prompt.ids, tokens, finish.usage.cached


def check(case: Case, ids: Sequence[int], tokens: Sequence[Token], pictures: Sequence[bytes]) -> None:
    """Compare an answer with the whole model, which reads prompt and answer at once."""
    rows = expected(case, [*ids, *(token.id for token in tokens)], pictures)[len(ids) - 1 : -1]
    for token, row in zip(tokens, rows, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=case.tolerance)
        assert float(row.max() - row[token.id]) <= 2 * case.tolerance, "a greedy token is the most probable"


async def test_answers_about_pictures(case: Case, assistant: LocalAssistant) -> None:
    """Tokens and logprobs are the library's: in chunks, with two pictures, and from the cache."""
    ids, tokens, cached = await answer(assistant, about(BLUE))
    check(case, ids, tokens, [BLUE])
    assert cached == 0
    ids, tokens, cached = await answer(assistant, about(BLUE, text="What is that?"))
    assert cached > sum(id < 0 for id in ids), "the picture's keys and values are reused"
    check(case, ids, tokens, [BLUE])
    ids, tokens, cached = await answer(assistant, about(RED))
    assert cached < min(index for index, id in enumerate(ids) if id < 0) + 1, "a picture has its own cached prefix"
    check(case, ids, tokens, [RED])
    ids, tokens, _ = await answer(assistant, about(BLUE, RED))
    check(case, ids, tokens, [BLUE, RED])


async def test_requests_at_once(case: Case, assistant: LocalAssistant) -> None:
    """Batches of pictures and texts give the answers of single requests; penalties work."""
    queries = [about(BLUE), about(RED, BLUE), [Message("user", "Only text, text, text.")]]
    found = await asyncio.gather(*(answer(assistant, query, max_tokens=12) for query in queries))
    for (ids, tokens, _), pictures in zip(found, ([BLUE], [RED, BLUE], []), strict=True):
        check(case, ids, tokens, pictures)
    _, tokens, _ = await answer(assistant, about(BLUE), repetition_penalty=1.3)
    assert len(tokens) == GREEDY.max_tokens


async def test_reading_with_and_without_the_picture(case: Case, assistant: LocalAssistant) -> None:
    """A given answer is scored behind the picture, and without the picture, and differs."""
    text, with_picture = " the dog", about(BLUE)
    continued = [*with_picture, Message("assistant", "I see")]
    tokens, _ = await collect(assistant.score(ScoreQuery(text, continued=continued)))
    prompt = await chat_prompt(assistant.models.find(None), ChatQuery(continued, GREEDY, continue_last=True), 400)
    rows = expected(case, [*prompt.ids, *(token.id for token in tokens)], [BLUE])[len(prompt.ids) - 1 : -1]
    for token, row in zip(tokens, rows, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=case.tolerance)
    bare = [replace(message, images=()) for message in continued]
    others, _ = await collect(assistant.score(ScoreQuery(text, continued=bare)))
    assert [token.id for token in others] == [token.id for token in tokens]
    assert max(abs((a.logprob or 0) - (b.logprob or 0)) for a, b in zip(tokens, others, strict=True)) > 0.01
    whole, _ = await collect(assistant.score(ScoreQuery([*with_picture, Message("assistant", "ok")])))
    assert all(token.id >= 0 for token in whole), "a picture has no probability"


async def test_a_request_that_has_left_encodes_no_image(case: Case, assistant: LocalAssistant) -> None:
    """A cancelled request begins no image, and stops an image between two layers."""
    served, vision = assistant.models.find(None), case.loaded.vision
    assert isinstance(vision, FolderEncoder)
    await chat_prompt(served, ChatQuery(about(RED), GREEDY))  # Loads the image part.
    waiting, stopped, released = picture(7), picture(8), Event()
    blocked = query_ids._image_thread.submit(released.wait)
    leaving = asyncio.ensure_future(chat_prompt(served, ChatQuery(about(waiting), GREEDY)))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    released.set()
    blocked.result()

    loop, begun, ended = asyncio.get_running_loop(), asyncio.Event(), Event()

    def hold(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert ended.wait(60)

    assert vision._features is not None
    first = next(module for module in vision._features._model.modules() if not list(module.children()))
    handle = first.register_forward_pre_hook(hold)
    leaving = asyncio.ensure_future(chat_prompt(served, ChatQuery(about(stopped, waiting), GREEDY)))
    await asyncio.wait_for(begun.wait(), 60)
    leaving.cancel()
    await asyncio.wait([leaving])
    ended.set()
    query_ids._image_thread.submit(handle.remove).result()
    assert not vision._kept.keys() & {digest_of(waiting), digest_of(stopped)}
    assert (await chat_prompt(served, ChatQuery(about(stopped), GREEDY))).embedded


async def test_a_spelled_marker_is_text(assistant: LocalAssistant) -> None:
    """A message that spells the image's tokens has no image."""
    query = ChatQuery([Message("user", "<image><begin>")], GREEDY)
    prompt = await chat_prompt(assistant.models.find(None), query, 400)
    vision = assistant.models.find(None).model.vision
    assert vision is not None
    assert vision.placeholder not in prompt.ids
    assert not prompt.embedded


@pytest.mark.parametrize("tiles", [(2, 3), (0, 0)])
def test_the_text_of_tiles(tiles: tuple[int, int]) -> None:
    """The text around the rows of an image is the library's, for tiles and for a small image."""
    height, width = tiles
    rows = np.zeros((4 * (height * width + 1), 8), np.float32)
    text = LAYOUTS["smolvlm"].write({"image": "<image>"}, Features(rows, tiles, None))
    markers = ("<fake_token_around_image>", "<image>", "<global-img>")
    library: Callable[..., str] = get_image_prompt_string
    assert text == library(height, width, 4, *markers)


def test_older_files_of_qwen_with_images(tmp_path: Path) -> None:
    """The fields of the text model are read at the top of config.json, and in text_config."""
    write_image_model(tmp_path, "qwen2_vl")
    nested, config = read_config(tmp_path), json.loads((tmp_path / "config.json").read_text())
    text = config.pop("text_config")
    (tmp_path / "config.json").write_text(json.dumps(text | config))
    assert nested is not None
    assert nested.rope_axes
    assert read_config(tmp_path) == nested


def test_the_text_of_a_gemma(tmp_path: Path) -> None:
    """The ids of a chat with an image are the library's, with the text before and behind."""
    write_image_model(tmp_path, "gemma3")
    names = {"image_token": "<image>", "boi_token": "<begin>", "eoi_token": "<end>"}
    tokenizer: Callable[..., Any] = PreTrainedTokenizerFast
    own = tokenizer(tokenizer_file=str(tmp_path / "tokenizer.json"), extra_special_tokens=names)
    read: Callable[..., Any] = AutoImageProcessor.from_pretrained
    processor = Gemma3Processor(read(tmp_path, backend="pil"), own, image_seq_length=4)
    library = processor(text="a\n<begin>\nb", images=[open_picture(BLUE)], return_tensors="pt")["input_ids"][0].tolist()
    loaded = load(str(tmp_path), device="cpu", quant="half", store=Store(tmp_path / "store"), progress=Silent())
    assert loaded.vision is not None
    image = loaded.vision.encode(BLUE)
    assert loaded.tokenizer.encode(f"a\n{image.text}\nb", special=True) == library
    assert library.count(loaded.vision.placeholder) == len(image.rows)


@pytest.mark.parametrize(
    ("kind", "name", "fields", "sentence"),
    [
        ("smolvlm", "preprocessor_config.json", {"image_mean": "x"}, "cannot compute an image"),
        ("smolvlm", "preprocessor_config.json", {"max_image_size": {"longest_edge": 10**5}}, "100000 is not between"),
        ("smolvlm", "preprocessor_config.json", {"max_image_size": {"longest_edge": 1}}, "64 is not between 1 and 8"),
        ("smolvlm", "preprocessor_config.json", {"image_mean": [0] * 3}, "computes no row for some tiles"),
        ("smolvlm", "config.json", {"vision_config": {"num_hidden_layers": 10**9}}, "00 for 'num_hidden_layers'"),
        ("smolvlm", "config.json", {"scale_factor": None}, "Validation error for field 'scale_factor'"),
        ("gemma3", "config.json", {"vision_config": {"intermediate_size": 10**6}}, "describes a model of"),
        ("gemma3", "preprocessor_config.json", {"size": {"height": 30_000, "width": 30_000}}, "30000 is not between"),
        ("qwen2_vl", "preprocessor_config.json", {"temporal_patch_size": 10**4}, "10000 is not between 1 and 2"),
        ("qwen2_vl", "preprocessor_config.json", {"image_processor_type": "ViTImageProcessor"}, "is not supported"),
        ("qwen2_5_vl", "config.json", {"vision_config": {"window_size": 10**6}}, "1000000 is not between 1 and 1024"),
    ],
)
def test_unusable_settings_of_the_image_part(
    tmp_path: Path, kind: str, name: str, fields: dict[str, Any], sentence: str
) -> None:
    """Settings that fit no picture, or make gigabytes of a small picture, are a ModelError."""
    write_image_model(tmp_path, kind)
    stated = json.loads((tmp_path / name).read_text())
    nested = {key: stated[key] | value for key, value in fields.items() if name == "config.json" and value}
    (tmp_path / name).write_text(json.dumps(stated | fields | nested))
    loaded = load(str(tmp_path), device="cpu", quant="half", store=Store(tmp_path / "store"), progress=Silent())
    assert loaded.vision is not None
    with pytest.raises(ModelError, match=sentence):
        loaded.vision.encode(BLACK)


def test_rows_of_a_foreign_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are no embeddings of the text model never reach the kernels."""
    outer, text, vision, pictures = KINDS["qwen2_vl"]
    monkeypatch.setitem(KINDS, "qwen2_vl", (outer, text, vision | {"hidden_size": 32}, pictures))
    write_image_model(tmp_path, "qwen2_vl")
    loaded = load(str(tmp_path), device="cpu", quant="half", store=Store(tmp_path / "store"), progress=Silent())
    assert loaded.vision is not None
    with pytest.raises(ModelError, match="a row has 32 numbers, and an embedding of the text model has 64"):
        loaded.vision.encode(BLUE)


def test_a_great_smallest_size(tmp_path: Path) -> None:
    """A size to which all pictures are enlarged is at most the size of the largest picture."""
    write_image_model(tmp_path, "qwen2_vl")
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 10**9, "longest_edge": 10**9}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    loaded = load(str(tmp_path), device="cpu", quant="half", store=Store(tmp_path / "store"), progress=Silent())
    assert loaded.vision is not None
    assert len(loaded.vision.encode(BLUE).rows) <= 1.1 * MAX_GRID_TOKENS


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("data:image/png;base64,%%%", "not valid base64"),
        ("data:image/png;base64,aGVsbG8=", "not a readable PNG, JPEG, WebP or GIF"),
        (data_url(BLUE[:60]), "not a readable PNG, JPEG, WebP or GIF"),
    ],
)
async def test_refused_pictures(assistant: LocalAssistant, url: str, sentence: str) -> None:
    """An unusable picture is refused in a sentence with the remedy."""
    with pytest.raises(InvalidRequestError, match=sentence):
        await collect(assistant.chat(ChatQuery([Message("user", "What?", images=[Image(0, url)])], GREEDY)))
