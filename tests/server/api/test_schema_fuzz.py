"""The server serves requests of the published schema, refuses other requests, and never fails."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from pellucid.api.app import create_app
from pellucid.api.server_state import ServerState
from support.servers.http_servers import ADAPTER, TINY, LiveServer
from support.trial_counts import trial_count

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def shape() -> dict[str, Any]:
    """Return the published schema, with names limited to served models and adapters.

    Most other names are refused.
    """
    published = create_app(ServerState(models=(TINY,))).openapi()
    for body in published["components"]["schemas"].values():
        # This body counts outcomes of unknown models.
        counts_others = body.get("title") == "OutcomesRequest"
        if "model" in body.get("properties", {}) and body["title"].endswith("Request") and not counts_others:
            body["properties"]["model"] = {"enum": [TINY, "", None]}
    for path in ("/models/unload", "/api/pull"):
        del published["paths"][path]  # This server loads no models.
    published["components"]["schemas"]["AdapterRequest"]["properties"]["name"] = {"enum": [ADAPTER, "other"]}
    return published


schema = schemathesis.openapi.from_dict(shape())
# An invalid body may also be refused for the size (413), before the body is read.
schema.config.checks.negative_data_rejection.expected_statuses.append("413")
schema.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE])


OPERATIONS = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]  # an Err has no ok(): it fails here


# Not schema.parametrize(): all tests would share a single id, and pytest-xdist would run only one
# test.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(
    max_examples=trial_count(80),
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_schema(operation: APIOperation[Any, Any, Any, Any], data: st.DataObject, small_server: LiveServer) -> None:
    """Valid requests get documented answers, invalid requests are refused, and no request fails."""
    case = data.draw(
        st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in schema.config.generation.modes))
    )
    case.call_and_validate(base_url=small_server.url, checks=CHECKS)
