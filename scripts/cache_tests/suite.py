"""The suite as npm gives it: installed, its list of tests, its origin, its client."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from scripts.cache_tests.running import ROOT, Unplayable, listening, tie_to_us

HERE = Path(__file__).parent
PRELOAD = "preload.mjs"
PLACE = ROOT / ".run" / "cache-tests"
LONGEST = 400.0
"""Seconds that all tests may take: each pauses for 3 s at most four times, a hundred at a time."""
LISTED = """
import { existsSync } from 'node:fs'
import tests from './tests/index.mjs'
const more = './tests/surrogate-control.mjs'
if (existsSync(more)) tests.push((await import(more)).default)
console.log(JSON.stringify(tests))
"""


class Suite:
    """The suite, ready to be run. Raises Unplayable where node, npm or the package cannot be had.

    Args:
        checkout: a directory with the suite's own repository, which is newer than the package; None is the package.
    """

    def __init__(self, checkout: Path | None = None, place: Path = PLACE) -> None:
        self.node = program("node")
        self.place = place
        install(place)
        self.directory = place / "node_modules" / "http-cache-tests"
        if checkout is not None:
            self.directory = place / "checkout"  # in *place*, where node finds the modules that it needs
            shutil.rmtree(self.directory, ignore_errors=True)
            shutil.copytree(checkout, self.directory, ignore=shutil.ignore_patterns(".git", "node_modules", "results"))
        engine = self.directory / "test-engine"
        self.engine = engine if engine.is_dir() else self.directory
        if not (self.engine / "cli.mjs").is_file():
            raise Unplayable(f"{checkout} is no checkout of http-cache-tests: there is no cli.mjs in it")
        self.env = {key: value for key, value in os.environ.items() if not key.lower().startswith("npm_")}

    def tests(self) -> list[dict[str, Any]]:
        """Every test that is not for browsers only, as the suite describes it."""
        command = [self.node, "--no-warnings", "--input-type=module", "--eval", LISTED]
        printed = subprocess.run(command, cwd=self.directory, env=self.env, capture_output=True, check=False)
        if printed.returncode:
            raise Unplayable(f"the suite does not say what its tests are: {printed.stderr.decode(errors='replace')}")
        return [
            test | {"suite": part["id"]}
            for part in json.loads(printed.stdout)
            for test in part["tests"]
            if not test.get("browser_only")
        ]

    def origin(self, output: Path) -> AbstractContextManager[int]:
        """Its origin: the port. What it prints goes to *output*."""
        told = {"protocol": "http", "port": "0", "pidfile": str(output.with_suffix(".pid"))}
        env = self.env | {f"npm_config_{key}": value for key, value in told.items()}
        command = [self.node, str(self.engine / "server" / "server.mjs")]
        return listening(command, env, self.directory, r"Listening on http://\S*:(\d+)/", output)

    def ask(self, port: int, test: str = "") -> str:
        """What its client prints that has asked there: JSON; of one *test*, what was sent and seen."""
        env = self.env | {"npm_config_base": f"http://127.0.0.1:{port}", "npm_config_id": test}
        if not test:
            env["npm_package_config_id"] = ""  # both empty are all tests
        command = [self.node, "--no-warnings", "--import", str(self.place / PRELOAD), str(self.engine / "cli.mjs")]
        try:
            printed = subprocess.run(
                command,
                cwd=self.directory,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
                preexec_fn=tie_to_us,
            )
        except subprocess.TimeoutExpired:
            raise Unplayable(f"the suite has not ended after {LONGEST:.0f} s") from None
        if printed.returncode:
            raise Unplayable(f"the suite's client failed: {printed.stdout[-2000:]}{printed.stderr[-2000:]}")
        return printed.stdout


def program(name: str) -> str:
    """Where it is. Raises Unplayable."""
    found = shutil.which(name)
    if found is None:
        raise Unplayable(f"there is no {name} on the PATH. Debian, Ubuntu: apt-get install nodejs npm")
    return found


def install(place: Path) -> None:
    """What the lock says, in *place*; nothing when it is there. Raises Unplayable."""
    made_from = place / "made-from"
    ours = [HERE / name for name in ("package.json", "package-lock.json", PRELOAD)]
    wanted = "".join(file.read_text() for file in ours)
    with contextlib.suppress(OSError):
        if made_from.read_text() == wanted:
            return
    place.mkdir(parents=True, exist_ok=True)
    for file in ours:
        shutil.copy(file, place)
    command = [program("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=180
        )
    except subprocess.CalledProcessError as failed:
        raise Unplayable(f"npm could not install the suite: {failed.stderr.strip()}") from None
    except subprocess.TimeoutExpired:
        raise Unplayable("npm has not installed the suite after 180 s") from None
    made_from.write_text(wanted)
