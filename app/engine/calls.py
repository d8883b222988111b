"""A reload everywhere: what one process is asked for is published, and every other does the same and says so.

Each machine reads its own settings file; that all machines have the same one is not ours to see to.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from app.engine.reload import Refused
from app.engine.state.board import BoardAway, Table, follow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.engine.crew import Crew, Mate
    from app.engine.reload import Reload
    from app.engine.state.board import Board, Note
    from settings.changes import Changed

CALLS = Table("calls")
"""CALL: what was asked for last, and of which revision."""
ANSWERS = Table("answers")
"""Worker -> to which call, and what came of it there."""
CALL = "call"
LISTEN = 0.1
"""Seconds between two looks at the calls, and at the answers."""
PATIENCE = 5.0
"""Seconds that the others have to answer."""
KEPT = 3600.0
"""Seconds that an answer stands."""

log = logging.getLogger("l7lb.reload")

_NONE = (-1, "", "")

Verb = Literal["reload", "rollback"]


class Answer(NamedTuple):
    """What came of a call at one worker.

    Attributes:
        state: `applied`, `refused`, or `silent` where it has not said.

        revision: that is in force there; "" where it has not said.

        why: it was refused; "" where it was not.
    """

    worker: Mate
    state: str
    revision: str
    why: str


class Calls:
    """Asks the others on *board* for what was asked for here, and does what they ask for."""

    def __init__(self, reload: Reload[Any], board: Board, crew: Crew) -> None:
        self._reload = reload
        self._board = board
        self._crew = crew
        self._seen = -1

    @property
    def me(self) -> Mate:
        """This worker."""
        return self._crew.me

    async def settle(self) -> None:
        """At the start, before the settings file is read: what was asked for before, that does."""
        with suppress(BoardAway):
            self._seen = _revision(await self._board.read(CALLS))

    async def run(self) -> None:
        """The job: listen, and do."""
        async with aclosing(follow(self._board, CALLS, LISTEN)) as found:
            async for notes in found:
                before, self._seen = self._seen, _revision(notes)  # it is less where the board has lost what it had
                if -1 < before < self._seen and (call := _call(notes[CALL].value)) is not None:
                    verb, digest, by = call
                    if by != self._crew.id:
                        await self._do(verb, digest, self._seen)

    async def reload(self) -> tuple[list[Changed], list[Answer]]:
        """Reload here, then everywhere: what that changed here, and what came of it. Raises as `Reload.reload` does."""
        found = await self._reload.reload()
        return found, await self._ask("reload")

    async def roll_back(self, digest: str) -> tuple[list[Changed], list[Answer]]:
        """Go back here, then everywhere: as `reload` has it. Raises as `Reload.roll_back` does."""
        found = await self._reload.roll_back(digest)
        return found, await self._ask("rollback")

    async def _do(self, verb: Verb, digest: str, call: int) -> None:
        why = ""
        try:
            if verb == "reload":
                await self._reload.reload()
            else:
                await self._reload.roll_back(digest)
        except (Refused, BoardAway) as error:
            why = str(error)
        except KeyError:
            why = f"revision {digest} is not kept here"
        if why:
            log.error("%s refused, nothing has changed: %s", verb, why)
        with suppress(BoardAway):
            await self._say(call, why)

    async def _ask(self, verb: Verb) -> list[Answer]:
        """Publish it, and gather what the others say."""
        call = {"verb": verb, "revision": self._reload.revision.digest, "by": self._crew.id}
        answers: list[Answer] = []
        try:
            async with asyncio.timeout(PATIENCE):
                number = await self._board.write(CALLS, CALL, json.dumps(call).encode())
                await self._say(number, "")
                while not answers or any(answer.state == "silent" for answer in answers):
                    answers = await self._heard(number)
                    await asyncio.sleep(LISTEN)
        except TimeoutError:
            pass
        except BoardAway as error:
            log.warning("%s: the other workers were not reached: %s", verb, error)
        return answers

    async def _say(self, call: int, why: str) -> None:
        """What came of a call here."""
        said = {"call": call, "revision": self._reload.revision.digest, "why": why}
        await self._board.write(ANSWERS, self._crew.id, json.dumps(said).encode(), seconds=KEPT)

    async def _heard(self, call: int) -> list[Answer]:
        """What everybody who is here has said to *call*, or to one after it, which was done later still."""
        said = {worker: _answer(note.value) for worker, note in (await self._board.read(ANSWERS)).items()}
        answers = []
        for mate in await self._crew.present(self._board):
            answered, revision, why = said.get(mate.id, _NONE)
            if answered >= call:
                answers.append(Answer(mate, "refused" if why else "applied", revision, why))
            else:
                answers.append(Answer(mate, "silent", "", ""))
        return answers


def _revision(notes: Mapping[str, Note]) -> int:
    """Of the last call; 0 without one."""
    return notes[CALL].revision if CALL in notes else 0


def _call(note: bytes) -> tuple[Verb, str, str] | None:
    """What is asked for, which revision, and by whom; None where it cannot be read, being of another version."""
    try:
        said = json.loads(note)
        return said["verb"], str(said["revision"]), str(said["by"])
    except (ValueError, TypeError, KeyError):
        return None


def _answer(note: bytes) -> tuple[int, str, str]:
    """To which call, which revision is in force, and why it was refused; _NONE where that cannot be read."""
    try:
        said = json.loads(note)
        return int(said["call"]), str(said["revision"]), str(said["why"])
    except (ValueError, TypeError, KeyError):
        return _NONE
