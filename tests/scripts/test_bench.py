"""The arithmetic of the bench; nothing is loaded here."""

from __future__ import annotations

import os

import pytest

from scripts.bench.processes import cpu_ns, tree
from scripts.bench.report import quartiles, ratios, summary, table
from scripts.bench.slices import Slice, reading

SAID = """
finished in 200.00ms, 10.00 req/s, 3.20MB/s
requests: 2 total, 2 started, 2 done, {good} succeeded, 0 failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 3.30KB (3456) total, 500B (500) headers (space savings 0.00%), 2.00KB ({data}) data
"""


def one(cpu_us: float, wrong: int = 0) -> Slice:
    return Slice(cpu_us, 1000.0, 1.0, 2.0, wrong)


def test_the_ratio_is_taken_in_each_round_and_then_the_median() -> None:
    """A noisy round is noisy for both, so it must not show: medians of the two apart would give 60 / 20 = 3."""
    rounds = {"nginx": [one(10), one(40), one(20)], "l7lb": [one(20), one(80), one(60)]}
    figures = summary(rounds, "nginx")
    assert figures["l7lb"]["ratio"]["median"] == 2.0
    assert figures["l7lb"]["cpu_us"]["median"] == 60
    assert ratios(rounds, "l7lb") == {"nginx": 2.0}
    assert figures["nginx"]["ratio"] == {"q1": 1.0, "median": 1.0, "q3": 1.0}


def test_quartiles_of_one_round_are_that_round() -> None:
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)


def test_wrong_answers_show_in_the_table() -> None:
    text = table(summary({"nginx": [one(10)], "l7lb": [one(20, wrong=7)]}, "nginx"), "nginx")
    assert text.splitlines()[-1].split()[0::8][0] == "l7lb"
    assert text.splitlines()[-1].endswith(" 7")


@pytest.mark.parametrize(("good", "data", "wrong"), [(2, 2048, 0), (1, 2048, 1), (2, 2047, 1), (0, 0, 2)])
def test_a_slice_counts_what_was_not_answered_right(good: int, data: int, wrong: int) -> None:
    said = SAID.format(good=good, bad=2 - good, data=data)
    slice_ = reading(said, "1\t200\t1000\n2\t200\t3000\n", 10_000_000, 2)
    assert slice_ == Slice(cpu_us=5000.0, rps=10.0, p50_ms=3.0, p99_ms=3.0, wrong=wrong)


def test_cpu_time_grows_with_work() -> None:
    """The kernel brings the figure up to date when it looks at the process, which is not at once."""
    before = cpu_ns(os.getpid())
    for _ in range(1000):
        if cpu_ns(os.getpid()) > before:
            break
        sum(range(100_000))
    assert cpu_ns(os.getpid()) > before > 0
    assert tree(os.getpid())[0] == os.getpid()
