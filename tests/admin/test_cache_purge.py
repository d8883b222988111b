"""POST /-/cache/purge: what it takes, what it says, and to whom. What a purge does is in tests/engine/caches."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from app.admin.cache import CachePurges
from app.engine.caches import Purge
from app.engine.caches.keys import Keys
from app.engine.caches.purges import Done
from app.engine.crew import Mate
from app.engine.state.board import BoardAway
from settings.cache import CacheSettings
from tests.support.plane import BEARER, TOKEN, Plane, problem

PATH = "/-/cache/purge"


class Asked:
    """Notes what is asked for."""

    reaches_all = True

    def __init__(self) -> None:
        self.purges: list[Purge] = []
        self.done = [Done(Mate("w1", "m", 1, 0.0), 2), Done(Mate("w2", "m", 2, 0.0), 3)]
        self.away = False

    async def purge(self, purges: list[Purge]) -> list[Done]:
        if self.away:
            raise BoardAway("for a test")
        self.purges = purges
        return self.done


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def plane(asked: Asked) -> Plane:
    plane = Plane(admin={"token": TOKEN})
    keys = {"api": Keys("api", CacheSettings(ignore_query=["utm_*"])), "web": Keys("web", CacheSettings())}
    plane.purges = CachePurges(keys, asked)  # type: ignore[arg-type]
    return plane


async def post(plane: Plane, said: Any) -> httpx.Response:
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    return await plane.ask(PATH, "POST", BEARER, content)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (
            {"url": "https://Example.org:443/a?utm_x=1&b=2"},
            [Purge("key", b"api https://example.org/a?b=2"), Purge("key", b"web https://example.org/a?utm_x=1&b=2")],
        ),
        ({"url": "http://h:8080", "group": "api"}, [Purge("key", b"api http://h:8080/")]),
        (
            {"url": ["http://h/1", "http://h/2"], "group": "web", "soft": True},
            [Purge("key", b"web http://h/1", soft=True), Purge("key", b"web http://h/2", soft=True)],
        ),
        ({"prefix": "https://H/a/", "group": "api"}, [Purge("prefix", b"api https://h/a/")]),
        ({"prefix": "https://h", "group": "api"}, [Purge("prefix", b"api https://h")]),
        ({"tag": "t"}, [Purge("tag", b"t")]),
        (
            {"tag": ["t", "u"], "group": "web", "soft": True},
            [Purge("tag", b"t", "web", soft=True), Purge("tag", b"u", "web", soft=True)],
        ),
        ({"all": True}, [Purge("prefix", b"api "), Purge("prefix", b"web ")]),
    ],
)
async def test_what_is_asked_for_is_purged(plane: Plane, asked: Asked, said: Any, wanted: list[Purge]) -> None:
    response = await post(plane, said)

    assert response.status_code == 200, response.text
    assert asked.purges == wanted


async def test_the_answer_says_how_many_and_who(plane: Plane, asked: Asked) -> None:
    response = await post(plane, {"all": True})

    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "responses": 5,
        "soft": False,
        "everywhere": True,
        "workers": [
            {"worker": "w1", "machine": "m", "pid": 1, "state": "purged", "responses": 2},
            {"worker": "w2", "machine": "m", "pid": 2, "state": "purged", "responses": 3},
        ],
    }


async def test_a_worker_that_is_silent_makes_it_a_202(plane: Plane, asked: Asked) -> None:
    asked.done[1] = Done(asked.done[1].worker, None)
    response = await post(plane, {"all": True})

    assert response.status_code == 202
    assert response.json()["everywhere"] is False
    assert response.json()["workers"][1]["state"] == "silent"


async def test_others_that_cannot_be_reached_are_a_503(plane: Plane, asked: Asked) -> None:
    asked.away = True
    response = await post(plane, {"all": True})

    assert response.status_code == 503
    assert "here, and nowhere else" in problem(response)["detail"]


@pytest.mark.parametrize(
    ("said", "status", "wrong"),
    [
        (b"", 400, ""), (b"{", 400, ""), (b"[]", 422, ""), ({}, 422, "say one of"), ({"all": False}, 422, "say one of"),
        ({"url": "https://h/", "tag": "t"}, 422, "say one of"), ({"url": [], "tag": []}, 422, "say one of"),
        ({"url": ""}, 422, "url"), ({"url": 1}, 422, "url"), ({"url": [1]}, 422, "url"), ({"url": {}}, 422, "url"),
        ({"url": "/a"}, 422, "not a URL"), ({"url": "ftp://h/"}, 422, "not a URL"),
        ({"url": "http://"}, 422, "not a URL"), ({"url": "http://u@h/"}, 422, "not a URL"),
        ({"url": "http://h/#x"}, 422, "not a URL"),
        ({"url": "http://[::1/"}, 422, "not a URL"), ({"prefix": "h/"}, 422, "not a URL"),
        ({"url": "http://h/a b"}, 422, "percent"), ({"url": "http://h/\u00e4"}, 422, "percent"),
        ({"url": "http://\ud800/"}, 400, ""), ({"url": "http://\u00e4/"}, 422, "percent"),
        ({"url": "http://h/\x00"}, 422, "percent"), ({"tag": "a b"}, 422, "percent"),
        ({"tag": "\u00e4"}, 422, "percent"),
        ({"tag": "t", "soft": 1}, 422, "soft"), ({"tag": "t", "nothing": 1}, 422, "nothing"),
        ({"tag": "t", "group": "none"}, 422, "no cache"), (b'{"tag": "' + b"x" * 5000 + b'"}', 413, "more than"),
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(plane: Plane, asked: Asked, said: Any, status: int, wrong: str) -> None:
    response = await post(plane, said)

    assert response.status_code == status, response.text
    assert wrong in problem(response)["detail"]
    assert asked.purges == []


async def test_only_who_has_the_token_may(plane: Plane, asked: Asked) -> None:
    for headers in ({}, {"authorization": "Bearer no"}):
        assert (await plane.ask(PATH, "POST", headers, b'{"all": true}')).status_code == 401
    assert (await plane.ask(PATH, "GET", BEARER)).status_code == 405
    assert (await Plane().ask(PATH, "POST", BEARER, b'{"all": true}')).status_code == 404
    assert asked.purges == []
