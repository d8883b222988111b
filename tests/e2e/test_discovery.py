"""Backends that come and go while the balancer runs: by a file, by DNS, by an API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.api import Call, api
from tests.support.backend import Backend, Gate, answers, forever, in_loop, pause, read_all, reply, send
from tests.support.nameserver import Nameserver, Row, nameserver
from tests.support.raw import Response
from tests.support.server import Balancer, pool
from tests.support.steady import Steady
from tests.support.until import until

ADMIN = {"LB_ADMIN__TOKEN": "secret-of-the-test"}


def named(name: bytes) -> Backend:
    return Backend(answers(reply(name)))


def write(path: Path, *backends: Backend) -> None:
    """As it should be done: whole, and then put into place."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps([backend.url for backend in backends]))
    new.rename(path)


@contextmanager
def watching(path: Path, **settings: str) -> Iterator[Balancer]:
    source = pool("main", source="file", source__path=str(path), source__interval="50ms", **settings)
    with Balancer({"LB_ROUTES": "/=main", **ADMIN, **source}) as balancer:
        yield balancer


def bodies(balancer: Balancer, count: int = 6) -> set[bytes]:
    return {balancer.get("/").body for _ in range(count)}


def present(balancer: Balancer) -> list[str]:
    found = balancer.get("/-/pools", f"authorization: Bearer {ADMIN['LB_ADMIN__TOKEN']}")
    return [backend["id"] for backend in json.loads(found.body)["main"]["backends"]]


def test_a_file_says_who_is_there(tmp_path: Path) -> None:
    """One that is half written changes nothing, and the log says so once."""
    path = tmp_path / "backends.json"
    with named(b"1") as one, named(b"2") as two, named(b"3") as three:
        write(path, one, two)
        with watching(path) as balancer:
            assert bodies(balancer) == {b"1", b"2"}
            write(path, three, two)
            until(lambda: bodies(balancer) == {b"2", b"3"})
            path.write_text('["http://')
            until(lambda: "source file fails: not JSON" in balancer.stderr)
            assert bodies(balancer) == {b"2", b"3"}
            write(path, one)
            until(lambda: "source file is back" in balancer.stderr)
            until(lambda: bodies(balancer) == {b"1"})
            assert balancer.stderr.count("fails") == 1


def test_who_left_is_not_probed_any_more_apisix_13141(tmp_path: Path) -> None:
    """Who comes is, before it gets its first request (Caddy 7036)."""
    path = tmp_path / "backends.json"
    with named(b"1") as one, named(b"2") as two:
        write(path, one)
        with watching(path, health__path="/health", health__interval="50ms") as balancer:
            until(lambda: len(one.requests) > 2)
            write(path, two)
            until(lambda: bodies(balancer) == {b"2"})
            assert two.requests[0].target == b"/health"
            until(lambda: present(balancer) == [f"127.0.0.1:{two.port}"])
            seen, others = len(one.requests), len(two.requests)
            until(lambda: len(two.requests) > others + 5)
            assert len(one.requests) <= seen + 1  # that which was under way


def test_what_is_in_flight_at_one_that_left_comes_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    gate = Gate()
    with Backend(forever(read_all, pause(gate), send(reply(b"slow")))) as slow, named(b"2") as two:
        write(path, slow)
        with watching(path) as balancer, balancer.client() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: lb.test\r\n\r\n")
            until(lambda: slow.requests)
            write(path, two)
            until(lambda: present(balancer) == [f"127.0.0.1:{two.port}"])
            assert bodies(balancer, 3) == {b"2"}
            gate.open()
            assert client.response().body == b"slow"


def test_a_cookie_leads_nobody_to_one_that_left(tmp_path: Path) -> None:
    path = tmp_path / "backends.json"
    sticky = {"sticky__enabled": "true", "sticky__keys": "a key of sixteen or more letters"}
    with named(b"1") as one, named(b"2") as two, named(b"3") as three:
        write(path, one)
        with watching(path, **sticky) as balancer:

            def ask(cookie: str = "") -> Response:
                return balancer.get("/", *([f"cookie: {cookie}"] if cookie else []))

            first = (ask().get("set-cookie") or "").partition(";")[0]
            assert first
            write(path, one, two)
            until(lambda: bodies(balancer) == {b"1", b"2"})
            assert {ask(first).body for _ in range(6)} == {b"1"}
            write(path, three)
            until(lambda: bodies(balancer) == {b"3"})
            other = ask(first)
            assert other.body == b"3"
            second = (other.get("set-cookie") or "").partition(";")[0]
            assert {ask(second).body for _ in range(3)} == {b"3"}


