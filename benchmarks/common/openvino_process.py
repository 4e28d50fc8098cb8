"""Measures OpenVINO GenAI; the Python of an environment with openvino-genai runs this program.

    python openvino_process.py MODEL.gguf THREADS

Reads a line [prompt tokens, answer tokens], and prints [prefill, decode] in tokens per second, with
random tokens as the prompt.
"""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import openvino
import openvino_genai

VOCABULARY = range(1000, 30_000)


def main() -> None:
    path, threads = sys.argv[1:]
    pipeline = openvino_genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=int(threads))
    print(json.dumps(openvino.__version__), flush=True)
    for line in sys.stdin:
        prompt, answer = json.loads(line)
        ids = np.array([random.choices(VOCABULARY, k=prompt)], dtype=np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        found = pipeline.generate(
            inputs, openvino_genai.GenerationConfig(max_new_tokens=answer, ignore_eos=True, do_sample=False)
        ).perf_metrics
        print(json.dumps([1000 * prompt / found.get_ttft().mean, 1000 / found.get_tpot().mean]), flush=True)


if __name__ == "__main__":
    main()
