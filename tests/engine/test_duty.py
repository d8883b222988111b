"""One process probes, the others take its word: workers of one machine, of several, and what goes wrong among them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from app.domain.backend import Backend
from app.domain.health import State, Word
from app.domain.strategies.strategy import Strategy
from app.engine import duty as module
from app.engine.crew import Crew
from app.engine.duty import HEALTH, Duty
from app.engine.opinions import key_of
from app.engine.prober import Prober
from app.engine.state.board import Board, Boards
from app.engine.state.memory_board import MemoryBoard
from app.engine.topology import Topology
from settings.root import Settings
from tests.support.boards import Shared


class Server:
    """A backend that counts its probes, and whose health a test decides."""

    def __init__(self) -> None:
        self.status = 200
        self.load = ""
        self.probes = 0
        self.port = 0

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.probes += 1
            body = f'{{"load": {self.load}}}' if self.load else ""
            writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Worker:
    """A process of its own, but for the process."""

    def __init__(self, boards: Boards, *servers: Server, scope: str = "machine", **more: object) -> None:
        self.boards = boards
        self.crew = Crew(boards)
        self.topology = Topology()
        self.apply(*servers, scope=scope, **more)
        self.duty = Duty(self.topology, boards, self.crew)
        self.prober = Prober(self.topology, self.duty, rng=Random(7))
        self.jobs: list[asyncio.Task[None]] = []

    def apply(self, *servers: Server, **health: object) -> None:
        """Go by these settings."""
        said = {"path": "/", "interval": "50ms", "jitter": 0, "fall": 2, "rise": 2, "timeout": "50ms", **health}
        backends = [{"url": f"http://127.0.0.1:{server.port}", "id": f"b{n}"} for n, server in enumerate(servers)]
        self.topology.apply(Settings(pools={"p": {"backends": backends, "health": said}}))

    @property
    def states(self) -> list[State]:
        return [backend.health.state for backend in self.topology.pools["p"].backends]

    @property
    def on_duty(self) -> bool:
        pool = self.topology.pools["p"]
        return all(self.duty.mine(pool, backend) for backend in pool.backends)

    @property
    def backend(self) -> Backend:
        return self.topology.pools["p"].backends[0]

    def begin(self) -> None:
        self.jobs = [asyncio.create_task(self.prober.run()), asyncio.create_task(self.duty.run())]

    async def end(self) -> None:
        for job in self.jobs:
            job.cancel()
        await asyncio.gather(*self.jobs, return_exceptions=True)

    async def die(self) -> None:
        """End without a word: it does not give its lease back."""
        for post in self.duty._posts.values():
            post.mine = False
        await self.end()


@asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[None]:
    """They run meanwhile; none of them crashes."""
    for worker in workers:
        worker.begin()
    try:
        yield
        for worker in workers:
            for job in worker.jobs:
                assert not job.done() or job.cancelled(), job
    finally:
        for worker in workers:
            await worker.end()


async def eventually(condition: Callable[[], bool], what: str = "") -> None:
    """Wait until it is so."""
    try:
        async with asyncio.timeout(15):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"waited in vain: {what}") from None


def machine(board: Board | None = None) -> Boards:
    board = board or Shared()
    return Boards(board, board)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that takes its time takes a tenth of it."""
    for name in ("LOOK", "LEASE", "RENEWAL", "LASTING", "PATIENCE"):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)


async def test_one_probes_and_all_know(caplog: pytest.LogCaptureFixture) -> None:
    """What it finds is the others' opinion, too; a flip is logged once."""
    caplog.set_level(logging.INFO)
    boards = machine()
    async with Server() as good, Server() as bad:
        bad.status = 500
        workers = [Worker(boards, good, bad) for _ in range(4)]
        async with at_work(*workers):
            await eventually(lambda: all(w.states == [State.UP, State.DOWN] for w in workers), "all to know")
            assert sum(worker.on_duty for worker in workers) == 1
            good.status, bad.status = 503, 200
            await eventually(lambda: all(w.states == [State.DOWN, State.UP] for w in workers), "all to know better")
            assert {w.backend.health.reason for w in workers} == {"status 503"}

    told = [record.getMessage() for record in caplog.records if record.name == "l7lb.health"]
    assert sorted(told) == [
        "pool p: backend b0 is DOWN: status 503",
        "pool p: backend b0 is UP",
        "pool p: backend b1 is DOWN: status 500",
        "pool p: backend b1 is UP",
    ]


