"""The optional compiled path: mypyc over the modules that pyproject.toml names.

``HATCH_BUILD_HOOKS_ENABLE=1 pip install .`` needs a C compiler and Python's headers; without the variable this file is
not even imported and the wheel is pure. The same typed source is compiled. The work is done on a copy, because an
extension module left in a checkout would quietly replace the module beside it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SET_UP = """
from mypyc.build import mypycify
from setuptools import setup

compiled = mypycify({modules!r}, opt_level="3", debug_level="0", group_name="fivefold")
setup(name="fivefold", packages=["fivefold"], ext_modules=compiled)
"""


class CompiledHotPath(BuildHookInterface[Any]):
    """Adds one extension module for each compiled module, and the one that they share."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a directory of its own and put the results into the wheel beside the sources."""
        if self.target_name != "wheel" or version == "editable":
            return
        self._scratch = Path(tempfile.mkdtemp(prefix="fivefold-compiled-"))
        source = self._scratch / "src"
        shutil.copytree(Path(self.root) / "src" / "fivefold", source / "fivefold")
        setup = source / "setup.py"
        setup.write_text(SET_UP.format(modules=[f"fivefold/{name}" for name in self.config["modules"]]))
        done = subprocess.run(
            [sys.executable, setup.name, "--quiet", "build_ext", "--inplace"],
            cwd=source,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the hot path could not be compiled:\n{done.stdout}\n{done.stderr}")
        for built in [*source.glob("*.so"), *source.glob("fivefold/**/*.so")]:
            build_data["force_include"][str(built)] = str(built.relative_to(source))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the copy."""
        shutil.rmtree(self._scratch, ignore_errors=True)
