"""Loading of a model from a catalog name, a hub repository, a folder or a GGUF file.

Weights are packed once, into one file. Later starts read this file, and only the header of the
source.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pellucid.engine import weight_packing
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.quantized_blocks import Blocks, Weight
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.errors import ConfigError, ModelError, NotFoundError, PellucidError
from pellucid.models.adapter_folder import AdapterCard
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import CatalogEntry, catalog, infill_format, next_edit_form
from pellucid.models.families import folder_decoder, gguf_decoder
from pellucid.models.families.family import Family
from pellucid.models.fingerprint import fingerprint
from pellucid.models.formats.gguf import GGUF
from pellucid.models.formats.safetensors_folder import weight_files
from pellucid.models.packed_weights_file import DamagedFileError, PackedWeights, read_packed, write_packed
from pellucid.models.saved_prefixes import PrefixFile, prefix_key
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.store import Store, could_be_remote, local_name, local_path, plain_name
from pellucid.models.tokenizers import folder_tokenizer, gguf_tokenizer
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.untrusted_files import damaged, require_memory
from pellucid.models.vision.folder_encoder import read_encoder
from pellucid.system import atomic_files
from pellucid.system.processors import compute_threads
from pellucid.system.progress import Progress
from pellucid.system.torch_extra import has_gpu_driver, has_torch, require_torch

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel(ServedModel):
    """A served model with the ``model`` that computes.

    ``prefixes`` is the file of saved prefixes; ``files`` are the sources of the weights.
    """

    model: Model
    adapter: AdapterCard | None = None
    prefixes: PrefixFile | None = None
    files: tuple[Path, ...] = ()


def facts_of(model: Model) -> ModelFacts:
    return ModelFacts(
        model.vocab_size,
        model.context,
        model.weight_bytes,
        model.description,
        model.cache_shape.device,
        model.reports_experts,
    )


def has_int8_cache(loaded: LoadedModel) -> bool:
    """Return whether the model can keep keys and values in int8."""
    return isinstance(loaded.model, NativeDecoder)


def with_int8_cache(loaded: LoadedModel) -> LoadedModel:
    """Return the model with keys and values in int8. Raise ConfigError for a model without."""
    if not isinstance(loaded.model, NativeDecoder):
        raise ConfigError(
            f"kv_cache int8 needs the native kernels, but {loaded.name} is computed by torch: use kv_cache exact."
        )
    model = loaded.model.with_int8_cache()
    prefixes = None if loaded.prefixes is None else loaded.prefixes.of_shape(model.cache_shape)
    return replace(loaded, model=model, facts=facts_of(model), prefixes=prefixes)


def stored_step_bytes(files: Sequence[Path]) -> int:
    """Return the weight bytes that a step of a lean decoder reads, as stored in the files.

    An untied embedding is not counted: a step reads only a few rows.
    """
    source = _FolderSource(files[0].parent) if files[0].name == "config.json" else _GGUFSource(files[0])
    sizes = dict(source.sizes())
    return sum(sizes.values()) - (sizes["embed_tokens.weight"] if "lm_head.weight" in sizes else 0)


def stored_bytes(name_or_path: str, store: Store) -> int:
    """Return the size of a model's files: about the memory of its weights.

    Raises NotFoundError for a removed model, and ModelError for missing files.
    """
    name, _ = split_quant(name_or_path)
    path = local_path(name) or store.find(name)
    if path is None:
        raise NotFoundError(f"{name} is not on this machine: download it with `pellucid models pull {name}`.")
    if not path.exists():
        raise ModelError(
            f"{path} is missing: remove the model with `pellucid models remove {name}` and download it again."
        )
    source = _GGUFSource(path) if path.is_file() else _FolderSource(path)
    return sum(file.stat().st_size for file in source.files)


def served_name(name_or_path: str) -> str:
    """Return the name of a served model, with the quant in the name if given."""
    model, quant = split_quant(name_or_path)
    path = local_path(model)
    if path is None or model.startswith("ollama:"):
        name = plain_name(model)
    else:
        name = path.stem if path.is_file() else path.name
    return name if quant is None else f"{name}@{quant}"


def split_quant(model: str) -> tuple[str, str | None]:
    """Split ``name@int4`` into name and quant; None if the name has no quant."""
    name, at, quant = model.rpartition("@")
    return (name, quant) if at and quant in weight_packing.QUANTS else (model, None)


def load(
    name_or_path: str, *, device: str = "auto", quant: str = "auto", store: Store, progress: Progress
) -> LoadedModel:
    """Load a model; download and pack the weights first if necessary.

    See find_device for ``device``. ``quant`` is one of QUANTS; a quant in the name
    (``name@int4``) takes precedence. Compiled kernels are kept in the store's folder.
    """
    calls.keep_in(store.kernels)
    target = find_device(device)
    name, own_quant = split_quant(name_or_path)
    quant = own_quant or quant
    local = local_path(name)
    if local and could_be_remote(name):
        progress.note(
            f"{name} is the folder {local}, not a model on the hub: to use the hub's model, rename the folder."
        )
    path = local or store.pull(name, progress)
    entry = None if local else catalog().get(name)
    source = _GGUFSource(path) if path.is_file() else _FolderSource(path)
    stored_as = local_name(path) if local else name
    model: Model
    packed: PackedWeights | None = None
    config: DecoderConfig | None = None
    if path.is_dir() and folder_decoder.is_table_model(path):
        _refuse_quant(quant, path)
        form = "tables"
        model = _read_table_model(path, target)
    elif (config := source.config()) is None:
        form = "transformers"
        model = _load_by_transformers(path, target, quant, progress)
    else:
        form = weight_packing.choose_scheme(quant, target, config)
        require_memory(path, (config.body_parameters + config.head_parameters) // 4)  # At least two bits each.
        if not form.endswith("-native"):
            _prepare_torch(path.name)
        with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as reader:
            reading = reader.submit(source.tokenizer, config.vocab_size)  # In parallel: the weights take as long.
            packed = _Packed(store, stored_as, config, form, fetched=local is None).weights(source, progress)
            model = weight_packing.build(config, packed.tensors, form, target)
            tokenizer = reading.result()
    if packed is None:
        tokenizer = source.tokenizer(model.vocab_size)
    state = _fingerprint(source.files)
    made_of = fingerprint(source.files) if packed is None else packed.checksum
    key = prefix_key(made_of, config, form, model.cache_shape)
    prefixes = PrefixFile(store.prefixes_path(stored_as, form), key, model.cache_shape, source.files[0])
    calibration = CalibrationFile(
        store.calibration_path(stored_as, form), f"{state}-{form}", _catalog_checksum(source.files, entry)
    )
    infill = infill_format(tokenizer.special, entry)
    next_edit = next_edit_form(tokenizer.special, entry, str(path) if local else name)
    return LoadedModel(
        served_name(name_or_path),
        tokenizer,
        infill,
        entry,
        path,
        facts_of(model),
        calibration,
        next_edit=next_edit,
        vision=read_encoder(path, tokenizer, target) if config is not None and path.is_dir() else None,
        model=model,
        prefixes=prefixes,
        files=tuple(source.files),
    )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A stored model, for training.

    ``config`` is None outside the lean decoder's families. ``name`` is a catalog or hub name, or a
    path; ``fingerprint`` identifies the weights.
    """

    name: str
    path: Path
    config: DecoderConfig | None
    entry: CatalogEntry | None
    fingerprint: str
    _source: _GGUFSource | _FolderSource

    @property
    def family(self) -> Family:
        """The family. Raise KeyError outside the lean decoder's families."""
        return self._source.family()

    def tokenizer(self, vocab_size: int) -> Tokenizer:
        return self._source.tokenizer(vocab_size)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights as floats, by Hugging Face name without ``model.``.

        A tied head has no ``lm_head.weight``.
        """
        from pellucid.engine.decoders.torch_model import as_tensor

        for name, weight in self._source.weights(blocks=False):
            assert not isinstance(weight, Blocks), "blocks were not requested"
            yield name, as_tensor(weight)


def open_checkpoint(name_or_path: str, *, store: Store, progress: Progress) -> Checkpoint:
    """Open a stored model; download the model first if necessary."""
    local = local_path(name_or_path)
    path = local or store.pull(name_or_path, progress)
    source = _GGUFSource(path) if path.is_file() else _FolderSource(path)
    entry = None if local else catalog().get(name_or_path)
    return Checkpoint(str(local or name_or_path), path, source.config(), entry, fingerprint(source.files), source)


class _GGUFSource:
    def __init__(self, path: Path) -> None:
        self._file = GGUF(path)
        self.files: Sequence[Path] = self._file.paths

    def config(self) -> DecoderConfig | None:
        return gguf_decoder.read_config(self._file)

    def family(self) -> Family:
        return gguf_decoder.family_of(self._file)

    def tokenizer(self, vocab_size: int) -> Tokenizer:
        return gguf_tokenizer.read_tokenizer(self._file, vocab_size)

    def weights(self, *, blocks: bool) -> Iterator[tuple[str, Weight]]:
        return gguf_decoder.read_weights(self._file, blocks=blocks)

    def sizes(self) -> Iterator[tuple[str, int]]:
        return gguf_decoder.stored_sizes(self._file)


class _FolderSource:
    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def files(self) -> Sequence[Path]:
        return (self._path / "config.json", *weight_files(self._path))

    def config(self) -> DecoderConfig | None:
        return folder_decoder.read_config(self._path)

    def family(self) -> Family:
        return folder_decoder.family_of(self._path)

    def tokenizer(self, vocab_size: int) -> Tokenizer:
        return folder_tokenizer.read_tokenizer(self._path, vocab_size)

    def weights(self, *, blocks: bool) -> Iterator[tuple[str, Weight]]:
        return folder_decoder.read_weights(self._path)

    def sizes(self) -> Iterator[tuple[str, int]]:
        return folder_decoder.stored_sizes(self._path)


class _Packed:
    """The packed weights of one model in one form.

    A downloaded model (``fetched``) is verified before packing.
    """

    def __init__(self, store: Store, name: str, config: DecoderConfig, scheme: str, *, fetched: bool) -> None:
        self.scheme = scheme
        self._store = store
        self._name = name
        self._config = config
        self._fetched = fetched

    def weights(self, source: _GGUFSource | _FolderSource, progress: Progress) -> PackedWeights:
        """Read the weights; first write the file if missing or damaged.

        Raises ModelError if the source is damaged or the packed weights cannot be written.
        """
        made_of = f"{_fingerprint(source.files)}-{self.scheme}"
        path = self._store.packed_path(self._name, made_of)
        with suppress(FileNotFoundError, DamagedFileError):
            return self._read(path, made_of)
        with self._store.packing(self._name, progress):
            try:
                return self._read(path, made_of)  # Possibly packed by another process.
            except FileNotFoundError:
                pass
            except DamagedFileError as error:
                logger.warning(
                    "The packed weights in %s are damaged (%s): they are deleted and packed again.", path, error
                )
                with atomic_files.errors_explained(path.parent):
                    path.unlink()
            self._write(path, made_of, source, progress)
            try:
                return self._read(path, made_of)
            except (FileNotFoundError, DamagedFileError) as error:
                raise ModelError(
                    f"The packed weights in {path} cannot be read back ({error}): check the disk."
                ) from None

    def _read(self, path: Path, made_of: str) -> PackedWeights:
        return read_packed(path, made_of, lambda specs: weight_packing.check(self._config, specs, self.scheme))

    def _write(self, path: Path, made_of: str, source: _GGUFSource | _FolderSource, progress: Progress) -> None:
        if self._fetched:
            self._store.verify(self._name, progress)  # Packing would hide damage.
        float_bytes = 4 * (self._config.body_parameters + self._config.head_parameters)
        progress.start(f"packing {self._name} ({self.scheme})", float_bytes)
        packed = weight_packing.packed_pieces(
            self._config, _counted(source.weights(blocks=self.scheme.endswith("-native")), progress), self.scheme
        )
        with atomic_files.errors_explained(path.parent), atomic_files.written_whole(path) as part:
            for stale in path.parent.glob(f"{path.name.partition('+')[0]}+*-{self.scheme}.safetensors"):
                stale.unlink()  # Of an older version of the source or of the form.
            write_packed(part, _fitting(packed, path.parent), made_of)


def _fitting(tensors: Iterable[tuple[str, NDArray[Any]]], folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield tensors; raise ModelError for a tensor for which the folder has no space."""
    for name, array in tensors:
        atomic_files.require_space(folder, array.nbytes)
        yield name, array


