"""Docker's API on a unix socket, played byte by byte: the list as Docker gives it, and its stream of events."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.engine.discovery.docker import Docker, DockerOptions
from app.engine.discovery.source import Members, SourceFailed
from tests.support.api import Api, Call, api, eventually, first, urls


def container(name: str, address: str = "", *ports: int, **said: Any) -> dict[str, Any]:
    """One of `GET /containers/json`."""
    return {
        "Id": "8dfafdbc3a40",
        "Names": [f"/{name}"],
        "Image": "web:latest",
        "State": "running",
        "Ports": [{"PrivatePort": 53, "Type": "udp"}] + [{"PrivatePort": port, "Type": "tcp"} for port in ports] * 2,
        "Labels": {"l7lb.pool": "web", **said.pop("labels", {})},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": address, "GlobalIPv6Address": ""}}},
        **said,
    }


class Fake:
    """Says what *containers* holds, and streams what is put into *events*; None ends the stream."""

    def __init__(self) -> None:
        self.containers: Any = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.status = {"/events": 200, "/containers/json": 200}

    async def serve(self, call: Call) -> None:
        if (status := self.status[call.path]) != 200:
            await call.say(status, {"message": "no"})
        elif call.path == "/containers/json":
            await call.say(200, self.containers)
        else:
            await call.stream()
            while (event := await self.events.get()) is not None:
                await call.chunk(event)
            await call.write(b"0\r\n\r\n")

    def happen(self, *actions: str) -> None:
        for action in actions:
            self.events.put_nowait({"Type": "container", "Action": action, "Actor": {"ID": "8dfafdbc3a40"}})


Watched = tuple[Fake, Api, Callable[..., Docker]]


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Watched]:
    fake = Fake()
    async with api(fake.serve, path=tmp_path / "docker.sock") as there:
        yield (
            fake,
            there,
            lambda **options: Docker(DockerOptions(**{"url": there.url, "timeout": 10.0, **options}), pool="web"),
        )


@asynccontextmanager
async def following(source: Docker) -> AsyncIterator[list[Members]]:
    """What it has said so far."""
    found: list[Members] = []

    async def follow() -> None:
        async for members in source:
            found.append(members)  # noqa: PERF401  # it is looked at meanwhile

    task = asyncio.create_task(follow())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})


def filters(call: Call) -> Any:
    return json.loads(call.query["filters"])


async def test_lists_what_runs_with_the_label_of_the_pool(docker: Watched) -> None:
    """Its only port, or the one that its label says; its name is its id; the stream is there before the list."""
    fake, there, watching = docker
    fake.containers = [
        container("web-1", "172.17.0.2", 8000),
        container("web-2", "172.17.0.3", 8000, 9000, labels={"l7lb.port": "9000", "l7lb.weight": "3", "l7lb.id": "b"}),
        container("web-3", "172.17.0.4", labels={"l7lb.port": "443", "l7lb.scheme": "https", "l7lb.level": "1"}),
    ]

    (found,) = await first(watching())

    assert sorted((one.id, one.url, one.weight, one.level) for one in found) == [
        ("b", "http://172.17.0.3:9000", 3, 0),
        ("web-1", "http://172.17.0.2:8000", 1, 0),
        ("web-3", "https://172.17.0.4:443", 1, 1),
    ]
    assert [call.path for call in there.calls] == ["/events", "/containers/json"]
    events, containers = map(filters, there.calls)
    assert containers == {"label": ["l7lb.pool=web"], "status": ["running"]}
    assert (events["label"], events["type"]) == (["l7lb.pool=web"], ["container"])
    assert {"start", "die"} <= set(events["event"])


async def test_an_event_makes_it_list_anew(docker: Watched) -> None:
    """Several that come together make it list once: `compose up --scale` is a burst of them."""
    fake, there, watching = docker
    async with following(watching()) as found:
        await eventually(lambda: len(found) == 1)
        fake.containers = [container(f"web-{n}", f"172.17.0.{n}", 8000) for n in (2, 3, 4)]
        fake.happen(*["start"] * 20)
        await eventually(lambda: len(found) == 2)
        fake.containers = fake.containers[:1]
        fake.happen("die", "die")
        await eventually(lambda: len(found) == 3)

    assert [len(one) for one in found] == [0, 3, 1]
    assert len(there.calls) == 4


async def test_other_labels_networks_and_ports_by_option(docker: Watched) -> None:
    """So that a compose file needs no label of ours."""
    fake, there, watching = docker
    networks = {
        "back": {"IPAddress": "10.1.0.2", "GlobalIPv6Address": ""},
        "front": {"IPAddress": "10.2.0.2", "GlobalIPv6Address": ""},
        "six": {"IPAddress": "", "GlobalIPv6Address": "fd00::2"},
    }
    fake.containers = [container("web-1", NetworkSettings={"Networks": networks}, Labels=None, Ports=None)]
    label = "com.docker.compose.service=web"

    for options, expected in (
        ({}, "http://10.1.0.2:8000"),
        ({"network": "front"}, "http://10.2.0.2:8000"),
        ({"network": "six", "scheme": "https"}, "https://[fd00::2]:8000"),
    ):
        (found,) = await first(watching(label=label, port=8000, **options))
        assert urls(found) == [expected]
    assert filters(there.calls[-1])["label"] == [label]


async def test_who_cannot_be_used_is_left_out(docker: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The others are there all the same."""
    fake, _, watching = docker
    fake.containers = [
        container("well", "172.17.0.2", 8000),
        container("host"),
        container("many", "172.17.0.3", 1, 2),
        container("none", "172.17.0.4"),
        container("bad", "172.17.0.5", labels={"l7lb.port": "http"}),
        container("heavy", "172.17.0.6", 80, labels={"l7lb.weight": "much"}),
        {"Id": "x"},
        "x",
    ]
    with caplog.at_level(logging.WARNING, "l7lb.sources"):
        (found,) = await first(watching())

    assert urls(found) == ["http://172.17.0.2:8000"]
    said = [record.getMessage().removeprefix("pool web: ") for record in caplog.records]
    assert [line.partition(" is left out: ")[0] for line in said] == [
        "host", "many", "none", "bad", "heavy", "a container",
    ]  # fmt: skip
    assert said[:2] == [
        "host is left out: it has no address in any network",
        "many is left out: which of its ports? Say it by the label l7lb.port",
    ]


async def test_silence_is_not_trusted_for_ever(docker: Watched) -> None:
    """Both are asked anew: nobody tells of a connection that is dead."""
    _, there, watching = docker

    await first(watching(interval=0.02), 3)

    assert [call.path for call in there.calls] == ["/events", "/containers/json"] * 3


@pytest.mark.parametrize("path", ["/events", "/containers/json"])
async def test_an_api_that_says_no(docker: Watched, path: str) -> None:
    fake, _, watching = docker
    fake.status[path] = 500
    with pytest.raises(SourceFailed, match="status 500"):
        await first(watching())


async def test_a_stream_that_ends_and_a_list_that_is_none(docker: Watched) -> None:
    fake, _, watching = docker
    fake.events.put_nowait(None)
    with pytest.raises(SourceFailed, match="the stream of events ended"):
        await first(watching(), 2)
    fake.containers = {"message": "page not found"}
    with pytest.raises(SourceFailed, match="not a list of containers"):
        await first(watching())
