"""Backends whose answers show that they fail: who is left out, for how long, and what is said about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import pytest

from tests.support import control
from tests.support.backend import Backend, Connection, Request, answers, read_all, reply, reset, stall
from tests.support.raw import request
from tests.support.server import Balancer, pool
from tests.support.until import until

DOWN = reply(b"down", status="503 No")
LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
"""What becomes better is told at level INFO, which Python does not show by itself."""


class Moody(Backend):
    """A backend that is down until it is well."""

    def __init__(self) -> None:
        self.well = False
        super().__init__(answers(lambda _: reply(b"well") if self.well else DOWN))


def as_asked(asked: Request) -> bytes:
    """The status that is the last part of the path."""
    return reply(b"", status=f"{asked.target.rpartition(b'/')[2].decode()} As asked")


async def slow(c: Connection) -> None:
    """Takes longer than its pool likes."""
    while True:
        await c.head()
        await asyncio.sleep(0.02)
        await c.send(reply(b"slow"))


def every_second() -> Callable[[Request], bytes]:
    """Down and well in turn."""
    turns = [False]

    def answer(_: Request) -> bytes:
        turns[0] = not turns[0]
        return DOWN if turns[0] else reply(b"half")

    return answer


@pytest.fixture(scope="module")
def backends(driver: str) -> Iterator[dict[str, Backend]]:
    """By what they are like; some are known to a pool under several names."""
    made: dict[str, Backend] = {
        "well": Backend(answers(reply(b"well"))),
        "down": Backend(answers(DOWN)),
        "moody": Moody(),
        "panicking": Moody(),
        "reset": Backend(read_all, reset),
        "silent": Backend(read_all, stall),
        "refusing": Backend(),
        "asked": Backend(answers(as_asked)),
        "half": Backend(answers(every_second())),
        "slow": Backend(slow),
    }
    made["refusing"].stop()
    yield made
    for backend in made.values():
        backend.stop()


@pytest.fixture(scope="module")
def balancer(driver: str, backends: dict[str, Backend], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """A pool for each case, whose backends are a, b and so on; one attempt a request, so that its answer is seen."""
    quick = {"breaker__ejection": "300ms", "breaker__jitter": "0"}
    hasty = {"breaker__slow": "5ms", "breaker__min_requests": "5", "breaker__max_ejected": "1"}
    pools: dict[str, tuple[str, dict[str, str]]] = {
        "cycle": ("moody well", quick),
        "reset": ("reset well", {"breaker__consecutive": "3"}),
        "silent": ("silent well", {"breaker__consecutive": "3", "timeouts__response": "100ms"}),
        "refusing": ("refusing well", {"breaker__consecutive": "3"}),
        "asked": ("asked well", {"breaker__min_requests": "5"}),
        "wide": ("asked well", {"breaker__status": "500-599"}),
        "left": ("silent well", {"strategy": "first", "breaker__consecutive": "1", "breaker__min_requests": "1"}),
        "share": ("half well", {}),
        "single": ("down", {}),
        "crawling": ("slow", hasty),
        "sluggish": ("slow slow", hasty),
        "two": ("down " * 2, {}),
        "three": ("down " * 3, {}),
        "four": ("down " * 4, {}),
        "panic": ("panicking " * 3, {**quick, "breaker__max_ejected": "1"}),
    }
    settings = {"LB_ROUTES": "; ".join(f"/{name}={name}" for name in pools), **control.OPEN}
    for name, (members, said) in pools.items():
        urls = ",".join(f"{backends[one].url}|id={i}" for one, i in zip(members.split(), "abcd", strict=False))
        settings |= pool(name, backends=urls, retry__attempts=1, **said)
    log = tmp_path_factory.mktemp("log") / "log.json"
    log.write_text(json.dumps(LOG))
    with Balancer(settings, "--log-config", str(log)) as running:
        yield running


def told(balancer: Balancer, name: str) -> list[str]:
    """What was said about a pool, without what stands in front of it."""
    lines = [line.partition(f"pool {name}: ")[2].strip() for line in balancer.stderr.splitlines()]
    return [line for line in lines if line]


def statuses(balancer: Balancer, path: str, count: int) -> list[int]:
    return [balancer.get(path).status for _ in range(count)]


def asking(balancer: Balancer, path: str, condition: Callable[[], bool], what: str) -> None:
    """Ask on and on until it is so: what time brings is seen with the next request."""
    until(lambda: condition() or balancer.get(path).status == 0, what)


def test_a_backend_that_fails_is_left_out_and_tried_again(balancer: Balancer, backends: dict[str, Backend]) -> None:
    """
    Five failures in a row, then nothing for a while, then three requests that find out; if one fails, for longer.

    Traefik 3590: the log and the API say by name which one it is, why, and for how long.
    """
    moody = backends["moody"]
    assert isinstance(moody, Moody)
    assert sorted(statuses(balancer, "/cycle", 10)) == [200] * 5 + [503] * 5
    shown = control.seen(balancer, "cycle")["backends"]
    assert (shown["a"]["breaker"], shown["a"]["available"]) == ("open", False)
    assert shown["a"]["absence"].startswith("ejected: consecutive_failures until 0s")
    assert shown["a"]["ejections"] == {"consecutive_failures": 1}
    assert shown["b"]["absence"] == ""
    first = ["backend a is ejected for 0.3s: 5 failures in a row"]
    again = ["backend a is back: half-open", "backend a is ejected for 0.6s: failed again"]
    assert told(balancer, "cycle")[:1] == first

    asking(balancer, "/cycle", lambda: told(balancer, "cycle") == first + again, "it to fail again")
    assert len(moody.requests) == 6, "one was enough"
    moody.well = True
    asking(balancer, "/cycle", lambda: len(told(balancer, "cycle")) == 5, "it to be back")

    assert told(balancer, "cycle")[3:] == ["backend a is back: half-open", "backend a is back: closed"]
    assert len(moody.requests) >= 9, "three have found out"
    reached = len(moody.requests)
    assert statuses(balancer, "/cycle", 10) == [200] * 10
    assert len(moody.requests) == reached + 5
    shown = control.seen(balancer, "cycle")["backends"]["a"]
    assert (shown["breaker"], shown["ejections"]) == ("closed", {"consecutive_failures": 2})


@pytest.mark.parametrize("failure", ["reset", "silent", "refusing"])
def test_no_answer_is_a_failure(balancer: Balancer, failure: str) -> None:
    """However there is none."""
    asking(balancer, f"/{failure}", lambda: told(balancer, failure) != [], "it to be ejected")

    (line,) = told(balancer, failure)
    assert line.startswith("backend a is ejected")
    assert line.endswith("3 failures in a row")
    assert statuses(balancer, f"/{failure}", 10) == [200] * 10


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_an_answer_is_no_failure(balancer: Balancer, status: int) -> None:
    """A client's mistakes are its own; 500 is one only where the settings say so."""
    assert sorted(statuses(balancer, f"/asked/{status}", 40)) == sorted([status, 200] * 20)
    assert told(balancer, "asked") == []


