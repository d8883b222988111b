"""A pool: its backends, which of them are available, and how one is picked.

Who is available is worked out when something happens: a flip of health, a drain, a turn of a breaker. Time by itself
changes things (an ejection ends, a slow start goes on, outliers are looked for) only in `pick`, when the next of these
is due; while none is, a pick is the strategy's own and a few comparisons. All that changes who is available is in
one place, and this is it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from math import inf
from random import Random
from typing import TYPE_CHECKING

from app.domain.affinity import affinity_of
from app.domain.backend import Backend, absences
from app.domain.breaker import CLOSED, HALF_OPEN
from app.domain.ejection import Ejections, News, Tell, unheard
from app.domain.errors import Full, NoBackend
from app.domain.health import State
from app.domain.slow_start import SlowStart, level
from app.domain.strategies.reported import load_of
from app.domain.strategies.strategy import Strategy
from settings.pools import PoolSettings

if TYPE_CHECKING:
    from app.domain.attempt import Attempt


class Pool:
    """Backends, and how one is chosen.

    Args:
        rng: for the jitter of ejections; seeded by the name where none is given.

        heir: the pool that has taken this one's place; None while nobody has.

        tell: hears of ejections, their ends, and panic.

    Attributes:
        backends: all of them, in the order of the settings; changed by `change` only.

        available: those that may be picked now, in the same order; kept up to date by `refresh`.

        panic: so few are available for themselves that the others are used, too.

        panics: how often that began.

        in_flight: requests that are at a backend of this pool; counted by who sends them.

        limit: of these; 0 is without limit. May be set at any time.

        affinity: makes the key of a request; None where nothing goes by it.

        load_header: name of the response field in which backends say their load; b"" where nobody listens.
    """

    __slots__ = (
        "_again", "_charge", "_choose", "_due", "_ejections", "_guarded", "_learn", "_left", "_slow_start", "_strategy",
        "affinity", "available", "backends", "heir", "in_flight", "limit", "load_header", "name", "panic", "panics",
        "settings", "tell", "timeouts",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        settings: PoolSettings,
        strategy: Strategy,
        backends: tuple[Backend, ...],
        *,
        rng: Random | None = None,
        tell: Tell = unheard,
    ) -> None:
        self.name = name
        self.settings = settings
        self.timeouts = settings.timeouts
        self.backends = backends
        self.available: tuple[Backend, ...] = ()
        self.panic = False
        self.panics = 0
        self.in_flight = 0
        self.limit = settings.max_in_flight
        self.tell: Tell = tell
        self._ejections = Ejections(settings.breaker, backends, rng or Random(name))
        self.heir: Pool | None = None
        self._strategy = strategy
        self._choose = strategy.pick  # bound once, not per request
        self._charge = strategy.charge
        self._learn: Callable[..., None] | None = strategy.observe if getattr(strategy, "learns", False) else None
        self._slow_start = SlowStart(settings.slow_start) if settings.slow_start.window else None
        self._again = self._due = inf
        self.load_header: bytes = getattr(strategy, "header", b"")
        keyed = ("client",) if getattr(strategy, "keyed", False) else ()
        self.affinity = affinity_of(settings.affinity or keyed)
        self._left: tuple[Backend, ...] = ()
        self._admit()
        strategy.follow(backends)
        self.refresh()

    def refresh(self) -> None:
        """Look again which backends are available: after anything but time changed that."""
        self._say(self._ejections.settle())
        standing = self._ejections.standing
        well, known = standing.well, standing.known
        panic = standing.short(self.settings.panic) and not (well and self._strategy.suffices(well))
        self.available = known if panic else well
        if panic is not self.panic:
            self.panic = panic
            self.panics += panic
            self.tell(f"panic{'' if panic else ' is over'}: {standing.sound} of {len(known)} available", None)
        heeded = (b.max_in_flight or b.breaker.state is not CLOSED for b in self.available)
        self._guarded = not self.available or any(heeded)
        self._due = self._ejections.due
        if self._slow_start is None:
            level(self.available)
            self._strategy.rebuild(self.available)
            return
        for backend in set(self.backends).difference(self.available):
            backend.entered = None
        self._again = self._due = -inf  # who entered does so with the next pick, which knows the time

    def pick(self, key: bytes, tried: Sequence[Backend], now: float, stuck: Backend | None = None) -> Backend:
        """Pick a backend for one attempt, which has to be given to `observe` when it has ended.

        Args:
            key: what affinity goes by; only hashing strategies look at it.

            tried: backends that this exchange was at already: avoided while another is available.

            now: monotonic seconds.

            stuck: where a cookie keeps this client: taken while it is fit; where the settings say so, draining or not.

        Raises:
            NoBackend: none is available; its `retry_after` is when a probe or the end of an ejection may bring one.

            Full: all that are available are at their limit, or the pool is at its own.
        """
        if now >= self._due:
            self._turn(now)
        if self._guarded or tried or stuck is not None or self.limit:
            return self._pick_guarded(key, tried, now, stuck)
        return self._choose(self.available, key, now)

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Learn from an attempt that ended; *retry_after* is seconds of its `Retry-After`, where there is one."""
        breaker = attempt.backend.breaker
        if (
            now < breaker.ends
            and attempt.error is None
            and attempt.status not in breaker.failing
            and attempt.first_byte - attempt.started <= breaker.slow
        ):
            breaker.requests += 1
            breaker.streak = 0
        else:
            self._judge(attempt, now)
        if self._learn is not None:
            self._learn(attempt, now, retry_after)

    def report(self, backend: Backend, said: bytes, now: float) -> None:
        """Take what `load_header` says of a backend's load; what is no load is not heard."""
        load = load_of(said)
        if load is not None:
            self._strategy.report(backend, load, now)

    def flip(self, backend: Backend, now: float) -> None:
        """Its health became another; one that is UP again is believed, whatever its breaker says."""
        if backend.health.state is State.UP and backend.breaker.state is not CLOSED:
            backend.breaker.close(now)
            self.tell("back: closed, for its probes pass", backend)
        self.refresh()

    def suspect(self, backend: Backend, reason: str, now: float) -> None:
        """Another process has ejected it for *reason*: find out, with few requests, whether that holds here, too."""
        if news := self._ejections.suspect(backend, reason, now, self.settings.panic):
            self._say(news)
            self.refresh()

    def drain(self, backend: Backend, until: float = inf) -> None:
        """Have it finish what it has; nothing new, but of clients that a cookie keeps at it, *until* then."""
        backend.draining = True
        backend.let_go = until
        self.refresh()

    def undrain(self, backend: Backend) -> None:
        """Have it take requests again, with slow start where there is one."""
        backend.draining = False
        self.refresh()

    def weigh(self, backend: Backend, weight: int) -> None:
        """Give it another weight."""
        backend.weight = weight
        self.refresh()

    def remove(self, backend: Backend) -> None:
        """Have it no more."""
        self.change(tuple(other for other in self.backends if other is not backend))

    def change(self, backends: tuple[Backend, ...]) -> None:
        """Have these, in this order.

        Who stays keeps what it has, and so do the strategy, the breakers and the counters. Who is not among them takes
        nothing new, from no client, and is one of `leaving` until it is idle.
        """
        staying = set(backends)
        gone = [backend for backend in self.backends if backend not in staying]
        for backend in gone:
            backend.leaving = True
            backend.entered = None
        self._left = (*(backend for backend in self._left if backend not in staying), *gone)
        self.backends = backends
        self._admit()
        self._ejections.follow(backends)
        self._strategy.follow(backends)
        self.refresh()

    @property
    def leaving(self) -> tuple[Backend, ...]:
        """Those it had, which still have something to finish."""
        self._left = tuple(backend for backend in self._left if not backend.idle)
        return self._left

    def forget(self, backends: Collection[Backend]) -> None:
        """Wait no longer for these of `leaving`; what they have is not cut."""
        self._left = tuple(backend for backend in self._left if backend not in backends)

    def yield_to(self, heir: Pool) -> None:
        """Hand on to *heir*, which takes this pool's place, what exchanges that began before still bring here."""
        heir.panics += self.panics - (self.panic and heir.panic)  # one that goes on is the same one
        heir.inherit((*self._left, *self.backends))
        self.heir = heir
        self._guarded = True
        self._due = inf

    def inherit(self, backends: Iterable[Backend]) -> None:
        """Know of *backends*, which a pool had whose place this one takes: those that it has not itself are leaving."""
        staying = set(self.backends)
        self._left = tuple(backend for backend in backends if backend not in staying)
        for backend in self._left:
            backend.leaving = True

    def back_in(self, now: float) -> float:
        """Seconds, at least 1, until a probe or the end of an ejection may bring a backend back."""
        return max(1.0, min((b.back_in(now) for b in self.backends if b.takes_part), default=1.0))

    def _pick_guarded(self, key: bytes, tried: Sequence[Backend], now: float, stuck: Backend | None) -> Backend:
        """Pick where there is something to heed."""
        if self.heir is not None:
            return self.heir.pick(key, tried, now, stuck)
        if stuck is not None and (stuck in tried or not stuck.keeps(self.settings.sticky.draining, now)):
            stuck = None
        if stuck is None and not self.available:
            raise NoBackend(f"pool {self.name}: {absences(self.backends, now)}", retry_after=self.back_in(now))
        if 0 < self.limit <= self.in_flight:
            raise Full(f"pool {self.name}: {self.in_flight} in flight, {self.limit} is the limit")
        backend = stuck
        if backend is None:
            backend = self._choose_admitting(key, tried, now)
        elif not backend.draining:
            self._charge(backend)
        if backend.breaker.state is HALF_OPEN:
            backend.breaker.trials += 1
        return backend

    def _choose_admitting(self, key: bytes, tried: Sequence[Backend], now: float) -> Backend:
        available = self.available
        untried = tuple(backend for backend in available if backend not in tried) if tried else available
        backend = self._choose(untried or available, key, now)
        if backend.admits(self.panic):
            return backend
        for among in (untried, available):
            if admitting := tuple(backend for backend in among if backend.admits(self.panic)):
                return self._choose(admitting, key, now)
        raise Full(f"pool {self.name}: all of {len(available)} backends are at their limit")

    def _judge(self, attempt: Attempt, now: float) -> None:
        """Have the breaker see an answer that is more than one pass among others."""
        if self.heir is not None:
            self.heir._judge(attempt, now)  # noqa: SLF001  # a pool like this one
        elif not attempt.backend.leaving and (news := self._ejections.judge(attempt, now)):
            self._say(news)
            self.refresh()

    def _admit(self) -> None:
        """Make what its backends have of it."""
        most = self.settings.backend_max_in_flight
        for backend in self.backends:
            backend.leaving = False
            own = backend.spec.max_in_flight
            backend.max_in_flight = most if own is None else own

    def _turn(self, now: float) -> None:
        """Do what time has brought."""
        if now >= self._ejections.due and (news := self._ejections.turn(now)):
            self._say(news)
            self.refresh()
        if self._slow_start is not None and now >= self._again:
            self._again = self._slow_start.weigh(self.available, now)
            self._strategy.rebuild(self.available)
        self._due = min(self._again, self._ejections.due)

    def _say(self, news: list[News]) -> None:
        for sentence, backend in news:
            self.tell(sentence, backend)
