"""Backends that register themselves: POST, and what conditions do to all of it."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from app.engine.beats import BEATS
from app.engine.state.board import BoardAway
from settings import Settings
from tests.support.plane import BEARER, TOKEN, Plane, problem

POOL = "/-/pools/a/backends"
NEW = {"url": "http://10.0.0.1:8000", "id": "new"}


@pytest.fixture
def plane() -> Plane:
    return Plane(admin={"token": TOKEN, "allow_backends": "10.0.0.0/8"})


async def post(plane: Plane, said: Any, path: str = POOL, **headers: str) -> httpx.Response:
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return await plane.ask(path, "POST", {**BEARER, **headers}, content)


def ids(plane: Plane) -> list[str]:
    return [backend.id for backend in plane.control.topology.pools["a"].backends]


async def test_a_backend_registers(plane: Plane) -> None:
    """201 with its place and its ETag; twice is once; another address is another backend of the same name."""
    first = await post(plane, {**NEW, "weight": 3, "level": 1, "max_in_flight": 9})
    again = await post(plane, {**NEW, "weight": 3, "level": 1, "max_in_flight": 9})
    moved = await post(plane, {**NEW, "url": "http://10.0.0.2:8000"})

    assert [one.status_code for one in (first, again, moved)] == [201, 200, 200]
    assert {one.headers["location"] for one in (first, again, moved)} == {f"{POOL}/new"}
    assert first.headers["etag"] == again.headers["etag"] != moved.headers["etag"]
    assert (first.json()["weight"], first.json()["level"], first.json()["max_in_flight"]) == (3, 1, 9)
    assert moved.json()["url"] == "http://10.0.0.2:8000"
    assert ids(plane) == ["h:1", "idle", "new"]
    shown = await plane.ask(f"{POOL}/new", headers=BEARER)
    assert (shown.headers["etag"], shown.json()) == (moved.headers["etag"], moved.json())


async def test_an_id_is_made_of_the_address(plane: Plane) -> None:
    response = await post(plane, {"url": "http://10.0.0.1:8000"})

    assert response.headers["location"] == f"{POOL}/10.0.0.1:8000"


async def test_one_that_registered_may_go_at_any_time(plane: Plane) -> None:
    """It finishes what it has, as whoever is not named any more."""
    await post(plane, {**NEW, "ttl": 30})
    backend = plane.control.topology.pools["a"].backends[2]
    backend.in_flight = 1

    response = await plane.ask(f"{POOL}/new", "DELETE", BEARER)

    assert response.status_code == 204
    assert ids(plane) == ["h:1", "idle"]
    assert backend.leaving
    assert (await plane.ask(f"{POOL}/new", "DELETE", BEARER)).status_code == 404


async def test_one_that_registers_again_is_not_draining_any_more(plane: Plane) -> None:
    """It was told to drain before it was started anew."""
    await post(plane, NEW)
    await plane.ask(f"{POOL}/new", "PATCH", BEARER, b'{"draining": true, "weight": 5}')

    response = await post(plane, NEW)

    assert (response.json()["draining"], response.json()["weight"]) == (False, 1)


async def test_one_of_the_settings_that_was_taken_out_comes_back(plane: Plane) -> None:
    """And while it is there, nobody takes its name."""
    assert (await post(plane, {**NEW, "id": "h:1"})).status_code == 409
    await plane.ask(f"{POOL}/h:1", "PATCH", BEARER, b'{"draining": true}')
    assert (await plane.ask(f"{POOL}/h:1", "DELETE", BEARER)).status_code == 204

    response = await post(plane, {**NEW, "id": "h:1"})

    assert response.status_code == 201
    assert (response.json()["url"], response.json()["draining"]) == ("http://h:1", False)


async def test_conditions(plane: Plane) -> None:
    """If-Match goes by the ETag, If-None-Match: * is for who means a new one."""
    created = await post(plane, NEW, **{"if-none-match": "*"})
    tag = created.headers["etag"]
    path = f"{POOL}/new"
    assert (await post(plane, NEW, **{"if-none-match": "*"})).status_code == 412
    for method, body in (("PATCH", b'{"weight": 2}'), ("DELETE", None)):
        for wrong in ('"99"', 'W/"1"', "1", ""):
            response = await plane.ask(path, method, {**BEARER, "if-match": wrong}, body)
            assert response.status_code == 412, wrong
            problem(response)
    changed = await plane.ask(path, "PATCH", {**BEARER, "if-match": f'"0", {tag}'}, b'{"weight": 2}')
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert (await plane.ask(path, "DELETE", {**BEARER, "if-match": tag})).status_code == 412
    assert (await plane.ask(path, "DELETE", {**BEARER, "if-match": "*"})).status_code == 204
    assert (await post(plane, NEW, **{"if-match": "*"})).status_code == 412


async def test_the_tag_of_one_that_nothing_was_said_of(plane: Plane) -> None:
    path = f"{POOL}/h:1"
    shown = await plane.ask(path, headers=BEARER)
    assert shown.headers["etag"] == '"0"'
    changed = await plane.ask(path, "PATCH", {**BEARER, "if-match": '"0"'}, b'{"weight": 2}')
    assert changed.status_code == 200
    assert (await plane.ask(path, "PATCH", {**BEARER, "if-match": '"0"'}, b'{"weight": 3}')).status_code == 412


WRONG = [
    (422, {}, "url"), (422, {"url": "10.0.0.1"}, "url"), (422, {"url": "ftp://10.0.0.1"}, "url"),
    (422, {"url": "http://user:password@10.0.0.1"}, "url"), (422, {"url": "http://10.0.0.1/path"}, "url"),
    (422, {"url": "http://10.0.0.1:0"}, "url"), (422, {"url": "file:///etc/passwd"}, "url"), (422, {"url": 7}, "url"),
    (422, {**NEW, "id": "a/b"}, "id"), (422, {**NEW, "id": ""}, "id"), (422, {**NEW, "id": "x" * 129}, "id"),
    (422, {**NEW, "ttl": -1}, "ttl"), (422, {**NEW, "ttl": 1e9}, "ttl"), (422, {**NEW, "weight": -1}, "weight"),
    (422, {**NEW, "networks": ["0.0.0.0/0"]}, ""), (422, {**NEW, "more": 1}, "more"), (422, [], ""), (400, b"{", ""),
    (400, b"", ""), (400, b"\xff", ""), (422, b'{"url": "http://10.0.0.1", "ttl": NaN}', "ttl"),
    (413, b" " * 5000, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "at"), WRONG, ids=lambda value: str(value)[:40])
async def test_what_is_wrong_registers_nothing(plane: Plane, status: int, said: Any, at: str | None) -> None:
    response = await post(plane, said)

    assert response.status_code == status, response.text
    found = problem(response)
    if at is not None:
        assert found["errors"][0]["at"] == at
    assert ids(plane) == ["h:1", "idle"]


@pytest.mark.parametrize(
    "url",
    [
        "http://11.0.0.1", "http://127.0.0.1", "http://[::1]", "http://169.254.169.254", "http://[fe80::1]",
        "http://[::ffff:169.254.169.254]", "http://[::ffff:11.0.0.1]", "http://0.0.0.0",
    ],
)  # fmt: skip
async def test_addresses_that_are_not_allowed(plane: Plane, url: str) -> None:
    response = await post(plane, {"url": url})

    assert response.status_code == 403
    assert "LB_ADMIN__ALLOW_BACKENDS" in problem(response)["detail"]
    assert ids(plane) == ["h:1", "idle"]


async def test_nobody_registers_where_no_network_is_allowed() -> None:
    plane = Plane(admin={"token": TOKEN})

    response = await post(plane, NEW)

    assert response.status_code == 403
    assert "LB_ADMIN__ALLOW_BACKENDS" in problem(response)["detail"]


async def test_it_takes_the_token_and_a_pool(plane: Plane) -> None:
    assert (await plane.ask(POOL, "POST", {}, json.dumps(NEW).encode())).status_code == 401
    assert (await post(plane, NEW, "/-/pools/b/backends")).status_code == 404
    assert (await plane.ask(POOL, "GET", BEARER)).status_code == 405


async def test_many_at_once(plane: Plane) -> None:
    """All of them are there, and of one that registers many times there is one."""
    responses = await asyncio.gather(
        *(post(plane, {"url": f"http://10.0.0.{number % 20 + 1}:80"}) for number in range(60)),
    )

    assert {response.status_code for response in responses} <= {200, 201}
    assert sum(response.status_code == 201 for response in responses) == 20
    assert len(ids(plane)) == 22


@pytest.mark.parametrize(("method", "path"), [("POST", POOL), ("PATCH", f"{POOL}/h:1"), ("DELETE", f"{POOL}/h:1")])
async def test_a_board_that_is_away_is_a_503(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """Nothing was acknowledged, and nothing has changed."""

    async def away(*_: object, **__: object) -> Any:
        raise BoardAway("redis at h:1: connection refused")

    monkeypatch.setattr(plane.registrations._board, "read", away)
    body = json.dumps(NEW).encode() if method == "POST" else b'{"weight": 2}' if method == "PATCH" else None

    response = await plane.ask(path, method, BEARER, body)

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "connection refused" in problem(response)["detail"]
    assert ids(plane) == ["h:1", "idle"]


async def test_settings_that_change_while_one_registers(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pool is another one by then, or is gone."""
    board, topology = plane.registrations._board, plane.control.topology
    write = board.write
    pools = [
        {"a": {"backends": ["http://h:1"], "health": {"kind": "none"}, "panic": 0.1}},
        {"b": {"backends": ["http://h:1"], "health": {"kind": "none"}}},
    ]

    async def late(*args: Any, **more: Any) -> Any:
        topology.apply(Settings(pools=pools.pop(0)))
        return await write(*args, **more)

    monkeypatch.setattr(board, "write", late)

    assert (await post(plane, NEW)).status_code == 201
    assert (await post(plane, {**NEW, "id": "other"})).status_code == 404


