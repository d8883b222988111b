"""What backends hear of a client before its connection begins, and that no other client comes over it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

import pytest

from app.domain.proxy_header import LOCAL, Ends, ends, length
from app.domain.quantile import ENOUGH
from tests.support import server
from tests.support.backend import Backend, Connection, Step, answers, read_head, reply, send, stall
from tests.support.raw import Client, request
from tests.support.server import Balancer, pool
from tests.support.talker import HANDSHAKE, Talker, talking
from tests.support.tls import Certificate
from tests.support.until import until

SERVE = (sys.executable, "-m", "app", "serve")
VERSIONS = [1, 2]


@pytest.fixture(scope="module", params=["direct"], autouse=True)
def driver(request: pytest.FixtureRequest) -> Iterator[str]:
    """It hands what has a PROXY header over to the other."""
    before, server.driver = server.driver, request.param
    yield server.driver
    server.driver = before


async def hear(c: Connection) -> None:
    """Read a PROXY header, which is kept on the connection."""
    c.header = await c.take(1)  # type: ignore[attr-defined]
    while len(c.header) < (whole := length(c.header)):  # type: ignore[attr-defined]
        c.header += await c.take(whole - len(c.header))  # type: ignore[attr-defined]


HELLO: tuple[Step, ...] = (hear, answers(reply(b"hello")))


def headers(backend: Backend) -> list[bytes]:
    """What its connections have begun with."""
    return [c.header for c in backend.connections if hasattr(c, "header")]


def ends_of(backend: Backend) -> list[Ends | None]:
    """The same, read."""
    return [ends(header) for header in headers(backend)]


@pytest.fixture(scope="module")
def other() -> Iterator[Backend]:
    with Backend(*HELLO) as backend:
        yield backend


@pytest.fixture(scope="module")
def balancer(driver: str, shared: Backend, other: Backend) -> Iterator[Balancer]:
    both = f"{shared.url}|id=a,{other.url}|id=b"
    settings = {
        "LB_TRUSTED_PROXIES": "127.0.0.8/32", "LB_ROUTES": "/1=first; /2=second; /hedged=hedged",
        **pool("first", shared, proxy_header__version=1),
        **pool("second", shared, proxy_header__version=2, proxy_header__tell="authority,tls"),
        **pool("third", other, proxy_header__version=2),
        **pool("hedged", shared, backends=both, proxy_header__version=2, hedge__enabled=True, strategy="first",
               retry__attempts=1),
        "LB_GROUPS__M__PATH": "/mirrored", "LB_GROUPS__M__POOL": "first", "LB_GROUPS__M__MIRROR__POOL": "third",
        "LB_GROUPS__F__PATH": "/asked", "LB_GROUPS__F__POOL": "first", "LB_GROUPS__F__FORWARD_AUTH__POOL": "third",
    }  # fmt: skip
    with Balancer(settings) as running:
        yield running


@pytest.fixture
def backend(shared: Backend, other: Backend) -> Backend:
    other.play(*HELLO)
    return shared.play(*HELLO)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_client_has_connections_of_its_own(balancer: Balancer, backend: Backend, version: int) -> None:
    """They are kept for it, as others are."""
    with balancer.client(source="127.0.0.9") as one, balancer.client(source="127.0.0.9") as two:
        for _ in range(3):
            for client in (one, two):
                assert client.ask(request(f"/{version}")).body == b"hello"
        wanted = [Ends(client.socket.getsockname(), ("127.0.0.1", balancer.port)) for client in (one, two)]
    assert ends_of(backend) == wanted
    assert [len(c.requests) for c in backend.connections] == [3, 3]


@pytest.mark.parametrize("version", VERSIONS)
def test_whom_a_trusted_proxy_names(balancer: Balancer, backend: Backend, version: int) -> None:
    """Its port nobody knows; over one connection of the proxy come many clients."""
    with balancer.client(source="127.0.0.8") as proxy:
        for client in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1"):
            assert proxy.ask(request(f"/{version}", f"X-Forwarded-For: {client}")).status == 200
    four = ("127.0.0.1", balancer.port)
    assert ends_of(backend) == [
        Ends(("192.0.2.1", 0), four),
        Ends(("192.0.2.2", 0), four),
        Ends(("2001:db8::1", 0), ("::ffff:7f00:1", balancer.port)),
    ]


def test_a_body_and_a_stale_connection(balancer: Balancer, backend: Backend) -> None:
    with balancer.client() as client:
        assert client.ask(request("/2", method="POST", body=b"x" * 100_000)).status == 200
        backend.play(*HELLO)  # closes what was kept
        assert client.ask(request("/2")).status == 200
        assert ends_of(backend) == [Ends(client.socket.getsockname(), ("127.0.0.1", balancer.port))]


@pytest.mark.parametrize("path", ["/mirrored", "/asked"])
def test_those_who_are_asked_beside(balancer: Balancer, backend: Backend, other: Backend, path: str) -> None:
    """A copy of a request, and a question about it, come from its client, too."""
    with balancer.client(source="127.0.0.9") as client:
        assert client.ask(request(path)).body == b"hello"
        wanted = [Ends(client.socket.getsockname(), ("127.0.0.1", balancer.port))]
        until(lambda: ends_of(other) == wanted, "the other to hear it")
    assert ends_of(backend) == wanted


async def hang(c: Connection) -> None:
    """Answer, but for what has to wait for ever."""
    while (await c.head()).target != b"/hedged/hang":
        await c.send(reply(b"hello"))
    await stall(c)


def test_a_hedge(balancer: Balancer, backend: Backend, other: Backend) -> None:
    backend.play(hear, hang)

    def hedged() -> Client | None:
        """A client whose request was answered by the other, if it was."""
        with balancer.client(source="127.0.0.9", timeout=0.3) as client:
            client.send(request("/hedged/hang"))
            with suppress(TimeoutError):
                client.response()
                return client
        return None

    with balancer.client() as client:
        for _ in range(ENOUGH):
            assert client.ask(request("/hedged")).status == 200
    until(hedged, "a hedge")

    both = ends_of(other)[-1]
    assert both is not None
    assert both.client[0] == "127.0.0.9"
    assert both in ends_of(backend)


def test_a_tunnel(balancer: Balancer, backend: Backend) -> None:
    backend.play(hear, read_head, send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), stall)
    with balancer.client(source="127.0.0.9") as client:
        client.send(request("/2", *HANDSHAKE))
        assert client.head()[0] == 101
        assert ends_of(backend) == [Ends(client.socket.getsockname(), ("127.0.0.1", balancer.port))]


def test_probes_are_our_own(backend: Backend, other: Backend) -> None:
    """At the port of the requests; at another they are as they would be without."""
    other.answer(b"well")
    settings = {"LB_ROUTES": "/1=first; /2=second"}
    settings |= pool("first", backend, proxy_header__version=1, health__path="/")
    settings |= pool("second", backend, proxy_header__version=2, health__path="/")
    settings |= pool("third", backend, proxy_header__version=2, health__path="/", health__port=other.port)
    with Balancer(settings):
        assert set(headers(backend)) == set(LOCAL.values())
        assert other.requests


@contextmanager
def serving(command: str, config: Callable[[int], str], directory: Path) -> Iterator[int]:
    """The port of a server that is configured so."""
    program = which(command)
    if program is None:
        pytest.skip(f"{command} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = directory / "config"
    file.write_text(config(port))
    flags = ("-f", str(file), "-db") if command == "haproxy" else ("-c", str(file), "-p", str(directory))
    process = subprocess.Popen([program, *flags], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), command)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class At:
    """A backend at a port."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.url = f"{scheme}://localhost:{port}" if scheme == "https" else f"http://127.0.0.1:{port}"


