"""Compare two models on the same text: bits per byte, and each model's most surprising token.

python examples/compare_models.py FILE MODEL_A MODEL_B
"""

from __future__ import annotations

import sys
from pathlib import Path

import pellucid


def main(file: str, *models: str) -> None:
    """Print a row per model. Bits per byte are comparable even if the tokenizers differ."""
    text = Path(file).read_text(encoding="utf-8")
    for name in models:
        with pellucid.load(name) as assistant:
            trace = assistant.score(text)
        worst = min(trace, key=lambda token: token.logprob or 0.0)
        print(
            f"{name:32} {trace.bits_per_byte:6.3f} bits per byte; most surprising token: {worst.text!r} (rank "
            f"{worst.rank})"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
