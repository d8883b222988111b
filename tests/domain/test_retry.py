"""When a failed attempt is followed by another, and after how long."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Attempt
from app.domain.budget import Budget
from app.domain.errors import (
    BodyTimeout,
    ClientGone,
    ConnectFailed,
    ConnectionTerminated,
    ConnectTimeout,
    InternalError,
    NoBackend,
    ProxyError,
    ResponseTimeout,
    StaleConnection,
    TlsFailed,
    TotalTimeout,
)
from app.domain.retry import Again, RetryPolicy, Stop
from settings.resilience import RetrySettings
from tests.support.fleet import backend, fleet, pool

DEFAULT = RetryPolicy(RetrySettings())
SEVERAL = RetryPolicy(RetrySettings(attempts=10))
NOT_SENT: list[ProxyError] = [ConnectFailed(), ConnectTimeout(), TlsFailed(), ConnectionTerminated(sent=False)]
SENT: list[ProxyError] = [ConnectionTerminated(), StaleConnection(), ResponseTimeout()]


def failed(cause: ProxyError | int) -> Attempt:
    """An attempt that ended with an error or a status."""
    attempt = Attempt(backend(), 0.0)
    if isinstance(cause, int):
        attempt.status = cause
    else:
        attempt.error = cause
    return attempt


def decide(cause: ProxyError | int, policy: RetryPolicy = DEFAULT, **said: Any) -> Again | Stop:
    """For a plain GET with time and budget, unless said otherwise."""
    usual: dict[str, Any] = {
        "number": 1, "method": "GET", "keyed": False, "replayable": True, "left": inf, "retry_after": None,
        "budget": Budget(1.0, 100, 0.0), "requests": 1, "now": 0.0, "rng": Random(7),
    }  # fmt: skip
    return policy.decide(failed(cause), **usual | said)


@pytest.mark.parametrize("cause", [*NOT_SENT, *SENT, 502, 503, 504], ids=repr)
def test_a_failure_of_the_backend_is_tried_again(cause: ProxyError | int) -> None:
    """At once, but for the jitter."""
    decision = decide(cause)

    assert isinstance(decision, Again)
    assert 0 <= decision.after <= 0.025


@pytest.mark.parametrize("cause", [ClientGone(), BodyTimeout(), NoBackend(), InternalError(), 200, 404, 429, 500, 501])
def test_nobody_elses_failure_is(cause: ProxyError | int) -> None:
    """The client's, ours, and a status that is an answer."""
    assert decide(cause) == Stop("failure")


def test_the_statuses_are_the_settings() -> None:
    """In place of the usual ones."""
    policy = RetryPolicy(RetrySettings(status=("500-501", "429")))

    assert policy.statuses == {500, 501, 429}
    assert isinstance(decide(500, policy), Again)
    assert decide(503, policy) == Stop("failure")


@pytest.mark.parametrize("cause", SENT, ids=repr)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_response_that_had_begun_is_not_asked_for_again(cause: ProxyError, method: str) -> None:
    """It does not help that the method may be sent twice, nor a key."""
    broken = type(cause)()
    broken.begun = True

    assert decide(broken, method=method, keyed=True) == Stop("begun")


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_there_are_so_many_attempts_and_no_more(attempts: int) -> None:
    """The first counts; 1 is no retries."""
    policy = RetryPolicy(RetrySettings(attempts=attempts))

    assert policy.attempts == attempts
    assert [isinstance(decide(503, policy, number=n), Again) for n in range(1, attempts + 2)] == [
        *[True] * (attempts - 1), False, False
    ]  # fmt: skip
    assert decide(503, policy, number=attempts) == Stop("attempts")


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "get"])
@pytest.mark.parametrize("cause", [*SENT, 502, 503, 504], ids=repr)
def test_what_may_not_be_sent_twice_is_not_traefik_8990(method: str, cause: ProxyError | int) -> None:
    """A backend that saw a POST may have acted on it, whatever it answers: a retry is a double spend (also 1104)."""
    assert decide(cause, method=method) == Stop("method")


@pytest.mark.parametrize("cause", NOT_SENT, ids=repr)
def test_what_was_not_sent_is_tried_again_by_any_method(cause: ProxyError) -> None:
    """Nobody has seen it."""
    assert isinstance(decide(cause, method="POST"), Again)


@pytest.mark.parametrize("cause", [*SENT, 503], ids=repr)
def test_an_idempotency_key_makes_any_method_safe(cause: ProxyError | int) -> None:
    """Its backend knows the request when it comes twice."""
    assert isinstance(decide(cause, method="POST", keyed=True), Again)


def test_the_methods_are_the_settings() -> None:
    """In any case of letters."""
    policy = RetryPolicy(RetrySettings(methods=("report", "get")))

    assert isinstance(decide(503, policy, method="REPORT"), Again)
    assert decide(503, policy, method="PUT") == Stop("method")


@pytest.mark.parametrize("cause", [*NOT_SENT, *SENT, 503], ids=repr)
def test_a_body_that_is_gone_cannot_be_sent_again(cause: ProxyError | int) -> None:
    """Not even where no backend saw it."""
    assert decide(cause, method="PUT", replayable=False) == Stop("body")


def test_a_body_is_kept_up_to_what_settings_say() -> None:
    """The engine asks the policy."""
    assert (DEFAULT.max_body, RetryPolicy(RetrySettings(max_body=0)).max_body) == (65536, 0)


