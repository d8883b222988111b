"""What is known of a request before anything has happened to it."""

from __future__ import annotations

from app.domain.exchange import Exchange


def test_what_it_begins_with() -> None:
    exchange = Exchange(5.0, "192.0.2.1", "https", "GET", "a.example", "/x")

    assert (exchange.started, exchange.scheme, exchange.method) == (5.0, "https", "GET")
    assert (exchange.host, exchange.path) == ("a.example", "/x")
    assert (exchange.peer, exchange.client) == ("192.0.2.1", "192.0.2.1"), "the same, until a trusted proxy says so"


def test_what_has_not_happened_is_nothing() -> None:
    exchange = Exchange(5.0, "192.0.2.1", "https", "GET", "a.example", "/x")

    names = ("request_id", "group", "pool", "cache", "user")
    assert [getattr(exchange, name) for name in names] == [""] * len(names)
    numbers = ("queued", "status", "first_byte", "ended", "bytes_in", "bytes_out")
    assert [getattr(exchange, name) for name in numbers] == [0] * len(numbers)
    others = ("limit", "pages", "coding", "error", "leave")
    assert [getattr(exchange, name) for name in others] == [None] * len(others)
    assert (exchange.fields, exchange.attempts) == ((), [])
