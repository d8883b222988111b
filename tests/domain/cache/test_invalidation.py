"""Which URLs an unsafe request makes stale; and Cache-Status."""

from __future__ import annotations

import pytest

from app.domain.cache import cache_status
from app.domain.cache.invalidation import invalidated, speaks_for


@pytest.mark.parametrize(
    ("location", "named"),
    [
        (b"/b", b"/b"),
        (b"b?c=1", b"/b?c=1"),
        (b"https://EXAMPLE.org/b", b"/b"),
        (b"https://example.org", b"/"),
        (b"//example.org/b#x", b"/b"),
        (b"http://example.org/b", None),
        (b"https://other.org/b", None),
        (b"https://[x", None),
    ],
)
def test_its_own_and_those_that_the_answer_names_on_the_same_host(location: bytes, named: bytes | None) -> None:
    for name in (b"location", b"content-location"):
        found = list(invalidated("https", "example.org", b"/a", 201, [(b"x", b"/x"), (name, location)]))
        assert found == ([b"/a"] if named is None else [b"/a", named])


@pytest.mark.parametrize(("status", "found"), [(200, 1), (303, 1), (400, 0), (500, 0)])
def test_a_failure_makes_nothing_stale(status: int, found: int) -> None:
    assert len(list(invalidated("https", "example.org", b"/a", status, []))) == found


def test_the_answer_to_a_post_may_be_that_to_a_get() -> None:
    assert speaks_for("https", "h", b"/a", [(b"content-location", b"/a")])
    assert not speaks_for("https", "h", b"/a", [(b"content-location", b"/b")])
    assert not speaks_for("https", "h", b"/a", [(b"content-location", b"//other/a")])
    assert not speaks_for("https", "h", b"/a", [])
    assert not speaks_for("https", "h", b"/a", [(b"content-location", b"/a")] * 2)


def test_cache_status() -> None:
    assert cache_status.hit(5.9) == b"l7lb; hit; ttl=5"
    assert cache_status.hit(-5.9, "x") == b'l7lb; hit; ttl=-5; detail="x"'
    assert cache_status.forwarded("bypass") == b"l7lb; fwd=bypass"
    assert (
        cache_status.forwarded("stale", 304, stored=True, collapsed=True, detail="no-store")
        == b'l7lb; fwd=stale; fwd-status=304; stored; collapsed; detail="no-store"'
    )
