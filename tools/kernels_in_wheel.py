"""A build hook: compiles the native kernels into a wheel, so that users need no compiler.

A wheel holds every variant of the compiler's architecture; a cross compiler in the variable CC
makes a wheel for a different architecture. Without a compiler the wheel holds no library and suits
every platform. Editable installs and source archives hold no library.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from pellucid.engine.native.kernel_compiler import (
    KernelsUnavailableError,
    build_name,
    compile_kernels,
    find_compiler,
    run,
)
from pellucid.engine.native.kernel_variants import KernelVariant, variants_of

PREBUILT = "pellucid/engine/native/prebuilt"
"""The folder in the wheel where library.py looks for libraries."""


class KernelsInWheel(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the libraries, and the tag of the platform, to a wheel."""
        if version == "editable":
            return
        try:
            compiler = find_compiler()
            machine = run([*compiler, "-dumpmachine"]).strip()
        except KernelsUnavailableError as error:
            self.app.display_warning(f"The wheel holds no native kernels. {error}")
            return
        self._folder = tempfile.TemporaryDirectory(prefix="pellucid-kernels-")
        architecture = machine.partition("-")[0]

        def compiled(variant: KernelVariant) -> Path | None:
            library = Path(self._folder.name) / f"{build_name(variant)}.so"
            try:
                compile_kernels(compiler, variant, library)
            except KernelsUnavailableError as error:
                self.app.display_warning(f"The wheel holds no {variant.name} kernels. {error}")
                return None
            return library

        with ThreadPoolExecutor() as threads:
            libraries = [library for library in threads.map(compiled, variants_of(architecture)) if library]
        if libraries:
            build_data["force_include"] |= {str(library): f"{PREBUILT}/{library.name}" for library in libraries}
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag(architecture)}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def platform_tag(architecture: str) -> str:
    """Return the tag of wheels for this system and an architecture."""
    if sys.platform == "darwin":
        return f"macosx_11_0_{architecture}"
    if sys.platform == "win32":
        return sysconfig.get_platform().replace("-", "_")
    return f"linux_{architecture}"
