"""Score a file with a model and print the most surprising lines.

python examples/score_file.py server/pellucid/tokens.py [MODEL]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pellucid

BITS_PER_NAT = 1.4426950408889634
MOST_SURPRISING = 5


def main(file: str, model: str = "qwen2.5-coder-0.5b-instruct") -> None:
    """Print perplexity, bits per byte, and the lines with the most bits of surprisal."""
    text = Path(file).read_text(encoding="utf-8")
    with pellucid.load(model) as assistant:
        trace = assistant.score(text)
    print(f"{len(trace)} tokens, perplexity {trace.perplexity:.2f}, {trace.bits_per_byte:.2f} bits per byte")
    bits: dict[int, float] = defaultdict(float)
    line = 0
    for token in trace:
        bits[line] -= (token.logprob or 0.0) * BITS_PER_NAT
        line += token.text.count("\n")
    lines = text.split("\n")
    for number in sorted(bits, key=lambda number: -bits[number])[:MOST_SURPRISING]:
        print(f"{bits[number]:6.1f} bits  line {number + 1}: {lines[number].strip()}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
