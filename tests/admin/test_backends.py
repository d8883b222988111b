"""Backends changed at run time: drained and back, another weight, gone."""

from __future__ import annotations

import json
import logging
from math import inf
from time import monotonic
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from app.admin.answers import Refusal
from app.admin.backends import Backends
from app.admin.body import LONGEST
from tests.support.plane import BEARER, TOKEN, Plane, problem

BACKEND = "/-/pools/a/backends/h:1"
ALL = ["GET", "HEAD", "PATCH", "DELETE"]


@pytest.fixture
def plane() -> Plane:
    return Plane(admin={"token": TOKEN})


async def patch(plane: Plane, said: Any, path: str = BACKEND) -> httpx.Response:
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return await plane.ask(path, "PATCH", BEARER, content)


async def listed(plane: Plane) -> list[dict[str, Any]]:
    """The pool's backends, as /pools has them."""
    found: list[dict[str, Any]] = (await plane.ask("/-/pools", headers=BEARER)).json()["a"]["backends"]
    return found


async def test_one_backend_is_shown_as_among_all(plane: Plane) -> None:
    found = [(await plane.ask(f"/-/pools/a/backends/{name}", headers=BEARER)).json() for name in ("h:1", "idle")]

    assert found == await listed(plane)
    assert (await plane.ask("/-/pools/a/backends/h%3A1", headers=BEARER)).json() == found[0]


async def test_drain_and_undrain(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """The next pick knows; the log says who did what; and twice is once."""
    pool = plane.control.topology.pools["a"]
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            response = await patch(plane, {"draining": True})
            assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
            assert (response.json()["draining"], response.json()["absence"]) == (True, "draining")
            assert response.json() == (await listed(plane))[0]
            assert pool.available == ()

        for _ in range(2):
            assert (await patch(plane, {"draining": False})).json()["absence"] == ""
            assert pool.available == pool.backends[:1]

    assert "pool a: backend h:1 now has weight 1, draining" in caplog.messages
    assert "pool a: backend h:1 now has weight 1" in caplog.messages


@pytest.mark.parametrize(("weight", "absence"), [(0, "weight 0"), (1, ""), (65535, "")])
async def test_a_weight(plane: Plane, weight: int, absence: str) -> None:
    """What is not said stays."""
    pool = plane.control.topology.pools["a"]
    await patch(plane, {"draining": True}, "/-/pools/a/backends/idle")

    found = (await patch(plane, {"weight": weight})).json()

    assert (found["weight"], found["absence"], found["draining"]) == (weight, absence, False)
    assert len(pool.available) == bool(weight)
    other = (await patch(plane, {"weight": weight}, "/-/pools/a/backends/idle")).json()
    assert (other["weight"], other["draining"]) == (weight, True)


async def test_a_drain_with_a_deadline(plane: Plane) -> None:
    """Seconds from now, after which no cookie keeps a client there; said without one, there is none any more."""
    (backend, *_) = plane.control.topology.pools["a"].backends
    for said, seconds in (({"draining": True, "deadline": 60}, 60.0), ({"draining": True}, inf)):
        before = monotonic()
        assert (await patch(plane, said)).status_code == 200
        assert before + seconds <= backend.let_go <= monotonic() + seconds


async def test_both_at_once_and_nothing(plane: Plane) -> None:
    found = (await patch(plane, {"weight": 7, "draining": True})).json()

    assert (found["weight"], found["draining"]) == (7, True)
    assert (await patch(plane, {})).json() == found


WRONG = [
    (422, {"weight": -1}, "weight"), (422, {"weight": 65536}, "weight"), (422, {"weight": "2"}, "weight"),
    (422, {"weight": 1.5}, "weight"), (422, {"weight": True}, "weight"), (422, {"weight": None}, "weight"),
    (422, {"draining": "yes"}, "draining"), (422, {"draining": None}, "draining"), (422, {"drain": True}, "drain"),
    (422, {"deadline": 5}, ""), (422, {"draining": True, "deadline": -1}, "deadline"),
    (422, {"weight": 2, "id": "b"}, "id"), (422, [], ""), (422, "x", ""), (422, None, ""),
    (400, b"", ""), (400, b"{", ""), (422, b'{"weight": NaN}', "weight"), (400, b"\xff", ""), (400, b"[" * LONGEST, ""),
    (413, b" " * LONGEST + b"{}", None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "at"), WRONG, ids=lambda value: str(value)[:30])
async def test_what_is_wrong_changes_nothing(plane: Plane, status: int, said: Any, at: str | None) -> None:
    """Not even what is right of it."""
    before = await listed(plane)

    response = await patch(plane, said)

    assert response.status_code == status
    found = problem(response)
    if at is not None:
        (wrong,) = found["errors"]
        assert wrong["at"] == at
        assert wrong["message"] in found["detail"]
    assert await listed(plane) == before


async def test_every_mistake_is_named(plane: Plane) -> None:
    found = problem(await patch(plane, {"weight": -1, "draining": 1}))

    assert [wrong["at"] for wrong in found["errors"]] == ["weight", "draining"]
    assert "weight: " in found["detail"]
    assert "draining: " in found["detail"]


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/-/pools/b/backends/h:1", "there is no pool b"),
        ("/-/pools/a/backends/h:9", "pool a has no backend h:9"),
        ("/-/pools/a/backends/%22%7f", 'pool a has no backend "\x7f'),
        ("/-/pools/a/backends/", "the control plane has no /-/pools/a/backends/"),
        ("/-/pools/a/backends/h:1/x", "the control plane has no /-/pools/a/backends/h:1/x"),
        ("/-/pools/a", "the control plane has no /-/pools/a"),
    ],
)
async def test_what_is_not_there_is_a_404(plane: Plane, method: str, path: str, detail: str) -> None:
    """Whatever is said of it."""
    response = await plane.ask(path, method, BEARER, b"{" if method == "PATCH" else None)

    assert response.status_code == 404
    if method != "HEAD":
        assert problem(response)["detail"] == detail


