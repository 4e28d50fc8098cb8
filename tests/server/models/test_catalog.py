"""The catalog's entries are usable, and every family of markers has an infill format."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pellucid.errors import ModelError
from pellucid.models.catalog import (
    DEFAULT_MODEL,
    HubSource,
    WheelSource,
    catalog,
    infill_format,
    infill_formats,
    next_edit_form,
)

QWEN = (
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<|endoftext|>",
)


def ids(*markers: str) -> dict[str, int]:
    return {marker: id for id, marker in enumerate(markers)}


@pytest.mark.parametrize("name", catalog())
def test_entry_states_what_a_fetch_needs(name: str) -> None:
    """Entries have sources, wheels a size and SHA-256, and a shape whose speed can be estimated."""
    entry = catalog()[name]
    assert entry.sources
    assert "/" not in name
    assert entry.file.endswith(".gguf")
    assert entry.context >= 2048
    assert entry.shape.bits in (4, 8)
    if any(isinstance(source, WheelSource) for source in entry.sources):
        assert entry.size
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256 or "")
    for source in entry.sources:
        if isinstance(source, WheelSource):
            assert all(re.fullmatch(r"[\w.-]+==[\w.]+", requirement) for requirement in source.requirements)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("qwen2.5-coder-1.5b-instruct", 1_117_320_768),
        ("qwen2.5-coder-3b-instruct", 2_104_932_800),
        ("qwen2.5-coder-7b-instruct", 4_683_073_536),
    ],
)
def test_estimated_download(name: str, published: int) -> None:
    """The size that a shape tells is within two percent of the size of the published file."""
    assert catalog()[name].download_bytes == pytest.approx(published, rel=0.02)


def test_stated_size() -> None:
    """A stated size is the download, and the memory of the weights in the file's form only."""
    entry = catalog()[DEFAULT_MODEL]

    assert (entry.download_bytes, entry.weight_bytes()) == (entry.size, entry.size)
    assert entry.weight_bytes("bfloat16") == 2 * (entry.shape.body + 2 * entry.shape.vocabulary)


def test_cache_ends_with_the_context() -> None:
    """The cache grows with the text up to the model's context."""
    entry = catalog()["mellum-4b-base"]

    assert entry.cache_bytes(4096) * 2 == entry.cache_bytes(8192) == entry.cache_bytes(32768)


def test_default_model_comes_from_the_hub_first_and_from_wheels_then() -> None:
    """The default model is available without the hub, and has the best measured infill format."""
    entry = catalog()[DEFAULT_MODEL]
    assert [type(source) for source in entry.sources] == [HubSource, WheelSource]
    assert entry.infill is not None
    assert entry.infill.order == "spm2"


@pytest.mark.parametrize(
    ("expected", "markers"),
    [
        ("qwen", QWEN),
        ("codegemma", ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_separator|>")),
        ("starcoder", ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")),
        ("deepseek", ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")),  # noqa: RUF001 - the tokens' own letters
        ("codellama", ("▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")),
        ("seed-coder", ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", "<[end▁of▁sentence]>")),
        ("qwen", ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>")),
        ("granite", ("<fim-prefix>", "<fim-suffix>", "<fim-middle>")),
    ],
)
def test_markers_find_their_format(expected: str, markers: tuple[str, ...]) -> None:
    """A model outside the catalog gets its markers' format, without missing optional markers."""
    found = infill_format(ids(*markers))
    assert found is not None
    known = infill_formats()[expected]
    assert replace(known, file=found.file, repo=found.repo) == found
    assert set(found.markers) <= set(markers)


def test_order_that_only_the_catalog_knows() -> None:
    """Mellum's order is used for the catalog's Mellum, but not for StarCoder with equal markers."""
    markers = ids("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<filename>")
    mellum, other = infill_format(markers, catalog()["mellum-4b-base"]), infill_format(markers)
    assert mellum is not None
    assert other is not None
    assert (mellum.order, mellum.file, other.order) == ("spm", "<filename>", "psm")


def test_model_without_markers_has_no_format() -> None:
    """A chat model, or a model without a necessary marker, has no infill format."""
    assert infill_format(ids("<|im_start|>", "<|im_end|>")) is None
    assert infill_format(ids("<|fim_prefix|>", "<|fim_suffix|>")) is None


def test_every_marker_ends_an_infill() -> None:
    """A marker of a file or of the prompt ends an infill."""
    special = ids(*QWEN, "<|im_end|>")
    found = infill_format(special, catalog()[DEFAULT_MODEL])
    assert found is not None
    assert found.end_ids(special) == {special[marker] for marker in QWEN}


SEED = ("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("sweep", "sweepai/sweep-next-edit-0.5B"),
        ("sweep", "/models/sweepai_Sweep-Next-Edit-1.5b.q8_0.v2.gguf"),
        ("zeta-2", "zed-industries/zeta-2"),
        ("zeta-2", "./zed-industries_zeta-2-Q4_K_M.gguf"),
        (None, "zed-industries/zeta-2.1"),
        (None, "/models/sweep-next-edit/qwen2.5-coder-0.5b.gguf"),
        (None, DEFAULT_MODEL),
    ],
)
def test_next_edit_models_are_known_by_their_names(form: str | None, name: str) -> None:
    """A model outside the catalog has the form in the file, folder or repository name alone."""
    assert next_edit_form(ids(*QWEN, *SEED), None, name) == form


def test_the_catalog_decides_for_its_models() -> None:
    """A catalog entry states the model's form, regardless of the name."""
    special = ids(*QWEN)
    assert next_edit_form(special, catalog()["sweep-next-edit-0.5b"], "anything") == "sweep"
    assert next_edit_form(special, catalog()[DEFAULT_MODEL], "sweep-next-edit") is None


def test_a_next_edit_model_without_its_markers_is_refused() -> None:
    """A model named after a form, without a marker of the form, is refused in one sentence."""
    with pytest.raises(
        ModelError, match=r"my-sweep-next-edit\.gguf is named .* its vocabulary lacks <\|file_sep\|>: use .*\.$"
    ):
        next_edit_form(ids("<|endoftext|>"), None, "my-sweep-next-edit.gguf")