def haproxy(port: int, tls: str = "") -> str:
    said = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]"
    return (
        "defaults\n mode http\n timeout client 5s\n timeout connect 5s\n timeout server 5s\n"
        f"frontend f\n bind 127.0.0.1:{port} accept-proxy {tls}\n"
        f' http-request return status 200 content-type text/plain lf-string "{said}"\n'
    )


def nginx(port: int) -> str:
    said = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port "
    temporary = " ".join(f"{kind}_temp_path tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return (
        "daemon off; master_process off; pid pid; error_log /dev/null;\nevents {}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port} proxy_protocol;\n"
        f' location / {{ return 200 "{said}"; }} }} }}\n'
    )


def test_others_know_the_client(tmp_path: Path) -> None:
    """By either version; probes, and clients without an address, are accepted, too."""
    for name in ("nginx", "haproxy"):
        (tmp_path / name).mkdir()
    settings, names = {}, []
    with serving("nginx", nginx, tmp_path / "nginx") as one, serving("haproxy", haproxy, tmp_path / "haproxy") as two:
        for port in (one, two):
            for version in VERSIONS:
                names.append(f"p{port}v{version}")
                settings |= pool(names[-1], At(port), proxy_header__version=version, health__path="/")
        settings["LB_ROUTES"] = "; ".join(f"/{name}={name}" for name in names)
        with Balancer(settings) as balancer:  # ready, so that the probes have passed
            for name in names:
                with balancer.client(source="127.0.0.9") as client:
                    wanted = f"127.0.0.9 {client.socket.getsockname()[1]} 127.0.0.1 {balancer.port} "
                    assert client.ask(request(f"/{name}")).body.decode() == wanted
        with Balancer(settings, "--uds", str(tmp_path / "lb.sock")) as balancer:
            assert {balancer.get(f"/{name}").status for name in names} == {200}


