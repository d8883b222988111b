"""What is said of backends at run time, over a board that several processes share."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.registration import Registration
from app.engine import registrations
from app.engine.beats import BEATS
from app.engine.crew import Crew
from app.engine.registrations import BACKENDS, Registrations, TooMany
from app.engine.state.board import BoardAway, Boards, Conflict
from app.engine.state.memory_board import MemoryBoard
from app.engine.topology import Topology
from settings.pools import BackendSettings
from settings.root import Settings

TEN = (ip_network("10.0.0.0/8"),)
NEW = BackendSettings(url="http://10.0.0.1:80", id="new")


def said(**pool: Any) -> Settings:
    settings = {"backends": "http://x,http://y|weight=2", "health": {"kind": "none"}, **pool}
    return Settings.model_validate({"pools": {"a": settings}})


class Process:
    """One that is on the board."""

    def __init__(self, board: MemoryBoard, settings: Settings | None = None) -> None:
        self.topology = Topology()
        self.topology.apply(settings or said())
        crew = Crew(Boards(board, board))
        self.registrations = Registrations(self.topology, board, crew, TEN, look=0.01)

    async def __aenter__(self) -> Process:
        await self.registrations.settle()
        self.job = asyncio.create_task(self.registrations.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.job.cancel()
        await asyncio.gather(self.job, return_exceptions=True)

    @property
    def backends(self) -> dict[str, Backend]:
        return {backend.id: backend for backend in self.topology.pools["a"].backends}

    async def write(self, backend: str, registration: Registration) -> int:
        _, revision = await self.registrations.look("a", backend)
        return await self.registrations.write("a", backend, registration, revision)

    async def register(self, spec: BackendSettings, ttl: float = 30.0) -> bool:
        _, revision = await self.registrations.look("a", spec.id)
        return await self.registrations.register("a", Registration(spec=spec, ttl=ttl), revision)

    async def sees(self, *names: str) -> None:
        async with asyncio.timeout(10):
            while set(self.backends) != set(names):
                await asyncio.sleep(0.005)


@pytest.fixture
def board() -> MemoryBoard:
    return MemoryBoard()


async def test_what_is_registered_is_there_at_once_and_everywhere(board: MemoryBoard) -> None:
    """Within the networks that are allowed; whoever starts later has it before its first request."""
    async with Process(board) as one, Process(board) as two:
        await one.write("new", Registration(spec=NEW))

        assert set(one.backends) == {"x:80", "y:80", "new"}
        assert one.backends["new"].spec.networks == TEN
        await two.sees("x:80", "y:80", "new")
        late = Process(board)
        await late.registrations.settle()
        assert "new" in late.backends
        await two.write("new", Registration())
        assert set(two.backends) == {"x:80", "y:80"}
        await one.sees("x:80", "y:80")


async def test_what_is_said_of_any_backend_holds_everywhere(board: MemoryBoard) -> None:
    """Weight, drain and its end; also after a reload that has nothing to do with it."""
    async with Process(board) as one, Process(board) as two:
        x = two.backends["x:80"]
        await one.write("x:80", Registration(draining=True, let_go=time.time() + 60).weighed(7, x.spec))
        async with asyncio.timeout(10):
            while not (x.draining and x.weight == 7):
                await asyncio.sleep(0.005)
        assert 59 < x.let_go - time.monotonic() <= 60

        two.topology.apply(said(panic=0.1))
        assert (two.backends["x:80"].weight, two.backends["x:80"].draining) == (7, True)
        two.topology.apply(said(backends="http://x|weight=5,http://y"))
        assert (two.backends["x:80"].weight, two.backends["x:80"].draining) == (5, True)

        await one.write("x:80", Registration())
        async with asyncio.timeout(10):
            while x.draining:
                await asyncio.sleep(0.005)
        assert one.backends["x:80"].weight == 1


async def test_what_was_taken_out_stays_out_until_it_is_wanted_back(board: MemoryBoard) -> None:
    """By whoever registers it, or a source that says something else of it."""
    async with Process(board) as one, Process(board) as two:
        source = one.backends["y:80"].spec
        await one.write("y:80", Registration(removed=True, instead_of=source))
        assert set(one.backends) == {"x:80"}
        await two.sees("x:80")
        two.topology.apply(said(panic=0.1))
        assert set(two.backends) == {"x:80"}

        await two.write("y:80", Registration())
        await one.sees("x:80", "y:80")
        assert set(two.backends) == {"x:80", "y:80"}

        await one.write("y:80", Registration(removed=True, instead_of=source))
        one.topology.apply(said(backends="http://x,http://y|weight=9"))
        assert one.backends["y:80"].weight == 9


async def test_who_does_not_register_again_is_gone(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the note of it, later; one that does stays."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    monkeypatch.setattr(registrations, "LISTEN", 0.02)
    monkeypatch.setattr(registrations, "KEPT", 0.0)
    other = NEW.model_copy(update={"id": "other"})
    async with Process(board) as one, Process(board) as two:
        for spec in (NEW, other):
            assert await one.register(spec, 0.3)
        await two.sees("x:80", "y:80", "new", "other")

        async with asyncio.timeout(10):
            while "new" in two.backends or "new" in one.backends:
                assert not await one.register(other, 0.3)
                await asyncio.sleep(0.01)
        assert "other" in one.backends
        async with asyncio.timeout(10):
            while "a/new" in await board.read(BACKENDS):
                await one.register(other, 0.3)
                await asyncio.sleep(0.01)


async def test_what_is_said_of_nobody_is_forgotten(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who drains, and is named by no source any more; not who is named, taken out or not."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    monkeypatch.setattr(registrations, "VANISHED", 0.05)
    async with Process(board) as one, Process(board) as two:
        x, y = one.backends["x:80"], one.backends["y:80"]
        await one.write("gone", Registration(draining=True))
        await one.registrations.write("b", "gone", Registration(draining=True), 0)
        await one.write("x:80", Registration(draining=True))
        await one.write("y:80", Registration(removed=True, instead_of=y.spec))
        async with asyncio.timeout(10):
            while len(await board.read(BACKENDS)) > 2:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)

        assert set(await board.read(BACKENDS)) == {"a/x:80", "a/y:80"}
        assert x.draining
        await two.sees("x:80")


async def test_a_source_that_has_said_nothing_yet_may_name_anybody(
    board: MemoryBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    monkeypatch.setattr(registrations, "VANISHED", 0.0)
    async with Process(board, said(source={"kind": "dns", "name": "a.internal"})) as process:
        await process.write("new", Registration(draining=True))
        await asyncio.sleep(0.2)
        assert "a/new" in await board.read(BACKENDS)

        process.topology.update("a", "dns", (NEW,))
        await asyncio.sleep(0.2)
        assert process.backends["new"].draining
        assert "a/new" in await board.read(BACKENDS)

        process.topology.update("a", "dns", ())
        async with asyncio.timeout(10):
            while "a/new" in await board.read(BACKENDS):
                await asyncio.sleep(0.01)


async def test_after_a_start_who_has_a_ttl_is_believed_for_once(
    board: MemoryBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All may have been away: nobody could have registered again."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    await board.write(BACKENDS, "a/new", Registration(spec=NEW, ttl=0.2).encoded())

    async with Process(board) as process:
        assert "new" in process.backends
        await process.sees("x:80", "y:80")


async def test_two_that_write_at_the_same_time(board: MemoryBoard) -> None:
    """One of them is told."""
    async with Process(board) as one, Process(board) as two:
        _, revision = await one.registrations.look("a", "new")
        await two.write("new", Registration(spec=NEW))

        with pytest.raises(Conflict):
            await one.registrations.write("a", "new", Registration(draining=True), revision)


async def test_there_is_a_limit(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there may be changed all the same."""
    monkeypatch.setattr(registrations, "MOST", 1)
    async with Process(board) as process:
        await process.write("new", Registration(spec=NEW))
        with pytest.raises(TooMany):
            await process.write("x:80", Registration(draining=True))
        await process.write("new", Registration(spec=NEW, draining=True))
        assert process.backends["new"].draining


