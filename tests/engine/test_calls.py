"""A reload everywhere, over a board that several processes share."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.engine import calls
from app.engine.calls import Calls
from app.engine.crew import Crew
from app.engine.reload import Refused, Reload
from app.engine.revisions import Revisions
from app.engine.state.board import BoardAway, Boards
from app.engine.state.memory_board import MemoryBoard
from settings.load import load
from settings.root import Settings


class SharedBoard(MemoryBoard):
    """As if other processes were on it."""

    lone = False


class Process:
    """One of several, with its own settings file or that of another."""

    def __init__(self, board: SharedBoard, path: Path, machine: str = "one") -> None:
        settings = load({"LB_CONFIG": str(path)}, env_file=path.parent / "none")
        self.applied: list[Settings] = []
        self.crew = Crew(Boards(board, board), machine)
        self.reload = Reload(
            settings,
            plan=lambda _: None,
            apply=lambda wanted, _: self.applied.append(wanted),
            revisions=Revisions(board, 10),
        )
        self.calls = Calls(self.reload, board, self.crew)
        self.jobs: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.calls.settle()
        await self.reload.settle()
        self.jobs = [asyncio.create_task(job()) for job in (self.crew.run, self.calls.run)]

    async def stop(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)


def rate(count: int) -> str:
    return f"[rate_limit]\nrate = '{count}/m'\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "l7lb.toml"
    found.write_text(rate(1))
    return found


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> SharedBoard:
    monkeypatch.setattr(calls, "LISTEN", 0.01)
    return SharedBoard()


async def started(*processes: Process) -> None:
    for process in processes:
        await process.start()
    board = processes[0].calls._board
    while len(await processes[0].crew.present(board)) < len(processes) or any(p.calls._seen < 0 for p in processes):
        await asyncio.sleep(0.01)


def states(answers: list[Any]) -> dict[str, tuple[str, str]]:
    return {answer.worker.id: (answer.state, answer.revision) for answer in answers}


async def test_everybody_does_what_one_was_asked_for(board: SharedBoard, path: Path) -> None:
    """And is asked once: what was called before it came, it has read."""
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    path.write_text(rate(2))

    found, answers = await a.calls.reload()

    now = a.reload.revision.digest
    assert [change.path for change in found] == ["rate_limit.rate"]
    assert states(answers) == {a.crew.id: ("applied", now), b.crew.id: ("applied", now)}
    assert [len(process.applied) for process in (a, b)] == [1, 1]
    late = Process(board, path)
    await started(late, a, b)
    assert late.applied == []
    for process in (a, b, late):
        await process.stop()


async def test_a_machine_goes_by_its_own_file(board: SharedBoard, path: Path, tmp_path: Path) -> None:
    """Where that is wrong, it says so and stays as it was."""
    other = tmp_path / "other.toml"
    other.write_text(rate(1))
    a, b = Process(board, path), Process(board, other, "two")
    await started(a, b)
    path.write_text(rate(2))
    other.write_text("[rate_limit")

    _, answers = await a.calls.reload()

    (refused,) = (answer for answer in answers if answer.worker.id == b.crew.id)
    assert (refused.state, refused.worker.machine) == ("refused", "two")
    assert "other.toml:1" in refused.why
    assert (len(a.applied), b.applied) == (1, [])
    for process in (a, b):
        await process.stop()


async def test_nobody_is_asked_for_what_is_wrong_here(board: SharedBoard, path: Path) -> None:
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    path.write_text("[rate_limit")

    with pytest.raises(Refused):
        await a.calls.reload()

    assert await board.revision(calls.CALLS) == 0
    for process in (a, b):
        await process.stop()


async def test_one_that_does_not_answer_is_silent(
    board: SharedBoard, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for no longer than PATIENCE."""
    monkeypatch.setattr(calls, "PATIENCE", 0.2)
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    b.jobs[1].cancel()

    _, answers = await a.calls.reload()

    assert states(answers)[b.crew.id] == ("silent", "")
    for process in (a, b):
        await process.stop()


async def test_everybody_goes_back_and_so_does_who_starts_after(board: SharedBoard, path: Path) -> None:
    """Until the file is another one."""
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    before = a.reload.revision.digest
    path.write_text(rate(2))
    await a.calls.reload()

    _, answers = await b.calls.roll_back(before)

    assert set(states(answers).values()) == {("applied", before)}
    late = Process(board, path)
    await late.start()
    assert late.reload.revision.digest == before
    assert [settings.rate_limit.rate.count for settings in late.applied] == [1]
    path.write_text(rate(3))
    later = Process(board, path)
    await later.start()
    assert later.applied == []
    for process in (a, b, late, later):
        await process.stop()


