"""The public suite of HTTP caches: its score does not fall below what the README says; no test of it is left out."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from scripts.cache_tests.__main__ import CACHE, play
from scripts.cache_tests.running import Unplayable
from scripts.cache_tests.score import counted, report
from scripts.cache_tests.suite import Suite

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = os.environ.get("HTTP_CACHE_TESTS")
"""A directory with the suite's own repository."""


def promised() -> dict[int, dict[str, tuple[int, int]]]:
    """What the README says, by the number of required tests: kind to how many pass, of how many."""
    found = {}
    for passed, required, best, optimal in re.findall(
        r"(\d+) of (\d+) required and (\d+) of (\d+) optimal", " ".join((ROOT / "README.md").read_text().split())
    ):
        found[int(required)] = {"required": (int(passed), int(required)), "optimal": (int(best), int(optimal))}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("which", ["package", "checkout"])
def test_the_score_is_that_of_the_readme(which: str, driver: str, tmp_path: Path) -> None:
    if which == "checkout" and not CHECKOUT:
        pytest.skip("HTTP_CACHE_TESTS names no directory with the suite's own repository")
    try:
        suite = Suite(Path(CHECKOUT) if which == "checkout" and CHECKOUT else None)
    except Unplayable as why:
        pytest.skip(str(why))

    floor = promised()

    def lack() -> str:
        """What is missing of the score."""
        judged = play(suite, tmp_path, {**CACHE, "LB_EDGE__DRIVER": driver})
        found = counted(judged)
        of = {kind: count for kind, (_, count) in found.items()}
        assert of["required"] in floor, f"the README says nothing of this suite: {found}"
        wanted = floor[of["required"]]
        assert all(of[kind] == count for kind, (_, count) in wanted.items())
        return report(judged) if any(found[kind][0] < passed for kind, (passed, _) in wanted.items()) else ""

    if missing := lack():  # its lifetimes are of seconds: on a machine that stalls, now and then one is over too soon
        missing = lack()
    assert not missing, missing
