"""The API server of Kubernetes: a list of EndpointSlices, and the watch behind it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.engine.discovery.kubernetes import Kubernetes, KubernetesOptions
from app.engine.discovery.source import SourceFailed
from tests.support.api import Api, Call, api, first, urls


def endpoint(*addresses: str, **conditions: bool | None) -> dict[str, Any]:
    return {"addresses": list(addresses), "conditions": conditions, "nodeName": "node-1"}


def slice_of(name: str, *endpoints: dict[str, Any], family: str = "IPv4", **said: Any) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "web"}, "resourceVersion": "4"},
        "addressType": family, "endpoints": list(endpoints),
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}], **said,
    }  # fmt: skip


def event(kind: str, one: Any) -> dict[str, Any]:
    return {"type": kind, "object": one}


WELL = slice_of("web-1", endpoint("10.1.2.3", ready=True), endpoint("10.1.2.4"))


class Fake:
    """Lists *slices*; each watch says the next of *watches*, its events one by one, and ends, or goes on for ever."""

    def __init__(self, *slices: Any) -> None:
        self.slices: Any = list(slices)
        self.watches: list[list[Any]] = []
        self.status = {False: 200, True: 200}

    async def serve(self, call: Call) -> None:
        watch = "watch" in call.query
        if self.status[watch] != 200:
            await call.say(self.status[watch], {"kind": "Status", "code": self.status[watch]})
        elif not watch:
            await call.say(
                200, {"kind": "EndpointSliceList", "metadata": {"resourceVersion": "77"}, "items": self.slices}
            )
        else:
            await call.stream()
            for one in self.watches.pop(0) if self.watches else ["wait"]:
                if one == "wait":
                    await asyncio.sleep(60)
                await call.chunk(one)
                await asyncio.sleep(0.2)  # so that they are not one change
            await call.write(b"0\r\n\r\n")


def watching(there: Api, **options: Any) -> Kubernetes:
    said = {"url": there.url, "namespace": "shop", "service": "web", "timeout": 10.0, "ca": None, "token_file": None}
    return Kubernetes(KubernetesOptions(**{**said, **options}), pool="web")


async def test_lists_and_goes_by_what_the_watch_says() -> None:
    """From the version of the list on."""
    fake = Fake(WELL, slice_of("web-2", endpoint("10.1.2.9", ready=True)))
    fake.watches = [
        [
            event("MODIFIED", slice_of("web-1", endpoint("10.1.2.3", ready=True))),
            event("ADDED", slice_of("web-3", endpoint("10.1.2.5", ready=True))),
            event("DELETED", slice_of("web-2")),
            event("BOOKMARK", {"metadata": {"resourceVersion": "99"}}),
            "wait",
        ]
    ]
    async with api(fake.serve) as there:
        found = await first(watching(there, interval=300.0), 5)

    assert [[url[7:] for url in urls(one)] for one in found] == [
        ["10.1.2.3:8080", "10.1.2.4:8080", "10.1.2.9:8080"],
        ["10.1.2.3:8080", "10.1.2.9:8080"],
        ["10.1.2.3:8080", "10.1.2.5:8080", "10.1.2.9:8080"],
        ["10.1.2.3:8080", "10.1.2.5:8080"],
        ["10.1.2.3:8080", "10.1.2.5:8080"],
    ]
    listed, watched = there.calls
    assert listed.path == watched.path == "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
    assert listed.query == {"labelSelector": "kubernetes.io/service-name=web"}
    assert watched.query == listed.query | {"watch": "true", "resourceVersion": "77", "timeoutSeconds": "300"}


async def test_only_what_is_ready_is_a_backend() -> None:
    """What says nothing of that is; what is on its way out is not, though it may serve."""
    slices = slice_of(
        "web-1",
        endpoint("10.0.0.1", ready=True, serving=True, terminating=False),
        endpoint("10.0.0.2", ready=False, serving=True, terminating=True),
        endpoint("10.0.0.3", ready=False),
        endpoint("10.0.0.4", ready=None),
        {"addresses": ["10.0.0.5", "10.0.0.55"]},
        endpoint("10.0.0.6", ready=True, terminating=True),
    )
    async with api(Fake(slices, slice_of("web-2", endpoints=None)).serve) as there:
        (found,) = await first(watching(there))

    assert urls(found) == ["http://10.0.0.1:8080", "http://10.0.0.4:8080", "http://10.0.0.5:8080"]


async def test_of_two_families_one() -> None:
    """A pod with both is in two slices; where there is no IPv4, IPv6 it is. Names of hosts are not looked up."""
    six = slice_of("web-6", endpoint("fd00::3"), family="IPv6")
    fake = Fake(WELL, six, slice_of("web-n", endpoint("a.test"), family="FQDN"))
    async with api(fake.serve) as there:
        assert [len(one) for one in await first(watching(there))] == [2]
        fake.slices = [six]
        assert [urls(one) for one in await first(watching(there, scheme="https"))] == [["https://[fd00::3]:8080"]]


async def test_which_port(caplog: pytest.LogCaptureFixture) -> None:
    """By name or number; without either, it has to be the only one."""
    ports = [
        {"name": "http", "port": 8080},
        {"name": "metrics", "port": 9090, "protocol": "TCP"},
        {"name": "http", "port": 8080, "protocol": "UDP"},
    ]
    async with api(Fake(slice_of("web-1", endpoint("10.0.0.1"), ports=ports)).serve) as there:
        for port, expected in (
            ("http", ["http://10.0.0.1:8080"]),
            ("9090", ["http://10.0.0.1:9090"]),
            ("x", []),
            ("", []),
        ):
            assert [urls(one) for one in await first(watching(there, port=port))] == [expected]

    assert [record.getMessage() for record in caplog.records] == [
        "pool web: web-1 is left out: it has no TCP port x",
        "pool web: web-1 is left out: which of its ports?",
    ]


async def test_a_version_that_is_gone_and_a_watch_that_ends() -> None:
    """As they do by and by: all is listed anew, and nobody has to hear of it."""
    fake = Fake(WELL)
    fake.watches = [[event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})], []]
    async with api(fake.serve) as there:
        await first(watching(there), 3)

    assert ["watch" in call.query for call in there.calls] == [False, True] * 3


async def test_says_who_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a pod does: the token and the namespace of its account, read as they are now."""
    monkeypatch.setattr("app.engine.discovery.kubernetes.ACCOUNT", tmp_path)
    (tmp_path / "namespace").write_text("own\n")
    (tmp_path / "token").write_text("one")
    async with api(Fake(WELL).serve) as there:
        source = watching(there, namespace="", token_file=tmp_path / "token")
        await first(source)
        (tmp_path / "token").write_text("two")
        await first(source)

    assert [call.fields["authorization"] for call in there.calls] == ["Bearer one"] * 2 + ["Bearer two"] * 2
    assert {call.path.split("/")[5] for call in there.calls} == {"own"}


