"""Who spends too fast gets 429 and is told when to come back."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.support.backend import Backend
from tests.support.raw import request
from tests.support.server import Balancer, balancing, pool

KEYS = (f"key-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def settings(shared: Backend) -> dict[str, str]:
    """Each test spends under a key of its own; at three an hour nothing comes back meanwhile."""
    return {
        "LB_GROUPS__A__PATH": "/a", "LB_GROUPS__A__POOL": "main", "LB_GROUPS__A__LIMIT": "narrow",
        "LB_GROUPS__B__PATH": "/b", "LB_GROUPS__B__POOL": "main", "LB_GROUPS__B__LIMIT": "narrow",
        "LB_RATE_LIMIT__KIND": "token_bucket", "LB_RATE_LIMIT__RATE": "5/h", "LB_RATE_LIMIT__KEY": "header:x-key",
        "LB_LIMITS__NARROW__KIND": "token_bucket", "LB_LIMITS__NARROW__RATE": "2/h",
        "LB_LIMITS__NARROW__KEY": "header:x-key",
        "LB_ROUTES": "/free=main",
    }  # fmt: skip


def spend(balancer: Balancer, path: str, times: int, key: str) -> list[int]:
    return [balancer.get(path, f"X-Key: {key}").status for _ in range(times)]


def test_a_full_bucket_and_then_429(balancer: Balancer, backend: Backend) -> None:
    """Refused requests never reach a backend."""
    assert spend(balancer, "/free", 8, next(KEYS)) == [200] * 5 + [429] * 3
    assert len(backend.requests) == 5


def test_a_refusal_says_when(balancer: Balancer, backend: Backend) -> None:
    """Problem details, Retry-After in whole seconds (five an hour: one in 720 s), and the limit's fields."""
    key = next(KEYS)
    spend(balancer, "/free", 5, key)

    response = balancer.get("/free", f"X-Key: {key}")

    assert (response.status, response.get("content-type")) == (429, "application/problem+json")
    assert 1 <= int(response.get("retry-after") or 0) <= 720
    assert re.search(r";r=0\b", response.get("ratelimit") or "")
    assert re.search(r";q=5\b", response.get("ratelimit-policy") or "")


def test_each_answer_tells_what_is_left(balancer: Balancer, backend: Backend) -> None:
    key = next(KEYS)

    left = [re.search(r";r=(\d+)", balancer.get("/free", f"X-Key: {key}").get("ratelimit") or "") for _ in range(5)]

    assert [found and found[1] for found in left] == ["4", "3", "2", "1", "0"]


def test_keys_do_not_share(balancer: Balancer, backend: Backend) -> None:
    first, second = next(KEYS), next(KEYS)
    spend(balancer, "/free", 6, first)

    assert spend(balancer, "/free", 1, second) == [200]


def test_a_named_limiter_is_one_bucket_for_its_groups(balancer: Balancer, backend: Backend) -> None:
    """Two tokens between both groups, not two for each."""
    key = next(KEYS)

    assert [
        *spend(balancer, "/a", 1, key), *spend(balancer, "/b", 1, key), *spend(balancer, "/a", 1, key),
    ] == [200, 200, 429]  # fmt: skip


def test_unknown_paths_spend_too(balancer: Balancer, backend: Backend) -> None:
    """The limit of all stands before routing: guessing paths is not free."""
    assert spend(balancer, "/nowhere", 6, next(KEYS)) == [404] * 5 + [429]


def test_the_control_plane_is_never_limited(balancer: Balancer, backend: Backend) -> None:
    assert spend(balancer, "/-/live", 10, next(KEYS)) == [200] * 10


def test_by_default_clients_are_told_apart_by_address() -> None:
    """Two addresses of this machine have a bucket each."""
    with Backend() as backend, balancing(backend, rate_limit__kind="token_bucket", rate_limit__rate="2/h") as balancer:
        backend.answer(b"hi")
        assert [balancer.get("/").status for _ in range(3)] == [200, 200, 429]
        with balancer.client(source="127.0.0.2") as other:
            assert other.ask(request("/")).status == 200


def test_nobody_is_limited_by_default() -> None:
    with Backend() as backend, balancing(backend) as balancer:
        backend.answer(b"hi")
        responses = [balancer.get("/") for _ in range(150)]

    assert {200} == {response.status for response in responses}
    assert {None} == {response.get("ratelimit") for response in responses}


def test_a_dry_run_counts_and_refuses_nobody() -> None:
    with (
        Backend() as backend,
        balancing(
            backend, rate_limit__kind="token_bucket", rate_limit__rate="1/h", rate_limit__dry_run="true"
        ) as balancer,
    ):
        backend.answer(b"hi")
        assert [balancer.get("/").status for _ in range(5)] == [200] * 5


def test_an_invented_address_buys_no_bucket() -> None:
    """X-Forwarded-For of a peer that is not trusted is not believed: one client, one bucket."""
    with Backend() as backend, balancing(backend, rate_limit__kind="token_bucket", rate_limit__rate="2/h") as balancer:
        backend.answer(b"hi")
        statuses = [balancer.get("/", f"X-Forwarded-For: 203.0.113.{n}").status for n in range(4)]

    assert statuses == [200, 200, 429, 429]


def test_fixed_window() -> None:
    with (
        Backend() as backend,
        Balancer({
            "LB_ROUTES": "/=main", **pool("main", backend),
            "LB_RATE_LIMIT__KIND": "fixed_window", "LB_RATE_LIMIT__RATE": "3/d",
        }) as balancer,
    ):  # fmt: skip
        backend.answer(b"hi")
        assert [balancer.get("/").status for _ in range(4)] == [200, 200, 200, 429]
