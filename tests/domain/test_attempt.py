"""One try at one backend: what is known when it begins, and what an error says of it."""

import pytest

from app.domain.attempt import Attempt
from app.domain.errors import ConnectFailed, ConnectionTerminated, ProxyError, RateLimited, ResponseTimeout
from tests.support.fleet import backend


def test_an_attempt_begins_with_nothing_but_its_backend() -> None:
    """0.0 is "did not happen"."""
    b = backend()
    attempt = Attempt(b, 5.0)

    assert (attempt.backend, attempt.started) == (b, 5.0)
    assert (attempt.connected, attempt.first_byte, attempt.ended, attempt.status) == (0.0, 0.0, 0.0, 0)
    assert not attempt.reused
    assert attempt.error is None


@pytest.mark.parametrize(
    ("error", "sent"),
    [(ConnectFailed(), False), (ResponseTimeout(), True), (ConnectionTerminated(sent=False), False)],
)
def test_an_error_knows_whether_the_backend_may_have_seen_the_request(error: ProxyError, sent: bool) -> None:
    """By its kind, unless who raises it knows better."""
    assert error.sent is sent


def test_an_error_carries_what_the_answer_needs() -> None:
    """Detail for people, seconds for `Retry-After`."""
    error = RateLimited("slow down", retry_after=1.5)

    assert (error.detail, error.retry_after, error.status) == ("slow down", 1.5, 429)
    assert ProxyError().retry_after is None
