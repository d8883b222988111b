"""Consul's blocking queries, with the answers of its documentation."""

import asyncio
import logging
from typing import Any

import pytest

from app.engine.discovery.consul import Consul, ConsulOptions
from app.engine.discovery.source import SourceFailed
from tests.support.api import Api, Call, api, first, urls


def instance(name: str, address: str, port: int, **said: Any) -> dict[str, Any]:
    """One of `GET /v1/health/service/:service`."""
    return {
        "Node": {"ID": "40e4a748", "Node": "foobar", "Address": "10.1.10.12", "Datacenter": "dc1"},
        "Service": {
            "ID": name, "Service": "web", "Tags": ["primary"], "Address": address, "Port": port,
            "Weights": {"Passing": 10, "Warning": 1}, **said,
        },
        "Checks": [{"Node": "foobar", "CheckID": "service:web", "Status": "passing"}],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.discovery.consul.REST", 0.0)


def asking(there: Api, **options: Any) -> Consul:
    return Consul(ConsulOptions(**{"url": there.url, "service": "web", "timeout": 10.0, **options}), pool="web")


async def test_asks_again_from_where_it_was() -> None:
    """The answer comes when something changed, or after the wait, then with the index of before."""
    one = [instance("web1", "10.0.0.1", 8000)]
    two = [instance("web2", "", 8001, Weights=None), instance("x", "fd00::1", 80)]
    answers = iter([(5, one), (5, one), (9, two), (9, list[Any]())])

    async def serve(call: Call) -> None:
        index, listed = next(answers)
        await call.say(200, listed, X_Consul_Index=str(index))

    async with api(serve) as there:
        found = await first(asking(there, wait=30.0), 4)

    assert [urls(one) for one in found] == [
        ["http://10.0.0.1:8000"], ["http://10.0.0.1:8000"], ["http://10.1.10.12:8001", "http://[fd00::1]:80"], [],
    ]  # fmt: skip
    assert [one.weight for one in found[0]] == [10]
    assert [call.query.get("index") for call in there.calls] == [None, "5", "5", "9"]
    assert [call.query.get("wait") for call in there.calls] == [None, "30000ms", "30000ms", "30000ms"]
    assert {(call.path, call.query["passing"]) for call in there.calls} == {("/v1/health/service/web", "true")}


async def test_an_index_that_went_backwards_is_forgotten() -> None:
    """A server was restored from a snapshot; and one of 0 would not wait."""
    indexes = iter([7, 3, 0, 1, 2])

    async def serve(call: Call) -> None:
        await call.say(200, [], X_Consul_Index=str(next(indexes)))

    async with api(serve) as there:
        await first(asking(there), 5)

    assert [call.query.get("index") for call in there.calls] == [None, "7", None, "1", "1"]


async def test_says_who_we_are_and_what_we_want() -> None:
    async def serve(call: Call) -> None:
        await call.say(200, [], X_Consul_Index="1")

    async with api(serve) as there:
        await first(asking(there, token="t", tags="a,b", datacenter="dc2", service="we/b"))

    (call,) = there.calls
    assert call.fields["x-consul-token"] == "t"
    assert call.target == "/v1/health/service/we%2Fb?passing=true&tag=a&tag=b&dc=dc2"


async def test_a_question_may_wait_for_long() -> None:
    """Longer than any other answer may take, and no longer than it said."""

    async def serve(call: Call) -> None:
        if "index" in call.query:
            await asyncio.sleep(60)
        await call.say(200, [], X_Consul_Index="1")

    async with api(serve) as there:
        with pytest.raises(TimeoutError):
            await first(asking(there, timeout=0.1, wait=0.1), 2)

    assert len(there.calls) == 2


async def test_who_cannot_be_used_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(call: Call) -> None:
        broken = [instance("zero", "10.0.0.1", 0), instance("odd", "a b", 80), {}, instance("x", "10.0.0.2", 80)]
        await call.say(200, broken, X_Consul_Index="1")

    with caplog.at_level(logging.WARNING, "l7lb.sources"):
        async with api(serve) as there:
            assert [urls(one) for one in await first(asking(there))] == [["http://10.0.0.2:80"]]

    assert [record.getMessage().partition(" is left out")[0] for record in caplog.records] == [
        "pool web: foobar/zero", "pool web: foobar/odd", "pool web: an instance",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "index", "why"),
    [
        (403, b"ACL not found", "1", "status 403"),
        (200, {}, "1", "not an answer of Consul"),
        (200, [], "x", "not an answer of Consul"),
        (200, b"[", "1", "not JSON"),
    ],
)
async def test_what_is_no_answer(status: int, body: Any, index: str, why: str) -> None:
    async def serve(call: Call) -> None:
        await call.say(status, body, X_Consul_Index=index)

    async with api(serve) as there:
        with pytest.raises(SourceFailed, match=why):
            await first(asking(there))
