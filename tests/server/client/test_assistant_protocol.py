"""Every assistant, of the package or of the tests, has the verbs and parameters of the protocol."""

from __future__ import annotations

import inspect

import pytest

from pellucid.client.assistant_protocol import Assistant
from pellucid.client.http_client import Client
from pellucid.text.assistant import LocalAssistant
from support.editors.scripted_provider import ScriptedProvider
from support.learn.file_knowing_model import KnowingAssistant
from support.page.scripted_assistant import ScriptedPageAssistant
from support.servers.http_servers import ScriptedAssistant
from support.silent_assistant import SilentAssistant

ASSISTANTS: list[type[Assistant]] = [
    *(LocalAssistant, Client, SilentAssistant, ScriptedAssistant, ScriptedPageAssistant),
    *(ScriptedProvider, KnowingAssistant),
]
"""Typed as the protocol: mypy compares the whole signatures."""

VERBS = ("complete", "chat", "score", "infill_prompt", "cards")


@pytest.mark.parametrize("assistant", ASSISTANTS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_take_the_protocol_s_parameters(assistant: type[Assistant], verb: str) -> None:
    """A verb takes all parameters of the protocol; an additional parameter has a default."""
    expected = inspect.signature(getattr(Assistant, verb)).parameters
    own = inspect.signature(getattr(assistant, verb)).parameters

    assert [(name, own[name].kind, own[name].default) for name in expected if name in own] == [
        (name, parameter.kind, parameter.default) for name, parameter in expected.items()
    ]
    assert all(own[name].default is not inspect.Parameter.empty for name in own.keys() - expected.keys())
