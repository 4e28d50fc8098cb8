"""The meaning of a model's name: an entry of the catalog, a repository, or a local folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pellucid.engine.decoders.decoder import DecoderConfig
from pellucid.errors import AdapterError, NotFoundError
from pellucid.models.adapter_folder import local_adapter, read_card, stored_adapters
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import load, served_name
from pellucid.models.store import Store, as_argument, local_path
from pellucid.system.progress import Silent
from support.models.model_files import byte_level_bpe, write_folder
from support.models.recording_progress import Following
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_decoders import QWEN2
from support.models.tiny_models import tiny_llama

VOCAB = 320


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def write_model(folder: Path) -> Path:
    tiny_llama(vocab_size=VOCAB).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


def test_names_of_the_catalog_are_never_folders(here: Path) -> None:
    """A folder named like a model of the catalog is served only as a path."""
    write_model(here / DEFAULT_MODEL)
    assert local_path(DEFAULT_MODEL) is None
    assert served_name(f"{DEFAULT_MODEL}@int4") == f"{DEFAULT_MODEL}@int4"
    assert local_path(f"./{DEFAULT_MODEL}") == here / DEFAULT_MODEL


def test_the_error_of_a_bare_folder_name_gives_its_path(here: Path, store: Store) -> None:
    """A name without a slash is never a folder, but the error gives an existing folder's path."""
    write_model(here / "mine")
    with pytest.raises(NotFoundError, match=r"There is no model 'mine'; to use the folder .* write \./mine"):
        load("mine", device="cpu", store=store, progress=Silent())
    assert load("./mine", device="cpu", store=store, progress=Silent()).path == here / "mine"
    with pytest.raises(NotFoundError, match="There is no model 'other': `pellucid models list` shows"):
        load("other", device="cpu", store=store, progress=Silent())


def test_a_folder_comes_before_a_model_of_the_hub(here: Path, store: Store) -> None:
    """``run/gpt`` is an existing folder, with a note; ``./run/gpt`` needs no note."""
    write_model(here / "run" / "gpt")
    progress = Following()
    assert load("run/gpt", device="cpu", store=store, progress=progress).path == here / "run" / "gpt"
    (note,) = progress.notes
    assert note.startswith(f"run/gpt is the folder {here / 'run' / 'gpt'}, not a model on the hub")
    progress = Following()
    load("./run/gpt", device="cpu", store=store, progress=progress)
    assert progress.notes == []
    shutil.rmtree(here / "run")
    assert local_path("run/gpt") is None


def test_the_working_directory_itself_can_be_a_model(here: Path) -> None:
    """``.`` and ``..`` are the usual folders."""
    write_model(here)
    assert local_path(".") == here
    (here / "deeper").mkdir()
    assert local_path("deeper/..") == here


@pytest.mark.parametrize(
    ("path", "written"),
    [("mine", "./mine"), ("run/gpt", "run/gpt"), ("/abs", "/abs"), ("./mine", "./mine"), ("../mine", "../mine")],
)
def test_a_path_is_written_as_it_is_read(path: str, written: str) -> None:
    """A path printed by a command is read back as a path, not as a name."""
    assert as_argument(Path(path)) == written


def test_adapters_of_the_store_are_never_folders_here(here: Path, store: Store) -> None:
    """An adapter's name is looked up in the store; a folder here must be written as ``./name``."""
    config: DecoderConfig = QWEN2
    write_adapter(here / "mine", random_adapter(config))
    with pytest.raises(NotFoundError, match=r"to use the folder .* write \./mine"):
        local_adapter(store, "mine")
    stored = write_adapter(store.adapters / "mine", random_adapter(config))
    assert local_adapter(store, "mine") == stored
    assert local_adapter(store, "./mine") == here / "mine"


def test_an_adapter_whose_description_is_a_loop_is_listed(store: Store) -> None:
    """An adapter with a looping adapter_config.json is listed, and reading reports the problem."""
    folder = write_adapter(store.adapters / "mine", random_adapter(QWEN2))
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").symlink_to("adapter_config.json")
    assert stored_adapters(store) == [folder]
    with pytest.raises(AdapterError, match=r"adapter_config\.json cannot be read"):
        read_card(folder)
