"""Purges, asked of one of two workers: both forget, whatever the store, and what was on its way does not come back."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from tests.support.backend import Backend, Gate, Request, answers, pause, read_all, reply, send
from tests.support.control import OPEN, TOKEN
from tests.support.raw import Client, Response, request
from tests.support.redis_server import RedisServer
from tests.support.server import Balancer, pool
from tests.support.supervised import several
from tests.support.until import until

FRESH = "Cache-Control: max-age=3600"
names = itertools.count(1)
HERE = "http://lb.test"
"""Where the tests' requests go, as their Host says."""


class Worker:
    """Kept connections to one worker: one for its clients, one for its control plane."""

    def __init__(self, name: str, client: Client, control: Client) -> None:
        self.id = name
        self.client = client
        self._control = control

    def purge(self, **said: Any) -> Answer:
        return asked(self._control, "cache/purge", said)

    def get(self, path: str, *fields: str) -> Response:
        return self.client.ask(request(path, *fields))


def asked(client: Client, path: str, said: Any = None) -> Answer:
    body = None if said is None else json.dumps(said).encode()
    method = "GET" if said is None else "POST"
    return Answer(client.ask(request(f"/-/{path}", f"Authorization: Bearer {TOKEN}", method=method, body=body)))


class Answer:
    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.json: Any = json.loads(response.body)


def counting(*fields: str) -> Callable[[Request], bytes]:
    """Answers with a number, which rises with each request."""
    count = itertools.count(1)
    return lambda asked: reply(b"answer %d" % next(count), *fields)


class Pair(NamedTuple):
    """Two workers in front of a backend; *shared*: with one store."""

    backend: Backend
    balancer: Balancer
    one: Worker
    two: Worker
    shared: bool


@contextmanager
def pair_of(backend: Backend, settings: dict[str, str]) -> Iterator[Pair]:
    """Two workers, and two connections to each."""
    said = {
        **pool("main", backend), **OPEN, **settings,
        "LB_GROUPS__ALL__POOL": "main", "LB_GROUPS__ALL__CACHE": "default",
    }  # fmt: skip
    with Balancer(said, *several(2)) as balancer, ExitStack() as stack:
        found: dict[str, list[Client]] = {}

        def all_found() -> bool:
            client = stack.enter_context(balancer.client())
            found.setdefault(asked(client, "reload").json["worker"]["id"], []).append(client)
            return len(found) == 2 and min(map(len, found.values())) > 1

        until(all_found, "two connections to each of two workers")
        one, two = (Worker(name, *clients[:2]) for name, clients in found.items())
        yield Pair(backend, balancer, one, two, bool(settings))