async def test_one_that_was_gone_registers_anew(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its time lasts, the same again keeps the ETag; then it has another, for whoever takes it for gone."""
    board = plane.registrations._board
    first = await post(plane, {**NEW, "ttl": 30})
    again = await post(plane, {**NEW, "ttl": 30})
    await board.write(BEATS, "a/new", None)

    anew = await post(plane, {**NEW, "ttl": 30})

    assert first.headers["etag"] == again.headers["etag"] != anew.headers["etag"]


async def test_where_one_is_can_be_followed(plane: Plane) -> None:
    """Also where the id has brackets."""
    plane.registrations.networks = (ip_network("fd00::/8"),)

    response = await post(plane, {"url": "http://[fd00::1]:8000"})

    assert response.headers["location"] == f"{POOL}/%5Bfd00::1%5D:8000"
    assert (await plane.ask(response.headers["location"], headers=BEARER)).status_code == 200


async def test_conditions_on_several_lines(plane: Plane) -> None:
    """Are one list (RFC 9110 section 5.3); If-None-Match compares weakly (section 13.1.2)."""
    tag = (await post(plane, NEW)).headers["etag"]
    path = f"{POOL}/new"
    lines = [*BEARER.items(), ("if-match", '"77"'), ("if-match", tag)]
    assert (await plane.ask(path, "PATCH", lines, b'{"weight": 1}')).status_code == 200
    assert (await post(plane, NEW, **{"if-none-match": f"W/{tag}"})).status_code == 412
