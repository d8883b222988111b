"""How long an exchange may take, as the settings and the client say it; and what the backend is told of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support import control
from tests.support.backend import Backend, read_all, reset, stall
from tests.support.server import Balancer, pool

CAREFUL = {"breaker__consecutive": "1", "breaker__min_requests": "1"}


@pytest.fixture(scope="module")
def second() -> Iterator[Backend]:
    """The other backend."""
    with Backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def settings(shared: Backend, second: Backend) -> dict[str, str]:
    """A pool for each case, each with the module's backend first."""
    said = {
        **pool("ms", shared, timeouts__header="X-Timeout-Ms", timeouts__total="20s"),
        **pool("grpc", shared, timeouts__header="grpc-timeout", timeouts__total="20s"),
        **pool("open", shared, timeouts__header="X-Timeout-Ms"),
        **pool("off", shared, timeouts__total="20s"),
        **pool("again", shared, second, strategy="first", timeouts__header="X-Timeout-Ms", timeouts__total="20s",
               timeouts__attempt="300ms", breaker__enabled="false"),
        **pool("hurry", shared, second, strategy="first", timeouts__header="X-Timeout-Ms", timeouts__total="20s",
               retry__attempts=1, **CAREFUL),
        **pool("total", shared, second, strategy="first", timeouts__total="300ms", retry__attempts=1, **CAREFUL),
    }  # fmt: skip
    names = sorted({key.split("__")[1].lower() for key in said})
    return {**said, **control.OPEN, "LB_ROUTES": "; ".join(f"/{name}={name}" for name in names)}


def milliseconds(backend: Backend) -> int:
    """What the backend was told with its last request."""
    return int(backend.requests[-1].get("x-timeout-ms") or 0)


@pytest.mark.parametrize("asked", [[], ["X-Timeout-Ms: 60000"], ["X-Timeout-Ms: soon"], ["X-Timeout-Ms: 0"]])
def test_the_backend_is_told_what_is_left(balancer: Balancer, backend: Backend, asked: list[str]) -> None:
    """Of the total, where the client does not want it earlier, or what it wants cannot be read."""
    assert balancer.get("/ms", *asked).status == 200
    assert 10_000 < milliseconds(backend) <= 20_000


@pytest.mark.parametrize("route", ["/ms", "/open"])
def test_a_client_may_want_it_earlier(balancer: Balancer, backend: Backend, route: str) -> None:
    """With a total and without; the least where it says it twice."""
    assert balancer.get(route, "X-Timeout-Ms: 9000").status == 200
    assert 5_000 < milliseconds(backend) <= 9_000
    assert balancer.get(route, "x-timeout-ms: 9000", "X-Timeout-Ms: 4000").status == 200
    assert 2_000 < milliseconds(backend) <= 4_000


def test_where_nobody_says_anything_nothing_is_told(balancer: Balancer, backend: Backend) -> None:
    assert balancer.get("/open").status == 200
    assert backend.requests[-1].all("x-timeout-ms") == []


def test_without_a_field_it_is_the_clients_own_affair(balancer: Balancer, backend: Backend) -> None:
    """What it sends goes on as it is."""
    assert balancer.get("/off", "X-Timeout-Ms: 7").status == 200
    assert backend.requests[-1].all("x-timeout-ms") == [b"7"]


@pytest.mark.parametrize(
    ("asked", "most"), [("5S", 5.0), ("4000m", 4.0), ("3000000u", 3.0), ("1H", 20.0), (None, 20.0)]
)
def test_as_grpc_writes_it(balancer: Balancer, backend: Backend, asked: str | None, most: float) -> None:
    """1 to 8 digits and a unit, in the smallest that has digits enough."""
    fields = [f"grpc-timeout: {asked}"] if asked else []

    assert balancer.get("/grpc", *fields, method="POST", body=b"x").status == 200

    told = backend.requests[-1].get("grpc-timeout") or ""
    found = re.fullmatch(r"(\d{1,8})u", told)
    assert found, told
    assert most / 2 < int(found[1]) / 1e6 <= most


def test_the_second_attempt_has_less(balancer: Balancer, backend: Backend, second: Backend) -> None:
    """What the first has taken is gone."""
    backend.play(read_all, stall)
    second.answer(b"second")

    assert balancer.get("/again").body == b"second"
    assert milliseconds(second) <= milliseconds(backend) - 300


def test_when_the_client_has_waited_long_enough(balancer: Balancer, backend: Backend, second: Backend) -> None:
    """504. The backend is not to blame: it was given 300 ms of 20 s."""
    backend.play(read_all, stall)

    response = balancer.get("/hurry/a", "X-Timeout-Ms: 300")

    assert response.status == 504
    assert "error=http_response_timeout" in (response.get("proxy-status") or "")
    assert balancer.record(lambda record: record["path"] == "/hurry/a")["total_ms"] >= 300
    assert [one["breaker"] for one in control.seen(balancer, "hurry")["backends"].values()] == ["closed", "closed"]
    assert control.idle(balancer, "hurry")


def test_when_the_total_is_over(balancer: Balancer, backend: Backend, second: Backend) -> None:
    """504. The backend had all of it, so it is."""
    second.answer(b"second")
    backend.play(read_all, stall)

    assert balancer.get("/total").status == 504
    assert balancer.get("/total").body == b"second"
    assert [one["breaker"] for one in control.seen(balancer, "total")["backends"].values()] == ["open", "closed"]


def test_no_attempt_begins_when_the_time_is_over(balancer: Balancer, backend: Backend, second: Backend) -> None:
    """The client wants it within 200 ms, and the first attempt has them."""
    backend.play(read_all, stall)
    second.answer(b"second")

    assert balancer.get("/again/late", "X-Timeout-Ms: 200").status == 504
    assert second.requests == []
    backend.play(read_all, reset)
    assert balancer.get("/again", "X-Timeout-Ms: 5000").body == b"second"
