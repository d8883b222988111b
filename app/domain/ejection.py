"""Whom of its backends a pool can spare: the rules of ejection and panic that no backend can know alone.

**The cap.** Of the n backends that take part (weight over 0, not draining) at most

    max(1 where n > 1, else 0;  floor(n * max_ejected))

may be out, counted after the ejection: open ones and half-open ones, for those may be out again any moment. So a single
backend stays, of two or more one may always go. Where n shrinks meanwhile, the surplus is let off.

**Slowness.** Being slow, or worse than the others, is no reason to leave nobody: for these reasons nobody is ejected
who is the last one available, and who is out for them is let off when nobody else is left.

**Hints.** What another process has ejected is half-open here, within the same limits, and not where that would be a
panic: at most `half_open` requests at a time find out whether the same holds here.

**Panic.** Where fewer than the share `panic` of the backends are sound (available, and not half-open, for those bear
next to nothing), all of them are used, those that are ejected or DOWN as well, as long as one is UP: the few could not
bear it all. What has not been probed yet does not count, and is not used: nothing is known of it, and a pool that grows
is no emergency. Where the strategy says that the few suffice, there is no panic.

**Outliers**, among closed backends with `min_requests` in the window, where there are 5 or more of these: a success
rate below mean - `outliers` * standard deviation. Of n, one that fails at all while the others never do is at
sqrt(n - 1), so 1.9 ejects it, and with 5 backends 2.0 ejects nobody.

Sources: Envoy, `outlier_detection.proto` and its "Panic threshold"; that the cap is counted after is what envoy issues
26877 and 27066 ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import floor, inf, sqrt
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from app.domain.backend import Backend
from app.domain.breaker import BUCKETS, CLOSED, HALF_OPEN, OPEN, OUTLIER, SLOW, Trip
from app.domain.health import State
from settings.resilience import BreakerSettings

if TYPE_CHECKING:
    from app.domain.attempt import Attempt

LENIENT: Final = frozenset({SLOW, OUTLIER})
"""Reasons for which a pool is not emptied."""
COMPARABLE: Final = 5
"""Backends, below which a deviation means nothing; Envoy's `success_rate_minimum_hosts`."""
_HAIR: Final = 1e-9
"""0.7 * 10 is a bit over 7."""


class Standing(NamedTuple):
    """How a pool stands.

    Attributes:
        taking: how many take part.

        out: how many of them are open or half-open.

        known: those of them that have been probed, or need not be.

        well: those of them that are available for themselves.

        sound: how many of these are not half-open.
    """

    taking: int
    out: int
    known: tuple[Backend, ...]
    well: tuple[Backend, ...]
    sound: int

    def short(self, panic: float) -> bool:
        """Whether fewer than this share are sound, while one is UP."""
        return self.sound < panic * len(self.known) - _HAIR and any(b.health.state is State.UP for b in self.known)


def stand(backends: Iterable[Backend]) -> Standing:
    """Look at all of a pool."""
    taking = [backend for backend in backends if backend.takes_part]
    known = tuple(backend for backend in taking if backend.health.state is not State.CHECKING)
    well = tuple(backend for backend in known if backend.available)
    out = sum(backend.breaker.state is not CLOSED for backend in taking)
    return Standing(len(taking), out, known, well, sum(backend.breaker.state is CLOSED for backend in well))


def most(taking: int, max_ejected: float) -> int:
    """How many may be out of so many that take part."""
    return max(int(taking > 1), floor(taking * max_ejected + _HAIR))


def spares(standing: Standing, backend: Backend, reason: str, max_ejected: float) -> bool:
    """Whether *backend* may be ejected for *reason*. One that does not take part may: it is missed by nobody."""
    if not backend.takes_part:
        return True
    if standing.out + (backend.breaker.state is CLOSED) > most(standing.taking, max_ejected):
        return False
    others = len(standing.well) - backend.available
    return others > 0 or reason not in LENIENT


def surplus(backends: Iterable[Backend], max_ejected: float) -> list[Backend]:
    """Who has to be let off, those first whose time is over, or next."""
    taking = [backend for backend in backends if backend.takes_part]
    out = [backend for backend in taking if backend.breaker.state is not CLOSED]
    if not out:
        return out
    out.sort(key=lambda backend: (backend.breaker.state is OPEN, backend.breaker.until))
    many = max(0, len(out) - most(len(taking), max_ejected))
    off, rest = out[:many], out[many:]
    if not any(b.health.state is State.UP and (b in off or b.breaker.state is not OPEN) for b in taking):
        off += [backend for backend in rest if backend.breaker.reason in LENIENT]
    return off


