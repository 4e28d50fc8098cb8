"""Load mutated model files and adapters, and count the outcomes.

    python benchmarks/fuzz_model_files.py --count 2000 --seed 1 [gguf] [folder] [image] [adapter]

By default there are 2,000 GGUF files, folders and models of images, and 1,000 adapters. The only
allowed outcomes are a loaded model and a one-sentence error: no traceback, no crash, nothing over
ten seconds or 2 GB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import transformers

from support.models.hostile_model_files import MAKERS, MEMORY, Tally, adapter_trial, report, run_cases

KINDS = (*MAKERS, "adapter")


def trial(kind: str, root: Path, count: int, seed: int) -> Tally:
    """Run a kind of trial in a folder."""
    if kind == "adapter":
        return adapter_trial(root, max(1, count // 2), seed)
    return run_cases(MAKERS[kind](root, count, seed))


def main() -> int:
    """Run the named trials, print the figures, and return 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--count", type=int, default=2000, help="files and folders; half as many adapters")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    failed = False
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            tally = trial(kind, Path(folder), options.count, options.seed)
            print(report(kind, tally, began), flush=True)
        failed = failed or bool(tally.failures) or tally.peak > MEMORY
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
