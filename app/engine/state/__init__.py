"""What workers and machines share: rate-limit buckets, behind one protocol. STATES is the table of its kinds."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from app.domain.bucket import Decision, Rule
from app.engine.state.board import Boards
from app.engine.state.memory import MemoryState
from app.engine.state.memory_board import MemoryBoard
from settings.problems import Problem, SettingsError
from settings.root import Settings


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


def open_state(settings: Settings, rng: Random) -> State | RemoteState:
    """The state that *settings* name.

    Raises:
        SettingsError: it cannot be had; says what to write instead.
    """
    kind = settings.state.kind
    if kind == "auto":
        kind = "lmdb" if multiprocessing.parent_process() is not None else "memory"
    return STATES[kind](settings, rng)


def open_boards(settings: Settings) -> Boards:
    """The boards that go with the state that *settings* name."""
    board = MemoryBoard()
    return Boards(board, board)


def _lmdb(settings: Settings, _: Random) -> State:
    """In the directory that is given, else in one for the workers of our supervisor."""
    import lmdb  # noqa: PLC0415  # who keeps nothing there need not have it

    from app.engine.state.directory import Held, private, runtime_room  # noqa: PLC0415
    from app.engine.state.lmdb import LmdbState, room  # noqa: PLC0415

    limits = [limit for limit in (settings.rate_limit, *settings.limits.values()) if limit.kind != "none"]
    keys = sum(limit.max_keys for limit in limits)
    supervisor = multiprocessing.parent_process()
    try:
        if settings.state.directory:
            held = Held(Path(settings.state.directory))
        else:
            assert supervisor is not None
            assert supervisor.pid is not None
            held = private(runtime_room(room(keys)), supervisor.pid)
        try:
            return LmdbState(held, keys)
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


def _unusable(settings: Settings, message: str, fix: str) -> SettingsError:
    return SettingsError([Problem("state.place", settings.origins.get("state.place", "LB_STATE"), message, fix)])


STATES: dict[str, Callable[..., State | RemoteState]] = {
    "memory": lambda *_: MemoryState(),
    "lmdb": _lmdb,
    "redis": _redis,
}

__all__ = ["STATES", "Boards", "RemoteState", "State", "open_boards", "open_state"]
