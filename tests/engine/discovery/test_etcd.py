"""etcd's JSON gateway, with the answers that etcd 3 gives."""

import asyncio
import json
import logging
from base64 import b64decode, b64encode
from typing import Any

import pytest

from app.engine.discovery.etcd import Etcd, EtcdOptions
from app.engine.discovery.source import SourceFailed
from tests.support.api import Api, Call, api, first, urls


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


class Fake:
    """Keys and values, whose every change is a revision, and is told to who watches."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.revision = 7
        self.status = {"/v3/kv/range": 200, "/v3/watch": 200, "/v3/auth/authenticate": 200}
        self.lines: list[Any] = []
        self.watched = asyncio.Event()

    def put(self, **keys: str) -> None:
        self.keys |= {f"/l7lb/{name}": value for name, value in keys.items()}
        self.revision += 1

    async def serve(self, call: Call) -> None:
        if (status := self.status[call.path]) != 200:
            await call.say(status, {"error": "no", "code": 16})
        elif call.path == "/v3/kv/range":
            kvs = [{"key": b64(key), "mod_revision": "7", "value": b64(value)} for key, value in self.keys.items()]
            header = {"cluster_id": "1", "revision": str(self.revision)}
            await call.say(200, {"header": header, "count": str(len(kvs)), **({"kvs": kvs} if kvs else {})})
        elif call.path == "/v3/auth/authenticate":
            await call.say(200, {"header": {}, "token": "secret.9"})
        else:
            await call.stream()
            await call.chunk({"result": {"header": {"revision": "7"}, "created": True}})
            while self.lines:
                await self.watched.wait()
                await call.chunk(self.lines.pop(0))
                await asyncio.sleep(0.2)  # so that they are not one change
            await asyncio.sleep(60)


def reading(there: Api, **options: Any) -> Etcd:
    return Etcd(EtcdOptions(**{"url": there.url, "prefix": "/l7lb/", "timeout": 10.0, **options}), pool="web")


EVENT = {"result": {"header": {}, "events": [{"kv": {"key": b64("/l7lb/b")}}, {"type": "DELETE", "kv": {}}]}}


async def test_reads_all_keys_and_reads_them_again_after_an_event() -> None:
    """The watch begins behind the revision that was read, so nothing is missed in between."""
    fake = Fake()
    fake.put(a="http://10.0.0.1:8000|weight=2", b='{"url": "http://10.0.0.2:8000", "level": 1}', c="http://c|id=own")
    fake.lines = [EVENT]
    async with api(fake.serve) as there:
        answers = reading(there)
        iterator = aiter(answers)
        before = await anext(iterator)
        fake.put(d="http://10.0.0.4:8000")
        del fake.keys["/l7lb/a"]
        fake.watched.set()
        after = await asyncio.wait_for(anext(iterator), 10)
        await iterator.aclose()  # type: ignore[attr-defined]

    assert sorted((one.id, one.url, one.weight, one.level) for one in before) == [
        ("a", "http://10.0.0.1:8000", 2, 0),
        ("b", "http://10.0.0.2:8000", 1, 1),
        ("own", "http://c", 1, 0),
    ]
    assert sorted(one.id for one in after) == ["b", "d", "own"]
    read, watch, again = (json.loads(call.body) for call in there.calls)
    assert (b64decode(read["key"]), b64decode(read["range_end"])) == (b"/l7lb/", b"/l7lb0")
    assert again == read
    assert watch == {"create_request": {**read, "start_revision": "9"}}
    assert {call.method for call in there.calls} == {"POST"}


@pytest.mark.parametrize(("prefix", "end"), [("a", b"b"), ("a\u00ff", b"a\xc3\xc0"), ("/web/", b"/web0")])
async def test_the_end_of_a_prefix(prefix: str, end: bytes) -> None:
    fake = Fake()
    async with api(fake.serve) as there:
        await first(reading(there, prefix=prefix))

    assert b64decode(json.loads(there.calls[0].body)["range_end"]) == end


async def test_a_revision_that_is_gone_makes_it_begin_anew() -> None:
    """It was compacted away; so does silence."""
    fake = Fake()
    fake.lines = [{"result": {"canceled": True, "compact_revision": "20"}}]
    fake.watched.set()
    async with api(fake.serve) as there:
        await first(reading(there), 2)
        fake.lines = []
        await first(reading(there, interval=0.01), 2)

    assert [call.path.rpartition("/")[2] for call in there.calls] == ["range", "watch"] * 4


async def test_says_who_we_are() -> None:
    fake = Fake()
    async with api(fake.serve) as there:
        await first(reading(there, user="lb", password="p"))
        await first(reading(there, token="own"))

    assert json.loads(there.calls[0].body) == {"name": "lb", "password": "p"}
    assert [call.fields.get("authorization") for call in there.calls] == [None, *["secret.9"] * 2, *["own"] * 2]


async def test_who_cannot_be_used_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    fake = Fake()
    fake.put(a="http://a", b="{", c="b:80", d='{"url": "http://d", "weight": -1}', e="\0", f="http://f|colour=red")
    with caplog.at_level(logging.WARNING, "l7lb.sources"):
        async with api(fake.serve) as there:
            assert [urls(one) for one in await first(reading(there))] == [["http://a"]]

    assert [str(record.args[1]) for record in caplog.records if isinstance(record.args, tuple)] == [
        f"/l7lb/{name}" for name in "bcdef"
    ]


@pytest.mark.parametrize("path", ["/v3/kv/range", "/v3/watch", "/v3/auth/authenticate"])
async def test_an_api_that_says_no(path: str) -> None:
    fake = Fake()
    fake.status[path] = 401
    async with api(fake.serve) as there:
        with pytest.raises(SourceFailed, match="status 401"):
            await first(reading(there, user="lb"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"error": {"grpc_code": 14, "message": "no leader"}}, "the watch failed"),
        ([], "the watch failed"),
        (b"{\n", "not JSON"),
    ],
)
async def test_a_watch_that_fails(line: Any, why: str) -> None:
    fake = Fake()
    fake.lines = [line]
    fake.watched.set()
    async with api(fake.serve) as there:
        with pytest.raises(SourceFailed, match=why):
            await first(reading(there), 2)


@pytest.mark.parametrize("said", [[], {}, {"header": {"revision": "x"}}, {"header": {"revision": "1"}, "kvs": [{}]}])
async def test_what_is_no_answer(said: Any) -> None:
    async def serve(call: Call) -> None:
        await call.say(200, said)

    async with api(serve) as there:
        with pytest.raises(SourceFailed, match="not an answer of etcd"):
            await first(reading(there))
        with pytest.raises(SourceFailed, match="not an answer of etcd"):
            await first(reading(there, user="lb"))


async def test_a_watch_that_ends() -> None:
    async def serve(call: Call) -> None:
        if call.path == "/v3/watch":
            await call.stream()
            await call.write(b"0\r\n\r\n")
        else:
            await call.say(200, {"header": {"revision": "1"}})

    async with api(serve) as there:
        with pytest.raises(SourceFailed, match="the stream of events ended"):
            await first(reading(there), 2)