def test_500_where_the_settings_say_so(balancer: Balancer) -> None:
    assert sorted(statuses(balancer, "/wide/500", 10)) == [200] * 5 + [500] * 5
    assert statuses(balancer, "/wide/500", 10) == [200] * 10


def test_a_client_that_goes_away_is_no_failure(balancer: Balancer, backends: dict[str, Backend]) -> None:
    """However many of them go."""
    before = len(backends["silent"].requests)
    for number in range(8):
        client = balancer.client()
        client.send(request(f"/left/{number}"))
        until(lambda n=number: len(backends["silent"].requests) > before + n, "the request to arrive")  # type: ignore[misc]
        client.reset()
        balancer.record(lambda record, n=number: record["path"] == f"/left/{n}")  # type: ignore[misc]

    assert told(balancer, "left") == []
    assert control.seen(balancer, "left")["backends"]["a"]["available"]
    assert control.idle(balancer, "left")


def test_a_share_of_failures(balancer: Balancer) -> None:
    """Half of twenty, though never two in a row."""
    statuses(balancer, "/share", 42)

    (line,) = told(balancer, "share")
    assert line.startswith("backend a is ejected")
    assert line.endswith(("10 of 20 failed", "11 of 21 failed"))
    assert statuses(balancer, "/share", 10) == [200] * 10


def test_a_single_backend_is_never_left_out(balancer: Balancer) -> None:
    """There is nobody else, and its answer is better than ours (frankendeploy 94); slow is not dead."""
    assert {balancer.get("/single").body for _ in range(40)} == {b"down"}
    assert {balancer.get("/crawling").body for _ in range(10)} == {b"slow"}
    assert told(balancer, "single") + told(balancer, "crawling") == []


def test_a_slow_one_is_left_out_but_not_the_last(balancer: Balancer) -> None:
    """Slowness alone never empties a pool, whatever share of it may be ejected."""
    assert statuses(balancer, "/sluggish", 24) == [200] * 24

    (line,) = told(balancer, "sluggish")
    assert line.endswith("slow")
    shown = control.seen(balancer, "sluggish")["backends"].values()
    assert sorted(backend["breaker"] for backend in shown) == ["closed", "open"]


@pytest.mark.parametrize(("name", "ejected"), [("two", 1), ("three", 1), ("four", 2)])
def test_half_of_a_pool_at_most(balancer: Balancer, name: str, ejected: int) -> None:
    """Counted with the one that is to go (envoy 26877, 27066): of all that fail, so many; the others are asked on."""
    assert {balancer.get(f"/{name}").body for _ in range(60)} == {b"down"}
    assert len(told(balancer, name)) == ejected
    shown = control.seen(balancer, name)
    assert [backend["breaker"] for backend in shown["backends"].values()].count("open") == ejected
    assert not shown["panic"]


def test_a_panic_is_told(balancer: Balancer, backends: dict[str, Backend]) -> None:
    """When so few are left that they could not bear it, all are used; and when that is over it is told, too."""
    moody = backends["panicking"]
    assert isinstance(moody, Moody)
    asking(balancer, "/panic", lambda: "panic: 1 of 3 available" in told(balancer, "panic"), "a panic")
    shown = control.seen(balancer, "panic")
    assert (shown["panic"], shown["available"]) == (True, 3)
    moody.well = True

    asking(balancer, "/panic", lambda: not control.seen(balancer, "panic")["panic"], "its end")

    assert any(line.startswith("panic is over: ") for line in told(balancer, "panic"))
    asking(
        balancer, "/panic",
        lambda: all(one["breaker"] == "closed" for one in control.seen(balancer, "panic")["backends"].values()),
        "all to be back",
    )  # fmt: skip
    for n in range(3):
        balancer.get(f"/panic/{n}")
    used = {balancer.record(lambda record, n=n: record["path"] == f"/panic/{n}")["backend"] for n in range(3)}  # type: ignore[misc]
    assert used == {"a", "b", "c"}
