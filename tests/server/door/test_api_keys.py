"""API keys belong to all users together or to each user separately."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.config import load_settings
from pellucid.door.api_keys import LOCAL, read_keys
from pellucid.errors import ConfigError

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,31}", fullmatch=True)
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",:"), min_size=1)


@given(st.dictionaries(NAMES, WORDS, min_size=1, max_size=4).filter(lambda keys: len(set(keys.values())) == len(keys)))
def test_names(keys: dict[str, str]) -> None:
    """A key, alone or after NAME:, has an owner; any other text has no owner."""
    found = read_keys(",".join(f"{name}:{key}" for name, key in keys.items()))

    assert dict(found.by_owner) == keys
    assert {key: found.owner_of(key) for key in keys.values()} == {key: name for name, key in keys.items()}
    assert all(found.owner_of(f"{name}:{key}") == name for name, key in keys.items())
    assert found.owner_of("".join(keys.values()) + "x") is None


@pytest.mark.parametrize("key", ["secret", "5:key", "-a:key", ":key", "name:"])
def test_shared(key: str) -> None:
    """A key without a name belongs to the local user."""
    assert read_keys(key).by_owner == {LOCAL: key}


@pytest.mark.parametrize("text", ["a,b", "anna:k,b", "anna:k,", "anna:k,anna:l", "anna:k,ben:k"])
def test_several_need_names(text: str) -> None:
    """Several keys need different names and values; the error does not repeat any key."""
    with pytest.raises(ConfigError) as raised:
        load_settings(api_key=text)

    message = "--api-key must give every user a different name and key, as in anna:KEY,ben:KEY."
    assert str(raised.value) == message


def test_secret_stays_secret() -> None:
    """The repr of keys does not contain the keys."""
    assert "hunter2" not in repr(read_keys("anna:hunter2"))


def test_what_asks_the_server_has_the_first_key() -> None:
    """`Settings.key` is the first key, without the name of the owner."""
    assert load_settings(api_key="anna:k1,ben:k2").key == "k1"
    assert load_settings().key is None