def test_it_knows_where_a_pod_finds_these() -> None:
    options = KubernetesOptions(service="web")

    assert (options.url, str(options.ca), str(options.token_file)) == (
        "https://kubernetes.default.svc",
        "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
    )


@pytest.mark.parametrize("watch", [False, True])
async def test_an_api_that_says_no(watch: bool) -> None:
    """Its rights do not go that far."""
    fake = Fake(WELL)
    fake.status[watch] = 403
    async with api(fake.serve) as there:
        with pytest.raises(SourceFailed, match="status 403"):
            await first(watching(there))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (event("ERROR", {"code": 500, "message": "etcd is away"}), "watch: etcd is away"),
        ({}, "not an answer of Kubernetes"),
        (event("ADDED", {}), "not an answer of Kubernetes"),
        (b"{\n", "not JSON"),
    ],
)
async def test_a_watch_that_fails(line: Any, why: str) -> None:
    fake = Fake(WELL)
    fake.watches = [[line]]
    async with api(fake.serve) as there:
        with pytest.raises(SourceFailed, match=why):
            await first(watching(there), 2)


async def test_more_slices_than_anybody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.discovery.kubernetes.MOST_SLICES", 1)
    fake = Fake(WELL)
    fake.watches = [[event("ADDED", slice_of("web-2"))]]
    async with api(fake.serve) as there:
        with pytest.raises(SourceFailed, match="over 1 slices"):
            await first(watching(there), 2)


async def test_what_is_no_list_and_what_is_no_slice(caplog: pytest.LogCaptureFixture) -> None:
    fake = Fake(slice_of("web-0", {"addresses": []}), WELL, slice_of("web-3", ports=[{"port": "x"}]))
    async with api(fake.serve) as there:
        assert [len(one) for one in await first(watching(there))] == [2]
        fake.slices = 7
        with pytest.raises(SourceFailed, match="not an answer of Kubernetes"):
            await first(watching(there))
    assert [record.getMessage() for record in caplog.records] == [
        f"pool web: web-{n} is left out: it is not described as Kubernetes does" for n in (0, 3)
    ]