async def test_as_many_probes_as_of_one() -> None:
    """Four workers ask a backend as often as the one on duty."""
    boards = machine()
    async with Server() as server:
        workers = [Worker(boards, server) for _ in range(4)]
        asked: list[int] = []
        for worker in workers:
            observe = worker.topology.observe

            def counted(*args: object, observe: Callable[..., bool] = observe, of: int = id(worker)) -> bool:
                asked.append(of)
                return observe(*args)

            worker.topology.observe = counted  # type: ignore[method-assign]
        async with at_work(*workers):
            await eventually(lambda: server.probes >= 20)
        assert len(set(asked)) == 1


async def test_who_dies_is_followed_by_another() -> None:
    """Within two leases, and with what it knew."""
    boards = machine()
    async with Server() as server:
        workers = [Worker(boards, server) for _ in range(3)]
        async with at_work(*workers):
            await eventually(lambda: all(w.states == [State.UP] for w in workers))
            first = next(worker for worker in workers if worker.on_duty)
            others = [worker for worker in workers if worker is not first]
            loop = asyncio.get_running_loop()
            began = loop.time()
            await first.die()
            first.jobs = []
            await eventually(lambda: any(worker.on_duty for worker in others), "another on duty")
            assert loop.time() - began < 2 * module.LEASE + 0.5
            assert [worker.states for worker in others] == [[State.UP]] * 2
            seen = server.probes
            server.status = 500
            await eventually(lambda: all(w.states == [State.DOWN] for w in others), "them to go on")
            assert server.probes > seen


async def test_who_ends_gives_its_lease_back() -> None:
    """So that nobody has to wait for its end."""
    boards = machine()
    async with Server() as server:
        first, second = Worker(boards, server), Worker(boards, server)
        async with at_work(first):
            await eventually(lambda: first.on_duty)
        assert await boards.machine.lease(f"health {key_of('p', second.topology.pools['p'].settings)}", "x", 0.0)


async def test_who_starts_knows_at_once() -> None:
    """What the others know, before any probe of its own."""
    boards = machine()
    async with Server() as server:
        first, second = Worker(boards, server), Worker(boards, server)
        async with at_work(first):
            await eventually(lambda: first.states == [State.UP])
            await eventually(lambda: b'"up"' in _text(boards.machine))
            async with at_work(second):
                await eventually(lambda: second.states == [State.UP])
                assert not second.on_duty
                assert second.topology.pools["p"].available == (second.backend,)


async def test_without_the_board_each_probes_for_itself() -> None:
    """Until it is back."""
    board = Shared()
    async with Server() as server:
        workers = [Worker(machine(board), server) for _ in range(3)]
        async with at_work(*workers):
            await eventually(lambda: all(w.states == [State.UP] for w in workers))
            board.away = True
            await eventually(lambda: all(worker.on_duty for worker in workers), "all on their own")
            server.status = 500
            await eventually(lambda: all(w.states == [State.DOWN] for w in workers))
            board.away = False
            await eventually(lambda: sum(worker.on_duty for worker in workers) == 1, "one on duty again")
            server.status = 200
            await eventually(lambda: all(w.states == [State.UP] for w in workers))


@pytest.mark.parametrize(("scope", "probing"), [("process", 4), ("machine", 2), ("cluster", 1)])
async def test_the_scope_says_of_whom_one_probes(scope: str, probing: int) -> None:
    """Two workers on each of two machines."""
    cluster = Shared()
    async with Server() as server:
        workers = [Worker(boards, server, scope=scope) for boards in (Boards(Shared(), cluster),) * 2]
        workers += [Worker(boards, server, scope=scope) for boards in (Boards(Shared(), cluster),) * 2]
        async with at_work(*workers):
            await eventually(lambda: all(w.states == [State.UP] for w in workers))
            assert sum(worker.on_duty for worker in workers) == probing


async def test_a_lone_process_asks_nobody() -> None:
    """Not even itself."""
    board = MemoryBoard()
    async with Server() as server:
        worker = Worker(Boards(board, board), server)
        assert worker.on_duty
        async with at_work(worker):
            await eventually(lambda: worker.states == [State.UP])
            await eventually(worker.jobs[1].done)
            worker.jobs.pop()
        assert await board.revision(HEALTH) == 0


