"""Strategies at work: keys keep their backend, and what is slow gets less."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.backend import Backend, Connection, reply
from tests.support.server import Balancer, pool


@pytest.mark.parametrize("kind", ["rendezvous", "ring_hash", "maglev"])
def test_a_key_keeps_its_backend(start: Callable[..., Backend], kind: str) -> None:
    """By a header; many keys are spread."""
    backends = [start() for _ in range(3)]
    settings = {"LB_ROUTES": "/=main", **pool("main", *backends, strategy=kind, affinity="header:X-User")}
    with Balancer(settings) as balancer:
        answers = {user: {balancer.get("/", f"X-User: {user}").body for _ in range(4)} for user in range(24)}

    assert all(len(bodies) == 1 for bodies in answers.values())
    assert len(set.union(*answers.values())) == 3


@pytest.mark.parametrize("kind", ["peak_ewma", "least_time"])
def test_what_is_slow_gets_less(start: Callable[..., Backend], kind: str) -> None:
    """It learns from real answers; round robin would give each half."""

    async def slow(c: Connection) -> None:
        while True:
            await c.head()
            await asyncio.sleep(0.05)
            await c.send(reply(b"slow"))

    with Balancer({"LB_ROUTES": "/=main", **pool("main", start(), start(slow), strategy=kind)}) as balancer:
        seen = Counter(balancer.get("/").body == b"slow" for _ in range(60))

    assert 0 < seen[True] < 15
