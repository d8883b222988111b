"""Priority: backends of a higher level take what those of the lower ones cannot bear; another strategy within each.

    soundness of a level = min(1, 1.4 * weight of its backends that are available / weight of all its backends)
    part of a level      = min(1 - parts of the levels before it, soundness / min(1, sum of all soundness))

So level 0 takes everything until less than 1 / 1.4 = 71 % of it are left; then what it is short of spills over to
level 1, and so on. When all together are short (the sum is under 1), each bears in proportion. A backend that is
draining is missing from its level: the others have to bear its load, whatever the reason.

The level is drawn at random; by the key where the strategy within goes by one, so that a key moves to another level
only when the parts change. A pick costs what one of the strategy within does, and a look at each level.

Source: Envoy, "Priority levels" of its upstream load balancing documentation, with weighted health.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from app.domain import strategies
from app.domain.attempt import Attempt
from app.domain.backend import Backend
from app.domain.strategies.hashing import digest
from app.domain.strategies.strategy import Strategy
from settings.models import Choice, Frozen
from settings.problems import Wrong

_HAIR = 1e-9
"""What sums of shares may be off by."""


def _known(within: Choice) -> Choice:
    """*within*, which can be built. Raises Wrong."""
    try:
        strategies.STRATEGIES.options(within)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        place = ".".join(map(str, wrong["loc"]))
        fix = f"write the options that docs/strategies.md says {within.kind} has"
        raise Wrong(f"{within.kind}: {place}: {wrong['msg']}", fix) from None
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        raise Wrong(message, hint or f"write one of {', '.join(strategies.STRATEGIES)}") from None
    return within


class Levels(Frozen):
    """Options of priority."""

    within: Annotated[Choice, AfterValidator(_known)] = Choice(kind="round_robin")
    """How one of a level is chosen: any other strategy, with its options."""
    overprovisioning: float = Field(default=1.4, ge=1, le=1000)
    """How many times what it usually bears a level can bear; 1000: a level gives nothing away until it is gone."""


class Level:
    """The backends of one level that are available, their strategy, and their part of the traffic."""

    __slots__ = ("available", "part", "strategy")

    def __init__(self, available: Sequence[Backend], part: float, strategy: Strategy) -> None:
        self.available = available
        self.part = part
        self.strategy = strategy


class Priority(Strategy):
    """Lower levels first, the next ones by spill-over."""

    __slots__ = ("_all", "_levels", "_options", "_rng", "_strategies", "_whole", "header", "keyed", "learns")

    Options = Levels

    def __init__(self, options: Levels, *, rng: Random, **services: object) -> None:
        self._options = options
        self._rng = rng
        self._strategies: dict[int, Strategy] = {}
        self._all: Sequence[Backend] = ()
        self._whole: Sequence[Backend] = ()
        self._levels: list[Level] = []
        within = self._within(0)
        self.keyed = getattr(within, "keyed", False)
        self.learns = getattr(within, "learns", False)
        self.header = getattr(within, "header", b"")

    def follow(self, backends: Sequence[Backend]) -> None:
        """How much a level has when nothing is missing."""
        self._all = backends

    def suffices(self, available: Sequence[Backend]) -> bool:
        """Whether the levels together can bear all: then those that are out are not needed, however many they are."""
        return sum(self._soundness(available).values()) >= 1.0 - _HAIR

    def rebuild(self, available: Sequence[Backend]) -> None:
        """Work out the parts, and have each level prepare itself."""
        self._whole = available
        members: dict[int, list[Backend]] = {level: [] for level in self._strategies}
        for backend in available:
            members.setdefault(backend.level, []).append(backend)
        soundness = self._soundness(available)
        whole = min(1.0, sum(soundness.values()))
        left = 1.0
        self._levels = []
        for number in sorted(members):
            level = tuple(members[number])
            strategy = self._within(number)
            strategy.rebuild(level)
            if level:
                part = min(left, soundness[number] / whole)
                left -= part
                self._levels.append(Level(level, part, strategy))

    def pick(self, available: Sequence[Backend], key: bytes, now: float) -> Backend:
        """Choose a level, and let its strategy choose."""
        level = self._levels[0]
        if available is not self._whole:
            level = self._drawn(self._left(available), key)
        elif level.part < 1.0:
            level = self._drawn(self._levels, key)
        return level.strategy.pick(level.available, key, now)

    def charge(self, backend: Backend) -> None:
        """Count it as a turn in its level."""
        self._within(backend.level).charge(backend)

    def observe(self, attempt: Attempt, now: float, retry_after: float = 0.0) -> None:
        """Tell the strategy of its level."""
        self._within(attempt.backend.level).observe(attempt, now, retry_after)

    def report(self, backend: Backend, load: float, now: float) -> None:
        """Tell the strategy of its level."""
        self._within(backend.level).report(backend, load, now)

    def _within(self, level: int) -> Strategy:
        if level not in self._strategies:
            self._strategies[level] = strategies.STRATEGIES.build(self._options.within, rng=self._rng)
        return self._strategies[level]

    def _soundness(self, available: Sequence[Backend]) -> dict[int, float]:
        whole: Counter[int] = Counter()
        for backend in self._all or available:
            whole[backend.level] += backend.weight
        # in panic there are some among them that are not fit, unless nobody is
        fit = [backend for backend in available if backend.available] or available
        sound: Counter[int] = Counter()
        for backend in fit:
            sound[backend.level] += backend.weight
        times = self._options.overprovisioning
        return {level: min(1.0, times * sound[level] / weight) for level, weight in whole.items() if weight}

    def _left(self, available: Sequence[Backend]) -> list[Level]:
        """The levels without those that were tried."""
        among = set(available)
        left = []
        for level in self._levels:
            some = tuple(backend for backend in level.available if backend in among)
            if len(some) == len(level.available):
                left.append(level)
            elif some:
                left.append(Level(some, level.part, level.strategy))
        return left

    def _drawn(self, levels: Sequence[Level], key: bytes) -> Level:
        """One of them by their parts; the first where none has any, because those that have were tried."""
        point = digest(b"level\0" + key) * 2.0**-64 if self.keyed and key else self._rng.random()
        point *= sum(level.part for level in levels)
        for level in levels:
            point -= level.part
            if point < 0.0:
                return level
        return levels[0]
