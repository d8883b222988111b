"""What holds of a pool whatever happens, in any order: probes, answers, time, drains, weights, reloads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.breaker import State
from app.domain.ejection import most
from app.domain.errors import ClientGone, Full, NoBackend, ProxyError, ResponseTimeout
from app.domain.health import State as Health
from app.domain.pool import Pool
from settings.pools import PoolSettings
from settings.resilience import HealthSettings
from tests.support.answers import answer
from tests.support.fleet import fleet, strategy

unhurried = hypothesis.settings(deadline=None)  # many events, on a machine that may be busy
PROBED = HealthSettings(path="/health", rise=1, fall=1)
ANSWERS: dict[str, tuple[int, ProxyError | None, float]] = {
    "pass": (200, None, 0.01),
    "slow": (200, None, 2.0),
    "503": (503, None, 0.01),
    "none": (0, ResponseTimeout(), 0.01),
    "client": (0, ClientGone(), 0.01),
}


class Life:
    """A pool, and everything that happens to it; `check` after each thing."""

    def __init__(self, size: int, settings: PoolSettings) -> None:
        self.now = 1000.0
        self.settings = settings
        self.backends = fleet(*[1] * size, health=PROBED)
        self.flying: list[tuple[Pool, Attempt]] = []
        self.pool = self.made(self.backends)
        self.told: list[str] = []

    def made(self, backends: tuple[Backend, ...]) -> Pool:
        tell = lambda sentence, backend: self.told.append(sentence)  # noqa: E731
        return Pool("p", self.settings, strategy("round_robin"), backends, rng=Random(1), tell=tell)

    def backend(self, index: int) -> Backend:
        return self.backends[index % len(self.backends)]

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def probe(self, index: int, failure: str) -> None:
        backend = self.backend(index)
        if backend.health.observe(failure, self.now):
            self.pool.flip(backend, self.now)
            assert backend.breaker.state is State.CLOSED or backend.health.state is Health.DOWN

    def drain(self, index: int) -> None:
        self.pool.drain(self.backend(index))

    def undrain(self, index: int) -> None:
        self.pool.undrain(self.backend(index))

    def weigh(self, index: int, weight: int) -> None:
        self.pool.weigh(self.backend(index), weight)

    def reload(self, size: int) -> None:
        old, self.backends = self.pool, self.pool.backends[:size]
        self.pool = self.made(self.backends)
        old.yield_to(self.pool)

    def pick(self, tried: int, stuck: int | None) -> None:
        """Pick, and begin an attempt; *tried* is how many were, from the first."""
        before = self.backends[:tried]
        wanted = None if stuck is None else self.backend(stuck)
        try:
            backend = self.pool.pick(b"", before, self.now, wanted)
        except Full:
            limit = self.pool.settings.breaker.half_open
            for one in self.pool.available:
                assert one.full or (one.breaker.state is State.HALF_OPEN and one.breaker.trials >= limit)
            return
        except NoBackend:
            assert not self.pool.available
            assert self.pool.back_in(self.now) >= 1.0
            return
        if backend.draining:
            assert backend is wanted
            assert self.settings.sticky.draining
        else:
            assert backend in self.pool.available
        assert backend not in before or not any(
            one.admits(self.pool.panic) for one in self.pool.available if one not in before
        )
        assert backend.breaker.state is not State.OPEN or self.pool.panic
        if backend.breaker.state is State.HALF_OPEN and not self.pool.panic:
            assert backend.breaker.trials <= self.settings.breaker.half_open
        backend.in_flight += 1
        self.flying.append((self.pool, Attempt(backend, self.now)))

    def end(self, index: int, kind: str) -> None:
        """End one of the attempts, in the pool that it began in."""
        if self.flying:
            pool, attempt = self.flying.pop(index % len(self.flying))
            attempt.status, attempt.error, _ = ANSWERS[kind]
            attempt.first_byte = self.now if attempt.status else 0.0
            attempt.backend.in_flight -= 1
            pool.observe(attempt, self.now)

    def answers(self, index: int, kind: str, count: int) -> None:
        """So many alike at once, of requests that were sent meanwhile."""
        status, error, head = ANSWERS[kind]
        for _ in range(count):
            self.pool.observe(answer(self.backend(index), self.now, status, error=error, head=head), self.now)
            self.check()

    def check(self) -> None:
        pool = self.pool
        taking = [one for one in self.backends if one.weight and not one.draining]
        known = [one for one in taking if one.health.state is not Health.CHECKING]
        up = [one for one in known if one.health.state is Health.UP]
        well = [one for one in up if one.breaker.state is not State.OPEN]
        out = [one for one in taking if one.breaker.state is not State.CLOSED]
        assert len(out) <= most(len(taking), self.settings.breaker.max_ejected)
        assert list(pool.available) == (known if pool.panic else well)
        sound = sum(one.breaker.state is State.CLOSED for one in up)
        assert pool.panic == (bool(up) and sound < self.settings.panic * len(known) - 1e-9)
        assert not pool.panic or (up and self.settings.panic)
        if len(taking) == 1 and self.settings.breaker.max_ejected < 1.0:
            assert well == up
        assert all((not one.absence(self.now)) <= one.available for one in self.backends)


def settings(max_ejected: str, panic: str, half_open: int, draining: bool, limit: int) -> PoolSettings:
    breaker = {"max_ejected": max_ejected, "half_open": half_open, "slow": "1s", "outliers": 1.5, "min_requests": 5}
    sticky = {"enabled": True, "keys": "0123456789abcdef", "draining": draining}
    said = {"breaker": breaker, "panic": panic, "sticky": sticky, "backend_max_in_flight": limit}
    return PoolSettings.model_validate(said)


SETTINGS = st.builds(
    settings,
    st.sampled_from(["0%", "34%", "50%", "100%"]),
    st.sampled_from(["0%", "50%", "100%"]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([0, 0, 2]),
)
INDEX = st.integers(0, 6)
Event = Callable[[Life], None]


def event(name: str, *arguments: object) -> Event:
    return partial(lambda life, name, arguments: getattr(life, name)(*arguments), name=name, arguments=arguments)


def events(*kinds: str) -> st.SearchStrategy[list[Event]]:
    """Lists of what can happen; with answers of these kinds."""
    kind = st.sampled_from(kinds)
    one = st.one_of(
        st.builds(partial(event, "answers"), INDEX, kind, st.sampled_from([1, 5, 20])),
        st.builds(partial(event, "answers"), INDEX, kind, st.sampled_from([1, 5, 20])),
        st.builds(partial(event, "wait"), st.sampled_from([0.0, 0.5, 1.0, 9.0, 31.0, 400.0])),
        st.builds(partial(event, "probe"), INDEX, st.sampled_from(["", "", "refused"])),
        st.builds(partial(event, "drain"), INDEX),
        st.builds(partial(event, "undrain"), INDEX),
        st.builds(partial(event, "weigh"), INDEX, st.integers(0, 3)),
        st.builds(partial(event, "reload"), st.integers(1, 7)),
        st.builds(partial(event, "pick"), st.integers(0, 3), st.one_of(st.none(), INDEX)),
        st.builds(partial(event, "pick"), st.just(0), st.none()),
        st.builds(partial(event, "end"), INDEX, kind),
    )
    return st.lists(one, max_size=40)


def lived(size: int, said: PoolSettings, happens: list[Event]) -> Life:
    """A pool that is UP, and what then happened."""
    life = Life(size, said)
    for index in range(size):
        life.probe(index, "")
    for each in happens:
        each(life)
        life.check()
    return life


@unhurried
@given(st.integers(1, 7), SETTINGS, events(*ANSWERS))
def test_the_rules_hold_whatever_happens(size: int, said: PoolSettings, happens: list[Event]) -> None:
    """The cap, counted after; panic; who is available; whom a pick may choose: see `Life.check` and `Life.pick`."""
    lived(size, said, happens)


@unhurried
@given(st.integers(1, 7), SETTINGS, events(*ANSWERS))
def test_every_ejection_ends(size: int, said: PoolSettings, happens: list[Event]) -> None:
    """Nobody is out for ever: by time alone all are half-open, and with answers that pass all are closed.

    Whatever is still in flight, and never ends.
    """
    life = lived(size, said, happens)
    for index, one in enumerate(life.backends):
        one.max_in_flight = 0
        life.undrain(index)
        life.weigh(index, 1)
        life.probe(index, "")
    life.wait(max(0.0, *(one.breaker.until - life.now for one in life.backends)))
    life.pick(0, None)

    assert all(one.breaker.state is not State.OPEN for one in life.backends)

    for _ in range(40):
        life.wait(10.0)  # what was before may eject some once more, for 5.5 minutes at most
        life.flying.clear()
        for _ in life.backends:
            life.pick(0, None)
        life.wait(0.01)
        while life.flying:
            life.end(0, "pass")

    assert all(one.breaker.state is State.CLOSED for one in life.backends)
    assert life.pool.available == life.backends
    assert not life.pool.panic


@unhurried
@given(st.integers(1, 7), SETTINGS, events("pass", "slow", "client"))
def test_slowness_alone_never_empties_a_pool(size: int, said: PoolSettings, happens: list[Event]) -> None:
    """As long as one that takes part is UP, one is available, with panic or without (frankendeploy 94)."""
    life = Life(size, said)
    for index in range(size):
        life.probe(index, "")
    for each in happens:
        each(life)
        for one in life.backends:
            if one.takes_part and one.health.state is Health.UP:
                assert life.pool.available


@unhurried
@given(SETTINGS, events(*ANSWERS))
def test_a_single_backend_is_there_while_it_is_up(said: PoolSettings, happens: list[Event]) -> None:
    """Unless the settings allow all to be ejected; half of its answers are better than none."""
    life = lived(1, said, happens)
    (one,) = life.backends

    if one.health.state is Health.UP and one.takes_part and said.breaker.max_ejected < 1.0:
        assert life.pool.available == (one,)
        assert one.breaker.state is State.CLOSED
