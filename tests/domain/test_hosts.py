"""How Hosts are compared."""

import pytest

from app.domain import hosts
from app.domain.errors import BadRequest


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "example.org"),
        ("example.org:8443", "example.org"),
        ("example.org:", "example.org"),
        ("example.org.", "example.org"),
        ("example.org.:80", "example.org"),
        ("[::1]", "[::1]"),
        ("[::1]:8443", "[::1]"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_a_host_is_compared_without_case_port_and_final_dot(host: str, name: str) -> None:
    assert name == hosts.bare(host)


GOOD = [b"a", b"a.b:80", b"A_b-c.1", b"127.0.0.1:65535", b"a:", b"[::1]", b"[::1]:", b"[2001:db8::1]:8443"]
BAD = [
    b"", b":80", b"a:65536", b"a:b", b"a:1:2", b"a b", b"a,b", b"a/b", b"a@b", b"\xff", b"x" * 256, b"::1", b"[::1",
    b"[]", b"[x]", b"[1.2.3.4]", b"[\xff]", b"[fe80::1%eth0]", b"[::1]80", b"[::1]:65536", b"[::1]:x", b"[[::1]]",
]  # fmt: skip


@pytest.mark.parametrize("host", GOOD)
def test_a_name_or_an_address_with_or_without_a_port_is_a_host(host: bytes) -> None:
    hosts.check_host(host)


@pytest.mark.parametrize("host", BAD, ids=repr)
def test_nothing_else_is_one(host: bytes) -> None:
    with pytest.raises(BadRequest):
        hosts.check_host(host)


@pytest.mark.parametrize(
    ("text", "known"), [("Example.org.", "example.org"), ("*.Example.org", ".example.org"), ("*", "")]
)
def test_a_pattern_is_known_by_its_ending(text: str, known: str) -> None:
    assert known == hosts.pattern(text)
    assert hosts.shown(known) == text.lower().removesuffix(".")


@pytest.mark.parametrize(
    ("known", "wilder"),
    [
        ("a.b.c", [".b.c", ".c", ""]),
        (".b.c", [".c", ""]),
        ("localhost", [""]),
        ("[::1]", [""]),
        ("[::ffff:1.2.3.4]", [""]),
        ("", []),
    ],
)
def test_the_wildcards_that_hold_a_host_come_longest_first(known: str, wilder: list[str]) -> None:
    assert wilder == hosts.wilder(known)
