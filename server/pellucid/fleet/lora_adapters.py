"""The LoRA adapters of the replicas: listing, loading and unloading.

vLLM knows adapters by name, whatever the base. Here an adapter is a model ``base:name``, served
only from replicas with the same weights. Engines read an adapter's folder themselves, so its path
must be the same on every engine.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pellucid.errors import AdapterError, PellucidError, UnavailableError
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import MAX_DIFFERENCE, JoinCheck, JoinError, difference, probe_logprobs
from pellucid.fleet.replica import Replica, ReplicaBusyError, ReplicaLostError
from pellucid.fleet.vllm_wire import shown_name
from pellucid.vocabulary.model_card import ADAPTER_NAME

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"

NO_ROUTE = "It loads no adapters while it runs: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedFolder:
    """A folder loaded through this front, and the addresses that have read its current content."""

    path: Path
    readers: set[str] = field(default_factory=set)


class LoraAdapters:
    """The adapters of a fleet's replicas, as models ``base:name``. Use from a single event loop."""

    def __init__(self, fleet: Fleet, check: JoinCheck) -> None:
        self._fleet = fleet
        self._join_check = check
        self._folders: dict[str, LoadedFolder] = {}
        # By the first replica with the adapter
        self._logprobs: dict[str, tuple[float, ...]] = {}
        self._changing: set[str] = set()
        # Addresses that may still have an unloaded adapter
        self._unloaded: dict[str, set[str]] = {}

    def served(self) -> dict[str, str]:
        return {
            model: base
            for replica in self._replicas()
            for model, base in replica.adapters.items()
            if base in replica.models and model not in self._changing
        }

    def loaded(self) -> dict[str, Path]:
        """Return the adapters loaded through this front, even without any replica."""
        return {model: folder.path for model, folder in [*self._folders.items()]}

    def problems(self, model: str) -> dict[str, str]:
        """Return the reasons, by address, why replicas do not serve an adapter."""
        return {one.url: one.adapter_problems[model] for one in self._replicas() if model in one.adapter_problems}

    def revision(self, model: str) -> str:
        return blake2b(repr(self._logprobs[model]).encode(), digest_size=8).hexdigest()

    async def check(self, replica: Replica) -> None:
        """Update a replica's adapters by its list, and catch up on loading and unloading."""
        try:
            listed = adapters_in(await replica.ask("/v1/models"))
        except (ReplicaLostError, ReplicaBusyError, PellucidError):
            return  # Requests detect a lost replica.
        problems: dict[str, str] = {}
        for model in [model for model, urls in self._unloaded.items() if replica.url in urls]:
            base, _, name = model.rpartition(":")
            refusal = None
            if listed.get(name) == base:
                del listed[name]
                refusal = await self._unload_at(replica, model)
            else:
                self._note_unloaded(replica, model)
            if refusal is not None:
                problems[model] = f"It was unloaded, but this engine keeps it. {refusal}"
        found = [f"{base}:{name}" for name, base in listed.items()]
        for model in dict.fromkeys([*self._folders, *found]):
            base, _, name = model.rpartition(":")
            if base not in replica.models or model in self._changing or model in problems:
                continue
            folder = self._folders.get(model)
            problem = None
            if folder is not None and not (name in listed and replica.url in folder.readers):
                problem = await self._load_at(replica, model, folder, listed)
            problem = problem or await self._verify(replica, model)
            if problem is not None:
                problems[model] = problem
        kept = {*found, *self._folders} - problems.keys() | self._changing
        replica.adapters = {model: base for model, base in replica.adapters.items() if model in kept}
        for model, problem in problems.items():
            if replica.adapter_problems.get(model) != problem:
                logger.warning("The engine %s does not serve %s: %s", replica.url, model, problem)
        replica.adapter_problems = problems

    async def load(self, base: str, name: str, path: Path) -> None:
        """Let every replica of ``base`` read an adapter's folder. ``problems`` lists the failures.

        Raises AdapterError if the name is taken or every replica failed, and UnavailableError while
        answers of the adapter are running.
        """
        model = f"{base}:{name}"
        replicas = [one for one in self._replicas() if one.takes_part and base in one.models]
        self._check_may_load(model, name, replicas)
        self._changing.add(model)
        self._unloaded.pop(model, None)
        self._logprobs.pop(model, None)
        previous, folder = self._folders.pop(model, None), LoadedFolder(path)
        for replica in self._replicas():
            replica.drop_adapter(model)
        try:
            reasons = await asyncio.gather(*(self._load_and_verify(replica, model, folder) for replica in replicas))
            if all(reason is not None for reason in reasons):
                by_address = " ".join(
                    f"{replica.url}: {reason}" for replica, reason in zip(replicas, reasons, strict=True)
                )
                raise AdapterError(f"No engine could load the adapter {name} from {path}. {by_address}")
            self._folders[model] = folder
        finally:
            self._changing.discard(model)
            if model not in self._folders and previous is not None:
                self._folders[model] = previous
            for replica in self._replicas():
                replica.is_stale = replica.is_stale or replica.url not in folder.readers

    def forget(self, model: str) -> None:
        """Stop serving an adapter, before ``unload``."""
        self._changing.add(model)
        self._folders.pop(model, None)

    async def unload(self, model: str, ended: Future[None]) -> None:
        """Unload a forgotten adapter on the replicas, once ``ended`` is done."""
        try:
            await asyncio.wrap_future(ended)
            serving = [replica for replica in self._replicas() if replica.takes_part and model in replica.adapters]
            others = [
                replica for replica in self._replicas() if not replica.takes_part or model in replica.adapter_problems
            ]
            self._unloaded[model] = {replica.url for replica in [*serving, *others]}
            self._logprobs.pop(model, None)
            for replica in self._replicas():
                replica.drop_adapter(model)
            for replica in others:
                replica.is_stale = True  # A check finds out whether the replica has the adapter.
            await asyncio.gather(*(self._unload_now(replica, model) for replica in serving))
        finally:
            self._changing.discard(model)

    def _replicas(self) -> list[Replica]:
        return [*self._fleet.replicas.values()]

    def _check_may_load(self, model: str, name: str, replicas: list[Replica]) -> None:
        base = model.rpartition(":")[0]
        if not replicas:
            raise UnavailableError(f"No engine serves {base} now: `pellucid engines list` shows the reasons.")
        if model in self._changing:
            raise UnavailableError(
                f"{model} is still being unloaded, until its last answers have ended: try again then."
            )
        other = next(
            (one for one in [*self._folders, *self.served()] if one != model and one.rpartition(":")[2] == name), None
        )
        if other is not None:
            raise AdapterError(
                f"An engine has one adapter of a name, and {other} is served: unload it, or use another name.",
                param="name",
            )
        if name in self._join_check.models or model in self._join_check.models:
            raise AdapterError(f"{name} is the name of a model: use another name for the adapter.", param="name")
        running = self._fleet.running(model)
        if running:
            raise UnavailableError(
                f"{running} answers of {model} are running and would continue with other weights: try again later."
            )

    async def _load_and_verify(self, replica: Replica, model: str, folder: LoadedFolder) -> str | None:
        """Let a replica load an adapter. Return the reason for a failure."""
        async with replica.lock:
            try:
                listed = adapters_in(await replica.ask("/v1/models"))
            except (ReplicaLostError, ReplicaBusyError, PellucidError) as error:
                return str(error)
            problem = await self._load_at(replica, model, folder, listed) or await self._verify(
                replica, model, is_loading=True
            )
            if problem is not None:
                replica.drop_adapter(model, problem)
            return problem

    async def _load_at(
        self, replica: Replica, model: str, folder: LoadedFolder, listed: Mapping[str, str]
    ) -> str | None:
        base, _, name = model.rpartition(":")
        if listed.get(name, base) != base:
            return f"It has an adapter {name} of {listed[name]}: unload that, or use another name."
        in_place = {"load_inplace": True} if name in listed else {}
        status, reason = await replica.tell(LOAD, {"lora_name": name, "lora_path": str(folder.path)} | in_place)
        if status == 404 and reason:
            return f"It does not find the folder, which must have the same path there: {reason}"
        if status != 200:
            return NO_ROUTE if status in (404, 405) else f"It refuses the adapter: {reason}"
        folder.readers.add(replica.url)
        return None

    async def _unload_now(self, replica: Replica, model: str) -> None:
        async with replica.lock:
            refusal = await self._unload_at(replica, model)
            if refusal is not None:
                replica.drop_adapter(model, f"It was unloaded, but this engine keeps it. {refusal}")

    async def _unload_at(self, replica: Replica, model: str) -> str | None:
        status, reason = await replica.tell(UNLOAD, {"lora_name": model.rpartition(":")[2]})
        if status == 200 or (status == 404 and reason):
            self._note_unloaded(replica, model)
            return None
        return NO_ROUTE if status in (404, 405) else reason

    def _note_unloaded(self, replica: Replica, model: str) -> None:
        """Note that a replica no longer has an adapter, even if meanwhile loaded again."""
        urls = self._unloaded.get(model, set())
        urls.discard(replica.url)
        if not urls:
            self._unloaded.pop(model, None)

    async def _verify(self, replica: Replica, model: str, *, is_loading: bool = False) -> str | None:
        """Serve an adapter from a replica if the weights are the same as on other replicas.

        Return the reason for a failure.
        """
        base, _, name = model.rpartition(":")
        if re.fullmatch(ADAPTER_NAME, name) is None:
            return (
                "An adapter's name has up to 64 letters, digits, hyphens, dots and underscores: "
                "load it under another one."
            )
        if name in replica.models or model in self._join_check.models:
            return "Its name is that of a model: load it under another one."
        try:
            logprobs = await probe_logprobs(replica, name, self._join_check.models[base])
        except ReplicaBusyError as error:
            return None if model in replica.adapters else str(error)
        except (JoinError, PellucidError, ReplicaLostError) as error:
            return str(error)
        if model in self._changing and not is_loading:
            return "It is being loaded or unloaded."
        first = self._logprobs.get(model)
        is_same = first is not None and difference(first, logprobs) <= MAX_DIFFERENCE
        if not is_same and any(model in other.adapters for other in self._replicas() if other is not replica):
            return "Its logprobs differ from those of the adapter of this name at other engines: load it again."
        if not is_same:
            self._logprobs[model] = logprobs
        replica.add_adapter(model, base)
        return None


def adapters_in(reply: Mapping[str, Any]) -> dict[str, str]:
    """Return the bases of the adapters in a reply of /v1/models."""
    data = reply.get("data")
    listed = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    named = [(one.get("id"), one.get("parent")) for one in listed]
    return {
        shown_name(id): shown_name(parent) for id, parent in named if isinstance(id, str) and isinstance(parent, str)
    }
