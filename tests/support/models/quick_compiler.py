"""A fast compiler for slow kernels."""

from __future__ import annotations

QUICK = """sh -c 'exec cc "$@" -O0' cc"""
"""The C compiler without optimisation: a compilation takes a second."""
