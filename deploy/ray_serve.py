"""vLLM engines beneath Ray Serve, for more GPUs than a single host has.

Pellucid's front receives the application's address.

    export RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING=1 RAY_SERVE_ENABLE_HA_PROXY=1
    export RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER=1s
    serve run ray_serve:app folder=/models/qwen2.5-coder-7b name=coder replicas=8
    pellucid serve --engine http://HEAD:8000 --model coder=/models/qwen2.5-coder-7b

Without the first two variables Ray Serve has no route for token ids. With the third variable the
proxy checks each replica every second instead of every five: until the check, requests are sent to
a replica with a dead engine. Importing this module does not import ray. Ray listens on every
interface, without keys: keep Ray in an inner network.
"""

from __future__ import annotations

from typing import Any

ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""Routes all requests with the same ``x-session-id``, an editor or a conversation, to a replica."""

ENGINE_OPTIONS: dict[str, Any] = {
    "enable_scale_out": True,
    "max_logprobs": 200,
    "scheduling_policy": "priority",
    "enable_prompt_tokens_details": True,
}
"""vLLM's options of docs/scale.md."""

CHECK_SECONDS = 1.0
"""Time between two checks of a replica's engine; Ray's default is 10. After three failures Ray
replaces the replica.
"""

ARGUMENTS = {"folder", "name", "replicas", "slots"}


def app(arguments: dict[str, str]) -> Any:
    """Return the application of ``serve run``.

    Arguments: ``folder`` and ``name`` of the model, ``replicas`` (default: 1), and ``slots``, the
    simultaneous requests of each replica (default: 64). Raises ValueError for an unknown argument,
    or without ``folder`` or ``name``.
    """
    unknown = sorted(arguments.keys() - ARGUMENTS)
    if unknown or not {"folder", "name"} <= arguments.keys():
        given = f"{', '.join(unknown)} is unknown" if unknown else "folder and name are needed"
        raise ValueError(f"{given}: serve run ray_serve:app folder=FOLDER name=NAME [replicas=N] [slots=N]")
    from ray.serve.config import RequestRouterConfig
    from ray.serve.llm import LLMConfig, LLMServingArgs, build_openai_app

    config = LLMConfig(
        model_loading_config={"model_id": arguments["name"], "model_source": arguments["folder"]},
        engine_kwargs=ENGINE_OPTIONS,
        deployment_config={
            "num_replicas": int(arguments.get("replicas", "1")),
            "max_ongoing_requests": int(arguments.get("slots", "64")),
            "health_check_period_s": CHECK_SECONDS,
            "request_router_config": RequestRouterConfig(request_router_class=ROUTER),
        },
    )
    return build_openai_app(LLMServingArgs(llm_configs=[config]))
