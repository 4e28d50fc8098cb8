"""Serve a model on the processor beneath Ray Serve; arguments: FOLDER NAME PORT REPLICAS.

Run in vLLM's environment, with ray, until a signal. Prints the number of ready replicas after every
change. The options are the options in deploy/ray_serve.py, plus options for a processor.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.llm import LLMConfig, LLMServingArgs, build_openai_app

sys.path.insert(0, str(Path(__file__).parents[3] / "deploy"))
from ray_serve import CHECK_SECONDS, ENGINE_OPTIONS, ROUTER

READY = "replicas that are ready: "
ON_CPU = {"dtype": "float32", "max_model_len": 2048, "enforce_eager": True, "kv_cache_memory_bytes": 64 * 2**20}


def main(folder: str, name: str, port: int, replicas: int) -> None:
    """Start Ray and the application, and print the number of ready replicas."""
    ray.init(num_cpus=8, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    config = LLMConfig(
        model_loading_config={"model_id": name, "model_source": folder},
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundles": [{"CPU": 1}]},
        engine_kwargs=ENGINE_OPTIONS | ON_CPU,
        deployment_config={
            "num_replicas": replicas,
            "max_ongoing_requests": 64,
            "health_check_period_s": CHECK_SECONDS,
            "request_router_config": RequestRouterConfig(request_router_class=ROUTER),
        },
    )
    serve.run(build_openai_app(LLMServingArgs(llm_configs=[config])))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    ready = None
    while signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, 0.5) is None:
        states = serve.status().applications["default"].deployments[f"LLMServer:{name}"].replica_states
        if ready != (ready := states.get("RUNNING", 0)):
            print(f"\n{READY}{ready}", flush=True)
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
