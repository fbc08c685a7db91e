"""The build hook: compiles native/ into the package where there is a C++17 compiler, and goes on without where there is none.

``CUSTODES_REQUIRE_NATIVE=1`` makes a missing compiler an error, for those who build wheels; ``CUSTODES_NATIVE=none`` builds a wheel without native code.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "native"))

from build import Build, BuildError, library_name


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the shared library to the wheel, and the platform to its name: py3-none-PLATFORM, because ctypes opens it and Python's ABI is not in it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build before the files of the wheel are gathered."""
        package = Path(self.root) / "src" / "custodes"
        if os.environ.get("CUSTODES_NATIVE") == "none":
            (package / library_name()).unlink(missing_ok=True)
            return
        try:
            built = Build().library(package)
        except (BuildError, OSError) as error:
            if os.environ.get("CUSTODES_REQUIRE_NATIVE"):
                raise
            self.app.display_warning(f"custodes is installed without its native kernels, and will be slower. {error}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        build_data["artifacts"].append(f"src/custodes/{built.name}")
