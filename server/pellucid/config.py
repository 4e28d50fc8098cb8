"""Settings, read from flags, the environment, ``config.toml`` and defaults, in this order.

If an API key is set, every client needs a key: programs send the key as a Bearer token, and the
page asks for the key. Conversations belong to an owner. Without a key, or with one shared key, the
owner is ``local`` and all users see all conversations. ``anna:KEY,ben:KEY`` gives each user a key:
the key's name is the owner, and users cannot reach each other's conversations.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_cache_path, user_config_path, user_data_path
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pellucid.client import address_settings
from pellucid.client.address_settings import APPLICATION, CONFIG_FILE, DEFAULT_HOST, DEFAULT_PORT, read_file, url_of
from pellucid.client.address_settings import ENVIRONMENT_PREFIX as ENVIRONMENT_PREFIX
from pellucid.client.address_settings import is_loopback as is_loopback
from pellucid.door.api_keys import Keys, WatchedKeys, read_key_file, read_keys
from pellucid.door.users import UserLimits
from pellucid.engine.native.kernel_variants import VARIANT_VARIABLE
from pellucid.errors import ConfigError
from pellucid.models.catalog import DEFAULT_MODEL

FLAGS = {"models": "--model", "adapters": "--adapter", "engines": "--engine"}
"""Flags with a name different from the setting's name."""

KEY_SETTINGS = ("api_key", "api_key_file")
"""Two ways to set the key; each source of settings may use one way."""

Names = Annotated[tuple[str, ...], NoDecode]
"""Several names; separated by commas in a single text."""


def config_file() -> Path:
    """Return the path of the settings file, which may not exist."""
    return user_config_path(APPLICATION) / CONFIG_FILE


