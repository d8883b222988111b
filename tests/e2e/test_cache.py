"""A group with a cache: what is answered from it, what is fetched once, what never reaches another client."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.backend import (
    Backend,
    Gate,
    Request,
    answers,
    close,
    forever,
    pause,
    read_all,
    read_head,
    reply,
    reset,
    send,
    stall,
)
from tests.support.raw import Client, Truncated, chunked, request
from tests.support.server import Balancer, balancing, pool
from tests.support.until import until

TOKEN = "a-long-random-text"
FRESH = "Cache-Control: max-age=60"
names = itertools.count(1)


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    """Groups with caches of their own, all in one small store."""
    said = {
        "all": {"path": "/"},
        "plain": {"path": "/plain", "cache": ""},
        "stale": {"path": "/stale", "cache__stale_while_revalidate": "1h"},
        "error": {"path": "/error", "cache__stale_if_error": "1h"},
        "key": {"path": "/key", "cache__key": "header:x-tenant", "cache__ignore_query": "utm_*"},
        "removes": {"path": "/removes", "cache__unkeyed": "remove"},
        "skips": {"path": "/skips", "cache__bypass": "x-preview=*", "cache__bypass_query": "preview=1"},
        "twice": {"path": "/twice", "cache__min_uses": "2"},
        "deaf": {"path": "/deaf", "cache__client_directives": "false", "cache__cache_status": "false"},
        "errors": {"path": "/errors", "cache__lifetimes": "404=1h"},
        "sets": {"path": "/sets", "cache__set_cookie": "strip"},
        "waits": {"path": "/waits", "cache__lock_timeout": "100ms"},
        "down": {"path": "/down", "pool": "down", "cache__stale_if_down": "1h"},
        "known": {"path": "/known", "api_key__keys": f"alice={'a' * 20},bob={'b' * 20}"},
    }
    groups = {
        f"LB_GROUPS__{name}__{key}".upper(): value
        for name, keys in said.items()
        for key, value in {"pool": "main", "cache__store": "main", **keys}.items()
        if not (key == "cache__store" and "cache" in keys)
    }
    groups = {key: value for key, value in groups.items() if value}
    return {
        "LB_ROUTES": "",
        **groups,
        **pool("main", shared, retry__attempts="1", breaker__enabled="false"),
        **pool("down", shared, retry__attempts="1"),
        "LB_ADMIN__TOKEN": TOKEN,
        "LB_CACHES__MAIN__KIND": "memory",
        "LB_CACHES__MAIN__MAX_SIZE": "16MiB",
        "LB_CACHES__MAIN__MAX_OBJECT": "1MiB",
    }


@pytest.fixture
def path() -> Callable[[str], str]:
    """A path that no test has had before."""
    return lambda group="": f"{group}/{next(names)}"


def counting(*fields: str, body: str = "answer", status: str = "200 OK") -> Callable[[Request], bytes]:
    """Answers with a number, which rises with each request."""
    count = itertools.count(1)
    return lambda asked: reply(f"{body} {next(count)}".encode(), *fields, status=status)


def bodies(balancer: Balancer, *requests: bytes) -> list[bytes]:
    return [balancer.ask(data).body for data in requests]


def metric(balancer: Balancer, line: str) -> float:
    text = balancer.get("/-/metrics", f"Authorization: Bearer {TOKEN}").body.decode()
    return next((float(found.split()[-1]) for found in text.splitlines() if found.startswith(line)), 0.0)


def test_a_fresh_response_is_served_from_the_store(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH, "X-Own: 1")))
    where = path()

    first, second = balancer.get(where), balancer.get(where)

    assert (first.body, second.body) == (b"answer 1", b"answer 1")
    assert first.get("cache-status") == "l7lb; fwd=uri-miss; fwd-status=200; stored"
    assert first.get("age") is None
    assert second.get("age") == "0"
    assert (second.get("cache-status") or "").startswith("l7lb; hit; ttl=")
    assert second.get("x-own") == "1"
    assert [len(response.all("date")) for response in (first, second)] == [1, 1]


def test_it_is_logged_and_counted(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()
    before = [metric(balancer, f'l7lb_cache_requests_total{{group="all",result="{r}"}}') for r in ("hit", "miss")]

    balancer.get(where)
    balancer.get(where)

    def logged() -> list[dict[str, object]]:
        return [record for record in balancer.records() if record["path"] == where]

    until(lambda: len(logged()) == 2, "two records")
    mine = logged()
    assert [record["cache"] for record in mine] == ["miss", "hit"]
    assert [record["attempts"] for record in mine] == [1, 0]
    assert [record["bytes_out"] for record in mine] == [8, 8]
    assert [record["status"] for record in mine] == [200, 200]
    assert mine[0]["request_id"]
    after = [metric(balancer, f'l7lb_cache_requests_total{{group="all",result="{r}"}}') for r in ("hit", "miss")]
    assert [a - b for a, b in zip(after, before, strict=True)] == [1, 1]
    assert metric(balancer, 'l7lb_cache_bytes{store="main"}') > 0


def test_a_group_without_a_cache_has_none(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path("/plain")

    assert bodies(balancer, request(where), request(where)) == [b"answer 1", b"answer 2"]
    assert balancer.get(where).get("cache-status") is None


def test_a_head_is_answered_from_a_stored_get(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()
    balancer.get(where)

    with balancer.client() as client:
        head = client.ask(request(where, method="HEAD"))
        assert (head.status, head.body, head.get("content-length")) == (200, b"", "8")
        assert client.ask(request(where)).body == b"answer 1"
    assert len(backend.requests) == 1


def test_a_client_that_has_it_gets_304(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH, 'ETag: "v1"')))
    where = path()
    balancer.get(where, 'If-None-Match: "other"')  # is not sent on: what comes back is for everybody

    with balancer.client() as client:
        found = client.ask(request(where, 'If-None-Match: "v1"'))
        assert (found.status, found.get("etag"), found.get("content-length")) == (304, '"v1"', None)
        assert client.ask(request(where, 'If-None-Match: "v2"')).body == b"answer 1"
    assert [asked.get("if-none-match") for asked in backend.requests] == [None]


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
def test_ranges_are_served_from_a_stored_whole(
    balancer: Balancer, backend: Backend, path, asked: str, status: int, body: bytes, content_range: str | None
) -> None:
    backend.play(answers(reply(b"0123456789", FRESH)))
    where = path()
    balancer.get(where)

    found = balancer.get(where, f"Range: {asked}")

    assert (found.status, found.body, found.get("content-range")) == (status, body, content_range)
    assert len(backend.requests) == 1


def test_a_part_is_stored_and_serves_what_it_has(balancer: Balancer, backend: Backend, path) -> None:
    part = reply(b"456789", FRESH, "Content-Range: bytes 4-9/10", status="206 Partial Content")
    backend.play(answers(part))
    where = path()

    assert balancer.get(where, "Range: bytes=-6").body == b"456789"
    found = balancer.get(where, "Range: bytes=5-6")

    assert (found.status, found.body, found.get("content-range")) == (206, b"56", "bytes 5-6/10")
    assert len(backend.requests) == 1
    backend.play(answers(reply(b"0123456789", FRESH)))
    assert balancer.get(where).body == b"0123456789"  # which it has not


def test_a_stale_response_is_validated(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(
        answers(
            lambda asked: (
                b"HTTP/1.1 304 Not Modified\r\nX-New: 2\r\nCache-Control: max-age=60\r\n\r\n"
                if asked.get("if-none-match") == '"v1"'
                else reply(b"once", 'ETag: "v1"', "X-New: 1", "Cache-Control: max-age=0")
            )
        )
    )
    where = path()
    balancer.get(where)

    second, third = balancer.get(where), balancer.get(where)

    assert (second.status, second.body, second.get("x-new")) == (200, b"once", "2")
    assert second.get("cache-status") == "l7lb; fwd=stale; fwd-status=304; stored"
    assert (third.body, third.get("x-new")) == (b"once", "2")
    assert len(backend.requests) == 2


def test_an_unsafe_request_makes_it_forgotten(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where, other = path(), path()
    bodies(balancer, request(where), request(other))
    backend.play(answers(lambda asked: reply(b"changed", FRESH, f"Location: {other}")))

    balancer.ask(request(where, method="POST", body=b"x"))

    assert bodies(balancer, request(where), request(other)) == [b"changed", b"changed"]


def test_an_unsafe_request_that_failed_changes_nothing(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()
    balancer.get(where)
    backend.play(answers(reply(b"no", status="500 Internal Server Error")))

    balancer.ask(request(where, method="DELETE"))

    assert balancer.get(where).body == b"answer 1"


def test_a_host_cannot_make_anothers_forgotten(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()
    balancer.get(where)
    backend.play(answers(reply(b"", f"Location: http://lb.test{where}")))

    balancer.ask(request(path(), method="POST", host="evil.test", body=b"x"))

    assert balancer.get(where).body == b"answer 1"


# What never reaches another client...


@pytest.mark.parametrize(
    ("fields", "answered", "for_all"),
    [
        (["Authorization: one"], [FRESH], False),
        (["Authorization: one"], ["Cache-Control: max-age=60, public"], True),
        (["Authorization: one"], ["Cache-Control: s-maxage=60"], True),
        (["Authorization: one"], ["Cache-Control: max-age=60, must-revalidate"], True),
        (["Authorization: one"], ["CDN-Cache-Control: max-age=60"], False),
        (["Cookie: session=one"], [FRESH], False),
        (["Cookie: session=one"], ["Cache-Control: max-age=60, public"], True),
        (["Cookie: session=one"], [FRESH, "Vary: Cookie"], False),
        ([], [FRESH, "Set-Cookie: session=one"], False),
        ([], ["Cache-Control: max-age=60, private"], False),
        ([], ["Cache-Control: max-age=60, no-store"], False),
        ([], [FRESH, "Vary: *"], False),
    ],
)
def test_what_is_one_clients_stays_its_own(
    balancer: Balancer, backend: Backend, path, fields: list[str], answered: list[str], for_all: bool
) -> None:
    backend.play(answers(counting(*answered)))
    where = path()
    balancer.get(where, *fields)

    other = balancer.get(where)

    assert other.body == (b"answer 1" if for_all else b"answer 2")
    assert (other.get("set-cookie") is None) or not for_all


@pytest.mark.parametrize(
    ("answered", "for_all"),
    [(FRESH, False), ("Cache-Control: max-age=60, public", True), ("CDN-Cache-Control: max-age=9", False)],
)
def test_what_is_one_users_stays_its_own(
    balancer: Balancer, backend: Backend, path, answered: str, for_all: bool
) -> None:
    """Whoever was let in by a layer has no Authorization left by which that could be told."""
    backend.play(answers(counting(answered)))
    where = path("/known")

    found = [balancer.get(where, f"X-Api-Key: {key}").body for key in ("a" * 20, "b" * 20)]

    assert found == [b"answer 1", b"answer 1" if for_all else b"answer 2"]
    assert balancer.get(where).status == 401


def test_what_is_one_clients_stays_its_own_while_it_comes_in(balancer: Balancer, backend: Backend, path) -> None:
    """The second waits for the first, and learns from its head that this is not for it."""
    gate = Gate()
    seen = itertools.count(1)

    async def slowly(c) -> None:
        while True:
            asked = await c.head()
            number = next(seen)
            await gate.passed()
            await c.send(reply(f"{asked.get('cookie')} {number}".encode(), FRESH))

    backend.play(slowly)
    where = path()
    with ThreadPoolExecutor(2) as pool_:
        first = pool_.submit(balancer.get, where, "Cookie: one")
        until(lambda: backend.requests, "the first")
        second = pool_.submit(balancer.get, where, "Cookie: two")
        gate.open()
        assert first.result().body.startswith(b"one")
        assert second.result().body.startswith(b"two")


@pytest.mark.parametrize("group", ["", "/removes"])
def test_what_no_vary_names_poisons_nothing(balancer: Balancer, backend: Backend, path, group: str) -> None:
    backend.play(answers(lambda asked: reply(f"to {asked.get('x-original-url')}".encode(), FRESH)))
    where = path(group)
    attacked = balancer.get(where, "X-Original-URL: /evil")

    assert attacked.body == (b"to None" if group else b"to /evil")
    assert balancer.get(where).body == b"to None"


@pytest.mark.parametrize(("group", "field"), [("/key", "X-Tenant"), ("", "Accept-Language")])
def test_connection_poisons_nothing(balancer: Balancer, backend: Backend, path, group: str, field: str) -> None:
    """What Connection lists is not told to the backend, so the answer is not for those who do tell it."""
    vary = f"Vary: {field}" if not group else "X-A: 1"
    backend.play(answers(lambda asked: reply(f"to {asked.get(field.lower())}".encode(), FRESH, vary)))
    where = path(group)

    attacked = balancer.get(where, f"{field}: de", f"Connection: close, {field}")

    assert attacked.body == b"to None"
    assert balancer.get(where, f"{field}: de").body == b"to de"


def test_set_cookie_can_be_stripped(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH, "Set-Cookie: a=b")))
    where = path("/sets")

    first, second = balancer.get(where), balancer.get(where)

    assert (first.get("set-cookie"), second.get("set-cookie"), second.body) == ("a=b", None, b"answer 1")


# Its key...


def test_schemes_hosts_queries_and_what_the_settings_name_are_apart(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path("/key")

    found = bodies(
        balancer,
        request(f"{where}?a=1"),
        request(f"{where}?a=2"),
        request(f"{where}?a=1&utm_source=x"),
        request(f"{where}?a=1", "X-Tenant: t"),
        request(f"{where}?a=1", host="other.test"),
        request(f"{where}?a=1", host="LB.test:80"),
    )

    assert found == [b"answer 1", b"answer 2", b"answer 1", b"answer 3", b"answer 4", b"answer 1"]


def test_variants_stand_beside_each_other(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(
        answers(lambda asked: reply((asked.get("accept-encoding") or "none").encode(), FRESH, "Content-Encoding: x"))
    )
    where = path()
    kinds = ["Accept-Encoding: gzip, br", "Accept-Encoding: gzip", "Accept-Encoding: br,GZIP"]

    found = [balancer.get(where, kind).body for kind in kinds]

    assert found == [b"gzip, br", b"gzip", b"gzip, br"]


def test_some_requests_go_by_it(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path("/skips")
    balancer.get(where)

    assert balancer.get(where, "X-Preview: yes").body == b"answer 2"
    assert balancer.get(f"{where}?preview=1").get("cache-status") == "l7lb; fwd=bypass"
    assert balancer.get(where).body == b"answer 1"
    assert balancer.get(where, body=b"x").body == b"answer 4"  # a GET with a body
    assert balancer.get(where, 'If-Match: "x"').body == b"answer 5"


def test_it_can_be_stored_from_the_second_use_on(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path("/twice")

    assert bodies(balancer, *[request(where)] * 3) == [b"answer 1", b"answer 2", b"answer 2"]


def test_failures_can_be_stored_for_a_while(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(status="404 Not Found")))
    where = path("/errors")

    assert bodies(balancer, *[request(where)] * 2) == [b"answer 1", b"answer 1"]


# What the client says...


def test_a_client_may_ask_for_more_than_is_stored(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()
    balancer.get(where)

    assert balancer.get(where, "Cache-Control: no-cache").body == b"answer 2"
    assert balancer.get(where, "Pragma: no-cache").body == b"answer 3"
    assert balancer.get(where, "Cache-Control: min-fresh=100").body == b"answer 4"
    assert balancer.get(where, "Cache-Control: no-store").body == b"answer 5"
    assert balancer.get(where).body == b"answer 4"


def test_but_not_where_it_is_not_listened_to(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path("/deaf")
    balancer.get(where)

    found = balancer.get(where, "Cache-Control: no-cache")

    assert (found.body, found.get("cache-status")) == (b"answer 1", None)


def test_only_what_is_stored_or_504(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting(FRESH)))
    where = path()

    assert balancer.get(where, "Cache-Control: only-if-cached").status == 504
    balancer.get(where)
    assert balancer.get(where, "Cache-Control: only-if-cached").body == b"answer 1"


# One fetch...


def test_a_thousand_clients_for_one_cold_key_make_one_request(balancer: Balancer, backend: Backend, path) -> None:
    gate = Gate()
    backend.play(forever(read_all, pause(gate), send(reply(b"x" * 5000, FRESH))))
    where = path()
    clients = [Client(balancer.address, timeout=60.0) for _ in range(1000)]
    try:
        for client in clients:
            client.send(request(where))
        until(lambda: backend.requests, "the request")
        gate.open()
        found = [client.response() for client in clients]
    finally:
        for client in clients:
            client.socket.close()
    assert {(response.status, response.body) for response in found} == {(200, b"x" * 5000)}
    assert len(backend.requests) == 1
    said = [response.get("cache-status") or "" for response in found]
    assert sum("collapsed" in one or "hit" in one for one in said) == 999


def test_others_read_along_while_it_comes_in(balancer: Balancer, backend: Backend, path) -> None:
    gate = Gate()
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n"
    backend.play(read_all, send(head + b"01234"), pause(gate), send(b"56789"), stall)
    where = path()
    with balancer.client() as first, balancer.client() as second:
        first.send(request(where))
        until(lambda: first.more() and b"01234" in first.buffer, "the first half")
        second.send(request(where))
        until(lambda: second.more() and b"01234" in second.buffer, "the first half, to the second")
        gate.open()
        assert first.response().body == second.response().body == b"0123456789"
    assert len(backend.requests) == 1


def test_a_client_that_goes_takes_nothing_from_the_others(balancer: Balancer, backend: Backend, path) -> None:
    gate = Gate()
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n"
    backend.play(read_all, send(head + b"01234"), pause(gate), send(b"56789"), stall)
    where = path()
    with balancer.client() as second:
        first = balancer.client()
        first.send(request(where))
        until(lambda: first.more() and b"01234" in first.buffer, "the first half")
        second.send(request(where))
        until(lambda: second.more() and b"01234" in second.buffer, "the first half, to the second")
        first.reset()
        gate.open()
        assert second.response().body == b"0123456789"
    assert balancer.get(where).body == b"0123456789"
    assert len(backend.requests) == 1


def test_when_the_only_client_goes_so_does_the_request(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(read_all, stall)
    client = balancer.client()
    client.send(request(path()))
    until(lambda: backend.requests, "the request")

    client.reset()

    until(lambda: backend.connections[-1].closed, "the end of the backend's connection")


def test_what_cannot_be_stored_does_not_wait_in_line(balancer: Balancer, backend: Backend, path) -> None:
    """All of them are at the backend at once, once it is known that their answers are not for each other."""
    gate = Gate()
    where = path()
    backend.play(answers(reply(b"first", "Cache-Control: no-store")))
    balancer.get(where)
    backend.play(forever(read_all, pause(gate), send(reply(b"own", "Cache-Control: no-store"))))
    with ThreadPoolExecutor(8) as pool_:
        waiting = [pool_.submit(balancer.get, where) for _ in range(8)]
        until(lambda: len(backend.requests) == 8, "eight at once")
        gate.open()
        assert {one.result().body for one in waiting} == {b"own"}


def test_a_slow_leader_holds_nobody_for_long(balancer: Balancer, backend: Backend, path) -> None:
    first, gate = threading.Event(), Gate()

    async def slow_first(c) -> None:
        while True:
            await c.head()
            if not first.is_set():
                first.set()
                await gate.passed()
            await c.send(reply(b"late", FRESH))

    backend.play(slow_first)
    where = path("/waits")
    with ThreadPoolExecutor(1) as pool_:
        leader = pool_.submit(balancer.get, where)
        until(first.is_set, "the leader")
        assert balancer.get(where).body == b"late"
        gate.open()
        assert leader.result().body == b"late"


def test_a_failed_leader_is_not_tried_again_by_each(balancer: Balancer, backend: Backend, path) -> None:
    gate = Gate()
    backend.play(read_all, pause(gate), reset)
    where = path()
    with ThreadPoolExecutor(8) as pool_:
        waiting = [pool_.submit(balancer.get, where) for _ in range(8)]
        until(lambda: backend.requests, "the request")
        gate.open()
        assert {one.result().status for one in waiting} == {502}
    assert len(backend.requests) < 8


def test_a_response_cut_short_is_not_stored(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(
        read_all, send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234"), close
    )
    where = path()
    with balancer.client() as client, pytest.raises(Truncated):
        client.ask(request(where))
    backend.play(answers(reply(b"whole", FRESH)))

    assert balancer.get(where).body == b"whole"


def test_chunks_are_stored_as_one_body(balancer: Balancer, backend: Backend, path) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.play(forever(read_all, send(head + chunked(b"one ", b"two"))))
    where = path()

    first, second = balancer.get(where), balancer.get(where)

    assert (first.body, second.body, second.get("content-length")) == (b"one two", b"one two", "7")
    assert len(backend.requests) == 1


# Stale...


def test_stale_while_revalidate_serves_and_fetches_once(balancer: Balancer, backend: Backend, path) -> None:
    gate = Gate()
    backend.play(answers(reply(b"old", "Cache-Control: max-age=0", 'ETag: "v"')))
    where = path("/stale")
    counted = 'l7lb_cache_refreshes_total{group="stale",result="replaced"}'
    before = metric(balancer, counted)
    balancer.get(where)
    backend.play(forever(read_all, pause(gate), send(reply(b"new", FRESH))))

    found = [balancer.get(where).body for _ in range(3)]
    gate.open()

    assert found == [b"old", b"old", b"old"]
    until(lambda: balancer.get(where).body == b"new", "what was fetched beside")
    until(lambda: metric(balancer, counted) == before + 1, "it is counted")
    assert [asked.get("if-none-match") for asked in backend.requests] == ['"v"']


def test_stale_if_error_serves_what_there_is(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(counting("Cache-Control: max-age=0")))
    where = path("/error")
    balancer.get(where)
    for failing in ([answers(reply(b"no", status="503 Service Unavailable"))], [read_head, reset]):
        backend.play(*failing)
        found = balancer.get(where)
        assert (found.status, found.body) == (200, b"answer 1")
        assert "stale-if-error" in (found.get("cache-status") or "")
    backend.play(answers(reply(b"never", status="404 Not Found")))
    assert balancer.get(where).status == 404


@pytest.mark.parametrize("word", ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=0"])
def test_it_is_not_served_stale_where_that_is_forbidden(balancer: Balancer, backend: Backend, path, word: str) -> None:
    backend.play(answers(reply(b"old", f"Cache-Control: max-age=0, {word}", 'ETag: "v"')))
    where = path("/error")
    balancer.get(where)
    backend.play(answers(reply(b"no", status="503 Service Unavailable")))

    assert balancer.get(where).status == 503


def test_stale_if_down_serves_while_there_is_no_backend(start, driver: str) -> None:
    backend = start(answers(reply(b"kept", "Cache-Control: max-age=0", 'ETag: "v"')))
    settings = {"health__interval": "50ms", "health__fall": "1", "health__kind": "tcp"}
    variables = {"LB_GROUPS__MAIN__POOL": "main", "LB_GROUPS__MAIN__CACHE__STALE_IF_DOWN": "1h"}
    with Balancer({**variables, **pool("main", backend, **settings)}) as balancer:
        until(lambda: balancer.get("/").status == 200, "the backend")
        backend.stop()
        found = until(lambda: (answer := balancer.get("/")).status == 200 and answer, "a stale response")
        assert found.body == b"kept"
        assert found.get("cache-status") == 'l7lb; fwd=stale; detail="stale-if-error"'


# Beside the rest...


def test_a_head_says_that_it_is_still_the_one_or_no_more(balancer: Balancer, backend: Backend, path) -> None:
    backend.play(answers(reply(b"12345", "Cache-Control: max-age=0", 'ETag: "v1"', "X-Own: 1")))
    where = path()
    balancer.get(where)

    def head(*fields: str) -> None:
        lines = "".join(f"{field}\r\n" for field in fields)
        backend.play(forever(read_all, send(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode())))
        with balancer.client() as client:
            assert client.ask(request(where, method="HEAD")).status == 200

    head('ETag: "v1"', FRESH, "X-Own: 2", "Content-Length: 5")
    found = balancer.get(where)
    assert (found.body, found.get("x-own")) == (b"12345", "2")
    head_only_fresh = balancer.get(where, "Cache-Control: only-if-cached")
    assert head_only_fresh.status == 200
    backend.play(answers(reply(b"new", FRESH, 'ETag: "v2"')))
    assert balancer.get(where, "Cache-Control: no-cache").body == b"new"


def test_who_is_kept_at_a_backend_is_told_and_nobody_else(start, driver: str) -> None:
    backend = start(answers(counting(FRESH)))
    sticky = {"sticky__enabled": "true", "sticky__keys": "a-long-random-text"}
    with Balancer(
        {"LB_GROUPS__G__POOL": "main", "LB_GROUPS__G__CACHE": "true", **pool("main", backend, **sticky)}
    ) as balancer:
        first, second = balancer.get("/"), balancer.get("/")

    assert (first.get("set-cookie") or "").startswith("l7lb=")
    assert (second.body, second.get("set-cookie")) == (b"answer 1", None)


def test_hints_and_trailers_go_to_who_asked_and_are_not_stored(balancer: Balancer, backend: Backend, path) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.play(forever(read_all, send(hint + head + chunked(b"one", trailers=b"X-Sum: 1\r\n"))))
    where = path()

    first, second = [balancer.get(where, "TE: trailers", "Connection: TE") for _ in range(2)]

    assert ([one.status for one in first.interim], first.trailers) == ([103], [(b"x-sum", b"1")])
    assert (second.body, second.interim, second.trailers) == (b"one", (), [])


def test_an_answer_of_ours_is_not_stored(start, driver: str) -> None:
    """The fixed response of a group whose pool has nobody, though it says that it may be."""
    settings = {
        "LB_GROUPS__G__POOL": "none",
        "LB_GROUPS__G__CACHE": "true",
        "LB_GROUPS__G__FALLBACK_RESPOND__BODY": "back soon",
        "LB_GROUPS__G__RESPONSE_HEADERS__SET": "Cache-Control=max-age=60",
        "LB_INITIAL_GRACE": "0",
    }
    with Balancer({**settings, **pool("none")}) as balancer:
        found = [balancer.get("/") for _ in range(2)]

    assert [response.body for response in found] == [b"back soon"] * 2
    assert [response.get("age") for response in found] == [None, None]


def test_a_slow_reader_of_what_is_not_stored_holds_the_backend_back(start, driver: str) -> None:
    piece = b"x" * (1 << 20)

    async def big(c) -> None:
        await c.head()
        await c.send(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            await c.send(piece)
        await c.swallow()

    backend = start(big)
    with balancing(backend, groups__root__cache="true") as balancer:
        with balancer.client(receive_buffer=4096, timeout=60.0) as client:
            client.send(request("/"))
            assert client.more()
            sent = -1
            while sent != (sent := backend.connections[-1].sent):  # until it stands still
                assert client.more()
            assert sent < 32 << 20
            client.reset()
        until(lambda: backend.connections[-1].closed, "the end of the backend's connection")


# Memory...


@pytest.mark.slow
def test_a_gibibyte_through_a_small_cache_leaves_memory_bounded(start, driver: str) -> None:
    piece = b"x" * (1 << 20)

    async def big(c) -> None:
        while True:
            await c.head()
            await c.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1024):
                await c.send(b"100000\r\n" + piece + b"\r\n")
            await c.send(b"0\r\n\r\n")

    backend = start(big)
    with balancing(backend, groups__root__cache="true", caches__default__kind="memory") as balancer:
        balancer.get("/-/ready")
        before = balancer.rss()
        balancer.forget_peak()
        with balancer.client(timeout=120.0) as client:
            client.send(request("/"))
            size = 0
            while size < 1 << 30:
                data = client.socket.recv(1 << 20)
                assert data
                size += len(data)
        grown = balancer.rss("VmHWM") - before
        assert grown < 64 * 2**20, f"{grown >> 20} MiB"
