"""Use: python -m scripts.cache_tests [--id TEST] [--without-cache] [--checkout DIR] [--output FILE] [uvicorn flags]"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import scripts.cache_tests
from scripts.cache_tests.running import Unplayable, balancer
from scripts.cache_tests.score import Verdict, counted, report, verdicts
from scripts.cache_tests.suite import PLACE, Suite

CACHE = {
    "LB_GROUPS__SUITE__CACHE__STORE": "default",
    "LB_GROUPS__SUITE__CACHE__SET_COOKIE": "store",
    "LB_GROUPS__SUITE__CACHE__STALE_IF_ERROR": "1m",
    "LB_GROUPS__SUITE__CACHE__NEGOTIATE": "true",
    "LB_GROUPS__SUITE__CACHE__TARGETS": "cdn-cache-control,surrogate-control",
}
"""What the group under test is told: docs/caching.md says what each is for."""


def play(
    suite: Suite, directory: Path, settings: Mapping[str, str] = CACHE, flags: tuple[str, ...] = ()
) -> list[Verdict]:
    """The verdict on every test. Raises Unplayable."""
    with suite.origin(directory / "origin.log") as origin, balancer(origin, directory, settings, flags) as port:
        printed = suite.ask(port)
    return verdicts(suite.tests(), json.loads(printed))


def show(suite: Suite, directory: Path, settings: Mapping[str, str], flags: tuple[str, ...], test: str) -> None:
    """What everybody sent and saw in one *test*. Raises Unplayable."""
    if test not in (known := [one["id"] for one in suite.tests()]):
        near = [name for name in known if test.partition("-")[0] in name]
        raise Unplayable(f"there is no test {test}{'; there are ' if near else ''}{', '.join(near)}")
    with suite.origin(directory / "origin.log") as origin, balancer(origin, directory, settings, flags) as port:
        print(suite.ask(port, test))
    print((directory / "origin.log").read_text())
    print((directory / "l7lb.log").read_text())


def main() -> int:
    """Exit status: 0 when the suite was run, whatever it scored; 1 when it could not be."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.cache_tests",
        description=scripts.cache_tests.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--id", default="", help="one test, and what was sent and seen")
    parser.add_argument("--without-cache", action="store_true", help="forward only")
    parser.add_argument("--checkout", type=Path, help="the suite's own repository, instead of the npm package")
    parser.add_argument("--output", type=Path, default=PLACE / "result.json", help="where the verdicts go, as JSON")
    asked, flags = parser.parse_known_args()
    settings = {} if asked.without_cache else CACHE
    try:
        suite = Suite(asked.checkout)
        with tempfile.TemporaryDirectory(prefix="l7lb-cache-tests-") as directory:
            if asked.id:
                show(suite, Path(directory), settings, tuple(flags), asked.id)
                return 0
            judged = play(suite, Path(directory), settings, tuple(flags))
    except Unplayable as why:
        print(f"cache-tests: {why}", file=sys.stderr)
        return 1
    print(report(judged))
    told = {"score": counted(judged), "verdicts": [dataclasses.asdict(verdict) for verdict in judged]}
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(told, indent=2) + "\n")
    print("written:", asked.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
