"""WebSockets through the balancer, by the `websockets` library at both ends: what one says, the other hears."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from tests.support import control
from tests.support.backend import Backend, answers, in_loop, reply
from tests.support.exposition import parse
from tests.support.raw import request
from tests.support.server import Balancer, balancing, pool
from tests.support.talker import HANDSHAKE, Talker, echo, talking
from tests.support.tls import Certificate
from tests.support.until import until


def deny(connection: ServerConnection, asked: Request) -> Response | None:
    """`/401` and the like are answered so, with a body; all else shakes hands."""
    if asked.path[1:].isdigit():
        return connection.respond(HTTPStatus(int(asked.path[1:])), "because\n")
    return None


def prefer(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """`b`, else `a`."""
    return next((Subprotocol(name) for name in ("b", "a") if name in offered), None)


@pytest.fixture(scope="module")
def shared_talker() -> Iterator[Talker]:
    with Talker(process_request=deny, select_subprotocol=prefer) as talker:
        yield talker


@pytest.fixture
def talker(shared_talker: Talker) -> Talker:
    """It sends everything back until it is told something else."""
    return shared_talker.play()


@pytest.fixture(scope="module")
def balancer(driver: str, shared_talker: Talker) -> Iterator[Balancer]:
    with Balancer({"LB_ROUTES": "/=main", **control.OPEN, **pool("main", shared_talker)}) as running:
        yield running


def in_flight(balancer: Balancer) -> int:
    """Requests in flight at the pool's one backend."""
    (backend,) = control.seen(balancer)["backends"].values()
    return int(backend["in_flight"])


