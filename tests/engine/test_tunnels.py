"""Upgraded connections are looked at while there are any. Time is virtual: a wait takes none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import inf

from app.domain.backend import Backend
from app.domain.errors import ProxyError
from app.engine.tunnels import TICK, Tunnels
from tests.support.fleet import backend
from tests.support.virtual import virtual


def now() -> float:
    return asyncio.get_running_loop().time()


class Kept:
    """One that does nothing but to be told."""

    def __init__(self, where: Backend, deadline: float = inf) -> None:
        self.backend = where
        self.deadline = deadline
        self.expired = 0
        self.ended: list[tuple[float, str]] = []

    def expire(self) -> None:
        self.expired += 1
        self.deadline = inf

    def end(self, error: ProxyError) -> None:
        self.ended.append((now(), error.detail))


@contextmanager
def keeping(tunnels: Tunnels, kept: Kept) -> Iterator[None]:
    """For as long as it lasts."""
    tunnels.keep(kept)
    try:
        yield
    finally:
        tunnels.ended(kept)


@virtual
async def test_a_deadline_is_kept() -> None:
    """A tick late at most, and not before."""
    tunnels, kept = Tunnels(now), Kept(backend(), now() + 5)
    with keeping(tunnels, kept):
        await asyncio.sleep(4.9)
        assert kept.deadline < inf
        await asyncio.sleep(0.1 + TICK)
        assert kept.expired == 1
        kept.deadline = now() + 3600  # somebody has said something
        await asyncio.sleep(3000)
        assert kept.expired == 1
    assert not len(tunnels)


@virtual
async def test_nobody_looks_when_there_are_none() -> None:
    tunnels = Tunnels(now)
    with keeping(tunnels, Kept(backend())), keeping(tunnels, Kept(backend())):
        assert len(tunnels) == 2
    assert [handle for handle in asyncio.get_running_loop()._scheduled if not handle._cancelled] == []  # type: ignore[attr-defined]


@virtual
async def test_a_backend_that_lets_go() -> None:
    """It drains with a deadline, or its source has stopped to name it; one that merely drains keeps its clients."""
    let_go, drained, gone, well = (backend(name) for name in "abcd")
    let_go.draining, let_go.let_go = True, now() + 10
    drained.draining = True
    gone.leaving, gone.let_go = True, now() + 20
    well.let_go = now() + 1  # of a drain that was taken back
    began = now()
    tunnels, all_four = Tunnels(now), [Kept(where) for where in (let_go, drained, gone, well)]
    with ExitStack() as stack:
        for kept in all_four:
            stack.enter_context(keeping(tunnels, kept))
        await asyncio.sleep(10 + TICK)
        assert [len(kept.ended) > 0 for kept in all_four] == [True, False, False, False]
        await asyncio.sleep(3600)
        assert [len(kept.ended) > 0 for kept in all_four] == [True, False, True, False]
    assert 10 <= all_four[0].ended[0][0] - began <= 10 + TICK
    assert all_four[0].ended[0][1] == "its backend is taken away"


@virtual
async def test_closing_waits_until_all_have_ended() -> None:
    tunnels = Tunnels(now)
    await tunnels.close()

    async def slow(kept: Kept, seconds: float) -> None:
        with keeping(tunnels, kept):
            while not kept.ended:
                await asyncio.sleep(0.1)
            await asyncio.sleep(seconds)

    first, second = Kept(backend()), Kept(backend())
    tasks = [asyncio.ensure_future(slow(first, 1)), asyncio.ensure_future(slow(second, 2))]
    await asyncio.sleep(0)
    began = now()
    await tunnels.close()
    assert 2 <= now() - began <= 2.2
    assert [kept.ended[0][1] for kept in (first, second)] == ["we are stopping"] * 2
    await asyncio.gather(*tasks)