@pytest.mark.parametrize("method", ALL)
async def test_it_takes_the_token(plane: Plane, method: str) -> None:
    """And where there is none in the settings, nothing is there."""
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert (await plane.ask(BACKEND, method, headers, b'{"draining": true}')).status_code == 401
    assert (await Plane().ask(BACKEND, method, BEARER, b'{"draining": true}')).status_code == 404
    assert not any(backend["draining"] for backend in await listed(plane))


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "BREW"])
async def test_another_method_is_a_405(plane: Plane, method: str) -> None:
    response = await plane.ask(BACKEND, method, BEARER)

    assert response.status_code == 405
    assert {part.strip() for part in response.headers["allow"].split(",")} == set(ALL)
    problem(response)


async def test_one_that_was_drained_is_removed(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    """It is nowhere any more."""
    pool = plane.control.topology.pools["a"]
    await patch(plane, {"draining": True})
    with caplog.at_level(logging.INFO):
        response = await plane.ask(BACKEND, "DELETE", BEARER)

    assert (response.status_code, response.content) == (204, b"")
    assert [backend["id"] for backend in await listed(plane)] == ["idle"]
    assert [backend.id for backend in pool.backends] == ["idle"]
    assert (await plane.ask(BACKEND, "DELETE", BEARER)).status_code == 404
    assert "pool a: backend h:1 is removed" in caplog.messages


@pytest.mark.parametrize(("draining", "in_flight"), [(False, 0), (False, 1), (True, 1)])
async def test_one_that_is_needed_is_not_removed(plane: Plane, draining: bool, in_flight: int) -> None:
    """Whoever takes requests, or has some, stays; 409 says what to wait for."""
    backend = plane.control.topology.pools["a"].backends[0]
    backend.draining, backend.in_flight = draining, in_flight

    response = await plane.ask(BACKEND, "DELETE", BEARER)

    assert response.status_code == 409
    found = problem(response)
    assert ("retry-after" in response.headers) == draining == (found.get("in_flight") == 1)
    assert ("draining" in found["detail"], len(await listed(plane))) == (True, 2)


async def test_one_that_goes_while_the_body_comes_is_a_404(plane: Plane) -> None:
    """It was there when the head came."""
    topology = plane.control.topology
    scope = {
        "type": "http", "method": "PATCH", "path": BACKEND, "headers": [], "query_string": b"",
        "path_params": {"pool": "a", "backend": "h:1"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        topology.remove(topology.pools["a"].backends[0])
        return {"type": "http.request", "body": b"{}"}

    with pytest.raises(Refusal, match="pool a has no backend h:1"):
        await Backends(topology, plane.registrations).answer(Request(scope, receive))


async def test_a_body_that_breaks_off_changes_nothing(plane: Plane) -> None:
    """Nor is it a defect of ours."""
    scope = {
        "type": "http", "method": "PATCH", "path": BACKEND, "headers": [], "query_string": b"",
        "path_params": {"pool": "a", "backend": "h:1"},
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": b"{}", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    with pytest.raises(Refusal, match="the body did not come to its end"):
        await Backends(plane.control.topology, plane.registrations).answer(Request(scope, receive))
