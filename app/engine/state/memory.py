"""State kept in dicts: the quickest; nothing is shared, nothing outlives the process."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace

from app.domain.bucket import Decision, Rule


class MemoryState:
    """One bounded table of buckets for each limiter."""

    def __init__(self) -> None:
        self._tables: dict[str, Buckets] = {}

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token. A limiter whose rule was changed by a reload starts again with full buckets."""
        table = self._tables.get(name)
        if table is None or (table.rule is not rule and not table.rule.same(rule)):
            table = self._tables[name] = Buckets(rule)
        return table.take(key, rule, now)


class Buckets:
    """The buckets of one limiter: never more than `rule.max_keys`, whatever keys arrive.

    A heap holds each key once, with the number it was kept with when last looked at. Numbers only grow, so what is
    on top is, once brought up to date, the fullest bucket of all; forgetting it costs a full one nothing, and
    where none is full it costs the least. A known key never touches the heap. A new one takes out up to two full
    buckets, so that the table shrinks again after a flood.
    """

    __slots__ = ("_heap", "_kept", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._kept: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token of *key*."""
        kept = self._kept
        number = kept.get(key)
        if number is not None:
            kept[key], decision = rule.take(number, now)
            return decision
        self._make_room(rule, now)
        number, decision = rule.take(0, now)
        kept[key] = number
        heappush(self._heap, (number, key))
        return decision

    def _make_room(self, rule: Rule, now: float) -> None:
        mark = rule.mark(now)
        for _ in range(2):
            if not self._heap or not self._fullest() <= mark:
                break
            del self._kept[heappop(self._heap)[1]]
        while len(self._kept) >= rule.max_keys:
            self._fullest()
            del self._kept[heappop(self._heap)[1]]

    def _fullest(self) -> float:
        """Bring the top of the heap up to date: each turn pays for takes since, so it is cheap in the long run."""
        number, key = self._heap[0]
        while (latest := self._kept[key]) > number:
            heapreplace(self._heap, (latest, key))
            number, key = self._heap[0]
        return number
