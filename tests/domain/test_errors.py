"""What leaves by the door of errors."""

from app.domain.errors import (
    Answered,
    AuthAway,
    ConnectFailed,
    NoBackend,
    Refused,
    TooManyFailures,
    Unauthorized,
    UpstreamError,
)


def test_a_layers_answer_is_no_error() -> None:
    answered = Answered(204, [(b"a", b"b")])

    assert (answered.status, answered.fields, answered.body) == (204, [(b"a", b"b")], b"")
    assert Answered(200, [], b"ok").body == b"ok"


def test_an_error_says_what_is_known_of_it() -> None:
    """And where nothing is said, what is so for its kind."""
    said = ConnectFailed("no route", sent=True, retry_after=2.0)
    kind = NoBackend()

    assert (str(said), said.detail, said.sent, said.retry_after) == ("no route", "no route", True, 2.0)
    assert (str(kind), kind.detail, kind.sent, kind.retry_after) == ("", "", False, 1.0)
    assert not UpstreamError(sent=False).sent


def test_who_is_to_blame() -> None:
    """The client, where it may not come; we, where we cannot tell."""
    known = [(error.status, error.side) for error in (Refused, Unauthorized, TooManyFailures, AuthAway)]

    assert known == [(403, "client"), (401, "client"), (429, "client"), (503, "proxy")]
