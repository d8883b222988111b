"""What a group asks for beside host and path."""

from typing import Any

import pytest

from app.domain.errors import BadRequest
from app.domain.matching import CLIENT, HEADER, LONGEST_VALUE, METHOD, PATH, QUERY, Asked, Conditions, Value
from app.domain.rewrite import LONGEST
from settings.groups import GroupSettings
from settings.problems import Wrong

Fields = list[tuple[bytes, bytes]]


def conditions(**settings: Any) -> Conditions:
    return Conditions(GroupSettings(pool="p", **settings))


def asked(
    path: str = "/", method: str = "GET", headers: Fields | None = None, query: bytes = b"", client: str = "192.0.2.1"
) -> Asked:
    return Asked(path, method, headers or [], query, client)


def test_a_group_that_asks_for_nothing_is_met_by_everything() -> None:
    assert conditions().none
    assert conditions().shortfall(asked()) == 0


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"header": {"X-A": r"~\u00e9"}}, ("header", "x-a")),
        ({"query": {"a": r"~\u00e9"}}, ("query", "a")),
    ],
)
def test_a_pattern_that_does_not_compile_is_refused_at_its_setting(
    settings: dict[str, Any], at: tuple[str, ...]
) -> None:
    """One that is fine for text, and not for the bytes of a request."""
    with pytest.raises(Wrong) as wrong:
        conditions(**settings)

    assert wrong.value.at == at


@pytest.mark.parametrize("wanted", ["\udcff", "~\udcff"])
def test_what_is_not_utf_8_is_what_it_was(wanted: str) -> None:
    """As the environment has it (PEP 383): a name, a text, a pattern."""
    assert Value(b"x", wanted).met([(b"x", b"\xff")])
    assert conditions(query={"\udcff": "1"}).shortfall(asked(query=b"%FF=1")) == 0


@pytest.mark.parametrize("settings", [{"header": {"a": "1"}}, {"query": {"a": "1"}}, {"client": ["10.0.0.0/8"]}])
def test_whoever_asks_for_one_thing_asks_for_something(settings: dict[str, Any]) -> None:
    assert not conditions(**settings).none


def test_a_value_as_long_as_it_may_be_is_wider_and_fits() -> None:
    longest = "a" * LONGEST_VALUE

    assert Value(b"x", "~a+").fits(longest.encode())
    assert Value(b"x", "~a+").wider(Value(b"x", longest))
    assert not Value(b"x", "~a+").wider(Value(b"x", longest + "a"))


def test_the_log_says_what_was_too_long() -> None:
    with pytest.raises(BadRequest, match=r"^a value is too long to be routed by$"):
        Value(b"x", "~a+").fits(b"a" * (LONGEST_VALUE + 1))
    with pytest.raises(BadRequest, match=r"^the path is too long to be routed by a regular expression$"):
        conditions(path="/a+", path_match="regex").shortfall(asked("/" + "a" * LONGEST))


@pytest.mark.parametrize(("method", "shortfall"), [("GET", 0), ("POST", 0), ("HEAD", METHOD), ("get", METHOD)])
def test_methods_are_compared_as_they_are(method: str, shortfall: int) -> None:
    """A request's method is case-sensitive (RFC 9110 section 9.1); the operator may write it either way."""
    found = conditions(method=("get", "POST"))

    assert not found.none
    assert shortfall == found.shortfall(asked(method=method))


@pytest.mark.parametrize(
    ("wanted", "values", "met"),
    [
        ("1", [b"1"], True),
        ("1", [b"0", b"1"], True),
        ("1", [b"11"], False),
        ("1", [], False),
        ("*", [b""], True),
        ("*", [], False),
        ("~v[12]", [b"v2"], True),
        ("~v[12]", [b"v3"], False),
        ("~v[12]", [b"v12"], False),
        ("~v[12]", [b"xv1"], False),
        ("é", ["é".encode()], True),
    ],
)
def test_a_value_is_any_a_text_or_a_pattern(wanted: str, values: list[bytes], met: bool) -> None:
    headers = [(b"y", b"1"), *((b"x-version", value) for value in values)]
    query = b"&".join([b"y=1", *(b"X-Version=" + value for value in values)])

    assert (0 if met else HEADER) == conditions(header={"X-Version": wanted}).shortfall(asked(headers=headers))
    assert (0 if met else QUERY) == conditions(query={"X-Version": wanted}).shortfall(asked(query=query))


@pytest.mark.parametrize(
    ("query", "met"),
    [
        (b"a+b=c%20d", True),
        (b"&&a%20b=c+d&", True),
        (b"a+b=c", False),
        (b"A+b=c+d", False),
        (b"a+b", False),
        (b"", False),
    ],
)
def test_parameters_are_decoded_as_a_form_sends_them(query: bytes, met: bool) -> None:
    assert (0 if met else QUERY) == conditions(query={"a b": "c d"}).shortfall(asked(query=query))


def test_a_parameter_without_a_value_is_there() -> None:
    assert conditions(query={"debug": "*"}).shortfall(asked(query=b"debug")) == 0
    assert conditions(query={"debug": ""}).shortfall(asked(query=b"debug")) == 0


@pytest.mark.parametrize(
    ("client", "met"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::10.1.2.3", False),
        ("unix", False),
        ("", False),
    ],
)
def test_a_client_is_in_one_of_the_networks(client: str, met: bool) -> None:
    found = conditions(client=("10.0.0.0/8", "2001:db8::/32"))

    assert (0 if met else CLIENT) == found.shortfall(asked(client=client))


