"""How Hosts are compared."""

import pytest

from app.domain import hosts


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