class Settings(BaseSettings):
    """All settings.

    The descriptions give the units; they are also the help texts of ``pellucid serve`` and of the
    documentation.
    """

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    models: Names = Field(
        (DEFAULT_MODEL,),
        description="models to serve: catalog names, hub ids, folders (./NAME) or .gguf files; "
        "append @int4, @int8, @half or @none to choose how the weights are stored",
    )
    adapters: Names = Field(
        (),
        description="LoRA adapters to serve, each as a model `MODEL:NAME`: names in the cache's adapters/ folder, or "
        "paths of folders",
    )
    adapter_slots: int = Field(
        4,
        ge=1,
        le=1024,
        description="sequences that run at the same time, per adapter; a sequence's memory is allocated as the "
        "sequence grows",
    )
    engines: Names = Field(
        (),
        description="addresses of vLLM servers (remote engines) that compute the models instead of this process; then "
        "`--model` is NAME=FOLDER: the engines' name of the model, and the source of the tokenizer",
    )
    engines_file: Path | None = Field(
        None, description="file with further engines, an address in each line; a changed file is read again"
    )
    engine_key: SecretStr | None = Field(
        None,
        description="key that the engines require (vLLM's --api-key); better set in the environment or config.toml",
    )
    engine_slots: int = Field(
        64,
        ge=1,
        le=4096,
        description="requests that run at the same time, per engine; at most the engine's --max-num-seqs",
    )
    host: str = Field(
        DEFAULT_HOST,
        min_length=1,
        description="address to listen on; any address other than loopback requires an API key",
    )
    port: int = Field(DEFAULT_PORT, ge=1, le=65535, description="port to listen on")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$",
        description="where to compute: auto, cpu, cuda, cuda:N, mps, xpu or xpu:N",
    )
    quant: Literal["auto", "none", "half", "int8", "int4"] = Field(
        "auto", description="how weights are stored: auto, none, half, int8 or int4"
    )
    context: Annotated[int, Field(ge=64)] | Literal["auto"] = Field(
        8192,
        description="maximum tokens of one sequence, prompt and answer together; auto: as many as the model allows and "
        "the free memory holds for all slots",
    )
    kv_cache: Literal["exact", "int8", "auto"] = Field(
        "exact",
        description="how keys and values are stored: exact, int8 (about half the memory; logprobs change slightly) or "
        "auto (int8 if the exact cache does not fit the free memory)",
    )
    slots: int = Field(8, ge=1, le=1024, description="sequences that run at the same time, per model")
    model_memory: int = Field(
        0,
        ge=0,
        description="memory in MiB for the weights and caches of all models; a model that is loaded on request first "
        "unloads the least recently used models; 0: three quarters of the memory",
    )
    keep_alive: int = Field(
        0,
        ge=0,
        description="seconds without a request after which a model is unloaded until its next request; 0: never",
    )
    chunk: int = Field(0, ge=0, description="maximum tokens computed in one step; 0: 192 on a CPU, 512 on a GPU")
    infill_window: int = Field(
        1024,
        ge=0,
        description="maximum tokens that llama.cpp's /infill reads around the cursor, 3/4 before the cursor; 0: as "
        "many as fit",
    )
    strict_model: bool = Field(
        False,
        description="refuse requests for a model that is not served; if off, a single served model answers to every "
        "name",
    )
    lookup: bool = Field(
        True,
        description="speculative decoding: draft tokens from earlier text and check several at once; answers do not "
        "change",
    )
    queue: int = Field(
        64,
        ge=0,
        description="requests that may wait for a slot; for each remote engine, as many completions, and as many other "
        "requests; further requests get status 429",
    )
    prefix_memory: int = Field(
        512,
        ge=0,
        description="host memory in MiB for prompts without a slot, shared evenly by models and adapters; 0: none. "
        "A model with recurrent layers keeps copies of states in as much memory of the device instead, four at least",
    )
    prefix_save: bool = Field(
        True,
        description="save the KV cache of prompts and answers to the cache's prefixes/ folder when the server exits, "
        "for the next start; if off, saved caches are deleted",
    )
    share_prefixes: bool = Field(
        False,
        description="let users with separate keys reuse each other's KV cache; answers are faster for prompts with "
        "the same beginning, but times and counts of cached tokens reveal the prompts of other users",
    )
    api_key: SecretStr | None = Field(
        None,
        description="key that every request must send (Authorization: Bearer KEY); NAME:KEY,NAME:KEY gives each user "
        "a key; a key in the flag is visible in the process list to every user of the machine",
    )
    api_key_file: Path | None = Field(
        None,
        description="file with the API key, with mode 600, or NAME:KEY in a line for each user; a server reads a "
        "changed file again",
    )
    user_requests: int | None = Field(
        None, ge=1, description="requests of a user that run or wait at the same time; further requests get status 429"
    )
    user_tokens_per_minute: int | None = Field(
        None,
        ge=1,
        description="tokens that a user may use within a minute: generated tokens, and prompt tokens not in the cache; "
        "further requests get status 429",
    )
    allowed_origins: Names = Field(
        (),
        description="web origins of pages that may call the server, in addition to this machine's origins; separated "
        "by commas",
    )
    allowed_hosts: Names = Field(
        (),
        description="further names by which clients reach the server, in a network of containers or through a proxy "
        "(without ports); separated by commas",
    )
    trusted_proxies: Names = Field(
        (),
        description="addresses or networks of reverse proxies with trusted X-Forwarded-For and X-Forwarded-Proto "
        "headers; separated by commas",
    )
    max_body_bytes: int = Field(16 * 2**20, ge=1024, description="maximum size of a request body, in bytes")
    cache: Path = Field(
        default_factory=lambda: user_cache_path(APPLICATION),
        description="folder for downloaded and packed models, adapters, calibrations, unfinished trainings, "
        "compiled kernels, saved prompts and the speeds of models",
    )
    data: Path = Field(
        default_factory=lambda: user_data_path(APPLICATION),
        description="folder for the page's conversations and sessions, reviews, and the log of suggestions",
    )
    threads: int = Field(
        0, ge=0, le=1024, description="compute threads; 0: one per physical core that the process may use"
    )
    grace: int = Field(10, ge=0, description="seconds that running answers get to finish when the server stops")
    idle_exit: int = Field(0, ge=0, description="seconds without a request after which the server exits; 0: never")
    page: bool = Field(True, description="serve the web page at /")
    log_level: Literal["error", "warning", "info", "debug"] = Field(
        "warning", description="log level: error, warning, info or debug"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("should be a number or a string")
        return value

    @field_validator(
        "models", "adapters", "engines", "allowed_origins", "allowed_hosts", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value

    @field_validator("context", mode="before")
    @classmethod
    def _tokens(cls, value: object) -> object:
        if value != "auto" and not (str(value).isdecimal() and int(str(value)) >= 64):
            raise ValueError("should be a number of tokens, at least 64, or auto")
        return value

    @field_validator("models")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value) or not value:
            raise ValueError("should name a model")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise ValueError(f"should be origins like https://example.org, without a path, not {origin!r}")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
                raise ValueError(f"should be names like code.example.org, without a port or path, not {name!r}")
        return tuple(name.lower() for name in value)

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(f"should be IP addresses or networks like 10.0.0.0/8, not {network!r}") from None
        return value

    @field_validator("cache", "data", "engines_file")
    @classmethod
    def _expand(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            read_keys(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _key_for_others(self) -> Self:
        if self.api_key is None and not is_loopback(self.host):
            raise ValueError(
                f"other machines can reach the host {self.host}: set an API key (--api-key-file or PELLUCID_API_KEY)"
            )
        return self

    @property
    def has_engines_elsewhere(self) -> bool:
        """True if remote engines compute the models."""
        return bool(self.engines) or self.engines_file is not None

    @property
    def url(self) -> str:
        """URL of the server for clients on this machine."""
        return url_of(self.host, self.port)

    @property
    def keys(self) -> Keys | None:
        """API keys in clear text, by owner."""
        return None if self.api_key is None else read_keys(self.api_key.get_secret_value())

    def server_keys(self) -> Keys | None:
        """Return the API keys of a server; a changed key file is read again."""
        keys = self.keys
        return keys if keys is None or self.api_key_file is None else WatchedKeys(self.api_key_file, keys)

    @property
    def user_limits(self) -> UserLimits:
        return UserLimits(self.user_requests, self.user_tokens_per_minute)

    def check_user_limits(self) -> None:
        """Raise ConfigError for user limits on a server without a key for each user."""
        if self.keys is not None and self.keys.are_named:
            return
        for name in ("user_requests", "user_tokens_per_minute"):
            if getattr(self, name) is not None:
                raise ConfigError(
                    f"{name} needs a key for each user, as in anna:KEY,ben:KEY: set such keys, or leave out {name}."
                )

    @property
    def key(self) -> str | None:
        """An API key in clear text for commands that ask the server; the first of several keys."""
        return None if self.keys is None else next(iter(self.keys.by_owner.values()))

    def key_for(self, url: str) -> str | None:
        """Return the key if ``url`` is the server of these settings; otherwise warn on stderr."""
        key = address_settings.key_for(url, self.url, self.key)
        if key is None and self.key is not None:
            sys.stderr.write(
                f"The API key in the settings is sent only to {self.url}: give the key for {url} with --api-key-file.\n"
            )
        return key


@dataclass(frozen=True, slots=True)
class _Source:
    """A source of settings: values by name, and the spelling of names."""

    values: Mapping[str, object]
    label: str

    def spell(self, name: str) -> str:
        return self.label.format(name=name, upper=name.upper(), flag=flag_of(name))


def load_settings(**flags: object) -> Settings:
    """Return all settings; a None in ``flags`` is ignored. Raise ConfigError."""
    sources = _sources(flags)
    known = Settings.model_fields
    for source in sources:
        for name in source.values:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                hint = f": did you mean {close[0]}?" if close else f"; the settings are {', '.join(known)}."
                raise ConfigError(f"{source.spell(name)} is not a setting of Pellucid{hint}")
    given: dict[str, Any] = dict(sources[0].values) | _key_of(sources)
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigError(_explain(error, sources)) from None


def origins(**flags: object) -> dict[str, str]:
    """Return the source of each setting's value, for display."""
    sources = _sources(flags)
    found = {
        name: next((s.spell(name) for s in sources if name in s.values), "default") for name in Settings.model_fields
    }
    match _key_source(sources):
        case source, "api_key_file":
            found["api_key"] = f"the file of {source.spell('api_key_file')}"
    return found


def _key_source(sources: Sequence[_Source]) -> tuple[_Source, str] | None:
    """Return the first source with a key, and the name of the setting.

    Raise ConfigError for a source with both settings.
    """
    for source in sources:
        names = [name for name in KEY_SETTINGS if name in source.values]
        if len(names) > 1:
            raise ConfigError(
                f"{source.spell(names[0])} and {source.spell(names[1])} both give an API key: use only one of them."
            )
        if names:
            return source, names[0]
    return None


def _key_of(sources: Sequence[_Source]) -> dict[str, object]:
    """Return values for both key settings: a key and a key file from two sources must not mix."""
    match _key_source(sources):
        case source, "api_key_file":
            path = Path(str(source.values["api_key_file"])).expanduser().absolute()
            return {"api_key": read_key_file(path), "api_key_file": path}
        case source, name:
            return {name: source.values[name], "api_key_file": None}
    return {}


def flag_of(name: str) -> str:
    return FLAGS.get(name, "--" + name.replace("_", "-"))


def _sources(flags: Mapping[str, object]) -> tuple[_Source, _Source, _Source]:
    """Return flags, environment and file; earlier sources take precedence."""
    prefix = len(ENVIRONMENT_PREFIX)
    environment = {
        k[prefix:].lower(): v
        for k, v in os.environ.items()
        if k.upper().startswith(ENVIRONMENT_PREFIX) and k.upper() != VARIANT_VARIABLE and v
    }
    return (
        _Source({name: value for name, value in flags.items() if value is not None}, "{flag}"),
        _Source(environment, ENVIRONMENT_PREFIX + "{upper} in the environment"),
        _Source(read_file(config_file()), f"{{name}} in {config_file()}"),
    )


def _explain(error: ValidationError, sources: tuple[_Source, ...]) -> str:
    """Return one sentence about the first error, without repeating a secret."""
    first = error.errors(include_url=False)[0]
    rule = re.sub(r"^(Value error, |Input )", "", first["msg"])
    if not first["loc"]:
        return f"{rule[0].upper()}{rule[1:]}."
    name = str(first["loc"][0])
    if first["type"] == "string_pattern_mismatch":
        rule = f"should be one of {(Settings.model_fields[name].description or '').partition(': ')[2]}"
    where = next((source.spell(name) for source in sources if name in source.values), f"The setting {name}")
    shown = "" if name == "api_key" else f", not {first['input']!r}"
    return f"{where} {rule}{shown}."
