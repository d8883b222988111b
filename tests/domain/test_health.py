"""Every transition of the table, and when the next probe is due."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.health import Expectation, Health, State, probe_kind
from settings.resilience import HealthSettings

PROBED = HealthSettings(path="/health", interval=5.0, down_interval=2.0, transition_interval=1.0, rise=2, fall=3)


def after(answers: str, settings: HealthSettings = PROBED) -> Health:
    """Health after answers: + for a pass, - for a failure."""
    health = Health(settings)
    for now, answer in enumerate(answers, start=1):
        health.observe("" if answer == "+" else "refused", float(now))
    return health


def test_the_word_of_another_is_taken_as_it_is() -> None:
    """What it counts on the way to another state, too. When a state began is the word of who saw that first."""
    health, other = Health(PROBED), after("+--")
    assert health.adopt(*other.word)
    assert health.word == other.word == (State.UP, 2, "refused", 1.0)
    assert not health.adopt(State.UP, 0, "", 7.0)
    assert health.word == (State.UP, 0, "", 1.0)
    health.adopt(State.UP, 2, "refused", 1.0)
    assert health.observe("refused", 9.0)


def test_who_is_not_probed_is_up_whatever_others_say() -> None:
    """They have other settings."""
    health = Health(HealthSettings(kind="none"))
    assert not health.adopt(State.DOWN, 0, "refused", 1.0)
    assert health.state is State.UP


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ("", "checking"),
        ("+", "up"),
        ("-", "down"),
        ("+--", "up"),
        ("+---", "down"),
        ("+--+--", "up"),  # a pass ends the count
        ("-+", "down"),
        ("-++", "up"),
        ("-+-+", "down"),  # and so does a failure
    ],
)
def test_rise_and_fall(answers: str, state: str) -> None:
    """The table at the top of the module, with rise 2 and fall 3."""
    assert state == after(answers).state


@given(st.text("+-", max_size=30))
def test_a_flip_is_told_exactly_when_the_state_changes(answers: str) -> None:
    """So that it is logged once, and that `since` is its time."""
    health = Health(PROBED)
    for now, answer in enumerate(answers, start=1):
        before, since = health.state, health.since
        flipped = health.observe("" if answer == "+" else "refused", float(now))

        assert flipped == (health.state is not before)
        assert health.since == (now if flipped else since)
        assert health.reason == ("" if answer == "+" else "refused")


@pytest.mark.parametrize(
    ("answers", "seconds"), [("", 5.0), ("+", 5.0), ("-", 2.0), ("+-", 1.0), ("-+", 1.0), ("+-+", 5.0), ("-+-", 2.0)]
)
def test_the_interval_goes_by_the_state(answers: str, seconds: float) -> None:
    """5 s while UP, 2 s while DOWN, 1 s on the way from one to the other."""
    assert seconds == after(answers).interval


@given(st.integers())
def test_jitter_moves_the_next_probe_by_a_tenth_at_most(seed: int) -> None:
    """Both ways, counted from the start of the last probe; after the first anywhere in the interval."""
    health, rng = after("+"), Random(seed)

    assert 104.5 <= health.plan(100.0, rng) <= 105.5
    assert 100.0 <= health.plan(100.0, rng, first=True) <= 105.0


def test_the_next_probe_is_known() -> None:
    """Whoever waits for the backend reads it from `due`."""
    health = after("+")

    assert health.plan(100.0, Random(7)) == health.due


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ("+", 0.0),
        ("", 3.0),  # the first pass brings it up
        ("-", 4.0),  # two passes, the second a transition interval after the first
        ("-+", 3.0),  # one more
    ],
)
def test_tells_when_the_backend_may_be_back(answers: str, seconds: float) -> None:
    """Three seconds before the next probe."""
    health = after(answers)
    health.due = 103.0

    assert seconds == health.back_in(100.0)


def test_a_probe_that_is_under_way_is_not_in_the_past() -> None:
    """Its due time has gone by, its answer may come any moment."""
    assert after("-").back_in(100.0) == 1.0


def test_without_probes_a_backend_is_up_at_once() -> None:
    """Also one that was DOWN when its probes were switched off; back on, its state stays until an answer."""
    assert State.UP is Health(HealthSettings(kind="none")).state
    health = after("-")

    health.configure(HealthSettings(kind="none"))

    assert (health.state, health.streak, health.reason) == (State.UP, 0, "")

    health.configure(PROBED)

    assert State.UP is health.state


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (HealthSettings(), "tcp"),
        (HealthSettings(path="/health"), "http"),
        (HealthSettings(kind="tcp", path="/health"), "tcp"),
        (HealthSettings(kind="http"), "http"),
        (HealthSettings(kind="none"), "none"),
    ],
)
def test_the_kind_of_probe_follows_the_path_unless_said(settings: HealthSettings, kind: str) -> None:
    """A path alone is enough to ask for HTTP."""
    assert kind == probe_kind(settings)


@pytest.mark.parametrize(
    ("expected", "status", "failure"),
    [
        (("200-399",), 200, ""),
        (("200-399",), 399, ""),
        (("200-399",), 400, "status 400"),
        (("200-399",), 199, "status 199"),
        (("204", "301-302"), 204, ""),
        (("204", "301-302"), 302, ""),
        (("204", "301-302"), 200, "status 200"),
    ],
)
def test_expects_statuses(expected: tuple[str, ...], status: int, failure: str) -> None:
    """Single ones and ranges, both ends included."""
    assert failure == Expectation(HealthSettings(path="/", status=expected)).judge(status, b"")


def test_expects_a_body() -> None:
    """Anywhere in it, as text; bytes that are none do no harm."""
    expectation = Expectation(HealthSettings(path="/", body='"ready": *true|grün'))

    assert expectation.judge(200, b'{"db": 1, "ready":  true}') == ""
    assert expectation.judge(200, "grün".encode() + b"\xff") == ""
    assert expectation.judge(200, b'{"ready": false}') == "the body does not match"


@pytest.mark.parametrize(
    ("pattern", "body", "load"),
    [
        ('"load": *([0-9.]+)', b'{"ok": true, "load": 0.75}', b"0.75"),
        ('"load": *([0-9.]+)', b'{"ok": true}', b""),
        ("load=([0-9]+%)?", b"load=", b""),
        ("", b"load=1", b""),
    ],
)
def test_finds_the_load_in_a_body(pattern: str, body: bytes, load: bytes) -> None:
    """The first group, which may be left out."""
    expectation = Expectation(HealthSettings(path="/", load=pattern))

    assert expectation.load(body) == load
    assert expectation.wants_body is bool(pattern)
