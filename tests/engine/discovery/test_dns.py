"""Names looked up at a real name server on the loopback."""

import asyncio
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.engine.discovery import dns_message
from app.engine.discovery.dns import Dns, DnsOptions
from app.engine.discovery.dns_message import Record, Srv
from app.engine.discovery.members import MOST
from app.engine.discovery.resolver import Lookup, Resolver, lookup
from app.engine.discovery.source import SourceFailed
from tests.support.api import first, urls
from tests.support.nameserver import REFUSED, SERVFAIL, Nameserver, Reply, Row, nameserver


def looking(server: Nameserver, name: str = "web.test.", **options: Any) -> Dns:
    options = {"nameservers": f"127.0.0.1:{server.port}", "timeout": 10.0, "name": name, **options}
    return Dns(DnsOptions(**options), pool="web")


async def once(source: Dns) -> list[str]:
    (found,) = await first(source)
    return urls(found)


async def test_each_address_is_a_backend() -> None:
    """On the port that is given, else on that of the scheme."""
    async with nameserver() as server:
        server.addresses("web.test", "10.0.0.1", "10.0.0.2")

        assert await once(looking(server)) == ["http://10.0.0.1:80", "http://10.0.0.2:80"]
        assert await once(looking(server, port=8000)) == ["http://10.0.0.1:8000", "http://10.0.0.2:8000"]
        assert await once(looking(server, scheme="https")) == ["https://10.0.0.1:443", "https://10.0.0.2:443"]
        assert {query.kind for query in server.queries} == {"A"}


async def test_ipv6_and_several_names() -> None:
    async with nameserver() as server:
        server.addresses("web.test", "10.0.0.1")
        server.say(Row("web.test", "AAAA", 30, "fd00::1"))
        server.addresses("more.test", "10.0.0.1", "10.0.0.3")
        server.zone["more.test", "AAAA"] = Reply()

        assert await once(looking(server, record="aaaa")) == ["http://[fd00::1]:80"]
        assert await once(looking(server, "web.test.,more.test.", record="both")) == [
            "http://10.0.0.1:80", "http://10.0.0.3:80", "http://[fd00::1]:80",
        ]  # fmt: skip


async def test_what_a_name_is_another_name_for() -> None:
    """Records of others, which nobody asked for, are not taken."""
    rows = (
        Row("web.test", "CNAME", 30, "a.test"),
        Row("a.test", "CNAME", 30, "b.test"),
        Row("b.test", "A", 30, "10.0.0.1"),
        Row("evil.test", "A", 30, "10.6.6.6"),
        Row("b.test", "CNAME", 30, "web.test"),
    )
    async with nameserver() as server:
        server.zone["web.test", "A"] = Reply(rows=rows)

        assert await once(looking(server)) == ["http://10.0.0.1:80"]


async def test_services_have_port_weight_and_level() -> None:
    """Their targets come along, or are looked up, over IPv4 or else IPv6; one without address is nobody."""
    name = "_http._tcp.web.test"
    async with nameserver() as server:
        server.say(
            Row(name, "SRV", 30, "10 5 8001 a.test"),
            Row(name, "SRV", 30, "10 0 8002 b.test"),
            Row(name, "SRV", 30, "40 1 8003 c.test"),
            Row(name, "SRV", 30, "40 1 8004 nobody.test"),
            additional=(Row("a.test", "A", 30, "10.0.0.1"), Row("a.test", "A", 30, "10.0.0.9")),
        )
        server.addresses("b.test", "10.0.0.2")
        server.zone["c.test", "A"] = Reply()
        server.say(Row("c.test", "AAAA", 30, "fd00::3"))

        (found,) = await first(looking(server, f"{name}.", record="srv"))

    assert sorted((one.url, one.weight, one.level) for one in found) == [
        ("http://10.0.0.1:8001", 5, 0),
        ("http://10.0.0.2:8002", 1, 0),
        ("http://10.0.0.9:8001", 5, 0),
        ("http://[fd00::3]:8003", 1, 1),
    ]
    assert "a.test" not in {query.name for query in server.queries}


