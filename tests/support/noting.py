"""A process that writes to a board: `python -m tests.support.noting PLACE WHAT ...`.

count KEY TIMES         adds 1 to a number, so many times, whoever else does
hold NAME SECONDS       takes a lease and sits there
keep TABLE              writes lasting notes 0, 1, 2 ... and says each one that was acknowledged, until it is killed
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from itertools import count
from random import Random

from app.engine.state import open_boards
from app.engine.state.board import Board, Conflict, Table
from settings.root import Settings
from settings.state import StateSettings

NUMBERS = Table("numbers")


def say(text: object) -> None:
    print(text, flush=True)


async def add(board: Board, key: str, times: int) -> None:
    done = 0
    while done < times:
        note = (await board.read(NUMBERS)).get(key)
        value, revision = (int(note.value), note.revision) if note is not None else (0, 0)
        with suppress(Conflict):
            await board.write(NUMBERS, key, b"%d" % (value + 1), expected=revision)
            done += 1


async def keep(board: Board, name: str) -> None:
    table = Table(name, lasting=True)
    for number in count(len(await board.read(table))):
        await board.write(table, str(number), b"x" * 100)
        say(number)


async def main(place: str, what: str, *rest: str) -> None:
    board = open_boards(Settings(state=StateSettings(place=place)), Random()).cluster
    if (run := getattr(board, "run", None)) is not None:
        job = asyncio.create_task(run())
        await board.settle(5.0)  # type: ignore[attr-defined]
    say("ready")
    if what == "count":
        await asyncio.to_thread(sys.stdin.readline)
        await add(board, rest[0], int(rest[1]))
        say("done")
    elif what == "hold":
        say(await board.lease(rest[0], "other", float(rest[1])))
        await asyncio.Event().wait()
    else:
        await keep(board, rest[0])
    if run is not None:
        job.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
