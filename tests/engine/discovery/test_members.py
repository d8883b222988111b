"""What becomes of the lists that people write, and of what orchestrators know."""

import logging
from typing import Any

import pytest

from app.engine.discovery.members import MOST, Sieve, decoded, members_of, url
from app.engine.discovery.source import SourceFailed
from settings.pools import BackendSettings


def test_a_list_of_urls_and_tables() -> None:
    found = members_of(["http://a|weight=2", {"url": "http://b:81", "id": "b", "level": 1}])

    assert found == {
        BackendSettings(url="http://a", weight=2),
        BackendSettings(url="http://b:81", id="b", level=1),
    }
    assert members_of({"backends": ["http://a"], "version": 7}) == {BackendSettings(url="http://a")}
    assert members_of([]) == frozenset()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "not a list of backends"),
        ("http://a", "not a list of backends"),
        ({}, "not a list of backends"),
        ({"backends": {"a": 1}}, "not a list of backends"),
        (["http://a", "b:80"], "backend 2: url: neither http://, https:// nor h2c://"),
        (["http://a|wait=1"], 'backend 1: "wait" is not an option of a backend'),
        ([{"url": "http://a", "weight": -1}], "backend 1: weight: "),
        ([{"url": "http://a", "colour": "red"}], "backend 1: colour: "),
        ([7], "backend 1: "),
        (["http://a|id=x", "http://b|id=x"], 'two backends have the id "x"'),
        ([f"http://h{n}" for n in range(MOST + 1)], f"{MOST + 1} backends; {MOST} is the limit"),
    ],
)
def test_one_that_is_wrong_makes_all_of_it_wrong(said: Any, why: str) -> None:
    with pytest.raises(SourceFailed) as raised:
        members_of(said)

    assert str(raised.value).startswith(why)


def test_json_that_is_none() -> None:
    assert decoded(b"[1]") == [1]
    for text in (b"[1", b"\xff", b"[" * 100_000):
        with pytest.raises(SourceFailed, match="not JSON"):
            decoded(text)


def test_a_sieve_takes_what_can_be_used_and_says_the_rest_once(caplog: pytest.LogCaptureFixture) -> None:
    """The first of an id holds."""
    sieve = Sieve("web")
    found: list[tuple[str, Any]] = [
        ("one", {"url": "http://a", "id": "x"}),
        ("two", {"url": "http://b", "id": "x"}),
        ("three", "it has no port"),
        ("four", {"url": "ftp://c"}),
    ]
    with caplog.at_level(logging.WARNING, "l7lb.sources"):
        assert sieve.take(found) == {BackendSettings(url="http://a", id="x")}
        sieve.take(found)

    assert [record.getMessage() for record in caplog.records] == [
        "pool web: three is left out: it has no port",
        "pool web: four is left out: url: neither http://, https:// nor h2c://",
    ]
    with pytest.raises(SourceFailed, match="is the limit"):
        sieve.take((str(n), {"url": f"http://h{n}"}) for n in range(MOST + 1))


def test_what_is_told_once_is_bounded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.discovery.members.TOLD", 2)
    sieve = Sieve("web")
    for name in ("a", "b", "c", "c", "a"):
        sieve.take([(name, "why")])

    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == ["a", "b", "c", "a"]


def test_the_url_of_an_address() -> None:
    assert url("http", "10.0.0.1", 80) == "http://10.0.0.1:80"
    assert url("https", "fd00::1", 8443) == "https://[fd00::1]:8443"
