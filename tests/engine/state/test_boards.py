"""What every kind of board does, each on the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from math import inf
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.engine.state.board import LARGEST, Board, Conflict, Table, follow
from app.engine.state.directory import Held
from app.engine.state.lmdb_board import LmdbBoard
from app.engine.state.memory_board import MemoryBoard

FLEETING, LASTING = Table("fleeting"), Table("lasting", lasting=True)


KINDS = ("memory", "lmdb", "lmdb of a supervisor", "redis")


@pytest.fixture(params=KINDS)
async def board(request: pytest.FixtureRequest, tmp_path: Path, open_board: Any) -> AsyncIterator[Board]:
    """A board of every kind."""
    if request.param == "memory":
        yield MemoryBoard()
    elif request.param == "redis":
        yield await open_board(request.getfixturevalue("redis_server").url, prefix=uuid4().hex)
    else:
        board = LmdbBoard(Held(tmp_path), lasting=request.param == "lmdb")
        yield board
        board.close()


@pytest.mark.parametrize("table", [FLEETING, LASTING])
async def test_what_was_written_is_read_until_it_is_taken_away(board: Board, table: Table) -> None:
    """Each write has a revision of its own, and each table its own notes."""
    assert (await board.revision(table), await board.read(table)) == (0, {})

    first = await board.write(table, "a", b"1")
    second = await board.write(table, "b", b"\x00\xff" * 1000)
    third = await board.write(table, "a", b"")

    assert 0 < first < second < third == await board.revision(table)
    notes = await board.read(table)
    assert {key: (note.value, note.revision) for key, note in notes.items()} == {
        "a": (b"", third),
        "b": (b"\x00\xff" * 1000, second),
    }
    assert await board.read(Table("other", table.lasting)) == {}

    gone = await board.write(table, "a", None)

    assert gone > third
    assert [*await board.read(table)] == ["b"]


@pytest.mark.parametrize("table", [FLEETING, LASTING])
async def test_a_write_that_expects_another_revision_changes_nothing(board: Board, table: Table) -> None:
    """Neither a note that is not there, nor one that somebody else has written meanwhile."""
    with pytest.raises(Conflict) as none:
        await board.write(table, "a", b"1", expected=7)
    first = await board.write(table, "a", b"1", expected=0)
    with pytest.raises(Conflict) as there:
        await board.write(table, "a", b"2", expected=0)
    second = await board.write(table, "a", b"2", expected=first)
    with pytest.raises(Conflict) as other:
        await board.write(table, "a", None, expected=first)

    assert (none.value.revision, there.value.revision, other.value.revision) == (0, first, second)
    assert (await board.read(table))["a"].value == b"2"
    await board.write(table, "a", None, expected=second)
    await board.write(table, "a", b"3", expected=0)


async def test_of_many_that_expect_the_same_one_writes(board: Board) -> None:
    """The others are told."""
    said = await asyncio.gather(
        *(board.write(FLEETING, "a", b"%d" % n, expected=0) for n in range(50)), return_exceptions=True
    )

    assert sum(isinstance(one, int) for one in said) == 1
    assert sum(isinstance(one, Conflict) for one in said) == 49


async def test_a_note_may_go_by_itself(board: Board) -> None:
    """Then it is as if it had never been: none is expected there."""
    await board.write(FLEETING, "a", b"1", seconds=0.2)
    await board.write(FLEETING, "b", b"2")
    notes = await board.read(FLEETING)
    assert 0 < notes["a"].seconds <= 0.2
    assert notes["b"].seconds == inf

    while "a" in await board.read(FLEETING):
        await asyncio.sleep(0.02)

    assert [*await board.read(FLEETING)] == ["b"]
    await board.write(FLEETING, "a", b"3", expected=0)


async def test_a_note_has_its_limit(board: Board) -> None:
    """Up to it, it is kept whole."""
    await board.write(FLEETING, "a", b"x" * LARGEST)
    with pytest.raises(ValueError, match="limit"):
        await board.write(FLEETING, "b", b"x" * (LARGEST + 1))

    assert (await board.read(FLEETING))["a"].value == b"x" * LARGEST


async def test_a_lease_has_one_holder(board: Board) -> None:
    """Who has it renews it; another gets it when it is given back, or over."""
    assert await board.lease("probe", "a", 30.0)
    assert not await board.lease("probe", "b", 30.0)
    assert await board.lease("other", "b", 30.0)
    assert await board.lease("probe", "a", 30.0)

    assert await board.lease("probe", "a", 0)
    assert await board.lease("probe", "b", 0.1)
    while not await board.lease("probe", "a", 30.0):
        await asyncio.sleep(0.02)
    assert not await board.lease("probe", "b", 30.0)


async def test_who_follows_a_table_hears_of_each_change(board: Board) -> None:
    """Of what is there at first, of a write, and of a note that goes by itself."""
    async with asyncio.timeout(20), aclosing(follow(board, FLEETING, 0.01)) as found:
        assert set(await anext(found)) == set()
        await board.write(FLEETING, "a", b"1")
        assert set(await anext(found)) == {"a"}
        await board.write(FLEETING, "b", b"1", seconds=0.2)
        assert set(await anext(found)) == {"a", "b"}
        assert set(await anext(found)) == {"a"}