def ended(ws: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason with which the server ends it, once it does."""
    with pytest.raises(ConnectionClosed):
        ws.recv(timeout=15)
    return ws.close_code, ws.close_reason


def test_messages_pass(balancer: Balancer, talker: Talker) -> None:
    """Text, binary, empty, long."""
    messages: list[str | bytes] = ["hello", "", b"\0\1", b"", "ü" * 70_000, os.urandom(1 << 20)]
    with talking(balancer) as ws:
        for message in messages:
            ws.send(message)
        assert [ws.recv(timeout=15) for _ in messages] == messages


def test_the_first_message_may_come_with_the_handshake(balancer: Balancer, talker: Talker) -> None:
    """In one piece with the 101, or right behind it."""

    async def greet(ws: ServerConnection) -> None:
        await ws.send("welcome")

    talker.play(greet)
    for _ in range(20):
        with talking(balancer) as ws:
            assert ws.recv(timeout=15) == "welcome"


@pytest.mark.parametrize(("offered", "chosen"), [(["a", "b"], "b"), (["a"], "a"), (["c"], None), ([], None)])
def test_the_backend_chooses_the_subprotocol(
    balancer: Balancer, talker: Talker, offered: list[str], chosen: str | None
) -> None:
    with talking(balancer, subprotocols=offered) as ws:
        assert ws.subprotocol == chosen


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4123])
def test_the_client_closes(balancer: Balancer, talker: Talker, code: int) -> None:
    with talking(balancer) as ws:
        ws.close(code, "because of ü")
    until(lambda: talker.first().close_code, "the close")
    assert (talker.first().close_code, talker.first().close_reason) == (code, "because of ü")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4123])
def test_the_backend_closes(balancer: Balancer, talker: Talker, code: int) -> None:
    async def close(ws: ServerConnection) -> None:
        await ws.close(code, "because of ü")

    talker.play(close)
    with talking(balancer) as ws:
        assert ended(ws) == (code, "because of ü")


def test_pings_pass_both_ways(balancer: Balancer, talker: Talker) -> None:
    """They are answered at the other end: each end learns that the other is alive, not that we are."""

    async def ping(ws: ServerConnection) -> None:
        await (await ws.ping("from the backend"))
        await ws.send("heard")
        await echo(ws)

    talker.play(ping)
    with talking(balancer) as ws:
        assert ws.recv(timeout=15) == "heard"
        assert ws.ping("from the client").wait(15)


def test_fragments_stay_fragments(balancer: Balancer, talker: Talker) -> None:
    """A message in pieces is handed on piece by piece, and may take its time."""

    async def pieces(ws: ServerConnection) -> None:
        seen = [piece async for piece in ws.recv_streaming()]
        await ws.send(iter(seen))

    talker.play(pieces)
    with talking(balancer, compression=None) as ws:
        ws.send(["one ", "two ", "three"])
        assert [piece for piece in ws.recv_streaming() if piece] == ["one ", "two ", "three"]


def test_compression_is_between_the_ends(balancer: Balancer, talker: Talker) -> None:
    """permessage-deflate is agreed end to end, so that less goes through us than was said."""
    with talking(balancer, "/compressed") as ws:
        assert ws.protocol.extensions
        ws.send("x" * 1_000_000)
        assert ws.recv(timeout=15) == "x" * 1_000_000
    assert balancer.record(lambda record: record["path"] == "/compressed")["bytes_in"] < 10_000


def test_no_compression_where_nobody_wants_it(balancer: Balancer, talker: Talker) -> None:
    with talking(balancer, compression=None) as ws:
        assert not ws.protocol.extensions
        ws.send("hello")
        assert ws.recv(timeout=15) == "hello"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426, 429, 500])
def test_a_denial_passes_with_its_body(balancer: Balancer, talker: Talker, status: int) -> None:
    with pytest.raises(InvalidStatus) as denied, talking(balancer, f"/{status}"):
        pass
    assert (denied.value.response.status_code, denied.value.response.body) == (status, b"because\n")
    assert balancer.record(lambda record: record["path"] == f"/{status}")["status"] == status


def test_it_is_logged_once_at_its_end(balancer: Balancer, talker: Talker) -> None:
    """Status 101, the bytes both ways, and how long it was."""
    with talking(balancer, "/logged", compression=None) as ws:
        ws.send("x" * 100)
        ws.recv(timeout=15)
        in_loop(asyncio.sleep(0.2))
        assert not [record for record in balancer.records() if record["path"] == "/logged"]
    record = balancer.record(lambda record: record["path"] == "/logged")
    assert (record["status"], record["attempts"], record["reason"]) == (101, 1, "")
    assert record["bytes_in"] == 6 + 100 + 8  # a masked frame, and a masked close with its code
    assert record["bytes_out"] == 2 + 100 + 4
    assert record["ttfb_ms"] < 200 <= record["total_ms"]


def test_it_is_in_flight_until_its_end(balancer: Balancer, talker: Talker) -> None:
    until(lambda: in_flight(balancer) == 0, "what was before to end")
    with talking(balancer), talking(balancer):
        assert in_flight(balancer) == 2
    until(lambda: in_flight(balancer) == 0, "both to end")


def test_its_length_is_not_a_response_time(balancer: Balancer, talker: Talker) -> None:
    """The histogram of durations has the time to its 101."""
    with talking(balancer) as ws:
        ws.send("x")
        ws.recv(timeout=15)
        in_loop(asyncio.sleep(0.3))
    until(lambda: in_flight(balancer) == 0, "it to end")

    family = parse(control.ask(balancer, "metrics").body.decode())["l7lb_request_duration_seconds"]
    long = [number for (name, labels), number in family.samples.items() if ("le", "0.25") in labels]
    total = [number for (name, labels), number in family.samples.items() if ("le", "+Inf") in labels]
    assert long == total
    assert sum(total) > 0


class TestLayers:
    """It is a request like any other: whoever may refuse, choose or count it does."""

    def test_limits(self, talker: Talker) -> None:
        settings = {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__MAX_IN_FLIGHT_PER_CLIENT": "1"}
        with Balancer({**settings, **pool("main", talker)}) as balancer, talking(balancer) as ws:
            with pytest.raises(InvalidStatus) as denied, talking(balancer):
                pass
            assert denied.value.response.status_code == 429
            ws.send("still here")
            assert ws.recv(timeout=15) == "still here"

    def test_the_place_is_given_back(self, talker: Talker) -> None:
        """A pool with room for one has it again when the first has ended; who waits has its turn."""
        with (
            Balancer({"LB_ROUTES": "/=main", **pool("main", talker, max_in_flight=1)}) as balancer,
            talking(balancer) as first,
        ):
            waiting: list[str | bytes] = []

            def wait() -> None:
                with talking(balancer) as second:
                    second.send("second")
                    waiting.append(second.recv(timeout=15))

            thread = threading.Thread(target=wait)
            thread.start()
            in_loop(asyncio.sleep(0.1))
            assert len(talker.sockets) == 1
            first.close()
            thread.join()
            assert waiting == ["second"]

    def test_a_backend_that_is_not_there(self, talker: Talker) -> None:
        """Nothing was said to the client yet, so another one is asked."""
        with Backend() as gone:
            pass
        with Balancer({"LB_ROUTES": "/=main", **pool("main", gone, talker)}) as balancer:
            for _ in range(4):
                with talking(balancer) as ws:
                    ws.send("hello")
                    assert ws.recv(timeout=15) == "hello"

    def test_no_backend_at_all(self) -> None:
        with Backend() as gone:
            pass
        with balancing(gone) as balancer, pytest.raises(InvalidStatus) as denied, talking(balancer):
            pass
        assert denied.value.response.status_code == 502

    def test_sticky(self, talker: Talker) -> None:
        """The 101 has the cookie, and who sends it comes to the same backend."""
        with Talker() as other:
            sticky = {"sticky__keys": "k" * 20, "sticky__enabled": "true"}
            with Balancer({"LB_ROUTES": "/=main", **pool("main", talker, other, **sticky)}) as balancer:
                with talking(balancer) as ws:
                    assert ws.response is not None
                    cookie = ws.response.headers["set-cookie"].partition(";")[0]
                first = until(lambda: next((one for one in (talker, other) if one.sockets), None), "a WebSocket")
                assert first is not None
                for _ in range(3):
                    with talking(balancer, additional_headers={"Cookie": cookie}) as ws:
                        assert ws.response is not None
                        assert "set-cookie" not in ws.response.headers
        until(lambda: first.sockets[3:], "all four")

    def test_the_way_is_by_path(self, talker: Talker) -> None:
        """Groups, rewrites and changed fields hold, on the way in and in the 101."""
        settings = {
            "LB_GROUPS__G__PATH": "/chat",
            "LB_GROUPS__G__POOL": "main",
            "LB_GROUPS__G__STRIP_PREFIX": "true",
            "LB_GROUPS__G__REQUEST_HEADERS__SET": "X-In=1",
            "LB_GROUPS__G__RESPONSE_HEADERS__SET": "X-Out=2",
        }
        with Balancer({**settings, **pool("main", talker)}) as balancer, talking(balancer, "/chat/room?x=1") as ws:
            asked = talker.first().request
            assert asked is not None
            assert (asked.path, asked.headers["X-In"]) == ("/room?x=1", "1")
            assert asked.headers["X-Forwarded-For"] == "127.0.0.1"
            assert ws.response is not None
            assert ws.response.headers["X-Out"] == "2"


@pytest.mark.parametrize("flags", [("--ws", "websockets-sansio"), ("--ws", "none"), ("--loop", "asyncio")])
def test_uvicorns_own_websockets_are_never_asked(talker: Talker, flags: tuple[str, ...]) -> None:
    """Whatever `--ws` says, and on any loop, the connection is ours: compression is agreed end to end."""
    with Balancer({"LB_ROUTES": "/=main", **pool("main", talker)}, *flags) as balancer, talking(balancer) as ws:
        ws.send("hello")
        assert ws.recv(timeout=15) == "hello"
        assert ws.protocol.extensions
        assert ws.response is not None
        assert ws.response.headers["via"] == "1.1 l7lb"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_over_tls(certificate: Certificate, talker: Talker, loop: str) -> None:
    """The client's side and the backend's; closes pass there, too."""
    with Talker(ssl=certificate.server()) as safe:
        settings = {"LB_ROUTES": "/=main", **pool("main", safe, tls__ca=certificate.ca)}
        with Balancer(settings, "--loop", loop, certificate=certificate) as balancer, talking(balancer) as ws:
            ws.send(b"x" * 300_000)
            assert ws.recv(timeout=15) == b"x" * 300_000
            ws.close(4123, "bye")
            until(lambda: safe.first().close_code == 4123, "the close")


class TestStopping:
    def test_the_grace_time_ends_with_1001(self, talker: Talker) -> None:
        """Both ends are told, and the record is written."""
        settings = {"LB_ROUTES": "/=main", "LB_DRAIN__GRACE": "1s", **pool("main", talker)}
        with Balancer(settings) as balancer, talking(balancer) as ws:
            balancer.terminate()
            ws.send("still served")
            assert ws.recv(timeout=15) == "still served"
            assert ended(ws)[0] == CloseCode.GOING_AWAY
            until(lambda: talker.first().close_code == CloseCode.GOING_AWAY, "the backend to be told")
            assert balancer.wait() == 0
        (record,) = balancer.records()
        assert (record["status"], record["detail"]) == (101, "we are stopping")

    def test_the_last_that_closes_ends_the_grace_time(self, talker: Talker) -> None:
        with Balancer({"LB_ROUTES": "/=main", "LB_DRAIN__GRACE": "1h", **pool("main", talker)}) as balancer:
            with talking(balancer):
                balancer.terminate()
            assert balancer.wait(within=10) == 0

    def test_a_second_signal_cuts(self, talker: Talker) -> None:
        with Balancer({"LB_ROUTES": "/=main", "LB_DRAIN__GRACE": "1h", **pool("main", talker)}) as balancer:
            with talking(balancer) as ws:
                balancer.terminate()
                until(lambda: "Waiting for connections" in balancer.stderr, "the grace time")
                balancer.terminate()
                in_loop(asyncio.sleep(1))
                balancer.terminate()
                assert ended(ws)[0] in (CloseCode.ABNORMAL_CLOSURE, CloseCode.GOING_AWAY)
            assert balancer.wait(within=10) == 0


def test_a_backend_that_is_drained_with_a_deadline(balancer: Balancer, talker: Talker) -> None:
    """When that is over its clients are told to go elsewhere; without one they stay."""
    (name,) = control.seen(balancer)["backends"]
    try:
        with talking(balancer) as ws:
            control.change(balancer, name, draining=True)
            in_loop(asyncio.sleep(0.5))
            ws.send("still here")
            assert ws.recv(timeout=15) == "still here"
            control.change(balancer, name, draining=True, deadline=0.2)
            assert ended(ws)[0] == CloseCode.GOING_AWAY
        until(lambda: in_flight(balancer) == 0, "its place to be given back")
    finally:
        control.change(balancer, name, draining=False)


@pytest.fixture(scope="module")
def hasty(driver: str, shared_talker: Talker) -> Iterator[Balancer]:
    with Balancer({"LB_ROUTES": "/=main", **pool("main", shared_talker, timeouts__tunnel="600ms")}) as running:
        yield running


class TestIdle:
    """`timeouts.tunnel`."""

    def test_who_says_nothing_is_told_to_go(self, hasty: Balancer, talker: Talker) -> None:
        with talking(hasty, "/idle") as ws:
            assert ended(ws)[0] == CloseCode.GOING_AWAY
        record = hasty.record(lambda record: record["path"] == "/idle")
        assert (record["status"], record["reason"]) == (101, "connection_read_timeout")
        assert 600 <= record["total_ms"] < 3000

    def test_a_word_now_and_then_is_enough(self, hasty: Balancer, talker: Talker) -> None:
        """From either side."""

        async def tick(ws: ServerConnection) -> None:
            for _ in range(12):
                await asyncio.sleep(0.1)
                await ws.send("tick")
            async for message in ws:
                await ws.send(message)

        talker.play(tick)
        with talking(hasty) as ws:
            for _ in range(12):
                ws.recv(timeout=15)
            for _ in range(12):
                in_loop(asyncio.sleep(0.1))
                ws.ping()
            ws.send("hello")
            assert ws.recv(timeout=15) == "hello"


class TestNotAllowed:
    """A group that allows no upgrade answers as if nobody had asked for one."""

    def test_it_is_a_plain_request(self) -> None:
        with Backend(answers(reply(b"plain"))) as backend:
            settings = {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__UPGRADE": "", **pool("main", backend)}
            with Balancer(settings) as balancer, balancer.client() as client:
                first = client.ask(request("/", *HANDSHAKE))
                second = client.ask(request("/second"))
                assert [first.body, second.body] == [b"plain", b"plain"]
                assert first.get("connection") is None
                asked = backend.requests[0]
                assert [asked.get("connection"), asked.get("upgrade")] == [None, None]
