"""Header fields that a group changes."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.fields import FieldRules, field, field_name, trailer_names
from settings.groups import HeaderSettings
from settings.problems import Wrong

SENT = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"\xff")]


def rules(**settings: object) -> FieldRules:
    found = FieldRules.of(HeaderSettings(**settings))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_nothing_to_do_costs_nothing() -> None:
    assert FieldRules.of(HeaderSettings()) is None


def test_removing_takes_all_fields_of_the_name_whatever_its_case() -> None:
    assert rules(remove=("A", "absent")).apply(SENT) == [(b"b", b"2"), (b"c", b"\xff")]


def test_setting_leaves_one_field_of_the_name() -> None:
    assert rules(set={"A": "x"}).apply(SENT) == [(b"b", b"2"), (b"c", b"\xff"), (b"a", b"x")]


def test_adding_keeps_what_is_there() -> None:
    assert [*SENT, (b"a", b"x")] == rules(add={"A": "x"}).apply(SENT)


def test_removed_first_then_set_then_added() -> None:
    """A name may be in all three: the old ones go, one is set, one is added."""
    changed = rules(remove=("a",), set={"a": "set"}, add={"a": "added"}).apply(SENT)

    assert changed == [(b"b", b"2"), (b"c", b"\xff"), (b"a", b"set"), (b"a", b"added")]


def test_what_is_taken_goes_unless_it_is_set() -> None:
    """Fields that are somebody else's to say."""
    taken = FieldRules.of(HeaderSettings(), (b"a", b"c"))
    set_again = FieldRules.of(HeaderSettings(set={"a": "x"}), (b"a",))

    assert taken is not None
    assert set_again is not None
    assert taken.apply(SENT) == [(b"b", b"2")]
    assert set_again.apply(SENT)[-1] == (b"a", b"x")


def test_the_list_that_was_sent_is_left_alone() -> None:
    sent = list(SENT)

    rules(add={"x": "y"}).apply(sent)
    rules(remove=("a",)).apply(sent)

    assert sent == SENT


def test_the_host_can_be_set_but_not_doubled_or_lost() -> None:
    assert rules(set={"Host": "x"}).apply([(b"host", b"a")]) == [(b"host", b"x")]
    for settings in (HeaderSettings(remove=("Host",)), HeaderSettings(add={"host": "x"})):
        with pytest.raises(Wrong, match="exactly one Host"):
            FieldRules.of(settings)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "é", "Content-Length", "transfer-encoding", "Connection"])
def test_a_name_that_is_none_or_frames_the_message_is_refused(name: str) -> None:
    with pytest.raises(Wrong):
        field_name(name)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "a\x00", "\x7f", "\u20ac"])
def test_a_value_that_could_end_its_line_is_refused(value: str) -> None:
    with pytest.raises(Wrong, match="cannot be sent"):
        field("x", value)


@pytest.mark.parametrize(
    ("said", "problem", "fix"),
    [
        (lambda: rules(remove=("Host",)), "a request has exactly one Host", "set Host, or use host_header"),
        (
            lambda: field_name("a b"),
            "'a b' is not the name of a header field",
            "write letters, digits, - and _ only",
        ),
        (
            lambda: field_name("Content-Length"),
            "Content-Length belongs to one connection and is made anew for each",
            "leave it out",
        ),
        (
            lambda: field("X-A", "\n"),
            "the value of X-A cannot be sent in a header field",
            "leave out line ends, control characters and what is not in Latin-1",
        ),
        (lambda: trailer_names(["Via"]), "Via would be taken for a field of the head", "leave it out"),
    ],
)
def test_what_is_refused_is_named_with_what_to_write(said: Callable[[], object], problem: str, fix: str) -> None:
    with pytest.raises(Wrong) as wrong:
        said()

    assert (wrong.value.message, wrong.value.fix) == (problem, fix)


def test_space_around_a_value_is_no_part_of_it() -> None:
    """Space and tab, RFC 9110 section 5.5; what Latin-1 calls a space is one of its characters."""
    assert field("X", " \ta\xa0X\t ") == (b"x", b"a\xa0X")
    assert field("X", "X\xa0") == (b"x", b"X\xa0")


@given(value=st.text())
def test_whatever_is_accepted_stays_one_line(value: str) -> None:
    try:
        _, sent = field("x", value)
    except Wrong:
        return

    assert not set(sent) & {0, 10, 13}
    assert sent.decode("latin-1") == value.strip(" \t")


def test_names_of_trailers() -> None:
    """In lower case, as fields come."""
    assert trailer_names(["X-Checksum", "x-b"]) == {b"x-checksum", b"x-b"}


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Forwarded-For", "Content-Length", "Via", "a b"])
def test_what_may_never_be_a_trailer(name: str) -> None:
    """RFC 9110 section 6.5.1: what frames, routes, authenticates, or tells of the client."""
    with pytest.raises(Wrong):
        trailer_names([name])
