"""Made-up benchmark reports."""

from __future__ import annotations

from typing import Any

from pellucid.bench.report import Figure, Report, Unit

FIGURES = (
    Figure.of("machine", "reads memory", Unit.READING, [18e9, 20e9], choose=max),
    Figure.of("machine", "multiplies", Unit.MULTIPLYING, [0.9e12, 1e12], choose=max),
    Figure.of("prefill", "512 tokens", Unit.RATE, [700, 800, 1200], limit=1600),
    Figure.of("decode", "one stream", Unit.RATE, [30, 31, 32], limit=40),
    Figure.of("decode", "a token", Unit.MILLISECONDS, [31, 32, 33], limit=25),
    Figure.of("memory", "weights", Unit.BYTES, [633_000_000]),
    Figure.of("start", "importing", Unit.SECONDS, [1.5]),
)


def report(**fields: Any) -> Report:
    """Return a report, with some fields replaced."""
    whole: dict[str, Any] = {
        "date": "2026-11-25T17:00:13+00:00",
        "versions": {"pellucid": "0.1.0", "python": "3.11.7", "torch": "2.13.0"},
        "machine": {
            "processor": "AMD EPYC",
            "processors": 2,
            "system": "Linux x86_64",
            "memory": 25_276_514_304,
            "device": "cpu",
        },
        "model": {"name": "tiny", "description": "int8 weights"},
        "setup": {"threads": 2, "context": 8192, "slots": 8, "chunk": 512, "rounds": 5},
        "figures": FIGURES,
    }
    return Report(**(whole | fields))


def figure(name: str, unit: Unit, samples: list[float]) -> Figure:
    """Return a figure without a limit."""
    return Figure.of("section", name, unit, samples)
