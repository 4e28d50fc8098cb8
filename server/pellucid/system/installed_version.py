"""The version of an installed package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str = "pellucid") -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed: it runs from its source folder)"