def _counted(weights: Iterable[tuple[str, Weight]], progress: Progress) -> Iterator[tuple[str, Weight]]:
    for name, weight in weights:
        yield name, weight
        progress.advance(math.prod(weight.shape) * 4)


def _fingerprint(files: Sequence[Path]) -> str:
    """Return a hash of the scheme version, and of the names, sizes and times of the files."""
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((weight_packing.SCHEME_VERSION, states)).encode()).hexdigest()[:16]


def _catalog_checksum(files: Sequence[Path], entry: CatalogEntry | None) -> str | None:
    """Return the SHA-256 for built-in calibrations; None outside the catalog.

    A local file is hashed only if the size equals the size of a catalog file.
    """
    if entry is not None:
        return entry.sha256  # Verified at the download.
    if len(files) == 1 and files[0].stat().st_size in {known.size for known in catalog().values()}:
        return fingerprint(files)
    return None


def find_device(name: str) -> str:
    """Return torch's name of the device for auto, cpu, cuda, cuda:N, mps, xpu or xpu:N."""
    if name == "auto":
        return "cuda" if has_gpu_driver() and has_torch() and _device_count("cuda") else "cpu"
    kind, _, index = name.partition(":")
    if not re.fullmatch(r"cpu|mps|(cuda|xpu)(:\d+)?", name):
        raise ConfigError(f"device is {name!r}, but must be auto, cpu, cuda, cuda:N, mps, xpu or xpu:N.")
    if kind == "cpu":
        return name
    require_torch(f"device {name}")
    if int(index or 0) >= (count := _device_count(kind)):
        raise ConfigError(f"device is {name}, but this machine has {count} {kind.upper()} devices that torch can use.")
    return name


