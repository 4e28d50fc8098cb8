"""Folders of LoRA adapters in the layout of the peft library.

A folder has adapter_config.json and adapter_model.safetensors. An optional pellucid.json names the
base weights: {"base": name, "fingerprint": hash of the base's files, "name": adapter name}. The
store's folder of adapters holds the adapters that are served by name.
"""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import AdapterError, ModelError, NotFoundError
from pellucid.models.store import Store
from pellucid.models.untrusted_files import Json, damage_explained, printable, read_json, real, shown, whole
from pellucid.vocabulary.model_card import ADAPTER_NAME

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
ORIGIN = "pellucid.json"

_UNSUPPORTED = (
    "use_dora",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "fan_in_fan_out",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
    "megatron_config",
)
"""Unsupported peft options that change the result of an adapter: must be unset."""

_LARGEST_RANK = 1 << 16
_LARGEST_ALPHA = 1e6
_MAX_TARGETS = 1000

_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initialisations that do not change the base's weights."""


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """An adapter's description: ``base`` names the base model, ``fingerprint`` the weights.

    The product of the matrices is multiplied by ``scale``. ``size`` is in bytes.
    """

    name: str
    path: Path
    base: str | None
    fingerprint: str | None
    rank: int
    scale: float
    targets: tuple[str, ...]
    size: int


def stored_adapters(store: Store) -> list[Path]:
    """Return the folders of the adapters in the store, including broken links."""
    return sorted(path for path in store.adapters.glob("*") if os.path.lexists(path / CONFIG))


def is_stored(store: Store, name: str) -> bool:
    return re.fullmatch(ADAPTER_NAME, name) is not None and (store.adapters / name / CONFIG).is_file()


def adapter_folder(store: Store, name: str) -> Path:
    """Return the folder of an adapter in the store."""
    folder = store.adapters / name
    if not is_stored(store, name):
        known = ", ".join(path.name for path in stored_adapters(store))
        remedy = f"use one of: {known}" if known else "the folder has no adapters"
        raise NotFoundError(f"There is no adapter {name!r} in {store.adapters}; {remedy}.")
    return folder


def local_adapter(store: Store, name_or_path: str) -> Path:
    """Return the folder of an adapter by name in the store, or by path.

    A name without a slash is a name in the store; write ``./name`` for a folder in the working
    directory.
    """
    if re.fullmatch(ADAPTER_NAME, name_or_path) is not None:
        if not is_stored(store, name_or_path) and (Path(name_or_path) / CONFIG).is_file():
            raise NotFoundError(
                f"There is no adapter {name_or_path} in {store.adapters}; "
                f"to use the folder of this name in the working directory, write ./{name_or_path}."
            )
        return adapter_folder(store, name_or_path)
    # A name may be too long, contain NUL, or begin with an unknown user's ~.
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(name_or_path).expanduser()
        if (path / CONFIG).is_file():
            return path.resolve()
    raise NotFoundError(f"{shown(name_or_path)} has no {CONFIG}: it is not the folder of an adapter.")


def is_made_for(card: AdapterCard, model: str) -> bool:
    """Return whether an adapter names a model by path, hub name or served name."""
    return _last_part(card.base or "") == _last_part(model)


def read_card(folder: Path, name: str | None = None) -> AdapterCard:
    """Read an adapter's description; the default name is the folder's name."""
    name = name or folder.name
    if re.fullmatch(ADAPTER_NAME, name) is None:
        raise AdapterError(
            f"An adapter cannot be named {shown(name)}: use up to 64 letters, digits, hyphens, dots and underscores."
        )
    try:
        with damage_explained(folder / CONFIG):
            return _read_card(folder, name)
    except ModelError as error:
        raise AdapterError(str(error)) from None


def _last_part(name: str) -> str:
    return name.rpartition("/")[2].lower().partition(":")[0].removesuffix(".gguf")


def _read_card(folder: Path, name: str) -> AdapterCard:
    path = folder / CONFIG
    config, origin = read_json(path), read_json(folder / ORIGIN)
    _check_kind(folder, config)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise AdapterError(
            f"{folder} has no {WEIGHTS}, and weights in other formats can contain code: save it as safetensors."
        )
    if config.get("r") is None or config.get("lora_alpha") is None:
        raise AdapterError(f"{path} lacks r or lora_alpha, which every LoRA adapter has.")
    rank = whole(path, config, "r", 1, _LARGEST_RANK)
    alpha = real(path, config, "lora_alpha", -_LARGEST_ALPHA, _LARGEST_ALPHA)
    targets = config.get("target_modules")
    base = origin.get("base") or config.get("base_model_name_or_path")
    made_for = origin.get("fingerprint")
    return AdapterCard(
        name=name,
        path=folder,
        base=printable(base) if isinstance(base, str) else None,
        fingerprint=made_for if isinstance(made_for, str) else None,
        rank=rank,
        scale=alpha / (math.sqrt(rank) if config.get("use_rslora") else rank),
        targets=_targets(path, targets),
        size=weights.stat().st_size,
    )


def _targets(path: Path, stated: object) -> tuple[str, ...]:
    """Return the kinds of changed matrices. Raises ModelError for items other than names."""
    if not isinstance(stated, list):
        return (printable(str(stated)),)
    wrong = next((item for item in stated if not isinstance(item, str)), None)
    if wrong is not None or len(stated) > _MAX_TARGETS:
        raise ModelError(f"{path} has a list of {len(stated)} target_modules; it must be up to {_MAX_TARGETS} names.")
    return tuple(sorted(map(printable, stated)))


def _check_kind(folder: Path, config: Json) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise AdapterError(
            f"The adapter in {folder} is of the type {shown(kind)}, but only LORA is supported: train it as LoRA."
        )
    if config.get("bias", "none") != "none":
        raise AdapterError(
            f"The adapter in {folder} has trained biases ({shown(config['bias'])}), which are not supported: "
            "train it without them."
        )
    unsupported = next((name for name in _UNSUPPORTED if config.get(name)), None)
    if unsupported is not None:
        raise AdapterError(
            f"The adapter in {folder} was trained with {unsupported}, which is not supported: train it without."
        )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise AdapterError(
            f"The adapter in {folder} was initialized by {shown(start)}, which also changes the base model and is not "
            "supported: train it with another initialization."
        )
