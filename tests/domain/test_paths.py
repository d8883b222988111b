"""One reading of a path: what is plain goes through, what could be read in two ways is refused."""

from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import BadRequest
from app.domain.paths import canonical, escaped, literal, plainer, rooted, spelled, strip
from settings.problems import Wrong

PIECES = st.sampled_from(
    [b"/", b"//", b"a", b"B", b".", b"..", b";", b"%", b"%2e", b"%2F", b"%5c", b"%41", b"%25", b"%00", b"%C3%A9",
     b"%ff", b"%c0%af", b"\\", b"\x00", b" ", b"\xe9", b"?", b"#", b"[", b"|", b"~"]
)  # fmt: skip
RAW = st.lists(PIECES, max_size=12).map(b"".join).map(lambda raw: b"/" + raw)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/api/x", "/api/x"),
        (b"/api/x/", "/api/x/"),
        (b"//api///x//", "/api/x/"),
        (b"/%61pi", "/api"),
        (b"/caf%C3%A9", "/café"),
        (b"/a%20b+c", "/a b+c"),
        (b"/100%25", "/100%"),
        (b"/%252F", "/%2F"),
        (b"/.well-known/acme", "/.well-known/acme"),
        (b"/..a/b../...", "/..a/b../..."),
        (b"/a;v=1/b", "/a;v=1/b"),
        (b"/x[0]|{y}", "/x[0]|{y}"),
        (b"/%ff", "/\udcff"),
        (b"/a%3Fb%23c", "/a?b#c"),
    ],
)
def test_the_canonical_form_is_decoded_text(raw: bytes, path: str) -> None:
    assert path == canonical(raw)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"api", "the path does not begin with a slash"),
        (b"/a b", "the path holds a character that no path may hold unescaped"),
        (b"/%zz", "the path holds a percent sign without two hexadecimal digits"),
        (b"/%2f", "the path holds an encoded slash"),
        (b"/%00", "the path holds an encoded control character or backslash"),
        (b"/%c0%af", "the path holds overlong UTF-8"),
        (b"/..", "the path holds a dot segment"),
    ],
)
def test_the_log_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(BadRequest) as refused:
        canonical(raw)

    assert refused.value.detail == why


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"*", b"api", b"http://x/", b"example.org:443",
        b"/a b", b"/a\x00", b"/a\r\n", b"/\x7f", b"/\xc3\xa9", b"/a\\b", b"/a#b", b"/a?b",
        b"/%", b"/%4", b"/%zz", b"/a%", b"/%u0041",
        b"/a%2Fb", b"/a%2fb", b"/a%5Cb", b"/a%5cb", b"/%00", b"/%0d%0a", b"/%1f", b"/%7F",
        b"/.", b"/..", b"/a/./b", b"/a/../b", b"/a/..", b"/%2e", b"/%2E%2e/a", b"/.%2e", b"/..;x/a", b"/.;",
        b"/%2e%2e%3bx", b"/%c0%ae%c0%ae", b"/%c0%af", b"/%e0%80%af", b"/%f0%80%80%af",
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        canonical(raw)

    assert refused.value.detail


def test_an_encoded_slash_is_part_of_its_segment_when_let_through() -> None:
    assert canonical(b"/a%2fb/c", encoded_slash=True) == "/a%2Fb/c"


@pytest.mark.parametrize("raw", [b"/a%2F..%2Fb", b"/..%2fb", b"/%2e%2e%2Fb", b"/a%2f."])
def test_dot_segments_are_found_behind_encoded_slashes(raw: bytes) -> None:
    """A backend that decodes the slash would walk up."""
    with pytest.raises(BadRequest, match="dot segment"):
        canonical(raw, encoded_slash=True)


@given(raw=RAW, encoded_slash=st.booleans())
def test_a_canonical_path_is_the_same_however_often_it_is_decoded_for_dots(raw: bytes, encoded_slash: bool) -> None:
    """What is let through has no dot segment, backslash or control byte in any reading, and is rooted."""
    try:
        path = canonical(raw, encoded_slash=encoded_slash)
    except BadRequest:
        return

    assert path.startswith("/")
    assert "//" not in path
    decoded = unquote_to_bytes(raw)
    assert not {b".", b".."} & set(decoded.split(b"/"))
    assert not set(decoded) & {*range(32), 127, ord("\\")}


