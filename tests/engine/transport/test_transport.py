"""The transport against real backends: connections are kept, replaced when that is safe, and never mixed up."""

import asyncio
import contextlib
import itertools
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest
import trustme

from app.domain.attempt import Attempt
from app.domain.backend import Backend as DomainBackend
from app.domain.errors import (
    CertificateRejected,
    ClientGone,
    ConnectFailed,
    ConnectTimeout,
    NameNotResolved,
    ProxyError,
    ResponseTimeout,
    StaleConnection,
    TlsFailed,
    TotalTimeout,
)
from app.domain.pool import Pool
from app.domain.strategies import STRATEGIES
from app.engine.client import Client, UpstreamRequest, UpstreamResponse
from app.engine.topology import Topology
from app.engine.transport import trust
from app.engine.transport.transport import UpstreamTransport
from settings import Settings
from settings.models import Choice
from settings.pools import BackendSettings, PoolSettings
from settings.resilience import HealthSettings
from tests.support.backend import Backend, Gate, close, forever, pause, read_head, reply, reset, send, stall
from tests.support.tls import Certificate

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Line:
    """A client over one pool of one backend."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.transport = UpstreamTransport()
        self.client = Client(self.transport)
        pool = PoolSettings.model_validate({"backends": [{"url": url, "id": "b"}]} | settings)
        self.backend = DomainBackend("p", BackendSettings(url=url, id="b"), HealthSettings(kind="none"))
        self.pool = Pool("p", pool, STRATEGIES.build(Choice(kind="first")), (self.backend,))
        self.transport.start()
        self.transport.follow([self.pool])

    def request(self, wire: bytes = GET, method: str = "GET") -> UpstreamRequest:
        connections = self.transport.connections[self.backend]
        request = UpstreamRequest(method, Attempt(self.backend, monotonic()), connections, wire)
        request.replayable = method == "GET"
        return request

    async def get(self, request: UpstreamRequest | None = None) -> tuple[int, bytes]:
        response = cast(UpstreamResponse, await self.client.send(request or self.request()))
        try:
            return response.status_code, b"".join([piece async for piece in response.aiter_raw()])
        finally:
            await response.aclose()


@pytest.fixture
async def line() -> AsyncIterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(backend: Backend | str, **settings: Any) -> Line:
        made.append(Line(backend if isinstance(backend, str) else backend.url, **settings))
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()


async def test_a_connection_is_kept_and_used_again(line: Callable[..., Line]) -> None:
    """One connection for requests that come one after the other."""
    with Backend() as backend:
        here = line(backend)
        for _ in range(3):
            assert (await here.get())[0] == 200

        assert len(backend.connections) == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(line: Callable[..., Line]) -> None:
    """And the last one given back is the first one taken."""
    gate = Gate()
    with Backend(forever(read_head, pause(gate), send(reply(b"ok")))) as backend:
        here = line(backend)
        both = asyncio.gather(here.get(), here.get())
        while len(backend.requests) < 2:
            await asyncio.sleep(0.001)
        gate.open()

        assert await both == [(200, b"ok"), (200, b"ok")]
        assert len(backend.connections) == 2


async def test_a_stale_connection_is_replaced(line: Callable[..., Line]) -> None:
    """The backend closes after its first answer; an idempotent request is sent again over a new connection."""
    with Backend(read_head, send(reply(b"ok")), read_head, close) as backend:
        here = line(backend)
        await here.get()
        request = here.request()

        assert await here.get(request) == (200, b"ok")
        assert len(backend.connections) == 2
        assert not request.attempt.reused


async def test_a_post_is_never_sent_twice(line: Callable[..., Line]) -> None:
    """The backend may have done it already (RFC 9110 section 9.2.2)."""
    with Backend(read_head, send(reply(b"ok")), read_head, close) as backend:
        here = line(backend)
        await here.get()
        with pytest.raises(StaleConnection):
            await here.get(here.request(method="POST"))

        assert [len(c.requests) for c in backend.connections] == [2]


async def test_a_new_connection_that_closes_is_no_stale_one(line: Callable[..., Line]) -> None:
    """Else a backend that closes on every request would get it for ever."""
    with Backend(read_head, close) as backend:
        here = line(backend)
        with pytest.raises(StaleConnection):
            await here.get()

        assert len(backend.connections) == 1


async def test_what_a_backend_says_unasked_is_seen_by_nobody(line: Callable[..., Line]) -> None:
    """A second response behind the first closes the connection; the next request gets its own."""
    with Backend(forever(read_head, send(reply(b"mine") + reply(b"poison")))) as backend:
        here = line(backend)

        assert [await here.get() for _ in range(3)] == [(200, b"mine")] * 3
        assert len(backend.connections) == 3


@pytest.mark.parametrize("step", [close, reset])
async def test_a_backend_that_hangs_up(line: Callable[..., Line], step: Any) -> None:
    """It is the backend's fault, and it may have seen the request."""
    with Backend(read_head, step) as backend:
        with pytest.raises(ProxyError) as caught:
            await line(backend).get()

        assert caught.value.sent
        assert caught.value.side == "backend"


