"""What goes wrong around us, under load: none of the requests that may be sent again fails. Figures are printed.

Backends that die, restart, hang or are drained are in test_resilience, our own workers and restarts in test_workers and
test_stopping, the race for kept connections in test_kept_connections.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, answers, read_head, reply, reset
from tests.support.exposition import parse
from tests.support.jumping import WallClock
from tests.support.raw import Client, request
from tests.support.redis_server import RedisServer
from tests.support.server import UVICORN, Balancer, pool
from tests.support.steady import Steady
from tests.support.tls import Certificate
from tests.support.until import until
from tests.support.workers import Worker, workers

RATE = 200
"""Requests a second."""
DAY = 86400.0


@contextmanager
def load(balancer: Balancer, what: str, *, target: str = "/") -> Iterator[Steady]:
    """Requests while something happens, at least a tenth of a second before and half a second after; none fails."""
    with Steady(balancer.port, rate=RATE, target=target) as clients:
        clients.pass_by(RATE // 10)
        yield clients
        clients.pass_by(RATE // 2)
    good = clients.counts[200]
    print(f"\n  {what}: {clients.counts.total() - good} of {clients.counts.total()} failed")
    assert set(clients.counts) == {200}, clients.counts


def metric(balancer: Balancer, name: str) -> float:
    samples = parse(control.ask(balancer, "metrics").body.decode())[name].samples
    return float(samples[name, ()])


@pytest.fixture
def one_driver(driver: str) -> None:
    """What happens here is not on the way of a request."""
    if driver == "direct":
        pytest.skip("with the other")


# Backends


def test_a_black_hole(start: Callable[..., Backend], deaf: int) -> None:
    """One of three never answers a SYN."""
    backends = f"http://127.0.0.1:{deaf},{start().url},{start().url}"
    settings = pool("main", backends=backends, timeouts__connect="100ms")
    with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer, load(balancer, "a black hole"):
        until(lambda: "ejected" in balancer.stderr, "it to be ejected")


def test_resets(start: Callable[..., Backend]) -> None:
    """One of three resets every connection as soon as it has a request."""
    with (
        Balancer({"LB_ROUTES": "/=main", **pool("main", start(read_head, reset), start(), start())}) as balancer,
        load(balancer, "resets"),
    ):
        until(lambda: "ejected" in balancer.stderr, "it to be ejected")


def test_a_name_that_is_not_known(start: Callable[..., Backend]) -> None:
    backends = f"http://nowhere.invalid:80,{start().url},{start().url}"
    settings = pool("main", backends=backends)
    with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer, load(balancer, "a name that is not known"):
        until(lambda: "ejected" in balancer.stderr, "it to be ejected")


@pytest.fixture(scope="module")
def three() -> Iterator[list[Worker]]:
    with workers(3) as started:
        yield started


def test_half_open_connections(three: list[Worker]) -> None:
    """
    A host that has gone without a word: its connections are there, and nobody is behind them.

    So looks a process that is stopped; its kernel answers, as far as it has room.
    """
    settings = pool("main", *three, timeouts__attempt="1s", timeouts__connect="1s")
    with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer, load(balancer, "half-open connections") as clients:
        three[0].process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: "ejected" in balancer.stderr, "it to be ejected")
            clients.pass_by(RATE // 4)
        finally:
            three[0].process.send_signal(signal.SIGCONT)


# Our own machine


@pytest.mark.usefixtures("one_driver")
@pytest.mark.parametrize("state", ["memory", "lmdb"])
def test_the_clock_is_set(tmp_path: Path, start: Callable[..., Backend], state: str) -> None:
    """A day on, two back, and right again: no request fails, nobody is ejected, limits go on as they were."""
    clock = WallClock(tmp_path / "clock")
    settings = {
        "LB_ROUTES": "/=main; /limited=limited", "LB_LIMITS__FEW__RATE": "5/h",
        "LB_GROUPS__LIMITED__LIMIT": "few", "LB_RELOAD__WATCH": "false", **control.OPEN,
        **pool("main", start(), start(), health__kind="tcp", health__interval="50ms"),
        **pool("limited", start()),
    }  # fmt: skip
    if state == "lmdb":
        settings["LB_STATE"] = f"lmdb:{tmp_path}/state"
    command = clock.command(*UVICORN[2:])
    with Balancer(settings, "--port", "0", command=command) as balancer:
        assert [balancer.get("/limited").status for _ in range(6)] == [200] * 5 + [429]
        with load(balancer, f"the clock is set: {state}") as clients:
            for ahead in (DAY, -DAY, 0.0):
                clock.set(ahead)
                clients.pass_by(RATE // 4)
                assert balancer.get("/limited").status == 429
                found = balancer.get("/").get("date")
                assert found is not None
                said = datetime.strptime(found, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
                assert abs(said - datetime.now(UTC) - timedelta(seconds=ahead)) < timedelta(minutes=1)
        assert {backend["available"] for backend in control.seen(balancer)["backends"].values()} == {True}
        assert "DOWN" not in balancer.stderr


@pytest.mark.usefixtures("one_driver")
def test_the_clock_is_set_back_under_a_cache(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """What was stored in the future is not fresh until then."""
    clock = WallClock(tmp_path / "clock")
    backend = start(answers(reply(b"hello", "Cache-Control: max-age=60")))
    settings = {
        "LB_GROUPS__ALL__POOL": "main", "LB_GROUPS__ALL__CACHE__STORE": "default", "LB_RELOAD__WATCH": "false",
        **pool("main", backend),
    }  # fmt: skip
    with Balancer(settings, "--port", "0", command=clock.command(*UVICORN[2:])) as balancer:
        assert [balancer.get("/").status for _ in range(3)] == [200] * 3
        assert len(backend.requests) == 1
        clock.set(-DAY)
        assert balancer.get("/").status == 200
        assert len(backend.requests) == 2, "its age cannot be known"
        assert balancer.get("/").status == 200
        assert len(backend.requests) == 2, "what is stored now is fresh"


@pytest.mark.usefixtures("one_driver")
def test_the_disk_of_the_log_is_full(start: Callable[..., Backend]) -> None:
    settings = {"LB_ROUTES": "/=main", **control.OPEN, **pool("main", start())}
    with (
        Path("/dev/full").open("w") as full,
        Balancer(settings, stdout=full.fileno()) as balancer,
        load(balancer, "the disk of the log is full"),
    ):
        until(lambda: metric(balancer, "l7lb_log_dropped_total") > 0, "lines to be lost")


def mounts() -> bool:
    """Whether we may mount a file system that only we see."""
    if shutil.which("unshare") is None:
        return False
    command = ("unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt")
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[tuple[tuple[str, ...], Callable[[], None]]]:
    """What starts a program that sees a file system of *size* at *directory*, and what fills that."""
    filling = directory.with_name("filling")
    fill = f"dd if=/dev/zero of={directory}/filler bs=4k 2>/dev/null; rm {filling}"
    script = f"""mount -t tmpfs -o size={size} none {directory}
        (while [ ! -e {filling} ]; do [ -d {directory} ] || exit; sleep 0.05; done; {fill}) </dev/null >/dev/null 2>&1 &
        exec "$@" """

    def full() -> None:
        filling.touch()
        until(lambda: not filling.exists(), "the disk to be full")

    yield ("unshare", "-m", "sh", "-c", script, "sh"), full
    filling.touch()


needs_mounts = pytest.mark.skipif(not mounts(), reason="no file system can be mounted here")


@needs_mounts
@pytest.mark.usefixtures("one_driver")
def test_the_disk_of_a_cache_is_full(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """Nothing more is stored; it is not said of each."""

    async def much(c: Connection) -> None:
        while True:
            await c.head()
            await c.send(reply(bytes(20_000), "Cache-Control: max-age=60"))

    directory = tmp_path / "cache"
    directory.mkdir()
    settings = {
        "LB_GROUPS__ALL__POOL": "main", "LB_GROUPS__ALL__CACHE__STORE": "kept",
        "LB_CACHES__KEPT__KIND": "disk", "LB_CACHES__KEPT__DIRECTORY": str(directory),
        "LB_CACHES__KEPT__MEMORY": "1KiB", **control.OPEN, **pool("main", start(much)),
    }  # fmt: skip
    with (
        small_disk(directory, "1m") as (alone, _),
        Balancer(settings, "--port", "0", command=(*alone, *UVICORN)) as balancer,
        load(balancer, "the disk of a cache is full"),
        balancer.client() as client,
    ):
        assert [client.ask(request(f"/{number}")).status for number in range(100)] == [200] * 100  # 2 MB
        until(lambda: "No space left" in balancer.stderr, "it to be full")
        assert balancer.stderr.count("No space left") < 10


@needs_mounts
@pytest.mark.usefixtures("one_driver")
def test_the_disk_of_the_state_is_full(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """While it runs: what is there goes on to be used. At the start: that is said; the kernel killed it (SIGBUS)."""
    directory = tmp_path / "state"
    directory.mkdir()
    settings = {
        "LB_ROUTES": "/=main", "LB_STATE": f"lmdb:{directory}", "LB_RATE_LIMIT__RATE": "1000000/s", **control.OPEN,
        "LB_ADMIN__ALLOW_BACKENDS": "127.0.0.0/8", **pool("main", start()),
    }  # fmt: skip
    with small_disk(directory, "64m") as (alone, fill):
        with (
            Balancer(settings, "--port", "0", command=(*alone, *UVICORN)) as balancer,
            load(balancer, "the disk of the state is full"),
        ):
            fill()
            said = b'{"url": "%b"}' % start().url.encode()
            statuses = {control.ask(balancer, "pools/main/backends", "POST", said).status for _ in range(3)}
            assert statuses <= {200, 201, 503}
        full = (*alone[:-2], alone[-2].replace('exec "$@"', f'dd if=/dev/zero of={directory}/x bs=4k; exec "$@"'), "sh")
        command = (*full, *UVICORN, "--port", "0")
        done = subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "state cannot be kept on disk" in done.stderr


# What is shared


@pytest.mark.parametrize("fault", ["gone", "slow", "read-only"])
def test_redis(tmp_path: Path, start: Callable[..., Backend], fault: str) -> None:
    """Every request takes a token there, while it can be asked."""
    with RedisServer(tmp_path) as redis:
        settings = {
            "LB_ROUTES": "/=main", "LB_STATE": redis.url, "LB_RATE_LIMIT__RATE": "1000000/s", **control.OPEN,
            **pool("main", start()),
        }  # fmt: skip
        with Balancer(settings) as balancer, load(balancer, f"Redis is {fault}") as clients:
            {
                "gone": redis.kill,
                "slow": redis.hold,
                "read-only": lambda: redis.ask("REPLICAOF", "127.0.0.1", "1"),
            }[fault]()
            clients.pass_by(RATE // 2)
            until(lambda: metric(balancer, "l7lb_state_alone_total") > 0, "limits of its own")
            {
                "gone": redis.start,
                "slow": redis.go_on,
                "read-only": lambda: redis.ask("REPLICAOF", "NO", "ONE"),
            }[fault]()
            until(lambda: metric(balancer, "l7lb_state_away") == 0, "Redis to be back")


# Files


@pytest.mark.usefixtures("one_driver")
@pytest.mark.parametrize("fault", ["half", "no", "another's key", "expired"])
def test_a_new_certificate_of_ours(tmp_path: Path, start: Callable[..., Backend], fault: str) -> None:
    """There by half, not at all, with a key that does not fit, or expired: the old one goes on to be served."""
    certificate = Certificate(tmp_path / "ours")
    settings = {"LB_ROUTES": "/=main", "LB_TLS__RELOAD_INTERVAL": "20ms", **pool("main", start())}
    with Balancer(settings, certificate=certificate) as balancer:
        whole = certificate.cert.read_bytes()
        if fault == "half":
            certificate.cert.write_bytes(whole[: len(whole) // 2])
        elif fault == "no":
            certificate.cert.unlink()
        elif fault == "another's key":
            certificate.cert.write_bytes(Certificate(tmp_path / "other").cert.read_bytes())
        else:
            certificate.renew(until=datetime.now(UTC) - timedelta(days=1))
        until(lambda: "what was loaded before stays" in balancer.stderr, "it to be refused")
        failed = sum(balancer.get("/").status != 200 for _ in range(20))
        print(f"\n  {fault} certificate: {failed} of 20 failed")
        assert failed == 0
        certificate.renew()
        until(lambda: served(balancer, certificate), "the right one")
        assert balancer.get("/").status == 200


def served(balancer: Balancer, certificate: Certificate) -> bool:
    """Whether it is this one."""
    with Client(balancer.address, tls=balancer.tls) as client:
        return bool(client.socket.getpeercert(binary_form=True) == certificate.der)  # type: ignore[union-attr]


def test_an_expired_certificate_of_a_backend(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """One of three: what it would have got goes elsewhere."""
    old, good = Certificate(tmp_path / "old"), Certificate(tmp_path / "good")
    old.renew(until=datetime.now(UTC) - timedelta(days=1))
    backends = [start(tls=old.server()), start(tls=good.server()), start(tls=good.server())]
    settings = pool("main", *backends, tls__ca=good.ca)
    with Balancer({"LB_ROUTES": "/=main", **settings}) as balancer, load(balancer, "an expired certificate"):
        until(lambda: "ejected" in balancer.stderr, "it to be ejected")
    assert any(record["attempts"] == 2 for record in balancer.records())


@pytest.mark.usefixtures("one_driver")
def test_half_of_the_settings(tmp_path: Path, start: Callable[..., Backend]) -> None:
    """Written piece by piece, again and again: nothing is read before its end. And an empty file says nothing."""
    path = tmp_path / "l7lb.toml"
    text = f'[groups.all]\npool = "main"\n[pools.main]\nbackends = "{start().url}"\nhealth.kind = "none"\n'
    path.write_text(text)
    with (
        Balancer({"LB_CONFIG": str(path), "LB_RELOAD__INTERVAL": "500ms"}) as balancer,
        load(balancer, "half of the settings") as clients,
    ):
        for _ in range(10):
            for end in range(0, len(text), 10):
                path.write_text(text[:end])
                clients.pass_by(1)
        path.write_text("")  # and then the disk was full
        until(lambda: "the settings file is empty" in balancer.stderr, "it to be refused")
