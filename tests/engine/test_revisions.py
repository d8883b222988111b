"""The settings files that a machine keeps."""

import pytest

from app.engine.revisions import REVISIONS, Revisions, digest_of
from app.engine.state.memory_board import MemoryBoard


async def test_the_last_ones_are_kept() -> None:
    """The oldest goes when there is another; one that is in force again is the newest."""
    revisions = Revisions(MemoryBoard(), 3)
    for since, text in enumerate(["a", "b", "c", "a", "d"]):
        await revisions.add(text, since)

    assert [revision.digest for revision in await revisions.known()] == [*map(digest_of, "cad")]
    assert await revisions.text(digest_of("c")) == "c"
    with pytest.raises(KeyError):
        await revisions.text(digest_of("b"))


async def test_a_pin_holds_while_the_file_is_the_same() -> None:
    """And as long as what it names is kept."""
    revisions = Revisions(MemoryBoard(), 3)
    await revisions.add("a", 1.0)
    await revisions.add("b", 2.0)
    assert await revisions.pinned("b") == "b"

    await revisions.pin(digest_of("a"), "b")

    assert await revisions.pinned("b") == "a"
    assert await revisions.pinned("c") == "c"
    assert [revision.digest for revision in await revisions.known()] == [*map(digest_of, "ab")]
    for since, text in enumerate("cdef", 3):
        await revisions.add(text, since)
    assert await revisions.pinned("b") == "b"


async def test_a_text_that_is_too_long_is_said_so() -> None:
    """A settings file may have 4 MiB, a note one: what cannot be made shorter is not kept."""
    board = MemoryBoard()
    revisions = Revisions(board, 3)
    await revisions.add("[a]\n" * 1_000_000, 1.0)
    with pytest.raises(ValueError, match="limit"):
        await revisions.add("".join(digest_of(str(number)) for number in range(200_000)), 2.0)

    assert len(await board.read(REVISIONS)) == 1