async def test_no_service_at_all() -> None:
    """The root as the target says so (RFC 2782)."""
    async with nameserver() as server:
        server.say(Row("web.test", "SRV", 30, "0 0 0 ."))

        assert await once(looking(server, record="srv")) == []


async def test_a_target_that_cannot_be_looked_up_is_a_failure() -> None:
    """The others alone would be half an answer."""
    async with nameserver() as server:
        server.say(Row("web.test", "SRV", 30, "0 1 80 a.test"), Row("web.test", "SRV", 30, "0 1 80 b.test"))
        server.addresses("a.test", "10.0.0.1")
        server.zone["b.test", "A"] = Reply(SERVFAIL)

        with pytest.raises(SourceFailed, match=r"b\.test\.: name server 127\.0\.0\.1: SERVFAIL"):
            await once(looking(server, record="srv"))


async def test_nobody_is_an_answer_and_a_server_that_cannot_say_is_none() -> None:
    """A name without records, or one that is not there; against SERVFAIL, REFUSED, and silence."""
    async with nameserver() as server:
        assert await once(looking(server)) == []
        server.addresses("web.test")
        assert await once(looking(server)) == []

        for reply, why in ((Reply(SERVFAIL), "SERVFAIL"), (Reply(REFUSED), "REFUSED")):
            server.zone["web.test", "A"] = reply
            server.queries.clear()
            with pytest.raises(SourceFailed, match=f"web.test.: name server 127.0.0.1: {why}"):
                await once(looking(server))
            assert len(server.queries) == 2

        server.zone["web.test", "A"] = None
        with pytest.raises(SourceFailed, match="no answer in time"):
            await once(looking(server, timeout=0.05))
    with pytest.raises(SourceFailed, match="connection refused"):
        await once(looking(server))


async def test_another_server_is_asked_when_one_cannot_say() -> None:
    async with nameserver() as broken, nameserver() as well:
        broken.zone["web.test", "A"] = Reply(SERVFAIL)
        well.addresses("web.test", "10.0.0.1")
        source = looking(well, nameservers=f"127.0.0.1:{broken.port},127.0.0.1:{well.port}")

        assert await once(source) == ["http://10.0.0.1:80"]
        assert len(broken.queries) == 1


async def test_what_is_too_long_comes_by_tcp() -> None:
    addresses = [f"10.0.{n}.1" for n in range(200)]
    async with nameserver() as server:
        server.addresses("web.test", *addresses)

        assert await once(looking(server)) == sorted(f"http://{address}:80" for address in addresses)
        assert [query.tcp for query in server.queries] == [False, True]


async def test_more_than_anybody_needs() -> None:
    """As many as one message can have."""
    async with nameserver() as server:
        server.addresses("w", *(f"10.1.{n // 256}.{n % 256}" for n in range(MOST - 2000)))
        server.addresses("v", *(f"10.2.{n // 256}.{n % 256}" for n in range(2001)))

        with pytest.raises(SourceFailed, match=f"{MOST + 1} backends"):
            await once(looking(server, "w.,v."))


async def test_a_server_that_does_not_know_of_edns() -> None:
    async with nameserver() as server:
        server.plain = True
        server.addresses("web.test", "10.0.0.1")

        assert await once(looking(server)) == ["http://10.0.0.1:80"]
        assert [query.extended for query in server.queries] == [True, False]


@pytest.mark.parametrize(
    "wire",
    [
        lambda message: bytes((message[0] ^ 1,)) + message[1:],
        lambda message: message.replace(b"\3web", b"\3wab"),
        lambda message: message[:40],
        lambda message: message[:2] + b"\0\0" + message[4:],
        lambda message: b"",
    ],
    ids=["another number", "another question", "cut short", "a question", "nothing"],
)
async def test_what_is_no_answer_to_the_question_is_not_heard(wire: Any) -> None:
    """Whoever else may have sent it: it is waited on."""
    async with nameserver() as server:
        server.zone["web.test", "A"] = Reply(rows=(Row("web.test", "A", 1, "10.6.6.6"),), wire=wire)

        with pytest.raises(SourceFailed, match="no answer in time"):
            await once(looking(server, timeout=0.05))


