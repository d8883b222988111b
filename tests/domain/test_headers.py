"""What of a response goes on to the client, and how it is framed."""

import pytest

from app.domain.errors import ResponseInvalid
from app.domain.headers import (
    Fields,
    alike,
    connection_listed,
    listed,
    put,
    response_head,
    spelled,
    takes_trailers,
    without_listed,
)


def test_hop_by_hop_fields_and_those_that_connection_names_stay_here() -> None:
    """RFC 9110 section 7.6.1; everything else keeps its order, its duplicates and its bytes."""
    fields, _, _, _ = response_head(
        [
            (b"server", b"x"),
            (b"connection", b"close, X-Secret"),
            (b"set-cookie", b"a=1"),
            (b"x-secret", b"1"),
            (b"keep-alive", b"timeout=5"),
            (b"set-cookie", b"b=\xe9"),
            (b"upgrade", b"h2"),
        ]
    )

    assert fields == [(b"server", b"x"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=\xe9")]


@pytest.mark.parametrize(
    ("connection", "fields", "rest"),
    [
        ([b"keep-alive"], [b"x-a", b"x-b"], [b"keep-alive"]),
        ([b"Upgrade, TE"], [b"x-a", b"x-b"], [b"Upgrade, TE"]),
        ([b"Upgrade ,X-A,, close"], [b"x-b"], [b"Upgrade, close"]),
        ([b"x-a", b"X-B"], [], []),
        ([b"host, Content-Length, expect"], [b"x-a", b"x-b"], [b"host, Content-Length, expect"]),
        ([], [b"x-a", b"x-b"], []),
    ],
)
def test_what_connection_lists_is_for_nobody_further_in(
    connection: list[bytes], fields: list[bytes], rest: list[bytes]
) -> None:
    """And so not listed any more."""
    sent = [(b"connection", value) for value in connection]

    found = without_listed([(b"x-a", b"1"), *sent, (b"x-b", b"2")])

    assert [name for name, _ in found if name != b"connection"] == fields
    assert [value for name, value in found if name == b"connection"] == rest


def test_all_connection_fields_of_a_request_go_on_as_one() -> None:
    sent = [(b"connection", b"keep-alive, x-a"), (b"connection", b"te"), (b"x-a", b"1"), (b"te", b"trailers")]

    assert without_listed(sent) == [(b"te", b"trailers"), (b"connection", b"keep-alive, te")]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([(b"content-length", b"1"), (b"content-length", b"1")], "two framing fields in the response"),
        ([(b"transfer-encoding", b"gzip")], "the response's Transfer-Encoding is not chunked alone"),
    ],
)
def test_the_log_says_why_a_response_is_refused(fields: list[tuple[bytes, bytes]], why: str) -> None:
    with pytest.raises(ResponseInvalid) as refused:
        response_head(fields)

    assert refused.value.detail == why


def test_names_that_cgi_does_not_tell_apart() -> None:
    assert alike([b"a", b"x-a-b"]) == {b"a", b"x-a-b", b"x_a-b", b"x-a_b", b"x_a_b"}


def test_several_connection_fields_are_one_list() -> None:
    """What the first names stays here, too."""
    fields, _, _, _ = response_head([(b"connection", b"x-a"), (b"connection", b"x-b"), (b"x-a", b"1"), (b"x-b", b"2")])

    assert fields == []


def test_connection_cannot_take_the_framing_with_it() -> None:
    """`Connection: content-length` would leave a body without an end."""
    fields, framed, sized, _ = response_head([(b"connection", b"content-length"), (b"content-length", b"3")])

    assert fields == [(b"content-length", b"3")]
    assert framed
    assert sized


def test_one_date_goes_on() -> None:
    """A second Date is dropped, the first one kept."""
    fields, _, _, dated = response_head([(b"date", b"one"), (b"date", b"two")])

    assert (fields, dated) == ([(b"date", b"one")], True)


def test_chunked_is_framing_and_is_not_passed_on() -> None:
    """How the client's side is framed is the client's side's business."""
    head = response_head([(b"transfer-encoding", b" Chunked ")])

    assert head == ([], True, False, False)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"content-length", b"1")],
        [(b"transfer-encoding", b"gzip")],
        [(b"transfer-encoding", b"gzip, chunked")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
    ],
)
def test_framing_that_can_be_read_in_two_ways_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    """RFC 9112 section 6.3: the next response on the connection would begin anywhere."""
    with pytest.raises(ResponseInvalid):
        response_head(headers)


def test_white_space_behind_a_length_is_no_part_of_it() -> None:
    """RFC 9110 section 5.5."""
    assert response_head([(b"content-length", b"5 \t")])[0] == [(b"content-length", b"5")]


@pytest.mark.parametrize("coding", [b"chunked\t", b"\tchunked"])
def test_a_coding_that_the_parser_does_not_know_is_refused(coding: bytes) -> None:
    """Else the client would get the chunks with their sizes for the body."""
    with pytest.raises(ResponseInvalid):
        response_head([(b"transfer-encoding", coding)])


def test_connection_tokens_of_its_own_are_no_field_names() -> None:
    """close and keep-alive speak of the connection itself."""
    assert connection_listed(b"Close, keep-alive,, X-A ,x-b") == {b"x-a", b"x-b"}
    assert connection_listed(b"Keep-Alive") == frozenset()


def test_values_are_joined_as_a_list() -> None:
    """RFC 9110 section 5.3."""
    headers = [(b"a", b"1"), (b"b", b"x"), (b"a", b"2")]

    assert (listed(b"a", headers), listed(b"c", headers)) == (b"1, 2", b"")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], False),
        ([(b"te", b"trailers")], True),
        ([(b"te", b"gzip;q=0.5"), (b"te", b" Trailers ")], True),
        ([(b"te", b"gzip,trailers")], True),
        ([(b"te", b"xtrailers, gzip")], False),
        ([(b"x-te", b"trailers")], False),
    ],
)
def test_who_takes_trailers(fields: Fields, expected: bool) -> None:
    """RFC 9110 section 10.1.4."""
    assert takes_trailers(fields) is expected


def test_putting_is_in_place() -> None:
    """Whoever has the list sees it; all of a name go, also of one that CGI takes for it."""
    headers = [(b"x-a", b"1"), (b"b", b"2"), (b"x_a", b"3")]
    same = headers

    put(headers, spelled(["X-A", "c"]), [(b"x-a", b"4")])
    assert same == [(b"b", b"2"), (b"x-a", b"4")]
    put(headers, spelled(["X_a"]), [])
    assert same == [(b"b", b"2")]