async def test_a_note_that_cannot_be_read_harms_nobody(board: MemoryBoard, caplog: pytest.LogCaptureFixture) -> None:
    """It may be of another version, or anybody's."""
    await board.write(BACKENDS, "a/odd", b"{")
    await board.write(BACKENDS, "a/odder", b'{"spec": {"url": "file:///"}}')
    await board.write(BACKENDS, "nowhere", b"[]")
    await board.write(BACKENDS, "gone/new", Registration(spec=NEW).encoded())
    await board.write(BACKENDS, "a/new", Registration(spec=NEW).encoded())

    async with Process(board) as process:
        assert set(process.backends) == {"x:80", "y:80", "new"}
    assert "a/odder cannot be read" in caplog.text


async def test_a_board_that_is_away_changes_nothing(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last stays; who writes is told."""

    async def away(*_: object, **__: object) -> Any:
        raise BoardAway("gone")

    async with Process(board) as process:
        await process.write("new", Registration(spec=NEW))
        for method in ("read", "write", "revision"):
            monkeypatch.setattr(board, method, away)

        with pytest.raises(BoardAway):
            await process.registrations.write("a", "x:80", Registration(draining=True), 0)

        await asyncio.sleep(0.05)
        assert set(process.backends) == {"x:80", "y:80", "new"}
        assert not process.backends["x:80"].draining
        late = Process(board)
        await late.registrations.settle()
        assert set(late.backends) == {"x:80", "y:80"}


# What others do in between...


async def test_what_others_wrote_since_is_not_forgotten(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board may take long to say that it has written; meanwhile others write, and we hear of that."""
    async with Process(board) as one, Process(board) as two:
        write, source = board.write, one.backends["x:80"].spec

        async def late(*args: Any, **more: Any) -> int:
            revision = await write(*args, **more)
            monkeypatch.setattr(board, "write", write)
            await two.write("x:80", Registration(weight=9, instead_of=source))
            async with asyncio.timeout(10):
                while one.registrations.known("a", "x:80")[0].weight != 9:
                    await asyncio.sleep(0.005)
            return revision

        monkeypatch.setattr(board, "write", late)
        await one.write("x:80", Registration(weight=7, instead_of=source))

        assert one.backends["x:80"].weight == two.backends["x:80"].weight == 9


async def test_one_that_comes_back_while_it_finishes_is_as_it_says(board: MemoryBoard) -> None:
    """It is the same object; what was said of it before is over."""
    async with Process(board) as process:
        allowed = NEW.model_copy(update={"networks": TEN})
        await process.write("new", Registration(spec=NEW, weight=7, instead_of=allowed, draining=True))
        backend = process.backends["new"]
        assert (backend.weight, backend.draining) == (7, True)
        backend.in_flight = 1
        await process.write("new", Registration())
        assert backend.leaving

        await process.write("new", Registration(spec=NEW))

        assert process.backends["new"] is backend
        assert (backend.weight, backend.draining) == (1, False)


async def test_a_pool_that_is_gone_is_nobodys_trouble(board: MemoryBoard) -> None:
    """Another machine, which still has it, wants a backend back that was taken out."""
    async with Process(board) as process:
        await process.write("y:80", Registration(removed=True, instead_of=process.backends["y:80"].spec))
        process.topology.apply(Settings.model_validate({"pools": {"b": {}}}))

        await process.write("y:80", Registration())

        process.topology.apply(said())
        assert set(process.backends) == {"x:80", "y:80"}


async def test_what_was_taken_out_is_back_when_its_source_says_something_else(board: MemoryBoard) -> None:
    """Any source, not the settings only."""
    async with Process(board) as process:
        process.topology.update("a", "file", [BackendSettings(url="http://z")])
        await process.write("z:80", Registration(removed=True, instead_of=process.backends["z:80"].spec))
        process.topology.update("a", "file", [BackendSettings(url="http://z"), BackendSettings(url="http://other")])
        assert set(process.backends) == {"x:80", "y:80", "other:80"}

        process.topology.update("a", "file", [BackendSettings.model_validate("http://z|weight=5")])

        assert process.backends["z:80"].weight == 5


async def test_one_that_is_taken_out_goes_at_once(board: MemoryBoard) -> None:
    """Although nobody else is there; it is not as when a source names nobody any more."""
    alone = said(backends="")
    async with Process(board, alone) as one, Process(board, alone) as two:
        assert await one.register(NEW)
        await two.sees("new")

        await one.registrations.withdraw("a", "new", one.registrations.known("a", "new")[1])

        assert one.backends == {}
        await two.sees()
        assert await two.register(NEW)
        await one.sees("new")


async def test_a_registration_that_is_taken_out_leaves_what_the_settings_name(board: MemoryBoard) -> None:
    """They have come to name the same id since."""
    async with Process(board) as process:
        assert await process.register(NEW)
        process.topology.apply(said(backends=f"{NEW.url}|id=new"))

        await process.registrations.withdraw("a", "new", process.registrations.known("a", "new")[1])

        assert set(process.backends) == {"new"}


async def test_each_is_believed_for_its_own_time(board: MemoryBoard) -> None:
    """That another one has long does not keep those who are gone."""
    for name, ttl in (("new", 0.2), ("slow", 3600.0)):
        spec = NEW.model_copy(update={"id": name})
        await board.write(BACKENDS, f"a/{name}", Registration(spec=spec, ttl=ttl).encoded())

    async with Process(board) as process:
        assert {"new", "slow"} <= set(process.backends)
        await process.sees("x:80", "y:80", "slow")


async def test_who_could_not_register_again_is_not_taken_for_gone(
    board: MemoryBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The board was away, and all beats are over when it is back. Who was gone before does not come back by that."""
    monkeypatch.setattr(registrations, "LISTEN", 0.02)

    async def away(*_: object, **__: object) -> Any:
        raise BoardAway("gone")

    async with Process(board) as process:
        await process.register(NEW.model_copy(update={"id": "old"}), 0.1)
        await process.register(NEW, 1.0)
        await process.sees("x:80", "y:80", "new")
        changes: list[Any] = []
        process.topology.listen(changes.append)
        with monkeypatch.context() as patch:
            for method in ("read", "revision"):
                patch.setattr(board, method, away)
            await asyncio.sleep(1.2)
        await asyncio.sleep(0.2)

        assert set(process.backends) == {"x:80", "y:80", "new"}
        assert not changes
        await process.sees("x:80", "y:80")


async def test_who_registers_in_the_moment_of_being_cleared_away_stays(
    board: MemoryBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who clears away has not heard of it yet."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    monkeypatch.setattr(registrations, "KEPT", 0.0)
    lease, again = board.lease, asyncio.Event()
    await board.write(BACKENDS, "a/new", Registration(spec=NEW, ttl=0.1).encoded())
    async with Process(board) as one, Process(board) as two:

        async def held(*args: Any) -> bool:
            found = await lease(*args)
            if not again.is_set():
                again.set()
                assert await two.register(NEW, 0.1) is True  # it was gone: this is to be seen
                assert await two.register(NEW, 30.0) is True
            return found

        monkeypatch.setattr(board, "lease", held)
        async with asyncio.timeout(10):
            await again.wait()
        await asyncio.sleep(0.2)

        assert "a/new" in await board.read(BACKENDS)
        await one.sees("x:80", "y:80", "new")


async def test_who_clears_away_bears_that_others_do(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to go has gone already: the job goes on."""
    monkeypatch.setattr(registrations, "TIDY", 0.02)
    monkeypatch.setattr(registrations, "KEPT", 0.0)
    lease = board.lease
    for number in range(3):
        spec = NEW.model_copy(update={"id": f"n{number}"})
        await board.write(BACKENDS, f"a/n{number}", Registration(spec=spec, ttl=0.1).encoded())
    async with Process(board) as process:

        async def held(*args: Any) -> bool:
            monkeypatch.setattr(board, "lease", lease)
            await process.write("n0", Registration())
            await board.write(BACKENDS, "a/n1", Registration(spec=NEW, ttl=0.1).encoded())
            return await lease(*args)

        monkeypatch.setattr(board, "lease", held)
        async with asyncio.timeout(10):
            while await board.read(BACKENDS):
                await asyncio.sleep(0.01)
        assert not process.job.done()


async def test_one_that_is_taken_out_does_not_take_along_who_comes_after(board: MemoryBoard) -> None:
    """The old process of a backend says goodbye while the new one registers under the same id."""
    async with Process(board) as one, Process(board) as two:
        await one.register(NEW)
        await two.sees("x:80", "y:80", "new")
        write = board.write

        async def slow(table: Any, key: str, value: bytes | None, **more: Any) -> int:
            board.write = write  # type: ignore[method-assign]
            revision = await write(table, key, value, **more)
            await two.register(NEW)
            return revision

        board.write = slow  # type: ignore[method-assign]
        await one.registrations.withdraw("a", "new", one.registrations.known("a", "new")[1])

        await asyncio.sleep(0.1)
        assert "new" in one.backends
        assert "new" in two.backends
        assert set(await board.read(BEATS)) == {"a/new"}


async def test_renewals_cost_little(board: MemoryBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are many: what nobody has changed is neither read again nor done again."""
    async with Process(board) as process:
        for number in range(50):
            await process.register(BackendSettings(url=f"http://10.0.0.{number}:80"))
        read, done = board.read, []

        async def counted(table: Any) -> Any:
            done.append(table)
            return await read(table)

        monkeypatch.setattr(board, "read", counted)
        monkeypatch.setattr(process.topology, "update", lambda *_: done.append("update"))
        for number in range(50):
            assert not await process.register(BackendSettings(url=f"http://10.0.0.{number}:80"))
        await asyncio.sleep(0.1)

        assert set(done) <= {BEATS}
