"""Who is here: the workers of this machine and of the cluster, each known by a note that it renews.

    run starts --> here --renewed each second--> here
                    |
                    +--run ends, or not renewed for LASTING--> gone

A worker that is held up for longer than LASTING is gone meanwhile, and here again when it goes on: whoever acts for
those that are gone has to bear that.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from secrets import token_hex
from socket import gethostname
from typing import NamedTuple

from app.engine.state.board import Board, BoardAway, Boards, Table

WORKERS = Table("workers")
"""Id -> machine, pid, since."""
RENEWAL = 1.0
"""Seconds between two renewals."""
LASTING = 3.0
"""Seconds for which a worker that does not renew its note is still here."""


class Mate(NamedTuple):
    """One worker.

    Attributes:
        id: its own for as long as it runs, and nobody else's ever.

        machine: name of the host.

        pid: of the process, on its machine.

        since: wall-clock seconds of its start.
    """

    id: str
    machine: str
    pid: int
    since: float


class Crew:
    """This worker among the others.

    Args:
        boards: where they meet. A process that is alone writes nothing there.

        machine: name of this one; that of the host where none is given.

    Attributes:
        me: this worker.
    """

    def __init__(self, boards: Boards, machine: str = "") -> None:
        self.me = Mate(token_hex(8), machine or gethostname(), os.getpid(), time.time())
        self._boards = tuple(dict.fromkeys(board for board in boards if not board.lone))
        self._value = json.dumps(self.me[1:]).encode()

    @property
    def id(self) -> str:
        """Of this worker."""
        return self.me.id

    @property
    def machine(self) -> str:
        """Name of this one."""
        return self.me.machine

    async def run(self) -> None:
        """The job: be known to the others until it is cancelled."""
        if not self._boards:
            return
        try:
            while True:
                await asyncio.gather(*map(self._renew, self._boards))
                await asyncio.sleep(RENEWAL)
        finally:
            await asyncio.gather(*map(self._leave, self._boards))

    async def present(self, board: Board) -> list[Mate]:
        """Who is here, as *board* knows, the longest first; this worker in any case. Raises BoardAway."""
        found = {self.id: self.me}
        if not board.lone:
            found |= {
                key: mate for key, note in (await board.read(WORKERS)).items() if (mate := _mate(key, note.value))
            }
        return sorted(found.values(), key=lambda mate: (mate.since, mate.id))

    async def _renew(self, board: Board) -> None:
        with suppress(BoardAway):
            await board.write(WORKERS, self.id, self._value, seconds=LASTING)

    async def _leave(self, board: Board) -> None:
        with suppress(BoardAway):
            await board.write(WORKERS, self.id, None)


def _mate(key: str, value: bytes) -> Mate | None:
    """Who that is; None where it cannot be read, being of another version."""
    try:
        machine, pid, since = json.loads(value)
        return Mate(key, str(machine), int(pid), float(since))
    except (ValueError, TypeError):
        return None