def outliers(backends: Iterable[Backend], settings: BreakerSettings, now: float) -> list[tuple[Backend, Trip]]:
    """Who succeeds far less often than the others, the worst first."""
    rates: list[tuple[float, Backend]] = []
    for backend in backends:
        breaker = backend.breaker
        if breaker.state is CLOSED and backend.takes_part:
            if now >= breaker.ends:
                breaker.turn(now)
            requests, failures, _ = breaker.counts()
            if requests >= settings.min_requests:
                rates.append((1.0 - failures / requests, backend))
    if len(rates) < COMPARABLE:
        return []
    mean = sum(rate for rate, _ in rates) / len(rates)
    deviation = sqrt(sum((rate - mean) ** 2 for rate, _ in rates) / len(rates))
    found = [(rate, backend) for rate, backend in rates if rate < mean - settings.outliers * deviation - _HAIR]
    found.sort(key=lambda one: one[0])
    return [(backend, Trip(OUTLIER, f"{rate:.0%} succeed, {mean:.0%} in the pool")) for rate, backend in found]


News = tuple[str, Backend]
"""What became of a backend, in a few words."""
Tell = Callable[[str, Backend | None], None]
"""Takes such words, and whose they are; None: the whole pool's, whose name is not among them."""


def unheard(sentence: str, backend: Backend | None) -> None:
    """Take it for nobody."""


class Ejections:
    """Moves the breakers of one pool as far as that can spare the backends, and says what has become of them.

    Attributes:
        standing: how the pool stands; kept up to date by `settle`, which has to follow every change.

        due: when time next changes something, and `turn` has to be called.
    """

    __slots__ = ("_backends", "_look", "_rng", "_settings", "due", "standing")

    def __init__(self, settings: BreakerSettings, backends: Sequence[Backend], rng: Random) -> None:
        self._settings = settings
        self._backends = backends
        self._rng = rng
        self._look = -inf if settings.enabled and settings.outliers else inf
        self.due = inf
        self.standing = stand(backends)
        for backend in backends:
            backend.breaker.configure(settings)

    def settle(self) -> list[News]:
        """Look at all backends again, and let those off that the pool cannot spare any more."""
        off = surplus(self._backends, self._settings.max_ejected)
        for backend in off:
            backend.breaker.close(backend.breaker.since)
        self.standing = stand(self._backends)
        self.due = self._next()
        return [("back: closed, for the pool cannot spare it", backend) for backend in off]

    def follow(self, backends: Sequence[Backend]) -> None:
        """Go by these from now on."""
        self._backends = backends
        for backend in backends:
            backend.breaker.configure(self._settings)

    def judge(self, attempt: Attempt, now: float) -> list[News]:
        """Take an attempt that ended."""
        backend = attempt.backend
        breaker = backend.breaker
        tried = breaker.state is HALF_OPEN
        trip = breaker.observe(attempt, now)
        if trip is not None:
            if spares(self.standing, backend, trip.reason, self._settings.max_ejected):
                return [self._eject(backend, trip, now)]
            if tried:
                breaker.close(now)
        return [("back: closed", backend)] if tried and breaker.state is CLOSED else []

    def suspect(self, backend: Backend, reason: str, now: float, panic: float) -> list[News]:
        """Take the word of another process that ejected it for *reason*: a hint, which is not worth a *panic*.

        Who is not closed is not closed for reasons of our own, which are better.
        """
        if backend.breaker.state is not CLOSED or not self._settings.enabled:
            return []
        standing = self.standing
        left = standing._replace(sound=standing.sound - backend.available)
        if left.short(panic) or not spares(standing, backend, reason, self._settings.max_ejected):
            return []
        backend.breaker.suspect(reason, now)
        return [("suspect: half-open, for another worker ejected it", backend)]

    def turn(self, now: float) -> list[News]:
        """Do what time has brought; the next is `due` after that."""
        news: list[News] = []
        if now >= self._look:
            for backend, trip in outliers(self._backends, self._settings, now):
                if spares(self.standing, backend, trip.reason, self._settings.max_ejected):
                    news.append(self._eject(backend, trip, now))
                    self.standing = stand(self._backends)
            self._look = now + self._settings.window / BUCKETS
        for backend in self._backends:
            breaker = backend.breaker
            if breaker.state is not CLOSED and now >= breaker.until and breaker.admit(now):
                news.append(("back: half-open", backend))
        self.due = self._next()
        return news

    def _next(self) -> float:
        ends = [backend.breaker.until for backend in self._backends if backend.breaker.state is not CLOSED]
        return min([self._look, *ends])

    def _eject(self, backend: Backend, trip: Trip, now: float) -> News:
        backend.breaker.eject(trip.reason, now, self._rng.random())
        return f"ejected for {round(backend.breaker.until - now, 1):g}s: {trip.words}", backend