@pytest.mark.parametrize(
    "wire",
    [
        lambda message: bytes((message[0] ^ 1,)) + message[1:],
        lambda message: message[:99],
        lambda message: message[:2] + b"\x83\x80" + message[4:],
    ],
    ids=["another number", "cut short", "truncated again"],
)
async def test_nor_by_tcp(wire: Any) -> None:
    rows = tuple(Row("web.test", "A", 1, f"10.0.{n}.1") for n in range(200))
    async with nameserver() as server:
        server.zone["web.test", "A"] = Reply(rows=rows, wire=wire)

        with pytest.raises(SourceFailed, match=r"another answer|cut short|not a name"):
            await once(looking(server))


@pytest.mark.parametrize(
    ("ttl", "interval", "expected"), [(0, 10.0, 1.0), (5, 10.0, 5.0), (600, 10.0, 10.0), (600, 0.1, 1.0)]
)
async def test_it_is_looked_up_again_as_the_ttl_says(
    ttl: int, interval: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's server says 600 s of what `--scale` changes at once: so no longer than the interval. And no storm."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def dream(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    async with nameserver() as server:
        server.addresses("web.test", "10.0.0.1", ttl=ttl)
        server.say(Row("web.test", "SRV", 600, "0 1 80 a.test"))
        server.addresses("a.test", "10.0.0.1", ttl=ttl)
        for record in ("a", "srv"):
            source = looking(server, record=record, interval=interval)
            monkeypatch.setattr("app.engine.discovery.dns.asyncio.sleep", dream)
            await first(source, 2)
            monkeypatch.undo()

    assert slept == [expected, expected]


async def test_a_name_in_the_domains_that_are_searched() -> None:
    """The first that has records; a failure of one is none where another is found."""
    async with nameserver() as server:
        resolver = Resolver(Lookup((("127.0.0.1", server.port),), ("a.test", "b.test"), 1), 10.0)
        server.addresses("web.b.test", "10.0.0.1")
        server.zone["web.a.test", "A"] = Reply(SERVFAIL)

        assert [record.value for record in (await resolver.find("web", dns_message.A)).records] == ["10.0.0.1"]
        server.addresses("web.b.test")
        with pytest.raises(SourceFailed, match=r"web\.a\.test"):
            await resolver.find("web", dns_message.A)


@pytest.mark.parametrize(
    ("name", "dots", "names"),
    [
        ("web", 1, ["web.a", "web.b", "web"]),
        ("web.x", 1, ["web.x", "web.x.a", "web.x.b"]),
        ("web.x", 5, ["web.x.a", "web.x.b", "web.x"]),
        ("web.", 5, ["web."]),
    ],
)
def test_which_names_are_tried(name: str, dots: int, names: list[str]) -> None:
    assert list(Lookup((), ("a", "b"), dots).names(name)) == names


def test_what_resolv_conf_says(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# ours\nnameserver 10.0.0.2\nnameserver fd00::2\nnameserver a.test\nnameserver 10.0.0.4\nnameserver 10.0.0.5\n"
        "domain x.test\nsearch a.test. b.test .\noptions timeout:1 ndots:5\noptions ndots:x\nsortlist\nnameserver\n"
    )
    own = lookup((), conf)

    assert own == Lookup((("10.0.0.2", 53), ("fd00::2", 53), ("10.0.0.4", 53)), ("a.test", "b.test"), 5)
    assert lookup([("10.9.9.9", 5353)], conf).servers == (("10.9.9.9", 5353),)
    assert lookup((), tmp_path / "none") == Lookup((("127.0.0.1", 53),), (), 1)


def test_options_that_are_wrong() -> None:
    for wrong in (
        {},
        {"name": ""},
        {"name": "a b"},
        {"name": "a..b"},
        {"name": "x" * 64},
        {"name": ".".join(["abcdefg"] * 40)},
        {"name": "a", "record": "mx"},
        {"name": "a", "nameservers": "dns.test"},
        {"name": "a", "nameservers": "10.0.0.1:0"},
        {"name": "a", "nameservers": "10.0.0.1/x"},
        {"name": "a", "nameservers": "10.0.0.1:x"},
        {"name": "a", "interval": "0s"},
    ):
        with pytest.raises(ValidationError):
            DnsOptions(**wrong)  # type: ignore[arg-type]
    assert DnsOptions(name="a", nameservers="10.0.0.1,fd00::1,[fd00::1]:5353").nameservers == (  # type: ignore[arg-type]
        "10.0.0.1", "[fd00::1]", "[fd00::1]:5353",
    )  # fmt: skip


# The messages themselves, as other servers write them...

QUESTION = b"\3web\4test\0\0\1\0\1"


def message(answers: bytes, count: int = 1, flags: int = 0x8180) -> bytes:
    return struct.pack("!6H", 7, flags, 1, count, 0, 0) + QUESTION + answers


def test_names_that_point_back() -> None:
    """To a whole name, or to the end of one: as bind, unbound and CoreDNS write them."""
    fields = b"\0\5\0\1\0\0\0\x1e"
    cname = b"\xc0\x0c" + fields + b"\0\4" + b"\1b\xc0\x10"  # web.test -> b.test
    address = b"\xc0\x26" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1"  # b.test, as it stands in the record before
    text = b"\xc0\x0c" + b"\0\x10\0\1\0\0\0\x1e\0\3\2hi"

    found = dns_message.answer(message(cname + address + text, 3))

    assert found.question == ("web.test", dns_message.A)
    assert found.records == (Record("web.test", 5, 30, "b.test"), Record("b.test", 1, 30, "10.0.0.1"))


@pytest.mark.parametrize(
    "answers",
    [
        b"\xc0\x1a" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1",  # points to itself
        b"\xc0\xff" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1",  # points ahead
        b"\x80\x0c" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1",  # 10 in its first bits
        b"\3a.b\0" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1",  # a dot in a label
        (b"\x3f" + b"a" * 63) * 4 + b"\0" + b"\0\1\0\1\0\0\0\x1e\0\4\x0a\0\0\1",  # over 255 bytes
        b"\xc0\x0c" + b"\0\1\0\1\0\0\0\x1e\0\5\x0a\0\0\1",  # shorter than it says
        b"\xc0\x0c" + b"\0\1\0\1\0\0",
        b"\xc0",
        b"",
    ],
)
def test_messages_that_are_broken(answers: bytes) -> None:
    with pytest.raises(ValueError, match=r"cut short|not a name|does not end"):
        dns_message.answer(message(answers))


def test_a_time_that_is_negative_is_none() -> None:
    """RFC 2181 section 8. An address of the wrong length is no address."""
    found = dns_message.answer(
        message(b"\xc0\x0c\0\1\0\1\xff\xff\xff\xff\0\4\x0a\0\0\1" + b"\xc0\x0c\0\1\0\1\0\0\0\1\0\3\x0a\0\0", 2)
    )

    assert found.records == (Record("web.test", 1, 0, "10.0.0.1"),)


def test_a_service_in_a_message() -> None:
    found = dns_message.answer(message(b"\xc0\x0c\0\x21\0\1\0\0\0\1\0\x0a" + b"\0\1\0\2\x1f\x40\1a\xc0\x10"))

    assert found.records == (Record("web.test", 33, 1, Srv(1, 2, 8000, "a.test")),)


@given(st.binary(max_size=120), st.integers(0, 3))
def test_whatever_comes_is_read_or_refused(tail: bytes, count: int) -> None:
    """In bounded time, by one kind of error."""
    with suppress(ValueError):
        dns_message.answer(message(tail, count))
