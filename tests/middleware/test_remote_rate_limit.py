"""A limiter whose state may have to be waited for."""

from typing import Any

import pytest

from app.domain.bucket import Decision, Rule
from app.domain.errors import RateLimited
from app.domain.exchange import Exchange
from app.engine.asgi import Receive, Scope, Send
from app.engine.direct import way_in
from app.engine.state.memory import MemoryState
from app.middleware.rate_limit import Limiter, RateLimit, RemoteRateLimit, rate_limited
from settings.limits import LimitSettings
from settings.units import Rate

SETTINGS = LimitSettings(kind="token_bucket", rate=Rate(2, 60.0))


class Far:
    """A state that knows every other answer at once."""

    def __init__(self) -> None:
        self._near = MemoryState()
        self.taken = self.asked = 0

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision | None:
        self.taken += 1
        return self._near.take(name, key, rule, now) if self.taken % 2 else None

    async def ask(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        self.asked += 1
        return self._near.take(name, key, rule, now)

    async def run(self) -> None: ...

    async def settle(self, patience: float) -> None: ...


served: list[Exchange] = []


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    served.append(scope["lb.exchange"])


async def ask(app: Any) -> Exchange:
    exchange = Exchange(100.0, "192.0.2.1", "https", "GET", "example.org", "/")
    await app({"type": "http", "headers": [], "lb.exchange": exchange}, None, None)
    return exchange


async def test_what_is_not_known_at_once_is_waited_for() -> None:
    """And comes to the same: the third of two is refused, before it costs anything more."""
    served.clear()
    state = Far()
    limiter = Limiter("default", SETTINGS, state)
    app = rate_limited(serve, limiter)

    passed = [await ask(app), await ask(app)]
    with pytest.raises(RateLimited) as caught:
        await ask(app)

    assert [exchange.limit.remaining for exchange in passed if exchange.limit] == [1, 0]
    assert served == passed
    assert (caught.value.retry_after, limiter.refused) == (30.0, 1)
    assert (state.taken, state.asked) == (3, 1)


def test_only_a_state_at_hand_has_a_synchronous_way_in() -> None:
    """So the direct driver leaves the groups of another to the general path."""
    near = rate_limited(serve, Limiter("default", SETTINGS, MemoryState()))
    far = rate_limited(serve, Limiter("default", SETTINGS, Far()))

    assert isinstance(near, RateLimit)
    assert isinstance(far, RemoteRateLimit)
    assert way_in(near) == ((near.enter,), serve)
    assert way_in(far) == ((), far)
