"""Background tasks: kept going, named in the log, stopped in reverse order."""

import asyncio
import logging

import pytest

from app.engine import jobs as module
from app.engine.jobs import Jobs


async def test_a_crash_is_logged_and_the_job_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, once a crash."""
    runs: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("broken")
        enough.set()
        await asyncio.Event().wait()

    jobs = Jobs(backoff=0.001)
    jobs.start("mill", work)
    await enough.wait()
    await jobs.stop()

    records = [record for record in caplog.records if record.name == "l7lb.jobs"]
    assert [record.getMessage() for record in records] == [
        "job mill crashed; it starts again in 0.001 s",
        "job mill crashed; it starts again in 0.002 s",
    ]
    assert all(record.exc_info for record in records)


async def test_the_backoff_has_an_end_and_is_forgotten(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It doubles up to the longest; a job that had settled starts with the first again."""
    runs = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 4:
            monkeypatch.setattr(module, "SETTLED", -1.0)  # any time at all will do
        if runs == 5:
            enough.set()
        raise RuntimeError("broken")

    jobs = Jobs(backoff=0.001, longest=0.002)
    jobs.start("mill", work)
    await enough.wait()
    await jobs.stop()

    waits = [record.getMessage().split()[-2] for record in caplog.records]
    assert waits[:4] == ["0.001", "0.002", "0.002", "0.001"]


async def test_a_job_that_returns_is_done() -> None:
    """It is not started again; its name is free."""
    runs: list[str] = []

    async def work() -> None:
        runs.append("once")

    jobs = Jobs()
    jobs.start("once", work)
    while jobs.names:
        await asyncio.sleep(0)
    jobs.start("once", work)
    while jobs.names:
        await asyncio.sleep(0)
    await jobs.stop()

    assert runs == ["once", "once"]


async def test_stops_in_reverse_order_each_after_the_other() -> None:
    """What a job stands on is still there while it cleans up."""
    ended: list[str] = []

    def work(name: str) -> module.Callable[[], module.Awaitable[None]]:
        async def run() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(name)

        return run

    jobs = Jobs()
    for name in ("store", "prober", "sweeper"):
        jobs.start(name, work(name))

    assert jobs.names == ("store", "prober", "sweeper")

    await asyncio.sleep(0)
    await jobs.stop()

    assert ended == ["sweeper", "prober", "store"]
    assert jobs.names == ()


async def test_one_that_does_not_stop_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """After its patience the next is stopped, and the log says who it was."""
    release = asyncio.Event()
    ended: list[str] = []

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def good() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("good")

    jobs = Jobs(patience=0.01)
    jobs.start("good", good)
    jobs.start("stubborn", stubborn)
    await asyncio.sleep(0)
    await jobs.stop()
    release.set()

    assert ended == ["good"]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "job stubborn did not stop within 0.01 s")
    ]


async def test_a_name_is_there_once() -> None:
    """Two jobs of one name would be a mistake that nobody sees."""
    jobs = Jobs()
    jobs.start("mill", asyncio.Event().wait)
    with pytest.raises(ValueError, match="'mill' runs already"):
        jobs.start("mill", asyncio.Event().wait)
    await jobs.stop()
