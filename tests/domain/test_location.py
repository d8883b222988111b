"""Where a redirect leads."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadRequest
from app.domain.location import Location
from settings.groups import RedirectSettings
from settings.problems import Wrong


def location(to: str) -> Location:
    # As a template may come from Python, past the model's own checks.
    return Location.of(RedirectSettings.model_construct(to=to, status=308))


def render(to: str, **request: Any) -> bytes:
    asked = {"scheme": "http", "host": "example.org:8080", "path": b"/a%20b", "query": b"x=1"} | request
    return location(to).render(**asked)


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("https://{host}{path}{query}", b"https://example.org:8080/a%20b?x=1"),
        ("https://{host}{path}?{query}", b"https://example.org:8080/a%20b?x=1"),
        ("https://{hostname}{path}", b"https://example.org/a%20b"),
        ("https://www.{hostname}/{path}", b"https://www.example.org/a%20b"),
        ("{scheme}://other.example{path}", b"http://other.example/a%20b"),
        ("/to/{scheme}{path}", b"/to/http/a%20b"),
        ("https://other.example:8443", b"https://other.example:8443"),
        ("/new{path}", b"/new/a%20b"),
        ("/{path}", b"/a%20b"),
        ("{path}", b"/a%20b"),
        ("/x?from={path}&{query}", b"/x?from=/a%20b&x=1"),
        ("/x?a=b{query}", b"/x?a=b&x=1"),
        ("{query}", b"?x=1"),
        ("/caf\u00e9/{{x}}", b"/caf%C3%A9/{x}"),
    ],
)
def test_a_template_takes_its_pieces_from_the_request(to: str, target: bytes) -> None:
    assert target == render(to)


@pytest.mark.parametrize("to", ["/x{query}", "/x?{query}"])
def test_no_query_leaves_no_mark(to: str) -> None:
    assert render(to, query=b"") == b"/x"


def test_an_empty_query_leaves_the_templates_own() -> None:
    assert render("/x?a=b&{query}", query=b"") == b"/x?a=b"


@pytest.mark.parametrize("path", [b"//evil.example/x", b"///evil.example/x", b"evil.example/x"])
@pytest.mark.parametrize("to", ["{path}", "/{path}"])
def test_a_path_never_becomes_a_host(to: str, path: bytes) -> None:
    assert render(to, path=path) == b"/evil.example/x"


def test_only_two_schemes_are_led_to() -> None:
    assert render("{scheme}://a/", scheme="https") == b"https://a/"
    assert render("{scheme}://a/", scheme="javascript") == b"http://a/"


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a\r\nb", "user@a", "a\\b", "a:b", "\u00e9", "[::1", "a?b", "a#b"])
def test_a_host_that_is_none_is_not_led_to(host: str) -> None:
    with pytest.raises(BadRequest):
        render("https://{host}/", host=host)


def test_a_host_that_is_not_used_does_not_matter() -> None:
    assert render("/x", host="a b") == b"/x"


def test_an_address_is_a_host() -> None:
    assert b"https://[::1]:1/ [::1]".split() == [
        render("https://{host}/", host="[::1]:1"),
        render("/{hostname}", host="[::1]:1")[1:],
    ]


@pytest.mark.parametrize(
    "to",
    [
        "", "x", "//evil.example", "javascript:alert(1)", "ftp://x/", "{host}/x", "https://{path}", "https:///{path}",
        "https://{query}", "http://", "{scheme}{path}", "https://a{scheme}/", "/a\r\nb: c", "/a b", "/a\x00",
        "/{pth}", "/{", "/}", "/{}", "/{path!r}", "/{path:x}", "/{nothing_like_it}",
    ],
)  # fmt: skip
def test_a_template_that_leads_nowhere_or_where_the_client_wants_is_refused(to: str) -> None:
    with pytest.raises(Wrong) as wrong:
        location(to)

    assert wrong.value.at == ("redirect", "to")


@pytest.mark.parametrize(
    ("to", "problem", "fix"),
    [
        ("/a b", "spaces and control characters have no place in a URL", "percent-encode them"),
        ("/{pth}", "a redirect knows no {pth}", 'write "{path}"'),
        ("/{42}", "a redirect knows no {42}", "use {scheme}, {host}, {hostname}, {path} or {query}"),
        ("x", "a redirect leads to a URL or a path", 'write "https://{host}{path}" or "/new{path}"'),
    ],
)
def test_the_operator_is_told_what_to_write(to: str, problem: str, fix: str) -> None:
    with pytest.raises(Wrong) as wrong:
        location(to)

    assert (wrong.value.message, wrong.value.fix) == (problem, fix)


def test_braces_that_do_not_fit_are_told_as_python_has_it() -> None:
    with pytest.raises(Wrong) as wrong:
        location("/}")

    assert wrong.value.message == "the braces do not fit (Single '}' encountered in format string)"
    assert wrong.value.fix == 'write "{path}"; a brace itself is "{{"'


def test_the_log_says_that_it_was_the_host() -> None:
    with pytest.raises(BadRequest, match=r"^the Host cannot be redirected to$"):
        render("https://{host}/", host="a b")


@given(path=st.binary(), query=st.binary(), host=st.text(max_size=20), scheme=st.text(max_size=8))
def test_no_byte_of_the_request_ends_the_field_or_changes_the_host(
    path: bytes, query: bytes, host: str, scheme: str
) -> None:
    """What is reflected is visible ASCII, and the host of a fixed one stays."""
    fixed = location("https://example.org{path}{query}").render(scheme, host, path, query)
    assert re.fullmatch(rb"https://example\.org/[!-~]*", fixed)
    assert not set(b'"<>\\^`{|} ') & set(fixed)
    try:
        free = location("{scheme}://{host}{path}").render(scheme, host, path, query)
    except BadRequest:
        return
    assert re.fullmatch(rb"https?://[^/@\\]+/[!-~]*", free)
