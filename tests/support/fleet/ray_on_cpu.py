"""Serve a model on this machine's processor beneath Ray Serve: ``python ray_on_cpu.py FOLDER NAME PORT REPLICAS``.

It runs in vLLM's environment, with ray, and serves until a signal. Whenever it has changed, it
prints how many replicas are ready. The options are those of deploy/ray_serve.py, and those of a
processor.
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
    """Start Ray and the application, and print the number of its replicas that are ready."""
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