async def test_nobody_listens(line: Callable[..., Line]) -> None:
    """Nothing was sent, so another attempt is always safe."""
    backend = Backend()
    backend.stop()
    with pytest.raises(ConnectFailed) as caught:
        await line(backend).get()

    assert not caught.value.sent


async def test_a_name_without_an_address(line: Callable[..., Line]) -> None:
    """By RFC 6761 `.invalid` never has one."""
    with pytest.raises(NameNotResolved):
        await line("http://nothing.invalid:80").get()


@pytest.fixture
def deaf() -> Iterator[str]:
    """A URL where nobody answers: a full accept queue drops the handshake."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        queue = [socket.create_connection(("127.0.0.1", port), 0.2)]
        with contextlib.suppress(TimeoutError):
            while True:
                queue.append(socket.create_connection(("127.0.0.1", port), 0.2))
        yield f"http://127.0.0.1:{port}"
        for each in queue:
            each.close()


async def test_a_connection_that_is_not_made_in_time(line: Callable[..., Line], deaf: str) -> None:
    """By its own time-out."""
    with pytest.raises(ConnectTimeout):
        await line(deaf, timeouts={"connect": "100ms"}).get()


async def test_a_connection_that_outlasts_the_exchange(line: Callable[..., Line], deaf: str) -> None:
    """Nothing was sent, and there is no time to try another."""
    waiting = line(deaf, timeouts={"connect": "1h"})
    request = waiting.request()
    request.until = monotonic() + 0.1

    with pytest.raises(TotalTimeout) as caught:
        await waiting.get(request)

    assert not caught.value.sent


async def test_no_response_in_time(line: Callable[..., Line]) -> None:
    """The sweep notices, and the backend sees its connection cut."""
    with Backend(read_head, stall) as backend:
        with pytest.raises(ResponseTimeout):
            await line(backend, timeouts={"response": "100ms"}).get()
        while not backend.connections[0].closed:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("phase", ["connecting", "waiting"])
async def test_the_client_leaves(line: Callable[..., Line], phase: str) -> None:
    """The attempt ends at once, whatever it waits for."""
    with Backend(read_head, stall) as backend:
        here = line(backend)
        request = here.request()
        attempt = asyncio.ensure_future(here.get(request))
        while not (request.connecting if phase == "connecting" else backend.requests):
            await asyncio.sleep(0)
        request.fail(ClientGone())

        with pytest.raises(ClientGone):
            await attempt


async def test_a_client_that_leaves_late_takes_nobody_with_it(line: Callable[..., Line]) -> None:
    """The response was whole, and the next request is on the connection already: that one is not to be failed."""
    gate = Gate()
    with Backend(read_head, send(reply(b"first")), read_head, pause(gate), send(reply(b"second"))) as backend:
        here = line(backend)
        first = here.request()
        await here.get(first)
        second = asyncio.ensure_future(here.get())
        while len(backend.requests) < 2:
            await asyncio.sleep(0.001)
        first.fail(ClientGone())
        gate.open()

        assert await second == (200, b"second")
        assert len(backend.connections) == 1


async def test_an_attempt_that_is_cancelled_leaves_nothing_behind(line: Callable[..., Line]) -> None:
    """As at the end of the grace time."""
    with Backend(read_head, stall) as backend:
        here = line(backend)
        attempt = asyncio.ensure_future(here.get())
        while not backend.requests:
            await asyncio.sleep(0.001)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        while not backend.connections[0].closed:
            await asyncio.sleep(0.001)


async def test_an_idle_connection_is_closed_after_keep_alive(line: Callable[..., Line]) -> None:
    """Before the backend does it, so that no request meets a closing connection."""
    with Backend() as backend:
        here = line(backend, timeouts={"keep_alive": "100ms"})
        await here.get()
        while not backend.connections[0].closed:
            await asyncio.sleep(0.001)
        await here.get()

        assert len(backend.connections) == 2


async def test_a_backend_that_has_gone_is_hung_up_on(line: Callable[..., Line]) -> None:
    """Its idle connections are closed; one whose settings stayed keeps its own."""
    with Backend() as backend:
        here = line(backend)
        await here.get()
        here.transport.follow([here.pool])
        await here.get()
        assert len(backend.connections) == 1
        here.transport.follow([])
        while not backend.connections[0].closed:
            await asyncio.sleep(0.001)

        assert here.transport.connections == {}


class TestTls:
    """Backends over TLS: verified unless somebody says otherwise."""

    @pytest.fixture
    def certificate(self, tmp_path: Path) -> Certificate:
        return Certificate(tmp_path)

    @pytest.fixture
    def backend(self, certificate: Certificate) -> AbstractContextManager[Backend]:
        return Backend(tls=certificate.server())

    async def test_a_given_authority(
        self, line: Callable[..., Line], backend: Backend, certificate: Certificate
    ) -> None:
        """As Debian's store would, for a certificate of its own."""
        with backend:
            assert (await line(backend, tls={"ca": str(certificate.ca)}).get())[0] == 200

    async def test_a_session_is_resumed(self, line: Callable[..., Line], certificate: Certificate) -> None:
        """The second handshake is a short one."""
        with Backend(read_head, send(reply(b"ok", "Connection: close")), tls=certificate.server()) as backend:
            here = line(backend, tls={"ca": str(certificate.ca)})
            for _ in range(3):
                assert await here.get() == (200, b"ok")

            shaken = [c.transport.get_extra_info("ssl_object") for c in backend.connections]
            assert [each.session_reused for each in shaken] == [False, True, True]

    async def test_a_stranger_is_refused(self, line: Callable[..., Line], backend: Backend) -> None:
        """The system's store does not know it."""
        with backend, pytest.raises(CertificateRejected):
            await line(backend).get()

    async def test_another_name_is_refused(
        self, line: Callable[..., Line], backend: Backend, certificate: Certificate
    ) -> None:
        """The certificate is for localhost."""
        with backend, pytest.raises(CertificateRejected):
            await line(backend, tls={"ca": str(certificate.ca), "server_name": "other.example"}).get()

    async def test_only_on_demand_nothing_is_verified(self, line: Callable[..., Line], backend: Backend) -> None:
        """`verify = false`."""
        with backend:
            assert (await line(backend, tls={"verify": False}).get())[0] == 200

    async def test_authorities_that_change(self, line: Callable[..., Line], tmp_path: Path) -> None:
        """What is open goes on, and what is new is verified by what the file says; a broken one changes nothing."""
        theirs, nobody = trustme.CA(), trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.issue_cert("localhost").configure_cert(context)
        ca = tmp_path / "ca.pem"
        times = itertools.count(1)

        def write(text: bytes) -> bool:
            """Whether that is taken, by the second look."""
            ca.write_bytes(text)
            os.utime(ca, (next(times),) * 2)
            return [renewal.look(), renewal.look()] == [False, True]

        ca.write_bytes(nobody.cert_pem.bytes())
        with Backend(tls=context) as backend:
            here = line(backend, tls={"ca": str(ca)})
            (renewal,) = trust.renewals([here.pool])
            for text in (theirs.cert_pem.bytes()[:-30], b""):
                assert not write(text)
                with pytest.raises(CertificateRejected):
                    await here.get()
            assert write(theirs.cert_pem.bytes())
            assert (await here.get())[0] == 200
            assert write(nobody.cert_pem.bytes())
            assert (await here.get())[0] == 200  # on the same connection
            connections = here.transport.connections[here.backend]
            while (kept := connections.take()) is not None:
                kept.close()
            with pytest.raises(CertificateRejected):  # and no session is resumed, either
                await here.get()
        assert (renewal.loaded, renewal.refused) == (2, 2)

    async def test_the_job_looks_at_what_pools_use(self, tmp_path: Path) -> None:
        ca = tmp_path / "ca.pem"
        trustme.CA().cert_pem.write_to_path(ca)
        topology = Topology()
        pools = {"p": {"tls": {"ca": ca}, "backends": ["https://127.0.0.1:1"]}, "plain": {"backends": ["http://h"]}}
        topology.apply(Settings.model_validate({"pools": pools}))
        trust.context(topology.pools["p"].settings.tls)
        (renewal,) = trust.renewals(topology.pools.values())
        job = asyncio.create_task(trust.watch(topology, 0.001))
        ca.write_bytes(trustme.CA().cert_pem.bytes() * 2)
        async with asyncio.timeout(10):
            while not renewal.loaded:
                await asyncio.sleep(0.001)
        job.cancel()

    async def test_a_backend_that_does_not_speak_tls(self, line: Callable[..., Line]) -> None:
        """Its plain answer is no handshake."""
        with Backend(send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), stall) as plain, pytest.raises(TlsFailed):
            await line(f"https://127.0.0.1:{plain.port}").get()


async def test_the_request_can_be_looked_at_as_httpx_has_it(line: Callable[..., Line]) -> None:
    """URL and headers are made when somebody asks."""
    with Backend() as backend:
        here = line(backend)
        request = here.request(b"GET /a%2Fb?c HTTP/1.1\r\nhost: a\r\nx: 1\r\nx: 2\r\n\r\n")
        response = await here.client.send(request)

        assert str(request.url) == f"{backend.url}/a%2Fb?c"
        assert request.headers.get_list("x") == ["1", "2"]
        assert response.headers["content-length"] == str(len(backend.name))
        await response.aclose()
