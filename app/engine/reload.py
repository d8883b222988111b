"""Other settings in the same process: the settings file read again, checked, compared, and put in force as a whole.

    the file changed, SIGHUP, POST --> read --> checked --> compared --> in force, and kept
                                         |         |           |
                                         +---------+-----------+--> refused: nothing has changed

A revision is known by a digest of the settings file. The environment of a process is not read again, for it does not
change.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Generic, TypeVar

from app.engine.revisions import Revision, Revisions, digest_of
from app.engine.state.board import BoardAway
from app.engine.watched import Mark, mark_of, versions
from settings.changes import Changed, changes
from settings.load import reread
from settings.problems import Problem, SettingsError
from settings.root import Settings

SHOWN = 5
"""Changes that a line of the log names."""

Plan = TypeVar("Plan")

log = logging.getLogger("l7lb.reload")


class Refused(Exception):
    """Nothing has changed, and *problems* has every reason: one is wrong, or needs a restart."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class Reload(Generic[Plan]):
    """The settings of this process, which are *settings* from the start.

    Args:
        plan: what is made of settings before they are put in force, in a thread; raises SettingsError where they
            could not be.

        apply: puts them in force, with what *plan* made of them.

        revisions: where they are kept.

    Attributes:
        settings: in force.

        revision: of them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        plan: Callable[[Settings], Plan],
        apply: Callable[[Settings, Plan], object],
        revisions: Revisions,
    ) -> None:
        self.settings = settings
        self.revision = Revision(digest_of(settings.text), time.time())
        self.revisions = revisions
        self._plan = plan
        self._apply = apply
        self._lock = asyncio.Lock()
        self._mark: Mark | None = None

    async def settle(self) -> None:
        """At the start: go back where this machine has, and have it keep what is in force."""
        path = self.settings.config
        if path is None:
            return
        try:
            self._mark = await asyncio.to_thread(mark_of, path)
            before = self.settings.text
            if await asyncio.to_thread(_now_in, path) != before:  # it has changed since we read it
                await self.attempt()
                before = self.settings.text
            if (text := await self.revisions.pinned(before)) != before:
                await self._take(text)
            else:
                await self._keep()
        except (BoardAway, OSError, Refused) as error:
            log.warning("what the settings were before is not known: %s", error)

    async def watch(self) -> None:
        """The job: put in force each version of the file."""
        path, interval = self.settings.config, self.settings.reload.interval
        if path is None or not self.settings.reload.watch:
            return
        while True:
            try:
                async with aclosing(versions(path, interval, self._mark)) as found:
                    async for self._mark in found:
                        await self.attempt()
            except OSError:  # it is gone, or being replaced: what was there before stays
                await asyncio.sleep(interval)

    async def attempt(self) -> None:
        """Put in force what the file says now, where that can be; the log has why not."""
        try:
            await self.reload()
        except Refused as refused:
            for problem in refused.problems:
                log.error("reload refused, nothing has changed: %s", problem)

    async def preview(self) -> list[Changed]:
        """What a reload would change. Raises Refused."""
        return (await asyncio.to_thread(self._read, None))[2]

    async def reload(self) -> list[Changed]:
        """Put in force what the file says now; what that changed. Raises Refused."""
        return await self._take(None)

    async def roll_back(self, digest: str) -> list[Changed]:
        """Put a former revision in force, until the file changes; what that changed.

        Raises:
            KeyError: it is not kept.

            Refused: it is not fit to be in force any more.

            BoardAway: nobody can say what it was.
        """
        text = await self.revisions.text(digest)
        path = self.settings.config
        file = await asyncio.to_thread(_now_in, path) if path is not None else ""  # what changes after this is new
        found = await self._take(text)
        try:
            await self.revisions.pin(digest, file)
        except BoardAway as error:
            log.warning("revision %s is in force here, but whoever is started now goes by the file: %s", digest, error)
        return found

    async def _take(self, text: str | None) -> list[Changed]:
        async with self._lock:
            settings, planned, found = await asyncio.to_thread(self._read, text)
            if found:
                self._apply(settings, planned)
            self.settings = settings
            if (digest := digest_of(settings.text)) != self.revision.digest:
                self.revision = Revision(digest, time.time())
                log.warning("revision %s of the settings is in force: %s", digest, _told(found))
                await self._keep()
        return found

    def _read(self, text: str | None) -> tuple[Settings, Plan, list[Changed]]:
        """Settings that can be put in force, what is made of them, and what that changes. Raises Refused."""
        if self.settings.config is None:
            fix = "write LB_CONFIG=/path/to/l7lb.toml, and restart"
            raise Refused([Problem("config", "LB_CONFIG", "there is no settings file that could be read again", fix)])
        try:
            settings = reread(self.settings, text)
            if not settings.text.strip():  # so a file looks that was begun to be written on a disk that is full
                where, why, fix = str(settings.config), "the settings file is empty", "write it, and rename it to there"
                raise Refused([Problem("config", where, why, fix)])
            planned = self._plan(settings)
        except SettingsError as error:
            raise Refused(error.problems) from None
        found = changes(self.settings, settings)
        if fixed := [change.path for change in found if change.needs_restart]:
            where = str(settings.config)
            why, fix = "it is given to a process when it starts", "restart, or leave it as it was"
            raise Refused([Problem(path, settings.origins.get(path, where), why, fix) for path in fixed])
        return settings, planned, found

    async def _keep(self) -> None:
        try:
            await self.revisions.add(self.settings.text, self.revision.since)
        except (BoardAway, ValueError) as error:
            log.warning("revision %s of the settings is not kept: %s", self.revision.digest, error)


def _now_in(path: Path) -> str:
    """The text of the file, as far as it can be read: that it is broken may be why one goes back."""
    try:
        return path.read_text("utf-8-sig", errors="replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _told(found: Sequence[Changed]) -> str:
    named = ", ".join(change.path for change in found[:SHOWN])
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"changed: {named}{more}" if found else "nothing that it says is another"