def test_over_tls(certificate: Certificate, backend: Backend, tmp_path: Path) -> None:
    """The header comes before TLS to the backend, and tells what the client has asked for in its own."""
    pem = tmp_path / "both.pem"
    pem.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())
    with serving("haproxy", lambda port: haproxy(port, f"ssl crt {pem}"), tmp_path) as port:
        settings = {"LB_ROUTES": "/=main; /told=told"}
        settings |= pool("main", At(port, "https"), proxy_header__version=2, proxy_header__tell="authority",
                         health__path="/", tls__ca=certificate.ca)  # fmt: skip
        settings |= pool("told", backend, proxy_header__version=2, proxy_header__tell="tls")
        with Balancer(settings, certificate=certificate) as balancer, balancer.client(source="127.0.0.9") as client:
            for _ in range(2):
                said = client.ask(request("/")).body.decode()
                assert said == f"127.0.0.9 {client.socket.getsockname()[1]} 127.0.0.1 {balancer.port} localhost"
            assert client.ask(request("/told")).status == 200
    (header,) = headers(backend)
    assert b"\x21\0\x07TLSv1.3\x23\0" in header
    assert b"localhost" not in header


def test_one_of_us_behind_another() -> None:
    """The second sees the client as if there were no first; here that of a WebSocket which is bridged."""
    serve = ("--bind", "http://127.0.0.1:0?proxy=127.0.0.1/32")
    settings = {"LB_ROUTES": "/1=first; /2=second"}
    with Talker() as talker, Balancer({"LB_ROUTES": "/=main", **pool("main", talker)}, *serve, command=SERVE,
                                      ready=False) as second:  # fmt: skip
        settings |= pool("first", At(second.port), proxy_header__version=1)
        settings |= pool("second", At(second.port), proxy_header__version=2)
        with Balancer(settings, "--http", "h11") as first:
            for version in VERSIONS:
                talker.play()
                with talking(first, f"/{version}", source_address=("127.0.0.9", 0)) as ws:
                    ws.send("hello")
                    assert ws.recv(timeout=15) == "hello"
                    asked = talker.first().request
                    assert asked is not None
                    assert asked.headers["X-Forwarded-For"] == "127.0.0.9"
