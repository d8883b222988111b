"""Build hook: with L7LB_COMPILE=1 mypyc compiles the modules of the hot path into the wheel, beside their sources.

Without a C compiler or Python.h it says so and the wheel is the pure one. An editable installation is never compiled,
for its extension modules would hide what is edited.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def missing() -> str:
    """What this machine lacks to compile an extension module for this Python: a sentence, or nothing."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler):
        return f"there is no C compiler ({compiler})"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.exists() else f"there is no {header} (Debian, Ubuntu: python3-dev)"


class Compile(BuildHookInterface[Any]):
    """Compiles the `modules` that pyproject.toml names for it."""

    def wanted(self) -> bool:
        """Whether compiling was asked for."""
        return os.environ.get("L7LB_COMPILE") == "1"

    def dependencies(self) -> list[str]:
        """What compiling takes: mypyc, and what the modules import, for it reads the types of that too."""
        return ["mypy[mypyc]>=2.4,<3", *self.metadata.core.dependencies] if self.wanted() and not missing() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the extension modules to a wheel. Raises whatever goes wrong in compiling them."""
        if version == "editable" or not self.wanted():
            return
        if lack := missing():
            self.app.display_warning(f"l7lb is not compiled: {lack}; this wheel is pure Python")
            return
        self._built = tempfile.TemporaryDirectory(prefix="l7lb-compile-")
        for path, name in compiled(Path(self.root), self.config["modules"], Path(self._built.name)).items():
            build_data["force_include"][str(path)] = name
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has them: take the directory away that they were made in."""
        if hasattr(self, "_built"):
            self._built.cleanup()


def compiled(root: Path, modules: list[str], built: Path) -> dict[Path, str]:
    """Compile *modules*, paths relative to *root*, in the directory *built*. Returns file to its name in the wheel."""
    from mypyc.build import mypycify  # noqa: PLC0415  # here only when it is wanted
    from setuptools import Distribution  # noqa: PLC0415

    with contextlib.chdir(root):  # what a module is called is its path from here
        options = [f"--cache-dir={built / 'types'}", "--config-file=pyproject.toml"]
        # One file of C, so that calls from module to module are direct; named alike by every build.
        extensions = mypycify([*options, *modules], group_name="l7lb", target_dir=str(built / "c"))
        build = Distribution({"name": "l7lb", "ext_modules": extensions}).get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(built / "lib"), str(built / "o")
        build.ensure_finalized()
        build.run()
    made = built / "lib"
    return {path: str(path.relative_to(made)) for path in sorted(made.rglob("*.*")) if path.is_file()}
