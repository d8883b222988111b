"""Probes against real servers on the loopback, each scripted to do one thing well or badly."""

import asyncio
import gc
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from app.domain.backend import Backend
from app.domain.health import State
from app.domain.pool import Pool
from app.engine.probe import LIMIT, Probe
from app.engine.prober import Prober
from app.engine.topology import Topology
from settings.pools import BackendSettings, BackendTlsSettings
from settings.resilience import HealthSettings
from settings.root import Settings
from tests.support.tls import Certificate, authority

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that does *serve* on each connection, then closes it."""
    tasks = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the prober went away, as it may; or the test is over
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        while tasks:
            await asyncio.sleep(0)


def answers(response: bytes, heads: list[bytes] | None = None) -> Serve:
    """Read a head, keep it in *heads*, send *response*."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if heads is not None:
            heads.append(head)
        writer.write(response)
        await writer.drain()

    return serve


async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything, say nothing."""
    await reader.read()


def health(timeout: float = 10.0, **said: Any) -> HealthSettings:
    """Settings with a time-out that no slow machine runs into, unless the test is of it."""
    return HealthSettings(**{"path": "/health", **said}).model_copy(update={"timeout": timeout})


async def ask(port: int, settings: HealthSettings, *, scheme: str = "http", host: str = "127.0.0.1", **tls: Any) -> str:
    """What one probe of the server at *port* comes to."""
    backend = Backend("p", BackendSettings(url=f"{scheme}://{host}:{port}"), settings)
    return await Probe(backend, settings, BackendTlsSettings(**tls)).ask()


# One HTTP probe...


async def test_asks_as_the_settings_say() -> None:
    """Method, path, Host and fields; one request a connection, and nothing a client would not send."""
    heads: list[bytes] = []
    async with listening(answers(OK, heads)) as port:
        assert await ask(port, health()) == ""
        assert (
            await ask(
                port,
                health(method="POST", path="/up?deep=1", host="app.test", headers={"X-Probe": "l7lb", "Accept": "x/y"}),
            )
            == ""
        )

    common = "user-agent: l7lb\r\naccept: {}\r\n{}connection: close\r\n\r\n"
    plain = f"GET /health HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n" + common.format("*/*", "")
    special = "POST /up?deep=1 HTTP/1.1\r\nhost: app.test\r\n" + common.format("x/y", "x-probe: l7lb\r\n")
    assert [plain.encode(), special.encode()] == heads


async def test_asks_at_another_port_when_told_to() -> None:
    """The backend's own would refuse."""
    async with listening(stalls) as free:
        pass
    async with listening(answers(OK)) as port:
        assert await ask(free, health(port=port)) == ""
        assert await ask(free, health()) == "connection refused"


@pytest.mark.parametrize(
    ("response", "expected", "failure"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", {}, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", {}, ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", {}, "status 503"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", {"status": ("200", "400-404")}, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", {"status": ("200",)}, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", {}, "connection closed before the end of the response head"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\0\1", {}, "status 101"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", {"body": "to the end"}, ""),
        (OK, {"body": "^o"}, ""),
        (OK, {"body": "no"}, "the body does not match"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", {"body": "ok"}, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok", {"body": "ok"}, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokGARBAGE", {}, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {}, ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {"body": "x"}, "the response is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", {}, "the response is not HTTP"),
        (b"\0\xff\xfe garbage", {}, "the response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: y", {}, "connection closed before the end of the response head"),
        (b"", {}, "connection closed before the end of the response head"),
    ],
)
async def test_judges_the_answer(response: bytes, expected: dict[str, Any], failure: str) -> None:
    """Status and body as expected, or one line that says what was wrong; never an exception."""
    async with listening(answers(response)) as port:
        assert failure == await ask(port, health(**expected))


async def test_a_silent_backend_fails_in_time() -> None:
    """It takes the request and never answers."""
    async with listening(stalls) as port:
        assert await ask(port, health(timeout=0.05)) == "no answer within 0.05 s"


async def test_a_reset_is_a_failure() -> None:
    """In the middle of the head."""

    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200")
        writer.transport.abort()  # with the request unread: an RST

    async with listening(resets) as port:
        assert await ask(port, health()) in (
            "connection reset",
            "connection closed before the end of the response head",  # read before the RST came
        )


