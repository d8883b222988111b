"""make cache-tests: how the suite's results are counted. The suite itself is run by tests/e2e/test_cache_tests.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.cache_tests.running import Unplayable
from scripts.cache_tests.score import counted, report, score, verdicts
from scripts.cache_tests.suite import HERE, program

TESTS = [
    {"id": "a", "suite": "one"},
    {"id": "b", "suite": "one", "kind": "optimal", "depends_on": ["a"]},
    {"id": "c", "suite": "two", "kind": "check", "depends_on": ["b"]},
    {"id": "d", "suite": "two", "kind": "required"},
]


def test_all_passed() -> None:
    judged = verdicts(TESTS, dict.fromkeys("abcd", True))

    assert score(judged) == "required 2 of 2, optimal 1 of 1, check 1 of 1"
    assert report(judged) == score(judged)


def test_what_depends_on_a_failure_has_failed_over_any_number_of_steps() -> None:
    judged = verdicts(TESTS, {"a": ["Assertion", "Response 2 comes from cache"], "b": True, "c": True, "d": True})

    assert counted(judged) == {"required": (1, 2), "optimal": (0, 1), "check": (0, 1)}
    assert [verdict.why for verdict in judged] == [
        "Assertion: Response 2 comes from cache", "depends on a", "depends on b", "",
    ]  # fmt: skip


def test_what_was_not_run_has_not_passed() -> None:
    (a, *_) = verdicts(TESTS, {})

    assert a.why == "was not run"


def test_every_failure_is_told_with_what_it_said() -> None:
    told = report(verdicts(TESTS, {"a": ["Setup", "retry"], "d": True}))

    assert "  a  (one)  Setup: retry" in told
    assert "== check, no: 1" in told


def test_a_circle_ends() -> None:
    circle = [{"id": "a", "suite": "", "depends_on": ["b"]}, {"id": "b", "suite": "", "depends_on": ["a"]}]

    assert counted(verdicts(circle, {"a": True, "b": ["Assertion", ""]}))["required"] == (0, 2)


def test_the_lock_names_no_host_and_pins_everything_by_its_hash() -> None:
    text = (HERE / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    packages.pop("")

    assert "//" not in text
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unplayable, match="apt-get install nodejs npm"):
        program("node")