def test_nobody_notices_twenty_changes_under_load(tmp_path: Path) -> None:
    """All of them replaced each time, and probed: not one request fails."""
    path = tmp_path / "backends.json"
    fleets = [[named(b"%d" % n) for n in range(3)] for _ in range(2)]
    try:
        write(path, *fleets[0])
        probes = {"health__path": "/health", "health__interval": "1s"}
        with watching(path, **probes) as balancer, Steady(balancer.port, rate=400, clients=20) as steady:
            for turn in range(20):
                write(path, *fleets[(turn + 1) % 2])
                wanted = sorted(f"127.0.0.1:{one.port}" for one in fleets[(turn + 1) % 2])
                until(lambda wanted=wanted: present(balancer) == wanted)
            steady.pass_by(100)
    finally:
        for backend in (one for fleet in fleets for one in fleet):
            backend.stop()

    assert set(steady.counts) == {200}
    assert steady.counts[200] > 200


@contextmanager
def running(server: object) -> Iterator[Nameserver]:
    """A server of the backends' loop."""
    there = in_loop(server.__aenter__())  # type: ignore[attr-defined]
    try:
        yield there
    finally:
        in_loop(server.__aexit__(None, None, None))  # type: ignore[attr-defined]


def services(*backends: Backend) -> tuple[Row, ...]:
    return tuple(Row("_http._tcp.web.test", "SRV", 1, f"0 1 {backend.port} host.test") for backend in backends)


def test_dns_says_who_is_there() -> None:
    """Asked again as its TTL says; a server that cannot say, or has gone, changes nothing."""
    with named(b"1") as one, named(b"2") as two, running(nameserver()) as dns:
        dns.addresses("host.test", "127.0.0.1")
        dns.say(*services(one))
        source = {
            "name": "_http._tcp.web.test.",
            "record": "srv",
            "nameservers": f"127.0.0.1:{dns.port}",
            "timeout": "200ms",
        }
        settings = pool("main", source="dns", **{f"source__{key}": value for key, value in source.items()})
        with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer:
            assert bodies(balancer) == {b"1"}
            dns.say(*services(one, two))
            until(lambda: bodies(balancer) == {b"1", b"2"})
            dns.zone["_http._tcp.web.test", "SRV"] = None
            until(lambda: "source dns fails: _http._tcp.web.test.: name server 127.0.0.1: no answer" in balancer.stderr)
            assert bodies(balancer) == {b"1", b"2"}
            dns.say(*services(two))
            until(lambda: bodies(balancer) == {b"2"})
            assert "source dns is back" in balancer.stderr


def test_an_api_says_who_is_there() -> None:
    said: list[list[str]] = []

    async def serve(call: Call) -> None:
        tag = f'"{len(said)}"'
        if call.fields.get("if-none-match") == tag:
            await call.say(304, etag=tag)
        else:
            await call.say(200, {"backends": said[-1]}, etag=tag)

    with named(b"1") as one, named(b"2") as two, running(api(serve)) as there:
        said.append([one.url])
        settings = pool("main", source="http", source__url=there.url, source__interval="50ms")  # type: ignore[attr-defined]
        with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer:
            assert bodies(balancer) == {b"1"}
            said.append([one.url, two.url])
            until(lambda: bodies(balancer) == {b"1", b"2"})


def test_nobody_there_at_the_start(tmp_path: Path) -> None:
    """It serves what it can, says why not the rest, and is ready when the source has come."""
    path = tmp_path / "backends.json"
    settings = pool("main", source="file", source__path=str(path))
    with named(b"1") as one, Balancer({"LB_ROUTES": "/=main", **settings}, ready=False) as balancer:
        assert balancer.get("/-/ready").status == 503
        assert balancer.get("/").status == 503
        write(path, one)
        until(lambda: balancer.get("/-/ready").status == 200)
        assert balancer.get("/").body == b"1"
        assert "source file fails: no such file or directory" in balancer.stderr
