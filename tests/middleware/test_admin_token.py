"""The operator's token: tried so often by each client, and never on behalf of another site's page."""

from __future__ import annotations

import hmac

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.middleware.admin_token import FAILURES, KNOWN, PERIOD, AdminToken, Tries, _of_another_site
from tests.support.clock import Clock


def status(tries: Tries, peer: str, *, right: bool = False, tried: bool = True) -> int:
    """429, or 0 where the request goes on."""
    try:
        tries.check(peer, right=right, tried=tried)
    except HTTPException as refused:
        after = int((refused.headers or {})["retry-after"])
        return refused.status_code if 0 < after <= PERIOD else after
    return 0


def test_who_fails_too_often_is_not_believed_for_a_while() -> None:
    """With its whole IPv6 network, and not with the right token either; others are no concern of it."""
    clock = Clock()
    tries = Tries(clock)
    assert [status(tries, f"2001:db8::{n:x}") for n in range(FAILURES + 2)] == [0] * FAILURES + [429] * 2
    assert status(tries, "2001:db8::1", right=True) == 429
    assert status(tries, "2001:db8:0:1::1", right=True) == 0

    clock.advance(PERIOD)
    assert status(tries, "2001:db8::1", right=True) == 0


def test_who_had_the_token_is_not_kept_out_by_others_at_its_address() -> None:
    clock = Clock()
    tries = Tries(clock)
    status(tries, "192.0.2.1", right=True)
    for _ in range(FAILURES):
        status(tries, "192.0.2.1")
    assert [status(tries, "192.0.2.1", right=right) for right in (False, True)] == [429, 0]

    clock.advance(KNOWN)
    for _ in range(FAILURES):
        status(tries, "192.0.2.1")
    assert status(tries, "192.0.2.1", right=True) == 429


def test_without_a_token_nothing_is_tried() -> None:
    tries = Tries(Clock())
    assert {status(tries, "192.0.2.1", tried=False) for _ in range(3 * FAILURES)} == {0}


@pytest.mark.parametrize(
    ("fields", "other"),
    [
        ({}, False),
        ({"origin": "http://lb.test:8000"}, False),
        ({"origin": "https://LB.test:8000", "sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "http://lb.test"}, True),
        ({"origin": "null"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
    ],
)
def test_pages_of_other_sites(fields: dict[str, str], other: bool) -> None:
    headers = [(b"host", b"lb.test:8000"), *((name.encode(), value.encode()) for name, value in fields.items())]
    assert _of_another_site(headers) is other


TOKEN = b"the operator's token"


@pytest.mark.parametrize("scheme", [b"Bearer", b"Basic", b""])
@pytest.mark.parametrize("given", [TOKEN, TOKEN[:-1], TOKEN + b"x", b"x" * len(TOKEN), b"", b"y" * 5000, None])
async def test_whatever_is_given_is_compared_in_the_same_time(
    monkeypatch: pytest.MonkeyPatch, given: bytes | None, scheme: bytes
) -> None:
    """Once, by that which takes as long where all is different, and digests of the same length: it alone decides."""
    compared: list[tuple[int, int]] = []
    passed: list[Scope] = []

    def never(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope)

    monkeypatch.setattr(hmac, "compare_digest", never)
    asks = AdminToken(app, token=TOKEN.decode(), tries=Tries(Clock()))
    fields = [] if given is None else [(b"authorization", b"%b %b" % (scheme, given))]
    with pytest.raises(HTTPException) as refused:
        await asks({"type": "http", "headers": fields, "client": ("192.0.2.1", 1)}, None, None)  # type: ignore[arg-type]

    assert refused.value.status_code == 401
    assert compared == [(64, 64)]
    assert not passed
