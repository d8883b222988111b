"""What is handed out is whole: wheel, lock files, Makefile, scripts, container."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from app.engine.telemetry.instruments import Instruments
from settings.load import load

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins(lock: str) -> dict[str, str]:
    """Name to version of what a lock file names."""
    return dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_locked_is_a_pin_with_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[^ #])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    for entry in filter(str.strip, entries):
        assert re.match(r"[a-z0-9.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_does_not_say_where_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|^--|--index|--find-links", text, re.MULTILINE)


def test_tools_are_locked_beside_the_same_packages_as_run_in_production() -> None:
    run, develop = (pins(lock) for lock in LOCKS)
    assert run.items() <= develop.items()


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in requirements}

    assert names(project["project"]["dependencies"]) <= pins("requirements.lock").keys()
    assert names(project["dependency-groups"]["dev"]) <= pins("requirements-dev.lock").keys()


def test_the_wheel_has_the_balancer_its_settings_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(metadata))
        entry_points = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"app", "settings"}
    assert {"app/main.py", "app/edge/protocol.py", "settings/root.py"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name]
    assert (said["Name"], said["Requires-Python"], said["License-Expression"]) == ("l7lb", ">=3.11", "MIT")
    assert "l7lb = app.cli:main" in entry_points


def built(target: str, directory: Path, **environ: str) -> tuple[Path, list[str], str]:
    """A wheel, the names in it, and what was said while it was built."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environ, check=True, capture_output=True, text=True)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel, archive.namelist(), done.stdout + done.stderr


def test_without_a_compiler_the_wheel_is_pure_python_and_one_line_says_so(tmp_path: Path) -> None:
    wheel, names, said = built("wheel", tmp_path, L7LB_COMPILE="1", CC="no-such-compiler")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "app/engine/direct.py" in names
    assert not [name for name in names if name.endswith(".so")]
    assert [line for line in said.splitlines() if "no-such-compiler" in line and "pure Python" in line]
    assert len(said.splitlines()) == 2, said


def test_an_editable_installation_is_never_compiled(tmp_path: Path) -> None:
    """Its extension modules would hide what is edited."""
    wheel, names, _ = built("wheel:editable", tmp_path, L7LB_COMPILE="1")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not [name for name in names if name.endswith(".so")]


def test_what_is_compiled_is_there_once_and_in_order() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
    assert modules == sorted(set(modules))
    assert [module for module in modules if not (ROOT / module).is_file()] == []
    assert "app/engine/direct.py" in modules, "app.compiled() goes by it"


def test_the_docs_say_how_to_compile_it() -> None:
    said = (ROOT / "docs/performance.md").read_text()
    assert "scripts/compile" in said


def test_every_make_target_is_one_line_that_calls_scripts() -> None:
    targets = re.findall(r"^([a-z-]+):(.*)\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    found = {name: recipe for name, _, recipe in targets}
    plain = {"help", "install", "run", "test", "lint", "check", "bench", "lock", "up", "clean", "soak", "mutants"}
    assert set(found) == plain | {"cache-tests", "compile", "test-long", "test-compiled", "compose-test"}
    for name, recipe in found.items():
        assert recipe.count("\n") == 1, name
        called = re.search(r"scripts/[\w./-]+|scripts\.\w+", recipe)
        assert called or name in ("help", "up"), name
        path = called[0] if called else ""
        assert (ROOT / (path if "/" in path else path.replace(".", "/"))).exists(), name


def test_scripts_are_executable_and_say_what_they_do() -> None:
    for script in (ROOT / "scripts").iterdir():
        if script.is_file() and script.suffix == "":
            shebang, comment, *_ = script.read_text().splitlines()
            assert shebang.startswith("#!/bin/sh"), script
            assert comment.startswith("# "), script
            assert script.stat().st_mode & 0o111, script


def test_the_readme_starts_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert -1 < readme.index("make run") < readme.index("make test") < 1500


def test_files_that_the_readme_points_to_are_there() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page} points to {target}"


def test_the_container_gets_what_it_copies_and_no_more() -> None:
    """What the Dockerfile copies is what .dockerignore lets through."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wanted = {source for line in copied for source in line.split()}
    let_through = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert wanted == let_through
    assert all((ROOT / source).exists() for source in wanted)


def test_compose_starts_a_balancer_whose_settings_load() -> None:
    everything = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    services = {name: service for name, service in everything.items() if "profiles" not in service}
    said = services.pop("balancer")["environment"]
    settings = load({name: value for name, value in said.items() if value is not None})
    backends = {spec.url.split("/")[2].split(":")[0] for pool in settings.pools.values() for spec in pool.backends}
    assert backends == set(services)
    assert len(backends) == 5
    assert settings.rate_limit.rate == (100, 60.0)


def test_the_dashboard_shows_what_is_measured() -> None:
    there = {metric.name for metric in Instruments(dispatchers=tuple, limited=tuple, mirrored=tuple, dropped=int).all}
    said = (ROOT / "deploy/grafana.json").read_text()
    shown = {panel["title"]: panel["targets"] for panel in json.loads(said)["panels"]}
    assert all(shown.values())
    assert set(re.findall(r"l7lb_[a-z_]+", said)) <= there | {"l7lb_request_duration_seconds_bucket"}


def test_compose_starts_a_cluster_whose_settings_load() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    cluster = {name: service for name, service in services.items() if service.get("profiles") == ["cluster"]}
    assert set(cluster) == {"balancer1", "balancer2", "backend", "redis"}
    said = [cluster[name]["environment"] for name in ("balancer1", "balancer2")]
    assert said[0] == said[1]
    rate = re.sub(r"\$\{RATE:-(.+)\}", r"\1", said[0]["LB_RATE_LIMIT__RATE"])
    settings = load({**{name: value for name, value in said[0].items() if value}, "LB_RATE_LIMIT__RATE": rate})
    source = settings.pools["web"].source
    assert settings.state.place == "redis://redis:6379/0"
    assert source is not None
    assert (source.kind, source.options["name"]) == ("dns", "backend.")