async def test_what_was_asked_is_a_note(board: SharedBoard, path: Path) -> None:
    """So that other versions of us can read it."""
    a = Process(board, path)
    await started(a)
    await a.calls.reload()

    note = (await board.read(calls.CALLS))[calls.CALL]

    assert json.loads(note.value) == {"verb": "reload", "revision": a.reload.revision.digest, "by": a.crew.id}
    await a.stop()


async def test_calls_go_on_when_the_board_has_lost_what_it_had(board: SharedBoard, path: Path) -> None:
    """A server that keeps nothing was started anew, and counts from 1 again."""
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    for count in (2, 3, 4):
        path.write_text(rate(count))
        await a.calls.reload()
    board._tables.clear()
    board._revisions.clear()
    async with asyncio.timeout(10):
        while len(await a.crew.present(board)) < 2 or a.calls._seen or b.calls._seen:
            await asyncio.sleep(0.01)
    path.write_text(rate(5))

    _, answers = await a.calls.reload()

    assert {state for state, _ in states(answers).values()} == {"applied"}
    assert b.reload.settings.rate_limit.rate.count == 5
    for process in (a, b):
        await process.stop()


async def test_two_calls_at_the_same_time(board: SharedBoard, path: Path) -> None:
    """Whoever has done the second has done what the first asked for."""
    a, b, c = Process(board, path), Process(board, path), Process(board, path)
    await started(a, b, c)
    path.write_text(rate(2))

    both = await asyncio.gather(a.calls.reload(), b.calls.reload())

    for _, answers in both:
        assert {answer.state for answer in answers} == {"applied"}
    for process in (a, b, c):
        await process.stop()


async def test_a_call_of_another_version_harms_nobody(board: SharedBoard, path: Path) -> None:
    a, b = Process(board, path), Process(board, path)
    await started(a, b)
    for note in (b"{", b"[]", b'{"verb": "dance"}'):
        seen = await board.write(calls.CALLS, calls.CALL, note)
        while b.calls._seen < seen:
            await asyncio.sleep(0.01)
    await board.write(calls.ANSWERS, b.crew.id, b"[]")

    _, answers = await a.calls.reload()

    assert {answer.state for answer in answers} == {"applied"}
    for process in (a, b):
        await process.stop()


async def test_what_changes_while_one_starts_is_not_missed(board: SharedBoard, path: Path) -> None:
    """The file after it was read; a call before anybody listens."""
    a, late = Process(board, path), Process(board, path)
    await started(a)
    path.write_text(rate(2))
    await late.calls.settle()
    await late.reload.settle()
    assert late.reload.settings.rate_limit.rate.count == 2
    path.write_text(rate(3))
    asked = asyncio.create_task(a.calls.reload())
    while not await board.revision(calls.CALLS):
        await asyncio.sleep(0.01)
    late.jobs = [asyncio.create_task(job()) for job in (late.crew.run, late.calls.run)]
    await asked

    async with asyncio.timeout(10):
        while late.reload.settings.rate_limit.rate.count != 3:
            await asyncio.sleep(0.01)
    for process in (a, late):
        await process.stop()


async def test_going_back_holds_although_nobody_can_be_told(
    board: SharedBoard, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in force: to say that it was refused would be wrong."""
    a = Process(board, path)
    await started(a)
    before = a.reload.revision.digest
    path.write_text(rate(2))
    await a.calls.reload()

    async def away(*_: object) -> None:
        raise BoardAway("gone")

    monkeypatch.setattr(a.reload.revisions, "pin", away)
    _, answers = await a.calls.roll_back(before)

    assert states(answers) == {a.crew.id: ("applied", before)}
    assert "goes by the file: gone" in caplog.text
    await a.stop()


async def test_a_file_that_changes_while_one_goes_back_is_heard_of(
    board: SharedBoard, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever starts then goes by the new one, not by what it was before."""
    a = Process(board, path)
    await started(a)
    before = a.reload.revision.digest
    path.write_text(rate(2))
    await a.calls.reload()
    take = a.reload._take

    async def meanwhile(text: str | None) -> Any:
        found = await take(text)
        path.write_text(rate(3))
        return found

    monkeypatch.setattr(a.reload, "_take", meanwhile)
    await a.reload.roll_back(before)

    late = Process(board, path)
    await late.start()
    assert late.reload.settings.rate_limit.rate.count == 3
    for process in (a, late):
        await process.stop()