@pytest.mark.parametrize(
    ("head", "expected", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", {"body": "never"}, "the body does not match"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", {}, ""),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", {}, f"the response head is over {LIMIT} bytes"),
    ],
)
async def test_reads_no_more_than_it_must(head: bytes, expected: dict[str, Any], failure: str) -> None:
    """A body without end, a head without end: given up at 64 KiB, the rest stays where it is.

    What was sent by then also lies in the buffers of both kernels and of asyncio: some MiB at most.
    """
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(b"x" * LIMIT)
            await writer.drain()
            sent += LIMIT

    async with listening(endless) as port:
        assert failure == await ask(port, health(**expected))

    assert sent < 64 * 2**20


async def test_names_are_looked_up_off_the_loop_for_each_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is slow holds nobody up; one that finds nothing is a failure."""
    threads: list[int] = []

    def getaddrinfo(*_: object, **__: object) -> None:
        threads.append(threading.get_ident())
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for _ in range(2):
        assert await ask(80, health(), host="app.test") == "app.test: Name or service not known"

    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_what_nobody_thought_of_is_a_failure_too() -> None:
    """The resolver refuses the name with a UnicodeError, before it asks."""
    assert "label empty or too long" in await ask(80, health(), host="a" * 70 + ".test")


# TCP and TLS...


async def test_a_tcp_probe_only_connects() -> None:
    """Not a byte is sent; a refused connection fails."""
    got: list[bytes] = []

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    async with listening(listens) as port:
        assert await ask(port, health(path=None)) == ""
        while not got:
            await asyncio.sleep(0)

    assert got == [b""]
    assert await ask(port, health(path=None)) == "connection refused"


async def test_tls_is_verified_as_for_requests(tmp_path: Path) -> None:
    """By the given authority, or not at all when that was said; never by accident."""
    certificate = Certificate(tmp_path)
    async with listening(answers(OK), certificate.server()) as port:
        assert await ask(port, health(), scheme="https", ca=certificate.ca) == ""
        assert await ask(port, health(), scheme="https", verify=False) == ""
        assert await ask(port, health(path=None), scheme="https", ca=certificate.ca) == ""
        assert (await ask(port, health(), scheme="https")).startswith("certificate: ")
        assert (await ask(port, health(path=None), scheme="https")).startswith("certificate: ")


async def test_tls_asks_for_the_given_name(tmp_path: Path) -> None:
    """And takes no other."""
    issued = authority().issue_cert("app.internal")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(ca)
    async with listening(answers(OK), context) as port:
        assert await ask(port, health(), scheme="https", ca=ca, server_name="app.internal") == ""
        assert "127.0.0.1" in await ask(port, health(), scheme="https", ca=ca)


async def test_plain_http_behind_an_https_url_is_a_failure() -> None:
    """Said as what it is."""

    async def speaks_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await reader.read()

    async with listening(speaks_first) as port:
        assert (await ask(port, health(), scheme="https", verify=False)).startswith("TLS: ")


async def test_an_authority_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    """The file may come later; until then the backend is not trusted."""
    async with listening(stalls) as port:
        assert "FileNotFoundError" in await ask(port, health(), scheme="https", ca=tmp_path / "none.pem")


# The job...


class Switch:
    """A backend that answers its probes or refuses them, as the test wants at the moment."""

    def __init__(self) -> None:
        self.well = True
        self.probes = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.probes += 1
        writer.write(OK if self.well else b"HTTP/1.1 500 Broken\r\n\r\n")


def said(*urls: str, **changes: Any) -> Settings:
    """One pool, probed every few milliseconds, with time enough for each probe."""
    quick = {"path": "/health", "interval": 0.005, "timeout": 0.005, "rise": 2, "fall": 3}
    settings = Settings.model_validate({"pools": {"a": {"backends": urls, "health": quick | changes}}})
    pool = settings.pools["a"]
    patient = pool.model_copy(update={"health": pool.health.model_copy(update={"timeout": 10.0})})
    return settings.model_copy(update={"pools": {"a": patient}})


@asynccontextmanager
async def probing(topology: Topology, **options: Any) -> AsyncIterator[Prober]:
    """The prober at work."""
    prober = Prober(topology, rng=Random(7), **options)
    task = asyncio.create_task(prober.run())
    try:
        yield prober
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for it, as long as it takes within reason."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def flips(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "l7lb.health"]


async def test_follows_a_backend_down_and_up_and_says_each_flip_once(caplog: pytest.LogCaptureFixture) -> None:
    """Probes between the flips leave no line."""
    caplog.set_level(logging.INFO, "l7lb.health")
    switch, topology = Switch(), Topology()
    async with listening(switch.serve) as port:
        topology.apply(said(f"http://127.0.0.1:{port}"))
        (backend,) = topology.pools["a"].backends

        assert State.CHECKING is backend.health.state

        async with probing(topology):
            for well, state in ((True, State.UP), (False, State.DOWN), (True, State.UP)):
                switch.well = well
                await eventually(lambda state=state: backend.health.state is state)
                before = switch.probes
                await eventually(lambda before=before: switch.probes > before + 5)

                assert ((backend,) if well else ()) == topology.pools["a"].available

    where = f"pool a: backend 127.0.0.1:{port} is"
    assert [
        ("INFO", f"{where} UP"),
        ("WARNING", f"{where} DOWN: status 500"),
        ("INFO", f"{where} UP"),
    ] == flips(caplog)


async def test_a_pool_that_listens_is_told_the_load_that_a_body_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each probe; traefik issue 3745 asked for it, HAProxy has it as agent-check."""
    told: list[tuple[str, bytes]] = []
    monkeypatch.setattr(Pool, "report", lambda pool, backend, load, now: told.append((pool.name, load)))
    topology = Topology()
    async with listening(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nload: 7%")) as port:
        topology.apply(said(f"http://127.0.0.1:{port}", load="load: ([0-9]+%)"))
        async with probing(topology):
            await eventually(lambda: len(told) > 2)

    assert set(told) == {("a", b"7%")}


async def test_the_first_answer_alone_decides() -> None:
    """Of a good one and a bad one, probed once: UP without `rise`, DOWN without `fall`."""
    good, bad = Switch(), Switch()
    bad.well = False
    topology = Topology()
    async with listening(good.serve) as one, listening(bad.serve) as two:
        topology.apply(said(f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}", interval="1h", down_interval="1h"))
        async with probing(topology):
            states = [backend.health for backend in topology.pools["a"].backends]
            await eventually(lambda: [health.state for health in states] == [State.UP, State.DOWN])

    assert (good.probes, bad.probes) == (1, 1)


async def test_follows_the_topology() -> None:
    """Who joins is probed at once, who leaves no longer, and new terms hold from now on, not after the old interval."""
    old, new = Switch(), Switch()
    topology = Topology()
    async with listening(old.serve) as one, listening(new.serve) as two:
        first, second = f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}"
        topology.apply(said(first, interval="1h"))
        async with probing(topology):
            await eventually(lambda: old.probes == 1)
            (kept,) = topology.pools["a"].backends
            topology.apply(said(first, second, interval="1h"))
            await eventually(lambda: new.probes == 1)

            assert old.probes == 1  # on the same terms as before

            topology.apply(said(first))
            await eventually(lambda: old.probes > 5)

            assert (kept,) == topology.pools["a"].backends
            assert new.probes == 1

            topology.apply(said(first, kind="none"))
            await eventually(lambda: len(asyncio.all_tasks()) <= 3)  # nobody is watched: the test, the prober, a server
            before = old.probes
            topology.apply(said(second))
            await eventually(lambda: new.probes > 5)

            assert before == old.probes


async def test_a_sick_crowd_does_not_hold_up_the_sound() -> None:
    """Probes run beside each other: one that hangs costs the others nothing."""
    sound = Switch()
    topology = Topology()
    async with listening(stalls) as sick, listening(sound.serve) as port:
        topology.apply(said(*(f"http://127.0.0.1:{sick}|id=sick{i}" for i in range(20)), f"http://127.0.0.1:{port}"))
        async with probing(topology):
            await eventually(lambda: sound.probes > 5)


async def test_no_more_probes_at_a_time_than_said() -> None:
    """300 backends, 8 at a time, and all of them in the end."""
    busy = most = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        await reader.readuntil(b"\r\n\r\n")
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        writer.write(OK)
        busy -= 1

    topology = Topology()
    async with listening(counts) as port:
        topology.apply(said(*(f"http://127.0.0.1:{port}|id=b{i}" for i in range(300)), interval="1h"))
        async with probing(topology, concurrency=8):
            await eventually(lambda: len(topology.pools["a"].available) == 300)

    assert 1 <= most <= 8


async def test_can_be_started_again() -> None:
    """As the jobs do after a crash: everything is probed anew, nothing is left of the first run."""
    switch, topology = Switch(), Topology()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(switch.serve))
        topology.apply(said(f"http://127.0.0.1:{port}", interval="1h"))
        for run in (1, 2):
            async with probing(topology):
                await eventually(lambda run=run: switch.probes == run)
        before = len(asyncio.all_tasks())
        topology.apply(said(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}|id=x"))

        assert before == len(asyncio.all_tasks())


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """A connection that was not closed warns when it is collected, and warnings are errors."""
    yield
    gc.collect()