@pytest.fixture(scope="module", params=["memory", "disk", "redis"])
def pair(
    driver: str, shared: Backend, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """With a store of each kind."""
    if driver == "direct":
        pytest.skip("how requests are carried makes no difference here")
    name, directory = "LB_CACHES__DEFAULT", tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        settings = {}
        if request.param == "disk":
            settings = {f"{name}__KIND": "disk", f"{name}__DIRECTORY": str(directory / "cache")}
        elif request.param == "redis":
            server = stack.enter_context(RedisServer(directory))
            settings = {f"{name}__KIND": "redis", f"{name}__URL": server.url, f"{name}__TIMEOUT": "2s"}
        yield stack.enter_context(pair_of(shared, settings))


@pytest.fixture
def path() -> str:
    """One that no test has had before."""
    return f"/{next(names)}"


def stored(worker: Worker, path: str) -> bytes:
    """What the worker has stored there, asked for until it is."""

    def is_stored() -> bytes | None:
        response = worker.get(path)
        return response.body if (response.get("cache-status") or "").startswith("l7lb; hit") else None

    found = until(is_stored, "a hit")
    assert found is not None
    return found


def test_both_workers_forget_what_one_is_told_to(pair: Pair, path: str) -> None:
    pair.backend.play(answers(counting(FRESH, "Cache-Tag: shop, p1")))
    url, one, two = HERE + path, pair.one, pair.two
    for said in ({"url": url}, {"prefix": url[:-1]}, {"tag": ["p1", "p2"]}, {"all": True, "group": "all"}):
        stored(one, path), stored(two, path)
        before = [one.get(path).body, two.get(path).body]

        purged = one.purge(**said)

        assert purged.status == 200, purged.json
        assert purged.json["everywhere"] is True
        assert {worker["worker"] for worker in purged.json["workers"]} == {one.id, two.id}
        assert purged.json["responses"] == (1 if pair.shared else 2)
        assert not {one.get(path).body, two.get(path).body} & set(before)


def test_what_is_not_meant_stays(pair: Pair, path: str) -> None:
    pair.backend.play(answers(counting(FRESH, "Surrogate-Key: shop p2")))
    stored(pair.one, path), stored(pair.two, path)
    before = pair.one.get(path).body, pair.two.get(path).body

    for said in ({"url": HERE + path + "?"}, {"prefix": HERE + path + "/"}, {"tag": "p"}, {"url": "https://lb.test/"}):
        assert pair.one.purge(**said).json["responses"] == 0

    assert (pair.one.get(path).body, pair.two.get(path).body) == before


def test_a_soft_purge_has_them_validated(pair: Pair, path: str) -> None:
    def answer(asked: Request) -> bytes:
        if asked.get("if-none-match") == '"1"':
            return reply(b"", 'ETag: "1"', FRESH, status="304 Not Modified").replace(b"Content-Length: 0\r\n", b"")
        return reply(b"body", 'ETag: "1"', FRESH)

    def conditions() -> list[str | None]:
        return [asked.get("if-none-match") for asked in pair.backend.requests]

    pair.backend.play(answers(answer))
    assert stored(pair.one, path) == stored(pair.two, path) == b"body"
    before = conditions()

    assert pair.one.purge(url=HERE + path, soft=True).json["soft"] is True

    assert pair.two.get(path).body == pair.one.get(path).body == b"body"
    after = conditions()
    assert before.count(None) == after.count(None)
    assert after.count('"1"') == (1 if pair.shared else 2)


@pytest.mark.parametrize("fetcher", [0, 1], ids=["by the one", "by the other"])
@pytest.mark.parametrize("headed", [False, True], ids=["before its head", "in its body"])
def test_a_fetch_from_before_a_purge_is_not_stored_after_it(pair: Pair, path: str, headed: bool, fetcher: int) -> None:
    """Nor does anybody join it any more."""
    old, gate = reply(b"old", FRESH, "Cache-Tag: t"), Gate()
    fresh = answers(reply(b"new", FRESH, "Cache-Tag: t"))
    steps = [send(old[:-1]), pause(gate), send(old[-1:])] if headed else [pause(gate), send(old)]
    backend, fetching, other = pair.backend.play(read_all, *steps, fresh), pair[2 + fetcher], pair[3 - fetcher]
    fetching.client.send(request(path))
    until(lambda: backend.requests and backend.connections[0].sent >= headed, "the fetch")
    backend.script = fresh  # of every other connection

    assert pair.one.purge(tag="t").json["everywhere"] is True

    assert other.get(path).body == b"new"
    with pair.balancer.client() as third, pair.balancer.client() as fourth:
        assert {third.ask(request(path)).body, fourth.ask(request(path)).body} == {b"new"}
    gate.open()
    assert fetching.client.response().body == b"old"
    assert fetching.get(path).body == b"new"
    assert other.get(path).body == b"new"


def test_who_cannot_tell_the_others_says_so(driver: str, start: Callable[..., Backend]) -> None:
    """LB_STATE=memory: workers that do not know each other."""
    if driver == "direct":
        pytest.skip("how requests are carried makes no difference here")
    with pair_of(start(), {"LB_STATE": "memory"}) as pair:
        purged = pair.one.purge(all=True)

        assert purged.status == 202
        assert purged.json["everywhere"] is False