def _device_count(kind: str) -> int:
    import torch

    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return torch.xpu.device_count() if kind == "xpu" else torch.cuda.device_count()


def _prepare_torch(model: str) -> None:
    """Raise ConfigError without torch."""
    require_torch(f"{model} without the native kernels")
    import torch

    torch.set_num_threads(compute_threads())


def _read_table_model(path: Path, device: str) -> Model:
    _prepare_torch(path.name)
    from pellucid.models.byte_window_folder import read_table_model

    return read_table_model(path, device)


def _refuse_quant(quant: str, path: Path) -> None:
    if quant not in ("auto", "none"):
        raise ConfigError(
            f"quant {quant} needs a model that Pellucid's own decoder runs, and {path.name} is another: use quant none."
        )


def _load_by_transformers(path: Path, device: str, quant: str, progress: Progress) -> Model:
    _refuse_quant(quant, path)
    _prepare_torch(path.name)
    import torch

    from pellucid.engine.decoders.hf_model import HFModel
    from pellucid.models.formats import transformers_folder_check

    progress.start(f"loading {path.name}", None)
    try:
        with _without_bars():
            transformers_folder_check.check(path)
            return HFModel.load(path, device, torch.float32 if device == "cpu" else torch.bfloat16)
    except PellucidError:
        raise
    except Exception as error:  # For a bad configuration, the library may raise any exception.
        raise damaged(path, error) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Disable the progress bars of the transformers library."""
    from transformers.utils import logging

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