@pytest.mark.parametrize(("number", "ceiling"), [(1, 0.025), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.25), (9, 0.25)])
def test_the_wait_is_drawn_and_doubles(number: int, ceiling: float) -> None:
    """From nothing up to 25 ms, 50 ms and so on, at most 250 ms: 1000 draws have all of it."""
    rng = Random(7)
    waits = [decide(503, SEVERAL, number=number, rng=rng)[0] for _ in range(1000)]

    assert all(0 <= wait <= ceiling for wait in waits)  # type: ignore[operator]
    assert min(waits) < 0.02 * ceiling  # type: ignore[operator]
    assert max(waits) > 0.98 * ceiling  # type: ignore[operator]


@pytest.mark.parametrize("asked", [0.0, 0.3, 1.0])
def test_a_retry_after_is_waited_for(asked: float) -> None:
    """Not in step with the others who were told the same."""
    decision = decide(503, retry_after=asked)

    assert isinstance(decision, Again)
    assert asked < decision.after < asked + 0.025


def test_a_retry_after_that_is_too_long_is_not() -> None:
    """The backend said when it will be back: nobody waits for that, nor goes there earlier."""
    assert decide(503, retry_after=1.1) == Stop("retry_after")
    assert decide(503, RetryPolicy(RetrySettings(max_retry_after=0.0)), retry_after=1.0) == Stop("retry_after")


def test_the_other_attempt_has_to_begin_in_time() -> None:
    """What would be over when it begins is not begun."""
    assert decide(TotalTimeout(), left=0.0) == Stop("deadline")
    assert decide(503, left=-1.0) == Stop("deadline")
    assert decide(503, left=0.5, retry_after=0.5) == Stop("deadline")
    assert isinstance(decide(503, left=0.6, retry_after=0.5), Again)


def test_failover_happens_within_the_total_caddy_4245() -> None:
    """A connect timeout as long as all the time there was left no time for another backend: here it is a part of it.

    Total 5 s, connect 1 s: a backend that does not answer costs one of them, and there are four for others. With a
    connect timeout as long as the total, which settings shorten the default to, there is nothing to decide.
    """
    total = 5.0
    for number in range(1, 5):
        assert isinstance(decide(ConnectTimeout(), SEVERAL, number=number, left=total - number * 1.0), Again)
    assert decide(ConnectTimeout(), SEVERAL, number=5, left=total - 5.0) == Stop("deadline")


def test_the_next_attempt_is_at_another_backend_traefik_2723() -> None:
    """Three backends, one broken: whoever meets it first is served by another, never by it again."""
    chosen = pool(fleet(1, 1, 1))
    broken = chosen.backends[0]
    for _ in range(30):
        tried = [chosen.pick(b"", (), 0.0)]
        if tried[0] is broken:
            assert isinstance(decide(ConnectFailed()), Again)
            tried.append(chosen.pick(b"", tried, 0.0))
        assert tried[-1] is not broken


def test_without_a_budget_it_is_free() -> None:
    """All the other reasons hold."""
    assert isinstance(decide(ConnectFailed(), budget=None), Again)
    assert decide(ConnectFailed(), budget=None, number=2) == Stop("attempts")
    assert decide(ConnectFailed(), budget=None, left=0.0) == Stop("deadline")


def test_the_budget_has_the_last_word() -> None:
    """And pays for nothing that was not to be tried again anyway."""
    budget = Budget(0.0, 1, 0.0)  # 4 at once
    refused: list[tuple[int, dict[str, Any]]] = [
        (404, {}), (503, {"number": 2}), (503, {"method": "POST"}), (503, {"replayable": False}),
        (503, {"retry_after": 60.0}), (503, {"left": 0.0}),
    ]  # fmt: skip
    for cause, said in refused:
        for _ in range(10):
            assert isinstance(decide(cause, budget=budget, **said), Stop)

    assert [decide(503, budget=budget) for _ in range(10)][4:] == [Stop("budget")] * 6
    assert not budget.withdraw(1, 0.0)


@given(
    cause=st.sampled_from([*NOT_SENT, *SENT, ClientGone(), InternalError(), 200, 404, 500, 502, 503, 504]),
    number=st.integers(1, 11),
    method=st.sampled_from(["GET", "PUT", "POST", "PATCH"]),
    keyed=st.booleans(),
    replayable=st.booleans(),
    left=st.one_of(st.just(inf), st.floats(-1, 3)),
    retry_after=st.one_of(st.none(), st.floats(0, 3)),
    tokens=st.integers(0, 1),
    attempts=st.integers(1, 10),
    seed=st.integers(0, 1000),
)
def test_nothing_is_tried_again_that_must_not_be(
    cause: ProxyError | int,
    number: int,
    method: str,
    keyed: bool,
    replayable: bool,
    left: float,
    retry_after: float | None,
    tokens: int,
    attempts: int,
    seed: int,
) -> None:
    """Whatever comes together; and a token is gone exactly where there is another attempt."""
    policy = RetryPolicy(RetrySettings(attempts=attempts))
    budget = Budget(1.0, 0, 0.0)
    decision = decide(
        cause, policy, number=number, method=method, keyed=keyed, replayable=replayable, left=left,
        retry_after=retry_after, budget=budget, requests=tokens, rng=Random(seed),
    )  # fmt: skip

    if isinstance(decision, Again):
        assert number < attempts
        assert replayable
        assert tokens
        assert (retry_after or 0.0) <= decision.after < left
        assert decision.after <= 0.25 + (retry_after or 0.0) <= 1.25
        if isinstance(cause, int):
            assert cause in {502, 503, 504}
        else:
            assert cause.side == "backend"
        if isinstance(cause, int) or cause.sent:
            assert method in {"GET", "PUT"} or keyed
    assert budget.withdraw(tokens, 0.0) == (bool(tokens) and isinstance(decision, Stop))
