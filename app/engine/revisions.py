"""The revisions of the settings file that a machine keeps, to go back to."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from app.engine.state.board import Board, Note, Table

REVISIONS = Table("revisions", lasting=True)
"""Digest -> text, and since when; and PIN."""
PIN = "pin"


class Revision(NamedTuple):
    """A settings file that is or was in force; *since* is wall-clock seconds."""

    digest: str
    since: float


class Revisions:
    """Up to *keep* revisions, on the board of the machine. All of it raises BoardAway.

    Going back pins a revision to the file that is there at that moment: while it is, whoever starts goes back, too.
    """

    def __init__(self, board: Board, keep: int) -> None:
        self._board = board
        self._keep = keep

    async def known(self) -> list[Revision]:
        """Those that are kept, the oldest first."""
        return _known(await self._board.read(REVISIONS))

    async def add(self, text: str, since: float) -> None:
        """Keep *text* as the newest, and let the oldest go. Raises ValueError when it is too long to be kept."""
        packed = b64encode(zlib.compress(text.encode())).decode()
        note = json.dumps({"since": since, "text": packed}).encode()
        await self._board.write(REVISIONS, digest_of(text), note)
        for old in (await self.known())[: -self._keep]:
            await self._board.write(REVISIONS, old.digest, None)

    async def text(self, digest: str) -> str:
        """Of the settings file of revision *digest*. Raises KeyError."""
        return _text((await self._board.read(REVISIONS))[digest])

    async def pin(self, digest: str, file: str) -> None:
        """Have revision *digest* in force as long as *file* is the text of the settings file."""
        note = json.dumps({"file": digest_of(file), "digest": digest}).encode()
        await self._board.write(REVISIONS, PIN, note)

    async def pinned(self, file: str) -> str:
        """The text that is in force in place of *file*; that itself where none is pinned."""
        notes = await self._board.read(REVISIONS)
        pin = json.loads(notes[PIN].value) if PIN in notes else {}
        if pin.get("file") != digest_of(file) or pin["digest"] not in notes:
            return file
        return _text(notes[pin["digest"]])


def digest_of(text: str) -> str:
    """What a revision is known by."""
    return blake2b(text.encode(), digest_size=6).hexdigest()


def _known(notes: Mapping[str, Note]) -> list[Revision]:
    found = [Revision(key, json.loads(note.value)["since"]) for key, note in notes.items() if key != PIN]
    return sorted(found, key=lambda revision: revision.since)


def _text(note: Note) -> str:
    return zlib.decompress(b64decode(json.loads(note.value)["text"])).decode()
