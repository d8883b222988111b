"""What workers and machines share: rate-limit buckets, behind one protocol. STATES is the table of its kinds."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from app.domain.bucket import Decision, Rule
from app.engine.state.board import Board, Boards
from app.engine.state.memory import MemoryState
from app.engine.state.memory_board import MemoryBoard
from settings.problems import Problem, SettingsError
from settings.root import Settings

if TYPE_CHECKING:
    from app.engine.state.directory import Held

T = TypeVar("T")

log = logging.getLogger("l7lb.state")


class State(Protocol):
    """Where what is shared is kept, when it is at hand."""

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token of *key* at the limiter *name*.

        *now* is monotonic seconds of this machine; a kind with a clock of its own may go by that.
        """


class RemoteState(Protocol):
    """Where what is shared is kept, when it may have to be waited for."""

    def take(self, name: str, key: str, rule: Rule, now: float) -> Decision | None:
        """Spend one token, if that can be told at once; None when `ask` has to be awaited. Raises ProxyError."""

    async def ask(self, name: str, key: str, rule: Rule, now: float) -> Decision:
        """Spend one token, after `take` could not tell. Raises ProxyError."""

    async def run(self) -> None:
        """The job that keeps it reachable."""

    async def settle(self, patience: float) -> None:
        """Wait until it is reachable, for *patience* seconds at most."""


@runtime_checkable
class Roomy(Protocol):
    """A state that has to be told how many buckets there may be."""

    def make_room(self, keys: int) -> None:
        """Have room for so many."""


def open_state(settings: Settings, rng: Random) -> State | RemoteState:
    """The state that *settings* name.

    Raises:
        SettingsError: it cannot be had; says what to write instead.
    """
    kind = settings.state.kind
    if kind == "auto":
        kind = "lmdb" if multiprocessing.parent_process() is not None else "memory"
    return STATES[kind](settings, rng)


def open_boards(settings: Settings, rng: Random) -> Boards:
    """The boards that go with the state that *settings* name.

    Raises:
        SettingsError: as `open_state` does.
    """
    kind = settings.state.kind
    alone = multiprocessing.parent_process() is None
    machine: Board
    if kind == "lmdb" or (not alone and kind in ("auto", "redis")):
        machine = _lmdb_board(settings)
    else:
        machine = MemoryBoard()
        if not alone:
            log.warning(
                "LB_STATE=memory: the workers of this supervisor do not know each other; leave it out, or lmdb:DIR"
            )
    return Boards(machine, _redis_board(settings, rng) if kind == "redis" else machine)


def _lmdb(settings: Settings, _: Random) -> State:
    """In the directory that is given, else in one for the workers of our supervisor."""
    from app.engine.state.lmdb import LmdbState, room  # noqa: PLC0415  # who keeps nothing there need not have it

    limits = [limit for limit in (settings.rate_limit, *settings.limits.values()) if limit.kind != "none"]
    keys = sum(limit.max_keys for limit in limits)
    return _on_disk(settings, room(keys), lambda held: LmdbState(held, keys))


def _lmdb_board(settings: Settings) -> Board:
    from app.engine.state.lmdb_board import LmdbBoard  # noqa: PLC0415  # as above

    lasting = bool(settings.state.directory)
    return _on_disk(settings, 0, lambda held: LmdbBoard(held, lasting=lasting))


def _on_disk(settings: Settings, size: int, make: Callable[[Held], T]) -> T:
    """What *make* makes in the directory that is given, or in one for the workers of our supervisor."""
    import lmdb  # noqa: PLC0415  # as above

    from app.engine.state.directory import Held, private, runtime_room  # noqa: PLC0415

    supervisor = multiprocessing.parent_process()
    try:
        if settings.state.kind == "lmdb":
            held = Held(Path(settings.state.directory))
        else:
            assert supervisor is not None
            assert supervisor.pid is not None
            held = private(runtime_room(size), supervisor.pid)
        try:
            return make(held)
        except BaseException:
            held.release()
            raise
    except (OSError, lmdb.Error) as error:
        fix = 'write "lmdb:" and a local directory with room that only we write to, or "memory": limits of each process'
        raise _unusable(settings, f"state cannot be kept on disk ({error})", fix) from None


def _redis(settings: Settings, rng: Random) -> RemoteState:
    try:
        from app.engine.state.redis import RedisState  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise _unusable(settings, "redis is not installed", "pip install l7lb[redis]") from None
    return RedisState(settings.state, rng)


def _redis_board(settings: Settings, rng: Random) -> Board:
    try:
        from app.engine.state.redis_board import RedisBoard  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise _unusable(settings, "redis is not installed", "pip install l7lb[redis]") from None
    return RedisBoard(settings.state, rng)


def _unusable(settings: Settings, message: str, fix: str) -> SettingsError:
    return SettingsError([Problem("state.place", settings.origins.get("state.place", "LB_STATE"), message, fix)])


STATES: dict[str, Callable[..., State | RemoteState]] = {
    "memory": lambda *_: MemoryState(),
    "lmdb": _lmdb,
    "redis": _redis,
}

__all__ = ["STATES", "Boards", "RemoteState", "Roomy", "State", "open_boards", "open_state"]
