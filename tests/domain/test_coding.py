"""Whether and how a response is compressed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.coding import Codings
from app.domain.headers import Fields
from settings.policies import CompressionSettings

TEXT = (b"content-type", b"text/html; charset=utf-8")
VARY = (b"vary", b"Accept-Encoding")


def codings(*names: str) -> Codings:
    return Codings(names or ("gzip",), CompressionSettings(types=("text/*", "application/json")))


def apply(
    *fields: tuple[bytes, bytes], status: int = 200, whole: int | None = None, accepted: bytes = b"gzip"
) -> tuple[Fields, bool]:
    return codings().negotiate(accepted).apply(status, list(fields), whole)


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        (b"gzip", b"gzip"),
        (b"br, gzip", b"br"),
        (b"gzip;q=1, br;q=0.9", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"*", b"br"),
        (b"*;q=0", b""),
        (b"br;q=0, *;q=0.1", b"gzip"),
        (b"identity;q=0.5, gzip;q=0.4", b""),
        (b"identity;q=0, gzip;q=0.4", b"gzip"),
        (b"gzip; Q=0", b""),
        (b"gzip, br;q=1", b"br"),
        (b"gzip, br;q=9", b"br"),
        (b"identity, gzip", b"gzip"),
        (b"gzip;q=2", b"gzip"),
        (b"gzip;q=x", b""),
        (b"", b""),
        (b"deflate", b""),
    ],
)
def test_the_highest_weight_then_ours(accepted: bytes, name: bytes) -> None:
    ours = codings("br", "gzip")

    assert [ours.negotiate(accepted).name for _ in range(2)] == [name, name]


@given(st.binary())
def test_no_field_is_too_odd(accepted: bytes) -> None:
    assert codings("br", "gzip").negotiate(accepted).name in (b"br", b"gzip", b"")


def test_what_cache_control_says_else_forbids_nothing() -> None:
    assert apply(TEXT, (b"cache-control", b"no-store"))[1]
    assert apply((b"content-type", b"text/html; a=b; c=d"))[1]
    assert apply((b"content-type", b"Application/JSON ; a=b"))[1]


def test_what_is_told_of_a_body_that_is_another_now_goes() -> None:
    fields, packed = apply(TEXT, (b"content-md5", b"x"), (b"accept-ranges", b"bytes"), (b"content-length", b"99999"))

    assert packed
    assert fields == [TEXT, VARY, (b"content-encoding", b"gzip")]


def test_what_is_remembered_is_bounded() -> None:
    ours = codings()
    for number in range(600):
        ours.negotiate(b"gzip;q=0.%d" % number)

    assert len(ours._known) <= 256


def test_the_head_says_what_was_done() -> None:
    """The length is another, parts are not to be had, and the ETag is weak; the order stays."""
    sent = [TEXT, (b"content-length", b"5000"), (b"accept-ranges", b"bytes"), (b"etag", b'"1"'), (b"x", b"y")]

    assert apply(*sent) == ([TEXT, (b"etag", b'W/"1"'), (b"x", b"y"), VARY, (b"content-encoding", b"gzip")], True)
    assert apply(TEXT, (b"etag", b'W/"1"'))[0][1] == (b"etag", b'W/"1"')


def test_a_client_that_takes_none_gets_it_as_it_is() -> None:
    """Told that others may not; its ETag is that of these bytes."""
    sent = [TEXT, (b"content-length", b"5000"), (b"etag", b'"1"')]

    assert apply(*sent, accepted=b"") == ([*sent, VARY], False)


@pytest.mark.parametrize(
    "sent",
    [
        [(b"content-type", b"image/png")],
        [(b"content-type", b"textual/html")],
        [],
        [TEXT, (b"content-encoding", b"br")],
        [TEXT, (b"content-range", b"bytes 0-1/2")],
        [TEXT, (b"cache-control", b"no-transform"), (b"cache-control", b"public")],
        [TEXT, (b"content-length", b"1023")],
    ],
)
def test_what_is_left_alone(sent: Fields) -> None:
    assert apply(*sent) == (sent, False)


@pytest.mark.parametrize("status", [100, 204, 205, 206])
def test_a_status_without_a_whole_body_is_left_alone(status: int) -> None:
    assert apply(TEXT, status=status) == ([TEXT], False)


def test_the_length_is_known_or_it_is_not() -> None:
    """Of what is not known it is not assumed that it is small; what has come counts for more than what is said."""
    assert apply(TEXT)[1]
    assert apply(TEXT, (b"content-encoding", b"Identity"))[1]
    assert apply(TEXT, whole=1024)[1]
    assert not apply(TEXT, whole=1023)[1]
    assert not apply(TEXT, (b"content-length", b"1024"), whole=0)[1]


def test_not_modified_is_as_the_response_would_be() -> None:
    """It says nothing of its type; a weak ETag compares the same (RFC 9110 section 8.8.3.2)."""
    assert apply((b"etag", b'"1"'), status=304) == ([(b"etag", b'W/"1"'), VARY], False)
    assert apply((b"etag", b'"1"'), status=304, accepted=b"") == ([(b"etag", b'"1"'), VARY], False)