def test_a_pattern_must_match_the_whole_path() -> None:
    found = conditions(path="/v[0-9]+/.*", path_match="regex")

    assert [found.shortfall(asked(path)) for path in ("/v12/x", "/v/x", "/x/v1/")] == [0, PATH, PATH]


def test_what_is_too_long_to_be_judged_is_refused() -> None:
    """Called unmatched, it would slip by a group that is there to keep it out."""
    path = conditions(path="/a+", path_match="regex")
    value = conditions(header={"x": "~a+"})

    assert path.shortfall(asked("/" + "a" * (LONGEST - 1))) == 0
    assert value.shortfall(asked(headers=[(b"x", b"a" * LONGEST_VALUE)])) == 0
    with pytest.raises(BadRequest, match="too long"):
        path.shortfall(asked("/" + "a" * LONGEST))
    with pytest.raises(BadRequest, match="too long"):
        value.shortfall(asked(headers=[(b"x", b"a" * (LONGEST_VALUE + 1))]))


def test_a_pattern_that_fits_no_bytes_is_refused_at_its_setting() -> None:
    r"""`\u` is known to patterns of text only, and a field is bytes."""
    with pytest.raises(Wrong) as wrong:
        conditions(query={"q": r"~\u00e9"})

    assert wrong.value.at == ("query", "q")


def test_the_rank_counts_what_is_asked_for() -> None:
    found = conditions(method=("GET",), header={"a": "1", "b": "2"}, query={"c": "3"}, client=("10.0.0.0/8",))

    assert found.rank() == (1, 2, 1, 1)
    assert conditions().rank() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ({}, {}, True),
        ({}, {"method": ("GET",), "header": {"a": "1"}}, True),
        ({"method": ("GET", "PUT")}, {"method": ("GET",)}, True),
        ({"method": ("GET",)}, {"method": ("GET", "PUT")}, False),
        ({"method": ("GET",)}, {}, False),
        ({"header": {"a": "*"}}, {"header": {"A": "1"}}, True),
        ({"header": {"a": "*"}}, {"header": {"b": "1"}}, False),
        ({"header": {"a": "1"}}, {"header": {"a": "*"}}, False),
        ({"header": {"a": "1"}}, {"header": {"a": "1", "b": "2"}}, True),
        ({"header": {"a": "1", "b": "2"}}, {"header": {"a": "1"}}, False),
        ({"header": {"a": "~[0-9]"}}, {"header": {"a": "1"}}, True),
        ({"header": {"a": "~[0-9]"}}, {"header": {"a": "x"}}, False),
        ({"header": {"a": "~[0-9]"}}, {"header": {"a": "~[0-9]"}}, True),
        ({"header": {"a": "~[0-9]+"}}, {"header": {"a": "~[0-9]"}}, False),
        ({"header": {"a": "~x*"}}, {"header": {"a": "x" * (LONGEST_VALUE + 1)}}, False),
        ({"query": {"a": "*"}}, {"query": {"a": "1"}}, True),
        ({"query": {"a": "*"}}, {"query": {"A": "1"}}, False),
        ({"client": ("10.0.0.0/8",)}, {"client": ("10.1.0.0/16", "10.2.0.0/16")}, True),
        ({"client": ("10.0.0.0/8",)}, {"client": ("10.1.0.0/16", "11.0.0.0/16")}, False),
        ({"client": ("10.1.0.0/16",)}, {"client": ("10.0.0.0/8",)}, False),
        ({"client": ("0.0.0.0/0",)}, {"client": ("::/0",)}, False),
        ({"client": ("0.0.0.0/0",)}, {}, False),
    ],
)
def test_wider_is_said_only_when_it_is_certain(wide: dict[str, Any], narrow: dict[str, Any], expected: bool) -> None:
    assert expected is conditions(**wide).wider(conditions(**narrow))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({}, {}, False),
        ({"method": ("GET",)}, {"method": ("PUT",)}, True),
        ({"method": ("GET",)}, {"method": ("GET", "PUT")}, False),
        ({"header": {"a": "1"}}, {"header": {"a": "2"}}, True),
        ({"header": {"a": "1"}}, {"header": {"a": "1"}}, False),
        ({"header": {"a": "1"}}, {"header": {"b": "2"}}, False),
        ({"header": {"a": "1"}}, {"header": {"a": "*"}}, False),
        ({"query": {"a": "1"}}, {"query": {"a": "2"}}, True),
        ({"client": ("10.0.0.0/8",)}, {"client": ("11.0.0.0/8",)}, True),
        ({"client": ("10.0.0.0/8",)}, {"client": ("10.1.0.0/16",)}, False),
        ({"client": ("10.1.0.0/16",)}, {"client": ("10.0.0.0/8",)}, False),
    ],
)
def test_apart_is_what_hardly_a_request_meets_both_of(
    one: dict[str, Any], other: dict[str, Any], expected: bool
) -> None:
    assert expected is conditions(**one).apart(conditions(**other))


def test_a_query_is_taken_apart_once() -> None:
    one = asked(query=b"a=1")

    assert one.parameters is one.parameters == [(b"a", b"1")]


@pytest.mark.uncompiled  # there a pair of numbers is no object, and one is made whenever Python looks
def test_a_client_is_taken_apart_once() -> None:
    one = asked(client="10.0.0.1")

    assert one.address is one.address == (4, 0x0A000001)


def test_a_value_of_another_name_is_never_wider() -> None:
    assert not Value(b"a", "*").wider(Value(b"b", "*"))
