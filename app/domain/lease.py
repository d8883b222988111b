"""Tokens that a process took in advance from a bucket that it shares, so that most requests need not ask for theirs.

    none --granted--> held --spent--> spent    --granted--> held, up to twice as many
                       |
                       +---time is up--> over  --granted--> held, as many as were spent; the rest is given back

A process begins with what is asked for now and nothing more, so that a slow client costs the bucket nothing that it
does not spend. In any stretch of time all processes together spend at most `cap - 1` tokens a process more than the
bucket would have let through in that time: those that they held when it began. A bucket that does not refill never lets
more through than it has.

A bucket that was found empty is remembered as well: until there can be a token again, nobody has to ask.
"""

from __future__ import annotations

from math import inf
from typing import Final

from app.domain.bucket import Decision, FixedWindow, Rule

Key = tuple[str, str]
"""Name of the limiter, and what has a bucket of its own."""

SHARE: Final = 10
"""No more than one part in this many of a bucket is held by one process."""


class Lease:
    """What is held of one bucket.

    Attributes:
        rule: of the bucket.

        left: tokens.

        until: when they are given back; never while the bucket is being asked.

        size: how many were asked for beyond what was needed, and one.

        behind: whole tokens that stayed in the bucket.

        full: when the bucket would be full.

        retry: when there will be a token in a bucket that was found empty; 0 for another.
    """

    __slots__ = ("behind", "full", "left", "retry", "rule", "size", "until")

    def __init__(self, rule: Rule, size: int) -> None:
        self.rule = rule
        self.size = size
        self.left = 0
        self.until = inf
        self.behind = 0
        self.full = 0.0
        self.retry = 0.0


class Leases:
    """The leases of one process.

    Args:
        most: tokens of one lease; 1 holds none in advance.

        lasting: seconds of one lease.
    """

    def __init__(self, most: int, lasting: float) -> None:
        self._most = most
        self._lasting = lasting
        self._leases: dict[Key, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def spend(self, key: Key, rule: Rule, now: float) -> Decision | None:
        """Spend one token of those that are held; None when the bucket has to be asked."""
        lease = self._leases.get(key)
        if lease is None or now >= lease.until or (lease.rule is not rule and not lease.rule.same(rule)):
            return None
        reset = lease.full - now
        if lease.left:
            lease.left -= 1
            return Decision(rule, True, lease.left + lease.behind, reset if reset > 0.0 else 0.0, 0.0)
        if now < lease.retry:
            return Decision(rule, False, 0, reset, lease.retry - now)
        return None

    def forget(self, key: Key) -> None:
        """The bucket did not answer."""
        self._leases.pop(key, None)

    def cap(self, rule: Rule) -> int:
        """How large a lease may be."""
        return max(1, min(self._most, rule.quota // SHARE))

    def renew(self, key: Key, rule: Rule, now: float) -> tuple[int, int]:
        """Begin to ask: how many tokens to ask for beyond those that are needed, and how many to give back.

        Until `grant` or `forget`, nothing of this bucket is held.
        """
        lease = self._leases.pop(key, None)
        if lease is None or not lease.rule.same(rule):
            size, back = 1, 0
        elif now < lease.until:
            size, back = lease.size if lease.retry else lease.size * 2, 0
        else:
            size, back = lease.size - lease.left, _back(lease, now)
        fresh = self._leases[key] = Lease(rule, max(1, min(size, self.cap(rule))))
        return fresh.size - 1, back

    def grant(self, key: Key, rule: Rule, left: int, said: Decision, now: float) -> None:
        """What came of it: *left* tokens beyond those that were needed; *said* is what the bucket said last."""
        lease = self._leases.get(key)
        if lease is None or not lease.rule.same(rule):  # forgotten meanwhile, or of an older rule
            return
        lease.left += left
        lease.until = now + self._lasting
        lease.full = now + said.reset
        if isinstance(rule, FixedWindow) and lease.full < lease.until:
            lease.until = lease.full
        lease.behind = said.remaining
        lease.retry = 0.0 if said.allowed else now + said.retry_after

    def over(self, now: float, *, most: int = 2) -> list[tuple[Key, Rule, int]]:
        """Forget up to *most* of the oldest leases whose time is up. Returns those of which tokens are given back."""
        backs: list[tuple[Key, Rule, int]] = []
        for _ in range(most):
            key = next(iter(self._leases), None)
            if key is None or now < self._leases[key].until:
                break
            lease = self._leases.pop(key)
            if back := _back(lease, now):
                backs.append((key, lease.rule, back))
        return backs


def _back(lease: Lease, now: float) -> int:
    """Tokens to give back: none of a window that is over, for they would go to the next."""
    return 0 if isinstance(lease.rule, FixedWindow) and now >= lease.full else lease.left
