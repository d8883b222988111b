"""Which tests passed, counted as the suite counts them itself (its lib/display.mjs)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("required", "optimal", "check")


@dataclass(frozen=True)
class Verdict:
    """What came of one test.

    Attributes:
        test: its id.

        why: what it said; empty when it passed.
    """

    test: str
    suite: str
    kind: str
    why: str

    @property
    def passed(self) -> bool:
        return not self.why


def verdicts(tests: Iterable[Mapping[str, Any]], results: Mapping[str, Any]) -> list[Verdict]:
    """Of every test, in the suite's order. A result is true, or the error's name and its message."""
    known = {test["id"]: test for test in tests}
    reasons: dict[str, str] = {}

    def reason(name: str) -> str:
        if name not in reasons:
            reasons[name] = ""  # should tests ever depend on each other in a circle
            reasons[name] = judged(known.get(name, {}), results.get(name))
        return reasons[name]

    def judged(test: Mapping[str, Any], result: Any) -> str:
        failed = [name for name in test.get("depends_on", ()) if reason(name)]
        if failed:
            return f"depends on {', '.join(failed)}"
        if result is None:
            return "was not run"
        return "" if result is True else ": ".join(map(str, result))

    return [Verdict(name, test["suite"], test.get("kind", "required"), reason(name)) for name, test in known.items()]


def counted(judged: Iterable[Verdict]) -> dict[str, tuple[int, int]]:
    """Kind to how many passed, of how many."""
    judged = list(judged)
    passed = Counter(verdict.kind for verdict in judged if verdict.passed)
    total = Counter(verdict.kind for verdict in judged)
    return {kind: (passed[kind], total[kind]) for kind in KINDS}


def score(judged: Iterable[Verdict]) -> str:
    """Such as `required 22 of 160, optimal 0 of 105, check 2 of 101`."""
    return ", ".join(f"{kind} {passed} of {total}" for kind, (passed, total) in counted(judged).items())


def report(judged: Iterable[Verdict]) -> str:
    """A line for each test that failed, by kind, and the score last."""
    judged = list(judged)
    lines = []
    for kind in KINDS:
        failed = [verdict for verdict in judged if verdict.kind == kind and not verdict.passed]
        if failed:
            lines.append(f"== {kind}, {'no' if kind == 'check' else 'failed'}: {len(failed)}")
            lines += [f"  {verdict.test}  ({verdict.suite})  {verdict.why}" for verdict in failed]
    return "\n".join([*lines, score(judged)])