async def test_a_backend_that_nobody_speaks_of_is_probed_by_whoever_has_it() -> None:
    """The one on duty has not heard of it, or has another of that name; when it has, it does it."""
    boards = machine()
    async with Server() as known, Server() as fresh:
        first, second = Worker(boards, known), Worker(boards, known)
        async with at_work(first, second):
            await eventually(lambda: first.states == second.states == [State.UP])
            if second.on_duty:
                first, second = second, first
            second.apply(known, fresh)
            assert second.states == [State.UP, State.CHECKING]
            assert fresh.probes == 0
            await eventually(lambda: second.states == [State.UP, State.UP], "it to be probed")
            first.apply(known, fresh)
            pool = second.topology.pools["p"]
            await eventually(lambda: not second.duty.mine(pool, pool.backends[1]), "the one on duty to do it")


async def test_other_terms_are_another_matter() -> None:
    """As during a reload: what is probed otherwise is not what the others speak of."""
    boards = machine()
    async with Server() as server:
        first, second = Worker(boards, server), Worker(boards, server, path="/deep")
        async with at_work(first, second):
            await eventually(lambda: first.states == second.states == [State.UP])
            assert first.on_duty
            assert second.on_duty
            second.apply(server)
            await eventually(lambda: first.on_duty != second.on_duty, "them to agree")


async def test_who_was_held_up_does_not_overrule_its_heir() -> None:
    """It finds the note changed, and that the lease is another's."""
    boards = machine()
    async with Server() as server:
        held, heir = Worker(boards, server), Worker(boards, server)
        async with at_work(held):
            await eventually(lambda: held.states == [State.UP])
            pool = held.topology.pools["p"]
            key = key_of("p", pool.settings)
            word = ["b0 " + f"http://127.0.0.1:{server.port}", "down", 0, "as the heir says", 0.0, None]
            await boards.machine.lease(f"health {key}", held.crew.id, 0)
            assert await boards.machine.lease(f"health {key}", heir.crew.id, 60)
            await boards.machine.write(HEALTH, key, json.dumps([word]).encode())
            await eventually(lambda: not held.on_duty)
            await eventually(lambda: held.backend.health.reason == "as the heir says")
            assert held.states == [State.DOWN]
            assert (await boards.machine.read(HEALTH))[key].value == json.dumps([word]).encode()


async def test_a_load_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the strategy of each, as often as it was said."""
    heard: Counter[tuple[Backend, float]] = Counter()
    monkeypatch.setattr(Strategy, "report", lambda _, backend, load, __: heard.update([(backend, load)]))
    boards = machine()
    async with Server() as server:
        server.load = "0.25"
        workers = [Worker(boards, server, load='"load": ([0-9.]+)') for _ in range(2)]
        async with at_work(*workers):
            for load in (0.25, 0.75):
                server.load = str(load)
                await eventually(lambda load=load: all(heard[w.backend, load] >= 3 for w in workers), "both to hear it")


@pytest.mark.parametrize("value", [b"x", b"{}", b"[1]", b'[["a"]]', b'[["b0 x", "sick", 0, "", 0, null]]', b"null"])
async def test_a_note_that_cannot_be_read_says_nothing(value: bytes) -> None:
    """So whoever has the backend probes it."""
    boards = machine()
    async with Server() as server:
        worker = Worker(boards, server)
        key = key_of("p", worker.topology.pools["p"].settings)
        await boards.machine.write(HEALTH, key, value)
        assert await boards.machine.lease(f"health {key}", "somebody", 60)
        async with at_work(worker):
            await eventually(lambda: worker.states == [State.UP])


async def test_a_note_that_is_too_long_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others probe for themselves."""
    boards = machine()
    async with Server() as server:
        workers = [Worker(boards, server) for _ in range(2)]
        for worker in workers:
            worker.topology.believe(worker.backend, Word(State.DOWN, 0, "x" * (1 << 20), 0.0), 0.0)
            worker.topology.observe = lambda *_: False  # type: ignore[method-assign]
        async with at_work(*workers):
            await eventually(lambda: all(worker.on_duty for worker in workers))
    assert "cannot be told of its health" in caplog.text


def _text(board: Board) -> bytes:
    assert isinstance(board, MemoryBoard)
    return b"".join(value for value, _, _ in board._tables.get("health", {}).values())
