"""One line a request on standard output, whatever becomes of the request or of standard output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import Backend, Connection, Gate, answers, forever, pause, read_all, reply, send, stall
from tests.support.raw import request
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until


def record(balancer: Balancer, path: str) -> dict[str, Any]:
    return balancer.record(lambda found: found["path"] == path)


def test_what_a_line_says(balancer: Balancer, shared: Backend, backend: Backend) -> None:
    """Times are milliseconds; a request that went well has no reason."""
    balancer.get("/line?secret=1", "X-Request-ID: id-1", method="POST", body=b"12345")

    line = record(balancer, "/line")

    assert {
        "client": "127.0.0.1", "method": "POST", "path": "/line", "status": 200, "bytes_in": 5, "bytes_out": 5,
        "group": "root", "pool": "main", "backend": f"127.0.0.1:{shared.port}", "attempts": 1, "reason": "",
        "request_id": "id-1",
    }.items() <= line.items()  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert 0 <= line["queue_ms"] <= line["total_ms"]
    assert 0 <= line["connect_ms"] <= line["ttfb_ms"] <= line["total_ms"] < 10_000


def test_a_line_for_everything(balancer: Balancer, backend: Backend) -> None:
    """What we refuse, and even what the edge refuses before it is a request."""
    backend.play(read_all, stall)
    balancer.ask(b"GET /no-host HTTP/1.1\r\n\r\n")
    balancer.get("/a%2Fb")
    with balancer.client() as client:
        client.send(request("/gone"))
        until(lambda: backend.requests, "the request to arrive")

    assert {(400, "http_request_error"), (499, "connection_terminated")} <= {
        (found["status"], found["reason"])
        for found in (
            balancer.record(lambda line: line["status"] == 400),
            record(balancer, "/gone"),
        )
    }
    assert record(balancer, "/a%2Fb")["status"] == 400


def test_a_truncated_response_says_why(balancer: Balancer, backend: Backend) -> None:
    backend.play(read_all, send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"))
    with balancer.client() as client:
        client.send(request("/cut"))
        client.rest()

    line = record(balancer, "/cut")

    assert (line["status"], line["bytes_out"], line["reason"]) == (200, 3, "http_response_incomplete")


def test_ttfb_is_not_the_whole(balancer: Balancer, backend: Backend) -> None:
    """The head comes at once, the end half a second later."""

    async def slow_end(c: Connection) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        await asyncio.sleep(0.5)
        await c.send(b"abc")
        await stall(c)

    backend.play(slow_end)
    balancer.get("/slow-end")

    line = record(balancer, "/slow-end")

    assert line["total_ms"] >= 490 > line["ttfb_ms"]


@pytest.mark.parametrize(
    "target", ['/"},{"forged":"1', "/%0a%7B%22forged%22%3A1%7D", "/\\n{}", "/'\"<>|;$(x)`", "/" + "x" * 9000], ids=str
)
def test_a_line_cannot_be_forged(balancer: Balancer, backend: Backend, target: str) -> None:
    """Whatever bytes a client sends: one line, valid JSON, at most 4096 bytes, and no key of its making."""
    before = len(balancer.lines)
    balancer.get(target, 'X-Request-ID: "}\\n{', "Host-X: \x7f", host="lb.test")

    until(lambda: len(balancer.lines) > before, "a line")
    for line in balancer.lines[before:]:
        assert len(line) <= 4096
        assert "forged" not in json.loads(line)


def test_bytes_beyond_ascii_do_not_break_a_line(balancer: Balancer, backend: Backend) -> None:
    before = len(balancer.lines)
    balancer.ask(b"GET /\xff\xfe\xe2\x80\xa8 HTTP/1.1\r\nHost: lb.test\r\nX-Request-ID: \xff\r\n\r\n")

    until(lambda: len(balancer.lines) > before, "a line")
    assert all(json.loads(line) for line in balancer.lines[before:])


def test_standard_output_has_nothing_else(balancer: Balancer, backend: Backend) -> None:
    """A collector can take it as it is: no access lines of the server, no banner."""
    balancer.get("/last")
    record(balancer, "/last")

    assert all(line.startswith("{") and line.endswith("}\n") for line in balancer.lines)


def test_the_backend_of_a_line_is_the_one_that_answered(start: Callable[..., Backend]) -> None:
    """After a retry the last; `attempts` says that there was another."""
    failing, well = start(answers(reply(status="502 No"))), start()
    with balancing(failing, well, pools__main__strategy="first") as balancer:
        assert balancer.get("/retried").body == well.name.encode()
        line = record(balancer, "/retried")

    assert (line["backend"], line["attempts"], line["status"]) == (f"127.0.0.1:{well.port}", 2, 200)


@pytest.mark.parametrize("winner", [0, 1], ids=["first", "hedge"])
def test_of_a_hedged_request_it_is_the_quicker_one(start: Callable[..., Backend], winner: int) -> None:
    """Whichever of the two that is; the times are its own."""
    asked: list[Backend] = []
    both = Gate()

    async def play(c: Connection) -> None:
        while True:
            seen = await c.head()
            if seen.target == b"/hedged":
                asked.append(c.backend)
                turn = len(asked) - 1
                if turn == 1:
                    both.open()
                await both.passed()
                if turn != winner:
                    await c.swallow()
            await c.send(reply(c.backend.name.encode()))

    one, two = start(play), start(play)
    with balancing(one, two, pools__main__hedge__enabled="1") as balancer:
        end = time.monotonic() + 1.1
        while time.monotonic() < end:  # the quantile is as of the last whole second
            balancer.get("/")
        body = balancer.get("/hedged").body
        line = record(balancer, "/hedged")

    assert body == asked[winner].name.encode()
    assert (line["backend"], line["attempts"]) == (f"127.0.0.1:{asked[winner].port}", 2)
    assert 0 <= line["connect_ms"] <= line["ttfb_ms"] <= line["total_ms"]


def test_a_wait_in_the_queue_is_not_the_backends(start: Callable[..., Backend]) -> None:
    """`queue_ms` has it, `ttfb_ms` has not."""
    gate = Gate()
    busy = start(forever(read_all, pause(gate), send(reply(b"late"))))
    with (
        balancing(
            busy, pools__main__max_in_flight="1", pools__main__queue__timeout="30s", admin__token="t"
        ) as balancer,
        balancer.client() as first,
        balancer.client() as second,
    ):
        first.send(request("/first"))
        until(lambda: busy.requests, "the first to be in flight")
        second.send(request("/second"))
        waits = b'l7lb_pool_waiting{pool="main"} 1\n'
        until(lambda: waits in balancer.get("/-/metrics", "Authorization: Bearer t").body, "the second to wait")
        gate.open()
        assert (first.response().status, second.response().status) == (200, 200)
        line, ahead = record(balancer, "/second"), record(balancer, "/first")

    assert ahead["queue_ms"] == 0
    assert 0 < line["queue_ms"] <= line["total_ms"] - line["ttfb_ms"] + 0.01
    assert (line["backend"], line["attempts"]) == (f"127.0.0.1:{busy.port}", 1)


def test_common_format() -> None:
    with Backend() as backend, balancing(backend, log__format="common") as balancer:
        backend.answer(b"hello")
        balancer.get('/a"b')
        line = until(lambda: next((x for x in balancer.lines if "b HTTP" in x), None), "a line")

    assert re.fullmatch(
        r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /a\\x22b HTTP/1\.1" 200 5\n', line
    )


def test_off_is_off() -> None:
    with Backend() as backend, balancing(backend, log__format="off") as balancer:
        backend.answer(b"hello")
        assert balancer.get("/").status == 200
        balancer.stop()
        assert balancer.lines == []


def test_a_line_is_not_lost_by_stopping() -> None:
    """Batches are written before the process ends."""
    with Backend() as backend, balancing(backend) as balancer:
        backend.answer(b"hello")
        for n in range(20):
            balancer.get(f"/{n}")
        balancer.stop()
        assert {f"/{n}" for n in range(20)} <= {found["path"] for found in balancer.records()}


def test_a_reader_that_has_gone_does_not_stop_traffic() -> None:
    """`l7lb | head`: every write is EPIPE."""
    reading, writing = os.pipe()
    os.close(reading)
    with Backend() as backend:
        backend.answer(b"hello")
        with Balancer({"LB_ROUTES": "/=main", **pool("main", backend)}, stdout=writing) as balancer:
            os.close(writing)
            assert [balancer.get("/").status for _ in range(300)] == [200] * 300


def test_a_reader_that_sleeps_does_not_stop_traffic() -> None:
    """A pipe holds 64 KiB; then a write would wait for ever, and so would a process that exits by it."""
    reading, writing = os.pipe()
    try:
        with Backend() as backend:
            backend.answer(b"hello")
            with Balancer({"LB_ROUTES": "/=main", **pool("main", backend)}, stdout=writing) as balancer:
                os.close(writing)
                assert [balancer.get("/" + "x" * 2000).status for _ in range(300)] == [200] * 300
                stopping = time.monotonic()
                assert balancer.stop() == 0
                assert time.monotonic() - stopping < 15
    finally:
        os.close(reading)


def test_a_full_disk_does_not_stop_traffic() -> None:
    """Every write is ENOSPC."""
    with Backend() as backend, Path("/dev/full").open("w") as full:
        backend.answer(b"hello")
        with Balancer({"LB_ROUTES": "/=main", **pool("main", backend)}, stdout=full.fileno()) as balancer:
            assert [balancer.get("/").status for _ in range(300)] == [200] * 300


def test_many_requests_many_lines(balancer: Balancer, backend: Backend) -> None:
    """One each, none twice."""
    with balancer.client() as client:
        for n in range(300):
            client.ask(request(f"/many/{n}"))

    record(balancer, "/many/299")
    paths = [found["path"] for found in balancer.records() if found["path"].startswith("/many/")]
    assert sorted(paths) == sorted(f"/many/{n}" for n in range(300))
