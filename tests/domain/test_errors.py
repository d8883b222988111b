"""What leaves by the door of errors."""

from app.domain.errors import Answered, AuthAway, Refused, TooManyFailures, Unauthorized


def test_a_layers_answer_is_no_error() -> None:
    answered = Answered(204, [(b"a", b"b")])

    assert (answered.status, answered.fields) == (204, [(b"a", b"b")])


def test_who_is_to_blame() -> None:
    """The client, where it may not come; we, where we cannot tell."""
    known = [(error.status, error.side) for error in (Refused, Unauthorized, TooManyFailures, AuthAway)]

    assert known == [(403, "client"), (401, "client"), (429, "client"), (503, "proxy")]
