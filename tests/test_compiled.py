"""What runs is what is meant to run: the installed extension modules under scripts/test-compiled, else the sources."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import app
from tests.support.backend import Backend
from tests.support.server import ROOT, balancing

COMPILED = os.environ.get("L7LB_COMPILED") == "1"
WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
MODULES = WHEEL["hooks"]["custom"]["modules"]
MAINS = {"app.main", "app.__main__"}
"""Importing these runs something."""


@pytest.mark.parametrize("path", MODULES)
def test_a_listed_module_is_compiled_where_that_is_tested_and_nowhere_else(path: str) -> None:
    """A stale extension module beside a source would hide what is edited."""
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    file = Path(module.__file__ or "")
    assert file.name.endswith(tuple(EXTENSION_SUFFIXES) if COMPILED else ".py")
    assert file.is_relative_to(sys.prefix if COMPILED else ROOT)


@pytest.mark.uncompiled  # the sources are not there
@pytest.mark.parametrize("path", MODULES)
def test_the_constants_of_a_listed_module_are_final(path: str) -> None:
    """Compiled, any other name of a module is looked up in a dictionary each time: a hundred instructions."""
    tree = ast.parse((ROOT / path).read_text())
    plain = [name for node in tree.body if isinstance(node, ast.Assign) for name in map(ast.unparse, node.targets)]
    said = [node for node in tree.body if isinstance(node, ast.AnnAssign)]
    plain += [ast.unparse(node.target) for node in said if not ast.unparse(node.annotation).startswith("Final")]
    assert [name for name in plain if name.isupper()] == []


def test_the_version_says_whether_it_is_compiled() -> None:
    command = [sys.executable, "-m", "app", "--version"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.endswith(" (compiled)\n") == COMPILED, said


@pytest.mark.e2e
def test_so_do_the_metrics_of_a_balancer_that_a_test_starts() -> None:
    with Backend() as backend, balancing(backend, admin__token="t" * 32) as balancer:
        text = balancer.get("/-/metrics", f"authorization: Bearer {'t' * 32}").body.decode()
    assert re.search(rf'l7lb_build_info{{[^}}]*compiled="{str(COMPILED).lower()}"', text), text


def test_no_class_that_stays_python_inherits_from_a_compiled_one() -> None:
    """It cannot: making an object of it fails, and only then."""
    listed = {path.removesuffix(".py").replace("/", ".") for path in MODULES}
    found = [module.name for module in pkgutil.walk_packages(app.__path__, "app.") if module.name not in MAINS | listed]
    classes = [
        one
        for name in found
        for one in vars(importlib.import_module(name)).values()
        if isinstance(one, type) and one.__module__ == name
    ]
    assert len(classes) > 20
    assert [one for one in classes if {base.__module__ for base in one.__mro__} & listed] == []