@given(raw=RAW)
def test_a_needless_escape_changes_nothing(raw: bytes) -> None:
    """Two spellings that RFC 3986 calls equivalent have one canonical form, and `plainer` makes them one."""
    spelt = raw.replace(b"a", b"%61").replace(b"B", b"%42").replace(b"~", b"%7e")
    try:
        path = canonical(raw)
    except BadRequest:
        with pytest.raises(BadRequest):
            canonical(spelt)
        return

    assert path == canonical(spelt) == canonical(plainer(raw))
    assert plainer(raw) == plainer(spelt)


@pytest.mark.parametrize(
    ("raw", "prefix", "rest"),
    [
        (b"/api", "/api", b"/"),
        (b"/api/", "/api", b"/"),
        (b"/api/x", "/api", b"/x"),
        (b"/apix", "/api", b"/apix"),
        (b"/other/x", "/api", b"/other/x"),
        (b"/", "/api", b"/"),
        (b"/a/b/c", "/a/b", b"/c"),
        (b"/a", "/a/b", b"/a"),
        (b"//api//x//y", "/api", b"/x//y"),
        (b"/%61pi/%78", "/api", b"/%78"),
        (b"/caf%c3%a9/x", "/café", b"/x"),
        (b"/a%2fb/x", "/a%2Fb", b"/x"),
        (b"/api//evil.example/x", "/api", b"/evil.example/x"),
        (b"/X/x", "/", b"/X/x"),
    ],
)
def test_a_prefix_is_taken_off_by_whole_segments_and_the_rest_stays_raw(raw: bytes, prefix: str, rest: bytes) -> None:
    assert rest == strip(raw, prefix)


@given(raw=RAW, prefix=st.sampled_from(["/a", "/B", "/a/B", "/é", "/aB"]))
def test_what_is_under_a_prefix_is_what_stripping_changes(raw: bytes, prefix: str) -> None:
    try:
        path = canonical(raw)
    except BadRequest:
        return

    rest = strip(raw, prefix)

    under = f"{path}/".startswith(f"{prefix}/")
    assert rest.startswith(b"/")
    assert canonical(rest) == ((path[len(prefix) :] or "/") if under else path)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"/x", b"/x"), (b"x", b"/x"), (b"", b"/"), (b"//x", b"/x"), (b"///", b"/"), (b"//X", b"/X")],
)
def test_rooted_has_one_slash_in_front(raw: bytes, expected: bytes) -> None:
    assert expected == rooted(raw)


def test_plainer_keeps_the_escapes_that_mean_something() -> None:
    assert plainer(b"/%61//%2c,%20%c3%a9%7e") == b"/a/%2C,%20%C3%A9~"


@pytest.mark.parametrize(
    ("text", "path"), [("/café", "/café"), ("/caf%c3%a9", "/café"), ("/a b", "/a b"), ("//a", "/a")]
)
def test_the_operator_may_write_a_path_escaped_or_not(text: str, path: str) -> None:
    assert path == literal(text)


@pytest.mark.parametrize("text", ["", "api", "/a/../b", "/a\\b", "/100%", "/a?b", "/a#b"])
def test_a_path_that_no_request_can_have_is_refused_at_its_setting(text: str) -> None:
    with pytest.raises(Wrong, match="no request can have") as wrong:
        literal(text, "path")

    assert wrong.value.at == ("path",)
    assert wrong.value.fix == 'write it as requests are allowed to have it, such as "/api/v1"'


def test_the_operator_may_write_an_encoded_slash() -> None:
    """Whether requests may have it, their group says."""
    assert literal("/a%2fb") == "/a%2Fb"


def test_text_is_escaped_once() -> None:
    assert escaped('/café "/%41<', also="<") == b"/caf%C3%A9%20%22/%41<"
    assert escaped("/a<X") == b"/a%3CX"


@pytest.mark.parametrize("spell", [escaped, spelled])
def test_bytes_that_are_not_utf_8_are_themselves_again(spell: Callable[[str], bytes]) -> None:
    """A canonical path has them as lone surrogates."""
    assert spell("/\udcff") == b"/%FF"


def test_the_usual_spelling_leaves_what_needs_no_escape() -> None:
    """RFC 3986 section 3.3: `pchar` and the slash."""
    assert spelled("/-._~!$&'()*+,;=:@/aX9") == b"/-._~!$&'()*+,;=:@/aX9"
    assert spelled('/%?#[]|"') == b"/%25%3F%23%5B%5D%7C%22"


@given(text=st.text(st.characters(blacklist_categories=["Cs"])))
def test_the_usual_spelling_reads_as_the_text(text: str) -> None:
    assert text.encode() == unquote_to_bytes(spelled(text))
